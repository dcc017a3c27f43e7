"""Conversion between the rows of the journal's tables and the views and events that they hold."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from stagerun import events
from stagerun.machine.identity import Process
from stagerun.resumption import Kept
from stagerun.states import TERMINAL, RunState, StageState
from stagerun.view import RunView, StageView


if TYPE_CHECKING:
    from stagerun.journal.store import Row


_JSON: Final[Mapping[str, Any]] = {
    "params": dict[str, Any],
    "result_context": dict[str, Any],
    "expected": dict[str, float],
    "done_before": tuple[str, ...],
    "progress": events.ProgressMoved,
    "error": events.Failure,
    "stages": tuple[str, ...],
}


def of_plan(view: RunView) -> dict[str, object]:
    """Return the columns of `runs` that never change."""
    plan = view.plan
    return {
        "target": events.encodable(plan.target),
        "recipe": events.encodable(plan.recipe),
        "operation": plan.operation,
        "source": events.encodable(plan.source) if plan.source else None,
        "source_hash": plan.source_hash,
        "owner": events.encodable(plan.owner),
        "params": events.dumps(plan.params),
        "stages": events.dumps(plan.stages),
        "created_on": view.created_on,
        "chained_from": plan.chained_from,
        "resumed_from": plan.resumed_from,
        "attempt": plan.attempt,
        "expected": events.dumps(plan.expected),
        "done_before": events.dumps(plan.done_before),
        "host": plan.host,
        "boot_id": plan.boot_id,
        "pid_namespace": plan.pid_namespace,
        "pid": plan.pid,
        "process_started": plan.process_started,
        "project": events.encodable(plan.project),
        "folder": events.encodable(plan.folder),
        "work": plan.work,
    }


def of_state(view: RunView, seen_on: float) -> dict[str, object]:
    """Return the columns of `runs` that follow the events."""
    progress, status, result, error = view.progress, view.status, view.result_context, view.error
    return {
        "root": view.root,
        "state": view.state,
        "current_stage": view.current_stage,
        "stage_states": events.dumps(view.stage_states),
        "percent": view.percent,
        "progress": events.dumps(progress) if progress else None,
        "status_text": events.encodable(status.text) if status else None,
        "status_level": status.level if status else None,
        "result_context": events.dumps(result) if result is not None else None,
        "error": events.dumps(error) if error else None,
        "started_on": view.started_on,
        "finished_on": view.finished_on,
        "seconds": view.seconds,
        "exit_code": view.exit_code,
        "signal": view.signal,
        "chained_to": view.chained_to,
        "seen_on": seen_on,
    }


def of_stage(run: int, position: int, stage: StageView) -> dict[str, object]:
    """Return a row of `stages`."""
    return {
        "run_id": run,
        "position": position,
        "name": events.encodable(stage.name),
        "state": stage.state,
        "seconds": stage.seconds,
        "entered_on": stage.entered_on,
        "visits": stage.visits,
        "from_run": stage.from_run,
    }


def of_event(entry: events.Entry) -> tuple[int, int, float, str, str]:
    """Return a row of `events`: run, number, time, kind, data."""
    event = entry.event
    return entry.run, entry.seq, entry.time, event.kind, events.dumps(event)


def of_stored(entry: events.Entry) -> dict[str, object]:
    """Return the row of `checkpoints` that points to `entry`, an event with something stored."""
    stored = entry.event
    assert isinstance(stored, events.Stored)
    return {
        "run_id": entry.run,
        "key": events.encodable(stored.key),
        "stage": stored.stage and events.encodable(stored.stage),
        "inside": stored.inside and events.encodable(stored.inside),
        "item": stored.item,
        "event_run_id": entry.run,
        "event_seq": entry.seq,
        **_kind_of_stored(stored),
    }


def to_kept(row: "Row") -> Kept:
    """Return what a row of `checkpoints` tells of the value it points to."""
    names = ("key", "call", "stage", "inside", "item", "done", "total")
    return Kept(**{name: row[name] for name in names}, run=row["event_run_id"], seq=row["event_seq"])


def _kind_of_stored(stored: events.Stored) -> dict[str, object]:
    match stored:
        case events.PositionReached():
            return {"part": 0, "call": "track", "done": stored.position, "total": stored.total}
        case events.ResultsStored():
            return {"part": stored.part, "call": "map", "done": len(stored.items), "total": stored.total}
        case events.CheckpointStored():
            return {"part": 0, "call": stored.call, "done": None, "total": None}
        case _:
            raise AssertionError(stored)


def to_view(row: "Row", stages: "Iterable[Row]") -> RunView:
    """Return the run that a row of `runs` and its rows of `stages`, in order, describe."""
    values: dict[str, Any] = {
        name: events.loads(row[name], kind) if row[name] is not None else None for name, kind in _JSON.items()
    }
    state, run = RunState(row["state"]), row["id"]
    plan = events.RunCreated(
        **{name: row[name] for name in _PLAIN},
        **{name: values[name] for name in ("stages", "params", "expected", "done_before")},
        root=row["root"] if row["root"] != run else None,
    )
    end = None
    if state in TERMINAL:
        end = events.RunFinished(state=state, error=values["error"], **{name: row[name] for name in _END})
    return RunView(
        id=run,
        created_on=row["created_on"],
        plan=plan,
        stages=tuple(map(_to_stage, stages)),
        state=state,
        current_stage=row["current_stage"],
        progress=values["progress"],
        status=_to_status(row),
        result_context=values["result_context"],
        started_on=row["started_on"],
        finished_on=row["finished_on"],
        end=end,
    )


def to_process(row: "Row") -> Process:
    """Return the process of the run in a row of `runs`."""
    return Process(
        host=row["host"],
        boot_id=row["boot_id"],
        pid_namespace=row["pid_namespace"],
        pid=row["pid"],
        started=row["process_started"],
    )


def to_entry(run: int, row: "Row") -> events.Entry:
    """Return the entry in a row of `events`."""
    return events.Entry(run, row["seq"], row["time"], to_event(row))


def to_event(row: "Row") -> events.Event:
    """Return the event in a row with the columns `kind` and `data`."""
    event: events.Event = events.loads(row["data"], events.EVENTS[row["kind"]])
    return event


# Columns that hold a field of the plan, or of the end, as it is.
_PLAIN: Final = (
    *("target", "recipe", "operation", "source", "source_hash", "owner", "chained_from", "resumed_from", "attempt"),
    *("host", "boot_id", "pid_namespace", "pid", "process_started", "project", "folder", "work"),
)
_END: Final = ("seconds", "exit_code", "signal", "chained_to")


def _to_stage(row: "Row") -> StageView:
    return StageView(
        name=row["name"],
        state=StageState(row["state"]),
        seconds=row["seconds"],
        entered_on=row["entered_on"],
        visits=row["visits"],
        from_run=row["from_run"],
    )


def _to_status(row: "Row") -> events.StatusChanged | None:
    text = row["status_text"]
    return None if text is None else events.StatusChanged(text, row["status_level"])
