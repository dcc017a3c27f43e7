"""Programs that a recipe runs: each in a session of its own, read line by line, ended with all that they started."""

import errno
import os
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, Final

from stagerun.errors import ChildFailed, Interruption, RecipeError
from stagerun.machine.interrupts import Interrupts, is_limit
from stagerun.machine.parents import adopt_orphans, dies_with
from stagerun.programs.process_tree import Kin
from stagerun.programs.streams import Cut, Lines
from stagerun.text.secrets import Secret


Tell = Callable[[list[str], str], None]  # lines, stream

TAIL: Final = 20
HOLD: Final = 2.0  # seconds that a program in the background may keep the output open
_CHUNK: Final = 256 * 1024
_LOOK: Final = 0.5
_MARK: Final = "STAGERUN_CHILD"
_F_SETPIPE_SZ: Final = 1031  # linux/fcntl.h


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program came to.

    Attributes:
        command: as it was shown.
        returncode: its exit code; that of a signal is negative, as in `subprocess`.
        seconds: how long it took.
        stdout, stderr: what it wrote, if that was captured, else None. With a pseudo-terminal all is in `stdout`.

    """

    command: str
    returncode: int
    seconds: float
    stdout: str | None = None
    stderr: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command: the arguments of `p.sh`."""

    command: str | Sequence[Any]
    cwd: str | os.PathLike[str] | None = None
    env: Mapping[str, Any] | None = None
    check: bool = True
    timeout: float | None = None
    capture: bool = False
    stdin: str | bytes | int | IO[Any] | None = None
    pty: bool = False

    @property
    def shown(self) -> str:
        """The command as it is announced."""
        return self.command if isinstance(self.command, str) else shlex.join(map(_shown, self.command))

    def argv(self) -> list[str]:
        """Return the program and its arguments; RecipeError names the part that is none."""
        if isinstance(self.command, str):
            return ["/bin/sh", "-c", self.command] if os.name == "posix" else [self.command]
        if not isinstance(self.command, list | tuple) or not self.command:
            raise RecipeError(f"p.sh needs a string, or a list of arguments, not {self.command!r}")
        return [_argument(each) for each in self.command]


@dataclass(slots=True)
class _Pipe:
    """One stream of a program that is read."""

    name: str
    descriptor: int
    tail: deque[str]
    lines: Lines
    captured: list[bytes] | None = None
    size: int = 0

    def read(self) -> list[str] | None:
        """Return the lines that have come, None at the end of the stream."""
        self.size = 0
        try:
            data = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.EIO:  # how a pseudo-terminal says that nobody writes any more
                raise
            data = b""
        self.size = len(data)
        if self.captured is not None:
            self.captured.append(data)
        return self.feed(data) if data else None

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        lines = self.lines.feed(data, final=final)
        self.tail.extend(lines[-TAIL:])
        return lines

    def text(self) -> str | None:
        return None if self.captured is None else b"".join(self.captured).decode("utf-8", "backslashreplace")


class Children:
    """The programs of one run.

    Args:
        interrupts: holds a signal back while a program is started but nobody knows it yet.
        run: the run's id, which the programs find in STAGERUN_RUN_ID.
        hidden: the environment variables that they do not get.

    """

    def __init__(self, interrupts: Interrupts, run: int, hidden: Collection[str] = ()) -> None:
        self._interrupts = interrupts
        self._run = run
        self._hidden = hidden
        self._numbers = count(1)
        self._running: set[_Running] = set()
        self._all: Kin | None = None
        self._pid = os.getpid()

    def run(self, request: Request, *, tell: Tell, warn: Callable[[str], None], cut: Cut) -> Completed:
        """Run a program to its end and tell its lines as they come. ChildFailed if it could not start, or failed."""
        if request.timeout is not None and not is_limit(request.timeout):
            raise RecipeError(f"p.sh: timeout must be a number of seconds above 0, not {request.timeout!r}")
        adopt_orphans()
        mark = self._mark()
        own, all_ = Kin(_MARK, f"{mark}{next(self._numbers)}."), self._all or Kin(_MARK, mark)
        self._all = all_
        begun = time.monotonic()
        deadline = None if request.timeout is None else begun + request.timeout
        running: _Running | None = None
        with ExitStack() as stack:
            try:
                with self._interrupts:
                    environ = self._environ(request.env) | {_MARK: own.mark}
                    running = _Running(request, environ, stack=stack, interrupts=self._interrupts, tell=tell, cut=cut)
                    self._running.add(running)
                    for kin in (own, all_):
                        kin.add(running.process.pid)
                running.communicate(deadline, own, warn)
            except BaseException as error:
                if running is not None:
                    self._end(running, own, everything=isinstance(error, Interruption))
                raise
            finally:
                if running is not None:
                    running.finish()
                    self._running.discard(running)
                    running.process.poll()
                    all_.remove(running.process.pid)
                    all_.reap()
        code = running.process.returncode
        if request.check and code != 0:
            raise ChildFailed(request.shown, code, _how_it_ended(code), running.tail)
        stdout, stderr = (each.text() if each else None for each in (running.stdout, running.stderr))
        return Completed(request.shown, code, time.monotonic() - begun, stdout, stderr)

    def _end(self, running: "_Running", own: Kin, *, everything: bool) -> None:
        """End a program; when the run is stopped all programs, so that they share one grace."""
        kin = self._all if everything and self._all is not None else own
        alone = everything or len(self._running) == 1
        kin.end(running.pump, orphans=alone, hurried=lambda: self._interrupts.hurried)
        running.drain()

    def run_on_terminal(self, request: Request) -> Completed:
        """Give the terminal to a program until it ends; RecipeError if there is none."""
        if not os.isatty(0):
            raise RecipeError("p.sh: interactive=True needs a terminal", "run it on one, or leave interactive=True out")
        if request.capture or request.pty or request.timeout is not None or request.stdin is not None:
            raise RecipeError("p.sh: interactive=True goes with no capture, pty, stdin or timeout", "leave them out")
        kin = Kin(_MARK, f"{self._mark()}{next(self._numbers)}.")
        environ = self._environ(request.env, apart=False) | {_MARK: kin.mark}
        begun = time.monotonic()
        process: subprocess.Popen[bytes] | None = None
        with _terminal_as_it_was():
            try:
                with self._interrupts.keyboard_lent():
                    with self._interrupts:
                        process = _start(request, env=environ, preexec_fn=dies_with(os.getpid()))
                    code = process.wait()
            except BaseException:
                if process is not None and process.poll() is None:
                    kin.end(orphans=False, hurried=lambda: self._interrupts.hurried)
                    process.poll()
                raise
        if code == -signal.SIGINT:
            self._interrupts.request("SIGINT")
        if request.check and code != 0:
            raise ChildFailed(request.shown, code, _how_it_ended(code), ())
        return Completed(request.shown, code, time.monotonic() - begun)

    def end(self) -> None:
        """End all that is left of every program that was run."""
        if self._all is not None and os.getpid() == self._pid:
            self._all.end(hurried=lambda: self._interrupts.hurried)

    def _mark(self) -> str:
        """Return how the programs of this run are marked."""
        # A run inside a program of another run is kin of both; a fork has programs of its own.
        return f"{os.environ.get(_MARK, '')}/{os.getpid()}-{self._run}-"

    def _environ(self, given: Mapping[str, Any] | None, *, apart: bool = True) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if name not in self._hidden}
        environ["STAGERUN_RUN_ID"] = str(self._run)
        if apart:
            # A program in Python shows its lines at once; a run inside this one is not for the CI system to read.
            environ |= {"PYTHONUNBUFFERED": "1", "STAGERUN_CI": "none"}
        for name, value in (given or {}).items():
            if value is None:
                environ.pop(name, None)
            else:
                environ[name] = value.reveal() if isinstance(value, Secret) else str(value)
        return environ


class _Running:
    """A program whose output is read."""

    def __init__(
        self,
        request: Request,
        environ: Mapping[str, str],
        *,
        stack: ExitStack,
        interrupts: Interrupts,
        tell: Tell,
        cut: Cut,
    ) -> None:
        self._interrupts = interrupts
        self._cut = cut
        self._read = 0
        self._tell = tell
        self._request = request
        self._tail = deque[str](maxlen=TAIL)
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._input = memoryview(b"")
        prepare = dies_with(os.getpid())
        stdin, feed = _input_of(request.stdin)
        ends: list[int] = []
        if request.pty:
            out, theirs = _open_terminal()
            err = their_err = None
            ends.append(theirs)
        else:
            (out, theirs), (err, their_err) = _open_pipe(), _open_pipe()
            ends += [theirs, their_err]
        stack.callback(os.close, out)
        if err is not None:
            stack.callback(os.close, err)
        try:
            self.process = _start(
                request,
                env=environ,
                stdin=stdin,
                stdout=theirs,
                stderr=theirs if their_err is None else their_err,
                start_new_session=True,
                preexec_fn=_with_terminal(prepare, theirs) if request.pty else prepare,
            )
        finally:
            for end in ends:
                os.close(end)
        stack.callback(self._let_go)
        self.stdout = self._watch("stdout", out)
        self.stderr = None if err is None else self._watch("stderr", err)
        if feed is not None:
            self._feed(feed)
        with suppress(AttributeError, OSError):
            descriptor = os.pidfd_open(self.process.pid)
            stack.callback(os.close, descriptor)
            self._selector.register(descriptor, selectors.EVENT_READ, None)

    @property
    def tail(self) -> Sequence[str]:
        return tuple(self._tail)

    def communicate(self, deadline: float | None, kin: Kin, warn: Callable[[str], None]) -> None:
        """Read until the program has ended and nobody holds its output any more, or not for longer than HOLD."""
        ended: float | None = None
        read = 0
        while True:
            self._interrupts.check()  # in a thread no signal arrives
            now, is_open = time.monotonic(), self._is_open()
            if ended is None and self.process.poll() is not None:
                ended, read = now, self._read
            if ended is not None and not is_open:
                return
            if ended is not None and now - ended >= HOLD and not self._has_left_something(read):
                warn(f"output is still held open by {_named(kin)}; what it writes from now on is lost")
                return
            if ended is None and deadline is not None and now >= deadline:
                self.finish()
                how = f"took longer than {self._request.timeout:g}s"
                raise ChildFailed(self._request.shown, None, how, self.tail)
            bounds = [_LOOK if is_open else _LOOK / 10]
            if ended is not None:
                bounds.append(ended + HOLD - now)
            elif deadline is not None:
                bounds.append(deadline - now)
            self.pump(max(0.0, min(bounds)))

    def finish(self) -> None:
        """Tell the lines that were begun and never ended."""
        with self._interrupts:
            for pipe in (self.stdout, self.stderr):
                if pipe is not None and (lines := pipe.feed(b"", final=True)):
                    self._tell(lines, pipe.name)

    def _has_left_something(self, read: int) -> bool:
        """Return True if there may be more of what the program itself has written; `read` was before its end."""
        return self._read - read < _CHUNK and bool(self._selector.select(0))

    def drain(self) -> None:
        """Tell what is left of the last words: no more than a pipe holds."""
        before = self._read
        while self._is_open() and self._has_left_something(before):
            self.pump(0)

    def pump(self, seconds: float) -> None:
        """Wait so long for output, and tell what has come."""
        ready = self._selector.select(seconds)
        with self._interrupts:  # what was read is told, whatever comes
            for key, _ in ready:
                self._serve(key)

    def _serve(self, key: selectors.SelectorKey) -> None:
        pipe = key.data
        if pipe is None:
            self._selector.unregister(key.fd)  # it has ended; a poll tells how
        elif isinstance(pipe, _Pipe):
            lines = pipe.read()
            self._read += pipe.size
            if lines is None:
                self._selector.unregister(key.fd)
            elif lines:
                self._tell(lines, pipe.name)
        else:
            self._write()

    def _is_open(self) -> bool:
        return any(isinstance(key.data, _Pipe) for key in self._selector.get_map().values())

    def _watch(self, name: str, descriptor: int) -> _Pipe:
        os.set_blocking(descriptor, False)
        captured = list[bytes]() if self._request.capture else None
        pipe = _Pipe(name, descriptor, self._tail, Lines(self._cut), captured=captured)
        self._selector.register(descriptor, selectors.EVENT_READ, pipe)
        return pipe

    def _feed(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self._input = memoryview(data)
        os.set_blocking(self.process.stdin.fileno(), False)
        self._selector.register(self.process.stdin, selectors.EVENT_WRITE, self)
        self._write()

    def _write(self) -> None:
        assert self.process.stdin is not None
        try:
            while self._input:
                self._input = self._input[os.write(self.process.stdin.fileno(), self._input[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass  # it does not want to read it all
        self._selector.unregister(self.process.stdin)
        self.process.stdin.close()

    def _let_go(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            with suppress(OSError):
                self.process.stdin.close()


def _start(request: Request, **settings: Any) -> "subprocess.Popen[bytes]":
    argv = request.argv()
    try:
        return subprocess.Popen(argv, cwd=request.cwd, **settings)  # noqa: S603 - the recipe's own command
    except (OSError, ValueError) as error:
        if request.cwd is not None and not Path(request.cwd).is_dir():
            why = f"can't start: there is no folder {os.fspath(request.cwd)}"
        else:
            why = f"can't start: {getattr(error, 'strerror', None) or error}"
        raise ChildFailed(request.shown, 127 if isinstance(error, FileNotFoundError) else 126, why, ()) from None


def _input_of(stdin: object) -> tuple[Any, bytes | None]:
    """Return what the program reads from, and what has to be written there."""
    match stdin:
        case None:
            return subprocess.DEVNULL, None
        case str():
            try:
                return subprocess.PIPE, stdin.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                raise RecipeError(f"p.sh: the text for stdin can't be encoded: {error}", "give bytes") from None
        case bytes():
            return subprocess.PIPE, stdin
        case Secret():
            return _input_of(stdin.reveal())
        case _:
            return stdin, None


@contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """Give the terminal back in the state it had: a program that was ended could not do that."""
    import termios

    before = termios.tcgetattr(0)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _open_pipe() -> tuple[int, int]:
    ours, theirs = os.pipe()
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(ours, _F_SETPIPE_SZ, _CHUNK)
    return ours, theirs


def _open_terminal() -> tuple[int, int]:
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return ours, theirs


def _with_terminal(prepare: Callable[[], None] | None, descriptor: int) -> Callable[[], None]:
    """Return what a new process calls to have the pseudo-terminal as its own."""
    import fcntl
    import termios

    def take() -> None:
        if prepare is not None:
            prepare()
        fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)

    return take


def _argument(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    raise RecipeError(f"p.sh: an argument must be a string or a path, not {value!r}", f'write it as "{value}"')


def _shown(value: object) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _named(kin: Kin) -> str:
    names: Iterator[str] = (f"process {process.pid} ({process.name()})" for process in kin.alive())
    return ", ".join(names) or "another process"
