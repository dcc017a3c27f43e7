"""The log of a run as people number it: lines 1 to N, in folds, one for each visit of a block.

A pure fold over a run's events, like `view`. The events' own numbers don't count lines: facts take numbers too, and
merged ticks of progress leave holes.
"""

from bisect import bisect_right
from typing import Final

from msgspec import Struct

from stagerun import events
from stagerun.states import StageState


SPACING: Final = 1000  # lines between two marks
MOST_FOLDS: Final = 1000  # above it, the visits in the middle share one fold


class LogLine(Struct, frozen=True):
    """One line of a log.

    Attributes:
        number: its place in the log, from 1.
        seq: the number of its event.
        time: seconds since 1970.
        level: "debug", "info", "warning", "error" or "critical".
        stream: its source, or None for `p.log`.
        text: as it arrived.

    """

    number: int
    seq: int
    time: float
    level: events.Level
    stream: str | None
    text: str


class Fold(Struct, kw_only=True):
    """The lines that one visit of a block said in a row.

    Attributes:
        number: its place among the folds, from 1.
        name: the block, or "" for lines outside any.
        index: the declared position, or None for a block that is not declared.
        entered_on: when the block was entered; for lines outside any, the time of the first.
        first: the number of its first line.
        lines: how many there are.
        state: of the block; None for lines outside any.
        seconds: of the visit, None until it is over.
        visits: how many visits share it; above 1 only in very long runs.
        goes_on: True if an inner block stands between it and the beginning of the visit.

    """

    number: int
    name: str
    index: int | None
    entered_on: float
    first: int
    lines: int = 0
    state: StageState | None = None
    seconds: float | None = None
    visits: int = 1
    goes_on: bool = False

    @property
    def last(self) -> int:
        return self.first + self.lines - 1


class Outline:
    """Counts lines and folds.

    Attributes:
        seq: the number of the last event that it has seen.
        lines: how many lines there are.
        folds: all folds, in order.

    """

    def __init__(self) -> None:
        self.seq = 0
        self.lines = 0
        self.folds: list[Fold] = []
        self._open: list[Fold] = []
        self._numbered = 0
        self._newest: Fold | None = None  # the fold that lines come into, until the next fact
        self._marks: list[tuple[int, int]] = []  # a line's number, the number of the event before it
        self._next_mark = 0

    def add(self, entry: events.Entry) -> Fold | None:
        """Take in any event; return the fold that it changed."""
        event = entry.event
        if isinstance(event, events.Log):
            return self.add_lines(entry.seq, entry.time, len(event.lines))
        self.seq, self._newest = entry.seq, None
        match event:
            case events.StageEntered():
                fold = self._begin(event.stage, event.index, entry.time, StageState.ACTIVE)
                self._open.append(fold)
                return fold
            case events.StageLeft() if self._open:
                fold = self._open.pop()
                fold.state, fold.seconds = event.state, event.seconds
                return fold
            case _:
                return None

    def add_lines(self, seq: int, time: float, count: int) -> Fold:
        """Take in `count` lines, the first of which has the number `seq`; return their fold."""
        fold, lines = self._newest or self._current(time), self.lines
        if lines >= self._next_mark:
            self._marks.append((lines + 1, seq - 1))
            self._next_mark = lines + SPACING
        fold.lines += count
        self.lines = lines + count
        self.seq = seq + count - 1
        return fold

    def fold_of(self, line: int) -> Fold:
        """Return the fold that holds a line."""
        return self.folds[max(0, bisect_right(self.folds, line, key=lambda fold: fold.first) - 1)]

    def mark_before(self, line: int) -> tuple[int, int]:
        """Return the number of a line not far before `line`, and an event number after which it is found."""
        place = bisect_right(self._marks, line, key=lambda mark: mark[0])
        return self._marks[place - 1] if place else (1, 0)

    def is_open(self, fold: Fold) -> bool:
        """Return True if more lines may come into `fold`."""
        return bool(self.folds) and fold is self.folds[-1]

    def _current(self, time: float) -> Fold:
        """Return the fold for a line that comes now; begin one if an inner block stands between."""
        newest = self.folds[-1] if self.folds else None
        block = self._open[-1] if self._open else None
        if newest is None or (newest is not block if block else newest.state is not None):
            if block is None:
                newest = self._begin("", None, time, None)
            else:
                newest = self._open[-1] = self._begin(block.name, block.index, block.entered_on, StageState.ACTIVE)
                newest.goes_on = True
        self._newest = newest
        return newest

    def _begin(self, name: str, index: int | None, time: float, state: StageState | None) -> Fold:
        self._numbered += 1
        fold = Fold(number=self._numbered, name=name, index=index, entered_on=time, first=self.lines + 1, state=state)
        self.folds.append(fold)
        if len(self.folds) > MOST_FOLDS:
            self._join_in_the_middle()
        return fold

    def _join_in_the_middle(self) -> None:
        kept = self.folds[MOST_FOLDS // 2]
        joined = self.folds.pop(MOST_FOLDS // 2 + 1)
        kept.lines += joined.lines
        kept.visits += joined.visits
        kept.seconds = (kept.seconds or 0.0) + (joined.seconds or 0.0)
