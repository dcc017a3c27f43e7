"""How an operation has done so far: how often it succeeds, how long it and its stages take, how that changes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from stagerun.states import TERMINAL, RunState
from stagerun.text import wording
from stagerun.text.paint import Paint
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView


_GAP: Final = "  "
_SHOWN: Final = 20  # runs of a sparkline
_COMPARED: Final = 10  # runs on each side of a trend
_FEWEST: Final = 3
_VISIBLE: Final = 0.1  # seconds; a smaller difference is not seen in the durations either, and is mostly chance
_STEADY: Final = 0.05  # a change below it is no trend
_HEAD: Final = ("", "usually", "90 %", "slowest", "last")
_NARROW: Final = ("", "usually", "last")
_LEAST_LINE: Final = 8  # columns


class Durations(Struct, frozen=True, kw_only=True):
    """What was measured of an operation or of a stage, oldest first: seconds and the runs."""

    seconds: tuple[float, ...]
    runs: tuple[int, ...]

    @property
    def median(self) -> float:
        return _quantile(self.seconds, 0.5)

    @property
    def p90(self) -> float:
        return _quantile(self.seconds, 0.9)

    @property
    def slowest(self) -> int:
        """The run that took longest."""
        return self.runs[self.seconds.index(max(self.seconds))]

    @property
    def change(self) -> float | None:
        """By how much the newest runs take longer than those before them, 0.1 for 10 %; None for too few runs."""
        newest, before = self.seconds[-_COMPARED:], self.seconds[-2 * _COMPARED : -_COMPARED]
        if len(before) < _FEWEST:
            half = len(self.seconds) // 2
            newest, before = self.seconds[half:], self.seconds[:half]
        usual = _quantile(before, 0.5) if len(before) >= _FEWEST else 0.0
        return _quantile(newest, 0.5) / usual - 1 if usual else None


class Stats(Struct, frozen=True, kw_only=True):
    """The past of one operation.

    Attributes:
        target: the newest run's.
        since: when the first of its runs was created.
        states: state -> number of runs.
        whole: the durations of the successful runs, or None if there are none.
        stages: stage -> its durations in successful runs, in the order of the newest.

    """

    target: str
    since: float
    states: dict[RunState, int]
    whole: Durations | None
    stages: dict[str, Durations]

    @property
    def success_rate(self) -> float | None:
        """The share of the runs that are over and succeeded."""
        over = sum(count for state, count in self.states.items() if state in TERMINAL)
        return self.states.get(RunState.SUCCEEDED, 0) / over if over else None


def stats(views: Sequence[RunView]) -> Stats:
    """Return the stats of runs of one operation, newest first, at least one. What an earlier run did is not counted."""
    done = [view for view in reversed(views) if view.state is RunState.SUCCEEDED]
    whole = [view for view in done if view.plan.resumed_from is None]
    stages: dict[str, Durations] = {}
    for name in dict.fromkeys(stage.name for view in reversed(done) for stage in view.stages):
        measured = [
            (stage.seconds, view.id)
            for view in done
            for stage in view.stages
            if stage.name == name and stage.visits and stage.from_run is None
        ]
        if measured:
            seconds, runs = zip(*measured, strict=True)
            stages[name] = Durations(seconds=seconds, runs=runs)
    return Stats(
        target=views[0].plan.target,
        since=views[-1].created_on,
        states=dict(Counter(view.state for view in views).most_common()),
        whole=Durations(seconds=tuple(view.seconds or 0.0 for view in whole), runs=tuple(view.id for view in whole))
        if whole
        else None,
        stages=stages,
    )


def lines(stats: Stats, now: float, paint: Paint, *, width: int) -> Iterator[str]:
    """Yield the stats as text."""
    total = sum(stats.states.values())
    title = paint(neutralise(stats.target), "bold")
    yield f"{title}{_GAP}{wording.count(total, 'run')}, the first {wording.ago(stats.since, now)}"
    told = [
        paint(f"{count} {wording.state_word(state)}", wording.COLOURS[state]) for state, count in stats.states.items()
    ]
    rate = "" if stats.success_rate is None else f" ({stats.success_rate:.0%} succeeded)"
    yield f"{_GAP}{', '.join(told)}{rate}"
    if stats.whole is None:
        return
    yield from _table({"whole run": stats.whole} | stats.stages, paint, width)
    yield from _slowest(stats.whole)
    yield from _trend(stats.whole)


def _table(named: Mapping[str, Durations], paint: Paint, width: int) -> Iterator[str]:
    """Yield a line for each name; on a narrow terminal with fewer columns, to leave room for the sparkline."""
    head: Sequence[str] = _HEAD
    cells = {name: _cells(each) for name, each in named.items()}
    if _room(head, cells, width) < _LEAST_LINE:
        head, cells = _NARROW, {name: each[::3] for name, each in cells.items()}
    shown = max(0, min(_SHOWN, _room(head, cells, width)))
    first, *sizes = _widths(head, cells)
    yield paint(f"{_GAP}{_GAP.join(_line(head, first, sizes))}", "dim")
    for name, each in named.items():
        row = _line([neutralise(name), *cells[name]], first, sizes)
        line = _sparkline(each.seconds[-shown:], paint) if shown else ""
        yield f"{_GAP}{_GAP.join([*row, line])}".rstrip()


def _cells(each: Durations) -> list[str]:
    return [wording.duration(value) for value in (each.median, each.p90, max(each.seconds), each.seconds[-1])]


def _widths(head: Sequence[str], cells: Mapping[str, Sequence[str]]) -> list[int]:
    rows = [head, *([neutralise(name), *each] for name, each in cells.items())]
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _room(head: Sequence[str], cells: Mapping[str, Sequence[str]], width: int) -> int:
    """Return the columns that are left for a sparkline."""
    return width - sum(size + len(_GAP) for size in _widths(head, cells)) - len(_GAP)


def _line(row: Sequence[str], first: int, sizes: Sequence[int]) -> list[str]:
    return [f"{row[0]:{first}}", *(f"{cell:>{size}}" for cell, size in zip(row[1:], sizes, strict=True))]


def _slowest(whole: Durations) -> Iterator[str]:
    if max(whole.seconds) - min(whole.seconds) >= _VISIBLE:
        yield f"{_GAP}slowest: run {whole.slowest}, {wording.duration(max(whole.seconds))}"


def _trend(whole: Durations) -> Iterator[str]:
    if whole.change is None:
        return
    usual = whole.median
    if abs(whole.change) < _STEADY or abs(whole.change) * usual < _VISIBLE:
        yield f"{_GAP}trend: steady"
    else:
        word = "slower" if whole.change > 0 else "faster"
        yield f"{_GAP}trend: the newest runs are {abs(whole.change):.0%} {word} than those before"


def _sparkline(seconds: Sequence[float], paint: Paint) -> str:
    """Return a column for each duration, as high as it is long, beginning at the shortest."""
    if not seconds:
        return ""
    low, high = min(seconds), max(seconds)
    top = len(paint.steps) - 1 if high - low >= _VISIBLE else 0
    return "".join(paint.steps[round((each - low) / (high - low) * top) if top else 0] for each in seconds)


def _quantile(seconds: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie, between the two nearest ones."""
    ordered = sorted(seconds)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def document(stats: Stats) -> dict[str, Any]:
    """Return the stats as a JSON document; docs/json.md lists its keys."""
    return {
        "target": stats.target,
        "runs": sum(stats.states.values()),
        "since": wording.timestamp(stats.since),
        "states": stats.states,
        "success_rate": None if stats.success_rate is None else round(stats.success_rate, 6),
        "seconds": _document(stats.whole),
        "stages": {name: _document(each) for name, each in stats.stages.items()},
    }


def _document(each: Durations | None) -> dict[str, Any] | None:
    if each is None:
        return None
    return {
        "runs": len(each.seconds),
        "median": round(each.median, 6),
        "p90": round(each.p90, 6),
        "fastest": round(min(each.seconds), 6),
        "slowest": round(max(each.seconds), 6),
        "slowest_run": each.slowest,
        "last": round(each.seconds[-1], 6),
        "change": None if each.change is None else round(each.change, 6),
        "newest": [round(value, 6) for value in each.seconds[-_SHOWN:]],
    }
