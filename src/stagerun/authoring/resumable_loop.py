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
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice, zip_longest
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from stagerun import events
from stagerun.authoring import stored_values
from stagerun.authoring.fingerprints import fingerprint, is_constant
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
_COMPREHENSIONS: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")
_GENERATORS: Final = 0x20 | 0x200  # CO_GENERATOR and CO_ASYNC_GENERATOR of `inspect`, which is slow to import


class ResumableLoop(Loop):
    """One loop with a key.

    Attributes:
        key: its key.
        state: the recipe's dict, or None.
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
        self.state = state
        self._went_on = False  # it got an item that is not stored as finished, or the end
        self._finished = False
        self._whole = False  # the state is small, and nested or empty
        self._copy: tuple[int, dict[str, Any]] | None = None
        self._iterator: weakref.ref[Any] | None = None
        self._at: tuple[int, Any] = (0, None)
        self._marks: list[tuple[int, int]] = []  # of the current item and of one before it
        self._stages: tuple[str, ...] = ()
        self._entered_before = 0
        self._first = ""
        self._around: tuple[ResumableLoop, str] | None = None
        self.told = False  # that a loop inside changes the state
        self._looked_on = self._stored_on = loops.monotonic()
        self._pause = 0.0  # seconds between two looks between items
        self._interval = POSITION_SECONDS
        self._stored: tuple[int, bool] = (0, False)
        self._before: events.PositionReached | None = None

    def note(self, iterator: Any) -> bool:
        self._iterator = weakref.ref(iterator)
        return True

    @property
    def item(self) -> int | None:
        """The position of the item that is being worked on."""
        return self.done

    def count(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield the items that no earlier run has finished, and count them."""
        loops, state = self._loops, self.state
        interrupts = loops.interrupts
        try:
            interrupts.check()
            self._begin()
            self._look_at_reader()
            # Counted after each item: if the source itself fails, the item before is finished.
            for position, item in enumerate(self._rest(items), self.skipped + 1):
                if interrupts.stopping:
                    interrupts.check()
                if self.due:
                    self._look_between(item)
                self._at = self.done, item
                yield item
                self.done = position
                if state is not None:  # at once: the source may take long to give the next item, and fail
                    self.between = position, self._frozen({**state}) if self._whole else {**state}
            self._end_of_source()
        except RecipeError as error:
            self._recorder.refused(error)
            raise
        finally:
            loops.end(self)

    def batches(self, items: Iterable[_T], size: int) -> Iterator[list[_T]]:
        """Yield lists of `size` items that no earlier run has finished, and count the items."""
        loops = self._loops
        try:
            loops.interrupts.check()
            self._begin()
            self._look_at_reader()
            rest = self._rest(items)
            while batch := list(islice(rest, size)):
                loops.interrupts.check()
                self._look_between(batch[0])
                yield batch
                self.done += len(batch)
            self._end_of_source()
        except RecipeError as error:
            self._recorder.refused(error)
            raise
        finally:
            loops.end(self)

    async def count_async(self, items: AsyncIterable[_T]) -> AsyncIterator[_T]:
        loops = self._loops
        try:
            loops.interrupts.check()
            self._begin()
            self._look_at_reader()
            async for item in self._rest_async(items):
                loops.interrupts.check()
                if self.due:
                    self._look_between(item)
                yield item
                self._finish_async(1)
            self._end_of_source()
        except RecipeError as error:
            self._recorder.refused(error)
            raise
        finally:
            loops.end(self)

    async def batches_async(self, items: AsyncIterable[_T], size: int) -> AsyncIterator[list[_T]]:
        loops = self._loops
        try:
            loops.interrupts.check()
            self._begin()
            self._look_at_reader()
            async for batch in in_batches(self._rest_async(items), size):
                loops.interrupts.check()
                self._look_between(batch[0])
                yield batch
                self._finish_async(len(batch))
            self._end_of_source()
        except RecipeError as error:
            self._recorder.refused(error)
            raise
        finally:
            loops.end(self)

    def _finish_async(self, items: int) -> None:
        """Count finished items, and copy the state at once, as `count` does."""
        self.done += items
        if self.state is not None:
            self.between = self.done, self._frozen({**self.state}) if self._whole else {**self.state}

    def tick(self) -> None:
        now = self._loops.monotonic()
        if now - self._looked_on >= self._pause:
            self.due = True
        if now - self._stored_on >= self._interval:
            self._store()

    def leave(self) -> None:
        self._store()
        self._recorder.keys.leave(self)
        if self._around is None or self._around[0].told:
            return
        if events.dumps(self._around[0].state) != self._around[1]:
            self._around[0].told = True
            self._recorder.warn(
                f"loop {self.key!r} has no state, and changed the state of loop {self._around[0].key!r}: "
                "a resumed run skips its finished items, and what they changed is lost; give it a state of its own"
            )

    def _loop_with_state_around(self) -> "tuple[ResumableLoop, str] | None":
        """Return the loop around this one whose state this one can change without storing it, and that state."""
        for each in reversed(self._recorder.keys.around):
            if self.state is None and isinstance(each, ResumableLoop) and each.state is not None:
                with suppress(TypeError, ValueError):
                    return each, events.dumps(each.state)
        return None

    def _begin(self) -> None:
        """Take over what earlier runs stored, and say so."""
        self.skip(0)
        if self._claim.recalled:
            run, stored = self._claim.recalled[-1]
            assert isinstance(stored, events.PositionReached)
            self._restore(stored)
            self._before, self._marks = stored, list(stored.marks)
            self._stages = stored.stages
            self._stored = stored.position, stored.position == stored.total
            self.skip(stored.position)
            self._say(run, stored)
        self._around = self._loop_with_state_around()
        self._entered_before = self._recorder.keys.stages.entered
        self._recorder.keys.enter(self)
        self._loops.begin(self)
        if self.state is not None:
            self._copy_state()
            self._first = events.dumps(self.state)

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
        for item in rest:  # the next one: it was being worked on
            self._check_skipped(there + 1, item, marks)
            return chain([item], rest)
        return rest

    async def _rest_async(self, items: AsyncIterable[_T]) -> AsyncIterator[_T]:
        """Yield what `_rest` returns, of an async iterable."""
        position = self._before.position if self._before else 0
        marks, there = dict(self._marks), 0
        async for item in items:
            there += 1
            if there <= position + 1:
                self._check_skipped(there, item, marks)
            if there > position:
                yield item
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
        if self.state is not None:
            self._copy_state()
        self._looked_on = self._loops.monotonic()
        if (mark := fingerprint(item, self._recorder.masker.holds)) is not None:
            self._marks = [*self._marks[-1:], (self.done, mark)]

    def _end_of_source(self) -> None:
        """Note that the source has no more items."""
        self._went_on = self._finished = True
        if self.state is not None:
            self._copy_state()
            if self.done > self.skipped + 1 and events.dumps(self.state) == self._first:
                self._recorder.warn(f"the state of loop {self.key!r} did not change: change that dict, not another one")

    def _store(self) -> None:
        """Store the position, unless it is stored already."""
        if not self._went_on:
            return
        position, state = (max(0, self.done), None) if self.state is None else self._newest_state()
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
                marks=self._marks_for(position),
                stages=self._entered(),
                stage=stage,
                inside=inside,
                item=item,
            )
        )

    def _entered(self) -> tuple[str, ...]:
        """Return the declared stages that were entered in this loop, also in earlier runs."""
        return tuple(dict.fromkeys([*self._stages, *self._recorder.keys.stages.since(self._entered_before)]))

    def _marks_for(self, position: int) -> tuple[tuple[int, int], ...]:
        """Return the fingerprint of a finished item, and of the one that follows if that is known."""
        marks = {place: mark for place, mark in self._marks if place <= position}
        at, item = self._at
        if at == position and is_constant(item) and not self._finished:
            mark = fingerprint(item, self._recorder.masker.holds)
            marks |= {at: mark} if mark is not None else {}
        return tuple(sorted(marks.items())[-2:])

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
        assert self.state is not None
        began = self._loops.monotonic()
        what = f"the state of loop {self.key!r}"
        plain = stored_values.exact(dict(self.state), what)
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
        """Refuse what takes items that are not finished, or pairs them anew; warn of what may."""
        frame = sys._getframe(2)  # noqa: SLF001 - the caller of the generator that calls this
        code = frame.f_code
        where = f"{code.co_filename}, line {frame.f_lineno}"
        if code.co_flags & _GENERATORS:
            self._recorder.warn(
                f"loop {self.key!r} is read by the generator {code.co_name} ({where}); if it reads ahead, a resumed "
                "run leaves items out: use p.batches, or p.map(key=)"
            )
        elif code.co_name in _COMPREHENSIONS or not _is_for_statement(frame):
            raise RecipeError(
                f"loop {self.key!r} is not read by a for statement ({where}): what is collected would be incomplete "
                "in a resumed run",
                "use a for statement with state=, or p.map(key=), which stores results",
            )
        elif (pairing := self._paired_by(code)) is not None:
            what = f"{pairing} around loop {self.key!r} begins anew in a resumed run ({where})"
            if self.skipped:
                raise RecipeError(
                    what,
                    f"put it inside: p.track({pairing}(...), key=...), "
                    "and run its stage again: stagerun resume --from STAGE",
                )
            self._recorder.warn(f"{what}; put it inside: p.track({pairing}(...), key=...)")

    def _paired_by(self, code: CodeType) -> str | None:
        """Return "enumerate" or "zip" if `code` pairs the loop by that, and the pairs would not go on where it does."""
        items = self._iterator() if self._iterator is not None else None
        if items is None or {"enumerate", "zip"}.isdisjoint(code.co_names):  # to look at all objects takes long
            return None
        import gc

        for each in gc.get_referrers(items):
            if isinstance(each, enumerate):
                return "enumerate"
            # A zip has its iterators in a tuple.
            anew = isinstance(each, tuple) and not all(one in self._loops.resumable for one in each)
            if anew and any(isinstance(around, zip) for around in gc.get_referrers(each)):
                return "zip"
        return None

    def _restore(self, stored: events.PositionReached) -> None:
        if (stored.state is None) != (self.state is None):
            before = "without state" if stored.state is None else "with state"
            raise RecipeError(
                f"an earlier run stored the loop {self.key!r} {before}, so it can't go on",
                "run its stage again: stagerun resume --from STAGE",
            )
        if self.state is not None:
            _restored(self.state, dict(stored.state or {}))

    def _say(self, run: int, stored: events.PositionReached) -> None:
        of = f" of {stored.total:,}" if stored.total is not None else ""
        items = wording.plural(stored.total if stored.total is not None else stored.position, self.unit)
        lost = "" if self.state is not None else "; variables that they changed are not restored (state= does that)"
        self._recorder.tell(f"loop {self.key}: {stored.position:,}{of} {items} done in run {run}, skipped{lost}")
        if None not in (stored.total, self.total) and stored.total not in (self.total, stored.position):
            what = f"had {stored.total:,} items in run {run}, and has {self.total:,} now"
            if not stored.marks:
                raise RecipeError(
                    f"loop {self.key!r} {what}, and nothing tells its items apart",
                    "give it the same items, or items that can be told apart: plain values, dataclasses",
                )
            self._recorder.warn(f"loop {self.key!r} {what}")

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
