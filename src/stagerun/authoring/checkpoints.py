"""Calls that are made once: what they returned is stored, and a resumed run gets it back without a call."""

import shlex
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from msgspec import UNSET

from stagerun import events
from stagerun.authoring import awaiting, retries, stored_values
from stagerun.authoring.keys import Claim, Recorder
from stagerun.errors import RecipeError


_T = TypeVar("_T")


class Once(NamedTuple):
    """A call that is made once.

    Attributes:
        claim: its key.
        call: the method of `p`.
        kind: the type of its value, or None for what JSON restores exactly by itself.
        attempts: how often it is tried.
        mark: the fingerprint of what it is called with, or None.

    """

    claim: Claim
    call: str
    kind: Any = None
    attempts: int = 1
    mark: int | None = None

    @property
    def what(self) -> str:
        """`checkpoint 'rows'`."""
        return f"{'command' if self.call == 'sh' else self.call} {self.claim.key!r}"

    @property
    def done_in(self) -> int | None:
        """The run that stored the value, or None if the call has to be made."""
        return self.claim.recalled[-1].run if self.claim.recalled else None

    def recalled(self) -> Any:
        """Return the stored value; RecipeError if it belongs to another call."""
        stored = self.claim.recalled[-1].stored
        assert isinstance(stored, events.CheckpointStored)
        if None not in (stored.mark, self.mark) and stored.mark != self.mark:
            other = "another command" if self.call == "sh" else "other arguments"
            raise RecipeError(
                f"{self.what} was stored for {other} in run {self.done_in}",
                f"give what differs a key of its own; to make it again: {self._again()}",
            )
        if stored.typed not in (None, self.kind is not None):
            how = "with" if stored.typed else "without"
            raise RecipeError(
                f"{self.what} was stored {how} type= in run {self.done_in}", f"to make it again: {self._again()}"
            )
        return stored.value if self.kind is None else stored_values.recalled(stored.value, self.kind, self.what)

    def _again(self) -> str:
        stage = self.claim.recalled[-1].stored.stage
        return f"stagerun resume --from {shlex.quote(stage)}" if stage else "stagerun rerun"


class Checkpoints:
    """Makes calls once.

    Args:
        recorder: what storing needs.
        check: raises if the run is to stop.
        sleep: waits the given seconds between two attempts.

    """

    def __init__(self, recorder: Recorder, *, check: Callable[[], None], sleep: Callable[[float], None]) -> None:
        self._recorder = recorder
        self._check = check
        self._sleep = sleep

    def perform(self, once: Once, make: Callable[[], _T]) -> _T:
        """Call `make`, store what it returns, and return that."""
        with self._recorder.keys.inside(once.claim.key, release=True):
            value = retries.attempt(
                make, once.attempts, sleep=self._wait, tell=lambda text: self._recorder.warn(f"{once.what}: {text}")
            )
        return self._keep(once, value)

    async def perform_async(
        self, once: Once, make: Callable[[], Awaitable[_T]], sleep: Callable[[float], Awaitable[None]]
    ) -> _T:
        """Await `make`, store what it returns, and return that; `sleep` waits between two attempts."""
        with self._recorder.keys.inside(once.claim.key, release=True):
            value = await retries.attempt_async(
                make, once.attempts, sleep=sleep, tell=lambda text: self._recorder.warn(f"{once.what}: {text}")
            )
        return self._keep(once, value)

    def _keep(self, once: Once, value: _T) -> _T:
        """Store what a call returned, unless the run is to stop, and return it."""
        value = awaiting.plain(value, once.call)
        self._check()
        if self._recorder.keys.error(once.claim.key) is UNSET:  # else it did not end well: a resumed run calls it again
            self.store(once, value)
        return value

    def store(self, once: Once, value: object) -> None:
        """Store the value; RecipeError if it would come back different, holds a secret, or is too large."""
        with self._recorder.refusing():
            plain = self._plain(once, value)
        stage, inside, item = once.claim.place
        stored = events.CheckpointStored(
            key=once.claim.key,
            call=once.call,
            value=plain,
            typed=once.kind is not None,
            mark=once.mark,
            stage=stage,
            inside=inside,
            item=item,
        )
        self._recorder.emit(stored)

    def look_at(self, what: str, before: int | None, after: int | None) -> None:
        """Warn if the arguments of a call are not what they were before: fingerprints of them tell."""
        if before != after:
            self._recorder.warn(
                f"{what} changes what it is given: a resumed run that does not call it again lacks that; "
                "return the new value"
            )

    def _plain(self, once: Once, value: object) -> Any:
        what, kind = once.what, once.kind
        plain = stored_values.exact(value, what) if kind is None else stored_values.to_builtins(value, kind, what)
        if self._recorder.masker.holds(plain):
            raise RecipeError(
                f"{what} contains a secret, which the journal must not store", "leave it out of the value"
            )
        stored_values.check_size(plain, what)
        return plain

    def _wait(self, seconds: float) -> None:
        self._check()
        self._sleep(seconds)
        self._check()


def checked(call: str, fn: object, *, attempts: object) -> None:
    """Raise RecipeError if `p.<call>` was not given a function, or not a number of attempts."""
    if not callable(fn):
        way = "p.map(fn, items)" if call == "map" else f"p.{call}(name, fn, argument)"
        raise RecipeError(
            f"p.{call}: pass the function, not its value: it got {stored_values.shown(fn)}", f"write it as {way}"
        )
    if type(attempts) is not int or attempts < 1:
        raise RecipeError(f"p.{call}: attempts must be a whole number above 0, not {attempts!r}")
