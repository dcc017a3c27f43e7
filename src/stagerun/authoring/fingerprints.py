"""Fingerprints of items: a loop that goes on must find the items that it had before, in the same order."""

import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Final


_PLAIN: Final = frozenset({str, bytes, int, float, bool, type(None)})  # a subclass may have any repr
_DEEPEST: Final = 5


def fingerprint(item: object, holds: Callable[[str], bool]) -> int | None:
    """Return 32 bits that are the same in every process, or None for an item that has no such value.

    Args:
        item: plain values and lists, tuples and dicts of them have a fingerprint.
        holds: tells whether a text contains a secret; an item that does has none.

    """
    if not _is_plain(item, 0):
        return None
    text = repr(item)
    return None if holds(text) else zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _is_plain(item: object, depth: int) -> bool:
    if type(item) in _PLAIN or isinstance(item, PurePath):
        return True
    if depth > _DEEPEST:
        return False
    if type(item) in (list, tuple):
        return all(_is_plain(each, depth + 1) for each in item)  # type: ignore[attr-defined]
    if type(item) is dict:
        return all(_is_plain(key, depth + 1) and _is_plain(value, depth + 1) for key, value in item.items())
    return False
