"""p.map: many items at once, in threads and in processes, and what is left of them when a run ends early."""

import contextvars
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from stagerun import LiveOperation, Progress, events
from stagerun.errors import RecipeError
from stagerun.states import RunState, StageState
from stagerun.view import RunView
from tests.conftest import REPOSITORY, Bench, Project, timeless
from tests.processes import GATE, everything, finish, logged, look, open_gate, rows, running, until


Body = Callable[[Progress], object]
_T = TypeVar("_T")


def _run(bench: Bench, body: Body) -> RunView:
    return bench.run(_operation(body))


def _operation(body: Body) -> LiveOperation:
    class Demo(LiveOperation):
        stages = ["Do"]

        def run(self, p: Progress) -> None:
            with p.stage("Do"):
                body(p)

    return Demo(owner="alice")


def _returned(bench: Bench, body: Callable[[Progress], _T]) -> _T:
    """Return what `body` returns, in a run that succeeds."""
    values = list[_T]()
    view = _run(bench, lambda p: values.append(body(p)))
    assert view.state is RunState.SUCCEEDED, view.error
    return values[0]


def _refused(bench: Bench, body: Body) -> tuple[str, str | None]:
    """Return message and hint of the RecipeError that `body` meets."""

    def run(p: Progress) -> tuple[str, str | None]:
        with pytest.raises(RecipeError) as caught:
            body(p)
        return caught.value.message, caught.value.hint

    return _returned(bench, run)


def _met(bench: Bench, body: Body) -> BaseException:
    """Return what `body` raises, in a run that goes on."""

    def run(p: Progress) -> BaseException:
        with pytest.raises(Exception) as caught:
            body(p)
        return caught.value

    return _returned(bench, run)


def _moved(bench: Bench) -> list[events.ProgressMoved]:
    return [event for event in bench.seen.events if isinstance(event, events.ProgressMoved)]


def _counted(bench: Bench, p: Progress, done: int) -> None:
    """Wait, in an item, until the recipe's thread has seen so many finished."""

    def sampled() -> bool:
        p._session.loops.sample()
        return [event.done for event in _moved(bench)][-1:] == [done]

    until(sampled)


def _same(item: _T) -> _T:
    return item


def _wait(event: threading.Event) -> None:
    assert event.wait(30), "what an item waits for never came"


class Counted:
    """An endless iterable that knows how far it was read."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.taken += 1
            yield self.taken - 1


# --- results and workers


def test_results_come_in_the_order_of_the_items_whatever_finishes_first(bench: Bench) -> None:
    ended = [threading.Event() for _ in range(3)]
    order = list[int]()

    def backwards(item: int) -> str:
        if item < 2:
            _wait(ended[item + 1])
        order.append(item)
        ended[item].set()
        return f"item {item}"

    assert _returned(bench, lambda p: p.map(backwards, range(3), 3)) == ["item 0", "item 1", "item 2"]
    assert order == [2, 1, 0]


def test_items_are_done_in_threads_of_their_own(bench: Bench) -> None:
    together = threading.Barrier(3, timeout=30)

    def whose(item: int) -> int:
        together.wait()
        return threading.get_ident()

    found = _returned(bench, lambda p: p.map(whose, range(3), 3))

    assert len({*found, threading.get_ident()}) == 4


@pytest.mark.parametrize("empty", [(), iter(())], ids=["sized", "an iterator"])
@pytest.mark.parametrize("processes", [False, True])
def test_without_items_nothing_is_done_and_nothing_returned(
    bench: Bench, empty: Iterable[int], processes: bool
) -> None:
    assert _returned(bench, lambda p: p.map(_same, empty, processes=processes)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_items_are_done_at_once_than_there_are_workers(bench: Bench, workers: int) -> None:
    lock, at_once, most = threading.Lock(), 0, 0
    full = threading.Barrier(workers, timeout=30)

    def count(item: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        full.wait()
        with lock:
            at_once -= 1

    _returned(bench, lambda p: p.map(count, range(30), workers))

    assert most == workers


def test_workers_bound_the_items_at_once_of_a_larger_executor_too(bench: Bench) -> None:
    lock, at_once, most = threading.Lock(), 0, 0

    def count(item: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1

    with ThreadPoolExecutor(8) as executor:
        _returned(bench, lambda p: p.map(count, range(20), 1, executor=executor))

    assert most == 1


@pytest.mark.parametrize("workers", [0, -1, "2", True, 1.0])
@pytest.mark.parametrize("processes", [False, True])
def test_workers_must_be_a_whole_number_above_0(bench: Bench, workers: Any, processes: bool) -> None:
    items = Counted()

    assert _refused(bench, lambda p: p.map(_same, items, workers, processes=processes)) == (
        f"p.map: workers must be a whole number above 0, not {workers!r}",
        None,
    )
    assert (items.taken, _moved(bench)) == (0, [])


def test_an_executor_that_is_handed_in_does_the_work_and_stays_open(bench: Bench) -> None:
    def whose(item: int) -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        assert _returned(bench, lambda p: p.map(whose, range(3), executor=executor)) == ["mine_0"] * 3
        assert executor.submit(_same, "open").result() == "open"


def test_an_executor_of_another_kind_is_handed_the_function_as_it_is(bench: Bench) -> None:
    class Elsewhere(Executor):
        """One whose workers, on another machine, know nothing of stagerun."""

        def __init__(self) -> None:
            self.given: list[object] = []

        def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
            self.given.append((fn, arguments, options))
            future: Future[Any] = Future()
            future.set_result(fn(*arguments, **options))
            return future

    executor = Elsewhere()

    assert _returned(bench, lambda p: p.map(abs, [-1, 2], executor=executor)) == [1, 2]
    assert executor.given == [(abs, (-1,), {}), (abs, (2,), {})]


def test_an_executor_that_is_handed_in_stays_open_after_a_failure(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as executor:
        met = _met(bench, lambda p: p.map(int, ["1", "x"], executor=executor))
        assert (type(met), executor.submit(_same, "open").result()) == (ValueError, "open")


def test_a_process_pool_that_is_handed_in_does_the_work(bench: Bench) -> None:
    with ProcessPoolExecutor(1) as executor:
        assert _returned(bench, lambda p: p.map(abs, [-1, -2], executor=executor)) == [1, 2]


def test_context_variables_of_the_caller_are_those_of_the_items(bench: Bench) -> None:
    variable = contextvars.ContextVar("variable", default="nobody's")

    def body(p: Progress) -> list[str]:
        variable.set("the caller's")
        return p.map(lambda _: variable.get(), range(2), 2)

    assert _returned(bench, body) == ["the caller's", "the caller's"]


def test_what_an_item_sets_in_a_context_variable_is_seen_by_no_other(bench: Bench) -> None:
    variable = contextvars.ContextVar("variable", default=0)

    def add(item: int) -> int:
        variable.set(variable.get() + 1)
        return variable.get()

    assert _returned(bench, lambda p: (p.map(add, range(5), 1), variable.get())) == ([1] * 5, 0)


# --- what is taken, held and counted


def test_of_an_endless_iterable_twice_as_many_items_are_taken_as_there_are_workers(bench: Bench) -> None:
    items = Counted()

    def hold(p: Progress, item: int) -> None:
        if item == 1:
            until(lambda: items.taken == 4)
            bench.interrupts.request("SIGTERM")
        while True:
            time.sleep(0.01)
            p.check_cancelled()

    view = _run(bench, lambda p: p.map(lambda item: hold(p, item), items, 2))

    assert (view.state, items.taken) == (RunState.CANCELLED, 4)


def test_behind_an_item_that_does_not_end_a_bounded_number_is_taken(bench: Bench) -> None:
    items, done, lock = Counted(), 0, threading.Lock()

    def hold_the_first(p: Progress, item: int) -> None:
        nonlocal done
        if item:
            with lock:
                done += 1
            return
        until(lambda: done == 31)
        bench.interrupts.request("SIGTERM")
        while True:
            time.sleep(0.01)
            p.check_cancelled()

    view = _run(bench, lambda p: p.map(lambda item: hold_the_first(p, item), items, 2))

    assert (view.state, items.taken) == (RunState.CANCELLED, 32)


def test_after_a_failure_no_item_is_taken(bench: Bench) -> None:
    items, failed = Counted(), threading.Event()

    def fail_first(item: int) -> None:
        if item == 0:
            until(lambda: items.taken == 4)
            failed.set()
            raise ValueError("boom")
        _wait(failed)
        time.sleep(0.3)

    met = _met(bench, lambda p: p.map(fail_first, items, 2))

    assert (str(met), items.taken) == ("boom", 4)


def test_a_failure_is_noticed_before_the_next_item_of_a_slow_iterable_is_waited_for(bench: Bench) -> None:
    failed, taken = threading.Event(), list[int]()

    def slow() -> Iterator[int]:
        for item in range(4):
            taken.append(item)
            yield item
            _wait(failed)
            time.sleep(0.1)  # until the failure has arrived in the future

    def fail(item: int) -> None:
        failed.set()
        raise ValueError("boom")

    _met(bench, lambda p: p.map(fail, slow(), 2))

    assert taken in ([0], [0, 1])


def test_ten_thousand_items_are_done_and_few_of_them_are_held_at_once(bench: Bench) -> None:
    held, most, lock = 0, 0, threading.Lock()

    class Item:
        def __init__(self) -> None:
            nonlocal held, most
            with lock:
                held += 1
                most = max(most, held)

        def __del__(self) -> None:
            nonlocal held
            with lock:
                held -= 1

    results = _returned(bench, lambda p: p.map(lambda item: None, (Item() for _ in range(10_000)), 2))
    gc.collect()

    assert (len(results), held) == (10_000, 0)
    assert most <= 32 + 2 + 1  # may be in flight, are just being let go by a worker, is being taken


def test_the_items_are_counted_with_label_and_unit(bench: Bench) -> None:
    _returned(bench, lambda p: p.map(_same, ["a", "b", "c"], 2, label="pages", unit="page"))

    assert _moved(bench) == [
        events.ProgressMoved(done=3, total=3, percent=100.0, label="pages", unit="page", ended=True)
    ]


def test_the_total_of_a_generator_is_unknown(bench: Bench) -> None:
    _returned(bench, lambda p: p.map(_same, (each for each in "abc"), 2))

    assert _moved(bench) == [events.ProgressMoved(done=3, total=None, percent=None, ended=True)]


def test_no_items_are_all_there_are(bench: Bench) -> None:
    _returned(bench, lambda p: p.map(_same, [], 2))

    assert _moved(bench) == [events.ProgressMoved(done=0, total=0, percent=100.0, ended=True)]


def test_what_has_finished_is_counted_while_others_go_on_and_whatever_the_order(bench: Bench) -> None:
    def body(p: Progress) -> object:
        def hold_the_first(item: int) -> None:
            if item == 0:
                _counted(bench, p, 3)

        return p.map(hold_the_first, range(4), 2)

    _returned(bench, body)

    assert _moved(bench)[-2:] == [
        events.ProgressMoved(done=3, total=4, percent=75.0),
        events.ProgressMoved(done=4, total=4, percent=100.0, ended=True),
    ]


def test_a_map_inside_a_loop_is_shown_below_it(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for _ in p.track(range(1), label="outer"):
            p.map(_same, range(2), 1, label="inner")

    _returned(bench, body)

    assert [(event.label, event.depth, event.done, event.ended) for event in _moved(bench)] == [
        ("inner", 1, 2, True),
        ("outer", 0, 1, True),
    ]


def test_the_items_may_come_from_a_loop_that_is_tracked(bench: Bench) -> None:
    assert _returned(bench, lambda p: p.map(_same, p.track(range(3), label="read"), 1, label="done")) == [0, 1, 2]
    assert [(event.label, event.done, event.ended) for event in _moved(bench)] == [("read", 3, True), ("done", 3, True)]


# --- failures


def test_a_failure_is_raised_with_its_item_in_a_note(bench: Bench) -> None:
    met = _met(bench, lambda p: p.map(int, ["1", "x"], 1))

    assert (type(met), met.__notes__) == (ValueError, ["in p.map, with the item 'x'"])


def test_a_failure_that_is_not_caught_ends_the_run_in_the_recipes_own_line(bench: Bench) -> None:
    def fail(item: int) -> None:
        raise ValueError(f"boom {item}")

    view = _run(bench, lambda p: p.map(fail, [7], 1))

    assert view.error is not None
    assert (view.state, view.error.type, view.error.message) == (RunState.FAILED, "ValueError", "boom 7")
    assert view.error.traceback is not None
    assert view.error.traceback.endswith("ValueError: boom 7\nin p.map, with the item 7")
    assert (view.stage_states, _moved(bench)) == (
        {"Do": StageState.FAILED},
        [events.ProgressMoved(done=0, total=1, percent=0.0, ended=True)],
    )


def test_after_a_failure_what_was_far_off_never_begins_and_what_runs_is_waited_for(bench: Bench) -> None:
    begun, ended, failed = list[int](), list[int](), threading.Event()

    def fail_first(item: int) -> None:
        begun.append(item)
        if item == 0:
            until(lambda: 1 in begun)
            failed.set()
            raise ValueError("boom")
        _wait(failed)
        time.sleep(0.3)
        ended.append(item)

    met = _met(bench, lambda p: p.map(fail_first, range(100), 2))

    assert (str(met), sorted(begun)[1:]) == ("boom", sorted(ended))
    assert len(begun) <= 4


def test_after_a_failure_no_item_begins(bench: Bench) -> None:
    def body(p: Progress) -> list[int]:
        begun = list[int]()

        def fail_third(item: int) -> None:
            begun.append(item)
            time.sleep(0.01)
            if item == 3:
                raise ValueError("boom")

        with pytest.raises(ValueError, match="boom"):
            p.map(fail_third, range(10), 1)
        return begun

    assert _returned(bench, lambda p: [body(p) for _ in range(10)]) == [[0, 1, 2, 3]] * 10


def test_what_runs_in_an_executor_that_was_handed_in_is_waited_for_too(bench: Bench) -> None:
    ended, second = list[int](), threading.Event()

    def fail_first(item: int) -> None:
        if item == 0:
            _wait(second)
            raise ValueError("boom")
        second.set()
        time.sleep(0.5)
        ended.append(item)

    def body(p: Progress) -> list[int]:
        with pytest.raises(ValueError, match="boom"):
            p.map(fail_first, range(2), executor=executor)
        return ended.copy()

    with ThreadPoolExecutor(2) as executor:
        assert _returned(bench, body) == [1]


def test_of_several_failures_the_first_in_order_is_raised(bench: Bench) -> None:
    together = threading.Barrier(2, timeout=30)
    later = threading.Event()

    def fail(item: int) -> None:
        together.wait()
        if item == 0:
            _wait(later)
        later.set()
        raise ValueError(f"boom {item}")

    def both(items: Iterable[int]) -> Iterator[int]:
        yield from items
        _wait(later)
        time.sleep(0.2)  # until both failures have arrived

    assert str(_met(bench, lambda p: p.map(fail, both([0, 1]), 2))) == "boom 0"


def test_an_error_of_the_iterable_is_raised_as_it_is_and_what_runs_is_waited_for(bench: Bench) -> None:
    ended, begun = list[int](), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        _wait(begun)
        raise OSError("the source broke")

    def slow(item: int) -> None:
        begun.set()
        time.sleep(0.3)
        ended.append(item)

    met = _met(bench, lambda p: p.map(slow, items(), 2))

    assert (type(met), str(met), getattr(met, "__notes__", [])) == (OSError, "the source broke", [])
    assert ended == [0]


def test_what_can_not_be_iterated_is_named(bench: Bench) -> None:
    met = _met(bench, lambda p: p.map(_same, 5))  # type: ignore[arg-type]

    assert (type(met), str(met)) == (TypeError, "'int' object is not iterable")


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("this item can't be shown")


def test_an_item_that_can_not_be_shown_does_not_hide_its_failure(bench: Bench) -> None:
    assert type(_met(bench, lambda p: p.map(int, [Unprintable()], 1))) is TypeError  # type: ignore[arg-type]


@dataclass(frozen=True)
class Frozen(Exception):
    number: int


def test_an_error_that_can_not_be_changed_is_raised_as_it_is(bench: Bench) -> None:
    def fail(item: int) -> None:
        raise Frozen(item)

    assert type(_met(bench, lambda p: p.map(fail, [3], 1))) is Frozen


def test_processes_and_an_executor_are_not_asked_for_together(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        error = _met(bench, lambda p: p.map(abs, [1], processes=True, executor=pool))

    assert str(error) == "p.map: processes=True can't be combined with an executor"


def test_a_secret_in_an_item_is_masked_where_the_item_is_cut(project: Project) -> None:
    project.recipe(
        "demo",
        """
class Demo(LiveOperation):
    token: Secret

    def run(self, p):
        p.map(lambda item: 1 / 0, ["x" * 190 + self.token.reveal()], 1)
""",
    )
    done = project.stagerun("run", "demo", environ={"STAGERUN_TOKEN": "swordfish-swordfish"})

    assert done.code == 1
    assert "swordfish" not in done.out
    assert not any("swordfish" in str(row) for table in everything(project).values() for row in table)


# --- what may be called inside an item


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda p: p.stage("Do"), "stage"),
        (lambda p: p.checkpoint("key", list), "checkpoint"),
        (lambda p: p.track([1]), "track"),
        (lambda p: p.map(_same, [1], 1), "map"),
        (lambda p: p.chain_to(None), "chain_to"),
    ],
    ids=["stage", "checkpoint", "track", "map", "chain_to"],
)
def test_what_belongs_to_the_recipes_own_thread_is_refused_in_an_item(
    bench: Bench, call: Callable[[Progress], object], name: str
) -> None:
    assert _refused(bench, lambda p: p.map(lambda _: call(p), range(2), 1)) == (
        f"p.{name} was called from another thread",
        "call it from the thread that runs the operation; p.log, p.status, p.percent and p.sh work anywhere",
    )


def test_a_stage_that_was_made_by_the_recipe_is_not_entered_in_an_item(bench: Bench) -> None:
    def body(p: Progress) -> object:
        block = p.stage("Block")
        return p.map(lambda _: block.__enter__(), [1], 1)

    assert _refused(bench, body)[0] == "p.stage was called from another thread"


def test_the_iterable_runs_in_the_recipes_own_thread_and_may_do_everything(bench: Bench) -> None:
    def items(p: Progress) -> Iterator[int]:
        with p.stage("Block"):
            yield from p.map(_same, [1, 2], 1)
        yield p.checkpoint("third", int, "3")

    assert _returned(bench, lambda p: p.map(_same, items(p), 1)) == [1, 2, 3]


def test_eight_threads_that_log_lose_no_line(bench: Bench) -> None:
    together = threading.Barrier(8, timeout=30)

    def body(p: Progress) -> object:
        def talk(item: int) -> None:
            together.wait()
            for number in range(500):
                p.log(f"{item} {number}")

        return p.map(talk, range(8), 8)

    _returned(bench, body)
    records = bench.records()
    lines = [line for entry in records.entries(1) if isinstance(entry.event, events.Log) for line in entry.event.lines]
    records.close()

    assert sorted(lines) == sorted(f"{item} {number}" for item in range(8) for number in range(500))
    for item in range(8):
        assert [line for line in lines if line.startswith(f"{item} ")] == [f"{item} {number}" for number in range(500)]


def test_print_in_threads_makes_whole_lines(bench: Bench) -> None:
    together = threading.Barrier(4, timeout=30)

    def talk(item: int) -> None:
        together.wait()
        for number in range(100):
            print(item, number, sep=" ")

    _returned(bench, lambda p: p.map(talk, range(4), 4))
    lines = [event.text for event in bench.seen.events if isinstance(event, events.Log)]

    assert sorted(lines) == sorted(f"{item} {number}" for item in range(4) for number in range(100))


def test_status_and_percent_of_an_item_are_those_of_the_run(bench: Bench) -> None:
    def body(p: Progress) -> object:
        def tell(item: int) -> None:
            p.status(f"item {item}")
            p.percent(40)

        return p.map(tell, [1], 1)

    _returned(bench, body)

    assert [event.text for event in bench.seen.events if isinstance(event, events.StatusChanged)] == ["item 1"]
    assert [event.percent for event in _moved(bench)] == [40.0, 100.0]


# --- processes


APART = (
    GATE
    + """
import json, logging, sys, warnings


def here():
    pathlib.Path(f"worker-{os.getpid()}").touch()


def pid(item):
    here()
    return os.getpid()


def hang(item):
    here()
    while True:
        time.sleep(1)


def fail_first(item):
    here()
    if item == 0:
        raise ValueError("boom")


def ignore(item):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(item)


class Ignores(LiveOperation):
    def run(self, p):
        p.map(ignore, range(2), 2, processes=True)


class Pids(LiveOperation):
    def run(self, p):
        p.result(mine=os.getpid(), others=p.map(pid, range(8), 2, processes=True))


class Hangs(LiveOperation):
    def run(self, p):
        p.map(hang, range(8), 2, processes=True)


class Fails(LiveOperation):
    def run(self, p):
        p.map(fail_first, range(8), 2, processes=True)
"""
)


def _workers(project: Project) -> list[int]:
    return [int(file.name.partition("-")[2]) for file in project.root.glob("worker-*")]


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _are_gone(pids: Iterable[int]) -> bool:
    return not any(map(_is_alive, pids))


def test_with_processes_the_items_are_done_in_others_and_none_outlives_the_run(project: Project) -> None:
    project.recipe("demo", APART)

    done = project.stagerun("run", "demo:Pids")

    assert (done.code, done.err) == (0, "")
    result = look(project, 1).result_context
    assert result is not None
    assert len(result["others"]) == 8
    assert set(result["others"]) == set(_workers(project))
    assert result["mine"] not in result["others"]
    assert _are_gone(_workers(project))


def test_a_failure_in_a_worker_process_shows_the_recipe_and_not_stagerun_and_ends_the_others(project: Project) -> None:
    project.recipe("demo", APART)

    done = project.stagerun("run", "demo:Fails")

    assert ("in fail_first" in done.out, "fanout.py" in done.out) == (True, False)
    assert (_workers(project) != [], _are_gone(_workers(project))) == (True, True)


PLACES = [
    ("recipes/orders.py", "orders:Demo"),
    ("recipes/json.py", "json:Demo"),  # a name that a module of Python has
    ("elsewhere/orders.py", "elsewhere/orders.py:Demo"),
    ("package/orders.py", "package.orders:Demo"),
]
PICKLED = """
import dataclasses, functools
from stagerun import LiveOperation


@dataclasses.dataclass
class Item:
    number: int


def double(item):
    return Item(item.number * 2)


def times(factor, item):
    return Item(item.number * factor)


class Demo(LiveOperation):
    factor: int = 4

    def own(self, item):
        return Item(item.number * self.factor)

    def run(self, p):
        for fn in (double, functools.partial(times, 3), self.own):
            p.log([each.number for each in p.map(fn, [Item(1), Item(2)], 1, processes=True)])
"""


@pytest.mark.parametrize(("file", "target"), PLACES, ids=[target for _, target in PLACES])
def test_functions_and_items_of_a_recipe_are_known_to_the_workers_wherever_it_lies(
    project: Project, file: str, target: str
) -> None:
    place = project.root / file
    place.parent.mkdir(exist_ok=True)
    place.write_text(PICKLED)

    done = project.stagerun("run", target)

    assert (done.code, done.err) == (0, "")
    assert logged(project, 1) == ["[2, 4]", "[3, 6]", "[4, 8]"]


@pytest.mark.parametrize(
    ("fn", "items", "results"),
    [
        ("copy.copy", "[Item(1)]", "[Item(number=1)]"),
        ("str.upper", "['a']", "['A']"),
        ("datetime.date.fromisoformat", "['2026-01-31']", "[datetime.date(2026, 1, 31)]"),
    ],
)
def test_functions_of_python_are_done_by_workers_also_with_items_of_a_recipe(
    project: Project, fn: str, items: str, results: str
) -> None:
    project.recipe(
        "json",
        f"""
import copy, dataclasses, datetime


@dataclasses.dataclass
class Item:
    number: int


class Demo(LiveOperation):
    def run(self, p):
        p.log(p.map({fn}, {items}, 1, processes=True))
""",
    )
    done = project.stagerun("run", "json")

    assert (done.code, done.err, logged(project, 1)) == (0, "", [results])


def test_what_can_not_be_sent_to_another_process_is_refused_before_anything_starts(project: Project) -> None:
    project.recipe(
        "demo",
        """
import functools
from stagerun.errors import RecipeError


def report(p, item):
    p.log(item)


class Demo(LiveOperation):
    def run(self, p):
        taken = []

        def items():
            taken.append(1)
            yield 1

        def local(item):
            return item

        for fn in (lambda item: item, local, functools.partial(report, p)):
            try:
                p.map(fn, items(), 1, processes=True)
            except RecipeError as error:
                p.log(f"{error.message.partition(': ')[0]} ... {error.message.rpartition(': ')[2]}; {error.hint}")
        p.log(f"taken {taken}")
""",
    )
    assert project.stagerun("run", "demo").code == 0
    hint = "use a function at the top of the recipe, or threads"
    can_not = "Can't get" if sys.version_info >= (3, 13) else "Can't pickle"
    assert logged(project, 1) == [
        f"p.map ... {can_not} local object 'Demo.run.<locals>.<lambda>'; {hint}",
        f"p.map ... {can_not} local object 'Demo.run.<locals>.local'; {hint}",
        f"p.map ... another process has no run to report to; return values instead; {hint}",
        "taken []",
    ]


def test_one_item_that_can_not_be_sent_fails_like_any_other(project: Project) -> None:
    project.recipe(
        "demo",
        """
class Demo(LiveOperation):
    def run(self, p):
        p.map(abs, [1, lambda: 2], 1, processes=True)
""",
    )
    done = project.stagerun("run", "demo")

    assert (done.code, done.err) == (1, "")
    assert "local object 'Demo.run.<locals>.<lambda>'\nin p.map, with the item <function" in done.out


def test_items_that_can_not_be_sent_do_not_hang_the_run(project: Project) -> None:
    project.recipe(
        "demo",
        """
import time


class Unsendable:
    def __init__(self, seconds):
        self.seconds = seconds

    def __getstate__(self):
        time.sleep(self.seconds)
        raise ValueError("it can't be sent")


class Demo(LiveOperation):
    def run(self, p):
        p.map(abs, [Unsendable(0), Unsendable(1)], 1, processes=True)
""",
    )
    with running(project, "run", "demo") as run:
        assert run.wait(10) == 1


SAYS = """
import json, logging, sys, warnings


def say(item):
    print("printed", item)
    print("warned", item, file=sys.stderr)
    logging.getLogger("shop").error("logged %s", item)
    warnings.warn(f"careful {item}")
    print("not ended", item, end="")
"""


def _said(project: Project) -> list[tuple[object, ...]]:
    sql = "SELECT json_extract(data, '$.text', '$.level', '$.stream') FROM events WHERE kind = 'log' ORDER BY seq"
    told = [json.loads(str(each)) for (each,) in rows(project, sql)]
    return [(line, level, stream) for text, level, stream in told for line in text.split("\n")]


def _lines_of(item: int, project: Project) -> list[tuple[object, ...]]:
    file = project.root / "recipes" / "demo.py"
    line = file.read_text().splitlines().index('    warnings.warn(f"careful {item}")') + 1
    return [
        (f"printed {item}", "info", "stdout"),
        (f"warned {item}", "info", "stderr"),
        (f"logged {item}", "error", "shop"),
        (f"{file}:{line}: UserWarning: careful {item}", "warning", "warnings"),
        (f"not ended {item}", "info", "stdout"),
    ]


@pytest.mark.parametrize(
    "work",
    [
        "p.map(say, range(4), 2, processes=True)",
        "with ProcessPoolExecutor(2) as executor:\n            p.map(say, range(4), executor=executor)",
    ],
    ids=["of the map", "handed in"],
)
def test_what_is_said_in_a_worker_process_becomes_lines_of_the_run_item_by_item(project: Project, work: str) -> None:
    project.recipe(
        "demo",
        f"""{SAYS}
from concurrent.futures import ProcessPoolExecutor


class Demo(LiveOperation):
    def run(self, p):
        {work}
""",
    )
    done = project.stagerun("run", "demo")

    assert (done.code, done.err) == (0, "")
    assert _said(project) == [line for item in range(4) for line in _lines_of(item, project)]


FAILURES = [
    ('ValueError("boom")', "ValueError"),
    pytest.param('json.JSONDecodeError("boom", "{", 0)', "JSONDecodeError"),
    pytest.param("SystemExit(3)", "SystemExit"),
    pytest.param("Odd(1, 2)", "Odd"),
]


@pytest.mark.parametrize(("error", "name"), FAILURES, ids=["plain", "own reduce", "exit", "two arguments"])
def test_what_an_item_said_before_it_failed_in_a_worker_process_is_not_lost(
    project: Project, error: str, name: str
) -> None:
    project.recipe(
        "demo",
        SAYS
        + f"""

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{{one}} {{two}}")


def fail(item):
    say(item)
    raise {error}


class Demo(LiveOperation):
    def run(self, p):
        p.map(fail, [7], 1, processes=True)
""",
    )
    project.stagerun("run", "demo")

    view = look(project, 1)
    assert view.error is not None
    assert (_said(project), view.error.type) == (_lines_of(7, project), name)


def test_what_a_finished_item_said_is_not_lost_when_an_earlier_one_fails(project: Project) -> None:
    project.recipe(
        "demo",
        GATE
        + """
def work(item):
    print("item", item)
    if item == 0:
        gate("one")
        time.sleep(0.5)
        raise ValueError("boom")
    pathlib.Path("one").touch()


class Demo(LiveOperation):
    def run(self, p):
        p.map(work, range(2), 2, processes=True)
""",
    )
    assert project.stagerun("run", "demo").code == 1
    assert sorted(map(str, logged(project, 1))) == ["item 0", "item 1"]


def test_what_a_recipe_prints_while_a_worker_imports_it_does_not_reach_standard_output(project: Project) -> None:
    project.recipe(
        "demo",
        """
print("being imported")


class Demo(LiveOperation):
    def run(self, p):
        p.map(abs, [1], 1, processes=True)
        p.map(own, [1], 1, processes=True)


def own(item):
    return item
""",
    )
    done = project.stagerun("run", "demo")

    assert (done.code, "being imported" in done.out) == (0, False)


def test_after_a_failure_no_item_begins_in_a_worker_process(project: Project) -> None:
    project.recipe(
        "demo",
        """
import pathlib, time


def work(item):
    pathlib.Path(f"begun-{item}").touch()
    time.sleep(0.5)
    if item == 0:
        raise ValueError("boom")


class Demo(LiveOperation):
    def run(self, p):
        p.map(work, range(8), 1, processes=True)
""",
    )
    assert project.stagerun("run", "demo").code == 1
    assert [file.name for file in project.root.glob("begun-*")] == ["begun-0"]


def test_the_death_of_a_worker_process_fails_the_run_and_hangs_nothing(project: Project) -> None:
    project.recipe(
        "demo",
        GATE
        + """
def die(item):
    os.kill(os.getpid(), signal.SIGKILL)


class Demo(LiveOperation):
    def run(self, p):
        p.map(die, range(8), 2, processes=True)
""",
    )
    done = project.stagerun("run", "demo")

    view = look(project, 1)
    assert view.error is not None
    assert (done.code, done.err, view.error.type) == (1, "", "BrokenProcessPool")


@pytest.mark.parametrize("items", [1_000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_many_items_go_through_processes(project: Project, items: int) -> None:
    project.recipe(
        "demo",
        f"""
class Demo(LiveOperation):
    def run(self, p):
        p.result(sum=sum(p.map(abs, range({items}), 2, processes=True)))
""",
    )
    with project.start("run", "demo", "--progress", "quiet") as process:
        process.communicate()

    assert process.returncode == 0
    assert look(project, 1).result_context == {"sum": sum(range(items))}


@pytest.mark.parametrize(
    ("operation", "name"),
    [("Hangs", "SIGINT"), ("Hangs", "SIGTERM"), ("Hangs", "SIGKILL"), ("Ignores", "SIGTERM"), ("Ignores", "SIGKILL")],
)
def test_no_worker_process_outlives_a_run_that_a_signal_ends(project: Project, operation: str, name: str) -> None:
    project.recipe("demo", APART)

    with running(project, "run", f"demo:{operation}") as run:
        until(lambda: len(_workers(project)) == 2)
        run.send_signal(signal.Signals[name])
        assert run.wait(30) == -signal.Signals[name]
        until(lambda: _are_gone(_workers(project)))


def test_a_worker_process_that_dies_after_a_cancel_leaves_no_traceback(project: Project) -> None:
    project.recipe("demo", APART)

    with running(project, "run", "demo:Hangs") as run:
        until(lambda: len(_workers(project)) == 2)
        run.terminate()
        time.sleep(0.5)
        os.kill(_workers(project)[0], signal.SIGKILL)
        ended = finish(run)

    assert (ended.code, "Traceback" in ended.out, ended.err) == (-signal.SIGTERM, False, "")


def test_ctrl_c_while_worker_processes_start_leaves_no_traceback_on_the_terminal(project: Project) -> None:
    project.recipe("demo", APART)
    (project.root / "sitecustomize.py").write_text("""
import pathlib, sys, time

if any("spawn_main" in each for each in sys.orig_argv):
    pathlib.Path("starting").touch()
    time.sleep(1)
""")
    path = os.pathsep.join([str(project.root), project.environ.get("PYTHONPATH", "")])
    with project.terminal("run", "demo:Hangs", environ={"PYTHONPATH": path}) as terminal:
        until((project.root / "starting").exists)
        terminal.send(b"\x03")
        assert terminal.wait() == -signal.SIGINT
        assert not [line for line in terminal.lines if "Traceback" in line]


# --- cancels and time limits


THREADS = (
    GATE
    + """
def begin(item):
    pathlib.Path(f"begun-{item}").touch()


def hang(item):
    begin(item)
    while True:
        time.sleep(1)


class Polite(LiveOperation):
    stages = ["Do"]
    limit: float | None = None

    def run(self, p):
        def work(item):
            begin(item)
            try:
                while True:
                    time.sleep(0.01)
                    p.check_cancelled()
            finally:
                p.log(f"cleaned up {item}")

        with p.stage("Do", timeout=self.limit):
            p.map(work, range(9), 2, label="pages", unit="page")


class Deaf(LiveOperation):
    stages = ["Do"]
    limit: float | None = None

    def run(self, p):
        with p.stage("Do", timeout=self.limit):
            p.map(hang, range(9), 3)


class FailsWhileOthersHang(LiveOperation):
    stages = ["Do"]
    limit: float | None = None

    def run(self, p):
        def work(item):
            if item < 2:
                hang(item)
            begin(item)
            raise ValueError("boom")

        with p.stage("Do", timeout=self.limit):
            p.map(work, range(3), 3)
"""
)


def _begun(project: Project) -> list[str]:
    return sorted(file.name for file in project.root.glob("begun-*"))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_reaches_the_items_at_their_next_look_and_no_other_begins(project: Project, name: str) -> None:
    project.recipe("demo", THREADS)

    with running(project, "run", "demo:Polite") as run:
        until(lambda: len(_begun(project)) == 2)
        run.send_signal(signal.Signals[name])
        ended = finish(run)

    assert (ended.code, ended.err) == (-signal.Signals[name], "")
    assert (_begun(project), sorted(map(str, logged(project, 1)))) == (
        ["begun-0", "begun-1"],
        ["cleaned up 0", "cleaned up 1"],
    )
    assert timeless(ended.out).splitlines()[-4:] == [
        "Do, pages: 0% (0/9 pages) in 0.0s",
        "--- [1/1] Do: cancelled after 0.0s",
        f"run 1 cancelled by {name} in [1/1] Do after 0.0s",
        "resume with: stagerun resume 1",
    ]


def test_stagerun_cancel_reaches_the_items(project: Project) -> None:
    project.recipe("demo", THREADS)

    with running(project, "run", "demo:Polite") as run:
        until(lambda: len(_begun(project)) == 2)
        cancel = project.stagerun("cancel", "1")
        ended = finish(run)

    assert (cancel.code, cancel.out, ended.code) == (0, "run 1 cancelled\n", -signal.SIGTERM)
    assert sorted(map(str, logged(project, 1))) == ["cleaned up 0", "cleaned up 1"]
    assert look(project, 1).state is RunState.CANCELLED


def test_the_limit_of_a_stage_reaches_the_items(project: Project) -> None:
    project.recipe("demo", THREADS)

    done = project.stagerun("run", "demo:Polite", "--limit", "0.5")

    assert (done.code, done.err) == (124, "")
    told = sorted(map(str, logged(project, 1)))
    assert [line for line in told if not line.startswith("stopping for")] == ["cleaned up 0", "cleaned up 1"]
    assert look(project, 1).state is RunState.TIMED_OUT


@pytest.mark.parametrize(("operation", "name"), [("Deaf", "SIGINT"), ("FailsWhileOthersHang", "SIGTERM")])
def test_items_that_never_end_do_not_keep_a_cancelled_run_from_ending(
    project: Project, operation: str, name: str
) -> None:
    project.recipe("demo", THREADS)

    with running(project, "run", f"demo:{operation}") as run:
        until(lambda: len(_begun(project)) == 3)
        time.sleep(0.3)  # until the failure, if there is one, is being handled
        run.send_signal(signal.Signals[name])
        ended = finish(run)

    assert (ended.code, ended.err) == (-signal.Signals[name], "")
    assert (look(project, 1).state, _begun(project)) == (RunState.CANCELLED, ["begun-0", "begun-1", "begun-2"])


@pytest.mark.parametrize("operation", ["Deaf", "FailsWhileOthersHang"])
def test_items_that_never_end_do_not_keep_a_process_alive_whose_run_took_too_long(
    project: Project, operation: str
) -> None:
    project.recipe("demo", THREADS)

    with running(project, "run", f"demo:{operation}", "--limit", "1") as run:
        until(lambda: len(_begun(project)) == 3)
        until(lambda: look(project, 1).state is RunState.TIMED_OUT)
        assert run.wait(5) == 124


def test_a_limit_ends_the_worker_processes_that_a_failure_left_at_work(project: Project) -> None:
    project.recipe(
        "demo",
        APART
        + """

def fail_or_hang(item):
    if item == 1:
        gate("hangs")
        raise ValueError("boom")
    pathlib.Path("hangs").touch()
    hang(item)


class Mixed(LiveOperation):
    stages = ["Do"]

    def run(self, p):
        with p.stage("Do", timeout=3):
            p.map(fail_or_hang, range(2), 2, processes=True)
""",
    )
    with running(project, "run", "demo:Mixed") as run:
        until(lambda: (project.root / "hangs").exists() and look(project, 1).state is RunState.TIMED_OUT)
        assert run.wait(5) == 124


# Ends maps by a time limit at moments that nobody chose, until one leaves a thread that waits for ever.
STORM = """
import itertools, os, random, sys, threading
from pathlib import Path

from stagerun import LiveOperation
from stagerun.authoring import finding
from stagerun.machine.interrupts import Interrupts
from tests.journals import Opened

opened = Opened(Path("storm.db"))


class Demo(LiveOperation):
    def run(self, p):
        p.map(abs, itertools.count(), 8)


found = finding.Found(operation=Demo, target="demo:Demo", recipe="demo", source=None)
for number in range(int(sys.argv[1])):
    interrupts = Interrupts()
    interrupts.install()
    view = opened.runner(interrupts=interrupts).run(found, Demo(owner="demo"), timeout=random.uniform(0.02, 0.06))
    interrupts.restore()
    threads = [each for each in threading.enumerate() if each.name.startswith("stagerun-map")]
    for each in threads:
        each.join(0.5)
    left = sum(each.is_alive() for each in threads)
    if left or view.state != "timed_out":
        print(f"map {number}: {view.state}, {left} threads left", flush=True)
        os._exit(1)
"""


@pytest.mark.parametrize("maps", [25, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_a_limit_at_any_moment_of_a_map_leaves_no_thread_behind(tmp_path: Path, maps: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORM, str(maps)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_programs_that_items_run_end_with_a_cancel(project: Project) -> None:
    project.recipe(
        "demo",
        GATE
        + """
class Demo(LiveOperation):
    stages = ["Do"]

    def run(self, p):
        with p.stage("Do"):
            p.map(lambda item: p.sh("touch worker-$$; sleep 1000"), range(9), 2)
""",
    )
    with running(project, "run", "demo") as run:
        until(lambda: len(_workers(project)) == 2)
        run.terminate()
        ended = finish(run)
        assert _are_gone(_workers(project))

    assert (ended.code, ended.err, len(_workers(project))) == (-signal.SIGTERM, "", 2)


# --- forks


def test_a_fork_in_an_item_that_ends_itself_reports_nothing(project: Project) -> None:
    project.recipe(
        "demo",
        """
import os


class Demo(LiveOperation):
    stages = ["Do"]

    def run(self, p):
        def work(item):
            child = os.fork()
            if child == 0:
                p.log("said by the child")
                p.status("said by the child")
                p.percent(50)
                os._exit(0)
            os.waitpid(child, 0)
            p.log(f"item {item}")
            return item

        with p.stage("Do"):
            p.result(items=p.map(work, range(4), 2))
""",
    )
    done = project.stagerun("run", "demo")

    assert (done.code, done.err, "said by" in done.out) == (0, "", False)
    assert sorted(map(str, logged(project, 1))) == [f"item {item}" for item in range(4)]
    assert (look(project, 1).result_context, look(project, 1).status) == ({"items": [0, 1, 2, 3]}, None)


def test_a_fork_that_comes_back_out_of_an_item_ends(project: Project) -> None:
    project.recipe(
        "demo",
        APART
        + """

def fork(item):
    pathlib.Path(f"begun-{item}-{os.getpid()}").touch()
    if os.fork() == 0:
        here()
        return item
    gate("go")
    return item


class Forks(LiveOperation):
    def run(self, p):
        p.map(fork, range(2), 1)
""",
    )
    with running(project, "run", "demo:Forks") as run:
        until(lambda: _workers(project))
        time.sleep(0.5)
        begun = sorted(file.name.rpartition("-")[0] for file in project.root.glob("begun-*"))
        open_gate(project, "go")
        assert run.wait(30) == 0
        time.sleep(0.5)
        assert (begun, _are_gone(_workers(project))) == (["begun-0"], True)


def test_a_fork_in_the_recipe_that_maps_too_reports_nothing(project: Project) -> None:
    project.recipe(
        "demo",
        """
import contextlib, os


class Demo(LiveOperation):
    stages = ["Do"]

    def run(self, p):
        child = os.fork()
        with p.stage("Do") if child else contextlib.nullcontext():
            items = p.map(lambda item: p.log(f"item {item}"), range(3), 1)
        if child:
            assert os.waitpid(child, 0)[1] == 0
""",
    )
    done = project.stagerun("run", "demo")

    assert (done.code, done.err) == (0, "")
    assert timeless(done.out) == (
        "run 1 · demo:Demo · started by alice\n"
        "=== [1/1] Do ===\n"
        "item 0\n"
        "item 1\n"
        "item 2\n"
        "Do: 100% (3/3 items) in 0.0s\n"
        "--- [1/1] Do: done in 0.0s\n"
        "run 1 succeeded in 0.0s\n"
    )
    assert logged(project, 1) == ["item 0", "item 1", "item 2"]


# --- displays


SHOWN = (
    GATE
    + """
def work(item):
    if item == 2:
        gate("go")


class Demo(LiveOperation):
    stages = ["Do"]

    def run(self, p):
        with p.stage("Do"):
            p.map(work, range(4), 2, label="pages", unit="page")
"""
)


def test_on_a_plain_display_a_map_is_shown_with_its_label(project: Project) -> None:
    project.recipe("demo", SHOWN)
    open_gate(project, "go")

    assert timeless(project.stagerun("run", "demo").out) == (
        "run 1 · demo:Demo · started by alice\n"
        "=== [1/1] Do ===\n"
        "Do, pages: 100% (4/4 pages) in 0.0s\n"
        "--- [1/1] Do: done in 0.0s\n"
        "run 1 succeeded in 0.0s\n"
    )


def test_on_a_terminal_a_map_has_a_bar_that_counts_what_has_finished(project: Project) -> None:
    project.recipe("demo", SHOWN)

    with project.terminal("run", "demo") as terminal:
        terminal.wait_for("3/4 pages")
        (bar,) = [line for line in terminal.lines if "pages" in line]
        open_gate(project, "go")
        assert terminal.wait() == 0

    assert bar.split()[:2] == ["Do", "pages"]
    assert " 75%  3/4 pages" in bar
    assert [timeless(line) for line in terminal.lines] == [
        "✓ [1/1] Do: done in 0.0s",
        "run 1 · demo:Demo · started by alice",
        "✓ Do 0.0s",
        "run 1 succeeded in 0.0s",
    ]
