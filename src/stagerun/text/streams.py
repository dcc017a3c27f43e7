"""Text streams that take what others print, line by line, before it goes anywhere."""

import codecs
import io
import os
import re
import threading
from collections.abc import Callable
from typing import Any, Final, TextIO

from stagerun.text.redrawing import Rows, goes_up, last_state, shown, without_cursor, without_moves


_PARTIAL_LIMIT: Final = 64 * 1024


class LineStream(io.TextIOBase):
    """Splits what each thread writes into lines, and gives them to `line`.

    Only a newline ends a line. If carriage returns redraw a line, its last state is kept, and `redraw` is told of each.
    The output of a fork never contains what its parent had begun to write.

    Args:
        complete: returns how much of an unfinished text may be given away; None for all of it.

    Attributes:
        original: the stream that this one stands in for, or None.

    """

    def __init__(self, original: TextIO | None, complete: Callable[[str], int] | None) -> None:
        self.original = original
        self._complete = complete
        self._process = os.getpid()
        self._partial: dict[int, list[str]] = {}
        self._rows: Rows | None = None  # the lines that are drawn anew, by any thread: rich does it in a second one
        self._rows_lock = threading.RLock()
        self._redrawn: dict[int, str] = {}  # thread -> what its unfinished line was before it was drawn anew
        self.buffer = _Bytes(self)

    def line(self, text: str) -> None:
        raise NotImplementedError

    def redraw(self, text: str) -> None:
        """Take the state of a line that is being drawn anew; blank once it is gone."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self.original is None:
            raise io.UnsupportedOperation("fileno")
        return self.original.fileno()

    def reconfigure(self, **settings: Any) -> None:
        """Accept the call, as a real stream does; there is nothing to set here."""

    def write(self, text: str) -> int:
        if os.getpid() != self._process:
            self._process = os.getpid()
            self._partial.clear()
            self._rows, self._rows_lock = None, threading.RLock()
            self._redrawn.clear()
        thread = threading.get_ident()
        if self._rows is not None or ("\x1b[" in text and goes_up(text)):
            self._draw_rows(thread, text)
        elif "\n" not in text and "\r" not in text:
            self._keep(thread, text)
            if thread in self._redrawn:
                self._redraw(thread)
        else:
            self._end_lines(thread, "".join(self._partial.pop(thread, ())) + text)
        return len(text)

    def settle(self) -> None:
        """Give away the lines that may still be drawn anew: they belong to what ends now."""
        with self._rows_lock:
            rows, self._rows = self._rows, None
            if rows is not None:
                for line in rows.left():
                    self.line(line)
                self.redraw("")

    def finish(self) -> None:
        """Give away the lines that have no newline yet."""
        self.settle()
        while self._partial:
            thread, parts = self._partial.popitem()
            line = last_state("".join(parts))
            if line.strip() or thread not in self._redrawn:
                self.line(line)
        if self._redrawn:
            self.redraw("")

    def unfinished(self) -> str:
        """Return this thread's line that has no newline yet, and forget it."""
        return "".join(self._partial.pop(threading.get_ident(), ())).rpartition("\r")[2]

    def _keep(self, thread: int, text: str) -> None:
        parts = self._partial.setdefault(thread, [])
        parts.append(text)
        if self._complete is None or len(parts) * len(text) <= _PARTIAL_LIMIT:
            return
        if sum(map(len, parts)) > _PARTIAL_LIMIT:
            text = "".join(self._partial.pop(thread))
            complete = self._complete(text)
            if complete:
                self.line(last_state(text[:complete]))
            if complete < len(text):
                self._partial[thread] = [text[complete:]]

    def _end_lines(self, thread: int, text: str) -> None:
        """Take in a text with line ends or carriage returns."""
        *lines, rest = without_cursor(text).split("\n")
        if lines and self._redrawn.pop(thread, None) is not None:
            lines[0] = without_moves(lines[0])
        for line in lines:
            self.line(last_state(line))
        if "\r" in rest:
            *states, rest = re.split(r"\r+(?!\Z)", rest)
            self._redrawn[thread] = states[-1] if states else self._redrawn.get(thread, "")
        if rest:
            self._keep(thread, rest)
        if thread in self._redrawn:
            self._redraw(thread)

    def _redraw(self, thread: int) -> None:
        """Tell what is drawn now, or what was drawn before if that may be only a part of a secret."""
        state = "".join(self._partial.get(thread, ()))
        self.redraw(shown(state if state.endswith("\r") or self._is_whole(state) else self._redrawn[thread]))

    def _draw_rows(self, thread: int, text: str) -> None:
        """Take in a text while several lines below each other are drawn anew."""
        with self._rows_lock:
            text = "".join(self._partial.pop(thread, ())) + text
            self._redrawn.pop(thread, None)
            self._rows = rows = self._rows or Rows()
            for line in rows.feed(without_cursor(text)):
                self.line(line)
            if rows.is_open:
                if self._is_whole(state := rows.state()):
                    self.redraw(state)
                return
            self._rows = None
            if rows.rest:
                self._keep(thread, rows.rest)

    def _is_whole(self, state: str) -> bool:
        """Return True if the end of `state` can't be the beginning of a secret."""
        return self._complete is None or self._complete(state) == len(state)


class SafeStream(LineStream):
    """A standard stream for what is not written by stagerun itself: its lines are made safe before anybody sees them.

    An unfinished line is written when it is flushed; it stays unfinished only on a terminal, because a CI system could
    take it for a command together with what follows.

    Args:
        original: the stream to write to.
        safe: makes a line safe.
        complete: see LineStream.

    """

    original: TextIO

    def __init__(self, original: TextIO, safe: Callable[[str], str], complete: Callable[[str], int]) -> None:
        super().__init__(original, complete)
        self._safe = safe

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.original, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self.original.isatty()

    def line(self, text: str) -> None:
        self._write(f"{self._safe(text)}\n")

    def flush(self) -> None:
        if text := self.unfinished():
            self._write(self._safe(text) + ("" if self.isatty() else "\n"))
        self.original.flush()

    def _write(self, text: str) -> None:
        self.original.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))


class _Bytes(io.RawIOBase):
    """The `buffer` of a stream, for scripts that write bytes."""

    def __init__(self, text: LineStream) -> None:
        self._text = text
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._text.write(self._decode(raw))
        return len(raw)
