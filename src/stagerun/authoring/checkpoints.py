"""What is stored under a key: a value that is computed once, or the position of a loop."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from stagerun import events
from stagerun.errors import RecipeError
from stagerun.text.masking import Masker


_T = TypeVar("_T")

Recalled: TypeAlias = events.CheckpointStored | events.PositionReached
Recall: TypeAlias = Callable[[str], Recalled | None]


class Checkpoints:
    """The keys of one run.

    Args:
        recall: returns what an earlier run stored under a key.
        emit: emits an event; a fact is durable when it returns.
        warn: writes a warning.
        masker: the secrets, which no key and no value may contain.
        check: raises if the run is to stop.
        sleep: waits the given seconds between two attempts.

    """

    def __init__(
        self,
        recall: Recall,
        *,
        emit: Callable[[events.Event], None],
        warn: Callable[[str], None],
        masker: Masker,
        check: Callable[[], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._recall = recall
        self._emit = emit
        self._warn = warn
        self._masker = masker
        self._check = check
        self._sleep = sleep
        self._keys: set[str] = set()

    def position(self, call: str, key: str) -> int:
        """Claim `key` for a loop of `p.<call>`; return how many of its items earlier runs finished."""
        recalled = self._claim(call, key)
        if recalled is None:
            return 0
        if not isinstance(recalled, events.PositionReached):
            raise RecipeError(f"the key {key!r} belongs to a checkpoint, not to a loop")
        return recalled.position

    def value(self, key: str, make: Callable[[], _T], *, kind: Any, attempts: int, stage: str | None) -> _T:
        """Return what is stored under `key`; if nothing is, call `make`, store its value and return it."""
        from stagerun.authoring import retries, stored_values

        what = f"checkpoint {key!r}"
        recalled = self._claim("checkpoint", key)
        if recalled is not None:
            if not isinstance(recalled, events.CheckpointStored):
                raise RecipeError(f"the key {key!r} belongs to a loop, not to a checkpoint")
            stored: _T = recalled.value if kind is None else stored_values.recalled(recalled.value, kind, what)
            return stored
        value = retries.attempt(
            make,
            attempts,
            sleep=self._wait,
            tell=lambda text: self._warn(f"{what}: {text}"),
        )
        self._check()
        plain = stored_values.exact(value, what) if kind is None else stored_values.to_builtins(value, kind, what)
        if self._masker.holds(plain):
            raise RecipeError(
                f"{what} contains a secret, which the journal must not store", "leave it out of the value"
            )
        stored_values.check_size(plain, what)
        self._emit(events.CheckpointStored(key=key, stage=stage, value=plain))
        return value

    def _wait(self, seconds: float) -> None:
        self._check()
        self._sleep(seconds)
        self._check()

    def _claim(self, call: str, key: object) -> Recalled | None:
        """Return what is stored under `key`; RecipeError if this run has used the key already."""
        if not isinstance(key, str) or not key:
            raise RecipeError(f"the key of p.{call} must be a non-empty string, not {key!r}")
        if self._masker.holds(key):
            raise RecipeError(
                f"the key of p.{call} contains a secret, which the journal must not store", "choose another key"
            )
        if key in self._keys:
            raise RecipeError(f"the key {key!r} is used twice in this run", f'in a loop, number it: f"{key}-{{n}}"')
        self._keys.add(key)
        return self._recall(key)
