"""The stream between the two ends: frames, one JSON array a line, both ways. It does not know what a frame means.

Each direction has a thread, so that neither end has to answer in order to be read, and `send` may be called in a
signal handler. A sign of life goes out when nothing else does; the other end's are counted and not passed on.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeAlias

from stagerun.text import json_text


Frame: TypeAlias = list[Any]  # its first item is its name

LARGEST: Final = 24 * 1024 * 1024  # bytes of a frame
SIGN_OF_LIFE: Final = 5.0  # seconds without a frame after which one is sent
SILENCE: Final = 30.0  # seconds without a frame after which the other end counts as lost
_ALIVE: Final = b'["alive"]\n'
_GREETING: Final = 64 * 1024  # bytes that are kept of what comes before the first frame
_CHUNK: Final = 256 * 1024
_UNREAD: Final = 8  # frames that may wait to be taken


class Line:
    """One end of a stream.

    Args:
        reading, writing: the descriptors, which it closes.
        heard: gets each frame, in the reading thread.
        ended: called in the reading thread when no more frames come, with what was wrong, or None at the stream's end.

    Attributes:
        greeting: what came before the first frame, cut to 64 KiB: the greeting of a shell.

    """

    def __init__(
        self, reading: int, writing: int, *, heard: Callable[[Frame], None], ended: Callable[[str | None], None]
    ) -> None:
        self.greeting = b""
        self._greeted_on: float | None = None
        self._reading, self._writing = reading, writing
        self._heard, self._ended = heard, ended
        self._going_out = SimpleQueue[bytes | None]()
        self._heard_on = time.monotonic()
        self._begun = False
        self._threads = [
            threading.Thread(target=each, name=f"stagerun-line-{each.__name__}", daemon=True)
            for each in (self._read, self._write)
        ]

    def start(self) -> None:
        """Begin to read and to write."""
        for thread in self._threads:
            thread.start()

    def send(self, frame: Frame) -> int:
        """Send a frame after those before it, without waiting; return its size. ValueError if it is too large.

        What can't be sent, because the other end is gone, is dropped.
        """
        data = json_text.dumps(frame).encode()
        if len(data) > LARGEST:
            raise ValueError(f"{len(data):,} bytes are more than the {LARGEST:,} that can be sent at once")
        self._going_out.put(data + b"\n")
        return len(data)

    @property
    def silent_for(self) -> float:
        """The seconds since the last frame came, or since the line was made."""
        return time.monotonic() - self._heard_on

    @property
    def greeted_for(self) -> float:
        """The seconds since something came that is no frame, while no frame has come; 0 if nothing has."""
        return 0.0 if self._begun or self._greeted_on is None else time.monotonic() - self._greeted_on

    def close(self, seconds: float = 1.0) -> None:
        """Send what waits, for so many seconds at most, and end the stream to the other side."""
        self._going_out.put(None)
        if self._threads[1].is_alive() and threading.current_thread() is not self._threads[1]:
            self._threads[1].join(seconds)

    def _write(self) -> None:
        try:
            os.write(self._writing, b"\n")  # what came before us may have no line end
            while (data := self._next()) is not None:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._writing, rest) :]
        except OSError:
            pass  # the other end is gone: the reading thread notices
        finally:
            os.close(self._writing)

    def _next(self) -> bytes | None:
        try:
            return self._going_out.get(timeout=SIGN_OF_LIFE)
        except Empty:
            return _ALIVE

    def _read(self) -> None:
        wrong = None
        try:
            for line in filter(None, self._lines()):
                frame = _frame(line)
                if frame is None and self._begun:
                    wrong = f"it sent what is no frame: {_shown(line)}"
                    break
                self._take(frame, line)
        except ValueError as error:
            wrong = str(error)
        except OSError:
            pass  # as its end
        finally:
            with suppress(OSError):
                os.close(self._reading)
        self._ended(wrong)

    def _take(self, frame: Frame | None, line: bytes) -> None:
        if frame is None:
            self._greeted_on = self._greeted_on or time.monotonic()
            self.greeting = (self.greeting + line + b"\n")[:_GREETING]
            return
        self._begun, self._heard_on = True, time.monotonic()
        if frame[0] != "alive":
            self._heard(frame)
            self._heard_on = time.monotonic()  # the other end had to wait for us

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines; ValueError for one that is too long to be a frame."""
        parts, size = list[bytes](), 0
        while data := os.read(self._reading, _CHUNK):
            *whole, rest = data.split(b"\n")
            for line in whole:
                yield b"".join([*parts, line])
                parts, size = [], 0
            parts.append(rest)
            size += len(rest)
            if size > (LARGEST if self._begun else _GREETING):
                if self._begun:
                    raise ValueError(f"it sent more than {LARGEST:,} bytes without a line end")
                yield b"".join(parts)
                parts, size = [], 0
        if size and not self._begun:
            yield b"".join(parts)


class Ended(NamedTuple):
    """No more frames come, because something was `wrong`, or because the stream has ended."""

    wrong: str | None


class Inbox:
    """The frames that wait for one thread, which may be woken without a frame, also by a signal handler."""

    def __init__(self) -> None:
        self._waiting = SimpleQueue[Frame | Ended | None]()
        self._room = threading.Semaphore(_UNREAD)

    def put(self, frame: Frame) -> None:
        """Add a frame; wait while too many are left to be taken."""
        self._room.acquire()
        self._waiting.put(frame)

    def end(self, wrong: str | None) -> None:
        self._waiting.put(Ended(wrong))

    def wake(self) -> None:
        """Let `get` return."""
        self._waiting.put(None)

    def get(self, seconds: float) -> Frame | Ended | None:
        """Return the next frame, or None after so many seconds and when woken."""
        try:
            frame = self._waiting.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(frame, list):
            self._room.release()
        return frame


def _frame(line: bytes) -> Frame | None:
    """Return the frame that a line holds, or None if it is none."""
    try:
        frame = json_text.loads(line.decode(), list[Any])
    except ValueError:
        return None
    return frame if frame and isinstance(frame[0], str) else None


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("utf-8", "backslashreplace"))
