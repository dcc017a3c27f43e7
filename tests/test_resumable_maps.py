"""Resumable maps: each result is stored once, and a resumed run is given the complete list."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from stagerun import ItemsFailed, LiveOperation, OperationCancelled, Progress, Secret, events
from stagerun.authoring import retries
from stagerun.errors import RecipeError
from stagerun.states import RunState
from tests.conftest import Bench, Project
from tests.processes import GATE, look, open_gate, rows, running, until


Work = Callable[[int], Any]


def _operation(body: Callable[[Progress], object]) -> LiveOperation:
    class Demo(LiveOperation):
        stages = ["Do"]
        token: Secret | None = None

        def run(self, p: Progress) -> None:
            with p.stage("Do"):
                body(p)

    return Demo(owner="alice", token=Secret("hunter2"))


def _stored(bench: Bench, key: str = "rows") -> dict[int, object]:
    """Position -> result, of all that any run has stored under the key."""
    records = bench.records()
    newest = records.find("last").id
    told = [
        entry.event
        for run in range(1, newest + 1)
        for entry in records.entries(run)
        if isinstance(entry.event, events.ResultsStored) and entry.event.key == key
    ]
    records.close()
    return {at: value for event in told for at, value in zip(event.items, event.values, strict=True)}


def _log(bench: Bench, run: int, level: str = "info") -> list[str]:
    records = bench.records()
    entries = [entry.event for entry in records.entries(run)]
    records.close()
    logs = [event for event in entries if isinstance(event, events.Log) and event.level == level]
    return [line for log in logs for line in log.lines]


def _moved(bench: Bench) -> list[events.ProgressMoved]:
    return [event for event in bench.seen.events if isinstance(event, events.ProgressMoved)]


@dataclass
class Squares:
    """A map over `range(items)` that is stopped at its first try, and remembers what it did and returned."""

    bench: Bench
    items: int = 6
    arguments: Callable[[], dict[str, Any]] = dict
    at: int = 3
    stop: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        self.done = list[int]()
        self.returned = list[list[int]]()
        self.lock = threading.Lock()

    def work(self, item: int) -> int:
        if item == self.at and self.stop is not None:
            stop, self.stop = self.stop, None
            stop()
        with self.lock:
            self.done.append(item)
        return item * item

    def body(self, p: Progress) -> None:
        self.returned.append(p.map(self.work, range(self.items), key="rows", **self.arguments()))

    def operation(self) -> LiveOperation:
        return _operation(self.body)


def _fail() -> None:
    raise ValueError("boom")


def _cancel(bench: Bench) -> Callable[[], None]:
    def stop() -> None:
        bench.interrupts.request("SIGTERM")
        bench.interrupts.check()

    return stop


@pytest.mark.parametrize("how", ["failed", "cancelled"])
@pytest.mark.parametrize("workers", [1, 3, "an executor of the recipe"])
def test_a_resumed_map_does_only_what_is_missing_and_returns_all_results(
    bench: Bench, how: str, workers: int | str
) -> None:
    pool = ThreadPoolExecutor(2)
    given: dict[str, Any] = {"executor": pool} if isinstance(workers, str) else {"workers": workers}
    squares = Squares(bench, arguments=lambda: given, stop=_fail if how == "failed" else _cancel(bench))

    with pool:
        first = bench.run(squares.operation())
        before = _stored(bench)
        second = bench.resume(squares.operation())

    assert (first.state, second.state) == (RunState(how), RunState.SUCCEEDED)
    assert before == {item: item * item for item in squares.done[: len(before)]}
    assert (sorted(squares.done), squares.returned) == ([0, 1, 2, 3, 4, 5], [[0, 1, 4, 9, 16, 25]])


def test_what_was_finished_behind_a_gap_is_not_done_again(bench: Bench) -> None:
    others = threading.Event()

    def wait_and_fail() -> None:
        assert others.wait(30)
        raise ValueError("boom")

    squares = Squares(bench, 4, lambda: {"workers": 2}, at=1, stop=wait_and_fail)
    work = squares.work

    def noted(item: int) -> int:
        square = work(item)
        if len(squares.done) == 3:
            others.set()
        return square

    squares.work = noted  # type: ignore[method-assign]
    bench.run(squares.operation())
    before = dict(sorted(_stored(bench).items()))
    bench.resume(squares.operation())

    assert before == {0: 0, 2: 4, 3: 9}
    assert (squares.done[3:], squares.returned) == ([1], [[0, 1, 4, 9]])


def test_a_finished_map_is_returned_without_a_call_and_stored_once(bench: Bench) -> None:
    squares = Squares(bench, arguments=lambda: {"workers": 1})

    def body(p: Progress) -> None:
        squares.body(p)
        if len(squares.returned) == 1:
            raise ValueError("boom")

    bench.run(_operation(body))
    count = len(_moved(bench))
    bench.resume(_operation(body))

    assert (squares.done, squares.returned) == ([0, 1, 2, 3, 4, 5], [[0, 1, 4, 9, 16, 25]] * 2)
    assert "map rows: 6 of 6 results taken from run 1" in _log(bench, 2)
    assert _moved(bench)[count:] == [events.ProgressMoved(done=6, total=6, percent=100.0, skipped=6, ended=True)]
    kinds = [type(entry.event) for entry in bench.records().entries(2)]
    assert events.ResultsStored not in kinds


def test_the_count_of_a_resumed_map_begins_with_what_was_stored_and_never_goes_back(bench: Bench) -> None:
    counts = list[int | None]()
    squares = Squares(bench, arguments=lambda: {"workers": 1}, at=4, stop=_fail)
    work = squares.work

    def body(p: Progress) -> None:
        def sampled(item: int) -> int:
            square = work(item)
            p._session.loops.sample()
            counts.append(_moved(bench)[-1].done)
            return square

        squares.work = sampled  # type: ignore[method-assign]
        squares.body(p)

    bench.run(_operation(body))
    counts.clear()
    bench.resume(_operation(body))

    assert counts == sorted(counts, key=lambda count: count or 0)
    assert counts[0] is not None
    assert counts[0] >= 4


def test_results_of_several_runs_are_put_together(bench: Bench) -> None:
    squares = Squares(bench, arguments=lambda: {"workers": 1}, at=1, stop=_fail)
    bench.run(squares.operation())
    squares.at, squares.stop = 5, _fail
    bench.resume(squares.operation())
    stored = len(_stored(bench))

    bench.resume(squares.operation())

    assert "map rows: 1 of 6 results taken from run 1" in _log(bench, 2)
    assert f"map rows: {stored} of 6 results taken from runs 1 and 2" in _log(bench, 3)
    assert (sorted(squares.done), squares.returned) == ([0, 1, 2, 3, 4, 5], [[0, 1, 4, 9, 16, 25]])


def test_an_endless_source_is_read_on_behind_what_was_stored(bench: Bench) -> None:
    done, returned = list[int](), list[list[int]]()

    def source() -> Iterator[int]:
        yield from range(3)
        if not returned:
            returned.append([])
            until(lambda: len(done) == 3)
            raise OSError("the source broke")
        yield from range(3, 6)

    def work(item: int) -> int:
        done.append(item)
        return item * item

    def body(p: Progress) -> None:
        returned.append(p.map(work, source(), 2, key="rows"))

    bench.run(_operation(body))
    first = len(_stored(bench))
    bench.resume(_operation(body))

    assert returned == [[], [0, 1, 4, 9, 16, 25]]
    assert sorted(done) == sorted([0, 1, 2, *range(first, 6)])


@pytest.mark.parametrize("processes", [False, True])
def test_after_sigkill_a_resume_does_only_what_was_not_stored_whatever_the_order(
    project: Project, processes: bool
) -> None:
    project.recipe(
        "demo",
        GATE
        + f"""
def work(item):
    if item == 3:
        gate("three")
    with open("done", "a") as file:
        file.write(f"{{item}}\\n")
    return item * item


class Demo(LiveOperation):
    def run(self, p):
        p.result(squares=p.map(work, range(7), 2, processes={processes}, key="rows"))
""",
    )
    done = project.root / "done"
    with running(project, "run", "demo") as run:
        until(lambda: done.exists() and len(done.read_text().split()) == 6)
        until(lambda: project.journal.exists() and rows(project, "SELECT sum(done) FROM checkpoints") == [(6,)])
        run.kill()
    done.unlink()
    open_gate(project, "three")

    resumed = project.stagerun("resume", "last")

    assert (resumed.code, resumed.err) == (0, "")
    assert done.read_text().split() == ["3"]
    assert look(project, 2).result_context == {"squares": [0, 1, 4, 9, 16, 25, 36]}


# --- what a result may be


@dataclass
class Page:
    number: int
    title: str


def test_a_stated_type_gives_results_back_as_that_type(bench: Bench) -> None:
    returned = list[object]()

    def body(p: Progress) -> None:
        returned.append(p.map(lambda number: Page(number, "a"), range(2), key="rows", type=Page))
        raise ValueError("boom")

    bench.run(_operation(body))
    bench.resume(_operation(body))

    assert returned == [[Page(0, "a"), Page(1, "a")]] * 2
    assert _stored(bench) == {0: {"number": 0, "title": "a"}, 1: {"number": 1, "title": "a"}}


def _bad_result(p: Progress) -> None:
    p.map(lambda item: (item,) if item == 1 else item, range(4), 1, key="rows")


def _secret_result(p: Progress) -> None:
    p.map(lambda item: "hunter2" if item == 1 else item, range(4), 1, key="rows")


def _large_result(p: Progress) -> None:
    p.map(lambda item: "x" * 2**24 if item == 1 else item, range(4), 1, key="rows")


def _type_without_key(p: Progress) -> None:
    p.map(str, [1], type=str)


def _value_instead_of_a_function(p: Progress) -> None:
    p.map([1, 2], [1], key="rows")  # type: ignore[arg-type]


def _no_attempt(p: Progress) -> None:
    p.map(str, [1], attempts=0)


def _over_a_resumable_loop(p: Progress) -> None:
    p.map(str, p.track(range(3), key="loop"), key="rows")


def _over_resumable_batches(p: Progress) -> None:
    p.map(str, p.batches(range(3), 2, key="loop"))


TAKEN = (
    "p.map over p.track(key=...): items would count as finished when they are taken",
    "give the items and the key to p.map alone",
)


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (
            _bad_result,
            "JSON can't restore map 'rows', result of item 2 exactly: it holds a tuple",
            "use a list, or give its type with type=...",
        ),
        (
            _secret_result,
            "a result of map 'rows' contains a secret, which the journal must not store",
            "leave it out of the results",
        ),
        (
            _large_result,
            "map 'rows', result of item 2 has 16,777,218 bytes; the limit is 16,777,216",
            "store a file, and its path as the checkpoint",
        ),
        (
            _type_without_key,
            "p.map: type= is the type of stored results, and only a key stores them",
            "give a key",
        ),
        (
            _value_instead_of_a_function,
            "p.map: pass the function, not its value: it got [1, 2]",
            "write it as p.map(fn, items)",
        ),
        (_no_attempt, "p.map: attempts must be a whole number above 0, not 0", None),
        (_over_a_resumable_loop, *TAKEN),
        (_over_resumable_batches, *TAKEN),
    ],
    ids=lambda each: each.__name__.strip("_") if callable(each) else "",
)
def test_a_map_that_could_not_be_resumed_rightly_is_refused(
    bench: Bench, body: Callable[[Progress], None], message: str, hint: str | None
) -> None:
    caught = list[RecipeError]()

    def run(p: Progress) -> None:
        with pytest.raises(RecipeError) as info:
            body(p)
        caught.append(info.value)

    view = bench.run(_operation(run))

    assert view.error is None or view.error.message == message
    assert (caught[0].message, caught[0].hint) == (message, hint)


@pytest.mark.parametrize("body", [_bad_result, _secret_result, _large_result], ids=["inexact", "secret", "too large"])
def test_a_result_that_is_refused_takes_no_other_with_it(bench: Bench, body: Callable[[Progress], None]) -> None:
    together = threading.Event()

    def run(p: Progress) -> None:
        mapped = p.map

        def held(fn: Work, items: range, _: int, *, key: str) -> list[object]:
            # The good results are finished before the bad one, and none is stored yet.
            def work(item: int) -> object:
                if item == 1:
                    assert together.wait(30)
                    return fn(item)
                if item == 3:
                    together.set()
                return fn(item)

            return mapped(work, items, 4, key=key)

        p.map = held  # type: ignore[method-assign, assignment]
        body(p)

    view = bench.run(_operation(run))

    assert view.state is RunState.FAILED
    assert dict(sorted(_stored(bench).items())) == {0: 0, 2: 2, 3: 3}


@pytest.mark.parametrize("body", [_secret_result, _large_result], ids=["secret", "too large"])
def test_what_finished_before_and_behind_a_result_that_is_refused_is_stored(
    bench: Bench, body: Callable[[Progress], None]
) -> None:
    bench.run(_operation(body))

    assert dict(sorted(_stored(bench).items())) == {0: 0, 2: 2, 3: 3}


# --- other items than before


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        (["a", "b", "c"], ["b", "a", "c"], "item 1 is another one now"),
        (["a", "b", "c"], ["a", "x", "c"], "item 2 is another one now"),
        ([{"id": 1}, {"id": 2}], [{"id": 1}, {"id": 3}], "item 2 is another one now"),
        (["a", "b", "c"], ["a", "b"], "there are only 2 now"),
        (["a", "b", "c"], [], "there are only 0 now"),
        (["a", "b"], ["a", "b", "c"], None),
        ([object(), object()], [object(), object()], None),
        ([object(), object()], [object()], "there were 2, now 1, and nothing tells them apart"),
        ([object(), object()], [object()] * 3, "there were 2, now 3, and nothing tells them apart"),
        ([Page(1, "a")], [Page(2, "b")], "item 1 is another one now"),
        (["hunter2", "b"], ["another", "b"], None),
    ],
)
def test_a_resumed_map_is_refused_other_items_where_they_can_be_told_apart(
    bench: Bench, then: list[object], now: list[object], told: str | None
) -> None:
    def body(items: list[object]) -> Callable[[Progress], None]:
        def run(p: Progress) -> None:
            p.map(measure, items, key="rows")
            if items is then:
                raise ValueError("boom")

        return run

    def measure(item: object) -> int:
        return 1

    bench.run(_operation(body(then)))
    view = bench.resume(_operation(body(now)))

    expected = told and f"map 'rows' does not get the items that it had in run 1: {told}"
    assert (view.error and view.error.message) == expected
    assert (view.state is RunState.SUCCEEDED) is (told is None)


def test_items_that_the_function_changes_in_place_are_the_same_items(bench: Bench) -> None:
    stops = iter([True, False])

    def body(p: Progress) -> None:
        items = [{"id": number} for number in range(4)]
        stop = next(stops)

        def work(item: dict[str, int]) -> int:
            item["seen"] = 1
            if stop and item["id"] == 3:
                raise ValueError("boom")
            return item["id"]

        assert p.map(work, items, 1, key="rows") == [0, 1, 2, 3]

    bench.run(_operation(body))
    view = bench.resume(_operation(body))

    assert view.state is RunState.SUCCEEDED, view.error


# --- attempts and keep_going


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let no test wait between two attempts; return the attempts that were waited for."""
    asked = list[int]()

    def pause(attempt: int) -> float:
        asked.append(attempt)
        return 0.0

    monkeypatch.setattr(retries, "pause", pause)
    return asked


@pytest.mark.parametrize("workers", [1, 3])
def test_an_item_is_tried_as_often_as_asked_and_each_failure_is_told(
    bench: Bench, workers: int, no_pause: list[int]
) -> None:
    lock, tries = threading.Lock(), dict[int, int]()
    returned = list[list[int]]()

    def work(item: int) -> int:
        with lock:
            tries[item] = tries.get(item, 0) + 1
        if item == 1 and tries[item] < 3:
            raise OSError(f"away {tries[item]}")
        return item * item

    view = bench.run(_operation(lambda p: returned.append(p.map(work, range(4), workers, attempts=3))))

    assert view.state is RunState.SUCCEEDED, view.error
    assert (tries, returned, no_pause) == ({0: 1, 1: 3, 2: 1, 3: 1}, [[0, 1, 4, 9]], [1, 2])
    assert _log(bench, 1, "warning") == [
        "item 1: attempt 1 of 3 failed (OSError: away 1), trying again in 0.0s",
        "item 1: attempt 2 of 3 failed (OSError: away 2), trying again in 0.0s",
    ]


def test_the_last_attempt_of_an_item_fails_as_the_function_did(bench: Bench, no_pause: list[int]) -> None:
    tries = list[int]()

    def work(item: int) -> None:
        tries.append(item)
        raise OSError(f"away {len(tries)}")

    view = bench.run(_operation(lambda p: p.map(work, [7], attempts=3)))

    assert view.error is not None
    assert (view.error.type, view.error.message.splitlines()[0]) == ("OSError", "away 3")
    assert tries == [7, 7, 7]


@pytest.mark.parametrize("error", [RecipeError("no"), OperationCancelled()], ids=["a broken rule", "a cancel"])
def test_what_more_attempts_can_not_mend_is_tried_once(bench: Bench, error: BaseException, no_pause: list[int]) -> None:
    tries = list[int]()

    def work(item: int) -> None:
        tries.append(item)
        raise error

    bench.run(_operation(lambda p: p.map(work, [7], attempts=3)))

    assert (tries, no_pause) == ([7], [])


def test_a_cancel_ends_the_wait_for_the_next_attempt_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = list[int]()

    def for_ever(attempt: int) -> float:
        bench.interrupts.request("SIGTERM")
        return 1e6

    monkeypatch.setattr(retries, "pause", for_ever)

    def work(item: int) -> int:
        if item == 2:
            tries.append(item)
            raise OSError("away")
        return item

    view = bench.run(_operation(lambda p: p.map(work, range(3), 1, attempts=3, key="rows")))

    assert (view.state, view.signal, tries) == (RunState.CANCELLED, "SIGTERM", [2])
    assert _stored(bench) == {0: 0, 1: 1}


def test_keep_going_tries_all_items_and_raises_what_failed_with_all_results(bench: Bench) -> None:
    caught = list[ItemsFailed]()

    def work(item: int) -> int:
        if item % 3 == 1:
            raise ValueError(f"bad {item}")
        return item * item

    def body(p: Progress) -> None:
        with pytest.raises(ItemsFailed) as info:
            p.map(work, range(6), 2, keep_going=True)
        caught.append(info.value)

    view = bench.run(_operation(body))
    (error,) = caught

    assert view.state is RunState.SUCCEEDED, view.error
    assert error.message == "2 of 6 items failed"
    assert error.results == [0, None, 4, 9, None, 25]
    assert {at: str(each) for at, each in error.failed.items()} == {1: "bad 1", 4: "bad 4"}
    assert [str(each) for each in error.exceptions] == ["bad 1", "bad 4"]
    assert [each.__notes__ for each in error.exceptions] == [
        ["in p.map, with the item 1"],
        ["in p.map, with the item 4"],
    ]


def test_what_keep_going_raises_can_be_split_by_the_kind_of_failure(bench: Bench) -> None:
    met = list[object]()

    def work(item: int) -> int:
        if item == 1:
            raise ValueError("bad")
        if item == 2:
            raise OSError("away")
        return item

    def body(p: Progress) -> None:
        try:
            p.map(work, range(4), keep_going=True)
        except* OSError as group:
            met.append(group)
        except* ValueError as group:
            met.append(group)

    view = bench.run(_operation(body))

    assert view.state is RunState.SUCCEEDED, view.error
    assert [each.failed.keys() for each in met if isinstance(each, ItemsFailed)] == [{2}, {1}]


@pytest.mark.parametrize("attempts", [1, 2])
def test_after_keep_going_a_resume_does_only_what_failed(bench: Bench, attempts: int, no_pause: list[int]) -> None:
    done, returned, broken = list[int](), list[list[int]](), {1, 4}
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            done.append(item)
        if item in broken:
            raise ValueError(f"bad {item}")
        return item * item

    def body(p: Progress) -> None:
        returned.append(p.map(work, range(6), 2, key="rows", keep_going=True, attempts=attempts))

    first = bench.run(_operation(body))
    broken.clear()
    done.clear()
    second = bench.resume(_operation(body))

    assert (first.state, second.state) == (RunState.FAILED, RunState.SUCCEEDED)
    assert first.error is not None
    assert (first.error.type, first.error.message.splitlines()[0]) == (
        "ItemsFailed",
        "2 of 6 items failed: ValueError: bad 1; ValueError: bad 4",
    )
    assert (sorted(done), returned) == ([1, 4], [[0, 1, 4, 9, 16, 25]])


def test_keep_going_stops_for_a_cancel(bench: Bench) -> None:
    done = list[int]()

    def work(item: int) -> None:
        done.append(item)
        if item == 1:
            bench.interrupts.request("SIGINT")

    view = bench.run(_operation(lambda p: p.map(work, range(1000), 1, keep_going=True)))

    assert view.state is RunState.CANCELLED
    assert len(done) < 100


def test_keep_going_returns_the_results_if_nothing_failed(bench: Bench) -> None:
    returned = list[list[int]]()

    bench.run(_operation(lambda p: returned.append(p.map(abs, [-1, -2], keep_going=True))))

    assert returned == [[1, 2]]
