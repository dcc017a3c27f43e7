"""The bytes that a program writes, split into lines of bounded length."""

import codecs
from collections.abc import Callable
from typing import Final

from stagerun.events import LINE_LIMIT


# Kept of an unfinished line. A secret split at its end is usually in the part that `cut` drops.
_HELD: Final = 2 * LINE_LIMIT

Cut = Callable[[str, int], str]


class Lines:
    r"""Splits chunks into lines.

    Only LF ends a line. Of a line that was redrawn with carriage returns, the last state is kept. Bytes that are not
    UTF-8 become escapes (`\xff`).

    Args:
        cut: returns a line as it is shown; it gets the beginning of a very long line, and how much is missing.

    """

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._rest = ""
        self._dropped = 0
        self._returned = False

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """Return the lines that `data` completes; with `final` also the last one, which has no line end."""
        text = self._decode(data, final)
        *lines, rest = text.split("\n")
        if lines:
            lines[0] = self._finished(lines[0])
            if "\r" in text:
                lines[1:] = [line.rstrip("\r").rpartition("\r")[2] for line in lines[1:]]
            if len(text) > LINE_LIMIT and max(map(len, lines)) > LINE_LIMIT:
                lines[1:] = [self._cut(line, 0) for line in lines[1:]]
        self._keep(rest)
        if final and (self._rest or self._dropped or self._returned):
            lines.append(self._finished(""))
        return lines

    def _finished(self, end: str) -> str:
        """Return the line kept so far, completed by `end`."""
        self._keep(end)
        line = self._rest if len(self._rest) <= LINE_LIMIT else self._cut(self._rest, self._dropped)
        self._rest, self._dropped, self._returned = "", 0, False
        return line

    def _keep(self, text: str) -> None:
        drawn = text.rstrip("\r")
        if drawn and (self._returned or "\r" in drawn):
            self._rest, self._dropped, drawn = "", 0, drawn.rpartition("\r")[2]
        room = _HELD - len(self._rest)
        self._rest += drawn[:room]
        self._dropped += max(0, len(drawn) - room)
        self._returned = text.endswith("\r") or (self._returned and not text)
