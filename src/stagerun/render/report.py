"""What the read commands print for people: one run, many runs, one operation, many operations."""

from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Final

from stagerun import wording
from stagerun.params import MISSING, Parameter
from stagerun.recipes import Found, Listed
from stagerun.render import lines
from stagerun.render.paint import Paint
from stagerun.states import RunState, StageState
from stagerun.untrusted import neutralise
from stagerun.view import RunView, StageView


_GAP: Final = "  "
_HISTORY: Final = ("id", "target", "state", "stages", "when", "took", "owner")


class Report:
    """Makes the lines of a report.

    Args:
        now: what "2 min ago" is counted from, in seconds since 1970.
        unicode: True if the stream can show symbols.
        paint: the colours.

    """

    def __init__(self, *, now: float, unicode: bool, paint: Paint) -> None:
        self._now = now
        self._symbols = wording.SYMBOLS if unicode else wording.ASCII_SYMBOLS
        self._separator = "·" if unicode else "-"
        self._paint = paint

    def run(self, view: RunView, last_line: str | None = None) -> Iterator[str]:
        """Yield one run: what it is, its stages, how it ended, how to go on."""
        yield self._headline(view)
        width = max((len(neutralise(stage.name)) for stage in view.stages), default=0)
        for stage in view.stages:
            yield self._stage(view, stage, width)
        if view.error and (not view.error.stage or view.position(view.error.stage) is None):
            where = f" in {neutralise(view.error.stage)}" if view.error.stage else ""
            yield _GAP + self._paint(_first_line(wording.error_line(view.error)) + where, "red")
        if view.state is RunState.RUNNING:
            yield from self._work(view)
        for line in lines.result(view):
            yield _GAP + line
        if last_line is not None:
            yield f"{_GAP}last line: {neutralise(last_line)}"
        if way_on := lines.way_on(view):
            yield self._paint(way_on, "bold")

    def history(self, views: Sequence[RunView]) -> Iterator[str]:
        """Yield a table of runs."""
        rows = [
            (
                str(view.id),
                neutralise(view.target),
                wording.state_word(view.state),
                _tally(view),
                wording.ago(view.started_on or view.created_on, self._now),
                wording.duration(view.elapsed(self._now)),
                neutralise(view.owner),
            )
            for view in views
        ]
        states = [view.state for view in views]
        widths = [max(map(len, column)) for column in zip(_HISTORY, *rows, strict=True)]
        yield self._paint(_row(_HISTORY, widths), "dim")
        for row, state in zip(rows, states, strict=True):
            text = _row(row, widths)
            start = sum(widths[:2]) + 2 * len(_GAP)
            end = start + len(row[2])
            yield text[:start] + self._paint(text[start:end], wording.COLOURS[state]) + text[end:]

    def operations(self, listed: Sequence[Listed]) -> Iterator[str]:
        """Yield each operation with the first line of its docstring."""
        width = max(len(each.target) for each in listed)
        for each in listed:
            yield f"{neutralise(each.target):{width}}   {neutralise(each.help)}".rstrip()

    def operation(self, found: Found, expected: Mapping[str, float]) -> Iterator[str]:
        """Yield one operation in full: docstring, stages with their usual durations, parameters."""
        kind = found.operation
        yield self._paint(neutralise(found.target), "bold")
        if kind.__doc__:
            yield from (f"{_GAP}{neutralise(line)}".rstrip() for line in cleandoc(kind.__doc__).split("\n"))
        yield from self.plan(kind.stages, expected)
        yield from self._parameters(list(kind.parameters.values()))
        if found.source:
            yield f"source: {neutralise(str(found.source))}"

    def plan(self, stages: Sequence[str], expected: Mapping[str, float]) -> Iterator[str]:
        """Yield the stages with their usual durations."""
        if not stages:
            return
        yield "stages:"
        width = max(len(neutralise(stage)) for stage in stages)
        for index, stage in enumerate(stages):
            usual = f"{_GAP}usually {wording.duration(expected[stage])}" if stage in expected else ""
            yield f"{_GAP}{index + 1}. {neutralise(stage):{width}}{usual}".rstrip()

    def _parameters(self, parameters: Sequence[Parameter]) -> Iterator[str]:
        if not parameters:
            return
        yield "parameters:"
        rows = [(option(each), each.type_name, _about(each)) for each in parameters]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield _GAP + _row(row, widths)

    def _headline(self, view: RunView) -> str:
        state = wording.state_word(view.state)
        if view.state is RunState.CANCELLED and view.signal:
            state += f" by {view.signal}"
        if view.state is not RunState.PENDING:
            state += (" for " if view.state is RunState.RUNNING else " after ") + wording.duration(
                view.elapsed(self._now)
            )
        since = wording.ago(view.finished_on or view.started_on or view.created_on, self._now)
        parts = [
            self._paint(f"run {view.id}", "bold"),
            neutralise(view.target),
            self._paint(state, wording.COLOURS[view.state]),
            since if view.state is not RunState.RUNNING else "",
            f"by {neutralise(view.owner)}",
            f"chained from run {view.chained_from}" if view.chained_from else "",
            f"resumed from run {view.resumed_from}" if view.resumed_from else "",
        ]
        return _GAP.join(part for part in parts if part)

    def _stage(self, view: RunView, stage: StageView, width: int) -> str:
        seconds = stage.seconds
        if stage.state is StageState.ACTIVE and stage.entered_on is not None:
            seconds += max(0.0, self._now - stage.entered_on)
        style = wording.COLOURS.get(stage.state)
        if stage.state is StageState.FAILED:
            style = "red"
        symbol = self._paint(self._symbols[stage.state], style)
        text = f"{_GAP}{symbol} {neutralise(stage.name):{width}}"
        if stage.visits:
            text += f"  {wording.duration(seconds)}"
        if view.error and view.error.stage == stage.name:
            text += "  " + self._paint(_first_line(wording.error_line(view.error)), "red")
        return text.rstrip()

    def _work(self, view: RunView) -> Iterator[str]:
        if view.progress is not None:
            yield _GAP + lines.progress(view, view.progress)
        if view.status is not None:
            yield _GAP + lines.status(view, view.status)


def option(parameter: Parameter) -> str:
    """`--source`; a bool has a second spelling for no, a secret is read from a file."""
    name = parameter.name.replace("_", "-")
    if parameter.secret:
        return f"--{name}-file"
    return f"--{name}/--no-{name}" if parameter.type is bool and not parameter.many else f"--{name}"


def _about(parameter: Parameter) -> str:
    parts = [neutralise(parameter.help)] if parameter.help else []
    if parameter.choices:
        parts.append("one of " + ", ".join(map(str, parameter.choices)))
    if parameter.default is MISSING:
        parts.append("required")
    elif parameter.default not in (None, ()):
        parts.append(f"default {parameter.to_json(parameter.default)}")
    return "; ".join(parts)


def _tally(view: RunView) -> str:
    if not view.stages:
        return "-"
    done = sum(stage.state is StageState.DONE for stage in view.stages)
    return f"{done}/{len(view.stages)}"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _first_line(text: str) -> str:
    return neutralise(text.partition("\n")[0])
