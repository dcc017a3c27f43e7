"""Checkpoints: what must not run twice is stored, durably, before the recipe goes on."""

import json
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from stagerun import LiveOperation, OperationCancelled, Progress, events
from stagerun.errors import RecipeError
from stagerun.states import RunState
from tests.conftest import Bench


SIXTEEN_MIB = 16 * 1024 * 1024


@dataclass
class Row:
    name: str
    when: datetime


def _operation(work: Callable[[Progress], object]) -> LiveOperation:
    class Import(LiveOperation):
        stages = ["Load", "Save"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                work(p)

    return Import(owner="alice")


def _stored(bench: Bench, run: int = 1) -> dict[str, object]:
    """Read the values of a run's checkpoints through a connection of its own, as any other process would."""
    connection = sqlite3.connect(f"file:{bench.journal}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT key, data FROM checkpoints JOIN events ON events.run_id = event_run_id AND seq = event_seq "
        "WHERE checkpoints.run_id = ?",
        (run,),
    ).fetchall()
    connection.close()
    return {key: json.loads(data)["value"] for key, data in rows}


def _refusal(bench: Bench, work: Callable[[Progress], object]) -> RecipeError:
    caught = list[RecipeError]()

    def guarded(p: Progress) -> None:
        with pytest.raises(RecipeError) as info:
            work(p)
        caught.append(info.value)

    view = bench.run(_operation(guarded))
    assert view.error is None or view.error.message == caught[0].message
    return caught[0]


def _warnings(bench: Bench) -> list[str]:
    records = bench.records()
    lines = [
        entry.event.text
        for entry in records.entries(1, kinds=("log",))
        if isinstance(entry.event, events.Log) and entry.event.level == "warning"
    ]
    records.close()
    return lines


def test_the_callable_gets_its_arguments_and_its_value_is_returned(bench: Bench) -> None:
    got = list[object]()

    def load(source: str, *, limit: int) -> list[object]:
        return [source, limit]

    bench.run(_operation(lambda p: got.append(p.checkpoint("rows", load, "orders.csv", limit=3))))

    assert got == [["orders.csv", 3]]
    assert _stored(bench) == {"rows": ["orders.csv", 3]}


def test_a_value_is_committed_before_it_is_returned(bench: Bench) -> None:
    seen = list[object]()

    def work(p: Progress) -> None:
        def load() -> list[int]:
            seen.append(_stored(bench))
            return [1, 2]

        p.checkpoint("rows", load)
        seen.append(_stored(bench))

    bench.run(_operation(work))

    assert seen == [{}, {"rows": [1, 2]}]


def test_a_resumed_run_gets_the_stored_value_and_calls_nothing(bench: Bench) -> None:
    calls, got = list[str](), list[object]()

    def load() -> dict[str, object]:
        calls.append("load")
        return {"a": [1, 2.5, None]}

    def work(p: Progress) -> None:
        got.append(p.checkpoint("rows", load))
        if len(got) < 3:
            raise ValueError("boom")

    bench.run(_operation(work))
    bench.resume(_operation(work))
    view = bench.resume(_operation(work))

    assert view.state is RunState.SUCCEEDED
    assert calls == ["load"]
    assert got == [{"a": [1, 2.5, None]}] * 3


def test_a_stored_none_is_a_value_too(bench: Bench) -> None:
    calls = list[str]()

    def work(p: Progress) -> None:
        p.checkpoint("deployed", lambda: calls.append("deploy"))
        raise ValueError("boom")

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert calls == ["deploy"]


def test_nothing_is_stored_when_the_callable_raises(bench: Bench) -> None:
    def load() -> None:
        raise ValueError("boom")

    view = bench.run(_operation(lambda p: p.checkpoint("rows", load)))

    assert (view.state, _stored(bench)) == (RunState.FAILED, {})


def test_nothing_is_stored_when_the_callable_is_cancelled(bench: Bench) -> None:
    def work(p: Progress) -> None:
        def load() -> list[int]:
            bench.interrupts.request("SIGINT")
            p.check_cancelled()
            return [1]

        p.checkpoint("rows", load)

    view = bench.run(_operation(work))

    assert (view.state, _stored(bench)) == (RunState.CANCELLED, {})


def test_nothing_is_stored_when_the_callable_swallows_its_cancel(bench: Bench) -> None:
    def work(p: Progress) -> None:
        def load() -> list[int]:
            rows = [1]
            try:
                bench.interrupts.request("SIGINT")
                p.check_cancelled()
                rows.append(2)
            except BaseException:
                pass
            return rows

        p.checkpoint("rows", load)

    view = bench.run(_operation(work))

    assert (view.state, _stored(bench)) == (RunState.CANCELLED, {})


def test_nothing_is_stored_of_a_value_that_would_come_back_different(bench: Bench) -> None:
    refusal = _refusal(bench, lambda p: p.checkpoint("rows", lambda: {"a": [(1, 2)]}))

    assert refusal.message == "JSON can't restore checkpoint 'rows'['a'][0] exactly: it holds a tuple"
    assert refusal.hint == "use a list, or give its type with type=..."
    assert _stored(bench) == {}


def test_a_key_that_is_used_twice_is_refused_with_the_advice_to_number_it(bench: Bench) -> None:
    calls = list[int]()

    def work(p: Progress) -> None:
        for number in range(2):
            p.checkpoint("row", calls.append, number)

    refusal = _refusal(bench, work)

    assert refusal.message == "the key 'row' is used twice in this run"
    assert refusal.hint == 'in a loop, number it: f"row-{n}"'
    assert calls == [0]


@pytest.mark.parametrize("key", ["", None, 3, b"rows"])
def test_a_key_has_to_be_a_text(bench: Bench, key: str) -> None:
    refusal = _refusal(bench, lambda p: p.checkpoint(key, list))

    assert refusal.message == f"the key of p.checkpoint must be a non-empty string, not {key!r}"


def test_a_key_with_the_bytes_of_any_file_name_is_found_again(bench: Bench) -> None:
    calls = list[str]()

    def work(p: Progress) -> None:
        p.checkpoint("caf\udce9.csv", calls.append, "load")
        raise ValueError("boom")

    bench.run(_operation(work))
    view = bench.resume(_operation(work))

    assert view.error is not None
    assert view.error.message == "boom"
    assert calls == ["load"]


def test_a_value_of_sixteen_mebibytes_is_stored(bench: Bench) -> None:
    view = bench.run(_operation(lambda p: p.checkpoint("rows", lambda: "x" * (SIXTEEN_MIB - 2))))

    assert view.state is RunState.SUCCEEDED
    assert list(_stored(bench)) == ["rows"]


@pytest.mark.parametrize("value", ["x" * (SIXTEEN_MIB - 1), "é" * (SIXTEEN_MIB // 2)], ids=["ascii", "utf-8"])
def test_a_larger_value_is_refused_with_the_advice_to_store_a_file(bench: Bench, value: str) -> None:
    size = 2 + len(value.encode())

    refusal = _refusal(bench, lambda p: p.checkpoint("rows", lambda: value))

    assert refusal.message == f"checkpoint 'rows' has {size:,} bytes; the limit is 16,777,216"
    assert refusal.hint == "store a file, and its path as the checkpoint"
    assert _stored(bench) == {}


def test_another_thread_can_make_no_checkpoint(bench: Bench) -> None:
    calls = list[str]()

    def work(p: Progress) -> None:
        caught = list[BaseException]()

        def other() -> None:
            try:
                p.checkpoint("rows", calls.append, "load")
            except RecipeError as error:
                caught.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        raise caught[0]

    refusal = _refusal(bench, work)

    assert refusal.message == "p.checkpoint was called from another thread"
    assert refusal.hint is not None
    assert calls == []


def test_a_stated_type_gives_the_value_back_as_that_type(bench: Bench) -> None:
    rows = [Row("a", datetime(2024, 5, 1, tzinfo=UTC))]
    got = list[object]()

    def work(p: Progress) -> None:
        got.append(p.checkpoint("rows", lambda: rows, type=list[Row]))
        raise ValueError("boom")

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert got == [rows, rows]
    assert _stored(bench) == {"rows": [{"name": "a", "when": "2024-05-01T00:00:00Z"}]}


def test_a_stored_value_that_does_not_fit_a_new_type_is_refused_by_its_key(bench: Bench) -> None:
    caught = list[RecipeError]()

    def changed(p: Progress) -> None:
        with pytest.raises(RecipeError) as info:
            p.checkpoint("rows", lambda: [1], type=list[int])
        caught.append(info.value)

    def work(p: Progress) -> None:
        p.checkpoint("rows", lambda: ["a"])
        raise ValueError("boom")

    bench.run(_operation(work))
    view = bench.resume(_operation(changed))

    told = "checkpoint 'rows' was stored without type= in run 1", "to make it again: stagerun resume --from Load"
    assert (caught[0].message, caught[0].hint) == told
    assert (view.error and view.error.message) == told[0]


def test_a_function_with_arguments_named_type_or_attempts_gets_them_through_a_lambda(bench: Bench) -> None:
    got = list[object]()

    def load(type: str, attempts: int) -> list[object]:  # noqa: A002
        return [type, attempts]

    bench.run(_operation(lambda p: got.append(p.checkpoint("rows", lambda: load(type="csv", attempts=7)))))

    assert got == [["csv", 7]]


def test_a_function_may_have_arguments_named_key_and_fn(bench: Bench) -> None:
    got = list[object]()

    def load(*, key: str, fn: str) -> list[str]:
        return [key, fn]

    names: dict[str, Any] = {"key": "id", "fn": "x"}
    view = bench.run(_operation(lambda p: got.append(p.checkpoint("rows", load, **names))))

    assert view.state is RunState.SUCCEEDED, view.error
    assert got == [["id", "x"]]


def test_without_attempts_the_first_failure_goes_through(bench: Bench) -> None:
    calls = list[str]()

    def load() -> None:
        calls.append("load")
        raise OSError("away")

    view = bench.run(_operation(lambda p: p.checkpoint("rows", load)))

    assert (view.state, calls, bench.clock.sleeps) == (RunState.FAILED, ["load"], [])


def test_attempts_wait_one_two_and_four_seconds_and_a_part_of_one_and_log_each_failure(bench: Bench) -> None:
    answers = iter([OSError("away"), OSError("still"), ValueError("odd"), [1]])

    def load() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    view = bench.run(_operation(lambda p: p.checkpoint("rows", load, attempts=4)))

    waits = bench.clock.sleeps
    assert view.state is RunState.SUCCEEDED
    assert [int(wait) for wait in waits] == [1, 2, 4]
    assert _warnings(bench) == [
        f"checkpoint 'rows': attempt 1 of 4 failed (OSError: away), trying again in {waits[0]:.1f}s",
        f"checkpoint 'rows': attempt 2 of 4 failed (OSError: still), trying again in {waits[1]:.1f}s",
        f"checkpoint 'rows': attempt 3 of 4 failed (ValueError: odd), trying again in {waits[2]:.1f}s",
    ]
    assert _stored(bench) == {"rows": [1]}


def test_the_waits_of_two_checkpoints_are_not_the_same(bench: Bench) -> None:
    def load() -> None:
        raise OSError("away")

    def work(p: Progress) -> None:
        for number in range(5):
            with pytest.raises(OSError):
                p.checkpoint(f"rows-{number}", load, attempts=2)

    bench.run(_operation(work))

    assert len(set(bench.clock.sleeps)) == 5


def test_the_last_attempt_fails_as_the_function_did(bench: Bench) -> None:
    calls = list[int]()

    def load() -> None:
        calls.append(len(calls))
        raise OSError(f"away {len(calls)}")

    view = bench.run(_operation(lambda p: p.checkpoint("rows", load, attempts=3)))

    assert view.error is not None
    assert (view.error.type, view.error.message, view.error.stage) == ("OSError", "away 3", "Load")
    assert (calls, len(bench.clock.sleeps)) == ([0, 1, 2], 2)
    assert _stored(bench) == {}


def test_a_cancel_is_not_tried_again(bench: Bench) -> None:
    calls = list[str]()

    def work(p: Progress) -> None:
        def load() -> None:
            calls.append("load")
            raise OperationCancelled

        p.checkpoint("rows", load, attempts=3)

    view = bench.run(_operation(work))

    assert (view.state, calls, bench.clock.sleeps) == (RunState.CANCELLED, ["load"], [])
    assert _warnings(bench) == []


def test_a_cancel_that_the_function_turned_into_an_error_is_neither_tried_again_nor_waited_for(bench: Bench) -> None:
    calls = list[str]()

    def work(p: Progress) -> None:
        def load() -> None:
            calls.append("load")
            try:
                bench.interrupts.request("SIGINT")
                p.check_cancelled()
            except BaseException:
                pass
            raise OSError("away")

        p.checkpoint("rows", load, attempts=3)

    view = bench.run(_operation(work))

    assert (view.state, calls, bench.clock.sleeps) == (RunState.CANCELLED, ["load"], [])


def test_a_cancel_ends_the_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()

    def load() -> None:
        calls.append("load")
        raise OSError("away")

    def cancelled_while_asleep(seconds: float) -> None:
        bench.interrupts.request("SIGTERM")

    monkeypatch.setattr(bench.clock, "sleep", cancelled_while_asleep)
    view = bench.run(_operation(lambda p: p.checkpoint("rows", load, attempts=3)))

    assert (view.state, view.signal, calls) == (RunState.CANCELLED, "SIGTERM", ["load"])
    assert len(_warnings(bench)) == 1
    assert _stored(bench) == {}


def test_a_broken_rule_is_not_tried_again(bench: Bench) -> None:
    calls = list[str]()

    def load() -> None:
        calls.append("load")
        raise RecipeError("no")

    refusal = _refusal(bench, lambda p: p.checkpoint("rows", load, attempts=3))

    assert (refusal.message, calls, bench.clock.sleeps) == ("no", ["load"], [])


def test_a_stored_value_needs_no_attempt(bench: Bench) -> None:
    calls = list[str]()

    def work(p: Progress) -> None:
        p.checkpoint("rows", calls.append, "load", attempts=3)
        raise ValueError("boom")

    bench.run(_operation(work))
    bench.resume(_operation(work))

    assert calls == ["load"]
