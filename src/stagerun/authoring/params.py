"""Declared parameters: what an operation accepts, and the one conversion of values to their types.

Values come from a command line, the environment, a form, a journal or Python; all go through `Parameter.convert`.
"""

import contextlib
import datetime as dt
import decimal
import enum
import inspect
import math
import re
import sys
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args, get_origin

import msgspec
from msgspec import Struct

from stagerun.errors import RecipeError, UsageError
from stagerun.text import wording
from stagerun.text.secrets import Secret


if typing.TYPE_CHECKING:
    from stagerun.authoring.bounds import Bound


class _Missing(enum.Enum):
    MISSING = "missing"


# Attributes of an operation that are not parameters, even if the author annotates them.
SETTINGS: Final = frozenset({"stages", "timeout", "exclusive"})
MISSING: Final = _Missing.MISSING
_SCALARS: Final = frozenset(
    {str, int, float, bool, Path, dt.datetime, dt.date, dt.timedelta, decimal.Decimal, uuid.UUID}
)
_EXPECTED: Final = {int: "a whole number", float: "a number", bool: "true or false", dt.datetime: "a date and time"}
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
_DURATION: Final = r"(?:\d+(?:\.\d+)?(?:ms|[dhms]))+"
_DURATION_PART: Final = r"(\d+(?:\.\d+)?)(ms|[dhms])"
_WAYS_TO_BOUND: Final = (
    "int (whole numbers of 64 bits) and float take gt, ge, lt, le, multiple_of; str takes pattern, min_length, "
    "max_length; datetime takes tz; a list takes min_length, max_length, and its items what stands inside it: "
    "list[Annotated[int, Meta(ge=1)]]"
)
_IMMUTABLE: Final = (*_SCALARS, tuple, type(None), enum.Enum, Secret)


class Parameter(Struct, frozen=True, kw_only=True):
    """One declared parameter.

    Attributes:
        name: the attribute's name; the option is `--name` with dashes.
        type: the declared type without None, Annotated or list.
        many: True for `list[type]`.
        optional: True if None is allowed.
        default: the declared default, or MISSING.
        help: the text of `Annotated[type, "text"]`, or "".
        bounds: limits on the value beyond its type; for a list, on its length.
        item_bounds: limits on each item of a list.

    """

    name: str
    type: Any
    many: bool = False
    optional: bool = False
    default: Any = MISSING
    help: str = ""
    bounds: "tuple[Bound, ...]" = ()
    item_bounds: "tuple[Bound, ...]" = ()

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def option(self) -> str:
        """`--source`; for a bool also the spelling for no; for a secret the option that reads a file."""
        name = self.name.replace("_", "-")
        if self.secret:
            return f"--{name}-file"
        return f"--{name}/--no-{name}" if self.type is bool and not self.many else f"--{name}"

    @property
    def variable(self) -> str:
        """Return the environment variable that sets it."""
        return f"STAGERUN_{self.name.upper()}"

    @property
    def secret(self) -> bool:
        return self.type is Secret

    @property
    def choices(self) -> tuple[Any, ...]:
        """Return the legal values of a Literal or an Enum, () for any other type."""
        if get_origin(self.type) is Literal:
            return get_args(self.type)
        if isinstance(self.type, type) and issubclass(self.type, enum.Enum):
            return tuple(member.value for member in self.type)
        return ()

    @property
    def type_name(self) -> str:
        name = "literal" if get_origin(self.type) is Literal else self.type.__name__.lower()
        return f"list of {name}" if self.many else name

    @property
    def rules(self) -> str:
        """Return the limits in words, "must be at least 1", or ""."""
        from stagerun.authoring import bounds

        told = (("must", self.bounds), ("each must", self.item_bounds))
        return "; ".join(f"{subject} {bounds.told(limits)}" for subject, limits in told if limits)

    def convert(self, value: Any) -> Any:
        """Return `value` as the declared type; UsageError names the parameter and what does not fit."""
        if value is None and self.optional:
            return None
        if not self.many:
            return self._within(self._convert_one(value), self.bounds)
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            self._refuse(value, "a list is expected")
        items = [self._within(self._convert_one(each), self.item_bounds) for each in value]
        return self._within(items, self.bounds)

    def to_json(self, value: Any) -> Any:
        """Return `value` as JSON values that `convert` turns back into it; a secret becomes `***`."""
        if isinstance(value, list | tuple):
            return [self.to_json(each) for each in value]
        if isinstance(value, enum.Enum):
            return value.value
        if isinstance(value, Secret | Path):
            return str(value)
        if value is None or isinstance(value, str | int | float):
            return value
        return msgspec.to_builtins(value)

    def _convert_one(self, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            self._refuse(value, "a finite number is expected")
        if type(value) is self.type:
            return value
        if self.type is Secret:
            return value if isinstance(value, Secret) else Secret(self._convert_with_msgspec(value, str))
        if self.type is Path:
            return value if isinstance(value, Path) else Path(self._convert_with_msgspec(value, str))
        if self.type is dt.timedelta and isinstance(value, str) and re.fullmatch(_DURATION, value):
            parts = re.findall(_DURATION_PART, value)
            try:
                return sum((dt.timedelta(**{_UNITS[u]: float(n)}) for n, u in parts), dt.timedelta())
            except OverflowError:
                self._refuse(value, "it is too long")
        if self.type is bool and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
            return value.lower() in ("yes", "on")
        if self.type is dt.datetime and isinstance(value, str):
            # msgspec requires seconds and a "T"; Python reads all of ISO 8601.
            with contextlib.suppress(ValueError):
                return dt.datetime.fromisoformat(value)
        return self._convert_with_msgspec(value, self.type)

    def _convert_with_msgspec(self, value: Any, kind: Any) -> Any:
        try:
            converted = msgspec.convert(value, kind, strict=False)
        except (msgspec.ValidationError, ValueError, TypeError, OverflowError) as error:
            if self.choices:
                self._refuse(value, "one of " + ", ".join(map(str, self.choices)) + " is expected")
            if isinstance(value, str):
                self._refuse(value, f"{_EXPECTED.get(kind) or wording.with_article(self.type_name)} is expected")
            self._refuse(value, str(error)[:1].lower() + str(error)[1:])
        if isinstance(converted, float) and not math.isfinite(converted):
            self._refuse(value, "a finite number is expected")
        return converted

    def _within(self, value: Any, limits: "tuple[Bound, ...]") -> Any:
        for each in limits:
            if not each.holds(value):
                self._refuse(self.to_json(value), f"it must {each.words}")
        return value

    def _refuse(self, value: Any, reason: str) -> NoReturn:
        shown = "***" if self.secret else repr(value)
        raise UsageError(f"parameter {self.name!r} can't be {shown}: {reason}")


def declare(owner: type, reserved: frozenset[str], ignored: frozenset[str]) -> dict[str, Parameter]:
    """Return the parameters that class `owner` itself annotates, except for the names in `ignored`.

    Raises RecipeError, naming class and parameter, for a type that can't be a parameter, a default that does not
    fit or is mutable, and a name in `reserved`.
    """
    declared: dict[str, Parameter] = {}
    for name, hint in _hints(owner, ignored).items():
        if get_origin(hint) is typing.ClassVar or hint is typing.ClassVar:
            continue
        if name in reserved:
            raise RecipeError(
                f"{owner.__name__}: parameter {name!r} has the name of a field or option that every run has",
                "choose another name",
            )
        declared[name] = _parameter(owner, name, hint, owner.__dict__.get(name, MISSING))
    return declared


def check(owner: str, parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a typed value for every parameter, from `given` or its default; UsageError names what is wrong."""
    for name in given:
        if name not in parameters:
            from stagerun.text import suggestions

            hint = suggestions.hint(name, parameters, "its parameters")
            raise UsageError(f"{owner} has no parameter {name!r}", hint)
    missing = [each for each in parameters.values() if each.required and each.name not in given]
    if missing:
        ways = ", ".join(f"--{each.name.replace('_', '-')} or {each.variable}" for each in missing)
        raise UsageError(f"{owner} needs a value for {', '.join(repr(each.name) for each in missing)}", f"give {ways}")
    return {name: each.convert(given.get(name, each.default)) for name, each in parameters.items()}


def _hints(owner: type, ignored: frozenset[str]) -> dict[str, Any]:
    own = {
        name: hint
        for name, hint in inspect.get_annotations(owner).items()
        if not name.startswith("_") and name not in ignored
    }
    scope = dict(vars(sys.modules.get(owner.__module__, types)))
    hints = {}
    for name, hint in own.items():
        if isinstance(hint, str):
            try:
                hints[name] = eval(hint, scope, dict(vars(owner)))  # noqa: S307 - the recipe's own annotation
            except Exception as error:
                raise RecipeError(
                    f"{owner.__name__}: the type of {name!r} can't be resolved: {error}",
                    f"import {hint} at the top of the recipe",
                ) from None
        else:
            hints[name] = hint
    return hints


def _parameter(owner: type, name: str, hint: Any, default: Any) -> Parameter:
    where = f"{owner.__name__}: parameter {name!r}"
    hint, outer = _without_notes(hint)
    hint, optional = _without_none(hint)
    hint, inner = _without_notes(hint)
    notes, item_notes = [*outer, *inner], list[object]()
    many = get_origin(hint) is list
    if many:
        (hint,) = get_args(hint)
        hint, item_notes = _without_notes(hint)
    if not _is_supported(hint) or (many and hint is Secret):
        raise RecipeError(
            f"{where} has a type that can't be a parameter: {getattr(hint, '__name__', hint)}",
            "use str, int, float, bool, Path, datetime, date, timedelta, Decimal, UUID, an Enum, a Literal, Secret, "
            "a list of one of these, or X | None",
        )
    parameter = Parameter(
        name=name,
        type=hint,
        many=many,
        optional=optional or default is None,
        default=default,
        help=next((each for each in (*notes, *item_notes) if isinstance(each, str)), ""),
        bounds=_bounds(where, list if many else hint, notes),
        item_bounds=_bounds(where, hint, item_notes),
    )
    if default is MISSING:
        return parameter
    if hasattr(type(default), "__get__"):
        raise RecipeError(f"{where} is also a method or a property of the class", "choose another name for one of them")
    if not isinstance(default, _IMMUTABLE):
        raise RecipeError(
            f"{where} has a mutable default: {default!r}",
            "use a tuple for the default of a list" if many else None,
        )
    try:
        parameter.convert(default)
    except UsageError as error:
        raise RecipeError(f"{owner.__name__}: the default of {error.message}") from None
    return parameter


def _bounds(where: str, kind: Any, notes: Sequence[object]) -> "tuple[Bound, ...]":
    """Return the bounds that `notes` set on values of type `kind`; RecipeError for one that it can't have."""
    if not any(isinstance(each, msgspec.Meta) for each in notes):
        return ()
    from stagerun.authoring import bounds

    declared = bounds.declared(kind, notes)
    unfit = bounds.unfit(declared)
    if unfit is not None:
        raise RecipeError(
            f"{where} has a bound that {getattr(unfit.type, '__name__', unfit.type)} can't have: "
            f"{unfit.name}={unfit.limit!r}",
            _WAYS_TO_BOUND,
        )
    return declared


def _without_notes(hint: Any) -> tuple[Any, list[object]]:
    """Return the type inside an Annotated, and the metadata."""
    if get_origin(hint) is not typing.Annotated:
        return hint, []
    kind, *notes = get_args(hint)
    return kind, notes


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [each for each in get_args(hint) if each is not types.NoneType]
        if len(kinds) == 1:
            return kinds[0], True
    return hint, False


def _is_supported(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return all(isinstance(each, str | int) for each in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        values = [member.value for member in hint]
        return all(isinstance(each, str) for each in values) or all(type(each) is int for each in values)
    return hint in _SCALARS or hint is Secret
