"""The bytes that a program writes, made into lines: no byte is lost, and no line is without bound."""

import codecs
from typing import Final


LINE_LIMIT: Final = 64 * 1024
_HELD: Final = 2 * LINE_LIMIT  # of a line that goes on; whoever tells it masks it first, and then cuts it


class Lines:
    r"""Makes lines of chunks.

    Only LF ends a line. Of a line that was drawn over with carriage returns, the last state is kept. Bytes that are no
    UTF-8 stand as escapes (`\xff`). Of a very long line only the beginning is kept.
    """

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._rest = ""
        self._dropped = 0

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """Return the lines that `data` ends; with `final` also one that was never ended."""
        text = self._decode(data, final)
        *lines, rest = text.split("\n")
        if lines:
            lines[0] = self._finished(lines[0])
            if "\r" in text:
                lines[1:] = [line.rstrip("\r").rpartition("\r")[2] for line in lines[1:]]
        self._keep(rest)
        if final and (self._rest or self._dropped):
            lines.append(self._finished(""))
        return lines

    def _finished(self, end: str) -> str:
        """Return the line that was held back, with its `end`."""
        self._keep(end)
        line, dropped = self._rest.rstrip("\r").rpartition("\r")[2], self._dropped
        self._rest, self._dropped = "", 0
        return f"{line} [... {dropped:,} characters cut]" if dropped else line

    def _keep(self, text: str) -> None:
        if "\r" in text[:-1] and (start := text.rindex("\r", 0, len(text) - 1) + 1):
            self._rest, self._dropped, text = "", 0, text[start:]
        room = _HELD - len(self._rest)
        self._rest += text[:room]
        self._dropped += max(0, len(text) - room)
