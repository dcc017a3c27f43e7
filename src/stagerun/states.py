"""The states of a run and of a stage, and the only moves between them.

Two small state machines, each a plain dict: a move that is not in it is illegal. No other file decides a move.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from stagerun.errors import IllegalTransition


class RunState(StrEnum):
    PENDING = "pending"  # recorded, not started
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the recipe raised, or called `p.error`
    CANCELLED = "cancelled"  # a person or a signal asked for it
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"  # the process ended without reporting its end


class StageState(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


RUN_MOVES: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.CANCELLED, RunState.CRASHED}),
    RunState.RUNNING: frozenset(
        {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT, RunState.CRASHED}
    ),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
    RunState.TIMED_OUT: frozenset(),
    RunState.CRASHED: frozenset(),
}

STAGE_MOVES: Final[Mapping[StageState, frozenset[StageState]]] = {
    StageState.PENDING: frozenset({StageState.ACTIVE}),
    StageState.ACTIVE: frozenset({StageState.DONE, StageState.CANCELLED, StageState.FAILED}),
    StageState.DONE: frozenset({StageState.ACTIVE}),
    StageState.CANCELLED: frozenset(),
    StageState.FAILED: frozenset({StageState.ACTIVE}),
}

TERMINAL: Final = frozenset(state for state, moves in RUN_MOVES.items() if not moves)
RESUMABLE: Final = frozenset({RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT, RunState.CRASHED})

_State = TypeVar("_State", RunState, StageState)


def move(moves: Mapping[_State, frozenset[_State]], what: str, old: _State, new: _State) -> _State:
    """Return `new` if `moves` allows it after `old`; otherwise raise IllegalTransition, which names all three."""
    if new not in moves[old]:
        raise IllegalTransition(f"{what} can't go from {old} to {new}")
    return new
