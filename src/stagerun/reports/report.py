"""Runs as text for people: one with its stages, or many in a table."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from stagerun.states import RunState, StageState
from stagerun.text import sentences, wording
from stagerun.text.paint import Paint
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView, StageView


_GAP: Final = "  "
_HISTORY: Final = ("id", "target", "state", "stages", "when", "took", "owner")
_DROPPED: Final = ("owner", "stages", "took", "when")  # on a narrow terminal, in this order


class Report:
    """Makes the lines of a report.

    Args:
        now: the current time in seconds since 1970, for texts like "2 min ago".
        paint: the colours and symbols.

    """

    def __init__(self, *, now: float, paint: Paint) -> None:
        self._now = now
        self._paint = paint

    def run(
        self,
        view: RunView,
        last_line: str | None = None,
        resumed_as: RunView | None = None,
        details: Iterable[str] = (),
    ) -> Iterator[str]:
        """Yield one run: headline, stages, how it ended, `details`, how to resume it or by which run it was resumed."""
        yield self._headline(view)
        width = max((len(neutralise(stage.name)) for stage in view.stages), default=0)
        for stage in view.stages:
            yield self._stage(view, stage, width)
        if view.error and (not view.error.stage or view.position(view.error.stage) is None):
            where = f" in {neutralise(view.error.stage)}" if view.error.stage else ""
            yield _GAP + self._paint(sentences.reason(view.error) + where, "red")
        if view.state in (RunState.PENDING, RunState.RUNNING):
            yield from self._work(view)
        elif position := sentences.reached(view):
            yield _GAP + position
        for line in sentences.result(view):
            yield _GAP + line
        if last_line is not None:
            yield f"{_GAP}last line: {neutralise(last_line)}"
        for line in details:
            yield _GAP + line
        if resumed_as is not None:
            yield sentences.resumed_as(resumed_as)
        elif hint := sentences.resume_hint(view):
            yield self._paint(hint, "bold")

    def details(self, view: RunView) -> Iterator[str]:
        """Yield what a short report leaves out: parameters, start, folder, traceback."""
        if view.plan.params:
            yield "parameters:"
        for line in wording.result_lines(view.plan.params):
            yield _GAP + neutralise(line)
        if view.started_on is not None:
            yield f"started: {wording.local_time(view.started_on)}"
        if view.plan.folder:
            yield f"folder: {neutralise(str(Path(view.plan.project) / view.plan.folder))}"
        if view.plan.tags:
            yield f"tags: {neutralise(', '.join(view.plan.tags))}"
        if view.plan.once is not None:
            yield f"once: {neutralise(view.plan.once)}"
        if view.error is not None and view.error.traceback:
            yield from map(neutralise, view.error.traceback.split("\n"))
        else:
            yield from sentences.error(view)

    def history(self, views: Sequence[RunView], width: int | None = None) -> Iterator[str]:
        """Yield a table of runs; if there is a `width`, with as many columns as fit."""
        rows = [
            (
                str(view.id),
                neutralise(view.plan.target),
                wording.state_word(view.state),
                _tally(view),
                wording.ago(view.started_on or view.created_on, self._now),
                wording.duration(view.elapsed(self._now)),
                neutralise(view.owner),
            )
            for view in views
        ]
        states = [view.state for view in views]
        table = {column[0]: column for column in zip(_HISTORY, *rows, strict=True)}
        for name in _DROPPED:
            needed = sum(max(map(len, column)) + len(_GAP) for column in table.values()) - len(_GAP)
            if width is not None and needed > width:
                del table[name]
        widths = [max(map(len, column)) for column in table.values()]
        head, *rest = zip(*table.values(), strict=True)
        yield self._paint(columns(head, widths), "dim")
        for row, state in zip(rest, states, strict=True):
            text = columns(row, widths)
            start = sum(widths[:2]) + 2 * len(_GAP)
            end = start + len(row[2])
            yield text[:start] + self._paint(text[start:end], wording.COLOURS[state]) + text[end:]

    def _headline(self, view: RunView) -> str:
        state = wording.state_word(view.state)
        if view.state is RunState.CANCELLED and view.signal:
            state += f" by {neutralise(view.signal)}"
        if view.state is not RunState.PENDING:
            joins = {RunState.RUNNING: "for", RunState.SUCCEEDED: "in"}
            state += f" {joins.get(view.state, 'after')} {wording.duration(view.elapsed(self._now))}"
        since = wording.ago(view.finished_on or view.started_on or view.created_on, self._now)
        parts = [
            self._paint(f"run {view.id}", "bold"),
            neutralise(view.plan.target),
            self._paint(state, wording.COLOURS[view.state]),
            since if view.state is not RunState.RUNNING else "",
            f"by {neutralise(view.owner)}",
            f"on {neutralise(view.plan.place)}" if view.plan.place else "",
            f"chained from run {view.plan.chained_from}" if view.plan.chained_from else "",
            f"resumed from run {view.plan.resumed_from}" if view.plan.resumed_from else "",
        ]
        return _GAP.join(part for part in parts if part)

    def _stage(self, view: RunView, stage: StageView, width: int) -> str:
        symbol = self._paint(self._paint.symbols[stage.state], wording.COLOURS[stage.state])
        text = f"{_GAP}{symbol} {neutralise(stage.name):{width}}"
        if stage.from_run is not None:
            text += f"  from run {stage.from_run}"
        elif stage.skipped is not None:
            text += f"  {sentences.skipped(stage.skipped, stage.seconds, stage.visits)}"
        elif stage.visits:
            text += f"  {wording.duration(stage.elapsed(self._now))}"
        if stage.name in view.not_entered:
            text += "  " + self._paint("never entered", "yellow")
        if view.error and view.error.stage == stage.name:
            text += "  " + self._paint(sentences.reason(view.error), "red")
        return text.rstrip()

    def _work(self, view: RunView) -> Iterator[str]:
        if view.progress is not None:
            yield _GAP + sentences.progress(view, view.progress)
        if view.status is not None:
            yield _GAP + sentences.status(view, view.status)


def _tally(view: RunView) -> str:
    if not view.stages:
        return "-"
    done = sum(stage.state is StageState.DONE for stage in view.stages)
    return f"{done}/{len(view.stages)}"


def columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
