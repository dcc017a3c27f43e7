"""What only a Dask cluster can do to a run: its workers and its scheduler die, and it keeps no secrets."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from stagerun.machine.parents import dies_with
from stagerun.states import RunState
from tests.conftest import Project
from tests.places import clusters
from tests.places.clusters import Where, free_port
from tests.places.conftest import Distant, end_of, is_gone, kill
from tests.places.test_breaks import COUNTS, SLEEPS
from tests.processes import read_until, until


@contextmanager
def _programs(
    *worker: str, tls: Path | None = None, cache: Path | None = None
) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Run `dask scheduler` and `dask worker` as programs; yield the address and both processes."""
    port = free_port()
    scheme = "tls" if tls else "tcp"
    address = f"{scheme}://127.0.0.1:{port}"
    files = [f"--tls-{name}={tls}/{file}" for name, file in _FILES.items()] if tls else []
    dask = str(clusters.BIN / "dask")
    environ = os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        started = []
        for command in (
            [dask, "scheduler", "--host", f"{scheme}://127.0.0.1", f"--port={port}", "--no-dashboard"],
            [dask, "worker", address, "--nthreads=1", "--no-dashboard", "--name=only", *worker],
        ):
            process = subprocess.Popen(  # type: ignore[call-overload]
                [*command, *files],
                cwd="/",
                env=environ,
                preexec_fn=dies_with(os.getpid()),  # noqa: PLW1509 - it only asks for a signal
                **quiet,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            started.append(psutil.Process(process.pid))
        yield address, started


_FILES = {"ca-file": "ca.pem", "cert": "cert.pem", "key": "key.pem"}


@pytest.mark.soak
def test_a_worker_that_is_killed_without_its_nanny_is_a_crash_and_its_far_process_ends(project: Project) -> None:
    project.recipe("orders", SLEEPS)
    with _programs("--no-nanny") as (address, (_, dask_worker)):
        far = Distant(project, Where(address.replace("tcp:", "dask:"), {}))
        process = far.start("run", "orders")
        read_until(process, "asleep")
        worker = far.worker()

        kill(dask_worker)

        done = end_of(process)
        assert (done.code, far.newest().state) == (1, RunState.CRASHED)
        assert "error: the worker at tcp://127.0.0.1:" in done.out
        assert "is gone\nrun 1 crashed in [2/2] Fit" in done.out
        until(lambda: is_gone(worker))


@pytest.mark.soak
def test_a_worker_with_a_nanny_that_is_killed_does_the_work_only_once(project: Project) -> None:
    project.recipe("orders", COUNTS)
    with _programs("--nanny") as (address, _):
        far = Distant(project, Where(address.replace("tcp:", "dask:"), {}))
        process = far.start("run", "orders", f"--folder={project.root}")
        read_until(process, "half-way")
        dask_worker = far.worker().parent()
        assert dask_worker is not None

        kill(dask_worker)

        assert end_of(process).code == 1
        assert far.newest().state is RunState.CRASHED
        items = (project.root / "items").read_text()
        assert far.stagerun("resume").code == 0  # on the worker that the nanny has started anew
        assert (project.root / "loads").read_text() == "x"
        again = (project.root / "items").read_text().removeprefix(items).splitlines()
        assert again == [str(number) for number in range(int(again[0]), 160)]


@pytest.mark.soak
def test_when_the_scheduler_is_killed_the_run_has_crashed_and_no_traceback_of_dask_is_shown(project: Project) -> None:
    project.recipe("orders", SLEEPS)
    with _programs("--no-nanny") as (address, (scheduler, _)):
        far = Distant(project, Where(address.replace("tcp:", "dask:"), {}))
        process = far.start("run", "orders")
        read_until(process, "asleep")
        worker = far.worker()

        kill(scheduler)

        done = end_of(process)
        assert (done.code, far.newest().state, done.err) == (1, RunState.CRASHED, "")
        assert "error: the scheduler is gone\n" in done.out
        assert "Traceback" not in done.out
        until(lambda: is_gone(worker))


SECRET = "correct-horse-battery"
SECRETIVE = """
class Train(LiveOperation):
    token: Secret

    def run(self, p: Progress):
        p.log(f"with {self.token.reveal()}")
        p.log("waits")
        while not __import__("os").path.exists(FILE):
            __import__("time").sleep(0.01)
"""


def _processes() -> str:
    """Return the arguments and environments of all processes."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found.append(f"{process.pid} {process.cmdline()} {process.environ()}")
    return "\n".join(found)


def test_a_secret_is_in_no_file_no_process_and_nothing_that_the_cluster_keeps(project: Project, tmp_path: Path) -> None:
    project.recipe("orders", SECRETIVE.replace("FILE", repr(str(tmp_path / "go"))))
    (tmp_path / "token").write_text(SECRET)
    with _programs("--no-nanny", f"--local-directory={tmp_path / 'worker'}", cache=tmp_path / "cache") as (address, _):
        far = Distant(project, Where(address.replace("tcp:", "dask:"), {}))
        process = far.start("run", "orders", f"--token-file={tmp_path / 'token'}")
        read_until(process, "waits")
        listed = _processes()
        kept = _kept_by(address)
        (tmp_path / "go").touch()
        done = end_of(process)

    assert (done.code, SECRET in done.out) == (0, False)
    assert SECRET not in listed
    assert "stagerun-" in kept
    assert SECRET not in kept
    files = [each for each in tmp_path.rglob("*") if each.is_file() and each.name != "token"]
    assert [each for each in files if SECRET.encode() in each.read_bytes()] == []
    assert any("orders.py" in each.name and "cache" in each.parts for each in files)


def _kept_by(address: str) -> str:
    """Return what a cluster tells anybody: its events, and the story of its tasks."""
    code = f"""
from distributed import Client

def story(dask_scheduler=None):
    state = dask_scheduler
    return repr([state.story(*state.tasks), state.tasks, [each.run_spec for each in state.tasks.values()]])

with Client({address!r}) as client:
    print(client.get_events(), client.run_on_scheduler(story))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_secret_does_not_go_to_another_machine_without_encryption(project: Project, tmp_path: Path) -> None:
    project.recipe("orders", SECRETIVE.replace("FILE", "'go'"))
    (tmp_path / "token").write_text(SECRET)

    done = project.stagerun("run", "orders", f"--token-file={tmp_path / 'token'}", "--on", "dask://192.0.2.1:8786")

    assert done.code == 3
    assert done.err == (
        "stagerun: dask://192.0.2.1:8786 is not encrypted, and Train has a secret: token\n"
        "  if you trust the way, say so in [tool.stagerun.places]: a command, or dask and trusted = true\n"
    )
    assert not project.journal.exists()


def _certificates(folder: Path) -> None:
    """Write an authority and a certificate that it has signed, with its key."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    for file, key, subject in (("ca.pem", keys[0], "authority"), ("cert.pem", keys[1], "cluster")):
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("authority"))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=file == "ca.pem", path_length=None), critical=True)
        certificate = builder.sign(keys[0], hashes.SHA256())
        (folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def test_a_place_with_a_name_has_certificates_and_takes_secrets(project: Project, tmp_path: Path) -> None:
    project.recipe("orders", SECRETIVE.replace("FILE", "'/'"))
    (tmp_path / "token").write_text(SECRET)
    _certificates(project.root)
    with _programs("--no-nanny", "--resources=GPU=1", tls=project.root) as (address, _):
        (project.root / "pyproject.toml").write_text(
            f'[tool.stagerun.places.big]\ndask = "{address}"\nca = "ca.pem"\ncert = "cert.pem"\nkey = "key.pem"\n'
            "resources = { GPU = 1 }\n"
        )

        done = Distant(project, Where("big", {})).stagerun("run", "orders", f"--token-file={tmp_path / 'token'}")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-3:-1] == ["with ***", "waits"]


@pytest.mark.soak
def test_a_scheduler_that_is_not_there_is_told(project: Project) -> None:
    project.recipe("orders", SLEEPS)
    place = f"dask://127.0.0.1:{free_port()}"

    process = project.start("run", "orders", "--on", place)
    until(project.journal.exists)
    done = end_of(process)

    assert (done.code, done.err) == (3, "")
    assert done.out.splitlines()[-3].startswith("error: OSError: Timed out trying to connect to tcp://127.0.0.1:")
