"""A chain as a trace for Perfetto and chrome://tracing: one track for each run, a bar for each visit to a block.

The format is the Trace Event Format (Google, "JSON Array Format" and "JSON Object Format"). Times are microseconds.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from stagerun import events
from stagerun.view import RunView


def document(runs: Iterable[tuple[RunView, Iterable[events.Entry]]], now: float) -> dict[str, Any]:
    """Return the trace of runs with their entries; running stages last until `now`."""
    return {
        "traceEvents": [each for view, entries in runs for each in _run(view, entries, now)],
        "displayTimeUnit": "ms",
    }


def _run(view: RunView, entries: Iterable[events.Entry], now: float) -> Iterator[dict[str, Any]]:
    track = {"pid": view.process.pid, "tid": view.id}
    yield {"ph": "M", "name": "process_name", "args": {"name": f"stagerun on {view.process.host}"}, **track}
    yield {"ph": "M", "name": "thread_name", "args": {"name": f"run {view.id} {view.plan.target}"}, **track}
    begun = view.started_on or view.created_on
    about = {"state": view.state, "owner": view.owner, "params": view.plan.params}
    yield _bar(view.plan.target, "run", begun, view.elapsed(now), about) | track
    opened = list[tuple[str, float]]()
    for entry in entries:
        match entry.event:
            case events.StageEntered(stage=name):
                opened.append((name, entry.time))
            case events.StageLeft(stage=name, seconds=seconds, state=state, skipped=skipped):
                left = name, max(0.0, entry.time - seconds)
                entered = next((each for each in reversed(opened) if each[0] == name), left)
                opened = [each for each in opened if each is not entered]
                about = {"state": state} | ({"skipped": skipped} if skipped is not None else {})
                yield _bar(name, "stage", entered[1], seconds, about) | track
            case events.StageTakenOver(stage=name, run=run):
                yield _bar(name, "stage", entry.time, 0.0, {"state": "done", "from_run": run}) | track
            case events.CheckpointStored(key=key):
                what = {"ph": "i", "s": "t", "name": f"checkpoint {key}", "cat": "checkpoint"}
                yield what | {"ts": _micro(entry.time)} | track
            case _:
                pass
    end = begun + view.elapsed(now)
    for name, entered_on in opened:
        yield _bar(name, "stage", entered_on, max(0.0, end - entered_on), {"state": "not left"}) | track


def _bar(name: str, category: str, begun: float, seconds: float, about: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "X", "name": name, "cat": category, "ts": _micro(begun), "dur": _micro(seconds), "args": about}


def _micro(seconds: float) -> int:
    return round(seconds * 1_000_000)
