"""Lines that are drawn anew, as progress bars do it: what carriage returns and moves of the cursor leave of them."""

import re
from typing import Final

from stagerun.events import LINE_LIMIT


_SEQUENCE: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # ECMA-48, 5.4: control sequences
_CURSOR: Final = re.compile(r"\x1b\[\?25[hl]")
_PART: Final = re.compile(r"\n|\r|\x1b\[(\d*)([AK])|(?:(?!\x1b\[\d*[AK])[^\n\r])+")
_UP: Final = re.compile(r"\x1b\[\d*A")
_MOST_ROWS: Final = 50


def last_state(line: str) -> str:
    """Return what the last carriage return leaves of a line, without moves of the cursor."""
    state = line.rstrip("\r").rpartition("\r")[2]
    return without_moves(state) if state != line else state


def without_cursor(text: str) -> str:
    """Return `text` without what hides and shows the cursor: it stands between two lines, and belongs to none."""
    return _CURSOR.sub("", text) if "\x1b[?25" in text else text


def shown(line: str) -> str:
    """Return a state as it is shown: without colours and moves of the cursor."""
    return _SEQUENCE.sub("", line).strip()


def goes_up(text: str) -> bool:
    """Return True if `text` moves the cursor to a line above, as programs with several bars do."""
    return "\x1b[" in text and _UP.search(text) is not None


class Rows:
    """Lines below each other that a program draws anew, by going up to one of them.

    It goes up by a certain number of rows at most. So many rows above the cursor are held back, until the program has
    written more rows than it draws without going up again.

    Attributes:
        is_open: True while rows are held back.

    """

    def __init__(self) -> None:
        self.is_open = False
        self._rows = [""]
        self._at = 0
        self._height = 0
        self._since_up = 0
        self._returned = False

    def feed(self, text: str) -> list[str]:
        """Take in a text; return the lines that will not be drawn anew."""
        self.is_open = True
        for part in _PART.finditer(text):
            if part[0] == "\n":
                self._go_down()
            elif part[0] == "\r":
                self._returned = True
            elif part[2] == "A":
                self._go_up(int(part[1] or 1))
            elif part[2] == "K":
                if self._returned or part[1] == "2":
                    self._rows[self._at] = ""
            else:
                before = "" if self._returned else self._rows[self._at]
                self._rows[self._at], self._returned = (before + part[0])[:LINE_LIMIT], False
        settled = max(0, self._at - self._height)
        if self._since_up > self._height + 1:
            settled = self._at
            self.is_open = False
        lines, self._rows = self._rows[:settled], self._rows[settled:]
        self._at -= settled
        return [without_moves(line) for line in lines if line.strip()]

    @property
    def rest(self) -> str:
        """The row that the cursor is in."""
        return self._rows[self._at]

    def state(self) -> str:
        """Return on one line what is drawn now."""
        return "  ".join(filter(None, map(shown, self._rows)))

    def left(self) -> list[str]:
        """Return the rows that are held back."""
        return [without_moves(row) for row in self._rows if row.strip()]

    def _go_down(self) -> None:
        self._at += 1
        self._since_up += 1
        self._returned = True
        if self._at == len(self._rows):
            self._rows.append("")

    def _go_up(self, rows: int) -> None:
        unknown = max(0, rows - self._at)  # what stands there is over for us
        self._rows[:0] = [""] * min(unknown, _MOST_ROWS)
        self._at = max(0, self._at - rows)
        self._height = min(_MOST_ROWS, max(self._height, rows))
        self._since_up = 0


def without_moves(line: str) -> str:
    """Return `line` with the colours alone of its control sequences."""
    return _SEQUENCE.sub(lambda match: match[0] if match[0].endswith("m") else "", line) if "\x1b[" in line else line
