"""The bytes that a program writes, split into lines of bounded length."""

import codecs
from typing import Final

from stagerun.events import LINE_LIMIT
from stagerun.text import wording
from stagerun.text.masking import Masker
from stagerun.text.redrawing import Rows, goes_up, last_state, shown, without_cursor, without_moves


_HELD: Final = 2  # limits of an unfinished line; then its beginning is masked and cut


class Lines:
    r"""Splits chunks into lines.

    Only LF ends a line. Of a line that was redrawn with carriage returns, the last state is kept; `drawn` tells of it
    before. Bytes that are not UTF-8 become escapes (`\xff`).

    Args:
        masker: masks the lines that are cut; a part of a secret would not be found afterwards.
        limit: the characters of a line that are kept.

    """

    def __init__(self, masker: Masker, limit: int = LINE_LIMIT) -> None:
        self._masker = masker
        self._limit = limit
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._rest = ""  # of the unfinished line, as it arrived
        self._kept = ""  # the masked beginning of a very long line
        self._dropped = 0
        self._bound = _HELD * limit
        self._returned = False
        self._rows: Rows | None = None  # the lines that it draws anew
        self._redrawn = False
        self._before = ""  # what the unfinished line was before it was drawn anew

    @property
    def drawn(self) -> str | None:
        """The unfinished line if it is being drawn anew, else None.

        What may be only a part of a secret is not told: then it is what was drawn before.
        """
        if self._rows is not None:
            state = self._rows.state()
            return state if self._masker.complete(state) == len(state) else None
        if not self._redrawn:
            return None
        whole = self._returned or self._masker.complete(self._rest) == len(self._rest)
        return shown(self._rest if whole else self._before)

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """Return the lines that `data` completes; with `final` also the last one, which has no line end."""
        text = self._decode(data, final)
        text = without_cursor(text)
        if self._rows is not None or goes_up(text):
            return self._draw_rows(text, final=final)
        *lines, rest = text.split("\n")
        if lines:
            lines[0] = self._finished(lines[0])
            if "\r" in text:
                lines[1:] = map(last_state, lines[1:])
            if len(text) > self._limit and max(map(len, lines)) > self._limit:
                lines[1:] = map(self._bounded, lines[1:])
        self._keep(rest)
        if final and (self._rest or self._kept or self._returned):
            lines.append(self._finished(""))
        return lines

    def _draw_rows(self, text: str, *, final: bool) -> list[str]:
        """Return the lines that a text completes of a program that draws several below each other anew."""
        if self._rows is None:
            self._rows, text = Rows(), self._rest + ("\r" if self._returned else "") + text
            self._forget()
            self._returned = self._redrawn = False
        lines = self._rows.feed(text)
        if final:
            lines += self._rows.left()
        if final or not self._rows.is_open:
            rest, self._rows = self._rows.rest, None
            self._keep("" if final else rest)
        return lines

    def _bounded(self, line: str) -> str:
        return line if len(line) <= self._limit else wording.cut_line(self._masker.mask(line), limit=self._limit)

    def _finished(self, end: str) -> str:
        """Return the line kept so far, completed by `end`."""
        self._keep(end)
        if self._kept:
            self._cut(len(self._rest))
            line = wording.cut_line(self._kept, self._dropped, limit=self._limit)
        else:
            line = self._bounded(self._rest)
        if self._redrawn:
            line = without_moves(line)
        self._forget()
        self._returned = self._redrawn = False
        return line

    def _keep(self, text: str) -> None:
        drawn = text.rstrip("\r")
        if "\r" in text:
            self._redrawn, self._before = True, drawn.rpartition("\r")[0].rpartition("\r")[2] or self._rest
        if drawn and (self._returned or "\r" in drawn):
            self._forget()
            drawn = drawn.rpartition("\r")[2]
        if len(self._kept) == self._limit:
            self._dropped += len(drawn)
        else:
            self._rest += drawn
            if len(self._rest) > self._bound:
                self._cut(self._masker.complete(self._rest))
                self._bound = max(self._bound, 2 * len(self._rest))  # a very long secret may hold back more
        self._returned = text.endswith("\r") or (self._returned and not text)

    def _cut(self, complete: int) -> None:
        """Mask what is held up to `complete`, where no secret is cut in two, and keep as much as there is room for."""
        masked = self._kept + self._masker.mask(self._rest[:complete])
        self._kept, self._rest = masked[: self._limit], self._rest[complete:]
        if len(masked) >= self._limit:
            self._dropped += len(masked) - self._limit + len(self._rest)
            self._rest = ""

    def _forget(self) -> None:
        self._kept, self._dropped, self._rest, self._bound = "", 0, "", _HELD * self._limit
