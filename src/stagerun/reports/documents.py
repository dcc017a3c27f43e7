"""Runs as JSON documents. The keys are an interface; docs/json.md lists them."""

from collections.abc import Iterator
from typing import Any

import msgspec

from stagerun import events
from stagerun.text import wording
from stagerun.view import RunView


def run(view: RunView, resumed_as: int | None) -> dict[str, Any]:
    """Return a run; `resumed_as` is the run that goes on from it."""
    error = view.error
    return {
        "id": view.id,
        "target": view.plan.target,
        "recipe": view.plan.recipe,
        "operation": view.plan.operation,
        "state": view.state,
        "owner": view.owner,
        "params": view.plan.params,
        "stages": [stage.name for stage in view.stages],
        "current_stage": view.current_stage,
        "stage_states": view.stage_states,
        "taken_over": {stage.name: stage.from_run for stage in view.stages if stage.from_run is not None},
        "stage_seconds": {stage.name: round(stage.seconds, 6) for stage in view.stages if stage.visits},
        "skipped": {stage.name: stage.skipped for stage in view.stages if stage.skipped is not None},
        "not_entered": view.not_entered,
        "percent": view.percent,
        "loops": [{name: getattr(loop, name) for name in events.Counted.__struct_fields__} for loop in view.loops],
        "status_text": view.status.text if view.status else None,
        "result_context": view.result_context,
        "error": error
        and {
            "type": error.type,
            "message": error.message,
            "stage": error.stage,
            "traceback": error.traceback,
        },
        "created_on": wording.timestamp(view.created_on),
        "started_on": _time(view.started_on),
        "finished_on": _time(view.finished_on),
        "finished_successfully": view.finished_successfully,
        "seconds": None if view.seconds is None else round(view.seconds, 6),
        "exit_code": view.exit_code,
        "signal": view.signal,
        "chained_from": view.plan.chained_from,
        "chained_to": view.chained_to,
        "resumed_from": view.plan.resumed_from,
        "resumed_as": resumed_as,
        "root": view.root,
        "attempt": view.plan.attempt,
        "tags": list(view.plan.tags),
        "once": view.plan.once,
        "project": view.plan.project,
        "folder": view.plan.folder,
        "host": view.process.host,
        "pid": view.process.pid,
        "place": view.plan.place,
        "worker": view.worker and {"host": view.worker.host, "pid": view.worker.pid},
    }


def entry(entry: events.Entry, view: RunView) -> list[dict[str, Any]]:
    """Return an event as documents with seq, time, run, event and its own fields: one, or one for each log line.

    `view` is the run after it.
    """
    event = entry.event
    place = {"seq": entry.seq, "time": wording.timestamp(entry.time), "run": entry.run, "event": event.kind}
    if isinstance(event, events.Log):
        about = {"level": event.level, "stream": event.stream}
        return [place | {"seq": seq, "line": line} | about for seq, line in enumerate(event.lines, entry.seq)]
    told = place | msgspec.to_builtins(event)
    return [told | {"not_entered": view.not_entered} if isinstance(event, events.RunFinished) else told]


def log_lines(entry: events.Entry) -> Iterator[dict[str, Any]]:
    """Yield a document for each line."""
    log = entry.event
    assert isinstance(log, events.Log)
    moment = wording.timestamp(entry.time)
    for seq, line in enumerate(log.lines, entry.seq):
        yield {"seq": seq, "time": moment, "line": line, "level": log.level, "stream": log.stream}


def _time(moment: float | None) -> str | None:
    return None if moment is None else wording.timestamp(moment)
