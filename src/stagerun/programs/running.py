"""A program whose output is read while it runs: its pipes, its lines, its end."""

import errno
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

from stagerun.machine.interrupts import Interrupts
from stagerun.machine.parents import dies_with
from stagerun.programs.process_tree import ProcessTree
from stagerun.programs.request import Request, input_of
from stagerun.programs.streams import Lines
from stagerun.programs.terminals import open_terminal, with_terminal
from stagerun.text.masking import Masker


Tell = Callable[[list[str], str], None]  # lines, stream
Redraw = Callable[[str, str], None]  # the state of a line that is drawn anew, stream

TAIL: Final = 20
HOLD: Final = 2.0  # seconds that a background program may keep the output open
_CHUNK: Final = 256 * 1024
_LOOK: Final = 0.5
_F_SETPIPE_SZ: Final = 1031  # linux/fcntl.h


@dataclass(slots=True)
class _Pipe:
    """One output stream of a program."""

    name: str
    descriptor: int
    tail: deque[str]
    lines: Lines
    captured: list[bytes] | None = None
    size: int = 0

    def read(self) -> list[str] | None:
        """Return the lines that have arrived, or None at the end of the stream."""
        self.size = 0
        try:
            data = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.EIO:  # a pseudo-terminal that no process writes to
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


class Running:
    """A program whose output is read."""

    def __init__(
        self,
        request: Request,
        environ: Mapping[str, str],
        *,
        stack: ExitStack,
        interrupts: Interrupts,
        tell: Tell,
        redraw: Redraw,
        masker: Masker,
    ) -> None:
        self._interrupts = interrupts
        self._redraw = redraw
        self._masker = masker
        self._read = 0
        self._tell = tell
        self._request = request
        self._tail = deque[str](maxlen=TAIL)
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._input = memoryview(b"")
        prepare = dies_with(os.getpid())
        stdin, feed = input_of(request.stdin)
        ends: list[int] = []
        if request.pty:
            out, theirs = open_terminal()
            err = their_err = None
            ends.append(theirs)
        else:
            (out, theirs), (err, their_err) = _open_pipe(), _open_pipe()
            ends += [theirs, their_err]
        stack.callback(os.close, out)
        if err is not None:
            stack.callback(os.close, err)
        try:
            self.process = start(
                request,
                env=environ,
                stdin=stdin,
                stdout=theirs,
                stderr=theirs if their_err is None else their_err,
                start_new_session=True,
                preexec_fn=with_terminal(prepare, theirs) if request.pty else prepare,
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

    def communicate(self, deadline: float | None, tree: ProcessTree, warn: Callable[[str], None]) -> None:
        """Read until the program has ended and its output is closed, at most HOLD seconds after its end."""
        ended: float | None = None
        read = 0
        while True:
            self._interrupts.check()  # signals only reach the main thread
            now, is_open = time.monotonic(), self._is_open()
            if ended is None and self.process.poll() is not None:
                ended, read = now, self._read
            if ended is not None and not is_open:
                return
            if ended is not None and now - ended >= HOLD and not self._has_left_something(read):
                warn(f"output is still held open by {_named(tree)}; what it writes from now on is lost")
                return
            if ended is None and deadline is not None and now >= deadline:
                self.finish()
                how = f"took longer than {self._request.timeout:g}s"
                raise self._request.failed(None, how, self.tail)
            bounds = [_LOOK if is_open else _LOOK / 10]
            if ended is not None:
                bounds.append(ended + HOLD - now)
            elif deadline is not None:
                bounds.append(deadline - now)
            self.pump(max(0.0, min(bounds)))

    def finish(self) -> None:
        """Report the last lines if they have no line end."""
        with self._interrupts:
            for pipe in (self.stdout, self.stderr):
                if pipe is None:
                    continue
                was_redrawn = pipe.lines.drawn is not None
                if lines := [line for line in pipe.feed(b"", final=True) if line.strip() or not was_redrawn]:
                    self._tell(lines, pipe.name)
                elif was_redrawn:
                    self._redraw("", pipe.name)

    def _has_left_something(self, read: int) -> bool:
        """Return True if some of the program's own output may be unread; `read` is what was read when it ended."""
        return self._read - read < _CHUNK and bool(self._selector.select(0))

    def drain(self) -> None:
        """Report the rest of the output, at most as much as a pipe holds."""
        before = self._read
        while self._is_open() and self._has_left_something(before):
            self.pump(0)

    def pump(self, seconds: float) -> None:
        """Wait up to `seconds` for output, and report what has arrived."""
        ready = self._selector.select(seconds)
        with self._interrupts:  # a signal must not lose what was read
            for key, _ in ready:
                self._serve(key)

    def _serve(self, key: selectors.SelectorKey) -> None:
        pipe = key.data
        if pipe is None:
            self._selector.unregister(key.fd)  # the program has ended; `poll` returns its exit code
        elif isinstance(pipe, _Pipe):
            lines = pipe.read()
            self._read += pipe.size
            if lines is None:
                self._selector.unregister(key.fd)
                return
            if lines:
                self._tell(lines, pipe.name)
            if (drawn := pipe.lines.drawn) is not None:
                self._redraw(drawn, pipe.name)
        else:
            self._write()

    def _is_open(self) -> bool:
        return any(isinstance(key.data, _Pipe) for key in self._selector.get_map().values())

    def _watch(self, name: str, descriptor: int) -> _Pipe:
        os.set_blocking(descriptor, False)
        captured = list[bytes]() if self._request.capture else None
        pipe = _Pipe(name, descriptor, self._tail, Lines(self._masker), captured=captured)
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
            pass  # the program does not read all of it
        self._selector.unregister(self.process.stdin)
        self.process.stdin.close()

    def _let_go(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            with suppress(OSError):
                self.process.stdin.close()


def start(request: Request, **settings: Any) -> "subprocess.Popen[bytes]":
    argv = request.argv()
    try:
        return subprocess.Popen(argv, cwd=request.cwd, **settings)  # noqa: S603 - the recipe's own command
    except (OSError, ValueError) as error:
        request.check_folder()
        why = f"can't start: {getattr(error, 'strerror', None) or error}"
        raise request.failed(127 if isinstance(error, FileNotFoundError) else 126, why) from None


def _open_pipe() -> tuple[int, int]:
    ours, theirs = os.pipe()
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(ours, _F_SETPIPE_SZ, _CHUNK)
    return ours, theirs


def _named(tree: ProcessTree) -> str:
    names: Iterator[str] = (f"process {process.pid} ({process.name()})" for process in tree.alive())
    return ", ".join(names) or "another process"
