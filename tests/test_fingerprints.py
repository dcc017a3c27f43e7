"""Fingerprints: what goes on can tell what it is given now from what it was given before, in any process."""

import enum
import os
import sqlite3
import subprocess
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest

from stagerun.authoring.fingerprints import fingerprint
from tests.conftest import REPOSITORY


class Colour(enum.Enum):
    RED = enum.auto()
    BLUE = enum.auto()


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Name(str):
    __slots__ = ()


@dataclass
class Order:
    number: int
    when: object = None


class Page(msgspec.Struct):
    url: str


class Zone(tzinfo):
    """A time zone whose repr has an address in it."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, moment: datetime | None) -> None: ...

    def tzname(self, moment: datetime | None) -> None: ...


Point = namedtuple("Point", "x y")  # noqa: PYI024 - one without types
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)


def _row(value: object) -> sqlite3.Row:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row: sqlite3.Row = connection.execute("SELECT ?", [value]).fetchone()
    connection.close()
    return row


PAIRS: Final[dict[str, Callable[[], tuple[Any, Any]]]] = {
    "numbers": lambda: (1, 2),
    "a number and its text": lambda: (1, "1"),
    "bytes": lambda: (b"a", b"b"),
    "dates": lambda: (date(2026, 1, 31), date(2026, 2, 1)),
    "a date and midnight": lambda: (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
    "times": lambda: (time(12), time(13)),
    "durations": lambda: (timedelta(1), timedelta(2)),
    "time zones": lambda: (NOON, NOON.replace(tzinfo=Zone())),
    "decimals": lambda: (Decimal("1.5"), Decimal("1.50")),
    "fractions": lambda: (Fraction(1, 2), Fraction(1, 3)),
    "ids": lambda: (UUID(int=1), UUID(int=2)),
    "paths": lambda: (Path("a"), Path("b")),
    "paths in a list": lambda: ([Path("a"), Path("b")], [Path("a', PosixPath 'b")]),
    "enums": lambda: (Colour.RED, Colour.BLUE),
    "enums of numbers": lambda: (Level.LOW, Level.HIGH),
    "texts of a class of their own": lambda: (Name("a"), Name("b")),
    "dataclasses": lambda: (Order(1), Order(2)),
    "dates in dataclasses": lambda: (Order(1, NOON), Order(1, NOON + timedelta(1))),
    "structs": lambda: (Page("a"), Page("b")),
    "rows": lambda: (_row("a"), _row("b")),
    "named tuples": lambda: (Point(1, 2), Point(2, 1)),
    "sets": lambda: ({"a", "b", "c"}, {"a", "b", "d"}),
    "frozen sets": lambda: (frozenset("abc"), frozenset("abd")),
    "dicts": lambda: ({"a": 1}, {"a": 2}),
    "ordered dicts": lambda: (OrderedDict(a=1), OrderedDict(a=2)),
    "nested": lambda: ([{"a": (1, {"b"})}], [{"a": (1, {"c"})}]),
    "two lists and one": lambda: ([[1], [2]], [[1, 2]]),
}


def _nothing(text: str) -> bool:
    return False


def _all() -> list[int | None]:
    """Return the fingerprints of all that the table above names, made anew."""
    return [fingerprint(each, _nothing) for make in PAIRS.values() for each in make()]


@pytest.mark.parametrize("pair", PAIRS)
def test_two_values_that_differ_have_different_fingerprints(pair: str) -> None:
    one, other = (fingerprint(each, _nothing) for each in PAIRS[pair]())

    assert None not in (one, other)
    assert one != other


def test_a_value_has_the_same_fingerprint_in_every_process() -> None:
    script = "from tests.test_fingerprints import _all; print(_all())"
    environ = {**os.environ, "PYTHONHASHSEED": "7"}

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environ
    )

    assert done.stdout.strip() == str(_all())


def test_what_nothing_tells_apart_has_no_fingerprint_and_is_left_as_it_is() -> None:
    connection = sqlite3.connect(":memory:")
    rows = connection.execute("SELECT 1 UNION SELECT 2")
    numbers = (number for number in range(3))

    assert [fingerprint(each, _nothing) for each in (connection, rows, numbers, object(), print)] == [None] * 5
    assert fingerprint([object(), rows], _nothing) == fingerprint([object(), connection], _nothing)
    assert ([*rows], [*numbers]) == ([(1,), (2,)], [0, 1, 2])
    connection.close()


def test_a_value_that_holds_a_secret_has_no_fingerprint() -> None:
    def holds(text: str) -> bool:
        return "hunter2" in text

    assert [fingerprint(each, holds) for each in ("hunter2", ["is hunter2"], Order(1, "hunter2"))] == [None] * 3
