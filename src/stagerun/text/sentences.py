"""The lines of text that describe a run: pure functions of a view, shared by every text display."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from stagerun import events
from stagerun.states import RESUMABLE, RunState, StageState
from stagerun.text import estimates, wording
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView, StageView


_WORK: Final = 1.0  # seconds; finding out that there is nothing to do takes less
_REASON: Final = 200  # characters of the reason for a skip


def opening(view: RunView, separator: str) -> str:
    """`run 42 · recipe:Import · started by alice · on ssh://alice@lab`."""
    if view.plan.resumed_from is not None:
        origin = f"resumed from run {view.plan.resumed_from}"
    elif view.plan.chained_from is not None:
        origin = f"chained from run {view.plan.chained_from}"
    else:
        origin = f"started by {neutralise(view.owner)}"
    place = [f"on {neutralise(view.plan.place)}"] if view.plan.place else []
    return f" {separator} ".join([f"run {view.id}", neutralise(view.plan.target), origin, *place])


def tag(view: RunView, name: str, index: int | None) -> str:
    return wording.stage_tag(neutralise(name), index, len(view.stages))


def header(title: str) -> str:
    return f"=== {title} ==="


def footer(outcome: str) -> str:
    return f"--- {outcome}"


def outcome(view: RunView, event: events.StageLeft) -> str:
    """`[1/3] Load: done in 0.8s`, `[1/3] Load: skipped (no new orders)`."""
    if event.skipped is not None:
        return f"{tag(view, event.stage, event.index)}: {skipped(event.skipped, event.seconds)}"
    join = "in" if event.state is StageState.DONE else "after"
    return f"{tag(view, event.stage, event.index)}: {event.state} {join} {wording.duration(event.seconds)}"


def skipped(reason: str, seconds: float, visits: int = 1) -> str:
    """`skipped (no new orders)`, `skipped after 3m 10s (no new orders)`."""
    return f"{skipped_after(seconds, visits)} ({why_skipped(reason)})"


def skipped_after(seconds: float, visits: int = 1) -> str:
    """`skipped`, or `skipped after 3m 10s` if there was work before."""
    return f"skipped after {wording.duration(seconds)}" if visits > 1 or seconds >= _WORK else "skipped"


def why_skipped(reason: str) -> str:
    """Return a reason for a line of text; JSON and the web page have all of it."""
    return neutralise(wording.cut_line(reason, limit=_REASON))


def taken_over(view: RunView, event: events.StageTakenOver) -> str:
    """`[1/3] Load: done, from run 12`."""
    return f"{tag(view, event.stage, event.index)}: {StageState.DONE}, from run {event.run}"


def logged(event: events.Log, *, keep_colour: bool = False) -> list[str]:
    level = "" if event.level in ("debug", "info") else f"{neutralise(event.level)}: "
    return [level + neutralise(line, keep_colour=keep_colour) for line in event.lines]


def redrawn(event: events.LineRedrawn) -> str:
    return neutralise(event.line.strip())


def status(view: RunView, event: events.StatusChanged) -> str:
    text = neutralise(event.text)
    name = working_on(view)
    line = f"{name}: {text}" if name else text
    return line if event.level in ("debug", "info") else f"{neutralise(event.level)}: {line}"


def working_on(view: RunView) -> str:
    """Return the innermost open block, or the stage that the end of the run broke off, or "" outside any."""
    if view.untracked:
        return neutralise(view.untracked[-1])
    stage = view.active or broken_off(view)
    return neutralise(stage.name) if stage else ""


def broken_off(view: RunView) -> StageView | None:
    """Return the stage that the end of the run broke off, or None if it was outside any."""
    last = view.stages[view.current_stage] if view.current_stage >= 0 else None
    broken = view.state in RESUMABLE and last is not None and last.state is not StageState.DONE
    return last if broken else None


def reached(view: RunView) -> str | None:
    """`Process: 6% (64/1,000 rows) in 0.7s`: how far a run that did not succeed came; None if nothing was counted then.

    What was counted before a stage that is done says nothing of the end.
    """
    if view.progress is None or view.state not in RESUMABLE or (view.current_stage >= 0 and broken_off(view) is None):
        return None
    return progress(view, view.progress)


def progress(view: RunView, event: events.ProgressMoved) -> str:
    """`Process: 40% (4,000/10,000 rows), about 12s left`; the last line of an outermost loop says how long it took."""
    name = working_on(view) or neutralise(view.plan.operation)
    if event.label:
        name = f"{name}, {neutralise(event.label)}"
    parts = []
    counted = neutralise(wording.counted(event))
    if percentage := wording.percentage(event):
        parts.append(percentage + (f" ({counted})" if counted else ""))
    else:
        parts.append(counted)
    if event.ended and not event.around:
        return f"{name}: {parts[0]} in {wording.duration(event.seconds)}"
    if view.end is not None:
        return f"{name}: {parts[0]}"
    left, pace = wording.remaining(event), wording.pace(event)
    if left:
        parts.append(f"about {wording.time_left(left)} left")
    elif not percentage and pace:
        parts.append(pace)
    return f"{name}: {', '.join(parts)}"


def error(view: RunView, above: Sequence[str] = ()) -> Iterator[str]:
    """Yield why the run did not succeed: a traceback only if the message and its line in the recipe don't say it all.

    Args:
        view: the run.
        above: the log lines that stand right above; what they say of a program is not said again.

    """
    error = view.error
    if error is None:
        return
    if error.program is not None:
        told = _program(error, error.program, above)
    elif _is_plain(error):
        first, *rest = wording.error_line(error).split("\n")
        told = [f"error: {first}{_place(error)}", *rest]
    else:
        told = (error.traceback or "").split("\n")
    for line in told:
        yield neutralise(line)


def reason(error: events.Failure) -> str:
    """`ValueError: boom`, `` `make` ended with exit code 2 (orders.py, line 12)``: an error in one line."""
    place = _place(error, short=True) if _is_plain(error) else ""
    return neutralise(wording.error_line(error).partition("\n")[0] + place)


def _is_plain(error: events.Failure) -> bool:
    """Return True if the message and the line in the recipe say it all."""
    return error.program is not None or not error.type or error.traceback is None


def _program(error: events.Failure, program: events.Program, above: Sequence[str]) -> list[str]:
    tail = list(program.tail)
    named = _ends_with(above, [*wording.announced(program.command), *tail])
    message = f"the program {program.outcome}" if named else error.message.partition("\n")[0]
    rest = [] if _ends_with(above, tail) else [f"  {line}" for line in tail]
    notes = [line for note in program.notes for line in note.split("\n")]
    return [f"error: {message}{_place(error)}", *notes, *rest]


def _ends_with(lines: Sequence[str], last: Sequence[str]) -> bool:
    return not last or list(lines[-len(last) :]) == last


def _place(error: events.Failure, *, short: bool = False) -> str:
    if not error.file or not error.line:
        return ""
    return f" ({Path(error.file).name if short else error.file}, line {error.line})"


def result(view: RunView) -> Iterator[str]:
    for line in wording.result_lines(view.result_context or {}):
        yield neutralise(line)


def not_entered(view: RunView) -> str | None:
    """`never entered: [1/3] Load, [3/3] Save`, or None if a run that succeeded has left out none of its stages."""
    tags = [tag(view, name, view.position(name)) for name in view.not_entered]
    return f"never entered: {', '.join(tags)}" if tags else None


def ending(view: RunView) -> str:
    """`run 42 succeeded in 21.0s`, `run 42 failed in [2/3] Process after 2.0s`.

    A success that took much longer than usual says so: `run 42 succeeded in 12m 04s, usually 4m 30s`.
    """
    took = wording.duration(view.seconds or 0.0)
    if view.state is RunState.SUCCEEDED:
        usual = estimates.slower_than_usual(view, view.finished_on or 0.0)
        return f"run {view.id} succeeded in {took}" + (f", usually {wording.roughly(usual)}" if usual else "")
    return f"run {view.id} {_how(view)} after {took}"


def closing(view: RunView, above: Sequence[str] = ()) -> Iterator[str]:
    """Yield what a run ends with: how far it came, its error and result, its last line; `above` as for `error`."""
    position = reached(view)
    yield from [position] if position else []
    yield from error(view, above)
    yield from result(view)
    yield ending(view)
    yield from filter(None, (not_entered(view), resume_hint(view)))


def cause(view: RunView) -> str:
    """`recipe:Import failed in [2/3] Process`: what went wrong, for a reader who has not seen the run."""
    return f"{neutralise(view.plan.target)} {_how(view)}"


def _how(view: RunView) -> str:
    signal = f" by {neutralise(view.signal)}" if view.signal else ""
    place = ended_in(view)
    where = f" in {tag(view, place, view.position(place))}" if place else ""
    return f"{wording.state_word(view.state)}{signal}{where}"


def waiting(ahead: Sequence[RunView], now: float) -> str:
    """Return `waiting for run 12 (alice, 3 min) and 1 more`, for a run in line behind the runs `ahead`."""
    first = next((view for view in ahead if view.state is RunState.RUNNING), ahead[0])
    more = f" and {len(ahead) - 1} more" if len(ahead) > 1 else ""
    since = wording.age(now - (first.started_on or first.created_on))
    return f"waiting for run {first.id} ({neutralise(first.owner)}, {since}){more}"


def silence(view: RunView, now: float) -> str:
    """`still in [2/3] Process after 3m 10s`: a sign of life."""
    if view.state is RunState.PENDING:
        return neutralise(view.status.text) if view.status else "not started yet"
    if view.active is None:
        return f"still running after {wording.duration(view.elapsed(now))}"
    where = tag(view, view.active.name, view.current_stage)
    return f"still in {where} after {wording.duration(view.active.elapsed(now))}"


def ended_in(view: RunView) -> str | None:
    """Return the stage that the run ended in, or None if it ended outside any."""
    if view.error is not None and view.error.stage:
        return view.error.stage
    if view.state is RunState.CANCELLED:
        return next((stage.name for stage in view.stages if stage.state is StageState.CANCELLED), None)
    return None


def resumed_as(view: RunView) -> str:
    """`resumed as run 50, which succeeded`."""
    auxiliary = "is " if view.state in (RunState.PENDING, RunState.RUNNING) else ""
    return f"resumed as run {view.id}, which {auxiliary}{wording.state_word(view.state)}"


def resume_hint(view: RunView) -> str | None:
    """`resume with: stagerun resume 42`, or None for a run that can't be resumed."""
    return f"resume with: {resume_command(view)}" if view.state in RESUMABLE else None


def resume_command(view: RunView) -> str:
    """`stagerun resume 42 --on lab`: the command that goes on at the place where the run has worked."""
    if view.plan.place is None:
        return f"stagerun resume {view.id}"
    import shlex

    return f"stagerun resume {view.id} --on {neutralise(shlex.quote(view.plan.place))}"
