"""The result of a run: whatever a recipe hands over, as a JSON object for people and scripts.

A result is never read back, so nothing is refused: what JSON can't hold is recorded as its `repr`.
"""

import datetime as dt
import decimal
import enum
import math
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import PurePath
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final

import msgspec

from stagerun import events
from stagerun.authoring.session import Session
from stagerun.errors import RecipeError
from stagerun.text import json_text, wording
from stagerun.text.secrets import Secret


_DEEPEST: Final = 100
_LONGEST: Final = 10_000  # characters of a repr
_LONGEST_INTEGER: Final = 14_000  # bits; Python writes at most 4,300 digits (sys.int_info)
_PLAIN: Final = (str, int, float, type(None))
_DATES: Final = (dt.datetime, dt.date, dt.time)
_AS_TEXT: Final = (PurePath, decimal.Decimal, uuid.UUID, Secret)
_NOT_DONE: Final = {GeneratorType: "generator", CoroutineType: "coroutine", AsyncGeneratorType: "async generator"}


def record(session: Session, context: object, extra: Mapping[str, Any]) -> None:
    """Set the run's result to what `p.result` was given; RecipeError if `context` has no names for its values."""
    conversion = _Conversion()
    result = {} if context is None else conversion.converted(context)
    if not isinstance(result, dict):
        raise RecipeError(f"p.result needs a dict, not {type(context).__name__}", "p.result(value=...)")
    result |= conversion.converted(extra)
    if conversion.odd:
        session.lines.warn(conversion.told())
    if (key := session.inside_a_key()) is not None and key not in session.results_inside:
        session.results_inside.add(key)
        session.lines.warn(
            f"p.result was called inside of {key!r}: a resumed run that does not do that again lacks this result; "
            "call it in run, behind that"
        )
    session.emit(events.ResultSet(result=result))


def record_returned(session: Session, returned: object) -> None:
    """Set the run's result to a mapping that `run` returned; warn of any other value.

    Raises RecipeError for a generator or a coroutine: its work was not done.
    """
    if (kind := _NOT_DONE.get(type(returned))) is not None:
        raise RecipeError(
            f"run returned {wording.with_article(kind)}, and nothing has run it",
            "write def run(self, p), and do the work",
        )
    if isinstance(returned, Mapping):
        record(session, returned, {})
    else:
        what = type(returned).__name__
        session.lines.warn(f"run returned a value of type {what}, which is not kept; return a dict, or use p.result")


class _Conversion:
    """Converts one result, and keeps which parts of it became their `repr`.

    Attributes:
        odd: the path and the kind of each of these parts.

    """

    def __init__(self) -> None:
        self.odd: list[tuple[str, str]] = []
        self._path: list[str] = []
        self._open: set[int] = set()

    def told(self) -> str:
        """Return one sentence about the parts that became their `repr`."""
        path, kind = self.odd[0]
        more = f", and that of {wording.count(len(self.odd) - 1, 'more part')}" if len(self.odd) > 1 else ""
        return f"JSON can't hold {path}, {kind}; its repr is recorded{more}"

    def converted(self, value: Any) -> Any:
        """Return `value` as JSON values. It never fails, whatever the value does."""
        try:
            if isinstance(value, enum.Enum):
                value = value.value
            return self._plain(value) if isinstance(value, _PLAIN) else self._other(value)
        except Exception:
            return self._repr(value)

    def _plain(self, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, int):
            return int(value) if value.bit_length() <= _LONGEST_INTEGER else self._repr(value)
        return float(value) if math.isfinite(value) else self._repr(float(value))

    def _other(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._object(value, value.items())
        if isinstance(value, list | tuple | AbstractSet):
            return self._array(value)
        if isinstance(value, _AS_TEXT):
            return _text(str(value))
        if isinstance(value, dt.timedelta):
            return msgspec.to_builtins(dt.timedelta(value.days, value.seconds, value.microseconds))
        if isinstance(value, dt.date | dt.time):
            # A class of a library, such as pandas.Timestamp, is not known to msgspec, which converts parameters.
            return msgspec.to_builtins(value) if type(value) in _DATES else value.isoformat()
        if hasattr(type(value), "__dataclass_fields__"):
            from dataclasses import fields

            return self._object(value, ((each.name, getattr(value, each.name)) for each in fields(value)))
        return self._scalar(value)

    def _object(self, value: object, items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        with self._inside(value):
            return {self._key(key): self._part(repr(key), each) for key, each in items}

    def _array(self, value: Collection[Any]) -> list[Any]:
        with self._inside(value):
            parts = [self._part(str(position), each) for position, each in enumerate(value)]
        if not isinstance(value, AbstractSet):
            return parts
        try:
            return sorted(parts)
        except TypeError:
            return sorted(parts, key=json_text.dumps)

    def _part(self, name: str, value: object) -> Any:
        self._path.append(name)
        try:
            return self.converted(value)
        finally:
            self._path.pop()

    def _key(self, key: object) -> str:
        """Return a key as text: a number as JSON writes it."""
        plain = self._part(repr(key), key)
        if isinstance(plain, dict | list):
            plain = self._repr(key)
        return plain if isinstance(plain, str) else json_text.dumps(plain)

    def _scalar(self, value: Any) -> Any:
        """Return what `item()` of a scalar of numpy returns, else the `repr`."""
        if getattr(value, "ndim", 0) == 0 and callable(item := getattr(value, "item", None)):
            found = item()
            if isinstance(found, (*_PLAIN, dt.date, dt.timedelta)):
                return self.converted(found)
        return self._repr(value)

    def _repr(self, value: object) -> str:
        kind = f"the number {value}" if isinstance(value, float) else wording.with_article(type(value).__name__)
        self.odd.append((f"result{''.join(f'[{each}]' for each in self._path)}", kind))
        try:
            text = repr(value)
        except Exception:
            return f"<{type(value).__name__} that can't be shown>"
        # Never cut it: a part of a secret would not be masked.
        return _text(text) if len(text) <= _LONGEST else f"<{type(value).__name__} with a long repr>"

    @contextmanager
    def _inside(self, value: object) -> Iterator[None]:
        """Refuse the parts of a value that is inside of itself, or too deep."""
        if id(value) in self._open or len(self._open) >= _DEEPEST:
            raise RecursionError
        self._open.add(id(value))
        try:
            yield
        finally:
            self._open.discard(id(value))


def _text(text: str) -> str:
    """Return `text` as it comes back from JSON: as a plain `str`, with a surrogate pair as one character."""
    text = str.__str__(text)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
