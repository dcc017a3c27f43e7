"""Conversion between the rows of the journal's tables and the views and events that they hold.

What is read is checked here, once for every command: a journal may come from elsewhere, and a database keeps anything.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from stagerun import events
from stagerun.events import Count, Id, Moment, Seconds
from stagerun.states import TERMINAL, RunState
from stagerun.text import json_text
from stagerun.view import RunView, StageView


if TYPE_CHECKING:
    from stagerun.journal.store import Row
    from stagerun.resumption import Kept

_Kind = TypeVar("_Kind")

_LONGEST_REASON: Final = 200  # characters


class Nonsense(Exception):
    """What a column holds makes no sense. The text names the column and says why."""

    def __init__(self, where: str, why: str) -> None:
        shown = why if len(why) <= _LONGEST_REASON else f"{why[:_LONGEST_REASON]}…"
        super().__init__(f"{where}: {shown[:1].lower()}{shown[1:]}")


class _Run(Struct):
    """A row of `runs`; the columns with JSON are still text."""

    id: Id
    target: str
    recipe: str
    operation: str
    source: str | None
    source_hash: str | None
    state: RunState
    owner: str
    params: str
    stages: str
    current_stage: int
    progress: str | None
    status_text: str | None
    status_level: events.Level | None
    result_context: str | None
    error: str | None
    created_on: Moment
    started_on: Moment | None
    finished_on: Moment | None
    seconds: Seconds | None
    exit_code: events.ExitCode | None
    signal: events.Signal | None
    chained_from: Id | None
    chained_to: Id | None
    resumed_from: Id | None
    root: Id
    attempt: Id
    expected: str
    done_before: str
    host: str
    boot_id: str
    pid_namespace: str
    pid: Count
    process_started: Seconds
    seen_on: Moment
    project: str
    folder: str
    work: str
    place: str | None
    worker: str | None
    tags: str
    once: str | None


class _Place(Struct):
    """What a row of `events` says about its event."""

    seq: Count
    time: Moment


class _Stored(Struct):
    """A row of `checkpoints`."""

    key: str
    call: Literal["checkpoint", "step", "sh", "track", "map"]
    stage: str | None
    inside: str | None
    item: Count | None
    done: Count | None
    total: Count | None
    stages: str | None
    event_run_id: Id
    event_seq: Count


class Summary(Struct):
    """What decides whether a run may be deleted."""

    id: Id
    root: Id
    state: RunState
    created_on: Moment


_JSON: Final[Mapping[str, Any]] = {
    "params": dict[str, Any],
    "result_context": dict[str, Any],
    "expected": dict[str, Seconds],
    "done_before": tuple[str, ...],
    "progress": events.ProgressMoved,
    "error": events.Failure,
    "stages": tuple[str, ...],
    "worker": events.Worker,
    "tags": tuple[str, ...],
}


def of_plan(view: RunView) -> dict[str, object]:
    """Return the columns of `runs` that never change."""
    plan = view.plan
    return {
        "target": json_text.encodable(plan.target),
        "recipe": json_text.encodable(plan.recipe),
        "operation": plan.operation,
        "source": json_text.encodable(plan.source) if plan.source else None,
        "source_hash": plan.source_hash,
        "owner": json_text.encodable(plan.owner),
        "params": json_text.dumps(plan.params),
        "stages": json_text.dumps(plan.stages),
        "created_on": view.created_on,
        "chained_from": plan.chained_from,
        "resumed_from": plan.resumed_from,
        "attempt": plan.attempt,
        "expected": json_text.dumps(plan.expected),
        "done_before": json_text.dumps(plan.done_before),
        "host": plan.host,
        "boot_id": plan.boot_id,
        "pid_namespace": plan.pid_namespace,
        "pid": plan.pid,
        "process_started": plan.process_started,
        "project": json_text.encodable(plan.project),
        "folder": json_text.encodable(plan.folder),
        "work": plan.work,
        "place": plan.place,
        "tags": json_text.dumps(plan.tags),
        "once": plan.once and json_text.encodable(plan.once),
    }


def of_state(view: RunView, seen_on: float) -> dict[str, object]:
    """Return the columns of `runs` that follow the events."""
    progress, status, result, error = view.progress, view.status, view.result_context, view.error
    return {
        "root": view.root,
        "state": view.state,
        "current_stage": view.current_stage,
        "stage_states": json_text.dumps(view.stage_states),
        "percent": view.percent,
        "progress": json_text.dumps(progress) if progress else None,
        "status_text": json_text.encodable(status.text) if status else None,
        "status_level": status.level if status else None,
        "result_context": json_text.dumps(result) if result is not None else None,
        "error": json_text.dumps(error) if error else None,
        "started_on": view.started_on,
        "finished_on": view.finished_on,
        "seconds": view.seconds,
        "exit_code": view.exit_code,
        "signal": view.signal,
        "chained_to": view.chained_to,
        "worker": json_text.dumps(view.worker) if view.worker else None,
        "seen_on": seen_on,
    }


def of_stage(run: int, position: int, stage: StageView) -> dict[str, object]:
    """Return a row of `stages`."""
    return {
        "run_id": run,
        "position": position,
        "name": json_text.encodable(stage.name),
        "state": stage.state,
        "seconds": stage.seconds,
        "entered_on": stage.entered_on,
        "visits": stage.visits,
        "from_run": stage.from_run,
        "skipped": stage.skipped,
    }


def of_event(entry: events.Entry) -> tuple[int, int, float, str, str]:
    """Return a row of `events`: run, number, time, kind, data."""
    event = entry.event
    return entry.run, entry.seq, entry.time, event.kind, json_text.dumps(event)


def of_stored(entry: events.Entry) -> dict[str, object]:
    """Return the row of `checkpoints` that points to `entry`, an event with something stored."""
    stored = entry.event
    assert isinstance(stored, events.Stored)
    return {
        "run_id": entry.run,
        "key": json_text.encodable(stored.key),
        "stage": stored.stage and json_text.encodable(stored.stage),
        "inside": stored.inside and json_text.encodable(stored.inside),
        "item": stored.item,
        "event_run_id": entry.run,
        "event_seq": entry.seq,
        **_kind_of_stored(stored),
    }


def to_kept(row: "Row") -> "Kept":
    """Return what a row of `checkpoints` tells of the value it points to."""
    from stagerun.resumption import Kept

    stored = checked(row, _Stored, "checkpoints")
    return Kept(
        key=stored.key,
        call=stored.call,
        stage=stored.stage,
        inside=stored.inside,
        item=stored.item,
        done=stored.done,
        total=stored.total,
        run=stored.event_run_id,
        seq=stored.event_seq,
        stages=_loaded(stored.stages, tuple[str, ...], "checkpoints.stages") if stored.stages else (),
    )


def _kind_of_stored(stored: events.Stored) -> dict[str, object]:
    match stored:
        case events.PositionReached():
            stages = json_text.dumps(stored.stages) if stored.stages else None
            return {"part": 0, "call": "track", "done": stored.position, "total": stored.total, "stages": stages}
        case events.ResultsStored():
            done = len(stored.items)
            return {"part": stored.part, "call": "map", "done": done, "total": stored.total, "stages": None}
        case events.CheckpointStored():
            return {"part": 0, "call": stored.call, "done": None, "total": None, "stages": None}
        case _:
            raise AssertionError(stored)


def checked(row: "Row", kind: type[_Kind], table: str) -> _Kind:
    """Return a row of `table` as a `kind`; Nonsense if a column holds what it can't."""
    try:
        return msgspec.convert(dict(row), kind)
    except msgspec.ValidationError as error:
        why, _, path = str(error).partition(" - at `$.")
        column = path.rstrip("`")
        raise Nonsense(f"{table}.{column}" if column else table, why) from None


def to_view(row: "Row", stages: "Iterable[Row]") -> RunView:
    """Return the run that a row of `runs` and its rows of `stages`, in order, describe."""
    run = checked(row, _Run, "runs")
    values = {name: _loaded(row[name], kind, f"runs.{name}") for name, kind in _JSON.items() if row[name] is not None}
    plan = events.RunCreated(
        **{name: getattr(run, name) for name in _PLAIN},
        **{name: values[name] for name in ("stages", "params", "expected", "done_before", "tags")},
        root=run.root if run.root != run.id else None,
    )
    if not -1 <= run.current_stage < len(plan.stages):
        raise Nonsense("runs.current_stage", f"there is no stage {run.current_stage}")
    return RunView(
        id=run.id,
        created_on=run.created_on,
        plan=plan,
        stages=_to_stages(stages, plan.stages),
        state=run.state,
        current_stage=run.current_stage,
        progress=values.get("progress"),
        status=_to_status(run),
        result_context=values.get("result_context"),
        started_on=run.started_on,
        finished_on=run.finished_on,
        end=_to_end(run, values.get("error")),
        worker=values.get("worker"),
    )


def to_stage(row: "Row") -> StageView:
    """Return the stage in a row of `stages`."""
    return checked(row, StageView, "stages")


def to_summaries(found: "Iterable[Row]") -> Iterator[Summary]:
    """Yield what decides whether runs may be deleted. A damaged one counts as one that is not over."""
    for row in found:
        try:
            yield checked(row, Summary, "runs")
        except Nonsense:
            yield Summary(id=row["id"], root=row["root"], state=RunState.PENDING, created_on=0.0)


def to_entry(run: int, row: "Row") -> events.Entry | None:
    """Return the entry in a row of `events`, or None if it is of a kind that only a newer stagerun knows."""
    seq, time = row["seq"], row["time"]
    # There can be millions of events: only for one that looks wrong it is worked out what is wrong.
    if type(seq) is not int or seq < 0 or type(time) is not float or not 0 <= time <= events.LATEST:
        checked(row, _Place, "events")
    try:
        event = to_event(row)
    except Nonsense as error:
        raise Nonsense(f"event {seq}", str(error)) from None
    return None if event is None else events.Entry(run, seq, time, event)


def next_number(last: object) -> int | None:
    """Return the number of the event after `last`, the newest of a run or None; None if it can't have one."""
    if last is None:
        return 1
    return last + 1 if isinstance(last, int) and last < events.LARGEST else None


def to_event(row: "Row") -> events.Event | None:
    """Return the event in a row with the columns `kind` and `data`, or None as `to_entry` does."""
    kind = events.EVENTS.get(row["kind"])
    if kind is None:
        return None
    event: events.Event = _loaded(row["data"], kind, "events.data")
    if isinstance(event, events.RunFinished):
        _check_end(event, "events.data")
    return event


# Columns that hold a field of the plan as it is.
_PLAIN: Final = (
    *("target", "recipe", "operation", "source", "source_hash", "owner", "chained_from", "resumed_from", "attempt"),
    *("host", "boot_id", "pid_namespace", "pid", "process_started", "project", "folder", "work", "place", "once"),
)


def _loaded(text: object, kind: Any, where: str) -> Any:
    if not isinstance(text, str):
        raise Nonsense(where, "it is not text")
    try:
        return json_text.loads(text, kind)
    except ValueError as error:
        raise Nonsense(where, str(error)) from None


def _to_stages(found: "Iterable[Row]", names: Sequence[str]) -> tuple[StageView, ...]:
    stages = tuple(map(to_stage, found))
    if [stage.name for stage in stages] != [json_text.encodable(name) for name in names]:
        raise Nonsense("stages", "they are not those of the run")
    return stages


def _to_status(run: _Run) -> events.StatusChanged | None:
    if run.status_text is None:
        return None
    if run.status_level is None:
        raise Nonsense("runs.status_level", "a status has a level")
    return events.StatusChanged(run.status_text, run.status_level)


def _to_end(run: _Run, error: events.Failure | None) -> events.RunFinished | None:
    if run.state not in TERMINAL:
        return None
    if run.seconds is None or run.exit_code is None:
        raise Nonsense("runs", f"a run that is {run.state} has an exit code and a duration")
    end = events.RunFinished(
        state=run.state,
        seconds=run.seconds,
        exit_code=run.exit_code,
        signal=run.signal,
        error=error,
        chained_to=run.chained_to,
    )
    _check_end(end, "runs.exit_code")
    return end


def _check_end(end: events.RunFinished, where: str) -> None:
    if end.state not in TERMINAL:
        raise Nonsense(where, f"a run can't end as {end.state}")
    if (end.exit_code == 0) is not (end.state is RunState.SUCCEEDED):
        raise Nonsense(where, f"a run that is {end.state} can't have the exit code {end.exit_code}")
