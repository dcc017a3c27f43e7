"""Resumable loops: a resumed run goes on exactly behind the last finished item."""

import gc
import zlib
from collections.abc import Callable, Iterator, Sequence

import pytest

from stagerun import LiveOperation, Progress, events
from stagerun.errors import RecipeError
from stagerun.states import RunState
from tests.conftest import Bench


def _operation(work: Callable[[Progress], None]) -> LiveOperation:
    class Import(LiveOperation):
        stages = ["Process"]

        def run(self, p: Progress) -> None:
            with p.stage("Process"):
                work(p)

    return Import(owner="alice")


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
    expected = events.PositionReached(key="rows", stage="Process", position=5, total=5, mark=(0, zlib.crc32(b"0")))
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


def test_a_key_serves_one_loop_or_one_checkpoint_of_a_run(bench: Bench) -> None:
    messages = list[str]()

    def work(p: Progress) -> None:
        p.track(range(3), key="rows")
        with pytest.raises(RecipeError) as loop:
            p.track(range(3), key="rows")
        with pytest.raises(RecipeError) as checkpoint:
            p.checkpoint("rows", list)
        messages.extend([loop.value.message, checkpoint.value.message])

    view = bench.run(_operation(work))

    assert view.state is RunState.SUCCEEDED, view.error
    assert messages == ["the key 'rows' is used twice in this run"] * 2


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
