"""Lines that are drawn anew, as progress bars do it: what carriage returns and moves of the cursor leave of them."""

import re
from collections.abc import Iterable
from typing import Final


_UP: Final = re.compile(r"\x1b\[(\d*)A")
_SEQUENCE: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # ECMA-48, 5.4: control sequences
_CURSOR: Final = re.compile(r"\x1b\[\?25[hl]")


def last_state(line: str) -> str:
    """Return what the last carriage return leaves of a line."""
    return line.rstrip("\r").rpartition("\r")[2]


def without_cursor(text: str) -> str:
    """Return `text` without what hides and shows the cursor: it stands between two lines, and belongs to none."""
    return _CURSOR.sub("", text) if "\x1b[?25" in text else text


class Redrawing:
    """What one stream draws anew: the end of its last line, or several lines below each other.

    A program with several bars moves the cursor up before it draws all of them again. From then on those lines are
    held back until the last of them has a line end.
    """

    def __init__(self) -> None:
        self._height: int | None = None
        self._frame: list[str] = []

    @property
    def is_open(self) -> bool:
        """True while lines are held back."""
        return self._height is not None

    def settled(self, lines: Iterable[str]) -> list[str]:
        """Return those of the finished lines that will not be drawn anew."""
        settled = list[str]()
        for line in lines:
            self._look_up(line)
            if self._height is None:
                settled.append(_without_moves(line))
                continue
            self._frame.append(_without_moves(line))
            if len(self._frame) > self._height:
                settled += self.left()
        return settled

    def state(self, rest: str) -> str:
        """Return on one line what is drawn now; `rest` is the unfinished line since its last carriage return."""
        self._look_up(rest)
        drawn = [_SEQUENCE.sub("", each).strip() for each in (*self._frame, rest)]
        return "  ".join(filter(None, drawn))

    def left(self) -> list[str]:
        """Return the lines that are held back, and hold them no longer."""
        frame, self._frame, self._height = self._frame, [], None
        return frame

    def _look_up(self, line: str) -> None:
        if "\x1b[" in line and (moves := _UP.findall(line)):
            self._height, self._frame = sum(int(each or 1) for each in moves), []


def _without_moves(line: str) -> str:
    """Return `line` with the colours alone of its control sequences."""
    return _SEQUENCE.sub(lambda match: match[0] if match[0].endswith("m") else "", line) if "\x1b[" in line else line
