"""Fingerprints of items and arguments: what goes on must get what it had before, in the same order."""

import enum
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final


_PLAIN: Final = frozenset({str, bytes, int, float, bool, type(None)})
_READABLE: Final = frozenset({"datetime", "decimal", "uuid", "fractions", "pathlib", "zoneinfo"})
_MOST_PARTS: Final = 10_000
_LONG: Final = 64 * 1024  # characters or bytes
_DEEPEST: Final = 20


def fingerprint(value: object, holds: Callable[[str], bool]) -> int | None:
    """Return 32 bits that are the same in every process, or None for a value that has nothing to tell it by.

    Args:
        value: plain values, dates, decimals, enums, paths, dataclasses, rows, and lists, tuples, sets and dicts of
            them have a fingerprint. Other objects inside count as equal.
        holds: tells whether a text contains a secret; a value that does has none.

    """
    text = _plain(value) if type(value) in _PLAIN else _text(value, [_MOST_PARTS], 0)
    if text is None or holds(text):
        return None
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def is_constant(value: object) -> bool:
    """Return True if the value can't change, so that its fingerprint may be taken later."""
    return type(value) in _PLAIN or _is_readable(type(value)) or isinstance(value, enum.Enum)


def _is_readable(kind: type[Any]) -> bool:
    """Return True if values of that type can't change, and their text tells them apart."""
    return kind.__module__.partition(".")[0] in _READABLE  # "pathlib._local" in Python 3.13


def _plain(value: Any) -> str:
    """Return the value as Python quotes it; of a long one only what is cheap to know."""
    if type(value) in (str, bytes) and len(value) > _LONG:
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        return f"{len(value)} {zlib.crc32(data)}"
    return repr(value)


def _text(value: Any, left: list[int], depth: int) -> str | None:
    """Return what tells `value` from others, or None if nothing does or it has more parts than `left` counts down."""
    kind = type(value)
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        return None
    if kind in _PLAIN:
        return _plain(value)
    if _is_readable(kind):
        return f"{kind.__qualname__} {str(value)!r}"  # the repr of a date can hold that of a time zone: an address
    if kind is dict:
        return _all(f"{{{len(value)}", (each for pair in value.items() for each in pair), left, depth)
    if kind is list or isinstance(value, tuple) or (kind.__module__, kind.__name__) == ("sqlite3", "Row"):
        return _all(f"[{len(value)}", value, left, depth)
    if isinstance(value, set | frozenset):
        return "<" + ",".join(sorted(_text(each, left, depth + 1) or "?" for each in value))
    return _text_of_object(value, left, depth)


def _text_of_object(value: Any, left: list[int], depth: int) -> str | None:
    kind = type(value)
    if isinstance(value, enum.Enum):
        return f"{kind.__qualname__}.{value.name}"
    if isinstance(value, str):
        return str.__repr__(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, dict):
        return _text(dict(value), left, depth)
    fields = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "__struct_fields__", None)
    if fields is not None:
        return kind.__qualname__ + _all("(", (getattr(value, name, None) for name in fields), left, depth)
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return repr(value.item())
    return None


def _all(mark: str, values: Iterable[Any], left: list[int], depth: int) -> str:
    """Return the texts of the values; those behind the last part that is looked at are left out."""
    texts = list[str]()
    for each in values:
        if left[0] < 0:
            break
        texts.append(_text(each, left, depth + 1) or "?")
    return f"{mark} {','.join(texts)}."
