"""The two tables of states: every move that is in them, and every one that is not."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from stagerun.errors import IllegalTransition
from stagerun.states import RUN_MOVES, STAGE_MOVES, TERMINAL, RunState, StageState, move


LEGAL_RUN_MOVES = {
    ("pending", "running"),
    ("pending", "cancelled"),
    ("pending", "crashed"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("running", "timed_out"),
    ("running", "crashed"),
}
LEGAL_STAGE_MOVES = {
    ("pending", "active"),
    ("active", "done"),
    ("active", "cancelled"),
    ("active", "failed"),
    ("done", "active"),
    ("failed", "active"),
}


def test_the_states_have_the_words_that_people_script_against() -> None:
    runs = ["pending", "running", "succeeded", "failed", "cancelled", "timed_out", "crashed"]
    assert [state.value for state in RunState] == runs
    assert [state.value for state in StageState] == ["pending", "active", "done", "cancelled", "failed"]


def _may_move(moves: Mapping[Any, frozenset[Any]], old: Any, new: Any) -> bool:
    try:
        return move(moves, "it", old, new) is new
    except IllegalTransition:
        return False


@pytest.mark.parametrize(
    ("states", "moves", "legal"),
    [(RunState, RUN_MOVES, LEGAL_RUN_MOVES), (StageState, STAGE_MOVES, LEGAL_STAGE_MOVES)],
    ids=["run", "stage"],
)
def test_the_legal_moves_are_these_and_no_others(
    states: type[RunState | StageState], moves: Mapping[Any, frozenset[Any]], legal: set[tuple[str, str]]
) -> None:
    assert {(old, new) for old, new in product(states, states) if _may_move(moves, old, new)} == legal


def test_an_illegal_move_raises_and_names_what_and_both_states() -> None:
    with pytest.raises(IllegalTransition, match=r"^run 1 can't go from failed to running$"):
        move(RUN_MOVES, "run 1", RunState.FAILED, RunState.RUNNING)


def test_the_terminal_states_of_a_run_are_those_that_nothing_follows() -> None:
    assert {"succeeded", "failed", "cancelled", "timed_out", "crashed"} == TERMINAL


def test_no_recipe_can_catch_an_illegal_move_as_an_error_of_its_own_making() -> None:
    from stagerun.errors import StagerunError

    assert not issubclass(IllegalTransition, StagerunError)
