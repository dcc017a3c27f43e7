"""Converting a recipe's values to JSON, exactly, or saying why that fails."""

import math
import re
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from stagerun.errors import RecipeError
from stagerun.text import json_text, wording


LIMIT: Final = 16 * 1024 * 1024  # bytes of JSON

_LONGEST_INTEGER: Final = 14_000  # bits; Python reads back at most 4,300 digits (sys.int_info)
_DEEPEST: Final = 200
_PAIR: Final = "[\ud800-\udbff][\udc00-\udfff]"


def exact(value: object, what: str) -> Any:
    """Return `value` if it survives JSON unchanged; else RecipeError names the part that would come back different."""
    _check(value, what, 0)
    return value


def check_size(plain: object, what: str) -> None:
    """Raise RecipeError if a JSON value is too large to store."""
    size = len(json_text.dumps(plain).encode())
    if size > LIMIT:
        raise RecipeError(
            f"{what} has {size:,} bytes; the limit is {LIMIT:,}", "store a file, and its path as the checkpoint"
        )


def to_builtins(value: object, kind: Any, what: str) -> Any:
    """Return `value` as JSON values that `from_builtins` turns into the same value; RecipeError if it can't."""
    try:
        plain = _lists(msgspec.to_builtins(value, enc_hook=_encode))
        same = from_builtins(plain, kind)
    except (TypeError, ValueError, NotImplementedError, RecursionError, msgspec.ValidationError) as error:
        raise RecipeError(f"{what} can't be stored as {_name(kind)}: {error}") from None
    if not _alike(same, value):
        raise RecipeError(
            f"{what} would come back different from {_name(kind)}: {shown(value)} as {shown(same)}",
            "give its real type with type=...",
        )
    return exact(plain, what)


def from_builtins(plain: Any, kind: Any) -> Any:
    """Return the value that `to_builtins` converted."""
    return msgspec.convert(plain, kind, dec_hook=_decode)


def recalled(plain: Any, kind: Any, what: str) -> Any:
    """Return a stored value as `kind`; RecipeError if it no longer fits."""
    try:
        value = from_builtins(plain, kind)
        if to_builtins(value, kind, what) == plain:
            return value
        raise RecipeError(f"{what} would lose a part of what is stored", "to make it again: --from STAGE")
    except (TypeError, ValueError, NotImplementedError, msgspec.ValidationError) as error:
        raise RecipeError(
            f"{what} was stored as something other than {_name(kind)}: {error}", "to compute it again: --from STAGE"
        ) from None


def _alike(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(each, other[key]) for key, each in one.items())
    import dataclasses

    if dataclasses.is_dataclass(one):
        return all(_alike(getattr(one, each.name), getattr(other, each.name)) for each in dataclasses.fields(one))
    return one == other


def _check(value: object, path: str, depth: int) -> None:
    kind = type(value)
    if kind not in _EXACT:
        advice = _ADVICE.get(kind.__name__, "give its type with type=..., or convert it")
        _refuse(path, wording.with_article(kind.__name__), advice)
    if depth > _DEEPEST:
        _refuse(path, f"more than {_DEEPEST} levels", "store a flatter value")
    if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
        _refuse(path, "an integer of more than 4,000 digits", "store it as text")
    if isinstance(value, str) and not value.isascii() and re.search(_PAIR, value):
        _refuse(path, "a surrogate pair, which would come back as one character", "decode it first")
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(path, repr(value), "store None instead")
    _check_parts(value, path, depth)


def _check_parts(value: object, path: str, depth: int) -> None:
    if isinstance(value, list):
        for index, each in enumerate(value):
            _check(each, f"{path}[{index}]", depth + 1)
    if isinstance(value, dict):
        for key, each in value.items():
            if type(key) is not str:
                _refuse(path, f"the key {shown(key)}, which would come back as text", "use str(key)")
            _check(key, f"{path}[{key!r}]", depth + 1)
            _check(each, f"{path}[{key!r}]", depth + 1)


_EXACT: Final = frozenset({type(None), bool, str, int, float, list, dict})
_ADVICE: Final = {
    "tuple": "use a list, or give its type with type=...",
    "set": "use a sorted list, or give its type with type=...",
    "bytes": "store a file and its path, or text",
}


def _refuse(path: str, what: str, hint: str) -> NoReturn:
    raise RecipeError(f"JSON can't restore {path} exactly: it holds {what}", hint)


def _lists(value: Any) -> Any:
    """Return `value` with lists instead of tuples."""
    if isinstance(value, list | tuple):
        return [_lists(each) for each in value]
    return {key: _lists(each) for key, each in value.items()} if isinstance(value, dict) else value


def _encode(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{wording.with_article(type(value).__name__)} can't be stored")


def _decode(kind: type, value: object) -> object:
    if issubclass(kind, Path):
        return kind(str(value))
    raise NotImplementedError(f"{wording.with_article(kind.__name__)} can't be read back")


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:
        text = f"a long {type(value).__name__}"
    # Never cut it: a part of a secret would not be masked.
    return text if len(text) <= 80 else f"a long {type(value).__name__}"
