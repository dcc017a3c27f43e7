"""What the far end may say: which frames in which state, which events, which plan of a next run. Nothing is done."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec.structs import replace

from stagerun import events, exit_codes
from stagerun.remote.messages import convert
from stagerun.states import TERMINAL, RunState
from stagerun.view import RunView


class State(Enum):
    """What is expected of the far end."""

    OPENING = "opening"
    WORKING = "working"
    AFTERWARDS = "afterwards"  # the run is over, and its hooks may still speak
    OVER = "over"


# The frames that may come in each state.
HEARD: Final[Mapping[State, frozenset[str]]] = {
    State.OPENING: frozenset({"hello"}),
    State.WORKING: frozenset({"events", "recall", "ahead", "over", "refused", "aside"}),
    State.AFTERWARDS: frozenset({"aside"}),
    State.OVER: frozenset(),
}
_KNOWN: Final = frozenset().union(*HEARD.values())

_ENDS: Final = TERMINAL - {RunState.CRASHED}  # that is for home to say
# Fields of a plan that say whose run it is and what it goes on from: home knows them.
_OURS: Final = ("host", "boot_id", "pid_namespace", "pid", "process_started", "project", "folder", "place", "once")


def is_expected(name: str, state: State, *, newer: bool) -> bool:
    """Return True if a frame may come in that state, False if it is to be left out; ValueError for any other."""
    if name in HEARD[state]:
        return True
    if name in _KNOWN or not newer:
        raise ValueError(f"{name[:40]!r} is not expected now")
    return False


def event(kind: str, data: object, view: RunView, *, newer: bool) -> events.Event | None:
    """Return an event of the run, None for one of a kind that only a newer far end knows; ValueError for any other."""
    known = events.EVENTS.get(kind)
    if known is None and newer:
        return None
    if known is None or known is events.RunCreated:
        raise ValueError(f"an event {kind[:40]!r} is not expected")
    found: events.Event = convert(data, known)
    match found:
        case events.RunFinished():
            _check_end(found)
        case (
            events.StageEntered(index=int(index))
            | events.StageLeft(index=int(index))
            | events.StageTakenOver(index=int(index))
        ):
            if view.plan.stages[index : index + 1] != (found.stage,):
                raise ValueError(f"stage {index} is not {found.stage[:40]!r}")
        case _:
            pass
    return found


def link_end(data: object) -> events.RunFinished:
    """Return the end of a run that chains to another; ValueError for any other end."""
    end = convert(data, events.RunFinished)
    _check_end(end)
    if end.state is not RunState.SUCCEEDED:
        raise ValueError(f"a run that is {end.state} does not chain")
    return end


def next_plan(data: object, view: RunView) -> events.RunCreated:
    """Return the plan of the run that `view` chains to."""
    theirs = convert(data, events.RunCreated)
    ours: dict[str, object] = {name: getattr(view.plan, name) for name in _OURS}
    new: dict[str, object] = {
        "resumed_from": None,
        "root": None,
        "attempt": 1,
        "expected": {},
        "done_before": (),
        "inherited": {},
    }
    return replace(theirs, **ours, **new, chained_from=view.id)


def _check_end(end: events.RunFinished) -> None:
    if end.state not in _ENDS or end.chained_to is not None:
        raise ValueError(f"a run can't end as {end.state} there")
    if (end.exit_code == exit_codes.SUCCEEDED) is not (end.state is RunState.SUCCEEDED):
        raise ValueError(f"a run that is {end.state} can't have the exit code {end.exit_code}")
