"""Resumable loops: a resumed run goes on exactly behind the last finished item."""

import csv
import gc
import re
import shutil
import sqlite3
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from shutil import copy
from types import SimpleNamespace
from typing import Any

import pytest

from stagerun import AsyncProgress, LiveOperation, Progress, Secret, events
from stagerun.errors import RecipeError
from stagerun.states import RunState
from tests.conftest import Bench


def _operation(work: Callable[[Progress], object]) -> LiveOperation:
    class Import(LiveOperation):
        stages = ["Process"]
        token: Secret | None = None

        def run(self, p: Progress) -> None:
            with p.stage("Process"):
                work(p)

    return Import(owner="alice", token=Secret("hunter2"))


def _facts(bench: Bench, run: int = 1) -> Sequence[events.Event]:
    """Read the facts of a run from the journal."""
    records = bench.records()
    facts = [entry.event for entry in records.entries(run) if isinstance(entry.event, events.Fact)]
    records.close()
    return facts


def _positions(bench: Bench, run: int = 1, key: str = "rows") -> list[int]:
    stored = [event for event in _facts(bench, run) if isinstance(event, events.PositionReached)]
    return [event.position for event in stored if event.key == key]


def _ticks(bench: Bench) -> list[events.ProgressMoved]:
    return [event for event in bench.seen.events if isinstance(event, events.ProgressMoved)]


def test_a_finished_loop_stores_its_end_once_before_the_stage_is_left(bench: Bench) -> None:
    def work(p: Progress) -> None:
        for _ in p.track(range(5), key="rows"):
            pass

    bench.run(_operation(work))

    assert [event.kind for event in _facts(bench)] == [
        "run_created",
        "run_started",
        "stage_entered",
        "position_reached",
        "stage_left",
        "run_finished",
    ]
    # The mark is CRC-32 of the repr of item 0.
    expected = events.PositionReached(key="rows", stage="Process", position=5, total=5, marks=((0, zlib.crc32(b"0")),))
    assert _facts(bench)[3] == expected


def _raise(error: BaseException) -> None:
    raise error


def _cancel(bench: Bench, p: Progress) -> None:
    bench.interrupts.request("SIGINT")
    p.check_cancelled()


def _fourth_item(act: Callable[[Bench, Progress], object]) -> Callable[[Bench, Progress], None]:
    """Return a loop that does `act` at its fourth item."""

    def loop(bench: Bench, p: Progress) -> None:
        for row in p.track(range(10), key="rows"):
            if row == 3:
                act(bench, p)

    return loop


def _breaks(bench: Bench, p: Progress) -> None:
    for row in p.track(range(10), key="rows"):
        if row == 3:
            break


def _returns(bench: Bench, p: Progress) -> None:
    for row in p.track(range(10), key="rows"):
        if row == 3:
            return


def _is_cancelled_between_items(bench: Bench, p: Progress) -> None:
    for row in p.track(range(10), key="rows"):
        if row == 2:
            bench.interrupts.request("SIGINT")


def _runs_out_of_items(bench: Bench, p: Progress) -> None:
    def rows() -> Iterator[int]:
        yield from range(3)
        raise OSError("the source broke")

    for _ in p.track(rows(), key="rows"):
        pass


def _fails_with_the_loop_in_a_variable(bench: Bench, p: Progress) -> None:
    rows = p.track(range(10), key="rows")
    for row in rows:
        if row == 3:
            raise ValueError("boom")


def _breaks_with_the_loop_in_a_variable(bench: Bench, p: Progress) -> None:
    rows = p.track(range(10), key="rows")
    for row in rows:
        if row == 3:
            break


@pytest.mark.parametrize(
    ("leave", "state"),
    [
        (_fourth_item(lambda bench, p: _raise(ValueError("boom"))), RunState.FAILED),
        (_breaks, RunState.SUCCEEDED),
        (_returns, RunState.SUCCEEDED),
        (_fourth_item(lambda bench, p: _raise(SystemExit(7))), RunState.FAILED),
        (_fourth_item(_cancel), RunState.CANCELLED),
        (_is_cancelled_between_items, RunState.CANCELLED),
        (_runs_out_of_items, RunState.FAILED),
        (_fails_with_the_loop_in_a_variable, RunState.FAILED),
        (_breaks_with_the_loop_in_a_variable, RunState.SUCCEEDED),
    ],
    ids=[
        *("fails", "breaks", "returns", "exits", "cancelled in the body", "cancelled between items"),
        *("out of items", "fails in a variable", "breaks in a variable"),
    ],
)
def test_every_way_out_of_a_loop_stores_how_many_items_are_finished(
    bench: Bench, leave: Callable[[Bench, Progress], None], state: RunState
) -> None:
    view = bench.run(_operation(lambda p: leave(bench, p)))
    gc.collect()  # closes a loop that was left open

    assert view.state is state
    assert _positions(bench) == [3]
    assert isinstance(_facts(bench)[-1], events.RunFinished)


def test_a_loop_that_finished_nothing_stores_nothing(bench: Bench) -> None:
    def work(p: Progress) -> None:
        for _ in p.track(range(10), key="rows"):
            raise ValueError("boom")

    bench.run(_operation(work))

    assert _positions(bench) == []


def test_a_loop_without_a_key_stores_nothing(bench: Bench) -> None:
    def work(p: Progress) -> None:
        for _ in p.track(range(10)):
            bench.clock.move(1)
            p._session.loops.sample()

    bench.run(_operation(work))

    assert _positions(bench) == []


@pytest.mark.parametrize("source", [lambda: range(7), lambda: iter(range(7)), lambda: (row for row in range(7))])
def test_resumed_runs_do_each_item_once(bench: Bench, source: Callable[[], Iterator[int]]) -> None:
    finished = list[int]()
    stops = iter([3, 3, 5, None])

    def work(p: Progress) -> None:
        stop = next(stops)
        for row in p.track(source(), key="rows"):
            if row == stop:
                raise ValueError("boom")
            finished.append(row)

    bench.run(_operation(work))
    bench.resume(_operation(work))
    bench.resume(_operation(work))
    view = bench.resume(_operation(work))

    assert view.state is RunState.SUCCEEDED
    assert finished == list(range(7))
    assert [_positions(bench, run) for run in (1, 2, 3, 4)] == [[3], [], [5], [7]]


def test_a_loop_that_was_finished_is_skipped_as_a_whole(bench: Bench) -> None:
    finished = list[int]()

    def work(p: Progress) -> None:
        for row in p.track(range(4), key="rows"):
            finished.append(row)
        raise ValueError("boom")

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert finished == [0, 1, 2, 3]
    assert _ticks(bench)[-1] == events.ProgressMoved(done=4, total=4, percent=100.0, skipped=4, ended=True)


def test_the_total_and_the_percentage_count_the_skipped_items(bench: Bench) -> None:
    stops = iter([6, None])

    def work(p: Progress) -> None:
        stop = next(stops)
        for row in p.track(range(10), unit="row", key="rows"):
            if row == stop:
                raise ValueError("boom")
            if row == 8:
                bench.clock.move(2)
                p._session.loops.sample()

    bench.run(_operation(work))
    before = len(_ticks(bench))
    bench.resume(_operation(work))

    assert _ticks(bench)[before:] == [
        events.ProgressMoved(done=8, total=10, percent=80.0, unit="row", skipped=6, seconds=2.0),
        events.ProgressMoved(done=10, total=10, percent=100.0, unit="row", skipped=6, seconds=2.0, ended=True),
    ]


def test_a_loop_inside_a_loop_goes_on_in_the_middle_of_both(bench: Bench) -> None:
    finished = list[tuple[int, int]]()
    stops = iter([(1, 2), None])

    def work(p: Progress) -> None:
        stop = next(stops)
        for file in p.track(range(3), key="files"):
            for row in p.track(range(4), key=f"rows-{file}"):
                if (file, row) == stop:
                    raise ValueError("boom")
                finished.append((file, row))

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert finished == [(file, row) for file in range(3) for row in range(4)]
    assert (_positions(bench, 1, "files"), _positions(bench, 1, "rows-1")) == ([1], [2])


def test_a_loop_is_read_by_its_for_statement_however_often_python_has_been_there(bench: Bench) -> None:
    read: list[int] = []

    async def run(_: LiveOperation, p: AsyncProgress) -> None:
        for time in range(50):
            for row in p.track([time], key=f"rows-{time}"):
                read.insert(0, row)
            async for row in p.track(_later([time]), key=f"later-{time}"):
                read.insert(0, row)

    view = bench.run(type("Often", (LiveOperation,), {"run": run})())

    assert (view.error, len(read)) == (None, 100)


async def _later(rows: list[int]) -> AsyncIterator[int]:
    for row in rows:
        yield row


def test_a_key_serves_one_loop_or_one_checkpoint_of_a_run(bench: Bench) -> None:
    messages = list[str]()
    used = "the key 'rows' is used twice in this run"

    def work(p: Progress) -> None:
        p.track(range(3), key="rows")
        with pytest.raises(RecipeError) as loop:
            p.track(range(3), key="rows")
        with pytest.raises(RecipeError) as checkpoint:
            p.checkpoint("rows", list)
        messages.extend([loop.value.message, checkpoint.value.message])

    view = bench.run(_operation(work))

    assert messages == [used] * 2
    assert (view.error and view.error.message) == used  # it caught them, and went on without the loop


def test_the_position_of_a_running_loop_is_stored_each_half_second(bench: Bench) -> None:
    committed = list[list[int]]()

    def work(p: Progress) -> None:
        for _ in p.track(range(12), key="rows"):
            p._session.loops.sample()
            committed.append(_positions(bench))
            bench.clock.move(0.25)

    bench.run(_operation(work))

    assert committed == [
        *([[]] * 2),
        *([[2]] * 2),
        *([[2, 4]] * 2),
        *([[2, 4, 6]] * 2),
        *([[2, 4, 6, 8]] * 2),
        *([[2, 4, 6, 8, 10]] * 2),
    ]
    assert _positions(bench) == [2, 4, 6, 8, 10, 12]


def test_a_sample_stores_a_position_only_when_it_moved(bench: Bench) -> None:
    def work(p: Progress) -> None:
        for row in p.track(range(3), key="rows"):
            if row == 2:
                for _ in range(5):
                    bench.clock.move(1)
                    p._session.loops.sample()

    bench.run(_operation(work))

    assert _positions(bench) == [2, 3]


def test_a_sample_stores_the_position_of_the_outer_loop_too(bench: Bench) -> None:
    committed = list[int]()

    def work(p: Progress) -> None:
        for file in p.track(range(3), key="files"):
            for row in p.track(range(2)):
                if (file, row) == (2, 1):
                    bench.clock.move(1)
                    p._session.loops.sample()
                    committed.extend(_positions(bench, key="files"))

    bench.run(_operation(work))

    assert committed == [2]


def test_a_loop_made_again_from_its_stage_starts_at_its_first_item(bench: Bench) -> None:
    finished = list[int]()

    def work(p: Progress) -> None:
        for row in p.track(range(3), key="rows"):
            finished.append(row)
        raise ValueError("boom")

    bench.run(_operation(work))
    bench.resume(_operation(work), from_stage="Process")

    assert finished == [0, 1, 2, 0, 1, 2]


# --- the state of a loop


class Half(Exception):
    """Raised in the middle of an item."""


def _counted(bench: Bench, make: Callable[[], dict[str, Any]], step: Callable[[dict[str, Any], int], None]) -> object:
    """Run a loop that fails in the middle of its fourth item, resume it, and return its state at the end."""
    ends, states = iter([True, False]), list[dict[str, Any]]()

    def work(p: Progress) -> None:
        fails, state = next(ends), make()
        states.append(state)
        for row in p.track(range(7), key="rows", state=state):
            step(state, row)
            if fails and row == 3:
                raise Half

    bench.run(_operation(work))
    view = bench.resume(_operation(work))
    assert view.state is RunState.SUCCEEDED, view.error
    return states[1]


def _add(state: dict[str, Any], row: int) -> None:
    state["sum"] += row


def _nest(state: dict[str, Any], row: int) -> None:
    state["by"].setdefault(str(row % 2), []).append(row)


def _collect(state: dict[str, Any], row: int) -> None:
    state[str(row % 2)].append(row)


def _count(state: dict[str, Any], row: int) -> None:
    state[str(row % 2)] += 1


@pytest.mark.parametrize(
    ("make", "step", "end"),
    [
        (lambda: {"sum": 0}, _add, {"sum": 21}),
        (lambda: {"by": {}}, _nest, {"by": {"0": [0, 2, 4, 6], "1": [1, 3, 5]}}),
        (Counter, _count, Counter({"0": 4, "1": 3})),
        (lambda: defaultdict(list), _collect, defaultdict(list, {"0": [0, 2, 4, 6], "1": [1, 3, 5]})),
    ],
    ids=["plain", "nested", "a Counter", "a defaultdict"],
)
def test_the_state_of_a_resumed_loop_is_what_it_was_before_the_item_that_failed(
    bench: Bench,
    make: Callable[[], dict[str, Any]],
    step: Callable[[dict[str, Any], int], None],
    end: dict[str, Any],
) -> None:
    state = _counted(bench, make, step)

    assert (state, type(state)) == (end, type(end))


def test_a_state_is_restored_in_the_lists_and_dicts_that_the_recipe_holds(bench: Bench) -> None:
    ends, told = iter([True, False]), list[object]()

    def work(p: Progress) -> None:
        fails, seen, totals = next(ends), list[int](), dict[str, int](even=0)
        for row in p.track(range(5), key="rows", state={"seen": seen, "totals": totals}):
            seen.append(row)
            totals["even"] += row % 2 == 0
            if fails and row == 3:
                raise Half
        told.extend([seen, totals])

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert told == [[0, 1, 2, 3, 4], {"even": 3}]


def test_what_a_recipe_puts_into_a_state_before_its_loop_is_replaced_by_what_was_stored(bench: Bench) -> None:
    ends, told = iter([True, False]), list[object]()

    def work(p: Progress) -> None:
        state: dict[str, Any] = {"sum": 0, "started": len(told)}
        fails = next(ends)
        for row in p.track(range(5), key="rows", state=state):
            if row == 0:
                del state["started"]
            state["sum"] += row
            if fails and row == 3:
                raise Half
        told.append(state)

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert told == [{"sum": 10}]


def test_a_finished_loop_gives_its_state_back_as_a_whole(bench: Bench) -> None:
    told = list[object]()

    def work(p: Progress) -> None:
        state = {"sum": 0}
        for row in p.track(range(5), key="rows", state=state):
            state["sum"] += row
        told.append(state)
        raise ValueError("boom")

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert told == [{"sum": 10}, {"sum": 10}]


@pytest.mark.parametrize("nested", [False, True])
def test_a_state_that_is_stored_is_never_that_of_half_an_item(bench: Bench, nested: bool) -> None:
    def work(p: Progress) -> None:
        state: dict[str, Any] = {"done": [0], "begun": [0]} if nested else {"done": 0, "begun": 0}
        for row in p.track(range(6), key="rows", state=state):
            state["begun"] = [row + 1] if nested else row + 1
            bench.clock.move(1)
            p._session.loops.sample()  # what the ticker does at any moment
            state["done"] = [row + 1] if nested else row + 1

    bench.run(_operation(work))

    stored = [each for each in _facts(bench) if isinstance(each, events.PositionReached)]
    assert [each.position for each in stored] == [1, 2, 3, 4, 5, 6]
    values = [(each.state or {}).values() for each in stored]
    expected = [[each.position] if nested else each.position for each in stored]
    assert [[*each] for each in values] == [[each, each] for each in expected]


SECRET_STATE = "the state of loop 'rows' contains a secret, which the journal must not store"
KEPT_OUT = "JSON can't restore the state of loop 'rows'{} exactly: it holds {}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((1, 2), KEPT_OUT.format("['x']", "a tuple")),
        ([{1, 2}], KEPT_OUT.format("['x'][0]", "a set")),
        ({1: 2}, KEPT_OUT.format("['x']", "the key 1, which would come back as text")),
        (float("nan"), KEPT_OUT.format("['x']", "nan")),
        (Counter(a=1), KEPT_OUT.format("['x']", "a Counter")),
        ("x" * 2**20, "the state of loop 'rows' has 1,048,584 bytes; the limit is 1,048,576"),
        (["is hunter2"], SECRET_STATE),
    ],
    ids=["tuple", "set", "number as key", "nan", "counter", "too large", "secret"],
)
@pytest.mark.parametrize("when", ["before the loop", "in an item"])
def test_a_state_that_json_can_not_restore_is_refused_before_an_item_counts(
    bench: Bench, value: object, message: str, when: str
) -> None:
    given = list[int]()

    def work(p: Progress) -> None:
        state: dict[str, Any] = {"x": value} if when == "before the loop" else {}
        for row in p.track(range(5), key="rows", state=state):
            given.append(row)
            state["x"] = value
            bench.clock.move(100)
            p._session.loops.sample()

    view = bench.run(_operation(work))

    assert view.error is not None
    assert (view.error.type, view.error.message.splitlines()[0]) == ("RecipeError", message)
    assert given == ([] if when == "before the loop" else [0])
    assert _positions(bench) == []


@pytest.mark.parametrize(
    "value", [(1, 2), float("nan"), "x" * 2**20, "hunter2"], ids=["tuple", "nan", "large", "secret"]
)
def test_a_state_that_is_refused_at_the_next_look_is_not_stored_before_it(bench: Bench, value: object) -> None:
    given = list[int]()

    def work(p: Progress) -> None:
        state: dict[str, Any] = {"sum": 0}
        for row in p.track(range(5), key="rows", state=state):
            given.append(row)
            state["x"] = value
            if row == 1:
                bench.clock.move(100)
                p._session.loops.sample()

    view = bench.run(_operation(work))

    assert (view.state, given, _positions(bench)) == (RunState.FAILED, [0, 1], [])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.track([1], state={}), "p.track: state= is stored under a key"),
        (lambda p: p.batches([1], 2, state={}), "p.batches: state= is stored under a key"),
        (lambda p: p.track([1], key="rows", state=[]), "the state of loop 'rows' must be a dict, not []"),
        (lambda p: p.batches([1], 0), "p.batches: size must be a whole number above 0, not 0"),
    ],
    ids=["no key", "no key of batches", "a list", "size"],
)
def test_a_loop_that_could_not_store_what_it_is_asked_to_is_refused(
    bench: Bench, call: Callable[[Progress], object], message: str
) -> None:
    view = bench.run(_operation(call))

    assert view.error is not None
    assert view.error.message.splitlines()[0] == message


@pytest.mark.parametrize("before", [True, False], ids=["with, then without", "without, then with"])
def test_a_loop_with_a_state_does_not_go_on_without_one_nor_the_other_way_round(bench: Bench, before: bool) -> None:
    ends = iter([before, not before])

    def work(p: Progress) -> None:
        stateful = next(ends)
        for row in p.track(range(5), key="rows", state={} if stateful else None):
            if row == 3:
                raise Half

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    stored = "with state" if before else "without state"
    assert view.error is not None
    assert view.error.message.splitlines()[0] == f"an earlier run stored the loop 'rows' {stored}, so it can't go on"


def test_a_large_state_is_stored_less_often(bench: Bench) -> None:
    counts = dict[int, int]()
    for size in (10, 32 * 1024, 256 * 1024):

        def work(p: Progress, size: int = size) -> None:
            state = {"text": ["x" * size]}
            for _ in p.track(range(100), key="rows", state=state):
                bench.clock.move(0.5)
                p._session.loops.sample()

        view = bench.run(_operation(work))
        counts[size] = len(_positions(bench, view.id))

    assert counts == {10: 100, 32 * 1024: 34, 256 * 1024: 6}


@pytest.mark.parametrize("make", [lambda: {"seen": []}, lambda: defaultdict(list)], ids=["nested", "at first empty"])
def test_a_small_nested_state_is_exact_to_the_item_on_every_way_out(
    bench: Bench, make: Callable[[], dict[str, Any]]
) -> None:
    done = list[int]()
    stops = iter([3, 6, None])

    def work(p: Progress) -> None:
        stop, state = next(stops), make()
        for row in p.track(range(8), key="rows", state=state):
            if row == stop:
                raise Half  # the clock stands still: nobody has asked for a copy
            done.append(row)
            state["seen"].append(row)

    bench.run(_operation(work))
    bench.resume(_operation(work))
    bench.resume(_operation(work))

    assert done == list(range(8))


class Killed(BaseException):
    """Nothing that happens after it reaches the journal that the next run reads."""


@dataclass
class Lives:
    """A loop that ends anywhere in any way, and is resumed until it is done."""

    folder: Path
    chance: Random
    items: int
    batched: bool

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.bench = Bench(self.folder)
        self.state: dict[str, Any] = {}
        self.killed = False

    def until_done(self) -> dict[str, Any]:
        view = self.bench.run(_operation(self.work))
        while view.state is not RunState.SUCCEEDED:
            if self.killed:
                self.leave_the_files_as_they_were()
            view = self.bench.resume(_operation(self.work))
        return self.state

    def work(self, p: Progress) -> None:
        self.state = {"sum": 0, "seen": [], "by": {}}
        for row in self.rows(p, self.state):
            self.moment(p)
            self.state["sum"] += row
            self.moment(p)
            self.state["by"].setdefault(str(row % 3), []).append(row)

    def rows(self, p: Progress, state: dict[str, Any]) -> Iterator[int]:
        seen = state["seen"]  # another name for a part of the state
        if self.batched:
            for batch in p.batches(range(self.items), 4, key="rows", state=state):
                for row in batch:
                    yield row
                    seen.append(row)
                self.moment(p)
        else:
            for row in p.track(range(self.items), key="rows", state=state):
                yield row
                seen.append(row)

    def moment(self, p: Progress) -> None:
        self.bench.clock.move(self.chance.choice([0, 0, 0.1, 0.5, 2]))
        if self.chance.random() < 0.5:
            p._session.loops.sample()
        if self.chance.random() < 0.06:
            self.chance.choice([self.fail, self.cancel, self.kill])(p)

    def fail(self, p: Progress) -> None:
        raise Half

    def cancel(self, p: Progress) -> None:
        self.bench.interrupts.request("SIGTERM")
        p.check_cancelled()

    def kill(self, p: Progress) -> None:
        """Keep the files as a process leaves them that is killed now."""
        self.killed = True
        (self.folder / "left").mkdir()
        for file in self.folder.glob("journal.db*"):
            copy(file, self.folder / "left")
        raise Killed

    def leave_the_files_as_they_were(self) -> None:
        self.killed = False
        for file in self.folder.glob("journal.db*"):
            file.unlink()
        for file in (self.folder / "left").iterdir():
            file.rename(self.folder / file.name)
        (self.folder / "left").rmdir()


@pytest.mark.parametrize("rounds", [12, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_loops_that_fail_are_cancelled_or_killed_anywhere_add_up_to_what_an_undisturbed_one_does(
    tmp_path: Path, rounds: int, seed: int
) -> None:
    chance = Random(seed)
    ended = list[str]()
    for number in range(rounds):
        items = chance.randrange(1, 30)
        lives = Lives(tmp_path / str(number), chance, items, batched=chance.random() < 0.4)

        assert lives.until_done() == {
            "sum": sum(range(items)),
            "seen": list(range(items)),
            "by": {str(digit): list(range(digit, items, 3)) for digit in range(min(3, items))},
        }
        with closing(lives.bench.records()) as records:
            ended += [view.state for view in records.history(limit=1000)]

    assert {*ended} >= {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


# --- other items than before, and who reads


@dataclass
class Row:
    number: int


OTHER = "loop 'rows' does not get the items that it had in run 1: "


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        (["a", "b", "c", "d"], ["d", "c", "b", "a"], "item 1 is another one now"),
        ([{"id": 1}, {"id": 2}, {"id": 3}], [{"id": 9}, {"id": 2}, {"id": 3}], "item 1 is another one now"),
        (["a", "b", "c"], ["a"], "there are only 1 now"),
        (["a", "b", "c"], iter(["a"]), "there are only 1 now"),
        (["a", "b", "c"], ["a", "b", "c", "d"], None),
        (["a", "b", "c"], ["a", "b", "x"], "item 3 is another one now"),
        ([Row(1), Row(2), Row(3)], [Row(7), Row(2), Row(3)], "item 1 is another one now"),
        ([object(), object(), object()], [object(), object(), object()], None),
        (["hunter2", "b", "c"], ["swordfish", "b", "c"], None),
    ],
    ids=[
        *("order", "value", "shorter", "shorter generator", "longer", "the item that failed", "dataclasses"),
        *("no fingerprint", "secret"),
    ],
)
def test_a_resumed_loop_is_refused_other_items_where_they_can_be_told_apart(
    bench: Bench, then: list[object], now: list[object], told: str | None
) -> None:
    sources = iter([then, now])

    def work(p: Progress) -> None:
        source, left = next(sources), 3
        for _ in p.track(source, key="rows"):
            left -= 1
            if source is then and not left:
                raise Half

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    assert (view.error and view.error.message.splitlines()[0]) == (told and OTHER + told)
    assert (view.state is RunState.SUCCEEDED) is (told is None)


@pytest.mark.parametrize("now", [2, 4])
def test_a_resumed_loop_is_refused_another_number_of_items_that_nothing_tells_apart(bench: Bench, now: int) -> None:
    sources = iter([3, now])

    def work(p: Progress) -> None:
        first = True
        for _ in p.track([object() for _ in range(next(sources))], key="rows"):
            if not first:
                raise Half
            first = False

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    told = f"loop 'rows' had 3 items in run 1, and has {now} now, and nothing tells its items apart"
    assert (view.error and view.error.message) == told


@pytest.mark.parametrize(
    ("fails_at", "now", "told"),
    [
        ("f", "abcdXf", "item 5 is another one now"),
        ("f", "abcdeX", "item 6 is another one now"),
        ("", "abcdeX", "item 6 is another one now"),
    ],
    ids=["before the last item", "in the last item", "behind the loop"],
)
def test_the_items_at_later_looks_are_compared_too(bench: Bench, fails_at: str, now: str, told: str) -> None:
    sources = iter(["abcdef", now])

    def work(p: Progress) -> None:
        for row in p.track([*next(sources)], key="rows"):
            bench.clock.move(1)
            p._session.loops.sample()
            if row == fails_at:
                raise Half
        raise Half

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    assert view.error is not None
    assert view.error.message.splitlines()[0] == OTHER + told


def test_items_that_a_loop_changes_in_place_are_the_same_items_in_a_resume(bench: Bench) -> None:
    done = list[int]()
    ends = iter([True, False])

    def work(p: Progress) -> None:
        fails = next(ends)
        rows = [{"id": number} for number in range(5)]
        for row in p.track(rows, key="rows"):
            row["seen"] = 1
            bench.clock.move(1)
            p._session.loops.sample()
            if fails and row["id"] == 3:
                raise Half
            done.append(row["id"])

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    assert view.state is RunState.SUCCEEDED, view.error
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("finished", [False, True], ids=["broken off", "finished"])
def test_a_loop_that_is_refused_its_items_changes_nothing_of_what_is_stored(bench: Bench, finished: bool) -> None:
    sources = iter([["a", "b", "c"], ["a"], ["a", "b", "c"]])
    done, lives = list[str](), iter([1, 2, 3])

    def work(p: Progress) -> None:
        first = next(lives) == 1
        for row in p.track(next(sources), key="rows"):
            if row == "c" and first and not finished:
                raise Half
            done.append(row)
        if first:
            raise Half

    bench.run(_operation(work))
    refused = bench.resume(_operation(work))
    view = bench.resume(_operation(work))

    assert (refused.state, view.state) == (RunState.FAILED, RunState.SUCCEEDED)
    assert done == ["a", "b", "c"]
    assert [_positions(bench, run) for run in (1, 2, 3)] == ([[3], [], []] if finished else [[2], [], [3]])


def test_a_finished_loop_that_got_more_items_goes_on_and_keeps_what_lies_in_them(bench: Bench) -> None:
    sources = iter([3, 5, 5])
    made = list[int]()

    def make(row: int) -> None:
        made.append(row)

    def work(p: Progress) -> None:
        items = next(sources)
        for row in p.track(range(items), key="rows"):
            p.checkpoint(f"row-{row}", make, row)
            if items == 5 and row == 3 and len(made) == 4:
                made.append(-1)
                raise Half
        if items == 3:
            raise Half

    bench.run(_operation(work))
    bench.resume(_operation(work))
    view = bench.resume(_operation(work))

    assert view.state is RunState.SUCCEEDED, view.error
    assert made == [0, 1, 2, 3, -1, 4]


def _in_a_for(rows: Iterator[int]) -> None:
    for _ in rows:
        pass


def _comprehended(rows: Iterator[int]) -> None:
    [row for row in rows]  # noqa: C416 - a reader of its own


def _listed(rows: Iterator[int]) -> None:
    list(rows)


def _sliced(rows: Iterator[int]) -> None:
    list(islice(rows, 2))


def _handed_out(rows: Iterator[int]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.map(str, rows)


def _stepped(rows: Iterator[int]) -> None:
    next(rows)


def _generated(rows: Iterator[int]) -> None:
    def reader() -> Iterator[int]:
        yield from rows

    for _ in reader():
        pass


NOT_A_FOR = "is not read by a for statement ({}): what is collected would be incomplete in a resumed run"
AHEAD = (
    "is read by the generator reader ({}); if it reads ahead, a resumed run leaves items out: use p.batches, or "
    "p.map(key=)"
)


def _warnings(bench: Bench, run: int = 1) -> list[str]:
    """Return the warnings of a run, without the place in this file."""
    with closing(bench.records()) as records:
        logs = [entry.event for entry in records.entries(run, kinds=("log",))]
    texts = [line for each in logs if isinstance(each, events.Log) and each.level == "warning" for line in each.lines]
    return [_placeless(text) for text in texts]


def _placeless(text: str) -> str:
    return re.sub(r"\(\S+\.py, line \d+\)", "(…)", text)


READERS: dict[Callable[[Iterator[Any]], None], tuple[str | None, str | None]] = {
    _in_a_for: (None, None),
    _generated: (AHEAD, None),
    _comprehended: (None, NOT_A_FOR if sys.version_info < (3, 12) else None),
    _listed: (None, NOT_A_FOR),
    _sliced: (None, NOT_A_FOR),
    _handed_out: (None, NOT_A_FOR),
    _stepped: (None, NOT_A_FOR),
}


@pytest.mark.parametrize("read", READERS, ids=lambda each: each.__name__.strip("_"))
@pytest.mark.parametrize("call", ["track", "batches"])
def test_what_collects_items_is_refused_and_a_generator_that_may_read_ahead_is_warned_about(
    bench: Bench, read: Callable[[Iterator[Any]], None], call: str
) -> None:
    def work(p: Progress) -> None:
        read(p.track(range(4), key="rows") if call == "track" else p.batches(range(4), 1, key="rows"))

    view = bench.run(_operation(work))

    warning, refusal = (told and f"loop 'rows' {told.format('…')}" for told in READERS[read])
    assert _warnings(bench) == ([warning] if warning else [])
    assert (view.error and _placeless(view.error.message)) == refusal
    assert _positions(bench) == ([] if refusal else [4])


Keyed = Callable[[], Iterator[Any]]


def _enumerated(keyed: Keyed, give: Callable[[object], None]) -> None:
    for pair in enumerate(keyed()):
        give(pair)


def _zipped(keyed: Keyed, give: Callable[[object], None]) -> None:
    for pair in zip("abcd", keyed(), strict=True):
        give(pair)


@pytest.mark.parametrize(("read", "name"), [(_enumerated, "enumerate"), (_zipped, "zip")], ids=["enumerate", "zip"])
@pytest.mark.parametrize("call", ["track", "batches"])
def test_pairs_that_would_begin_anew_are_warned_about_and_refused_once_items_are_skipped(
    bench: Bench, read: Callable[[Keyed, Callable[[object], None]], None], name: str, call: str
) -> None:
    given = list[object]()

    def give(pair: object) -> None:
        given.append(pair)
        if len(given) == 3:
            raise Half

    def work(p: Progress) -> None:
        read(lambda: p.track(range(4), key="rows") if call == "track" else p.batches(range(4), 1, key="rows"), give)

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    told = f"{name} around loop 'rows' begins anew in a resumed run (…)"
    assert _warnings(bench) == [f"{told}; put it inside: p.track({name}(...), key=...)"]
    assert (view.error and _placeless(view.error.message)) == told
    assert (len(given), _positions(bench, 2)) == (3, [])


def _fills_a_list_and_counts(p: Progress) -> None:
    good, bad = [], 0
    for row in p.track(range(4), key="rows"):
        if row % 2:
            good.append(row)
        bad += not row % 2
    p.result(good=good, bad=bad)


def _adds_up(p: Progress) -> None:
    total: float = 0
    for row in p.track(range(4), key="rows"):
        total += row
    p.result(total=total)


def _fills_a_dict_in_batches(p: Progress) -> None:
    found = dict[int, int]()
    found = {}
    for row, *_ in p.batches(range(4), 1, key="rows"):
        found[row] = 1
    p.log(f"{len(found)}")


def _counts_beside_its_state(p: Progress) -> None:
    rows: list[int] = []
    totals: dict[str, Any] = {"rows": rows, "sum": 0}
    seen = set()
    for row in p.track(range(4), key="rows", state=totals):
        totals["sum"] += row
        rows.append(row)
        seen.add(row)
    p.result(totals, seen=len(seen), rows=rows)


def _changes_its_items(p: Progress) -> None:
    rows = p.checkpoint("list", lambda: [{"price": 1}])
    for row in p.track(rows, key="rows"):
        row["price"] = 2
    p.result(rows=rows)


def _changes_items_that_are_only_counted(p: Progress) -> None:
    rows = p.checkpoint("list", lambda: [{"price": 1}])
    for row in p.track(rows, key="rows"):
        row["price"] = 2
    p.result(rows=len(rows))


def _gathers_nothing_that_is_missed(p: Progress) -> None:
    rows, mine, hidden, before, anew, size = [0], [], 0, 1, 0, 0
    before += 1
    for row in p.track(range(4), key="rows"):
        mine = [row]
        mine.append(before)
        hidden += row
        rows.count(hidden)
        anew, size = row, len(mine)
    anew = 0
    for size in (1, 2):
        anew += size
    p.result(rows=rows, before=before, anew=anew, size=size)


def _keeps_the_largest(p: Progress) -> None:
    most: int | None = None
    for row in p.track(range(4), key="rows"):
        if most is None or row > most:
            most = row
    p.result(most=most)


def _changes_its_items_by_a_method(p: Progress) -> None:
    rows = p.checkpoint("list", lambda: [{"price": 1}])
    for row in p.track(rows, key="rows"):
        row.update(price=2)
    p.result(rows=rows)


def _groups(p: Progress) -> None:
    groups = defaultdict[int, list[int]](list)
    for row in p.track(range(4), key="rows"):
        groups[row % 2].append(row)
    p.result(groups)


def _works_in_groups(p: Progress) -> None:
    group: list[int] = []
    for row in p.track(range(5), key="rows"):
        group.append(row)
        if len(group) == 2:
            p.log(f"{group}")
            group = []
    p.log(f"{group}")


def _has_its_state_and_the_loop_in_variables(p: Progress) -> None:
    totals = {"sum": 0}
    rows = p.track(range(4), key="rows", state=totals)
    for row in rows:
        totals["sum"] += row
    p.result(totals)


def _counts_what_is_something_else_after_it(p: Progress) -> None:
    count, rows = 0, 0
    for row in p.track(range(4), key="rows"):
        count += row
        rows += row
        p.status(f"{count} {rows}")
    p.result(counts=[count + 1 for count in range(3)], last=max([1, 2], key=lambda count: -count))
    count = 0
    p.log(f"{count}")
    for rows in range(2):
        p.log(f"{rows}")


def _begins_anew_with_each_item(p: Progress) -> None:
    rows, options = [{"price": 1}], {"price": 0}
    part, rest, found, price, own, kept = [0], 0, 0, 0, 0, SimpleNamespace(sum=0)
    for row in p.track(rows, key="rows"):
        row = dict(row)  # noqa: PLW2901 - as people write it
        row["price"] = options["price"] = 2
        found, rest = divmod(row["price"], 3)
        found += rest
        kept = SimpleNamespace(sum=0)
        kept.sum += found

        def double(price: int) -> int:
            own = price
            own += price
            return own

        for part in ([1], [2]):
            part.append(found)
        match row:
            case {"price": price}:
                price += double(price)
            case _:
                pass
    p.result(options, rows=rows, part=part, found=found, price=price, own=own, sum=kept.sum)


def _adds_to_what_may_be_stored_elsewhere(p: Progress) -> None:
    site, jobs = SimpleNamespace(session=set[int]()), {1: SimpleNamespace(done=0)}
    job = jobs.get(1, SimpleNamespace())
    for row in p.track(range(4), key="rows"):
        site.session.add(row)
        job.done += 1
    p.result(rows=len(site.session), done=job.done)


def _gathers_without_a_key(p: Progress) -> None:
    rows: list[int] = []
    for row in p.track(range(4)):
        rows.insert(0, row)
    p.result(rows=rows)


def _adds_up_without_an_operator_for_it(p: Progress) -> None:
    total = 0
    for row in p.track(range(4), key="rows"):
        total = total + row
    p.result(total=total)


def _counts_in_an_attribute(p: Progress) -> None:
    found = SimpleNamespace(rows=0)
    for row in p.track(range(4), key="rows"):
        found.rows += row
    p.result(rows=found.rows)


def _changes_objects_and_reads_others(p: Progress) -> None:
    kept = SimpleNamespace(rows={"sum": 0})
    kept.rows = p.checkpoint("rows", lambda: {"sum": 0})
    for item in p.track([SimpleNamespace(size=1)], key="items"):
        item.size += 1
        kept.rows["sum"] += 1
    for item in [SimpleNamespace(size=1)]:
        p.result(size=item.size, rows=kept.rows)


def _gathers_in_many_loops(p: Progress) -> None:
    rows: list[int] = []
    for page in range(3):
        for row in p.track(range(4), key=f"rows-{page}"):
            rows.insert(0, row)
    p.result(rows=rows)


@pytest.mark.parametrize(
    ("work", "key", "name"),
    [
        (_fills_a_list_and_counts, "rows", "bad, good"),
        (_adds_up, "rows", "total"),
        (_fills_a_dict_in_batches, "rows", "found"),
        (_counts_beside_its_state, "rows", "seen"),
        (_changes_its_items, "rows", "the items of rows"),
        (_keeps_the_largest, "rows", "most"),
        (_changes_its_items_by_a_method, "rows", "the items of rows"),
        (_adds_up_without_an_operator_for_it, "rows", "total"),
        (_counts_in_an_attribute, "rows", "found.rows"),
        (_groups, "rows", "groups"),
        (_works_in_groups, "rows", "group"),
        (_has_its_state_and_the_loop_in_variables, "rows", None),
        (_counts_what_is_something_else_after_it, "rows", None),
        (_begins_anew_with_each_item, "rows", None),
        (_adds_to_what_may_be_stored_elsewhere, "rows", None),
        (_changes_objects_and_reads_others, "items", None),
        (_changes_items_that_are_only_counted, "rows", None),
        (_gathers_nothing_that_is_missed, "rows", None),
        (_gathers_without_a_key, "rows", None),
        (_gathers_in_many_loops, "rows-0", "rows"),
    ],
    ids=lambda each: getattr(each, "__name__", "").strip("_"),
)
def test_a_loop_that_gathers_outside_of_its_state_is_warned_about_once(
    bench: Bench, work: Callable[[Progress], None], key: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    bench.run(_operation(work))

    told = f"loop {key!r} changes {name} (…): " + (
        "a resumed run has skipped items as they were; use the results of p.map(key=)"
        if name == "the items of rows"
        else "a resumed run lacks what skipped items put into it; keep it in state=, or use p.map(key=)"
    )
    assert _warnings(bench) == ([told] if name else [])


def test_a_loop_beside_an_expression_of_a_thousand_parts_is_only_not_looked_at(bench: Bench) -> None:
    file, made = bench.folder / "long.py", dict[str, Any]()
    file.write_text(
        f"def work(p):\n  rows = []\n  for row in p.track('ab', key='rows'):\n    rows.append({'row+' * 1500}'')\n"
        "  p.result(rows=rows)\n"
    )
    exec(compile(file.read_bytes(), file, "exec"), made)

    view = bench.run(_operation(made["work"]))

    assert (view.state, _warnings(bench)) == (RunState.SUCCEEDED, [])


def _writes_a_file_anew(p: Progress) -> None:
    with open("rows", "w") as file, Path("all").open("a") as added:  # noqa: PTH123 - as people write it
        for row in p.track("abc", key="rows"):
            file.write(row)
            added.write(row)
            added.flush()


def _writes_rows_anew(p: Progress) -> None:
    with Path("rows.csv").open(mode="w") as file:
        writer = csv.writer(file)
        for row in p.track(range(4), key="rows"):
            writer.writerow([row])


def _writes_a_file_anew_without_with(p: Progress) -> None:
    file = open("rows", "w")  # noqa: PTH123, SIM115 - as people write it
    for row in p.track("abc", key="rows"):
        p.log(row)
        file.write(row)
    file.close()


def _empties_a_folder_before(p: Progress) -> None:
    out = Path("out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for row in p.track("abc", key="rows"):
        target = out / row
        target.write_text(row)


def _writes_a_header_before(p: Progress) -> None:
    with open("rows.csv", "w") as file:  # noqa: PTH123 - as people write it
        file.write("name")
    for row in p.track("abc", key="rows"):
        with open("rows.csv", "a") as file:  # noqa: PTH123
            file.write(row)


def _writes_a_header_once(p: Progress) -> None:
    rows, names = Path("rows.csv"), Path("names.csv")
    names.write_text("name")
    if not rows.exists():
        rows.write_text("name")
    for row in p.track(names.read_text(), key="rows"):
        with rows.open("a") as file:
            file.write(row + names.read_text())


def _shop() -> sqlite3.Connection:
    shop = sqlite3.connect(":memory:")
    shop.execute("CREATE TABLE orders (name)")
    return shop


def _empties_a_table_before(p: Progress) -> None:
    shop = _shop()
    shop.execute("DELETE FROM orders")
    for row in p.track("abc", key="rows"):
        with shop:
            shop.execute("INSERT INTO orders VALUES (?)", row)


def _empties_a_part_of_a_table(p: Progress) -> None:
    shop = _shop()
    shop.execute("DELETE FROM orders WHERE name IS NULL")
    for row in p.track("abc", key="rows"):
        shop.execute("SELECT * FROM orders")
        with shop:
            shop.execute("INSERT INTO orders VALUES (?)", row)


def _commits_at_the_end(p: Progress) -> None:
    shop = _shop()
    cursor = shop.cursor()
    with shop:
        for row in p.track("abc", key="rows"):
            cursor.execute("INSERT INTO orders VALUES (?)", row)


def _commits_now_and_then(p: Progress) -> None:
    shop = _shop()
    for number in p.track(range(4), key="rows"):
        shop.execute("INSERT INTO orders VALUES (?)", [number])
        if number % 100 == 0:
            shop.commit()
    shop.commit()


def _commits_each_time(p: Progress) -> None:
    with _shop() as shop:
        for some in p.batches("abc", 2, key="rows"):
            shop.executemany("INSERT INTO orders VALUES (?)", some)
            shop.commit()


def _reads_in_a_transaction(p: Progress) -> None:
    with _shop() as shop:
        for row in p.track("abc", key="rows"):
            p.log(str(shop.execute("SELECT name FROM orders WHERE name = ?", row).fetchall()))


def _keeps_lines_back(p: Progress) -> None:
    with Path("all").open("a") as file:
        writer = csv.writer(file)
        for row in p.track("abc", key="rows"):
            writer.writerow([row])


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (_writes_a_file_anew, "writes to file, which is opened to be written anew"),
        (_writes_rows_anew, "writes to file, which is opened to be written anew"),
        (_writes_a_file_anew_without_with, "writes to file, which is opened to be written anew"),
        (_empties_a_folder_before, "fills out, which is emptied before it"),
        (_writes_a_header_before, "fills rows.csv, which is emptied before it"),
        (_writes_a_header_once, None),
        (_empties_a_table_before, "fills orders, which is emptied before it"),
        (_empties_a_part_of_a_table, None),
        (_commits_at_the_end, "changes a database by cursor, and does not commit each time"),
        (_commits_now_and_then, "changes a database by shop, and does not commit each time"),
        (_commits_each_time, None),
        (_reads_in_a_transaction, None),
        (_keeps_lines_back, "writes to file, which keeps lines back"),
    ],
    ids=lambda each: getattr(each, "__name__", "").strip("_"),
)
def test_a_loop_whose_work_is_undone_by_what_is_around_it_is_warned_about(
    bench: Bench, work: Callable[[Progress], None], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)

    assert bench.run(_operation(work)).state is RunState.SUCCEEDED
    assert [text.partition(" (…)")[0] for text in _warnings(bench)] == ([f"loop 'rows' {told}"] if told else [])


@pytest.mark.parametrize("pairs", [lambda: enumerate("abcd"), lambda: zip("abcd", range(4), strict=True)])
def test_pairs_inside_a_loop_go_on_with_it(bench: Bench, pairs: Callable[[], Iterator[object]]) -> None:
    given, ends = list[object](), iter([True, False])

    def work(p: Progress) -> None:
        fails = next(ends)
        for pair in p.track(pairs(), key="rows"):
            if fails and len(given) == 2:
                raise Half
            given.append(pair)

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    assert view.state is RunState.SUCCEEDED, view.error
    assert given == [*pairs()]
    assert _warnings(bench, 1) == _warnings(bench, 2) == []


def test_two_loops_that_are_zipped_go_on_together(bench: Bench) -> None:
    given, ends = list[object](), iter([True, False])

    def work(p: Progress) -> None:
        fails = next(ends)
        for pair in zip(p.track("abcd", key="letters"), p.track(range(4), key="numbers"), strict=True):
            if fails and len(given) == 2:
                raise Half
            given.append(pair)

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    assert view.state is RunState.SUCCEEDED, view.error
    assert given == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert _warnings(bench, 1) == _warnings(bench, 2) == []


# --- what a loop is told of its state


def _another_dict(p: Progress) -> None:
    totals = {"sum": 0}
    for row in p.track(range(3), key="rows", state=dict(totals)):
        totals["sum"] += row


def _that_dict(p: Progress) -> None:
    totals = {"sum": 0}
    for row in p.track(range(3), key="rows", state=totals):
        totals["sum"] += row


def _one_item(p: Progress) -> None:
    for _ in p.track(range(1), key="rows", state={"sum": 0}):
        pass


def _inner_loop_that_changes_the_outer_state(p: Progress) -> None:
    totals = {"sum": 0}
    for file in p.track(range(2), key="files", state=totals):
        for row in p.track(range(2), key=f"rows-{file}"):
            totals["sum"] += row


def _inner_loop_with_a_state(p: Progress) -> None:
    totals = {"sum": 0}
    for file in p.track(range(2), key="files", state=totals):
        here = {"sum": 0}
        for row in p.track(range(2), key=f"rows-{file}", state=here):
            here["sum"] += row
        totals["sum"] += here["sum"]


def _inner_loop_that_leaves_the_state_alone(p: Progress) -> None:
    totals = {"sum": 0}
    for file in p.track(range(2), key="files", state=totals):
        for _ in p.track(range(2), key=f"rows-{file}"):
            pass
        totals["sum"] += 1


UNCHANGED = "the state of loop 'rows' did not change: change that dict, not another one"
LOST = (
    "loop 'rows-0' has no state, and changed the state of loop 'files': a resumed run skips its finished items, "
    "and what they changed is lost; give it a state of its own"
)


@pytest.mark.parametrize(
    ("work", "warning"),
    [
        (_another_dict, UNCHANGED),
        (_that_dict, None),
        (_one_item, None),
        (_inner_loop_that_changes_the_outer_state, LOST),
        (_inner_loop_with_a_state, None),
        (_inner_loop_that_leaves_the_state_alone, None),
    ],
    ids=lambda each: each.__name__.strip("_") if callable(each) else "",
)
def test_a_state_that_would_be_wrong_in_a_resumed_run_is_warned_about_once(
    bench: Bench, work: Callable[[Progress], None], warning: str | None
) -> None:
    view = bench.run(_operation(work))

    assert view.state is RunState.SUCCEEDED, view.error
    assert _warnings(bench) == ([warning] if warning else [])


# --- batches


def test_batches_are_lists_of_the_size_and_the_last_one_is_shorter(bench: Bench) -> None:
    given = list[list[int]]()

    bench.run(_operation(lambda p: given.extend(p.batches(range(7), 3))))

    assert given == [[0, 1, 2], [3, 4, 5], [6]]
    assert _ticks(bench)[-1] == events.ProgressMoved(done=7, total=7, percent=100.0, ended=True)


def test_a_batch_is_finished_when_the_next_one_is_asked_for(bench: Bench) -> None:
    given, ends = list[list[int]](), iter([True, False])

    def work(p: Progress) -> None:
        fails = next(ends)
        for batch in p.batches(range(7), 3, key="rows"):
            given.append(batch)
            if fails and 3 in batch:
                raise Half

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert given == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [6]]
    assert [_positions(bench, run) for run in (1, 2)] == [[3], [7]]


def _sends(p: Progress, given: list[int]) -> None:
    for row in p.track(range(1200), key="rows", unit="row"):
        parts = {"row": row}
        parts.update(more=row)
        parts["fails"] = _fail_at(row)


def _keeps_the_last(p: Progress, given: list[int]) -> None:
    last = None
    for row in p.track(range(1200), key="rows", unit="row"):
        last = _fail_at(row)
    p.result(last=last)


def _fills_what_it_was_given(p: Progress, given: list[int]) -> None:
    for row in p.track(range(1200), key="rows", unit="row"):
        given.append(row)
        _fail_at(row)


def _sets_an_attribute(p: Progress, given: list[int]) -> None:
    for row in p.track(range(1200), key="rows", unit="row"):
        _fail_at.last = row  # type: ignore[attr-defined]
        _fail_at(row)


def _yields(p: Progress, given: list[int]) -> None:
    def rows() -> Iterator[int]:
        for row in p.track(range(1200), key="rows", unit="row"):  # noqa: UP028
            yield row

    for row in rows():
        _fail_at(row)


def _has_a_state(p: Progress, given: list[int]) -> None:
    totals = {"rows": 0}
    for row in p.track(range(1200), key="rows", unit="row", state=totals):
        _fail_at(row)
        totals["rows"] += 1


def _fail_at(row: int) -> int:
    if row == 1100:
        raise Half
    return row


@pytest.mark.parametrize(
    ("work", "loses"),
    [
        (_sends, False),
        (_has_a_state, False),
        (_keeps_the_last, True),
        (_fills_what_it_was_given, True),
        (_sets_an_attribute, True),
        (_yields, True),
    ],
    ids=lambda each: getattr(each, "__name__", "").strip("_"),
)
def test_a_resumed_loop_says_what_it_skips_and_from_where_and_what_that_may_lose(
    bench: Bench, work: Callable[[Progress, list[int]], None], loses: bool
) -> None:
    for start in (bench.run, bench.resume):
        start(_operation(lambda p: work(p, [])))

    logs = [event.text for event in bench.seen.events if isinstance(event, events.Log)]
    lost = "; variables that they changed are not restored (state= does that)" if loses else ""
    assert [each for each in logs if "skipped;" in each or each.endswith("skipped")] == [
        f"loop rows: 1,100 of 1,200 rows done in run 1, skipped{lost}"
    ]
