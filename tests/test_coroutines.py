"""`async def run`: steps, loops and maps in an event loop, and how a run in one is stopped."""

import asyncio
import gc
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stagerun import AsyncProgress, LiveOperation, Progress, events
from stagerun.authoring import retries
from stagerun.errors import ItemsFailed, RecipeError
from stagerun.states import RunState, StageState
from stagerun.view import RunView
from tests.conftest import Bench, Project
from tests.processes import GATE, finish, look, read_until, running


Body = Callable[[AsyncProgress], Awaitable[object]]


def _operation(body: Body) -> LiveOperation:
    class Demo(LiveOperation):
        stages = ["Do", "Then"]

        async def run(self, p: AsyncProgress) -> object:
            return await body(p)

    return Demo(owner="alice")


def _run(bench: Bench, body: Body) -> RunView:
    return bench.run(_operation(body))


def _returned(bench: Bench, body: Body) -> object:
    """Return what `body` returns, in a run that succeeds."""
    values = list[object]()

    async def keep(p: AsyncProgress) -> None:
        values.append(await body(p))

    view = _run(bench, keep)
    assert view.state is RunState.SUCCEEDED, view.error
    return values[0]


def _refused(bench: Bench, body: Body) -> tuple[str, str | None]:
    """Return message and hint of the RecipeError that `body` meets."""

    async def run(p: AsyncProgress) -> tuple[str, str | None]:
        with pytest.raises(RecipeError) as caught:
            await body(p)
        return caught.value.message, caught.value.hint

    told = _returned(bench, run)
    assert isinstance(told, tuple)
    return told


def _lines(bench: Bench) -> list[tuple[str, str]]:
    return [(event.level, event.text) for event in bench.seen.events if isinstance(event, events.Log)]


async def _double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def _ticks(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


# --- steps and checkpoints


def test_an_async_run_does_its_work_and_what_it_returns_is_the_result(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> object:
        with p.stage("Do"):
            await asyncio.sleep(0)
            p.log("worked")
        return {"count": 3}

    view = _run(bench, body)

    assert (view.state, view.stages[0].state, view.result_context) == (
        RunState.SUCCEEDED,
        StageState.DONE,
        {"count": 3},
    )
    assert _lines(bench) == [("info", "worked")]


@pytest.mark.parametrize("call", ["step", "checkpoint"])
def test_what_a_coroutine_function_returned_is_stored_and_a_resumed_run_does_not_call_it(
    bench: Bench, call: str
) -> None:
    calls = list[int]()

    async def load(number: int) -> list[int]:
        await asyncio.sleep(0)
        calls.append(number)
        return [number, number + 1]

    async def body(p: AsyncProgress) -> object:
        value = await getattr(p, call)("Do", load, 7)
        if bench.seen.views[-1].plan.resumed_from is None:
            raise ValueError("the first run fails")
        return {"value": value}

    assert _run(bench, body).state is RunState.FAILED
    view = bench.resume(_operation(body))

    assert (view.state, view.result_context, calls) == (RunState.SUCCEEDED, {"value": [7, 8]}, [7])


def test_the_step_of_a_coroutine_function_is_a_stage(bench: Bench) -> None:
    seen = list[object]()

    async def work(p: AsyncProgress) -> int:
        await asyncio.sleep(0)
        assert bench.seen.views[-1].stages[0].state is StageState.ACTIVE
        seen.append(p)
        return 1

    view = _run(bench, lambda p: p.step("Do", work, p))

    assert (view.state, view.stages[0].state, len(seen)) == (RunState.SUCCEEDED, StageState.DONE, 1)


def test_plain_functions_are_called_as_in_any_run(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> object:
        return [
            p.step("Do", len, "ab"),
            p.checkpoint("key", len, "abc"),
            list(p.track("ab")),
            list(p.batches("abc", 2)),
        ]

    assert _returned(bench, body) == [2, 3, ["a", "b"], [["a", "b"], ["c"]]]


@pytest.mark.parametrize("call", ["step", "checkpoint"])
def test_a_coroutine_function_is_tried_again(bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "pause", lambda attempt: 0.0)
    tries = list[int]()

    async def flaky() -> int:
        await asyncio.sleep(0)
        tries.append(len(tries))
        if len(tries) < 3:
            raise OSError("the line is down")
        return len(tries)

    assert _returned(bench, lambda p: getattr(p, call)("Do", flaky, attempts=3)) == 3
    assert _lines(bench) == [
        ("warning", f"{call} 'Do': attempt {n} of 3 failed (OSError: the line is down), trying again in 0.0s")
        for n in (1, 2)
    ]


def test_a_mistake_in_the_use_of_stagerun_is_not_tried_again(bench: Bench) -> None:
    tries = list[int]()

    async def wrong() -> int:
        tries.append(1)
        raise RecipeError("no")

    assert _refused(bench, lambda p: p.checkpoint("key", wrong, attempts=3)) == ("no", None)
    assert tries == [1]


def test_a_call_that_is_not_awaited_fails_the_run(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> None:
        p.step("Do", _double, 1)  # type: ignore[unused-coroutine]

    view = _run(bench, body)

    assert view.error is not None
    line = body.__code__.co_firstlineno + 1
    assert (view.state, view.error.message) == (
        RunState.FAILED,
        f"p.step('Do') (test_coroutines.py, line {line}) was not awaited, so nothing of it was done",
    )
    assert _lines(bench) == []


def test_a_call_whose_task_was_cancelled_before_it_began_is_not_one_that_nobody_awaited(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> str:
        task = asyncio.create_task(p.map(_double, [1]))
        task.cancel()
        await asyncio.wait([task])
        return "went on"

    assert _returned(bench, body) == "went on"


# --- what is refused


def _sync(bench: Bench, body: Callable[[Progress], object]) -> tuple[str, str | None]:
    """Return message and hint of the RecipeError that `body` meets in a run that is not async."""
    told = list[tuple[str, str | None]]()

    class Demo(LiveOperation):
        def run(self, p: Progress) -> None:
            with pytest.raises(RecipeError) as caught:
                body(p)
            told.append((caught.value.message, caught.value.hint))

    assert bench.run(Demo(owner="alice")).state is RunState.SUCCEEDED
    return told[0]


@pytest.mark.parametrize("call", ["step", "checkpoint", "map"])
def test_a_run_that_is_not_async_refuses_a_coroutine_function(bench: Bench, call: str) -> None:
    assert _sync(
        bench, lambda p: getattr(p, call)("Do" if call != "map" else _double, _double if call != "map" else [])
    ) == (
        f"p.{call}: _double is a coroutine function, and run is not async",
        f"write async def run(self, p), and await p.{call}(...) in it",
    )


@pytest.mark.parametrize("call", ["track", "batches", "map"])
def test_a_run_that_is_not_async_refuses_an_async_iterable(bench: Bench, call: str) -> None:
    arguments = {"track": (_ticks(1),), "batches": (_ticks(1), 2), "map": (len, _ticks(1))}[call]

    assert _sync(bench, lambda p: getattr(p, call)(*arguments)) == (
        f"p.{call}: an async_generator is read by async for, and run is not async",
        "write async def run(self, p)",
    )


@pytest.mark.parametrize("call", ["step", "checkpoint", "map"])
def test_a_plain_function_that_returns_a_coroutine_is_refused(bench: Bench, call: str) -> None:
    async def body(p: AsyncProgress) -> None:
        if call == "map":
            await p.map(lambda number: _double(number + 1), [1])
        else:
            getattr(p, call)("Do", lambda: _double(1))

    assert _refused(bench, body) == (
        f"p.{call}: the function returned the coroutine _double, which nobody awaits",
        f"in async def run: await p.{call}(...) with the coroutine function itself and its arguments, not a lambda",
    )


def test_a_map_of_a_coroutine_function_takes_no_processes(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> None:
        await p.map(_double, [1], processes=True)

    assert _refused(bench, body) == (
        "p.map: a coroutine function works in the event loop",
        "leave out processes and executor",
    )


def test_a_map_of_a_plain_function_takes_no_async_iterable(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> None:
        await p.map(str, _ticks(2))  # type: ignore[arg-type]

    assert _refused(bench, body) == (
        "p.map: a plain function can't work on an async_generator",
        "pass a coroutine function, or a list of the items",
    )


def _in_a_task(call: Callable[[AsyncProgress], object]) -> Body:
    async def child(p: AsyncProgress) -> None:
        made = call(p)
        if asyncio.iscoroutine(made):
            await made

    return lambda p: asyncio.create_task(child(p))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("stage", lambda p: p.stage("Do")),
        ("step", lambda p: p.step("Do", _double, 1)),
        ("step", lambda p: p.step("Do", len, "")),
        ("checkpoint", lambda p: p.checkpoint("key", _double, 1)),
        ("checkpoint", lambda p: p.checkpoint("key", len, "")),
        ("track", lambda p: p.track([1], key="key")),
        ("map", lambda p: p.map(_double, [1], key="key")),
    ],
    ids=["stage", "step", "plain step", "checkpoint", "plain checkpoint", "track", "map"],
)
def test_stages_and_keys_belong_to_the_task_of_the_run(
    bench: Bench, name: str, call: Callable[[AsyncProgress], object]
) -> None:
    message, hint = _refused(bench, _in_a_task(call))

    assert (message, hint) == (
        f"p.{name} was called in another task than the one that runs the operation",
        "stages, and whatever has a key, belong to async def run itself: await it there",
    )


def test_without_a_key_loops_and_maps_work_in_all_tasks(bench: Bench) -> None:
    async def child(p: AsyncProgress) -> list[int]:
        p.log("from a task")
        return [*p.track([1, 2]), *await p.map(_double, [3])]

    async def body(p: AsyncProgress) -> object:
        return await asyncio.gather(child(p), p.map(_double, [4, 5]))

    assert _returned(bench, body) == [[1, 2, 6], [8, 10]]


# --- loops


def test_an_async_loop_goes_on_after_the_items_that_were_finished_with_its_totals(bench: Bench) -> None:
    seen = list[int]()

    async def body(p: AsyncProgress) -> object:
        totals = {"sum": 0}
        with p.stage("Do"):
            async for number in p.track(_ticks(5), key="rows", state=totals):
                if number == 3 and bench.seen.views[-1].plan.resumed_from is None:
                    raise ValueError("the first run fails")
                seen.append(number)
                totals["sum"] += number
        return totals

    assert _run(bench, body).state is RunState.FAILED
    view = bench.resume(_operation(body))

    assert (view.state, view.result_context, seen) == (RunState.SUCCEEDED, {"sum": 10}, [0, 1, 2, 3, 4])


def test_async_batches_are_counted_and_go_on_too(bench: Bench) -> None:
    seen = list[list[int]]()

    async def body(p: AsyncProgress) -> None:
        with p.stage("Do"):
            async for batch in p.batches(_ticks(5), 2, key="rows"):
                if len(seen) == 1 and batch == [2, 3]:
                    seen.append([])
                    raise ValueError("the first run fails")
                seen.append(batch)

    assert _run(bench, body).state is RunState.FAILED
    assert bench.resume(_operation(body)).state is RunState.SUCCEEDED
    assert seen == [[0, 1], [], [2, 3], [4]]


def test_an_async_loop_without_a_key_counts_its_items(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> object:
        return [[number async for number in p.track(_ticks(3), total=4)], [b async for b in p.batches(_ticks(3), 2)]]

    assert _returned(bench, body) == [[0, 1, 2], [[0, 1], [2]]]
    moved = [(e.done, e.total, e.ended) for e in bench.seen.events if isinstance(e, events.ProgressMoved)]
    assert moved == [(3, 4, True), (3, None, True)]


@pytest.mark.parametrize("size", [None, 1])
def test_while_a_loop_waits_for_its_source_the_item_before_is_finished(bench: Bench, size: int | None) -> None:
    async def source() -> AsyncIterator[int]:
        yield 5
        yield 6
        bench.interrupts.request()
        await asyncio.sleep(60)

    async def body(p: AsyncProgress) -> None:
        totals = {"items": 0}
        about: dict[str, Any] = {"key": "rows", "state": totals}
        async for _ in p.batches(source(), size, **about) if size else p.track(source(), **about):
            totals["items"] += 1

    assert _run(bench, body).state is RunState.CANCELLED
    reached = [(e.position, e.state) for e in bench.seen.events if isinstance(e, events.PositionReached)]
    assert reached == [(2, {"items": 2})]


def test_an_async_loop_that_gets_other_items_is_refused_in_a_resumed_run(bench: Bench) -> None:
    first = True

    async def words() -> AsyncIterator[str]:
        for word in ("a", "b", "c") if first else ("x", "b", "c"):
            yield word

    async def body(p: AsyncProgress) -> None:
        nonlocal first
        async for word in p.track(words(), key="rows"):
            if word == "b" and first:
                first = False
                raise ValueError("the first run fails")

    assert _run(bench, body).state is RunState.FAILED
    view = bench.resume(_operation(body))

    assert view.error is not None
    assert view.error.message == "loop 'rows' does not get the items that it had in run 1: item 1 is another one now"


# --- maps


def test_results_come_in_the_order_of_the_items_and_no_more_are_done_at_once_than_workers(bench: Bench) -> None:
    at_once = most = 0

    async def work(number: int) -> int:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001 * (number % 3))
        at_once -= 1
        return number

    assert _returned(bench, lambda p: p.map(work, range(30), workers=4)) == list(range(30))
    assert most == 4


def test_a_map_reads_an_async_iterable_a_few_items_ahead(bench: Bench) -> None:
    taken = 0

    async def source() -> AsyncIterator[int]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    async def work(number: int) -> int:
        assert taken <= number + 2 + 1 + 1, "two items are worked on, and one waits"
        await asyncio.sleep(0)
        return 2 * number

    assert _returned(bench, lambda p: p.map(work, source(), workers=2)) == [2 * number for number in range(50)]


def test_what_an_async_iterable_raises_ends_the_map(bench: Bench) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise OSError("no more")

    async def body(p: AsyncProgress) -> None:
        with pytest.raises(OSError, match="no more"):
            await p.map(_double, source())

    _returned(bench, body)


def test_a_resumed_map_calls_the_function_only_for_what_is_missing(bench: Bench) -> None:
    calls = list[int]()

    async def work(number: int) -> int:
        await asyncio.sleep(0)
        if number == 3 and 3 not in calls:
            calls.append(number)
            raise ValueError("the first run fails")
        calls.append(number)
        return 10 * number

    async def body(p: AsyncProgress) -> object:
        return {"all": await p.map(work, range(5), workers=1, key="pages")}

    assert _run(bench, body).state is RunState.FAILED
    view = bench.resume(_operation(body))

    assert (view.state, view.result_context, calls) == (
        RunState.SUCCEEDED,
        {"all": [0, 10, 20, 30, 40]},
        [0, 1, 2, 3, 3, 4],
    )


def test_a_stated_type_comes_back_from_a_stored_result(bench: Bench) -> None:
    @dataclass
    class Page:
        number: int

    failed = False

    async def page(number: int) -> Page:
        return Page(number)

    async def body(p: AsyncProgress) -> object:
        nonlocal failed
        pages = await p.map(page, [1, 2], key="pages", type=Page)
        if not failed:
            failed = True
            raise ValueError("the first run fails")
        return {"pages": [type(each) is Page and each.number for each in pages]}

    _run(bench, body)

    assert bench.resume(_operation(body)).result_context == {"pages": [1, 2]}


def test_the_first_failure_cancels_the_other_items_and_names_its_own(bench: Bench) -> None:
    cancelled = list[int]()

    async def work(number: int) -> None:
        if number == 1:
            raise ValueError("bad")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    async def body(p: AsyncProgress) -> object:
        with pytest.raises(ValueError, match="bad") as caught:
            await p.map(work, range(10), workers=3)
        return caught.value.__notes__

    assert _returned(bench, body) == ["in p.map, with the item 1"]
    assert cancelled == [0, 2]


def test_a_map_that_keeps_going_tries_all_items_and_again_those_that_fail(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "pause", lambda attempt: 0.0)
    calls = list[int]()

    async def work(number: int) -> int:
        calls.append(number)
        if number == 1 or (number == 2 and calls.count(2) == 1):
            raise OSError(f"no {number}")
        return number

    async def body(p: AsyncProgress) -> object:
        with pytest.raises(ItemsFailed) as caught:
            await p.map(work, range(4), workers=1, attempts=2, keep_going=True)
        return caught.value.results, {at: str(error) for at, error in caught.value.failed.items()}

    assert _returned(bench, body) == ([0, None, 2, 3], {1: "no 1"})
    assert sorted(calls) == [0, 1, 1, 2, 2, 3]


def test_an_item_that_cancels_itself_ends_the_map(bench: Bench) -> None:
    async def work(number: int) -> None:
        raise asyncio.CancelledError

    async def body(p: AsyncProgress) -> None:
        with pytest.raises(asyncio.CancelledError):
            await p.map(work, [1, 2])

    _returned(bench, body)


def test_a_map_of_a_plain_function_leaves_the_loop_free(bench: Bench) -> None:
    turns = threading.Event()

    async def body(p: AsyncProgress) -> object:
        async def turn() -> None:
            await asyncio.sleep(0.01)
            turns.set()

        task = asyncio.create_task(turn())
        got = await p.map(lambda item: (turns.wait(30), item, threading.current_thread().name[:12])[1:], [1, 2])
        await task
        return got

    assert _returned(bench, body) == [(1, "stagerun-map"), (2, "stagerun-map")]


def test_a_timeout_around_a_map_of_a_plain_function_ends_it(bench: Bench) -> None:
    done = list[int]()

    def work(number: int) -> None:
        time.sleep(0.01)
        done.append(number)

    async def body(p: AsyncProgress) -> bool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await p.map(work, range(10_000), workers=1)
        before = len(done)
        await asyncio.sleep(0.05)
        return before == len(done) < 10_000

    assert _returned(bench, body) is True


# --- failures


def test_a_timeout_of_asyncio_fails_the_stage_which_may_be_entered_again(bench: Bench) -> None:
    states = list[StageState]()

    async def body(p: AsyncProgress) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                with p.stage("Do"):
                    await asyncio.sleep(60)
        states.append(bench.seen.views[-1].stages[0].state)
        with p.stage("Do"):
            await asyncio.sleep(0)

    view = _run(bench, body)

    assert (view.state, states, view.stages[0].state) == (RunState.SUCCEEDED, [StageState.FAILED], StageState.DONE)


def test_the_failure_of_a_child_is_named_with_its_line(bench: Bench) -> None:
    async def child() -> None:
        raise ValueError("boom")

    async def body(p: AsyncProgress) -> None:
        with p.stage("Do"):
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.sleep(60)

    view = _run(bench, body)

    assert view.error is not None
    assert (view.state, view.error.stage, view.error.type, view.error.message, view.error.line) == (
        RunState.FAILED,
        "Do",
        "ExceptionGroup",
        "unhandled errors in a TaskGroup: ValueError: boom",
        child.__code__.co_firstlineno + 1,
    )
    assert "asyncio" not in str(view.error.traceback).replace("test_coroutines", "").replace("asyncio.TaskGroup", "")


def test_a_run_that_cancels_itself_fails_and_says_that_nobody_asked(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> None:
        with p.stage("Do"):
            task = asyncio.create_task(asyncio.sleep(60))
            task.cancel()
            await task

    view = _run(bench, body)

    assert view.error is not None
    assert (view.state, view.stages[0].state, view.error.type) == (RunState.FAILED, StageState.FAILED, "CancelledError")
    assert str(view.error.traceback).endswith(
        "nobody asked the run to stop: something in it cancelled its task, or what it awaited"
    )


# --- a request to stop


def test_a_cancel_unwinds_the_run_at_its_await_and_the_clean_up_may_use_p_in_its_own_tasks(bench: Bench) -> None:
    async def close(p: AsyncProgress) -> None:
        p.log("closing")

    async def body(p: AsyncProgress) -> None:
        with p.stage("Do"):
            threading.Thread(target=bench.interrupts.request).start()
            try:
                await asyncio.sleep(60)
            finally:
                p.log("cleaning up")
                async with asyncio.TaskGroup() as group:
                    group.create_task(close(p))
                p.log(str(await p.map(_double, [1])))

    view = _run(bench, body)

    assert (view.state, view.signal, view.stages[0].state) == (RunState.CANCELLED, "SIGTERM", StageState.CANCELLED)
    assert _lines(bench) == [("info", "cleaning up"), ("info", "closing"), ("info", "[2]")]


def test_a_cancel_reaches_the_tasks_of_a_group_and_of_a_map(bench: Bench) -> None:
    ended = list[str]()

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(name)

    async def body(p: AsyncProgress) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work("task"))
            group.create_task(p.map(work, ["item"]))
            await asyncio.sleep(0.01)
            bench.interrupts.request()

    assert _run(bench, body).state is RunState.CANCELLED
    assert sorted(ended) == ["item", "task"]


def test_after_a_cancel_that_was_swallowed_the_next_call_raises_again(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> None:
        bench.interrupts.request()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            p.log("swallowed")
        p.log("never said")

    assert _run(bench, body).state is RunState.CANCELLED
    assert _lines(bench) == [("info", "swallowed")]


def test_code_that_never_awaits_is_stopped_at_its_next_call(bench: Bench) -> None:
    async def child(p: AsyncProgress) -> None:
        bench.interrupts.request()
        for _ in p.track(range(10)):
            p.log("never said")

    async def body(p: AsyncProgress) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child(p))

    view = _run(bench, body)

    assert (view.state, view.error, _lines(bench)) == (RunState.CANCELLED, None, [])


def test_a_run_that_was_asked_to_stop_before_it_began_does_nothing(bench: Bench) -> None:
    class Early(LiveOperation):
        async def run(self, p: AsyncProgress) -> None:
            p.log("never said")

    bench.interrupts.stopping, bench.interrupts.expired = True, "the run took longer than 1s"

    assert bench.run(Early(owner="alice")).state is RunState.TIMED_OUT
    assert _lines(bench) == []


# --- the end


def test_tasks_that_are_left_are_cancelled_and_named_once(bench: Bench) -> None:
    ended, kept = list[int](), list[asyncio.Task[None]]()

    async def poll(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    async def body(p: AsyncProgress) -> None:
        tasks = [asyncio.create_task(poll(number)) for number in range(2)]
        await asyncio.sleep(0)
        kept.extend(tasks)

    assert _run(bench, body).state is RunState.SUCCEEDED
    name = poll.__qualname__
    assert (sorted(ended), _lines(bench)) == (
        [0, 1],
        [("warning", f"run returned while 2 tasks were still running, now cancelled: {name}, {name}")],
    )


def test_a_loop_that_was_broken_off_leaves_no_task_and_its_position(bench: Bench) -> None:
    closed = list[str]()

    async def source() -> AsyncIterator[int]:
        try:
            for number in range(5):
                yield number
        finally:
            await asyncio.sleep(0.01)
            closed.append("source")

    async def body(p: AsyncProgress) -> None:
        async for number in p.track(source(), key="rows"):
            if number == 2:
                break

    assert _run(bench, body).state is RunState.SUCCEEDED
    assert (closed, _lines(bench)) == (["source"], [])
    assert [e.position for e in bench.seen.events if isinstance(e, events.PositionReached)] == [2]


def test_an_exit_in_a_task_ends_the_run_with_its_code(bench: Bench) -> None:
    cleaned = list[str]()

    async def child() -> None:
        sys.exit(7)

    async def body(p: AsyncProgress) -> None:
        task = asyncio.create_task(child())
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(str(task.done()))

    view = _run(bench, body)
    gc.collect()  # asyncio would report the task in the log of another test

    assert (view.state, view.exit_code, cleaned) == (RunState.FAILED, 7, ["True"])


def test_an_async_run_hands_over_to_the_next_operation(bench: Bench) -> None:
    async def body(p: AsyncProgress) -> None:
        p.chain_to(_operation(lambda p: p.step("Then", _double, 2)))

    view = _run(bench, body)

    assert (view.id, view.state, view.stages[1].state) == (2, RunState.SUCCEEDED, StageState.DONE)


def test_threads_that_nobody_awaits_are_waited_for(bench: Bench) -> None:
    done = list[str]()

    def work() -> None:
        time.sleep(0.5)
        done.append("done")

    async def body(p: AsyncProgress) -> None:
        asyncio.get_running_loop().run_in_executor(None, work)

    assert (_run(bench, body).state, done) == (RunState.SUCCEEDED, ["done"])


def test_the_loop_may_be_in_debug_mode(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")

    async def body(p: AsyncProgress) -> None:
        assert asyncio.get_running_loop().get_debug()
        threading.Thread(target=bench.interrupts.request).start()
        await p.map(asyncio.sleep, [60, 60])

    assert _run(bench, body).state is RunState.CANCELLED


# --- real signals

RECIPE = f"""import asyncio
{GATE}

class Wait(LiveOperation):
    stages = ["Wait"]

    async def run(self, p):
        with p.stage("Wait"):
            try:
                print("waiting")
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                p.log("cleaned up")

class Block(LiveOperation):
    async def child(self):
        try:
            print("waiting")
            time.sleep(60)
        finally:
            print("child cleaned up")

    async def run(self, p):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.child())
        finally:
            p.log("cleaned up")

class Slow(LiveOperation):
    async def child(self):
        try:
            await asyncio.sleep(60)
        finally:
            print("cleaning up")
            await asyncio.sleep(60)

    async def run(self, p):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.child())
            await asyncio.sleep(0)
            print("waiting")

class Thread(LiveOperation):
    async def run(self, p):
        work = asyncio.to_thread(p.sh, "echo waiting; sleep 60")
        await work

class Limit(LiveOperation):
    stages = ["Wait"]

    async def run(self, p):
        with p.stage("Wait", timeout=0.1):
            await asyncio.sleep(60)

class Limited(LiveOperation):
    timeout = 0.1

    async def run(self, p):
        time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_cancels_the_task_at_its_await(project: Project, name: str) -> None:
    project.recipe("demo", RECIPE)

    with running(project, "run", "demo:Wait") as process:
        read_until(process, "waiting")
        process.send_signal(getattr(signal, name))
        done = finish(process)

    view = look(project, 1)
    assert (done.code, view.state, view.signal) == (-getattr(signal, name), RunState.CANCELLED, name)
    assert (view.stages[0].state, "cleaned up" in done.out) == (StageState.CANCELLED, True)


def test_a_signal_gets_through_to_a_task_that_blocks_the_loop(project: Project) -> None:
    project.recipe("demo", RECIPE)

    with running(project, "run", "demo:Block") as process:
        read_until(process, "waiting")
        process.send_signal(signal.SIGTERM)
        done = finish(process)

    view = look(project, 1)
    assert (done.code, view.state, view.error) == (-signal.SIGTERM, RunState.CANCELLED, None)
    assert [line for line in done.out.splitlines() if line.endswith("cleaned up")] == ["child cleaned up", "cleaned up"]


def test_a_second_signal_cuts_the_clean_up_of_all_tasks_short(project: Project) -> None:
    project.recipe("demo", RECIPE)

    with running(project, "run", "demo:Slow") as process:
        read_until(process, "waiting")
        process.send_signal(signal.SIGINT)
        read_until(process, "cleaning up")
        process.send_signal(signal.SIGINT)
        done = finish(process)

    assert (done.code, look(project, 1).state) == (-signal.SIGINT, RunState.CANCELLED)


def test_a_cancel_ends_the_program_of_a_thread(project: Project) -> None:
    project.recipe("demo", RECIPE)

    with running(project, "run", "demo:Thread") as process:
        read_until(process, "waiting")
        assert project.stagerun("cancel", "1").code == 0
        done = finish(process)

    assert (done.code, look(project, 1).state) == (-signal.SIGTERM, RunState.CANCELLED)


@pytest.mark.parametrize(
    ("operation", "message"),
    [("Limit", "stage 'Wait' took longer than 0.1s"), ("Limited", "the run took longer than 0.1s")],
    ids=["at an await", "in a loop that is blocked"],
)
def test_a_time_limit_stops_the_run(project: Project, operation: str, message: str) -> None:
    project.recipe("demo", RECIPE)

    done = project.stagerun("run", f"demo:{operation}")

    view = look(project, 1)
    assert view.error is not None
    assert (done.code, view.state, view.error.message) == (124, RunState.TIMED_OUT, message)
    assert all(stage.state is StageState.FAILED for stage in view.stages)
