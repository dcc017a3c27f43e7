"""The programs that places need, each started with a configuration of its own and ended by its id."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from stagerun.machine.parents import dies_with
from tests.processes import until


BIN = Path(sys.executable).parent
SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
ForceCommand PATH={path} XDG_CACHE_HOME={folder}/cache sh -c "$SSH_ORIGINAL_COMMAND"
"""
SLURM = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthInfo=socket={folder}/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=some Nodes=ALL Default=YES OverSubscribe=FORCE
PartitionName=gpu Nodes=ALL OverSubscribe=FORCE
"""


class Where(NamedTuple):
    """A place to test.

    Attributes:
        name: for `--on`.
        environ: what the command needs to get there.

    """

    name: str
    environ: dict[str, str]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def missing(*programs: str) -> str | None:
    """Return why a place can't be tested, or None."""
    absent = [each for each in programs if _path(each) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def _path(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that other users can look into, with a short name: sockets and daemons ask for that."""
    folder = Path(tempfile.mkdtemp(prefix="stagerun-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(folder: Path, *command: str, environ: dict[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    program = _path(command[0])
    assert program is not None
    with (folder / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environ or {})},
            preexec_fn=dies_with(os.getpid()),  # noqa: PLW1509 - it only asks for a signal
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def ssh() -> Iterator[Where]:
    """An sshd of our own, and an ssh that knows it."""
    with _sshd() as (port, environ):
        yield Where(f"ssh://127.0.0.1:{port}", environ)


@contextmanager
def ssh_anywhere() -> Iterator[dict[str, str]]:
    """Yield an environment in which every host is an sshd of our own, and everybody there is this user."""
    with _sshd(f"-o HostName=127.0.0.1 -o Port=PORT -o User={getpass.getuser()} -o LogLevel=ERROR") as (_, environ):
        yield environ


@contextmanager
def _sshd(more: str = "") -> Iterator[tuple[int, dict[str, str]]]:
    """Start an sshd; yield its port, and an environment whose ssh knows it and has `more` options."""
    with _folder() as folder:
        for name in ("host", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        port = free_port()
        (folder / "sshd").write_text(SSHD.format(port=port, folder=folder, path=f"{BIN}:/usr/bin:/bin"))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        (folder / "bin").mkdir()
        options = f"-i {folder}/key -o UserKnownHostsFile={folder}/known -o StrictHostKeyChecking=accept-new "
        script = folder / "bin" / "ssh"
        options += more.replace("PORT", str(port))
        script.write_text(f'#!/bin/sh\nexec {_path("ssh")} -F none {options} -o BatchMode=yes "$@"\n')
        script.chmod(0o755)
        with _running(folder, "sshd", "-D", "-e", "-f", str(folder / "sshd")):
            until(lambda: _listens(port))
            yield port, {"PATH": f"{folder}/bin:{os.environ['PATH']}"}


@contextmanager
def slurm() -> Iterator[Where]:
    """A Slurm cluster of one node."""
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        host = socket.gethostname().partition(".")[0]
        ports = {"controller": free_port(), "daemon": free_port()}
        configuration = folder / "slurm.conf"
        configuration.write_text(SLURM.format(folder=folder, host=host, user=getpass.getuser(), **ports))
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        stack.enter_context(_running(folder, "munged", "--foreground", "--force", f"--socket={folder}/munge", *files))
        until((folder / "munge").exists)
        environ = {"SLURM_CONF": str(configuration)}
        for name in ("state", "spool"):
            (folder / name).mkdir()
        stack.enter_context(_running(folder, "slurmctld", "-D", "-i", environ=environ))
        stack.enter_context(_running(folder, "slurmd", "-D", "-N", host, environ=environ))
        environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
        until(lambda: "idle" in _output("sinfo", "-h", "-o", "%T", environ=environ))
        yield Where("slurm://", environ)


@contextmanager
def dask(*, small: bool = False) -> Iterator[Where]:
    """A Dask cluster of two workers, or of one that shares a process with the scheduler."""
    code = f"from tests.places.clusters import local_cluster; local_cluster(small={small})"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        yield Where(address.replace("tcp:", "dask:"), {})
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def local_cluster(*, small: bool) -> None:
    """Be that cluster: say the scheduler's address, and end with standard input."""
    from distributed import LocalCluster

    size = {"n_workers": 1, "processes": False, "protocol": "tcp://"} if small else {"n_workers": 2}
    with LocalCluster(**size, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


def _output(*command: str, environ: dict[str, str]) -> str:
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    return done.stdout
