"""What a checkpoint may hold: only what comes back exactly as it was."""

import enum
import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagerun.authoring import stored_values
from stagerun.errors import RecipeError
from stagerun.text import json_text


class Text(str):
    __slots__ = ()


class Number(int): ...


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1


@dataclass
class Row:
    name: str
    when: datetime
    file: Path
    colour: Colour
    tags: list[str]


@dataclass
class Point:
    x: float


@dataclass
class Point3(Point):
    z: float = 0.0


ROW = Row("a", datetime(2024, 5, 1, 12, 30, 0, 123456, UTC), Path("in/a.csv"), Colour.BLUE, ["x", "y"])


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _refusal(value: object) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        stored_values.exact(value, "checkpoint 'rows'")
    return caught.value


def _same(one: object, other: object) -> bool:
    """Compare types too, all the way down, and the sign of a zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    return repr(one) == repr(other)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        10**4000,
        0.5,
        -0.0,
        5e-324,
        "",
        "naïve \x00 \u2028 \U0001f600 \udc80",
        [],
        {},
        [None, [True, {"a": [1, 2.5, "b"]}]],
        {"": {"a b": [{}]}},
        _nested(100),
    ],
)
def test_a_json_value_passes_and_comes_back_as_it_was(value: object) -> None:
    stored = stored_values.exact(value, "x")

    assert stored is value
    assert _same(json.loads(json_text.dumps(stored)), value)


@pytest.mark.parametrize(
    ("value", "path", "holds"),
    [
        (math.nan, "", "nan"),
        ([1.0, math.inf], "[1]", "inf"),
        ({"a": [0, -math.inf]}, "['a'][1]", "-inf"),
        ((1, 2), "", "a tuple"),
        ({"a": {"b": [(), 1]}}, "['a']['b'][0]", "a tuple"),
        ({"rows": {1: "x"}}, "['rows']", "the key 1, which would come back as text"),
        ({None: 1}, "", "the key None, which would come back as text"),
        ({True: 1}, "", "the key True, which would come back as text"),
        ({Text("a"): 1}, "", "the key 'a', which would come back as text"),
        ([{1, 2}], "[0]", "a set"),
        ([b"x"], "[0]", "a bytes"),
        ([ROW], "[0]", "a Row"),
        ([Text("a")], "[0]", "a Text"),
        ({"n": Number(1)}, "['n']", "a Number"),
        ([Size.SMALL], "[0]", "a Size"),
        ([OrderedDict(a=1)], "[0]", "an OrderedDict"),
        ([Path("a")], "[0]", f"a {type(Path()).__name__}"),
        ([datetime(2024, 1, 1, tzinfo=UTC)], "[0]", "a datetime"),
        ([1, 10**5000], "[1]", "an integer of more than 4,000 digits"),
        (_nested(201), "[0]" * 201, "more than 200 levels"),
    ],
)
def test_what_json_would_change_is_refused_with_its_path_and_a_way_out(value: object, path: str, holds: str) -> None:
    refusal = _refusal(value)

    assert refusal.message == f"JSON can't restore checkpoint 'rows'{path} exactly: it holds {holds}"
    assert refusal.hint


def test_an_integer_key_that_is_too_long_to_print_is_refused_like_any_other() -> None:
    refusal = _refusal({10**5000: 1})

    assert refusal.message.startswith("JSON can't restore checkpoint 'rows' exactly: it holds ")
    assert refusal.hint == "use str(key)"


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[object] = []
    value.append(value)

    assert _refusal(value).message.endswith("it holds more than 200 levels")


_ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _ANY_TEXT
    | st.binary(max_size=4)
    | st.builds(Number, st.integers(0, 9))
)
_ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_ANY_TEXT, inner, max_size=4)
        | st.dictionaries(st.integers(0, 9), inner, max_size=1)
        | st.lists(inner, max_size=2).map(tuple)
    ),
    max_leaves=10,
)


@given(_ANYTHING)
@example(["\ud83d\ude00"])
@example({"\ud83d\ude00": 1, "\U0001f600": 2})
@example(-0.0)
def test_whatever_is_accepted_comes_back_equal_and_of_the_same_types(value: object) -> None:
    try:
        stored = stored_values.exact(value, "x")
    except RecipeError:
        return

    assert _same(json.loads(json_text.dumps(stored)), value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (ROW, Row),
        ([ROW, ROW], list[Row]),
        ({"a": ROW}, dict[str, Row]),
        (datetime(2024, 5, 1, 12, 30), datetime),  # noqa: DTZ001 - a naive one has to come back naive
        ([date(2024, 2, 29)], list[date]),
        (timedelta(days=1, microseconds=7), timedelta),
        (Decimal("1.10"), Decimal),
        (Path("a/../b"), Path),
        ([Path("/a")], list[Path]),
        (Colour.RED, Colour),
        ([Size.SMALL], list[Size]),
        (None, Row | None),
        ([1, "a", None], list[int | str | None]),
        ((1, 2), tuple[int, ...]),
        ({3, 4}, set[int]),
        (b"\x00\xff", bytes),
    ],
)
def test_a_stated_type_makes_a_value_come_back_through_json(value: object, kind: Any) -> None:
    plain = stored_values.to_builtins(value, kind, "x")
    back = stored_values.from_builtins(json.loads(json_text.dumps(plain)), kind)

    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ((1, 2), list[int]),
        ([1, 2], tuple[int, ...]),
        ("2024-05-01", date),
        (ROW, Point),
        (Point3(1.0, 2.0), Point),
        ([Point(math.nan)], list[Point]),
        (Colour.RED, str),
        ("red", Colour),
        (1, float),
        ([Point(1)], list[Point]),
        (True, int),
        (Number(1), int),
        (PurePosixPath("a"), Path),
        ([1j], list[complex]),
        (object(), object),
        (_nested(100_000), list),
    ],
)
def test_a_value_that_is_not_of_its_stated_type_is_refused(value: object, kind: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        stored_values.to_builtins(value, kind, "checkpoint 'rows'")

    assert "checkpoint 'rows'" in caught.value.message
