"""What the live display draws: one frame, a pure function of a view, the time and the width."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from stagerun import events
from stagerun.states import RunState, StageState
from stagerun.text import estimates, sentences, wording
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView, StageView


_GAP: Final = "   "
_SHORTEST_BAR: Final = 8
_LONGEST_BAR: Final = 40
MANY: Final = 20  # more stages than that are not told of one by one
_ENDED_WELL: Final = frozenset({StageState.DONE, StageState.PENDING})
_SLOWEST: Final = 3
SLOW: Final = 1.0  # seconds
_SHORTEST_NAME: Final = 16
_DROPPED: Final = ("pace", "count", "share")  # on a narrow line, in this order
_LAST: Final = ("share", "left")  # what a long name gives way to
_STYLES: Final = {
    StageState.PENDING: "dim",
    StageState.ACTIVE: "bold cyan",
    StageState.DONE: "green",
    StageState.CANCELLED: "yellow",
    StageState.FAILED: "bold red",
}


def running(view: RunView, now: float, width: int, *, unicode: bool) -> list[Text]:
    """Return the lines of a running run, none wider than `width`."""
    told = [_header(view, now, width, unicode=unicode), _stepper(view, now, width, unicode=unicode)]
    told.append(_work(view, width - 1, now, unicode=unicode))
    if view.redrawn is not None:
        told.append(Text(" " + sentences.redrawn(view.redrawn)))
    if view.status is not None:
        told.append(Text(" " + neutralise(view.status.text), style="dim" if view.status.level == "info" else "yellow"))
    return [_fitted(line, width, unicode=unicode) for line in told if line.plain.strip()]


def finished(view: RunView, width: int, *, unicode: bool, above: Sequence[str] = ()) -> list[Text]:
    """Return the last frame: the content of the plain text, in colour; `above` are the log lines right above it."""
    told = [Text(sentences.opening(view, "·" if unicode else "-"), "bold")]
    told += _stages(view, width, unicode=unicode)
    if position := sentences.reached(view):
        told.append(Text(position))
    told += [Text(line, style="red") for line in sentences.error(view, above)]
    told += [Text(line) for line in sentences.result(view)]
    told.append(Text(sentences.ending(view), style=wording.COLOURS[view.state]))
    if left_out := sentences.not_entered(view):
        told.append(Text(left_out, style="yellow"))
    if hint := sentences.resume_hint(view):
        told.append(Text(hint, style="bold"))
    return told


def _stages(view: RunView, width: int, *, unicode: bool) -> list[Text]:
    """Return how the stages ended: in a row, or one below the other, or only what matters of many."""
    if len(view.stages) > MANY:
        return _summary(view, unicode=unicode)
    steps = [_step(stage, view.finished_on or 0.0, unicode=unicode) for stage in view.stages]
    row = Text(_GAP).join(steps)
    return [row] if steps and row.cell_len < width else steps


def _summary(view: RunView, *, unicode: bool) -> list[Text]:
    """Return how many stages ended how, those that did not end well, and the slowest."""
    now = view.finished_on or 0.0
    counts = Counter((stage.state, _ending(stage, view)) for stage in view.stages)
    symbols = wording.SYMBOLS if unicode else wording.ASCII_SYMBOLS
    ends = [
        Text(f"{symbols[state]} {number:,} {word}", _STYLES[state]) for (state, word), number in counts.most_common()
    ]
    bad = [_step(stage, now, unicode=unicode) for stage in view.stages if stage.state not in _ENDED_WELL]
    lines = [Text(_GAP).join(ends), *bad[:MANY]]
    if len(bad) > MANY:
        lines.append(Text(f"and {len(bad) - MANY:,} more", "dim"))
    slowest = sorted((stage for stage in view.stages if stage.seconds >= SLOW), key=lambda stage: -stage.seconds)
    if slowest:
        named = [f"{neutralise(stage.name)} {wording.duration(stage.seconds)}" for stage in slowest[:_SLOWEST]]
        lines.append(Text(f"slowest: {', '.join(named)}", "dim"))
    return lines


def _ending(stage: StageView, view: RunView) -> str:
    if stage.from_run is not None:
        return f"from run {stage.from_run}"
    if stage.name in view.not_entered:
        return "never entered"
    return "skipped" if stage.skipped is not None else wording.state_word(stage.state)


def _header(view: RunView, now: float, width: int, *, unicode: bool) -> Text:
    dot = " · " if unicode else " - "
    left = Text(" ").append(f"run {view.id}", "bold").append(dot).append(neutralise(view.plan.target), "bold")
    if view.plan.chained_from is not None:
        left.append(f" (chained from {view.plan.chained_from})", "dim")
    needed = min(left.cell_len, max(_SHORTEST_NAME, width // 3))
    rights = [Text(dot.join(times), "dim") for times in _times(view, now)]
    right = next((each for each in rights if needed + 2 + each.cell_len < width), rights[-1])
    room = max(0, width - right.cell_len - 2)
    left.truncate(room, overflow="ellipsis" if unicode else "crop")
    left.append(" " * (room + 1 - left.cell_len))
    return left.append_text(right)


def _times(view: RunView, now: float) -> Iterator[list[str]]:
    """Yield what may be said of the time, from all of it to what a narrow window has room for."""
    elapsed = [wording.duration(view.elapsed(now))]
    left, usually = estimates.left(view, now), estimates.slower_than_usual(view, now)
    coming = [f"about {wording.roughly(left)} left"] if left is not None else []
    if usually is not None:
        yield [*elapsed, *coming, f"usually {wording.roughly(usually)}"]
    yield elapsed + coming
    yield coming or elapsed


def _stepper(view: RunView, now: float, width: int, *, unicode: bool) -> Text:
    row = _row([_step(stage, now, unicode=unicode) for stage in view.stages])
    if row.cell_len < width:
        return row
    symbols = Text(" ")
    for stage in view.stages:
        symbols.append(_symbol(stage, unicode=unicode), _STYLES[stage.state])
    at = view.active or (view.stages[view.current_stage] if view.current_stage >= 0 else None)
    tag = sentences.tag(view, at.name, view.position(at.name)) if at else f"{len(view.stages)} stages"
    if symbols.cell_len > width // 2:
        symbols = Text("")
    return symbols.append(f" {tag}", "bold cyan")


def _row(steps: list[Text]) -> Text:
    return Text(" ").append_text(Text(_GAP).join(steps))


def _step(stage: StageView, now: float, *, unicode: bool) -> Text:
    style = _STYLES[stage.state]
    step = Text(f"{_symbol(stage, unicode=unicode)} {neutralise(stage.name)}", style)
    if stage.from_run is not None:
        return step.append(f" from run {stage.from_run}", "dim")
    if stage.skipped is not None:
        return step.append(f" {sentences.skipped_after(stage.seconds, stage.visits)}", "dim")
    return step.append(f" {wording.duration(stage.elapsed(now))}", "dim") if stage.visits else step


def _symbol(stage: StageView, *, unicode: bool) -> str:
    return (wording.SYMBOLS if unicode else wording.ASCII_SYMBOLS)[stage.state]


def _work(view: RunView, width: int, now: float, *, unicode: bool) -> Text:
    """Return the line with the bar, or what is known about the work if nothing is counted."""
    name = sentences.working_on(view)
    progress = view.progress
    if view.state is not RunState.RUNNING or (progress is None and not name):
        return Text("")
    if progress is None:
        left = _usual_time_left(view, now)
        # The stepper already shows a declared stage.
        told = [name] if view.untracked else []
        return Text(" " + "  ".join([*told, f"about {wording.time_left(left)} left"] if left else told), "dim")
    if progress.label:
        name = f"{name} {neutralise(progress.label)}".strip()
    facts = _facts(progress, unicode=unicode)
    room = width - _SHORTEST_BAR - 4 - _length(facts[fact] for fact in _LAST if fact in facts)
    if cell_len(name) > room > 8:
        name = set_cell_size(name, room - 1) + ("…" if unicode else "~")
    line = Text(f" {name} " if name else " ")
    told = _as_many_as_fit(facts, width - line.cell_len)
    if line.cell_len + _length(told) > width:
        line = Text(" ")
    room = width - line.cell_len - _length(told)
    if progress.share is not None and room >= _SHORTEST_BAR:
        _bar(line, progress.share, min(_LONGEST_BAR, room), unicode=unicode)
        line.append("  ")
    return line.append("  ".join(told))


def _as_many_as_fit(facts: dict[str, str], room: int) -> list[str]:
    """Return the facts that fit beside a bar, at least one."""
    for fact in _DROPPED:
        if _SHORTEST_BAR + _length(facts.values()) > room and len(facts) > 1:
            facts.pop(fact, None)
    return list(facts.values())


def _length(facts: Iterable[str]) -> int:
    return sum(2 + cell_len(fact) for fact in facts)


def _facts(progress: events.ProgressMoved, *, unicode: bool) -> dict[str, str]:
    """Return what is known of the work, in the order in which it is shown."""
    left = wording.remaining(progress)
    ended = progress.ended and not progress.around
    facts = {
        "share": wording.percentage(progress),
        "count": neutralise(wording.counted(progress, " · " if unicode else " - ")),
        "left": f"{wording.time_left(left)} left" if left is not None and not ended else "",
        "pace": wording.pace(progress),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _bar(line: Text, percent: float, width: int, *, unicode: bool) -> None:
    halves = round(percent / 100 * width * 2)
    full, half = divmod(halves, 2)
    line.append(("━" if unicode else "=") * full, "cyan")
    if half:
        line.append("╸" if unicode else "-", "cyan")
    line.append(("─" if unicode else ".") * (width - full - half), "bright_black")


def _usual_time_left(view: RunView, now: float) -> float | None:
    stage = view.active
    if stage is None or stage.entered_on is None or stage.name not in view.plan.expected:
        return None
    left = view.plan.expected[stage.name] - (now - stage.entered_on)
    return left if left > 0 else None


def _fitted(line: Text, width: int, *, unicode: bool) -> Text:
    # One column stays free: some terminals wrap a full line early, which would break the region.
    line.expand_tabs(8)
    line.truncate(width - 1, overflow="ellipsis" if unicode else "crop")
    line.no_wrap = True
    return line
