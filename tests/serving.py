"""The real command without the start of an interpreter: each is a fork of one process that has imported everything.

`Server`, `Command` and `Fork` are the tests' end. The other end is `python -m tests.serving DESCRIPTOR`: it has one
thread, so that forking is safe. A fork has a process id, descriptors, signals and an end of its own, and what it does
to its modules, its path or its collector is gone with it.
"""

import atexit
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self


SCRIPT = Path(sys.executable).with_name("stagerun")
_WORD = 8  # bytes of each number on a socket


class Fork:
    """A command that was started: what `subprocess.Popen` would say of it."""

    def __init__(self, end: socket.socket) -> None:
        try:
            self.pid = int.from_bytes(_receive(end, _WORD))
        except EOFError:  # there is no process that could fork
            end.close()
            raise
        self.returncode: int | None = None
        self._end = end

    def poll(self) -> int | None:
        with suppress(TimeoutError, BlockingIOError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._end.settimeout(timeout)
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(_receive(self._end, _WORD)))
            self._end.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and its end is not told yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Command(Fork):
    """A command whose output is read, as text."""

    def __init__(self, end: socket.socket, out: int, err: int) -> None:
        super().__init__(end)
        self.stdout = os.fdopen(out, encoding="utf-8")
        self.stderr = os.fdopen(err, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return the rest of what it writes. It has to end within `timeout` seconds."""
        out, err = (io.TextIOWrapper(io.BytesIO(text), "utf-8").read() for text in self.read(timeout))
        return out, err

    def read(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Return the rest of what it writes, with its line ends as they are; nothing if that was done before."""
        if self.stdout.closed:
            return b"", b""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            out, err = _read([self.stdout.fileno(), self.stderr.fileno()], deadline)
            self.wait(timeout)
        except TimeoutError:
            self.kill()
            raise
        self.stdout.close()
        self.stderr.close()
        return out, err


class Server:
    """Starts commands with the environment `environ`, of which a command may change all but how Python starts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._interpreter = _of_python(environ)
        self._socket, other = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.serving", str(other.fileno())],
            cwd=Path(__file__).parents[1],
            env=dict(environ),
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        other.close()
        self.pid = self._process.pid

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        fresh: bool = False,
        stdout: int | None = None,
        user: int | None = None,
    ) -> Command:
        """Start the command.

        Args:
            arguments: of the command.
            cwd: where it is started.
            environ: its environment.
            fresh: True for an interpreter of its own; also where the environment asks for one.
            stdout: what it writes to instead of a pipe that is read here.
            user: the id of the user that it becomes.

        """
        out, other_out = os.pipe()
        err, other_err = os.pipe()
        outputs = [other_out if stdout is None else stdout, other_err]
        end = self._fork(outputs, arguments=arguments, cwd=str(cwd), environ=dict(environ), fresh=fresh, user=user)
        for descriptor in (other_out, other_err):
            os.close(descriptor)
        return Command(end, out, err)

    def start_on(self, terminal: int, arguments: Sequence[str], *, cwd: Path, environ: Mapping[str, str]) -> Fork:
        """Start the command as the leader of a session on a terminal, which is closed here."""
        end = self._fork([terminal], arguments=arguments, cwd=str(cwd), environ=dict(environ), fresh=False, user=None)
        os.close(terminal)
        return Fork(end)

    def _fork(self, descriptors: list[int], *, environ: dict[str, str], fresh: bool, **request: Any) -> socket.socket:
        """Ask for a fork that becomes what is requested; return the socket on which its end is told."""
        fresh = fresh or _of_python(environ) != self._interpreter
        text = json.dumps(request | {"environ": environ, "fresh": fresh}).encode()
        end, other_end = socket.socketpair()
        socket.send_fds(self._socket, [len(text).to_bytes(_WORD)], [*descriptors, other_end.fileno()])
        self._socket.sendall(text)
        other_end.close()
        return end

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def _of_python(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what an interpreter reads before it runs any code."""
    return {name: value for name, value in environ.items() if name.startswith(("PYTHON", "LC_", "LANG"))}


def _read(descriptors: Sequence[int], deadline: float | None) -> list[bytes]:
    """Return what is written to each until all are closed."""
    texts = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"the command did not end, but wrote {list(texts.values())}")
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                texts[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
    return list(texts.values())


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class _Forks:
    """The server's end: the forks that live, each with the socket on which its end is told."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._ends: dict[int, socket.socket] = {}
        # An end of a fork is news like a request; the number that Python writes here says no more than that.
        self._bell, other = socket.socketpair()
        self._bell.setblocking(False)
        other.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(other.fileno(), warn_on_full_buffer=False)
        self._other = other

    def until_forked(self) -> None:
        """Answer requests; return in a fork that has become what was asked for."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._bell in ready:
                    self._bell.recv(4096)
                    self._tell_ends()
                if self._connection in ready and self._answer():
                    return

    def _answer(self) -> bool:
        length, descriptors, _, _ = socket.recv_fds(self._connection, _WORD, 3)
        if not length:
            sys.exit()
        request = json.loads(_receive(self._connection, int.from_bytes(length)))
        *outputs, end = descriptors
        if (pid := os.fork()) == 0:
            os.close(end)
            self._leave()
            _become(outputs, **request)
            return True
        for descriptor in outputs:
            os.close(descriptor)
        self._ends[pid] = socket.socket(fileno=end)
        self._ends[pid].sendall(pid.to_bytes(_WORD))
        return False

    def _leave(self) -> None:
        """Keep nothing of the server in a fork."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._connection, self._bell, self._other, *self._ends.values()):
            each.close()

    def _tell_ends(self) -> None:
        for pid in list(self._ends):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with self._ends.pop(pid) as end, suppress(OSError):
                    end.sendall(status.to_bytes(_WORD))


def _become(
    outputs: Sequence[int],
    arguments: Sequence[str],
    cwd: str,
    environ: Mapping[str, str],
    *,
    fresh: bool,
    user: int | None,
) -> None:
    """Make this process what `stagerun ARGUMENTS` would be when its script begins, with pipes or on a terminal."""
    if len(outputs) == 1:
        os.setsid()
        fcntl.ioctl(outputs[0], termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(outputs[0], number)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for number, descriptor in enumerate(outputs[:2], 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    if fresh:
        os.execve(SCRIPT, [str(SCRIPT), *arguments], dict(environ))
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv = [str(SCRIPT), *arguments]
    sys.path[0] = str(SCRIPT.parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.modules["__main__"].__file__ = str(SCRIPT)


def _import_everything() -> None:
    import stagerun

    for module in pkgutil.walk_packages(stagerun.__path__, "stagerun."):
        if not module.name.startswith(("stagerun.__main__", "stagerun.testing")):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as missing:
                if str(missing.name).partition(".")[0] == "stagerun":
                    raise  # else it belongs to an extra, which is not installed
    importlib.import_module("sqlite_utils")


def _end(code: int) -> NoReturn:
    """End as an interpreter does, but for the freeing of memory, which would take longer than the command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _import_everything()
    gc.collect()
    gc.freeze()
    _Forks(socket.socket(fileno=int(sys.argv[1]))).until_forked()
    from stagerun.__main__ import main as command

    _end(command())
