"""What the contents mean, in any database: which runs are dead, what a resume takes over, what may be deleted.

Pure functions; their callers read the data.
"""

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from stagerun import events, exit_codes
from stagerun.errors import UsageError
from stagerun.machine.identity import Process
from stagerun.states import RESUMABLE, TERMINAL, RunState, StageState
from stagerun.view import RunView, fold


if TYPE_CHECKING:
    from stagerun.journal.store import Row


HEARTBEAT: Final = 5.0  # seconds between two signs of life of a silent run
SILENCE: Final = 60.0  # seconds without a sign of life after which a run on another host is dead
OPEN: Final = (RunState.PENDING, RunState.RUNNING)


class Resumption(Struct, frozen=True, kw_only=True):
    """What a run takes over from the run that it resumes.

    Attributes:
        view: the run that is being resumed.
        done_before: stages that it, or the runs before it, have finished.
        inherited: checkpoint key -> (run, seq) of the event with its value.
        dropped: checkpoint keys that are not taken over.

    """

    view: RunView
    done_before: tuple[str, ...]
    inherited: Mapping[str, tuple[int, int]]
    dropped: tuple[str, ...]


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


def resumption(view: RunView, stored: "Iterable[Row]", from_stage: str | None = None) -> Resumption:
    """Return what a run that resumes `view` takes over: nothing from `from_stage` or a later stage.

    Args:
        view: the run.
        stored: its rows of `checkpoints`.
        from_stage: the stage to begin with, or None for where it stopped; UsageError if the run has no such stage.

    """
    names = view.plan.stages
    if from_stage is not None and from_stage not in names:
        hint = f"its stages: {', '.join(names) or 'none'}"
        raise UsageError(f"{view.plan.target} has no stage {from_stage!r}", hint)
    again = set(names[names.index(from_stage) :] if from_stage else ())
    done = {*view.plan.done_before, *(stage.name for stage in view.stages if stage.state is StageState.DONE)}
    stored = list(stored)
    return Resumption(
        view=view,
        done_before=tuple(name for name in names if name in done - again),
        inherited={row["key"]: (row["event_run_id"], row["event_seq"]) for row in stored if row["stage"] not in again},
        dropped=tuple(row["key"] for row in stored if row["stage"] in again),
    )


def prunable(
    runs: "Iterable[Row]", newest: Container[int], *, before: float | None, state: RunState | None
) -> list[int]:
    """Return the ids of the runs that may be deleted: ended in `state`, created earlier than `before`, not `newest`.

    A lineage of resumes is deleted as a whole. One that can still be resumed stays, unless `state` asks for it.

    Args:
        runs: id, root, state and created_on of all runs, in the order of their ids.
        newest: the ids of runs that stay.
        before: seconds since 1970, None for any time.
        state: None for any terminal state.

    """
    lineages: dict[int, list[Row]] = {}
    for row in runs:
        lineages.setdefault(row["root"], []).append(row)
    found = list[int]()
    for lineage in lineages.values():
        end = RunState(lineage[-1]["state"])
        if end not in TERMINAL or (state is None and end in RESUMABLE) or (state is not None and end is not state):
            continue
        if before is not None and lineage[-1]["created_on"] >= before:
            continue
        ids = [row["id"] for row in lineage]
        if not any(run in newest for run in ids):
            found += ids
    return sorted(found)
