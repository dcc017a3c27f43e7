"""Parameters: what a class may declare, and how a value becomes typed wherever it comes from."""

import datetime as dt
import enum
import importlib.util
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import pytest
from msgspec import Meta

from stagerun import LiveOperation, Secret
from stagerun.authoring.params import MISSING, Parameter
from stagerun.errors import RecipeError, UsageError
from stagerun.text import json_text


class Colour(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark-blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


HOUR_AND_A_HALF = dt.timedelta(hours=1, minutes=30)
ADDRESS = UUID("12345678-1234-5678-1234-567812345678")
EAST = dt.timezone(dt.timedelta(hours=2))
FITS: list[tuple[Any, Any, Any]] = [
    (str, "a b", "a b"),
    (str, "", ""),
    (str, "\udc80", "\udc80"),
    (int, "5", 5),
    (int, "-5", -5),
    (int, 5, 5),
    (int, "9" * 30, int("9" * 30)),
    (float, "1.5", 1.5),
    (float, "2", 2.0),
    (float, 2, 2.0),
    *((bool, text, True) for text in ("true", "True", "1", "yes", "YES", "on")),
    *((bool, text, False) for text in ("false", "FALSE", "0", "no", "off", "Off")),
    (bool, True, True),
    (Path, "a/b", Path("a/b")),
    (Path, Path("a/b"), Path("a/b")),
    (dt.datetime, "2026-01-02", dt.datetime(2026, 1, 2)),  # noqa: DTZ001
    (dt.datetime, "2026-01-02 03:04", dt.datetime(2026, 1, 2, 3, 4)),  # noqa: DTZ001
    (dt.datetime, "2026-01-02T03:04:05.000006Z", dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)),
    (dt.datetime, "2026-01-02T03:04:05+02:00", dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=EAST)),
    (dt.datetime, dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
    (dt.date, "2026-01-02", dt.date(2026, 1, 2)),
    (dt.date, dt.date(2026, 1, 2), dt.date(2026, 1, 2)),
    (dt.timedelta, "1h30m", HOUR_AND_A_HALF),
    (dt.timedelta, "1.5h", HOUR_AND_A_HALF),
    (dt.timedelta, "2d", dt.timedelta(days=2)),
    (dt.timedelta, "3s250ms", dt.timedelta(seconds=3, milliseconds=250)),
    (dt.timedelta, "90", dt.timedelta(seconds=90)),
    (dt.timedelta, "PT1H30M", HOUR_AND_A_HALF),
    (dt.timedelta, -HOUR_AND_A_HALF, -HOUR_AND_A_HALF),
    (Decimal, "1.10", Decimal("1.10")),
    (Decimal, 2, Decimal(2)),
    (Decimal, Decimal("1.10"), Decimal("1.10")),
    (UUID, "12345678123456781234567812345678", ADDRESS),
    (UUID, str(ADDRESS), ADDRESS),
    (UUID, ADDRESS, ADDRESS),
    (Colour, "dark-blue", Colour.DARK_BLUE),
    (Colour, Colour.RED, Colour.RED),
    (Size, "2", Size.LARGE),
    (Size, 2, Size.LARGE),
    (Size, Size.LARGE, Size.LARGE),
    (Literal["a", "b"], "b", "b"),
    (Literal[1, 2], "2", 2),
    (Literal["a", 1], 1, 1),
]


@pytest.mark.parametrize(("kind", "value", "typed"), FITS)
def test_a_value_that_fits_becomes_the_declared_type_and_comes_back_so_from_the_journal(
    kind: Any, value: Any, typed: Any
) -> None:
    parameter = Parameter(name="x", type=kind)
    converted = parameter.convert(value)

    back = parameter.convert(json.loads(json_text.dumps(parameter.to_json(converted))))

    assert (type(converted), converted) == (type(back), back) == (type(typed), typed)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str, 5),
        (str, None),
        (str, b"a"),
        (int, "x"),
        (int, ""),
        (int, "1.5"),
        (int, 1.5),
        (int, True),
        (float, "x"),
        (bool, "maybe"),
        (bool, 2),
        (Path, 5),
        (dt.datetime, "tomorrow"),
        (dt.datetime, "2026-13-01"),
        (dt.date, "2026-02-30"),
        (dt.date, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
        (dt.timedelta, "soon"),
        (dt.timedelta, "1h and 3m"),
        (Decimal, "x"),
        (UUID, "1234"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_the_name_of_the_parameter(kind: Any, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Parameter(name="x", type=kind).convert(value)

    assert caught.value.message.startswith(f"parameter 'x' can't be {value!r}: ")


@pytest.mark.parametrize(
    ("kind", "legal"),
    [(Colour, "red, dark-blue"), (Size, "1, 2"), (Literal["a", "b"], "a, b"), (Literal["a", 1], "a, 1")],
)
def test_a_value_that_is_no_choice_is_refused_with_the_legal_ones(kind: Any, legal: str) -> None:
    with pytest.raises(UsageError) as caught:
        Parameter(name="x", type=kind).convert("green")

    assert caught.value.message == f"parameter 'x' can't be 'green': one of {legal} is expected"


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", float("nan"), float("inf")])
def test_a_number_that_the_journal_can_not_hold_is_refused(number: object) -> None:
    with pytest.raises(UsageError, match="parameter 'x' can't be"):
        Parameter(name="x", type=float).convert(number)


@pytest.mark.parametrize("text", ["9999999999d", "1" + "0" * 400 + "s"])
def test_a_duration_beyond_all_bounds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="parameter 'x' can't be"):
        Parameter(name="x", type=dt.timedelta).convert(text)


def test_a_list_takes_each_of_its_values() -> None:
    parameter = Parameter(name="x", type=dt.date, many=True)

    assert parameter.convert(["2026-01-02", dt.date(2026, 1, 3)]) == [dt.date(2026, 1, 2), dt.date(2026, 1, 3)]
    assert parameter.convert(()) == []


@pytest.mark.parametrize("value", ["1,2", 5, None])
def test_what_is_no_list_is_refused_for_one(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        Parameter(name="x", type=int, many=True).convert(value)

    assert caught.value.message == f"parameter 'x' can't be {value!r}: a list is expected"


def test_a_list_with_one_wrong_value_is_refused_with_that_value() -> None:
    with pytest.raises(UsageError, match=r"^parameter 'x' can't be 'b': "):
        Parameter(name="x", type=int, many=True).convert(["1", "b"])


class Everything(LiveOperation):
    needed: int
    text: str = "a"
    maybe: dt.date | None = None
    dates: list[dt.date] = ("2026-01-02",)  # type: ignore[assignment]
    some: list[int] | None = None
    helped: Annotated[float | None, "how much of it"] = 0.5
    colour: Colour = Colour.RED
    mode: Literal["fast", "safe"] = "safe"
    token: Secret | None = None
    _private: int = 3
    shared: ClassVar[int] = 4
    plain = 5


def test_a_class_declares_a_parameter_for_each_annotated_public_attribute() -> None:
    assert Everything.parameters == {
        "needed": Parameter(name="needed", type=int),
        "text": Parameter(name="text", type=str, default="a"),
        "maybe": Parameter(name="maybe", type=dt.date, optional=True, default=None),
        "dates": Parameter(name="dates", type=dt.date, many=True, default=("2026-01-02",)),
        "some": Parameter(name="some", type=int, many=True, optional=True, default=None),
        "helped": Parameter(name="helped", type=float, optional=True, default=0.5, help="how much of it"),
        "colour": Parameter(name="colour", type=Colour, default=Colour.RED),
        "mode": Parameter(name="mode", type=Literal["fast", "safe"], default="safe"),
        "token": Parameter(name="token", type=Secret, optional=True, default=None),
    }


def test_a_parameter_without_a_default_is_required() -> None:
    assert [each.name for each in Everything.parameters.values() if each.required] == ["needed"]
    assert Everything.parameters["needed"].default is MISSING


def test_a_parameter_knows_its_choices_and_the_name_of_its_type() -> None:
    told = {name: (each.choices, each.type_name) for name, each in Everything.parameters.items()}

    assert told == {
        "needed": ((), "int"),
        "text": ((), "str"),
        "maybe": ((), "date"),
        "dates": ((), "list of date"),
        "some": ((), "list of int"),
        "helped": ((), "float"),
        "colour": (("red", "dark-blue"), "colour"),
        "mode": (("fast", "safe"), "literal"),
        "token": ((), "secret"),
    }


def test_what_is_not_given_is_the_default_in_its_type() -> None:
    operation = Everything(needed=1)

    assert {name: getattr(operation, name) for name in Everything.parameters} == {
        "needed": 1,
        "text": "a",
        "maybe": None,
        "dates": [dt.date(2026, 1, 2)],
        "some": None,
        "helped": 0.5,
        "colour": Colour.RED,
        "mode": "safe",
        "token": None,
    }


def test_what_is_given_is_converted_wherever_it_comes_from() -> None:
    from_text = Everything(needed="1", maybe="2026-01-02", some=["3"], helped="2", colour="dark-blue", token="s")
    from_python = Everything(
        needed=1, maybe=dt.date(2026, 1, 2), some=[3], helped=2.0, colour=Colour.DARK_BLUE, token=Secret("s")
    )

    assert {name: getattr(from_text, name) for name in Everything.parameters} == {
        name: getattr(from_python, name) for name in Everything.parameters
    }


def test_none_is_a_value_where_it_is_declared_and_nowhere_else() -> None:
    assert (Everything(needed=1, helped=None).helped, Everything(needed=1, some=None).some) == (None, None)
    with pytest.raises(UsageError, match=r"^parameter 'text' can't be None: "):
        Everything(needed=1, text=None)


def test_two_operations_share_no_list() -> None:
    first, second = Everything(needed=1), Everything(needed=1)

    first.dates.append(dt.date(2026, 1, 3))

    assert (second.dates, Everything(needed=1).dates) == ([dt.date(2026, 1, 2)], [dt.date(2026, 1, 2)])


def test_the_journal_is_told_json_values_and_no_secret() -> None:
    operation = Everything(needed=1, some=(1, 2), token="hush", maybe="2026-01-02")

    assert operation.params() == {
        "needed": 1,
        "text": "a",
        "maybe": "2026-01-02",
        "dates": ["2026-01-02"],
        "some": [1, 2],
        "helped": 0.5,
        "colour": "red",
        "mode": "safe",
        "token": "***",
    }


SOME_MOMENT = dt.datetime(2026, 1, 2)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("annotation", "fits", "does_not", "reason"),
    [
        (Annotated[int, Meta(ge=1)], [1, "1", 10**30], [0, "0", -(10**30)], "be at least 1"),
        (Annotated[int, Meta(gt=1)], [2], [1, "1"], "be more than 1"),
        (Annotated[int, Meta(le=5)], [5, -(10**30)], [6, 10**30], "be at most 5"),
        (Annotated[int, Meta(lt=5)], [4], [5], "be less than 5"),
        (Annotated[int, Meta(multiple_of=5)], [0, 10, "-5"], [7, "7"], "be a multiple of 5"),
        (Annotated[float, Meta(ge=0.5)], [0.5, 1, "1"], [0, "0.4", 0.4], "be at least 0.5"),
        (Annotated[str, Meta(pattern=r"^v\d+$")], ["v1"], ["1", "", "v1x"], r"match '^v\d+$'"),
        (Annotated[str, Meta(min_length=1)], ["a", "\udc80"], [""], "have at least 1 character"),
        (Annotated[str, Meta(max_length=2)], ["", "ab"], ["abc"], "have at most 2 characters"),
        (Annotated[list[int], Meta(min_length=1)], [[1], ("1",)], [[], ()], "have at least 1 item"),
        (Annotated[list[Path], Meta(max_length=1)], [[], ["a"]], [["a", "b"]], "have at most 1 item"),
        (list[Annotated[int, Meta(ge=1)]], [[], ["1", 2]], [[0], ["1", "0"]], "be at least 1"),
        (Annotated[int, Meta(ge=1), Meta(le=5)], [1, 5], [6], "be at most 5"),
        (Annotated[int | None, "help", Meta(ge=1)], [1, None], [0], "be at least 1"),
        (Annotated[int, Meta(ge=1)] | None, [1, None], [0], "be at least 1"),
        (Annotated[dt.datetime, Meta(tz=True)], ["2026-01-02T03:04Z"], [SOME_MOMENT], "have a time zone"),
        (Annotated[dt.datetime, Meta(tz=False)], [SOME_MOMENT], ["2026-01-02T03:04Z"], "have no time zone"),
    ],
    ids=str,
)
def test_a_value_must_be_within_the_bounds_of_its_parameter(
    annotation: Any, fits: list[Any], does_not: list[Any], reason: str
) -> None:
    bounded = _declare(annotation)

    for value in fits:
        bounded(x=value)
    for value in does_not:
        with pytest.raises(UsageError) as caught:
            bounded(x=value)
        assert caught.value.message.startswith("parameter 'x' can't be ")
        assert caught.value.message.endswith(f": it must {reason}")


def test_a_value_out_of_bounds_is_named_as_it_was_understood() -> None:
    told = []
    for annotation, value in (
        (Annotated[int, Meta(ge=1)], "0"),
        (Annotated[list[int], Meta(max_length=1)], ("1", "2")),
        (list[Annotated[int, Meta(ge=1)]], ["1", "0"]),
        (Annotated[dt.datetime, Meta(tz=False)], "2026-01-02T03:04Z"),
    ):
        with pytest.raises(UsageError) as caught:
            _declare(annotation)(x=value)
        told.append(caught.value.message)

    assert told == [
        "parameter 'x' can't be 0: it must be at least 1",
        "parameter 'x' can't be [1, 2]: it must have at most 1 item",
        "parameter 'x' can't be 0: it must be at least 1",
        "parameter 'x' can't be '2026-01-02T03:04:00Z': it must have no time zone",
    ]


def test_what_was_changed_after_it_was_checked_is_checked_again() -> None:
    operation = _declare(Annotated[int, Meta(ge=1)])(x=1)
    operation.x = 0  # type: ignore[attr-defined]

    with pytest.raises(UsageError, match=r"^parameter 'x' can't be 0: it must be at least 1$"):
        operation.checked()


@pytest.mark.parametrize(
    ("annotation", "bound"),
    [
        (Annotated[Path, Meta(pattern="a")], "Path can't have: pattern='a'"),
        (Annotated[str, Meta(ge=1)], "str can't have: ge=1"),
        (Annotated[bool, Meta(ge=1)], "bool can't have: ge=1"),
        (Annotated[Decimal, Meta(ge=1)], "Decimal can't have: ge=1"),
        (Annotated[Secret, Meta(min_length=8)], "Secret can't have: min_length=8"),
        (Annotated[Colour, Meta(min_length=8)], "Colour can't have: min_length=8"),
        (Annotated[Literal["a"], Meta(min_length=8)], "Literal can't have: min_length=8"),
        (Annotated[int, Meta(ge=0.5)], "int can't have: ge=0.5"),
        (Annotated[int, Meta(le=2**64)], f"int can't have: le={2**64}"),
        (Annotated[list[int], Meta(ge=1)], "list can't have: ge=1"),
        (list[Annotated[int, Meta(min_length=1)]], "int can't have: min_length=1"),
    ],
    ids=str,
)
def test_a_bound_that_can_not_hold_for_its_type_is_refused_when_the_class_is_made(annotation: Any, bound: str) -> None:
    with pytest.raises(RecipeError) as caught:
        _declare(annotation)

    assert caught.value.message == f"Import: parameter 'x' has a bound that {bound}"
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("annotation", "default", "reason"),
    [
        (Annotated[int, Meta(ge=1)], 0, "0: it must be at least 1"),
        (Annotated[list[int], Meta(min_length=1)], (), "[]: it must have at least 1 item"),
        (list[Annotated[int, Meta(ge=1)]], (1, 0), "0: it must be at least 1"),
    ],
    ids=str,
)
def test_a_default_out_of_bounds_is_refused_when_the_class_is_made(annotation: Any, default: Any, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        _declare(annotation, x=default)

    assert caught.value.message == f"Import: the default of parameter 'x' can't be {reason}"


def test_none_is_the_default_of_a_bounded_parameter_that_may_be_left_out() -> None:
    assert getattr(_declare(Annotated[int, Meta(ge=1)], x=None)(), "x") is None  # noqa: B009


class Deploy(LiveOperation):
    source: Path
    region: str
    limit: int = 1000


def test_an_unknown_parameter_is_refused_with_the_nearest_match() -> None:
    with pytest.raises(UsageError) as caught:
        Deploy(sorce="a", region="eu")

    assert (caught.value.message, caught.value.hint) == ("Deploy has no parameter 'sorce'", "did you mean 'source'?")


def test_an_unknown_parameter_like_no_other_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(UsageError) as caught:
        Deploy(xyz=1)

    assert (caught.value.message, caught.value.hint) == (
        "Deploy has no parameter 'xyz'",
        "its parameters: source, region, limit",
    )


def test_an_unknown_parameter_of_an_operation_without_any_is_refused() -> None:
    class Bare(LiveOperation): ...

    with pytest.raises(UsageError) as caught:
        Bare(xyz=1)

    assert (caught.value.message, caught.value.hint) == ("Bare has no parameter 'xyz'", "its parameters: none")


def test_every_parameter_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        Deploy(limit=3)

    assert caught.value.message == "Deploy needs a value for 'source', 'region'"


def _declare(annotation: Any, **default: Any) -> type[LiveOperation]:
    return type("Import", (LiveOperation,), {"__annotations__": {"x": annotation}, **default})


class Plain: ...


@pytest.mark.parametrize(
    "annotation",
    [
        list,
        dict,
        set[int],
        tuple[int, ...],
        dict[str, int],
        list[list[int]],
        int | str,
        bytes,
        object,
        Any,
        Plain,
        None,
        Literal["a", None],  # noqa: PYI061 - that is the case
        Callable[[], None],
    ],
    ids=str,
)
def test_a_type_that_can_not_be_a_parameter_is_refused_when_the_class_is_made(annotation: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        _declare(annotation)

    assert caught.value.message.startswith("Import: parameter 'x' has a type that can't be a parameter: ")
    assert caught.value.hint == (
        "use str, int, float, bool, Path, datetime, date, timedelta, Decimal, UUID, an Enum, a Literal, Secret, "
        "a list of one of these, or X | None"
    )


def test_an_enum_of_what_no_option_can_spell_is_refused_when_the_class_is_made() -> None:
    class Corner(enum.Enum):
        TOP = (0, 1)

    with pytest.raises(RecipeError, match=r"^Import: parameter 'x' has a type that can't be a parameter: "):
        _declare(Corner)


@pytest.mark.parametrize("default", [[], [1], {}, {1}, Plain()])
def test_a_default_that_could_be_changed_is_refused_when_the_class_is_made(default: object) -> None:
    with pytest.raises(RecipeError) as caught:
        _declare(list[int], x=default)

    assert (caught.value.message, caught.value.hint) == (
        f"Import: parameter 'x' has a mutable default: {default!r}",
        "use a tuple for the default of a list",
    )


@pytest.mark.parametrize(
    ("annotation", "default"),
    [(int, "many"), (str, 5), (Colour, "green"), (Literal["a", "b"], "c"), (list[int], ("a",)), (list[int], "12")],
    ids=str,
)
def test_a_default_that_does_not_fit_is_refused_when_the_class_is_made(annotation: Any, default: Any) -> None:
    with pytest.raises(RecipeError, match=r"^Import: the default of parameter 'x' can't be "):
        _declare(annotation, x=default)


def test_a_default_of_none_makes_a_parameter_optional() -> None:
    assert _declare(int, x=None).parameters == {"x": Parameter(name="x", type=int, optional=True, default=None)}


def test_a_secret_may_be_the_default_of_a_secret() -> None:
    assert getattr(_declare(Secret, x=Secret("dev"))(), "x").reveal() == "dev"  # noqa: B009


NEEDED = {name for name in vars(LiveOperation) if name[0] != "_"} - {
    "stages",
    "timeout",
    "exclusive",
    "tags",
    "confirm",
}


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *NEEDED,
            *("pk", "id", "owner", "current_stage", "stage_states", "created_on", "started_on", "finished_on"),
            *("finished_successfully", "cancel_requested", "cancelled", "traceback", "result_context", "state"),
            *("target", "progress", "journal", "timestamps", "run_id_file", "dry_run"),
        }
    ),
)
def test_a_name_that_every_run_has_or_needs_is_refused_when_the_class_is_made(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        type("Import", (LiveOperation,), {"__annotations__": {name: int}, name: 1})

    assert (caught.value.message, caught.value.hint) == (
        f"Import: parameter {name!r} has the name of a field or option that every run has",
        "choose another name",
    )


@pytest.mark.parametrize(("name", "value"), [("stages", ["a"]), ("timeout", 5), ("exclusive", True)])
def test_a_setting_is_no_parameter_when_its_author_annotates_it(name: str, value: object) -> None:
    operation: type[LiveOperation] = type("Import", (LiveOperation,), {"__annotations__": {name: Any}, name: value})

    assert (operation.parameters, operation.__annotations__) == ({}, {name: Any})


class Base(LiveOperation):
    source: Path
    limit: int = 1


class Left(Base):
    limit: int = 2


class Right(Base):
    extra: str = "r"


class Both(Right, Left): ...


def test_a_subclass_has_the_parameters_of_its_bases_before_its_own() -> None:
    assert Right.parameters == {
        "source": Parameter(name="source", type=Path),
        "limit": Parameter(name="limit", type=int, default=1),
        "extra": Parameter(name="extra", type=str, default="r"),
    }


def test_a_subclass_may_declare_a_parameter_anew_and_leaves_its_base_alone() -> None:
    assert (Left(source="a").limit, Base(source="a").limit) == (2, 1)


def test_the_defaults_of_a_diamond_follow_the_order_in_which_python_looks_them_up() -> None:
    assert (Both.limit, Both(source="a").limit) == (2, 2)


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Import a text as a module that postpones its annotations."""
    name = "postponed_recipe"

    def load(source: str) -> ModuleType:
        file = tmp_path / f"{name}.py"
        file.write_text(f"from __future__ import annotations\nfrom stagerun import LiveOperation, Secret\n{source}")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    sys.modules.pop(name, None)


def test_annotations_may_be_postponed(load: Callable[[str], ModuleType]) -> None:
    module = load("""
from datetime import date
from pathlib import Path
from typing import Annotated, ClassVar, Literal

class Import(LiveOperation):
    stages: ClassVar[list[str]] = ["Load"]
    shared: ClassVar[int] = 3
    source: Path
    since: date | None = None
    tags: Annotated[list[str], "what to look for"] = ("a",)
    mode: Literal["fast", "safe"] = "safe"
    token: Secret | None = None
""")

    assert module.Import.parameters == {
        "source": Parameter(name="source", type=Path),
        "since": Parameter(name="since", type=dt.date, optional=True, default=None),
        "tags": Parameter(name="tags", type=str, many=True, default=("a",), help="what to look for"),
        "mode": Parameter(name="mode", type=Literal["fast", "safe"], default="safe"),
        "token": Parameter(name="token", type=Secret, optional=True, default=None),
    }
    assert module.Import(source="a").params() == {
        "source": "a",
        "since": None,
        "tags": ["a"],
        "mode": "safe",
        "token": None,
    }


def test_a_postponed_annotation_that_names_nothing_is_refused_with_the_way_out(
    load: Callable[[str], ModuleType],
) -> None:
    with pytest.raises(RecipeError) as caught:
        load("class Import(LiveOperation):\n    source: Path\n")

    assert (caught.value.message, caught.value.hint) == (
        "Import: the type of 'source' can't be resolved: name 'Path' is not defined",
        "import Path at the top of the recipe",
    )


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("hush")

    assert [str(secret), repr(secret), f"{secret}", f"{secret!r:>12}", "%s" % secret] == [  # noqa: UP031
        "***",
        "Secret(***)",
        "***",
        " Secret(***)",
        "***",
    ]
    assert secret.reveal() == "hush"


def test_secrets_are_equal_by_value_and_never_equal_to_text() -> None:
    assert (Secret("a") == Secret("a"), Secret("a") == Secret("b"), Secret("a") == "a") == (True, False, False)
    assert {Secret("a"): 1}[Secret("a")] == 1


def test_a_secret_is_never_pickled() -> None:
    with pytest.raises(TypeError, match=r"^a Secret can't be pickled: reveal\(\) it where it is used$"):
        pickle.dumps(Secret("hush"))


def test_a_secret_that_does_not_fit_is_refused_without_being_shown() -> None:
    with pytest.raises(UsageError) as caught:
        Parameter(name="token", type=Secret).convert(12345)

    assert caught.value.message.startswith("parameter 'token' can't be ***: ")
    assert "12345" not in caught.value.message
