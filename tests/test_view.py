"""The fold: what each event changes in what an observer knows, and what it leaves alone."""

from collections.abc import Callable
from copy import deepcopy

import pytest
from msgspec.structs import replace

from stagerun import events
from stagerun.errors import IllegalTransition
from stagerun.states import RunState, StageState
from stagerun.view import RunView, StageView, begin, fold


PLAN = events.RunCreated(
    target="orders:Import",
    recipe="orders",
    operation="Import",
    stages=("Load", "Save"),
    owner="alice",
    source="recipes/orders.py",
    source_hash="0f",
    params={"limit": 3},
    host="here",
    boot_id="boot",
    pid_namespace="pid:[1]",
    pid=17,
    process_started=99.5,
    chained_from=4,
    resumed_from=3,
    root=2,
    attempt=5,
    expected={"Load": 1.5},
)
CREATED = RunView(
    id=7,
    created_on=1000.0,
    plan=PLAN,
    stages=(
        StageView(name="Load", state=StageState.PENDING, seconds=0.0, entered_on=None, visits=0),
        StageView(name="Save", state=StageState.PENDING, seconds=0.0, entered_on=None, visits=0),
    ),
    state=RunState.PENDING,
    current_stage=-1,
    untracked=(),
    progress=None,
    status=None,
    result_context=None,
    started_on=None,
    finished_on=None,
    end=None,
)
RUNNING = replace(CREATED, state=RunState.RUNNING, started_on=1001.0)
LOADING = replace(
    RUNNING,
    current_stage=0,
    stages=(StageView(name="Load", state=StageState.ACTIVE, entered_on=1002.0, visits=1), StageView(name="Save")),
)
ERROR = events.Failure(type="E", message="m", traceback="T")
HALF = events.ProgressMoved(done=1, total=2, percent=50.0, unit="row", seconds=3.0)


def entry(time: float, event: events.Event) -> events.Entry:
    return events.Entry(7, 1, time, event)


def entered(index: int | None, stage: str = "Load") -> events.StageEntered:
    return events.StageEntered(stage=stage, index=index)


def left(index: int | None, state: StageState, seconds: float = 1.0, stage: str = "Load") -> events.StageLeft:
    return events.StageLeft(stage=stage, index=index, state=state, seconds=seconds)


def taken_over(index: int | None, stage: str = "Load", run: int = 3) -> events.StageTakenOver:
    return events.StageTakenOver(stage=stage, index=index, run=run)


def finished(state: RunState) -> events.RunFinished:
    return events.RunFinished(state=state, seconds=5.0, exit_code=0)


def with_load(view: RunView, **changes: object) -> RunView:
    stage = deepcopy(view.stages[0])
    return replace(view, stages=(replace(stage, **changes), view.stages[1]))


def test_a_new_run_is_pending_before_its_first_stage() -> None:
    assert begin(entry(1000.0, PLAN)) == CREATED


def test_the_opening_event_alone_makes_the_view() -> None:
    assert fold(LOADING, entry(1000.0, PLAN)) == CREATED


def test_a_run_without_an_ancestor_is_the_root_of_its_lineage() -> None:
    assert begin(entry(1000.0, replace(PLAN, root=None))) == replace(CREATED, plan=replace(PLAN, root=None))
    assert begin(entry(1000.0, replace(PLAN, root=None))).root == 7


def test_a_started_run_is_running_from_then_on() -> None:
    assert fold(CREATED, entry(1001.0, events.RunStarted())) == RUNNING


def test_entering_a_stage_makes_it_current_and_active_and_sets_the_progress_back() -> None:
    assert fold(replace(RUNNING, progress=HALF), entry(1002.0, entered(0))) == LOADING


def test_the_current_stage_is_the_declared_position_and_not_the_order_of_arrival() -> None:
    assert fold(RUNNING, entry(1002.0, entered(1, "Save"))) == replace(
        RUNNING,
        current_stage=1,
        stages=(StageView(name="Load"), StageView(name="Save", state=StageState.ACTIVE, entered_on=1002.0, visits=1)),
    )


@pytest.mark.parametrize("state", [StageState.DONE, StageState.FAILED, StageState.CANCELLED])
def test_leaving_a_stage_keeps_how_it_ended_and_how_long_it_took(state: StageState) -> None:
    assert fold(LOADING, entry(1003.0, left(0, state, 0.75))) == with_load(LOADING, state=state, seconds=0.75)


@pytest.mark.parametrize("state", [StageState.DONE, StageState.FAILED])
def test_a_stage_that_is_entered_again_is_active_again_and_its_time_adds_up(state: StageState) -> None:
    once = fold(LOADING, entry(1003.0, left(0, state, 0.75)))
    again = fold(once, entry(1010.0, entered(0)))
    twice = fold(again, entry(1012.0, left(0, StageState.DONE, 1.5)))

    assert again == with_load(LOADING, state=StageState.ACTIVE, seconds=0.75, entered_on=1010.0, visits=2)
    assert twice == with_load(LOADING, state=StageState.DONE, seconds=2.25, entered_on=1010.0, visits=2)


def test_a_block_that_is_not_declared_moves_no_stage() -> None:
    outer = fold(replace(LOADING, progress=HALF), entry(1003.0, entered(None, "Warm up")))
    inner = fold(outer, entry(1004.0, entered(None, "Wait")))
    back = fold(inner, entry(1005.0, left(None, StageState.FAILED, stage="Wait")))
    out = fold(back, entry(1006.0, left(None, StageState.DONE, stage="Warm up")))

    assert outer == replace(LOADING, untracked=("Warm up",))
    assert inner == replace(LOADING, untracked=("Warm up", "Wait"))
    assert back == outer
    assert out == LOADING


def test_a_log_line_changes_nothing_that_is_known() -> None:
    assert fold(LOADING, entry(1003.0, events.Log("text", "error", "stderr"))) == LOADING


def test_progress_is_the_newest_that_was_told() -> None:
    assert fold(LOADING, entry(1003.0, HALF)) == replace(LOADING, progress=HALF)


def test_the_status_is_the_newest_that_was_told() -> None:
    status = events.StatusChanged("busy", "warning")
    assert fold(LOADING, entry(1003.0, status)) == replace(LOADING, status=status)


def test_a_result_replaces_the_one_before() -> None:
    first = fold(LOADING, entry(1003.0, events.ResultSet(result={"a": 1})))
    second = fold(first, entry(1004.0, events.ResultSet(result={"b": 2})))

    assert first == replace(LOADING, result_context={"a": 1})
    assert second == replace(LOADING, result_context={"b": 2})


@pytest.mark.parametrize(
    "state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT, RunState.CRASHED]
)
def test_the_end_of_a_run_is_kept_whole(state: RunState) -> None:
    end = events.RunFinished(state=state, seconds=8.5, exit_code=9, signal="SIGINT", error=ERROR, chained_to=8)

    assert fold(RUNNING, entry(1010.0, end)) == replace(RUNNING, state=state, finished_on=1010.0, end=end)


def test_a_pending_run_can_be_cancelled_and_never_started() -> None:
    assert fold(CREATED, entry(1010.0, finished(RunState.CANCELLED))) == replace(
        CREATED, state=RunState.CANCELLED, finished_on=1010.0, end=finished(RunState.CANCELLED)
    )


def test_a_crash_closes_the_stage_it_happened_in_as_failed_and_counts_its_time() -> None:
    before = with_load(LOADING, seconds=0.5)

    assert fold(before, entry(1006.0, finished(RunState.CRASHED))) == replace(
        with_load(before, state=StageState.FAILED, seconds=4.5),
        state=RunState.CRASHED,
        finished_on=1006.0,
        end=finished(RunState.CRASHED),
    )


def test_a_crash_leaves_the_stages_that_were_over_as_they_were() -> None:
    done = fold(LOADING, entry(1003.0, left(0, StageState.DONE)))

    assert fold(done, entry(1006.0, finished(RunState.CRASHED))).stages == done.stages


def test_a_crash_that_a_slow_clock_dates_before_the_stage_counts_no_negative_time() -> None:
    assert fold(LOADING, entry(900.0, finished(RunState.CRASHED))).stages[0].seconds == 0.0


SUCCEEDED = replace(RUNNING, state=RunState.SUCCEEDED)
ILLEGAL: dict[str, tuple[RunView, events.Event]] = {
    "a run that runs is started": (RUNNING, events.RunStarted()),
    "a run that is over is started": (SUCCEEDED, events.RunStarted()),
    "a run that is over ends again": (SUCCEEDED, finished(RunState.FAILED)),
    "a run that crashed ends": (replace(LOADING, state=RunState.CRASHED), finished(RunState.CRASHED)),
    "a run that never started succeeds": (CREATED, finished(RunState.SUCCEEDED)),
    "a run ends as running": (RUNNING, finished(RunState.RUNNING)),
    "a stage that is active is entered": (LOADING, entered(0)),
    "a stage that was cancelled is entered": (with_load(LOADING, state=StageState.CANCELLED), entered(0)),
    "a stage that was never entered is left": (RUNNING, left(0, StageState.DONE)),
    "a stage that is over is left": (with_load(LOADING, state=StageState.DONE), left(0, StageState.FAILED)),
    "a stage that is active is taken over": (LOADING, taken_over(0)),
    "a stage that was cancelled is taken over": (with_load(LOADING, state=StageState.CANCELLED), taken_over(0)),
    "a stage is left as active": (LOADING, left(0, StageState.ACTIVE)),
}


def test_a_stage_that_is_taken_over_is_done_without_a_visit_and_names_the_run_that_did_it() -> None:
    view = fold(replace(RUNNING, progress=HALF), entry(1020.0, taken_over(1, "Save")))

    save = StageView(name="Save", state=StageState.DONE, from_run=3)
    assert view == replace(RUNNING, current_stage=1, stages=(RUNNING.stages[0], save))


def test_a_block_that_is_not_declared_is_taken_over_without_a_trace() -> None:
    assert fold(RUNNING, entry(1020.0, taken_over(None, "Warm up"))) == RUNNING


def test_a_stage_that_was_taken_over_and_is_entered_all_the_same_is_of_this_run() -> None:
    view = fold(fold(RUNNING, entry(1020.0, taken_over(0))), entry(1021.0, entered(0)))

    load = StageView(name="Load", state=StageState.ACTIVE, entered_on=1021.0, visits=1)
    assert view.stages[0] == load


@pytest.mark.parametrize("what", ILLEGAL)
def test_an_illegal_move_raises_and_changes_nothing(what: str) -> None:
    view, event = ILLEGAL[what]
    before = deepcopy(view)

    with pytest.raises(IllegalTransition):
        fold(view, entry(1020.0, event))

    assert view == before


def test_the_active_stage_is_the_declared_one_that_is_open() -> None:
    assert [view.active for view in (RUNNING, LOADING)] == [None, LOADING.stages[0]]


@pytest.mark.parametrize(
    ("view", "seconds"),
    [
        (CREATED, 0.0),
        (RUNNING, 9.0),
        (replace(RUNNING, end=finished(RunState.FAILED)), 5.0),
        (replace(RUNNING, started_on=2e9), 0.0),
    ],
    ids=["not started", "running", "over", "clock set back"],
)
def test_the_time_of_a_run_stands_still_outside_of_it(view: RunView, seconds: float) -> None:
    assert view.elapsed(1010.0) == seconds


@pytest.mark.parametrize(("stage", "position"), [("Load", 0), ("Save", 1), ("Other", None)])
def test_the_position_of_a_stage_is_the_declared_one(stage: str, position: int | None) -> None:
    assert CREATED.position(stage) == position


DERIVED: dict[str, tuple[Callable[[RunView], object], object]] = {
    "stage_states": (lambda view: view.stage_states, {"Load": "active", "Save": "pending"}),
    "percent": (lambda view: replace(view, progress=HALF).percent, 50.0),
    "no percent": (lambda view: view.percent, None),
    "no traceback": (lambda view: view.traceback, None),
    "traceback": (lambda view: replace(view, end=replace(finished(RunState.FAILED), error=ERROR)).traceback, "T"),
}


@pytest.mark.parametrize("what", DERIVED)
def test_what_a_recipe_reads_off_an_operation_follows_from_the_view(what: str) -> None:
    read, expected = DERIVED[what]
    assert read(LOADING) == expected


@pytest.mark.parametrize("state", list(RunState))
def test_a_run_is_successful_or_cancelled_only_in_that_state(state: RunState) -> None:
    view = replace(RUNNING, state=state)
    assert (view.finished_successfully, view.cancelled) == (state == "succeeded", state == "cancelled")
