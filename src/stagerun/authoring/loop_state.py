"""The state of a resumable loop: a dict of the recipe, copied between two items, and restored in place.

A state belongs to the moment between two items, which only the recipe's thread sees. It is copied there at every item:
the top level, which is exact for plain totals, or all of it if it has lists or dicts in it and is small. A large one is
copied when the ticker has asked for it.
"""

import marshal
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import zip_longest
from typing import Any, Final

from stagerun.authoring import stored_values
from stagerun.errors import RecipeError
from stagerun.text import json_text
from stagerun.text.masking import Masker


LIMIT: Final = 1024 * 1024  # bytes of JSON
_RATE: Final = 32 * 1024  # bytes that are stored a second: a large state is stored less often
_SMALL: Final = 4 * 1024  # bytes of a state that is copied whole at every item
_SHARE: Final = 20  # copying takes at most a twentieth of the time


class LoopState:
    """The state of one loop.

    Attributes:
        key: the loop's.
        values: the recipe's dict.
        whole: True if it is small and nested, or empty: then its top level alone is no copy.
        at_item: how many items were finished when it was copied at an item, and the copy.
        told: True if the recipe was warned that a loop inside changes it.
        pause: seconds between two whole copies.
        interval: seconds between two times that it is stored.

    """

    def __init__(self, key: str, values: object, masker: Masker, monotonic: Callable[[], float]) -> None:
        if not isinstance(values, dict):
            raise RecipeError(f"the state of loop {key!r} must be a dict, not {stored_values.shown(values)}")
        self.key = key
        self.values: dict[str, Any] = values
        self.told = False
        self.pause = self.interval = 0.0
        self._what = f"the state of loop {key!r}"
        self._masker = masker
        self._monotonic = monotonic
        self.whole = False
        self.at_item: tuple[int, dict[str, Any] | bytes] = -1, {}
        self._copy: tuple[int, dict[str, Any]] = -1, {}

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Put the stored values into the recipe's dict."""
        _restored(self.values, dict(stored))

    def text(self) -> str:
        return json_text.dumps(self.values)

    def note(self, done: int) -> None:
        """Copy what can be copied at every item; `done` items are finished. `count` does it inline for plain totals."""
        top = {**self.values}
        try:
            # Ten times as fast as any other deep copy; it never leaves this process.
            self.at_item = done, marshal.dumps(top) if self.whole else top
        except ValueError:
            self.copy(done)

    def copy(self, done: int) -> None:
        """Copy all of it; RecipeError if it can't be restored exactly."""
        began = self._monotonic()
        plain = stored_values.exact(dict(self.values), self._what)
        text = json_text.dumps(plain)
        if len(text) > LIMIT:
            raise RecipeError(
                f"{self._what} has {len(text):,} bytes; the limit is {LIMIT:,}", "store a file, and its path in it"
            )
        if self._masker.holds(plain):
            raise RecipeError(f"{self._what} contains a secret, which the journal must not store", "leave it out")
        self._copy = done, json_text.loads(text, dict[str, Any])
        self.whole = len(text) <= _SMALL and (not plain or not _is_flat(plain))  # an empty one can become either
        self.pause = _SHARE * (self._monotonic() - began)
        self.interval = len(text) / _RATE

    def newest(self) -> tuple[int, dict[str, Any]]:
        """Return how many items were finished at the newest copy that can be stored, and that copy."""
        done, top = self.at_item
        if done <= self._copy[0]:
            return self._copy
        state = marshal.loads(top) if isinstance(top, bytes) else top  # noqa: S302 - our own bytes
        unchanged = isinstance(top, bytes) or _is_flat(state)
        fits = unchanged and _is_exact(state) and len(json_text.dumps(state)) <= LIMIT
        return (done, state) if fits and not self._masker.holds(state) else self._copy


def _is_flat(state: dict[str, Any]) -> bool:
    """Return True if no part of the state can change."""
    return not any(isinstance(value, list | dict) for value in state.values())


def _is_exact(state: dict[str, Any]) -> bool:
    with suppress(RecipeError):
        stored_values.exact(state, "")
        return True
    return False


def _restored(there: Any, stored: Any) -> Any:
    """Return `stored`, put into what is there if that is of the same kind: the recipe may have a name for it."""
    if isinstance(there, dict) and isinstance(stored, dict):
        before = dict(there)
        there.clear()
        for key, value in stored.items():
            there[key] = _restored(before.get(key), value)
        return there
    if isinstance(there, list) and isinstance(stored, list):
        there[:] = [_restored(before, value) for before, value in zip_longest(there[: len(stored)], stored)]
        return there
    return stored
