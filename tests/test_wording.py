"""States, times and counts as words."""

import time

import pytest

from stagerun.events import Failure, ProgressMoved
from stagerun.states import RESUMABLE, RunState, StageState
from stagerun.text import wording


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0s"),
        (0.04, "0.0s"),
        (0.8, "0.8s"),
        (21.04, "21.0s"),
        (59.94, "59.9s"),
        (59.96, "1m 00s"),
        (64.4, "1m 04s"),
        (3599.4, "59m 59s"),
        (3599.6, "1h 00m"),
        (7500.0, "2h 05m"),
        (90000.0, "25h 00m"),
    ],
)
def test_a_duration_has_tenths_below_a_minute_and_two_units_above(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "1s"), (0.4, "1s"), (11.6, "12s"), (59.4, "59s"), (59.6, "1m 00s"), (64.0, "1m 04s"), (7500.0, "2h 05m")],
)
def test_time_left_is_a_guess_and_has_no_tenths(seconds: float, words: str) -> None:
    assert wording.time_left(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-30, "just now"),
        (0, "just now"),
        (4.9, "just now"),
        (5, "5 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86399, "23 h ago"),
        (86400, "yesterday"),
        (2 * 86400 - 1, "yesterday"),
        (2 * 86400, "2 days ago"),
        (30 * 86400 - 1, "29 days ago"),
    ],
)
def test_how_long_ago_is_told_in_one_unit(seconds: float, words: str) -> None:
    now = 1_800_000_000.0
    assert wording.ago(now - seconds, now) == words


def test_what_is_a_month_ago_is_told_by_its_date_where_one_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-10")
    time.tzset()
    try:
        # 2027-01-15 08:00 UTC; ten hours east it is 18:00, and at 16:00 UTC the next day.
        assert wording.ago(1_800_000_000, 1_800_000_000 + 30 * 86400) == "2027-01-15"
        assert wording.ago(1_800_000_000 + 8 * 3600, 1_800_000_000 + 31 * 86400) == "2027-01-16"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000.25, "2027-01-15T08:00:00.250Z"),
        (1_799_999_999.9996, "2027-01-15T08:00:00.000Z"),
    ],
)
def test_a_timestamp_is_iso_8601_in_utc_to_the_millisecond(moment: float, text: str) -> None:
    assert wording.timestamp(moment) == text


def test_every_state_is_its_own_word_but_the_one_of_two_words() -> None:
    assert [wording.state_word(state) for state in RunState] == [
        "pending",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "timed out",
        "crashed",
    ]
    assert [wording.state_word(state) for state in StageState] == ["pending", "active", "done", "cancelled", "failed"]


@pytest.mark.parametrize("symbols", [wording.SYMBOLS, wording.ASCII_SYMBOLS])
def test_every_state_of_a_stage_has_a_symbol_of_its_own(symbols: dict[StageState, str]) -> None:
    assert set(symbols) == set(StageState)
    assert len(set(symbols.values())) == len(StageState)
    assert {len(symbol) for symbol in symbols.values()} == {1}


def test_the_symbols_for_streams_without_unicode_are_ascii() -> None:
    assert all(symbol.isascii() for symbol in wording.ASCII_SYMBOLS.values())


@pytest.mark.parametrize("state", [*RunState, *StageState])
def test_every_state_has_a_colour(state: RunState | StageState) -> None:
    assert wording.COLOURS[state]


def test_what_can_be_resumed_is_what_ended_without_success() -> None:
    assert {"failed", "cancelled", "crashed", "timed_out"} == RESUMABLE


@pytest.mark.parametrize(
    ("number", "unit", "words"),
    [
        (0, "row", "0 rows"),
        (1, "row", "1 row"),
        (10_000, "row", "10,000 rows"),
        (2, "class", "2 classes"),
        (2, "box", "2 boxes"),
        (2, "batch", "2 batches"),
        (2, "epoch", "2 epochs"),
        (2, "batch", "2 batches"),
        (2, "class", "2 classes"),
        (2, "rows", "2 rows"),
        (2, "it", "2 it"),
        (2, "ms", "2 ms"),
        (2, "MiB", "2 MiB"),
        (2, "Zeile", "2 Zeile"),
        (2, "größe", "2 größe"),
        (2, "行", "2 行"),
        (2, "%", "2 %"),
        (2, "hash", "2 hashes"),
        (2, "query", "2 queries"),
        (2, "day", "2 days"),
        (1, "query", "1 query"),
    ],
)
def test_a_count_has_its_thousands_apart_and_its_unit_in_the_right_number(number: int, unit: str, words: str) -> None:
    assert wording.count(number, unit) == words


@pytest.mark.parametrize(("index", "tag"), [(1, "[2/3] Process"), (0, "[1/3] Process"), (None, "Process")])
def test_a_declared_stage_is_tagged_with_its_position_and_any_other_block_is_not(index: int | None, tag: str) -> None:
    assert wording.stage_tag("Process", index, 3) == tag


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (ProgressMoved(percent=3.0), ""),
        (ProgressMoved(done=4000, unit="row"), "4,000 rows"),
        (ProgressMoved(done=4000, total=10_000, unit="row"), "4,000/10,000 rows"),
        (ProgressMoved(done=0, total=1, unit="row"), "0/1 row"),
    ],
)
def test_what_is_counted_is_shown_with_its_total_if_that_is_known(progress: ProgressMoved, words: str) -> None:
    assert wording.counted(progress) == words


@pytest.mark.parametrize(
    ("progress", "rate", "words"),
    [
        (ProgressMoved(percent=3.0, seconds=2.0), None, ""),
        (ProgressMoved(done=0, seconds=2.0), None, ""),
        (ProgressMoved(done=5, seconds=0.0), None, ""),
        (ProgressMoved(done=4, seconds=10.0), 0.4, "0.4/s"),
        (ProgressMoved(done=820, seconds=2.0), 410.0, "410/s"),
        (ProgressMoved(done=41_000, seconds=2.0), 20_500.0, "20,500/s"),
    ],
)
def test_the_pace_is_told_once_there_is_something_to_tell(
    progress: ProgressMoved, rate: float | None, words: str
) -> None:
    assert (wording.rate(progress), wording.pace(progress)) == (rate, words)


@pytest.mark.parametrize(
    ("progress", "seconds"),
    [
        (ProgressMoved(done=3, seconds=2.0), None),
        (ProgressMoved(percent=0.0, seconds=2.0), None),
        (ProgressMoved(percent=50.0, seconds=0.0), None),
        (ProgressMoved(percent=40.0, seconds=8.0), 12.0),
        (ProgressMoved(percent=100.0, seconds=8.0), 0.0),
    ],
)
def test_what_remains_follows_from_the_pace_so_far(progress: ProgressMoved, seconds: float | None) -> None:
    assert wording.remaining(progress) == seconds


def test_a_result_is_one_line_for_each_name_with_text_bare_and_all_else_as_json() -> None:
    result = {"count": 10_000, "file": "a b.csv", "ok": True, "none": None, "rows": [1, {"a": "é"}], "ratio": 0.5}

    assert wording.result_lines(result) == [
        "count=10000",
        "file=a b.csv",
        "ok=true",
        "none=null",
        'rows=[1,{"a":"é"}]',
        "ratio=0.5",
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Failure(type="ValueError", message="boom"), "ValueError: boom"),
        (Failure(type="ValueError", message=""), "ValueError"),
        (Failure(type="", message="nothing to do"), "nothing to do"),
    ],
)
def test_an_error_in_one_line_reads_as_the_end_of_a_traceback(error: Failure, line: str) -> None:
    assert wording.error_line(error) == line


def test_a_name_has_the_article_that_goes_by_its_sound() -> None:
    names = ["str", "int64", "float32", "uint8", "ndarray", "Enum", "UUID", "HTTPError", "OrderedDict", "user", "Path"]

    assert [wording.with_article(name) for name in names] == [
        *("a str", "an int64", "a float32", "a uint8", "an ndarray", "an Enum", "a UUID", "an HTTPError"),
        *("an OrderedDict", "a user", "a Path"),
    ]
