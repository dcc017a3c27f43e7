"""Resumable loops: a resumed run skips the items that earlier runs have finished.

A position is how many items are finished: those after which the recipe asked for the next one. The ticker's thread
stores it while the recipe works. A state belongs to the moment between two items, which only the recipe's thread sees.
It copies a state there at every item: the top level, which is exact for plain totals, or all of it if it has lists or
dicts in it and is small. A large one is copied when the ticker has asked for it.

A resumed run has to get the same items in the same order. So the fingerprint of one of them is stored beside the
position, taken before the recipe could change that item.
"""

import marshal
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from itertools import islice, zip_longest
from types import FrameType
from typing import Any, Final, TypeVar

from stagerun import events
from stagerun.authoring import stored_values
from stagerun.authoring.fingerprints import fingerprint
from stagerun.authoring.keys import Claim, Recorder
from stagerun.authoring.tracking import Loop, Loops, in_batches
from stagerun.errors import RecipeError
from stagerun.text import wording


_T = TypeVar("_T")

POSITION_SECONDS: Final = 0.4  # a SIGKILL costs a resumable loop at most this much work
STATE_LIMIT: Final = 1024 * 1024  # bytes of JSON
_STATE_RATE: Final = 32 * 1024  # bytes of state that a loop stores a second: a large one is stored less often
_SMALL: Final = 4 * 1024  # bytes of a state that is copied whole at every item
_COPY_SHARE: Final = 20  # copying the state takes at most a twentieth of the time
_LIBRARY: Final = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - importing pathlib takes long
_GENERATORS: Final = 0x20 | 0x200  # CO_GENERATOR and CO_ASYNC_GENERATOR of `inspect`, which is slow to import


class ResumableLoop(Loop):
    """One loop with a key.

    Attributes:
        key: its key.
        due: True if the ticker wants to know more of the loop than its position.
        between: how many items were finished when the state was copied last, and the copy: its top level, or all of it
            as bytes.

    """

    def __init__(
        self,
        loops: Loops,
        items: Iterable[Any],
        claim: Claim,
        recorder: Recorder,
        *,
        state: dict[str, Any] | None,
        total: int | None,
        label: str | None,
        unit: str,
    ) -> None:
        super().__init__(loops, items, total=total, label=label, unit=unit)
        if state is not None and not isinstance(state, dict):
            raise RecipeError(f"the state of loop {claim.key!r} must be a dict, not {stored_values.shown(state)}")
        self.key = claim.key
        self.due = True
        self.between: tuple[int, dict[str, Any] | bytes] | None = None
        self._claim = claim
        self._recorder = recorder
        self._state = state
        self._went_on = False  # it got an item that is not stored as finished, or the end
        self._finished = False
        self._whole = False  # the state is small, and nested or empty
        self._copy: tuple[int, dict[str, Any]] | None = None
        self._marks: list[tuple[int, int]] = []  # of the current item and of one before it
        self._looked_on = self._stored_on = loops.monotonic()
        self._pause = 0.0  # seconds between two looks between items
        self._interval = POSITION_SECONDS
        self._stored: tuple[int, bool] = (0, False)
        self._before: events.PositionReached | None = None

    @property
    def item(self) -> int | None:
        """The position of the item that is being worked on."""
        return self.done

    def count(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield the items that no earlier run has finished, and count them."""
        loops, state = self._loops, self._state
        interrupts = loops.interrupts
        try:
            interrupts.check()
            self._look_at_reader()
            self._begin()
            # Counted after each item: if the source itself fails, the item before is finished.
            for position, item in enumerate(self._rest(items), self.skipped + 1):
                if interrupts.stopping:
                    interrupts.check()
                if self.due:
                    self._look_between(item)
                yield item
                self.done = position
                if state is not None:  # at once: the source may take long to give the next item, and fail
                    self.between = position, self._frozen({**state}) if self._whole else {**state}
            self._end_of_source()
        finally:
            loops.end(self)

    def batches(self, items: Iterable[_T], size: int) -> Iterator[list[_T]]:
        """Yield lists of `size` items that no earlier run has finished, and count the items."""
        loops = self._loops
        try:
            loops.interrupts.check()
            self._look_at_reader()
            self._begin()
            rest = self._rest(items)
            while batch := list(islice(rest, size)):
                loops.interrupts.check()
                self._look_between(batch[0])
                yield batch
                self.done += len(batch)
            self._end_of_source()
        finally:
            loops.end(self)

    async def count_async(self, items: AsyncIterable[_T]) -> AsyncIterator[_T]:
        loops = self._loops
        try:
            loops.interrupts.check()
            self._look_at_reader()
            self._begin()
            async for item in self._rest_async(items):
                loops.interrupts.check()
                if self.due:
                    self._look_between(item)
                yield item
                self._finish_async(1)
            self._end_of_source()
        finally:
            loops.end(self)

    async def batches_async(self, items: AsyncIterable[_T], size: int) -> AsyncIterator[list[_T]]:
        loops = self._loops
        try:
            loops.interrupts.check()
            self._look_at_reader()
            self._begin()
            async for batch in in_batches(self._rest_async(items), size):
                loops.interrupts.check()
                self._look_between(batch[0])
                yield batch
                self._finish_async(len(batch))
            self._end_of_source()
        finally:
            loops.end(self)

    def _finish_async(self, items: int) -> None:
        """Count finished items, and copy the state at once, as `count` does."""
        self.done += items
        if self._state is not None:
            self.between = self.done, self._frozen({**self._state}) if self._whole else {**self._state}

    def tick(self) -> None:
        now = self._loops.monotonic()
        if now - self._looked_on >= self._pause:
            self.due = True
        if now - self._stored_on >= self._interval:
            self._store()

    def leave(self) -> None:
        self._store()
        self._recorder.keys.leave(self)

    def _begin(self) -> None:
        """Take over what earlier runs stored, and say so."""
        self.skip(0)
        if self._claim.recalled:
            run, stored = self._claim.recalled[-1]
            assert isinstance(stored, events.PositionReached)
            self._restore(stored)
            self._before, self._marks = stored, [stored.mark] if stored.mark else []
            self._stored = stored.position, stored.position == stored.total
            self.skip(stored.position)
            self._say(run, stored)
        self._recorder.keys.enter(self)
        self._loops.begin(self)
        if self._state is not None:
            self._copy_state()

    def _rest(self, items: Iterable[_T]) -> Iterator[_T]:
        """Return the items that no earlier run has finished; RecipeError if those before are not the same as then."""
        rest = iter(items)
        position = self._before.position if self._before else 0
        if not position:
            return rest
        marks, there = dict(self._marks), 0
        for there, item in enumerate(islice(rest, position), 1):
            self._check_skipped(there, item, marks)
        if there < position:
            raise self._other_items(f"there are only {there:,} now")
        return rest

    async def _rest_async(self, items: AsyncIterable[_T]) -> AsyncIterator[_T]:
        """Yield what `_rest` returns, of an async iterable."""
        position = self._before.position if self._before else 0
        marks, there = dict(self._marks), 0
        async for item in items:
            there += 1
            if there > position:
                yield item
            else:
                self._check_skipped(there, item, marks)
        if there < position:
            raise self._other_items(f"there are only {there:,} now")

    def _check_skipped(self, there: int, item: object, marks: dict[int, int]) -> None:
        """Raise RecipeError if the item at place `there`, counted from 1, is not the one that was finished then."""
        if there - 1 in marks and fingerprint(item, self._recorder.masker.holds) not in (marks[there - 1], None):
            raise self._other_items(f"item {there:,} is another one now")

    def _look_between(self, item: object) -> None:
        """Copy the state between two items, and take the fingerprint of the next one before the recipe changes it."""
        self.due = False
        self._went_on = True
        if self._state is not None:
            self._copy_state()
        self._looked_on = self._loops.monotonic()
        if (mark := fingerprint(item, self._recorder.masker.holds)) is not None:
            self._marks = [*self._marks[-1:], (self.done, mark)]

    def _end_of_source(self) -> None:
        """Note that the source has no more items."""
        self._went_on = self._finished = True
        if self._state is not None:
            self._copy_state()

    def _store(self) -> None:
        """Store the position, unless it is stored already."""
        if not self._went_on:
            return
        position, state = (max(0, self.done), None) if self._state is None else self._newest_state()
        if (position, self._finished) == self._stored:
            return
        self._stored, self._stored_on = (position, self._finished), self._loops.monotonic()
        stage, inside, item = self._claim.place
        self._recorder.emit(
            events.PositionReached(
                key=self.key,
                position=position,
                total=position if self._finished else self.total,
                state=state,
                mark=next((mark for mark in reversed(self._marks) if mark[0] < position), None),
                stage=stage,
                inside=inside,
                item=item,
            )
        )

    def _newest_state(self) -> tuple[int, dict[str, Any]]:
        """Return the newest copy of the state that was not changed since, and how many items were finished then."""
        assert self._copy is not None
        if self.between is None or self.between[0] <= self._copy[0]:
            return self._copy
        position, frozen = self.between
        state = marshal.loads(frozen) if isinstance(frozen, bytes) else frozen  # noqa: S302 - our own bytes
        whole = isinstance(frozen, bytes) or _is_flat(state)
        fits = whole and _is_exact(state) and len(events.dumps(state)) <= STATE_LIMIT
        return (position, state) if fits and not self._recorder.masker.holds(state) else self._copy

    def _frozen(self, state: dict[str, Any]) -> bytes | dict[str, Any]:
        """Return a copy of all of the state; RecipeError if it can't be restored exactly."""
        try:
            return marshal.dumps(state)  # ten times as fast as any other deep copy; it never leaves this process
        except ValueError:
            self._copy_state()
            return state

    def _copy_state(self) -> None:
        """Copy the state; RecipeError if it can't be restored exactly."""
        assert self._state is not None
        began = self._loops.monotonic()
        what = f"the state of loop {self.key!r}"
        plain = stored_values.exact(dict(self._state), what)
        text = events.dumps(plain)
        if len(text) > STATE_LIMIT:
            raise RecipeError(
                f"{what} has {len(text):,} bytes; the limit is {STATE_LIMIT:,}", "store a file, and its path in it"
            )
        if self._recorder.masker.holds(plain):
            raise RecipeError(f"{what} contains a secret, which the journal must not store", "leave it out")
        self._copy = self.done, events.loads(text, dict[str, Any])
        self._whole = len(text) <= _SMALL and (not plain or not _is_flat(plain))  # an empty one can become either
        self._pause = _COPY_SHARE * (self._loops.monotonic() - began)
        self._interval = max(POSITION_SECONDS, len(text) / _STATE_RATE)

    def _look_at_reader(self) -> None:
        """Warn if the loop is not read by a plain for statement: what reads ahead takes items that are not finished."""
        frame = sys._getframe(2)  # noqa: SLF001 - the caller of the generator that calls this
        code = frame.f_code
        where = f"{code.co_filename}, line {frame.f_lineno}"
        hint = "if it reads ahead, a resumed run leaves items out: use p.batches, or p.map(key=)"
        if code.co_flags & _GENERATORS:
            self._recorder.warn(f"loop {self.key!r} is read by the generator {code.co_name} ({where}); {hint}")
        elif not _is_for_statement(frame):
            self._recorder.warn(f"loop {self.key!r} is not read by a for statement ({where}); {hint}")

    def _restore(self, stored: events.PositionReached) -> None:
        if (stored.state is None) != (self._state is None):
            before = "without state" if stored.state is None else "with state"
            raise RecipeError(
                f"an earlier run stored the loop {self.key!r} {before}, so it can't go on",
                "run its stage again: stagerun resume --from STAGE",
            )
        if self._state is not None:
            _restored(self._state, dict(stored.state or {}))

    def _say(self, run: int, stored: events.PositionReached) -> None:
        of = f" of {stored.total:,}" if stored.total is not None else ""
        items = wording.plural(stored.total if stored.total is not None else stored.position, self.unit)
        self._recorder.tell(f"loop {self.key}: {stored.position:,}{of} {items} done in run {run}, skipped")
        if None not in (stored.total, self.total) and stored.total not in (self.total, stored.position):
            self._recorder.warn(
                f"loop {self.key!r} had {stored.total:,} items in run {run}, and has {self.total:,} now"
            )

    def _other_items(self, what: str) -> RecipeError:
        run = self._claim.recalled[-1].run
        return RecipeError(
            f"loop {self.key!r} does not get the items that it had in run {run}: {what}",
            "give it the same items in the same order, or no key if its source leaves out what is done",
        )


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


def _is_for_statement(frame: FrameType) -> bool:
    """Return True if a for statement that is not one of Python's library is about to take the next item."""
    import opcode

    # `async for` waits at SEND, as every `await` does.
    # Those of Python's library collect: `Executor.map` takes all items before the first one is finished.
    file = frame.f_code.co_filename
    collects = file.startswith(_LIBRARY) and "-packages" not in file.removeprefix(_LIBRARY)
    return not collects and opcode.opname[frame.f_code.co_code[frame.f_lasti]] in ("FOR_ITER", "SEND")
