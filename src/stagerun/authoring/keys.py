"""The keys of one run: each is claimed once, is checked, and knows what earlier runs stored under it."""

import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Protocol

from msgspec import UNSET, UnsetType

from stagerun import events
from stagerun.errors import RecipeError
from stagerun.text.masking import Masker


class Around(Protocol):
    """What a key can be inside of: a call, or a loop, which has a position."""

    @property
    def key(self) -> str | None: ...

    @property
    def item(self) -> int | None:
        """The position of the item that is being worked on; None if it is not a loop."""


class Stages(Protocol):
    """The stages of a run, as far as keys have to know them.

    Attributes:
        last: the declared stage that was entered last, or None.
        entered: how many blocks were entered so far.

    """

    @property
    def last(self) -> str | None: ...

    @property
    def entered(self) -> int: ...

    def since(self, entered: int) -> list[str]:
        """Return the declared stages that were entered after so many blocks."""


class Call(NamedTuple):
    """A call with a key that is running."""

    key: str
    item: None = None


class Place(NamedTuple):
    """Where something is stored: the fields of `events.Stored` besides the key."""

    stage: str | None
    inside: str | None
    item: int | None


class Claim(NamedTuple):
    """A key that this run uses, what earlier runs stored under it, and the place of the call that uses it."""

    key: str
    recalled: list[events.Recalled]
    place: Place


class Recorder(NamedTuple):
    """What storing something under a key needs from the run.

    Attributes:
        keys: the keys of the run.
        emit: emits an event; a fact is durable when it returns.
        tell: writes a log line.
        warn: writes a warning.
        masker: the secrets, which nothing stored may contain.
        refused: notes an error that the recipe must not swallow: else it would go on without what was refused.

    """

    keys: "Keys"
    emit: Callable[[events.Event], None]
    tell: Callable[[str], None]
    warn: Callable[[str], None]
    masker: Masker
    refused: Callable[[RecipeError], None]

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Note the RecipeError that ends this block."""
        try:
            yield
        except RecipeError as error:
            self.refused(error)
            raise


class Keys:
    """The keys of one run. `claim` may be called from any thread.

    Args:
        recall: returns what earlier runs stored under a key, in order.
        stages: the stages of the run.
        masker: the secrets, which no key may contain.
        fail: makes the run end `failed` with a message.

    """

    def __init__(
        self,
        recall: Callable[[str], list[events.Recalled]],
        *,
        stages: Stages,
        masker: Masker,
        fail: Callable[[str], None],
    ) -> None:
        self.stages = stages
        self._recall = recall
        self._masker = masker
        self._fail = fail
        self._errors: dict[str, tuple[int, str]] = {}  # key -> the item of a loop, and what `p.error` said there
        self._lock = threading.Lock()
        self._used: dict[str, str] = {}
        self._around: list[Around] = []

    def claim(self, call: str, key: object) -> Claim:
        """Reserve `key` for `p.<call>`; RecipeError if it is not valid, used already, or stored by another call."""
        if not isinstance(key, str) or not key:
            raise RecipeError(f"the key of p.{call} must be a non-empty string, not {key!r}")
        if self._masker.holds(key):
            raise RecipeError(
                f"the key of p.{call} contains a secret, which the journal must not store", "choose another key"
            )
        with self._lock:
            used = self._used.get(key)
            self._used.setdefault(key, call)
        if used is not None:
            raise _used_twice(key, used, call)
        recalled = self._recall(key)
        if recalled and (stored := _call_of(recalled[-1].stored)) != call:
            raise RecipeError(
                f"run {recalled[-1].run} stored the key {key!r} with p.{stored}, and now p.{call} uses it",
                "choose another key",
            )
        self._fail_again(key, recalled)
        return Claim(key, recalled, self.place())

    def note_error(self, message: str) -> None:
        """Note what `p.error` said in the calls and loops that are running: a resumed run may not make these again."""
        for each in (*self._around,):
            self._errors.setdefault(each.key or "", (each.item or 0, message))

    def error(self, key: str, position: int | None = None) -> str | UnsetType:
        """Return what `p.error` said in the call with that key, or in the first items of a loop; UNSET if nothing."""
        item, message = self._errors.get(key, (0, UNSET))
        return message if position is None or item < position else UNSET

    def _fail_again(self, key: str, recalled: list[events.Recalled]) -> None:
        """Let the run fail as the one did that stored `key`: nobody looks again at what was wrong then."""
        for run, stored in recalled:
            if not isinstance(stored, events.CheckpointStored) and stored.error is not UNSET:
                again = f"resume --from {shlex.quote(stored.stage)}" if stored.stage else f"rerun {run}"
                self._errors[key] = 0, stored.error
                self._fail(f"{stored.error} (in run {run}; to do {key!r} again: stagerun {again})")

    def release(self, key: str) -> None:
        """Let `key` be used again: the call that used it has failed, and stored nothing."""
        with self._lock:
            self._used.pop(key, None)

    def user_of(self, key: str) -> str | None:
        """Return the method of `p` that uses `key` in this run, or None."""
        return self._used.get(key)

    @property
    def around(self) -> Sequence[Around]:
        """The calls and loops with a key that are running, the outermost first."""
        return self._around

    def place(self) -> Place:
        """Return where the recipe is now."""
        around = self._around[-1] if self._around else None
        return Place(self.stages.last, around.key if around else None, around.item if around else None)

    def enter(self, around: Around) -> None:
        self._around.append(around)

    def leave(self, around: Around) -> None:
        if around in self._around:
            self._around.remove(around)

    def inside(self, key: str, *, release: bool = False) -> "_Inside":
        """Return a context whose keys are part of the call with that key; `release` it if the block fails."""
        return _Inside(self, key, release=release)


class _Inside:
    """A class, because a generator would set `__traceback__` on exceptions that pass through it, which some refuse."""

    def __init__(self, keys: Keys, key: str, *, release: bool) -> None:
        self._keys = keys
        self._call = Call(key)
        self._release = release

    def __enter__(self) -> None:
        self._keys.enter(self._call)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keys.leave(self._call)
        if self._release and isinstance(value, Exception):
            self._keys.release(self._call.key)


def _call_of(stored: events.Stored) -> str:
    match stored:
        case events.CheckpointStored(call=call):
            return call
        case events.PositionReached():
            return "track"
        case _:
            return "map"


def _used_twice(key: str, used: str, call: str) -> RecipeError:
    if used == call == "step":
        hint = "in a loop: with p.stage(...) around p.checkpoint with a numbered key"
        return RecipeError(f"p.step({key!r}) was called twice: a step is done once", hint)
    if used != call and "step" in (used, call):
        return RecipeError(f"the key {key!r} is the name of a step in this run", "choose another key")
    return RecipeError(f"the key {key!r} is used twice in this run", f'in a loop, number it: f"{key}-{{n}}"')
