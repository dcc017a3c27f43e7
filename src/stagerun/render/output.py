"""The stream that a display writes to: it encodes, flushes, and goes silent instead of failing.

A reader that goes away, a full disk or a closed terminal must not stop the work: the journal is the product.
"""

import errno
import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TextIO


_CHUNK: Final = 4096  # bytes that a ready pipe takes without blocking (PIPE_BUF, POSIX)
_STALLED: Final = 0.25


class Output:
    """One file descriptor, written in whole lines.

    Attributes:
        unicode: True if the stream can show the symbols we draw.
        silent: the error that ended the output, or None.
        given_up: called while the reader is stalled; once it returns True the output goes silent instead of waiting.
        farewell: the bytes that `leave` writes.
        leaving: what `leave` calls first.

    """

    def __init__(self, stream: TextIO | None) -> None:
        self.encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
        self.unicode = _can_show(self.encoding, "○●✓✗⊘━╸·…")
        self.silent: OSError | None = None
        self._descriptor = _duplicate(stream)
        if self._descriptor is None:
            self.silent = OSError(errno.EBADF, os.strerror(errno.EBADF))
        else:
            self._can_take = _waiting_for(self._descriptor)
        self._lock = threading.Lock()
        self.given_up: Callable[[], bool] = lambda: False
        self.farewell = b""
        self.leaving: Callable[[], object] = lambda: None

    def leave(self) -> None:
        """Write the farewell, from a signal handler: no lock, no waiting."""
        self.leaving()
        if self._descriptor is not None:
            with suppress(OSError):
                os.write(self._descriptor, self.farewell)

    def write(self, text: str) -> int:
        """Write `text`, which contains its own newlines."""
        with self._lock:
            if self.silent is None:
                try:
                    self._send(text.encode(self.encoding, "backslashreplace"))
                except OSError as error:
                    self.silent = error
        return len(text)

    def isatty(self) -> bool:
        return self._descriptor is not None and os.isatty(self._descriptor)

    def is_file(self) -> bool:
        """Return True for a regular file: its content is kept, and no CI system reads it live."""
        return self._descriptor is not None and stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def fileno(self) -> int:
        if self._descriptor is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._descriptor

    def width(self) -> int:
        """Return the terminal's current width in columns; 80 if there is no terminal."""
        try:
            columns = os.get_terminal_size(self.fileno()).columns
        except OSError:
            columns = 0
        return max(20, min(500, columns or 80))

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _send(self, data: bytes) -> None:
        assert self._descriptor is not None
        rest = memoryview(data)
        while rest:
            if not self._can_take():
                if self.given_up():
                    raise TimeoutError(errno.ETIMEDOUT, "nobody reads the output")
                continue
            try:
                written = os.write(self._descriptor, rest[:_CHUNK])
            except BlockingIOError:
                continue
            rest = rest[written:]


def _waiting_for(descriptor: int) -> Callable[[], object]:
    """Return a function that waits a moment for `descriptor` to be writable; its result is true if it is."""
    if not hasattr(select, "poll"):
        return lambda: select.select([], [descriptor], [], _STALLED)[1]
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return partial(poll.poll, _STALLED * 1000)


def _duplicate(stream: TextIO | None) -> int | None:
    """Return a duplicate of the stream's descriptor: changes to `sys.stdout` don't affect it."""
    if stream is None:
        return None
    try:
        stream.flush()
        return os.dup(stream.fileno())
    except (OSError, ValueError):
        return None


def _can_show(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def reserve_stdout() -> None:
    """Point descriptor 1 at stderr: a child process can't write between our lines."""
    if sys.stdout is not None and sys.stderr is not None:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
