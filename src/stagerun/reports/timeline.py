"""When each stage was active: a Gantt picture of runs for a terminal, and the same as a JSON document.

The axis is working time: the runs stand one after the other, and what passed between two of them is only named.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from stagerun import events
from stagerun.states import TERMINAL, StageState
from stagerun.text import wording
from stagerun.text.paint import Paint
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView


_GAP: Final = "  "
_LEAST_BAR: Final = 10  # columns
_FRAME: Final = 8  # columns of a line besides name, duration and bar
_MARKS: Final = 16  # columns between two marks of the axis, at least


class Visit(Struct, frozen=True, kw_only=True):
    """One visit to a block; `left` is None while it is open."""

    entered: float
    left: float | None = None
    state: StageState = StageState.ACTIVE


class Row(Struct, frozen=True, kw_only=True):
    """A block of a run: a declared stage, or one that is not declared, whose `state` is that of its last visit."""

    name: str
    state: StageState
    visits: tuple[Visit, ...] = ()
    from_run: int | None = None
    skipped: str | None = None
    declared: bool = True


class Track(Struct, frozen=True, kw_only=True):
    """A run with its rows; it lasts from `begun` for `seconds`."""

    view: RunView
    begun: float
    seconds: float
    rows: tuple[Row, ...]


def track(view: RunView, entries: Iterable[events.Entry], now: float) -> Track:
    """Return the track of a run from the entries in which it entered and left blocks."""
    visits: dict[tuple[str, bool], list[Visit]] = {(stage.name, True): [] for stage in view.stages}
    for entry in entries:
        match entry.event:
            case events.StageEntered(stage=name, index=index):
                visits.setdefault((name, index is not None), []).append(Visit(entered=entry.time))
            case events.StageLeft(stage=name, index=index, state=state, seconds=seconds):
                mine = visits.get((name, index is not None))
                if mine:
                    # The duration is measured by a clock that nobody sets.
                    mine[-1] = Visit(entered=mine[-1].entered, left=mine[-1].entered + seconds, state=state)
            case _:
                pass
    begun = view.started_on or view.created_on
    seconds = view.elapsed(now)
    ended = begun + seconds
    if view.state in TERMINAL:
        for mine in visits.values():
            mine[:] = [_closed(visit, ended) for visit in mine]
    rows = [
        Row(
            name=stage.name,
            state=stage.state,
            from_run=stage.from_run,
            skipped=stage.skipped,
            visits=tuple(visits[stage.name, True]),
        )
        for stage in view.stages
    ]
    rows += [
        Row(name=name, state=mine[-1].state, visits=tuple(mine), declared=False)
        for (name, declared), mine in visits.items()
        if not declared
    ]
    last = max((visit.left or ended for row in rows for visit in row.visits), default=ended)
    return Track(view=view, begun=begun, seconds=max(seconds, last - begun), rows=tuple(rows))


def _closed(visit: Visit, ended: float) -> Visit:
    """Return a visit of a run that is over: a crash leaves it without an end."""
    if visit.left is not None:
        return visit
    return Visit(entered=visit.entered, left=max(visit.entered, ended), state=StageState.FAILED)


class _Scale(Struct, frozen=True, kw_only=True):
    """Working time as columns."""

    total: float
    room: int

    def column(self, seconds: float) -> int:
        return round(seconds / self.total * self.room) if self.total else 0

    def axis(self) -> str:
        """Return the times at the begin, at even distances, and at the end."""
        steps = max(1, self.room // _MARKS)
        text, end = "", _moment(self.total, self.total)
        for step in range(steps):
            text = f"{text:{step * self.room // steps}}{_moment(self.total * step / steps, self.total)}"
        return f"{text:{self.room - len(end)}}{end}" if len(text) + len(end) < self.room else text


def _moment(seconds: float, total: float) -> str:
    return f"{seconds * 1000:.0f}ms" if total < 1 else wording.duration(seconds)


def lines(tracks: Sequence[Track], *, now: float, width: int, paint: Paint) -> Iterator[str]:
    """Yield the picture, in lines of at most `width` columns as far as names allow."""
    rows = [row for each in tracks for row in each.rows]
    took = max((len(_took(row, now)) for row in rows), default=0)
    name = min(
        max((len(neutralise(row.name)) for row in rows), default=0), max(8, (width - took - _LEAST_BAR - _FRAME) // 2)
    )
    scale = _Scale(total=sum(each.seconds for each in tracks), room=max(_LEAST_BAR, width - name - took - _FRAME))
    offset, before = 0.0, None
    for each in tracks:
        if before is not None:
            yield from _between(before, each)
        yield _headline(each, now, paint)
        for row in each.rows:
            symbol = paint(paint.symbols[row.state], wording.COLOURS[row.state]) if row.declared else " "
            told = paint.cut(neutralise(row.name), name)
            bar = paint(_bar(each, row, scale, offset, paint.bar), wording.COLOURS[row.state])
            yield f"{_GAP}{symbol} {told:{name}}{_GAP}{_took(row, now):>{took}}{_GAP}{bar}".rstrip()
        offset, before = offset + each.seconds, each
    if scale.total > 0:
        yield f"{' ' * (name + took + _FRAME)}{scale.axis()}".rstrip()


def _headline(track: Track, now: float, paint: Paint) -> str:
    view = track.view
    state = paint(wording.state_word(view.state), wording.COLOURS[view.state])
    attempt = [f"attempt {view.plan.attempt}"] if view.plan.attempt > 1 else []
    parts = [paint(f"run {view.id}", "bold"), neutralise(view.plan.target), state, wording.duration(view.elapsed(now))]
    return _GAP.join([*parts, *attempt])


def _between(before: Track, after: Track) -> Iterator[str]:
    """Yield how long it took until the next run began, if that is worth a line."""
    gap = after.begun - before.begun - before.seconds
    if gap >= 1:
        yield f"{_GAP}({wording.duration(gap)} later)"


def _took(row: Row, now: float) -> str:
    if row.from_run is not None:
        return f"run {row.from_run}"
    if not row.visits:
        return ""
    took = wording.duration(sum((visit.left or now) - visit.entered for visit in row.visits))
    return took if row.skipped is None else f"{took}, skipped"


def _bar(track: Track, row: Row, scale: _Scale, offset: float, sign: str) -> str:
    """Return the visits to a block as bars, each at least one column wide."""
    cells = [" "] * scale.room
    for visit in row.visits:
        ended = track.seconds if visit.left is None else visit.left - track.begun
        first = min(scale.room - 1, scale.column(offset + max(0.0, visit.entered - track.begun)))
        last = max(first + 1, scale.column(offset + min(track.seconds, ended)))
        cells[first:last] = [sign] * (last - first)
    return "".join(cells).rstrip()


def document(track: Track) -> dict[str, Any]:
    """Return a run with the visits to its blocks; docs/json.md lists the keys."""
    view = track.view
    return {
        "run": view.id,
        "target": view.plan.target,
        "state": view.state,
        "attempt": view.plan.attempt,
        "chained_from": view.plan.chained_from,
        "resumed_from": view.plan.resumed_from,
        "started_on": wording.timestamp(track.begun),
        "seconds": round(track.seconds, 6),
        "stages": [
            {
                "stage": row.name,
                "declared": row.declared,
                "state": row.state,
                "from_run": row.from_run,
                "skipped": row.skipped,
                "visits": [
                    {
                        "entered_on": wording.timestamp(visit.entered),
                        "seconds": None if visit.left is None else round(visit.left - visit.entered, 6),
                        "state": visit.state,
                    }
                    for visit in row.visits
                ],
            }
            for row in track.rows
        ],
    }
