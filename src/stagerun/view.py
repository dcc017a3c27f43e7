"""What an observer knows of a run, and the one pure function that derives it from events.

The journal's tables, the operation's own fields, every display and every report are made from a RunView.
"""

from collections.abc import Mapping
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from stagerun import events
from stagerun.errors import IllegalTransition
from stagerun.machine import identity
from stagerun.states import RUN_MOVES, STAGE_MOVES, RunState, StageState, move


class StageView(Struct, frozen=True, kw_only=True):
    """One declared stage.

    Attributes:
        name: as declared.
        state: its current state.
        seconds: time in all finished visits.
        entered_on: when it was last entered, or None.
        visits: how often it was entered.
        from_run: the earlier run that did its work, if this run took it over; else None.
        skipped: why there was nothing to do at the last visit, or None.

    """

    name: str
    state: StageState = StageState.PENDING
    seconds: events.Seconds = 0.0
    entered_on: events.Moment | None = None
    visits: events.Count = 0
    from_run: events.Id | None = None
    skipped: str | None = None

    def elapsed(self, now: float) -> float:
        """Return the seconds in this stage so far, including the current visit."""
        if self.state is StageState.ACTIVE and self.entered_on is not None:
            return self.seconds + max(0.0, now - self.entered_on)
        return self.seconds


class RunView(Struct, frozen=True, kw_only=True):
    """One run. Times are seconds since 1970; what has not happened is None.

    Attributes:
        id: the run's id.
        created_on: when it was recorded.
        plan: the event that created it. Its `inherited` is empty if the view was read from the journal's tables.
        stages: the declared stages in order.
        state: its current state.
        current_stage: position of the stage entered last, -1 before the first.
        untracked: open blocks that are not declared, outermost first; only a live view has them.
        progress: how far the current work has got, in all of its loops.
        status: the one-line status.
        redrawn: the line that is being drawn anew; only a live view has it.
        result_context: the result.
        started_on: when the recipe began.
        finished_on: when the run ended.
        end: the event that ended it.
        worker: the process that the recipe works in, or None if that is the run's own.

    """

    id: int
    created_on: float
    plan: events.RunCreated
    stages: tuple[StageView, ...]
    state: RunState = RunState.PENDING
    current_stage: int = -1
    untracked: tuple[str, ...] = ()
    progress: events.ProgressMoved | None = None
    status: events.StatusChanged | None = None
    redrawn: events.LineRedrawn | None = None
    result_context: Mapping[str, Any] | None = None
    started_on: float | None = None
    finished_on: float | None = None
    end: events.RunFinished | None = None
    worker: events.Worker | None = None

    @property
    def root(self) -> int:
        """The first run of the lineage of resumes."""
        return self.plan.root or self.id

    @property
    def owner(self) -> str:
        return self.plan.owner

    @property
    def process(self) -> identity.Process:
        """The process that the run runs in."""
        plan = self.plan
        return identity.Process(
            host=plan.host,
            boot_id=plan.boot_id,
            pid_namespace=plan.pid_namespace,
            pid=plan.pid,
            started=plan.process_started,
        )

    @property
    def seconds(self) -> float | None:
        return self.end.seconds if self.end else None

    @property
    def exit_code(self) -> int | None:
        return self.end.exit_code if self.end else None

    @property
    def signal(self) -> str | None:
        return self.end.signal if self.end else None

    @property
    def error(self) -> events.Failure | None:
        return self.end.error if self.end else None

    @property
    def chained_to(self) -> int | None:
        return self.end.chained_to if self.end else None

    @property
    def stage_states(self) -> dict[str, StageState]:
        return {stage.name: stage.state for stage in self.stages}

    @property
    def finished_successfully(self) -> bool:
        return self.state is RunState.SUCCEEDED

    @property
    def cancelled(self) -> bool:
        return self.state is RunState.CANCELLED

    @property
    def traceback(self) -> str | None:
        return self.error.traceback if self.error else None

    @property
    def loops(self) -> tuple[events.Counted, ...]:
        """What is being counted, outermost loop first."""
        return (*self.progress.around, self.progress) if self.progress else ()

    @property
    def percent(self) -> float | None:
        """How much of the current work is done, 0 to 100: of all its loops together."""
        return self.progress.share if self.progress else None

    @property
    def not_entered(self) -> tuple[str, ...]:
        """The declared stages that a run that succeeded left out; empty for any other run."""
        if self.state is not RunState.SUCCEEDED:
            return ()
        return tuple(stage.name for stage in self.stages if stage.state is StageState.PENDING)

    @property
    def active(self) -> StageView | None:
        """The declared stage that is open now."""
        return next((stage for stage in self.stages if stage.state is StageState.ACTIVE), None)

    def elapsed(self, now: float) -> float:
        """Return the run's seconds: from start to end, or to `now` while it runs."""
        if self.seconds is not None:
            return self.seconds
        return max(0.0, now - self.started_on) if self.started_on is not None else 0.0

    def position(self, stage: str) -> int | None:
        """Return the declared position of `stage`, or None if it is not declared."""
        return next((index for index, each in enumerate(self.stages) if each.name == stage), None)


def begin(entry: events.Entry) -> RunView:
    """Return the view of a run that has just been created."""
    plan = entry.event
    assert isinstance(plan, events.RunCreated)
    return RunView(
        id=entry.run,
        created_on=entry.time,
        plan=plan,
        stages=tuple(StageView(name=name) for name in plan.stages),
    )


def fold(view: RunView, entry: events.Entry) -> RunView:
    """Return the view after `entry`. An illegal move raises IllegalTransition and changes nothing."""
    event = entry.event
    match event:
        case events.Log() if view.redrawn is None:
            return view  # first: most events are lines
        case events.ProgressMoved() | events.StatusChanged() | events.LineRedrawn() | events.Log():
            return _take_pulse(view, event)
        case events.ResultSet():
            return replace(view, result_context=event.result)
        case events.StageEntered() | events.StageLeft() | events.StageTakenOver():
            return _move_stage(view, event, entry.time)
        case events.RunStarted():
            state = move(RUN_MOVES, f"run {view.id}", view.state, RunState.RUNNING)
            # The status said what it waited for.
            return replace(view, state=state, started_on=entry.time, status=None, worker=event.worker)
        case events.RunFinished():
            return _finish(view, event, entry.time)
        case events.RunCreated():
            return begin(entry)
        case events.CheckpointStored() | events.PositionReached() | events.ResultsStored():
            return view
        case _:
            assert_never(event)


def _take_pulse(view: RunView, event: events.Pulse) -> RunView:
    match event:
        case events.ProgressMoved():
            over = event.ended and view.status is not None and view.status.depth > event.depth
            return replace(view, progress=event, status=None if over else view.status)
        case events.StatusChanged():
            return replace(view, status=event)
        case events.LineRedrawn():
            return replace(view, redrawn=event if event.line.strip() else None)
        case events.Log(stream=stream) if view.redrawn is not None and view.redrawn.stream == stream:
            return replace(view, redrawn=None)  # that was its end
        case _:
            return view


def _move_stage(
    view: RunView, event: events.StageEntered | events.StageLeft | events.StageTakenOver, time: float
) -> RunView:
    match event:
        case events.StageEntered():
            return _enter(view, event, time)
        case events.StageLeft():
            return _leave(view, event)
        case events.StageTakenOver():
            return _take_over(view, event)


def _enter(view: RunView, event: events.StageEntered, time: float) -> RunView:
    if event.index is None:
        return replace(view, untracked=(*view.untracked, event.stage), progress=None, status=None, redrawn=None)
    stage = _declared(view, event.index)
    state = move(STAGE_MOVES, f"stage {stage.name!r}", stage.state, StageState.ACTIVE)
    entered = replace(stage, state=state, entered_on=time, visits=stage.visits + 1, from_run=None, skipped=None)
    return replace(
        _with_stage(view, event.index, entered), current_stage=event.index, progress=None, status=None, redrawn=None
    )


def _leave(view: RunView, event: events.StageLeft) -> RunView:
    if event.index is None:
        return replace(view, untracked=view.untracked[:-1], redrawn=None)
    stage = _declared(view, event.index)
    state = move(STAGE_MOVES, f"stage {stage.name!r}", stage.state, event.state)
    left = replace(stage, state=state, seconds=stage.seconds + event.seconds, skipped=event.skipped)
    return replace(_with_stage(view, event.index, left), redrawn=None)


def _take_over(view: RunView, event: events.StageTakenOver) -> RunView:
    if event.index is None:
        return view
    stage = _declared(view, event.index)
    what = f"stage {stage.name!r}"
    state = move(STAGE_MOVES, what, move(STAGE_MOVES, what, stage.state, StageState.ACTIVE), StageState.DONE)
    taken = replace(stage, state=state, from_run=event.run, skipped=None)
    return replace(
        _with_stage(view, event.index, taken), current_stage=event.index, progress=None, status=None, redrawn=None
    )


def _finish(view: RunView, event: events.RunFinished, time: float) -> RunView:
    stages = view.stages
    if event.state is RunState.CRASHED:
        # A crashed process could not leave its stage itself.
        stages = tuple(_died_in(stage, time) if stage.state is StageState.ACTIVE else stage for stage in stages)
    return replace(
        view,
        stages=stages,
        state=move(RUN_MOVES, f"run {view.id}", view.state, event.state),
        finished_on=time,
        end=event,
    )


def _died_in(stage: StageView, time: float) -> StageView:
    seconds = stage.seconds + max(0.0, time - (stage.entered_on or time))
    return replace(stage, state=StageState.FAILED, seconds=seconds)


def _declared(view: RunView, index: int) -> StageView:
    if index >= len(view.stages):
        raise IllegalTransition(f"run {view.id} has no stage at position {index}")
    return view.stages[index]


def _with_stage(view: RunView, index: int, stage: StageView) -> RunView:
    return replace(view, stages=(*view.stages[:index], stage, *view.stages[index + 1 :]))
