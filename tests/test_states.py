"""The two tables of states: every move that is in them, and every one that is not."""

from itertools import product

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


@pytest.mark.parametrize(("old", "new"), sorted(LEGAL_RUN_MOVES))
def test_a_legal_move_of_a_run_gives_its_new_state(old: str, new: str) -> None:
    assert move(RUN_MOVES, "run 1", RunState(old), RunState(new)) is RunState(new)


@pytest.mark.parametrize(("old", "new"), sorted(set(product(RunState, RunState)) - LEGAL_RUN_MOVES))
def test_an_illegal_move_of_a_run_raises_and_names_run_and_states(old: str, new: str) -> None:
    with pytest.raises(IllegalTransition) as caught:
        move(RUN_MOVES, "run 1", RunState(old), RunState(new))

    assert str(caught.value) == f"run 1 can't go from {old} to {new}"


@pytest.mark.parametrize(("old", "new"), sorted(LEGAL_STAGE_MOVES))
def test_a_legal_move_of_a_stage_gives_its_new_state(old: str, new: str) -> None:
    assert move(STAGE_MOVES, "stage 'Load'", StageState(old), StageState(new)) is StageState(new)


@pytest.mark.parametrize(("old", "new"), sorted(set(product(StageState, StageState)) - LEGAL_STAGE_MOVES))
def test_an_illegal_move_of_a_stage_raises_and_names_stage_and_states(old: str, new: str) -> None:
    with pytest.raises(IllegalTransition) as caught:
        move(STAGE_MOVES, "stage 'Load'", StageState(old), StageState(new))

    assert str(caught.value) == f"stage 'Load' can't go from {old} to {new}"


def test_the_terminal_states_of_a_run_are_those_that_nothing_follows() -> None:
    assert {"succeeded", "failed", "cancelled", "timed_out", "crashed"} == TERMINAL


def test_no_recipe_can_catch_an_illegal_move_as_an_error_of_its_own_making() -> None:
    from stagerun.errors import StagerunError

    assert not issubclass(IllegalTransition, StagerunError)
