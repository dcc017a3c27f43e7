"""The log by line number: folds, marks, and pages read from the middle."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from stagerun import LiveOperation, Progress, events
from stagerun.journal.pages import Ended, Hits, Pages, Wanted
from stagerun.journal.sqlite import files
from stagerun.journal.sqlite.store import SqliteStore
from stagerun.journal.store import Values
from stagerun.outline import MOST_FOLDS, SPACING, Outline
from stagerun.states import RunState, StageState
from stagerun.text import json_text
from tests.conftest import Bench
from tests.journals import Opened


def _outline(*given: events.Event) -> Outline:
    outline, seq = Outline(), 0
    for event in given:
        outline.add(events.Entry(1, seq + 1, 100.0 + seq, event))
        seq += len(event.lines) if isinstance(event, events.Log) else 1
    return outline


def _told(outline: Outline) -> list[tuple[str, int, int, str | None]]:
    return [(fold.name, fold.first, fold.lines, fold.state) for fold in outline.folds]


def _entered(stage: str, index: int | None = 0) -> events.StageEntered:
    return events.StageEntered(stage=stage, index=index)


def _left(stage: str, index: int | None = 0, state: StageState = StageState.DONE) -> events.StageLeft:
    return events.StageLeft(stage=stage, index=index, state=state, seconds=1.5)


def _many(count: int) -> events.Log:
    return events.Log("\n".join("x" * count))


def test_each_visit_of_a_block_is_a_fold_and_so_is_what_is_said_outside() -> None:
    outline = _outline(
        _many(2),
        _entered("Load"),
        _many(3),
        _left("Load"),
        _many(1),
        _entered("Load"),
        _left("Load"),
        _entered("Save", 1),
    )

    assert _told(outline) == [
        ("", 1, 2, None),
        ("Load", 3, 3, "done"),
        ("", 6, 1, None),
        ("Load", 7, 0, "done"),
        ("Save", 7, 0, "active"),
    ]
    assert (outline.lines, outline.seq) == (6, 11)


def test_lines_after_an_inner_block_go_on_in_a_fold_of_their_own_which_ends_with_the_outer_block() -> None:
    outline = _outline(
        *(_entered("Load"), _many(1), _entered("unpack", None), _many(2), _left("unpack", None)),
        *(_many(3), _many(1), _left("Load", state=StageState.FAILED)),
    )

    assert _told(outline) == [("Load", 1, 1, "active"), ("unpack", 2, 2, "done"), ("Load", 4, 4, "failed")]
    assert [fold.goes_on for fold in outline.folds] == [False, False, True]


def test_a_line_is_found_in_its_fold_also_beside_folds_without_lines() -> None:
    outline = _outline(_entered("A"), _many(2), _left("A"), _entered("B"), _left("B"), _entered("C"), _many(2))

    assert [outline.fold_of(line).name for line in (1, 2, 3, 4)] == ["A", "A", "C", "C"]


def test_ten_thousand_visits_take_no_more_room_than_a_thousand_and_lose_no_line() -> None:
    outline, seq = Outline(), 1
    for _ in range(10_000):
        for event in (_entered("Loop"), events.Log("a\nb"), _left("Loop")):
            outline.add(events.Entry(1, seq, 0.0, event))
            seq += 2

    assert len(outline.folds) == MOST_FOLDS
    assert sum(fold.visits for fold in outline.folds) == 10_000
    assert outline.folds[-1].last == outline.lines == 20_000
    assert [fold.first for fold in outline.folds[1:]] == [fold.last + 1 for fold in outline.folds[:-1]]


class Talk(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            for number in range(2500):
                p.log(f"row {number}", level="warning" if number % 100 == 7 else "info")
            p.checkpoint("rows", lambda: "x" * 1000)
        with p.stage("Save"):
            p.log('Größe: \x1b[31mR\x1b[0mow 7 "quoted" back\\slash\nnew line')


@pytest.fixture
def pages(bench: Bench) -> Iterator[Pages]:
    bench.run(Talk())
    opened = Pages(SqliteStore(files.open_for_reading(bench.journal), bench.journal))
    yield opened
    opened.close()


def test_a_page_from_the_middle_has_the_right_lines(pages: Pages) -> None:
    outline = Outline()
    pages.extend(1, outline)

    assert (outline.lines, [fold.lines for fold in outline.folds]) == (2502, [2500, 2])
    found = pages.lines(1, outline, 1999, 2002)
    assert [(line.number, line.text) for line in found] == [
        (number, f"row {number - 1}") for number in range(1999, 2003)
    ]
    assert [line.text for line in pages.lines(1, outline, 2502, 9999)] == ["new line"]


def test_an_outline_that_is_brought_up_to_date_is_as_one_made_at_once(pages: Pages) -> None:
    at_once, in_steps = Outline(), Outline()
    pages.extend(1, at_once)
    for row in pages.news(1, 0):
        assert row["kind"] not in ("checkpoint_stored", "position_reached")
        pages.extend(1, in_steps)

    assert [astuple(fold) for fold in in_steps.folds] == [astuple(fold) for fold in at_once.folds]
    assert in_steps.lines == at_once.lines


@pytest.mark.parametrize(
    ("text", "levels", "hits"),
    [
        ("ROW 7", (), 112),
        ("row 7", ("warning",), 2),
        ("row 249", (), 11),
        ('"quoted"', (), 1),
        ("back\\slash", (), 1),
        ("GRÖSSE", (), 1),
        ("größe: row", (), 1),
        ("new line", (), 1),
        ("level", (), 0),
        ("", ("warning", "error"), 25),
    ],
)
def test_a_search_finds_what_people_see(pages: Pages, text: str, levels: tuple[str, ...], hits: int) -> None:
    found = pages.search(1, Wanted(text, levels), most=5)

    assert (found.total, len(found.lines)) == (hits, min(hits, 5))


def test_a_search_says_where(pages: Pages) -> None:
    assert pages.search(1, Wanted("row 2499"), most=10) == Hits(1, [2500])


@pytest.mark.parametrize("most", [70, 1000])
def test_all_hits_are_reached_in_both_directions_a_few_at_a_time(pages: Pages, most: int) -> None:
    outline, wanted, there, back = Outline(), Wanted("row 1"), list[int](), list[int]()
    pages.extend(1, outline)
    while found := pages.hits_after(1, outline, wanted, there[-1] if there else 0, most):
        assert len(found) <= most
        there += found
    while found := pages.hits_before(1, outline, wanted, back[0] if back else 10**18, most):
        assert len(found) <= most
        back[:0] = found

    expected = [number for number in range(1, 2501) if str(number - 1).startswith("1")]
    assert there == back == expected
    assert pages.search(1, wanted, most) == Hits(len(expected), expected[:most])


def test_a_page_in_the_middle_of_a_long_log_reads_only_what_is_near(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "journal.db")
    with opened.transaction():
        for number in range(1, 20_001):
            row = (1, number, 0.0, "log", json_text.dumps(events.Log(f"line {number}")))
            opened.connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
    store = _Counting(opened.connection, tmp_path / "journal.db")
    pages, outline = Pages(store), Outline()
    pages.extend(1, outline)
    store.read = 0

    (line,) = pages.lines(1, outline, 15_500, 15_500)

    assert line.text == "line 15500"
    assert store.read <= 2 * SPACING
    opened.close()


class _Counting(SqliteStore):
    read = 0

    def rows(self, sql: str, values: Values = ()) -> list[sqlite3.Row]:
        found = super().rows(sql, values)
        self.read += len(found)
        return found


def test_the_last_runs_that_are_over_come_oldest_first(bench: Bench) -> None:
    for _ in range(3):
        bench.run(Talk())
    pages = Pages(SqliteStore(files.open_for_reading(bench.journal), bench.journal))

    assert pages.last_ended("demo:Talk", 2) == [Ended(2, RunState.SUCCEEDED, 0.0), Ended(3, RunState.SUCCEEDED, 0.0)]
    assert pages.last_ended("demo:Other", 2) == []
    pages.close()


@given(st.lists(st.integers(1, 1200), max_size=12))
def test_every_line_is_after_its_mark_and_near_it(counts: list[int]) -> None:
    outline, seq, seqs = Outline(), 1, list[int]()
    for count in counts:
        outline.add_lines(seq, 0.0, count)
        seqs += range(seq, seq + count)
        seq += count + 3

    for line, own in enumerate(seqs, 1):
        number, before = outline.mark_before(line)
        assert number <= line
        assert before < own
        assert line - number < SPACING + 1200
        assert seqs[number - 1] == before + 1
