"""What the contents mean, in any database: which runs are dead, and what may be deleted.

Pure functions; their callers read the data.
"""

from collections.abc import Container, Iterable
from typing import Final, TypeAlias

from stagerun import events, exit_codes
from stagerun.journal.rows import Summary
from stagerun.machine.identity import Process
from stagerun.states import RESUMABLE, TERMINAL, RunState
from stagerun.view import RunView, fold


HEARTBEAT: Final = 5.0  # seconds between two signs of life of a silent run
SILENCE: Final = 60.0  # seconds without a sign of life after which a run on another host is dead
OPEN: Final = (RunState.PENDING, RunState.RUNNING)
# The runs of an operation, whichever way its target is spelled, and those of them that are not over.
SAME_OPERATION: Final = "operation = ? AND (target = ? OR source = ?)"
OPEN_OF_OPERATION: Final = f"{SAME_OPERATION} AND state IN ('pending', 'running')"


OperationKey: TypeAlias = tuple[str, str, str | None]


def operation_key(plan: events.RunCreated) -> OperationKey:
    """Return the values of `SAME_OPERATION`."""
    return plan.operation, plan.target, plan.source


def is_dead(process: Process, seen_on: float, now: float) -> bool:
    """Return True if the process of an unfinished run is gone; `seen_on` is its last sign of life."""
    gone = process.is_gone()
    return now - seen_on > SILENCE if gone is None else gone


def crashed(view: RunView, seen_on: float) -> RunView:
    """Return `view` as a run that died at its last sign of life, in the stage that it was in."""
    end = events.RunFinished(
        state=RunState.CRASHED,
        seconds=max(0.0, seen_on - (view.started_on or seen_on)),
        exit_code=exit_codes.FAILED,
        error=events.Failure(
            type="",
            message="the process ended without a word",
            stage=view.active.name if view.active else None,
        ),
    )
    return fold(view, events.Entry(view.id, 0, seen_on, end))


def prunable(
    runs: Iterable[Summary], newest: Container[int], *, before: float | None, state: RunState | None
) -> list[int]:
    """Return the ids of the runs that may be deleted: ended in `state`, created earlier than `before`, not `newest`.

    A lineage of resumes is deleted as a whole. One that can still be resumed stays, unless `state` asks for it.

    Args:
        runs: all runs, in the order of their ids.
        newest: the ids of runs that stay.
        before: seconds since 1970, None for any time.
        state: None for any terminal state.

    """
    lineages: dict[int, list[Summary]] = {}
    for run in runs:
        lineages.setdefault(run.root, []).append(run)
    found = list[int]()
    for lineage in lineages.values():
        end = lineage[-1].state
        if end not in TERMINAL or (state is None and end in RESUMABLE) or (state is not None and end is not state):
            continue
        if before is not None and lineage[-1].created_on >= before:
            continue
        ids = [run.id for run in lineage]
        if not any(run in newest for run in ids):
            found += ids
    return sorted(found)
