"""What things cost, counted in statements, commits, writes and calls: no clock, so that no slow machine can lie."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from stagerun import LiveOperation, Progress
from stagerun.journal.sqlite.store import SqliteStore
from stagerun.render.live import Live
from stagerun.render.output import Output
from tests.conftest import Bench


STAGE = ["BEGIN", "UPDATE runs", "INSERT events", "UPDATE stages", "COMMIT"]


class Staged(LiveOperation):
    stages = ["One", "Two", "Three"]

    def run(self, p: Progress) -> None:
        for name in self.stages:
            with p.stage(name):
                pass


class Traced(Bench):
    """Keeps the statements of its runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.statements: list[str] = []

    def _opened(self) -> SqliteStore:
        store = super()._opened()
        assert isinstance(store, SqliteStore)
        store.connection.set_trace_callback(self.statements.append)
        return store


@pytest.fixture
def bench(tmp_path: Path) -> Traced:
    return Traced(tmp_path)


def said(bench: Traced) -> list[str]:
    """Return the statements of a bench's runs, each as its verb and its table."""
    words = [[word for word in sql.split()[:3] if word != "INTO"] for sql in bench.statements]
    return [" ".join(each[:2]) if each[0] in ("UPDATE", "INSERT") else each[0] for each in words]


def calls(body: Callable[[], object]) -> Counter[str]:
    """Return how often functions were called by `body`, in Python and in C."""
    counted: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        counted[event] += 1

    sys.setprofile(count)
    try:
        body()
    finally:
        sys.setprofile(None)
    return counted


def in_run(bench: Traced, body: Callable[[Progress], object]) -> None:
    class Demo(LiveOperation):
        def run(self, p: Progress) -> None:
            body(p)

    bench.run(Demo(owner="alice"))


def test_entering_or_leaving_a_stage_is_one_transaction_of_three_statements(bench: Traced) -> None:
    bench.run(Staged(owner="alice"))

    statements = said(bench)
    assert statements[statements.index("COMMIT", statements.index("COMMIT") + 1) + 1 :][: 6 * 5] == STAGE * 6


@pytest.mark.parametrize(("stages", "commits"), [(0, 3), (1, 5), (3, 9), (50, 103)])
def test_a_run_commits_its_creation_start_and_end_and_two_times_for_each_stage(
    bench: Traced, stages: int, commits: int
) -> None:
    class Demo(LiveOperation):
        def run(self, p: Progress) -> None:
            for name in self.stages:
                with p.stage(name):
                    pass

    Demo.stages = [f"stage {number}" for number in range(stages)]
    bench.run(Demo(owner="alice"))

    assert said(bench).count("COMMIT") == commits


@pytest.mark.parametrize(
    ("lines", "length", "commits"), [(1_000, 134, 1), (3_000, 134, 3), (3, 65_536, 1), (12, 65_536, 3)]
)
def test_log_lines_are_committed_when_256_kib_of_them_wait(
    bench: Traced, lines: int, length: int, commits: int
) -> None:
    def body(p: Progress) -> None:
        for _ in range(lines):
            p.log("x" * length)

    in_run(bench, body)

    assert said(bench).count("COMMIT") == 3 + commits


def test_a_thousand_log_lines_that_came_at_once_are_one_row(bench: Traced) -> None:
    def body(p: Progress) -> None:
        for number in range(1000):
            p.log(number)

    in_run(bench, body)

    assert said(bench).count("INSERT events") == 1 + 1 + 1 + 1  # creation, start, lines, end


@pytest.mark.parametrize("items", [1, 100_000])
def test_a_tracked_item_commits_nothing_and_a_loop_once(bench: Traced, items: int) -> None:
    in_run(bench, lambda p: [None for _ in p.track(range(items))])

    assert said(bench).count("COMMIT") == 3 + 1


@pytest.mark.parametrize("items", [1_000, 10_000])
def test_a_tracked_item_costs_one_call(bench: Traced, items: int) -> None:
    counted: list[Counter[str]] = []

    def body(p: Progress) -> None:
        def loop(size: int) -> None:
            for _ in p.track(range(size)):
                pass

        loop(1)  # the first item of all costs more
        counted.extend(calls(lambda size=size: loop(size)) for size in (items, 2 * items))  # type: ignore[misc]

    in_run(bench, body)

    less, more = counted
    an_item = {event: round(count / items) for event, count in (more - less).items() if count > items / 2}
    assert an_item == {"call": 1, "return": 1}


def test_a_log_line_costs_forty_calls_at_the_most(bench: Traced) -> None:
    counted: list[Counter[str]] = []

    def body(p: Progress) -> None:
        def log(size: int) -> None:
            for _ in range(size):
                p.log("a line of some usual length")

        counted.extend(calls(lambda size=size: log(size)) for size in (1_000, 2_000))  # type: ignore[misc]

    bench.seen.update = lambda entry, view: None  # type: ignore[method-assign]
    in_run(bench, body)

    less, more = counted
    assert (more - less)["call"] <= 40 * 1_000


def test_a_plain_line_is_one_write(bench: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    written = writes(monkeypatch)

    def body(p: Progress) -> None:
        for number in range(1000):
            p.log(number)

    in_run(bench, body)

    assert len(written) == 1 + 1000 + 1  # the opening, the lines, the ending


@pytest.mark.parametrize("lines", [1, 10_000])
def test_the_live_display_writes_once_for_each_frame_however_many_lines_came(
    bench: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    frames: list[int] = []
    with (tmp_path / "screen").open("w") as stream:
        live = Live(Output(stream), colour=False)
        written = writes(monkeypatch, live._output)

        def body(p: Progress) -> None:
            for _ in range(3):
                for number in range(lines // 3 + 1):
                    p.log(number)
                before = len(written)
                live.refresh(0.0)
                frames.append(len(written) - before)

        class Demo(LiveOperation):
            def run(self, p: Progress) -> None:
                body(p)

        bench.run(Demo(owner="alice"), live)

    assert (frames, len(written)) == ([1, 1, 1], 3 + 2)  # the end draws once, closing once


def writes(monkeypatch: pytest.MonkeyPatch, only: Output | None = None) -> list[str]:
    """Return a list that grows with each text that is written to an output."""
    written: list[str] = []
    original = Output.write

    def write(self: Output, text: str) -> int:
        if only is None or self is only:
            written.append(text)
        return original(self, text)

    monkeypatch.setattr(Output, "write", write)
    return written
