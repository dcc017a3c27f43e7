"""Values that must come back exactly as they were: what a checkpoint may hold, and why not."""

import math
from pathlib import Path
from typing import Any, Final, NoReturn

from stagerun.errors import RecipeError


LIMIT: Final = 16 * 1024 * 1024  # bytes of JSON

_LONGEST_INTEGER: Final = 14_000  # bits; Python reads no more than 4,300 digits back (sys.int_info)
_DEEPEST: Final = 200


def exact(value: object, what: str) -> Any:
    """Return `value` if JSON gives it back exactly; RecipeError names the part that would come back different."""
    _check(value, what, 0)
    return value


def to_builtins(value: object, kind: Any, what: str) -> Any:
    """Return `value` as JSON values that `from_builtins` turns into the same value; RecipeError if it can't."""
    import msgspec

    try:
        plain = msgspec.to_builtins(value, enc_hook=_encode)
        same = from_builtins(plain, kind)
    except (TypeError, ValueError, msgspec.ValidationError) as error:
        raise RecipeError(f"{what} can't be stored as {_name(kind)}: {error}") from None
    if same != value:
        raise RecipeError(
            f"{what} would come back different from {_name(kind)}: {_shown(value)} as {_shown(same)}",
            "state the type that it really has",
        )
    return exact(plain, what)


def from_builtins(plain: Any, kind: Any) -> Any:
    """Return what `to_builtins` took apart."""
    import msgspec

    return msgspec.convert(plain, kind, dec_hook=_decode)


def _check(value: object, path: str, depth: int) -> None:
    kind = type(value)
    if kind not in _EXACT:
        _refuse(path, f"a {kind.__name__}", _ADVICE.get(kind.__name__, "give its type with type=..., or convert it"))
    if depth > _DEEPEST:
        _refuse(path, f"more than {_DEEPEST} levels", "store a flatter value")
    if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
        _refuse(path, "an integer of more than 4,000 digits", "store it as text")
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(path, repr(value), "store None instead")
    if isinstance(value, list):
        for index, each in enumerate(value):
            _check(each, f"{path}[{index}]", depth + 1)
    if isinstance(value, dict):
        for key, each in value.items():
            if type(key) is not str:
                _refuse(path, f"the key {_shown(key)}, which would come back as text", "use str(key)")
            _check(each, f"{path}[{key!r}]", depth + 1)


_EXACT: Final = frozenset({type(None), bool, str, int, float, list, dict})
_ADVICE: Final = {
    "tuple": "use a list, or give its type with type=...",
    "set": "use a sorted list, or give its type with type=...",
    "bytes": "store a file and its path, or text",
}


def _refuse(path: str, what: str, hint: str) -> NoReturn:
    raise RecipeError(f"JSON can't give {path} back as it is: it holds {what}", hint)


def _encode(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a {type(value).__name__} can't be stored")


def _decode(kind: type, value: object) -> object:
    if issubclass(kind, Path):
        return kind(str(value))
    raise NotImplementedError(f"a {kind.__name__} can't be read back")


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"
