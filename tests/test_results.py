"""The result of a run: what a recipe may hand over, and what is recorded of it."""

import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagerun import LiveOperation, Progress, Secret, events
from stagerun.authoring.results import _Conversion
from stagerun.states import RunState
from stagerun.text import json_text
from tests.conftest import Bench, Project
from tests.test_progress import operation, refused, told


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Where(enum.Enum):
    HERE = Path("here")


@dataclass
class Row:
    name: str
    when: date


class Point(NamedTuple):
    x: int
    y: Path


class Text(str):
    __slots__ = ()


class Moment(datetime):
    """As pandas.Timestamp: a datetime of a library."""


class Length(timedelta):
    """As pandas.Timedelta."""


class Scalar:
    """As a scalar of numpy."""

    ndim = 0

    def __init__(self, held: object) -> None:
        self._held = held

    def item(self) -> object:
        return self._held

    def __repr__(self) -> str:
        return "a scalar"


class Array(Scalar):
    ndim = 1

    def __repr__(self) -> str:
        return "array([1])"


class Float64(float):
    """As numpy.float64: a float, and a scalar."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"


class Itself(Scalar):
    """As numpy.longdouble, whose item is no float of Python."""

    def __init__(self) -> None:
        super().__init__(self)

    def __repr__(self) -> str:
        return "longdouble(1)"


class Shy:
    def __repr__(self) -> str:
        raise ValueError("no")


class Wordy:
    def __repr__(self) -> str:
        return "x" * 10_001


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Any:
        raise OSError("gone")

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return "Broken()"


SHARED = [Path("a")]


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda p: p.result({"a": 1}), {"a": 1}),
        (lambda p: p.result(a=1), {"a": 1}),
        (lambda p: p.result({"a": 1, "b": 1}, b=2), {"a": 1, "b": 2}),
        (lambda p: p.result(), {}),
        (lambda p: p.result(MappingProxyType({"a": None})), {"a": None}),
        (lambda p: p.result(Row("a", date(2026, 1, 31)), more=1), {"name": "a", "when": "2026-01-31", "more": 1}),
        (lambda p: p.result({"a": [1, 2.5, True, {"b": "\udc80"}]}), {"a": [1, 2.5, True, {"b": "\udc80"}]}),
    ],
)
def test_a_result_is_a_json_object(bench: Bench, call: Callable[[Progress], None], result: Mapping[str, Any]) -> None:
    assert told(bench, call) == [events.ResultSet(result=result)]
    assert bench.records().find("1").result_context == result


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (Path("a") / "b", "a/b"),
        (PurePosixPath("/a"), "/a"),
        (datetime(2026, 1, 31, 10, tzinfo=UTC), "2026-01-31T10:00:00Z"),
        (datetime.fromisoformat("2026-01-31T10:00"), "2026-01-31T10:00:00"),
        (Moment(2026, 1, 31, 10), "2026-01-31T10:00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (time(10, 30), "10:30:00"),
        (timedelta(minutes=5), "PT300S"),
        (Length(minutes=5), "PT300S"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Secret("hunter2-horse"), "***"),
        (Colour.RED, "red"),
        (Size.SMALL, 1),
        (Where.HERE, "here"),
        (Row("a", date(2026, 1, 31)), {"name": "a", "when": "2026-01-31"}),
        (Point(1, Path("b")), [1, "b"]),
        (Text("a"), "a"),
        (Scalar(3), 3),
        (Scalar(2.5), 2.5),
        (Scalar(True), True),
        (Scalar(datetime.fromisoformat("2026-01-31")), "2026-01-31T00:00:00"),
        (Float64(0.5), 0.5),
        ({"new", "sale"}, ["new", "sale"]),
        (frozenset({10, 9}), [9, 10]),
        ({1, "a"}, ["a", 1]),
        ({1: "a", 2.5: "b", None: "c"}, {"1": "a", "2.5": "b", "null": "c"}),
        ({True: "a"}, {"true": "a"}),
        ({Path("a"): 1, Colour.RED: 2, date(2026, 1, 31): 3}, {"a": 1, "red": 2, "2026-01-31": 3}),
        ("\ud83d\ude00", "😀"),
        ([SHARED, SHARED], [["a"], ["a"]]),
        ([{"rows": (Path("a"), [Decimal(1)])}], [{"rows": ["a", ["1"]]}]),
    ],
)
def test_a_value_of_a_usual_type_is_converted_without_a_word(bench: Bench, value: object, recorded: object) -> None:
    assert told(bench, lambda p: p.result(value=value)) == [events.ResultSet(result={"value": recorded})]
    assert bench.records().find("1").result_context == {"value": recorded}


def _ring() -> list[object]:
    ring: list[object] = [1]
    ring.append({"again": ring})
    return ring


def _deep(levels: int, *innermost: object) -> list[object]:
    deep = [*innermost]
    for _ in range(levels):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    ("value", "recorded", "what"),
    [
        (b"x", "b'x'", "result['value'], a bytes"),
        (1j, "1j", "result['value'], a complex"),
        (float("nan"), "nan", "result['value'], the number nan"),
        (float("-inf"), "-inf", "result['value'], the number -inf"),
        (Float64("nan"), "nan", "result['value'], the number nan"),
        (Colour, "<enum 'Colour'>", "result['value'], an EnumType"),
        (Array(1), "array([1])", "result['value'], an Array"),
        (Scalar([1]), "a scalar", "result['value'], a Scalar"),
        (Itself(), "longdouble(1)", "result['value'], an Itself"),
        ([1, {"b": b"x"}], [1, {"b": "b'x'"}], "result['value'][1]['b'], a bytes"),
        ({(1, 2): "x"}, {"(1, 2)": "x"}, "result['value'], a tuple"),
        ({"a": Broken()}, {"a": "Broken()"}, "result['value']['a'], a Broken"),
        (_ring(), [1, {"again": "[1, {'again': [...]}]"}], "result['value'][1]['again'], a list"),
        (10**5000, "<int that can't be shown>", "result['value'], an int"),
        (Shy(), "<Shy that can't be shown>", "result['value'], a Shy"),
        (Wordy(), "<Wordy with a long repr>", "result['value'], a Wordy"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_what_json_can_not_hold_is_recorded_as_its_repr_with_a_warning(
    bench: Bench, value: object, recorded: object, what: str
) -> None:
    assert told(bench, lambda p: p.result(value=value)) == [
        events.Log(f"JSON can't hold {what}; its repr is recorded", "warning"),
        events.ResultSet(result={"value": recorded}),
    ]


def test_many_values_that_json_can_not_hold_get_one_warning(bench: Bench) -> None:
    assert told(bench, lambda p: p.result(a=b"1", b=[b"2", b"3"])) == [
        events.Log("JSON can't hold result['a'], a bytes; its repr is recorded, and that of 2 more parts", "warning"),
        events.ResultSet(result={"a": "b'1'", "b": ["b'2'", "b'3'"]}),
    ]


def test_a_result_has_at_most_a_hundred_levels_and_below_them_a_repr(bench: Bench) -> None:
    warning, result = told(bench, lambda p: p.result(fine=_deep(98), deeper=_deep(100_000)))

    assert isinstance(warning, events.Log)
    assert warning.text.endswith("[0], a list; its repr is recorded")
    assert isinstance(result, events.ResultSet)
    assert result.result == {"fine": _deep(98), "deeper": _deep(98, "<list that can't be shown>")}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.dates(), inner) | st.tuples(inner),
)


@settings(max_examples=50)
@given(ANYTHING)
def test_whatever_is_given_the_outcome_comes_back_from_the_journal_as_it_is(value: object) -> None:
    plain = _Conversion().converted(value)

    assert json_text.loads(json_text.dumps(plain), object) == plain
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize(("context", "kind"), [([1], "list"), ("text", "str"), (3, "int")])
def test_a_result_that_is_no_object_is_refused(bench: Bench, context: Any, kind: str) -> None:
    assert refused(bench, lambda p: p.result(context)) == (f"p.result needs a dict, not {kind}", "p.result(value=...)")


def test_a_result_stays_as_it_was_given_whatever_the_recipe_does_with_it_later(bench: Bench) -> None:
    rows: list[object] = [1]

    def body(p: Progress) -> None:
        p.result({"rows": rows})
        rows.append({2, 3})

    view = bench.run(operation(body))

    assert (view.state, view.result_context) == ("succeeded", {"rows": [1]})
    assert bench.records().find("1").result_context == {"rows": [1]}


def _returning(value: object) -> LiveOperation:
    class Returning(LiveOperation):
        def run(self, p: Progress) -> object:
            return value

    return Returning(owner="alice")


def test_a_mapping_that_run_returns_is_the_result(bench: Bench) -> None:
    view = bench.run(_returning(MappingProxyType({"file": Path("a")})))

    assert (view.state, view.result_context) == ("succeeded", {"file": "a"})
    assert bench.seen.events[2:-1] == [events.ResultSet(result={"file": "a"})]


def test_a_mapping_that_run_returns_replaces_an_earlier_result_as_a_later_call_does(bench: Bench) -> None:
    class Both(LiveOperation):
        def run(self, p: Progress) -> dict[str, int]:
            p.result(a=1)
            return {"b": 2}

    assert bench.run(Both()).result_context == {"b": 2}


@pytest.mark.parametrize("value", [3, "", [], False, ("a", 1)])
def test_any_other_value_that_run_returns_gets_one_warning(bench: Bench, value: object) -> None:
    view = bench.run(_returning(value))

    kind = type(value).__name__
    told = f"run returned a value of type {kind}, which is not kept; return a dict, or use p.result"
    assert (view.state, view.result_context) == ("succeeded", None)
    assert bench.seen.events[2:-1] == [events.Log(told, "warning")]


def test_a_run_that_returns_nothing_says_nothing(bench: Bench) -> None:
    bench.run(_returning(None))

    assert bench.seen.events[2:-1] == []


def test_a_generator_that_run_returns_fails_the_run_because_nobody_would_run_it(bench: Bench) -> None:
    view = bench.run(_returning(number for number in [1]))

    assert view.error is not None
    assert (view.state, view.error.message) == (
        RunState.FAILED,
        "run returned a generator, and nothing has run it",
    )


def test_a_fork_that_returns_a_mapping_from_run_sets_no_result(project: Project) -> None:
    project.recipe(
        "forking",
        """
import os

class Forking(LiveOperation):
    def run(self, p: Progress):
        if os.fork() == 0:
            return {"child": True}
        os.wait()
        p.log("waited")
""",
    )

    assert project.stagerun("run", "forking").code == 0
    assert project.records().find("last").result_context is None
