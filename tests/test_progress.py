"""Progress: what each call of a recipe comes to, and what it refuses."""

import copy
import gc
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from stagerun import LiveOperation, Progress, events
from stagerun.errors import RecipeError, StagerunError, UsageError
from stagerun.states import RunState, StageState
from tests.conftest import Bench, Seen, apart


Body = Callable[[Progress], object]


def operation(body: Body, *stages: str) -> LiveOperation:
    """An operation that does what `body` does."""

    class Demo(LiveOperation):
        def run(self, p: Progress) -> None:
            body(p)

    Demo.stages = list(stages)
    return Demo(owner="alice")


def told(bench: Bench, body: Body, *stages: str) -> list[events.Event]:
    """Return what was told between the start of a run and its end."""
    bench.run(operation(body, *stages))
    return bench.seen.events[2:-1]


def refused(bench: Bench, body: Body, *stages: str) -> tuple[str, str | None]:
    """Return message and hint of the error that `body` met, after a run that went on."""
    met: list[StagerunError] = []

    def run(p: Progress) -> None:
        with pytest.raises(StagerunError) as caught:
            body(p)
        met.append(caught.value)

    assert bench.run(operation(run, *stages)).state == "succeeded"
    return met[0].message, met[0].hint


def raise_(error: BaseException) -> None:
    raise error


def entered(stage: str, index: int | None) -> events.StageEntered:
    return events.StageEntered(stage=stage, index=index)


def left(stage: str, index: int | None, state: str = "done", seconds: float = 0.0) -> events.StageLeft:
    return events.StageLeft(stage=stage, index=index, state=StageState(state), seconds=seconds)


# --- stages


def test_a_stage_is_told_when_it_is_entered_and_when_it_is_left(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Save") as stage:
            assert (stage.name, stage.index) == ("Save", 1)
            bench.clock.move(1.5)

    assert told(bench, body, "Load", "Save") == [entered("Save", 1), left("Save", 1, seconds=1.5)]


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError("boom"), "failed"), (SystemExit(3), "failed"), (KeyboardInterrupt(), "cancelled")]
)
def test_a_stage_that_an_exception_cuts_short_ends_as_it_says_and_the_exception_goes_on(
    bench: Bench, error: BaseException, state: str
) -> None:
    passed: list[BaseException] = []

    def body(p: Progress) -> None:
        try:
            with p.stage("Load"):
                raise_(error)
        except BaseException as met:
            passed.append(met)

    assert told(bench, body, "Load") == [entered("Load", 0), left("Load", 0, state)]
    assert passed == [error]


def test_a_recipe_may_enter_a_stage_again_after_it_failed(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for attempt in range(2):
            try:
                with p.stage("Load"):
                    bench.clock.move(1)
                    assert attempt
            except AssertionError:
                p.log("once more")

    view = bench.run(operation(body, "Load"))

    assert (view.state, view.stage_states, view.stages[0].seconds) == ("succeeded", {"Load": "done"}, 2.0)


def test_a_recipe_that_catches_the_failure_of_a_stage_succeeds_and_the_stage_stays_failed(bench: Bench) -> None:
    def body(p: Progress) -> None:
        try:
            with p.stage("Load"):
                raise_(ValueError("boom"))
        except ValueError:
            pass

    view = bench.run(operation(body, "Load"))

    assert (view.state, view.stage_states) == ("succeeded", {"Load": "failed"})


@pytest.mark.parametrize(
    ("outer", "inner"), [("Load", "Save"), ("Load", "Load"), ("Load Wait", "Save")], ids=["another", "itself", "deeper"]
)
def test_a_declared_stage_inside_a_declared_stage_is_refused_with_both_names(
    bench: Bench, outer: str, inner: str
) -> None:
    def body(p: Progress) -> None:
        with ExitStack() as stack:
            for name in (*outer.split(), inner):
                stack.enter_context(p.stage(name))

    assert refused(bench, body, "Load", "Save") == (
        f"stage '{inner}' was entered inside stage 'Load'",
        "stages are flat: leave one first",
    )
    assert [event for event in bench.seen.events[2:-1] if getattr(event, "index", None) is not None] == [
        entered("Load", 0),
        left("Load", 0, "failed"),
    ]


def test_an_untracked_block_may_stand_anywhere(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Outside"), p.stage("Load"), p.stage("Inside"), p.stage("Deep"):
            bench.clock.move(1)
        with p.stage("After"):
            pass

    assert told(bench, body, "Load") == [
        entered("Outside", None),
        entered("Load", 0),
        entered("Inside", None),
        entered("Deep", None),
        left("Deep", None, seconds=1.0),
        left("Inside", None, seconds=1.0),
        left("Load", 0, seconds=1.0),
        left("Outside", None, seconds=1.0),
        entered("After", None),
        left("After", None),
    ]


def test_a_near_miss_is_warned_of_once(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for _ in range(3):
            with p.stage("Proccess"):
                pass

    assert [event for event in told(bench, body, "Process", "Save") if isinstance(event, events.Log)] == [
        events.Log("stage 'Proccess' is not declared; did you mean 'Process'?", "warning")
    ]


def test_a_name_unlike_every_stage_brings_no_warning(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Warm up"):
            pass

    assert told(bench, body, "Process", "Save") == [entered("Warm up", None), left("Warm up", None)]


@pytest.mark.parametrize("name", ["", "  "])
def test_a_stage_without_a_name_is_refused(bench: Bench, name: str) -> None:
    assert refused(bench, lambda p: p.stage(name), "Load")[0] == "p.stage needs a name"


def test_a_stage_that_was_left_open_is_closed_when_the_recipe_returns(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.stage("Load").__enter__()

    assert told(bench, body, "Load") == [entered("Load", 0), left("Load", 0)]


# --- other threads and processes


def in_thread(act: Callable[[], object]) -> BaseException | None:
    """Return what `act` raised in a thread of its own."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("stage", lambda p: p.stage("Load")),
        ("track", lambda p: p.track([1])),
        ("chain_to", lambda p: p.chain_to(operation(print))),
    ],
)
def test_what_moves_the_run_is_refused_from_another_thread(bench: Bench, name: str, call: Body) -> None:
    met: list[BaseException | None] = []

    assert told(bench, lambda p: met.append(in_thread(lambda: call(p))), "Load") == []

    (error,) = met
    assert isinstance(error, RecipeError)
    assert (error.message, error.hint) == (
        f"p.{name} was called from another thread",
        "call it from the thread that runs the operation; p.log, p.status, p.percent and p.sh work anywhere",
    )


def test_a_stage_of_this_thread_can_not_be_entered_in_another(bench: Bench) -> None:
    met: list[BaseException | None] = []

    def body(p: Progress) -> None:
        stage = p.stage("Load")
        met.append(in_thread(stage.__enter__))

    assert told(bench, body, "Load") == []
    assert [type(error) for error in met] == [RecipeError]


def test_log_status_and_percent_work_from_any_thread(bench: Bench) -> None:
    def act(p: Progress) -> None:
        p.log("line", level="warning")
        p.status("busy")
        p.percent(40)

    assert told(bench, lambda p: in_thread(lambda: act(p))) == [
        events.Log("line", "warning"),
        events.StatusChanged("busy"),
        events.ProgressMoved(percent=40.0),
    ]


def test_eight_threads_that_log_lose_no_line_and_keep_each_ones_order(bench: Bench) -> None:
    lines, start = 1_000, threading.Barrier(8)

    def work(p: Progress, worker: int) -> None:
        start.wait()
        for number in range(lines):
            p.log(f"{worker} {number}")

    def body(p: Progress) -> None:
        threads = [threading.Thread(target=work, args=(p, worker)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seen = told(bench, body)
    journaled = [entry.event for entry in apart(bench.records().entries(1, kinds=["log"]))]

    assert journaled == seen
    texts = [event.text for event in seen if isinstance(event, events.Log)]
    for worker in range(8):
        assert [text for text in texts if text[0] == str(worker)] == [f"{worker} {number}" for number in range(lines)]


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy])
def test_p_is_never_carried_into_another_process(bench: Bench, carry: Body) -> None:
    def body(p: Progress) -> None:
        with pytest.raises(TypeError) as caught:
            carry(p)
        p.result(message=str(caught.value))

    assert bench.run(operation(body)).result_context == {
        "message": "p can't be pickled: another process has no run to report to; return values instead"
    }


# --- track


class Hinted:
    def __init__(self, hint: object) -> None:
        self.hint = hint

    def __length_hint__(self) -> object:
        return self.hint

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def ended(done: int, total: int | None, percent: float | None, **more: Any) -> events.ProgressMoved:
    return events.ProgressMoved(done=done, total=total, percent=percent, ended=True, **more)


@pytest.mark.parametrize(
    ("iterable", "total", "expected"),
    [
        ([7, 8, 9], None, ended(3, 3, 100.0)),
        ({7: 0, 8: 0, 9: 0}, None, ended(3, 3, 100.0)),
        (iter([7, 8, 9]), None, ended(3, 3, 100.0)),
        (Hinted(3), None, ended(3, 3, 100.0)),
        (Hinted(NotImplemented), None, ended(3, None, None)),
        ((n for n in range(3)), None, ended(3, None, None)),
        ((n for n in range(3)), 3, ended(3, 3, 100.0)),
        ((n for n in range(3)), 4, ended(3, 4, 75.0)),
        ([7, 8, 9], 2, ended(3, 2, 100.0)),
        ([], None, ended(0, 0, 100.0)),
        ((n for n in range(0)), None, ended(0, None, None)),
    ],
)
def test_the_total_is_what_was_given_else_the_length_else_a_hint_else_unknown(
    bench: Bench, iterable: Iterable[int], total: int | None, expected: events.ProgressMoved
) -> None:
    assert told(bench, lambda p: list(p.track(iterable, total))) == [expected]


def test_track_yields_the_very_items_in_their_order(bench: Bench) -> None:
    items = [object() for _ in range(3)]
    got: list[object] = []

    told(bench, lambda p: got.extend(p.track(items)))

    assert all(one is other for one, other in zip(got, items, strict=True))


def test_track_takes_one_item_at_a_time_and_never_makes_a_list(bench: Bench) -> None:
    taken: list[int] = []
    used: list[int] = []

    def source() -> Iterator[int]:
        n = 0
        while True:
            taken.append(n)
            yield n
            n += 1

    def body(p: Progress) -> None:
        for n in p.track(source()):
            used.append(n)
            assert taken == used
            if n == 2:
                break

    assert told(bench, body) == [ended(2, None, None)]
    assert taken == [0, 1, 2]


def test_a_loop_that_is_broken_off_counts_the_items_that_were_finished(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for n in p.track(range(4), label="rows", unit="row"):
            bench.clock.move(1)
            if n == 1:
                break

    assert told(bench, body) == [ended(1, 4, 25.0, label="rows", unit="row", seconds=2.0)]


def test_a_loop_that_an_exception_ends_counts_the_items_that_were_finished(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for n in p.track(range(4)):
            if n == 2:
                raise ValueError("boom")

    view = bench.run(operation(body))

    assert (view.state, bench.seen.events[2:-1]) == ("failed", [ended(2, 4, 50.0)])


def test_an_exception_of_the_iterable_reaches_the_recipe(bench: Bench) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("boom")

    def body(p: Progress) -> None:
        with pytest.raises(ValueError, match=r"^boom$"):
            for _ in p.track(source(), total=4):
                pass

    assert told(bench, body) == [ended(0, 4, 0.0)]


def test_a_loop_inside_a_loop_says_how_deep_it_is_and_how_far_those_around_it_are(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for _ in p.track(range(2), label="outer", unit="turn"):
            for _ in p.track("a", label="inner"):
                p._session.loops.sample()

    def around(done: int) -> events.Counted:
        return events.Counted(done=done, total=2, percent=50.0 * done, label="outer", unit="turn")

    told_ = [event for event in told(bench, body) if isinstance(event, events.ProgressMoved)]

    assert [(event.around, event.depth, event.done, event.share) for event in told_] == [
        ((around(0),), 1, 0, 0.0),
        ((around(0),), 1, 1, 50.0),
        ((around(1),), 1, 0, 50.0),
        ((around(1),), 1, 1, 100.0),
        ((), 0, 2, 100.0),
    ]


def test_a_loop_is_told_before_its_first_item_is_done_and_again_only_when_it_moved(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for _ in p.track(range(2)):
            p._session.loops.sample()
            p._session.loops.sample()

    moved = [event for event in told(bench, body) if isinstance(event, events.ProgressMoved)]

    assert [(event.done, event.percent, event.ended) for event in moved] == [
        (0, 0.0, False),
        (1, 50.0, False),
        (2, 100.0, True),
    ]


def test_two_loops_side_by_side_are_not_one_inside_the_other(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for _ in zip(p.track(range(2)), p.track(range(2)), strict=False):
            p._session.loops.sample()
            p._session.loops.sample()

    moved = [event for event in told(bench, body) if isinstance(event, events.ProgressMoved)]

    assert [(event.around, event.ended) for event in moved] == [((), False), ((), False), ((), True), ((), True)]


@pytest.mark.parametrize("total", [None, 0])
def test_inside_a_loop_without_a_known_end_nobody_knows_how_much_is_done(total: int | None) -> None:
    inner = events.ProgressMoved(done=1, total=2, percent=50.0, depth=1, around=(events.Counted(done=3, total=total),))

    assert inner.share is None


def test_a_loop_is_told_how_far_it_is_when_somebody_looks(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for n in p.track(range(4), unit="row"):
            bench.clock.move(1)
            if n == 2:
                p._session.loops.sample()
                p._session.loops.sample()

    assert told(bench, body) == [
        events.ProgressMoved(done=2, total=4, percent=50.0, unit="row", seconds=3.0),
        ended(4, 4, 100.0, unit="row", seconds=4.0),
    ]


def test_a_cancel_reaches_a_loop_at_its_next_item(bench: Bench) -> None:
    used: list[int] = []

    def body(p: Progress) -> None:
        for n in p.track(range(1_000)):
            used.append(n)
            if n == 2:
                bench.interrupts.request("SIGTERM")

    view = bench.run(operation(body))

    assert (view.state, used, bench.seen.events[2:-1]) == ("cancelled", [0, 1, 2], [ended(3, 1_000, 0.3)])


def test_a_loop_that_outlives_its_run_says_nothing_in_the_next(bench: Bench) -> None:
    class Half(LiveOperation):
        def run(self, p: Progress) -> None:
            self.rows = p.track(range(4))
            next(self.rows)
            p.chain_to(operation(lambda p: gc.collect()))

    view = bench.run(operation(lambda p: p.chain_to(Half(owner="alice"))))

    assert (view.id, view.state, view.progress) == (3, "succeeded", None)
    assert [entry.run for entry in bench.seen.entries if isinstance(entry.event, events.ProgressMoved)] in ([], [2])


# --- percent, status, log


@pytest.mark.parametrize(
    ("given", "shown"), [(40, 40.0), (-3, 0.0), (250, 100.0), (float("inf"), 100.0), (float("nan"), 0.0), (True, 1.0)]
)
def test_a_percentage_is_kept_between_0_and_100(bench: Bench, given: float, shown: float) -> None:
    assert told(bench, lambda p: p.percent(given)) == [events.ProgressMoved(percent=shown)]


def test_a_percentage_is_told_once_for_each_tenth_and_anew_in_the_next_stage(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for stage in ("Load", "Save"):
            with p.stage(stage):
                bench.clock.move(2)
                for n in (50, 50.04, 50.1, 50.14, 50):
                    p.percent(n)

    moved = [event for event in told(bench, body, "Load", "Save") if isinstance(event, events.ProgressMoved)]
    assert [event.percent for event in moved] == [50.0, 50.1, 50.0] * 2
    assert {event.seconds for event in moved} == {2.0}


def test_progress_outside_any_stage_is_allowed(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.status("busy")
        p.percent(3)
        list(p.track("ab"))

    assert told(bench, body) == [events.StatusChanged("busy"), events.ProgressMoved(percent=3.0), ended(2, 2, 100.0)]


def test_a_status_is_one_line(bench: Bench) -> None:
    assert told(bench, lambda p: p.status("a\nb", level="warning")) == [events.StatusChanged("a b", "warning")]


@pytest.mark.parametrize("call", [lambda p: p.log("a", level="loud"), lambda p: p.status("a", level="loud")])
def test_an_unknown_level_is_refused_with_the_legal_ones(bench: Bench, call: Body) -> None:
    assert refused(bench, call) == ("there is no level 'loud'", "levels: debug, info, warning, error, critical")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one", ["one"]),
        ("", [""]),
        ("one\n", ["one"]),
        ("one\ntwo\r\nthree", ["one", "two", "three"]),
        ("one\n\ntwo\n\n", ["one", "", "two", ""]),
        ("one\x0btwo\x85three\u2028four", ["one\x0btwo\x85three\u2028four"]),
        ("[red]not markup[/]", ["[red]not markup[/]"]),
    ],
)
def test_a_text_of_several_lines_is_several_log_lines(bench: Bench, text: str, lines: list[str]) -> None:
    assert told(bench, lambda p: p.log(text, level="error")) == [events.Log(line, "error") for line in lines]


def test_what_is_logged_need_not_be_text(bench: Bench) -> None:
    assert told(bench, lambda p: p.log(42)) == [events.Log("42")]


@pytest.mark.parametrize(
    ("length", "cut"),
    [(65_536, ""), (65_537, " [... 1 characters cut]"), (10_065_536, " [... 10,000,000 characters cut]")],
)
def test_a_line_is_cut_at_64_kib_and_says_so(bench: Bench, length: int, cut: str) -> None:
    assert told(bench, lambda p: p.log("x" * length + "\nnext")) == [events.Log("x" * 65_536 + cut), events.Log("next")]


# --- the error, the next operation


def test_an_error_that_a_recipe_states_fails_the_run_whatever_run_returns(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.error("nothing to import")
        p.log("still here")

    view = bench.run(operation(body))

    assert (view.state, view.exit_code, view.error) == (
        RunState.FAILED,
        1,
        events.Failure(type="", message="nothing to import"),
    )
    assert bench.seen.events[2:-1] == [events.Log("still here")]


def test_a_run_is_chained_once(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.chain_to(operation(print))
        p.chain_to(operation(print))

    assert refused(bench, body) == ("the run is already chained to Demo", "a run can chain to only one operation")
    assert [view.plan.chained_from for view in bench.records().history(limit=9)] == [1, None]


@pytest.mark.parametrize("what", [None, "orders:Import", LiveOperation, 3])
def test_only_an_operation_is_chained_to(bench: Bench, what: object) -> None:
    assert refused(bench, lambda p: p.chain_to(what)) == (
        f"p.chain_to needs an operation, not {what!r}",
        "make one: p.chain_to(Publish(owner=self.owner))",
    )
    assert len(bench.records().history(limit=9)) == 1


class Limited(LiveOperation):
    limit: int = 3

    def run(self, p: Progress) -> None:
        p.log(f"limit {self.limit}")


def test_an_operation_with_a_wrong_parameter_is_refused_at_the_call(bench: Bench) -> None:
    following = Limited()
    following.limit = "many"  # type: ignore[assignment]

    message, _ = refused(bench, lambda p: p.chain_to(following))

    assert message.startswith("parameter 'limit' can't be 'many': ")
    assert len(bench.records().history(limit=9)) == 1


def _fail_after(p: Progress) -> None:
    p.chain_to(Limited())
    raise ValueError("boom")


def _state_an_error_after(p: Progress) -> None:
    p.chain_to(Limited())
    p.error("boom")


def _leave_after(p: Progress) -> None:
    p.chain_to(Limited())
    raise SystemExit(5)


@pytest.mark.parametrize("body", [_fail_after, _state_an_error_after, _leave_after])
def test_a_run_that_fails_after_chain_to_chains_nothing(bench: Bench, body: Body) -> None:
    view = bench.run(operation(body))

    assert (view.id, view.state, view.chained_to) == (1, "failed", None)
    assert [each.id for each in bench.records().history(limit=9)] == [1]


def test_a_run_that_is_cancelled_after_chain_to_chains_nothing(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.chain_to(Limited())
        bench.interrupts.request("SIGTERM")

    view = bench.run(operation(body))

    assert (view.id, view.state, view.chained_to) == (1, "cancelled", None)


def test_the_next_operation_begins_when_the_last_stage_of_this_one_is_closed(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            p.chain_to(Limited(limit=4))
            p.log("still here")

    bench.run(operation(body, "Load"))

    assert [type(entry.event) for entry in bench.seen.entries] == [
        events.RunCreated,
        events.RunStarted,
        events.StageEntered,
        events.Log,
        events.StageLeft,
        events.RunFinished,
        events.RunCreated,
        events.RunStarted,
        events.Log,
        events.RunFinished,
    ]
    assert [entry.run for entry in bench.seen.entries] == [1] * 6 + [2] * 4
    assert bench.seen.entries[8].event == events.Log("limit 4")


def test_every_number_of_an_event_is_higher_than_the_one_before(bench: Bench) -> None:
    bench.run(operation(lambda p: p.chain_to(Limited())))

    assert [entry.seq for entry in bench.seen.entries] == list(range(1, 8))


def test_a_recipe_that_cleans_up_after_a_cancel_may_still_talk(bench: Bench) -> None:
    def body(p: Progress) -> None:
        try:
            bench.interrupts.request("SIGTERM")
            p.check_cancelled()
        finally:
            p.log("tidy")

    view = bench.run(operation(body))

    assert view.state == "cancelled"
    assert bench.seen.events[2:-1] == [events.Log("tidy")]


def test_a_display_that_breaks_is_let_go_and_the_run_goes_on(bench: Bench) -> None:
    class Broken(Seen):
        def update(self, entry: events.Entry, view: object) -> None:
            raise ValueError("no display")

    view = bench.run(operation(lambda p: p.log("line")), Broken())

    assert (view.state, bench.seen.events[2]) == ("succeeded", events.Log("line"))


def test_wrong_values_and_broken_rules_are_told_apart() -> None:
    assert not issubclass(UsageError, RecipeError)
    assert not issubclass(RecipeError, UsageError)


def test_a_visit_is_entered_once(bench: Bench) -> None:
    class Twice(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            visit = p.stage("Load")
            with visit:
                pass
            with pytest.raises(RecipeError, match="was entered before"), visit:
                pass

    assert bench.run(Twice()).state is RunState.SUCCEEDED


@dataclass(frozen=True)
class Frozen(Exception):
    text: str


def test_an_error_that_can_not_be_changed_is_recorded_as_itself(bench: Bench) -> None:
    class Fails(LiveOperation):
        stages = ["Load"]
        timeout = 60.0

        def run(self, p: Progress) -> None:
            with p.stage("Load", timeout=30.0):
                raise Frozen("boom")

    view = bench.run(Fails())

    assert view.error is not None
    assert (view.error.type, view.error.stage, view.stage_states) == ("Frozen", "Load", {"Load": "failed"})
