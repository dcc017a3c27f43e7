"""Resumable loops: a resumed run skips the items that earlier runs have finished.

A position is how many items are finished: those after which the recipe asked for the next one. The ticker's thread
stores it while the recipe works, together with the newest copy of the loop's state.

A resumed run has to get the same items in the same order. So the fingerprint of one of them is stored beside the
position, taken before the recipe could change that item.
"""

import sys
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, TypeVar

from stagerun import events
from stagerun.authoring import loop_readers
from stagerun.authoring.fingerprints import fingerprint, is_constant
from stagerun.authoring.keys import Claim, Recorder
from stagerun.authoring.loop_state import LoopState
from stagerun.authoring.tracking import Loop, Loops, in_batches
from stagerun.errors import RecipeError
from stagerun.text import wording


_T = TypeVar("_T")

POSITION_SECONDS: Final = 0.4  # a SIGKILL costs a resumable loop at most this much work


class ResumableLoop(Loop):
    """One loop with a key.

    `with loop:` surrounds its counting.

    Attributes:
        key: its key.
        state: what it carries along, or None.

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
        self.key = claim.key
        self.state = None if state is None else LoopState(claim.key, state, recorder.masker, loops.monotonic)
        self._claim = claim
        self._recorder = recorder
        self._due = True  # the ticker wants to know more of the loop than its position
        self._went_on = False  # it got an item that is not stored as finished, or the end
        self._finished = False
        self._iterator: weakref.ref[Any] | None = None
        self._at: tuple[int, Any] = (0, None)
        self._marks: list[tuple[int, int]] = []  # of the current item and of one before it
        self._stages: tuple[str, ...] = ()
        self._entered_before = 0
        self._first = ""  # the state at the beginning
        self._around: tuple[LoopState, str] | None = None
        self._looked_on = self._stored_on = loops.monotonic()
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
        interrupts, state = self._loops.interrupts, self.state
        with self:
            self._look_at_reader()
            # Counted after each item: if the source itself fails, the item before is finished.
            for position, item in enumerate(self._rest(items), self.skipped + 1):
                if interrupts.stopping:
                    interrupts.check()
                if self._due:
                    self._look_between(item)
                self._at = self.done, item
                yield item
                self.done = position
                # At once: the source may take long to give the next item, and fail.
                if state is not None and state.whole:
                    state.note(position)
                elif state is not None:
                    state.at_item = position, {**state.values}
            self._end_of_source()

    def batches(self, items: Iterable[_T], size: int) -> Iterator[list[_T]]:
        """Yield lists of `size` items that no earlier run has finished, and count the items."""
        with self:
            self._look_at_reader()
            rest = self._rest(items)
            while batch := list(islice(rest, size)):
                self._loops.interrupts.check()
                self._look_between(batch[0])
                yield batch
                self._finish_items(len(batch))
            self._end_of_source()

    async def count_async(self, items: AsyncIterable[_T]) -> AsyncIterator[_T]:
        with self:
            self._look_at_reader()
            async for item in self._rest_async(items):
                self._loops.interrupts.check()
                if self._due:
                    self._look_between(item)
                yield item
                self._finish_items(1)
            self._end_of_source()

    async def batches_async(self, items: AsyncIterable[_T], size: int) -> AsyncIterator[list[_T]]:
        with self:
            self._look_at_reader()
            async for batch in in_batches(self._rest_async(items), size):
                self._loops.interrupts.check()
                self._look_between(batch[0])
                yield batch
                self._finish_items(len(batch))
            self._end_of_source()

    def tick(self) -> None:
        now = self._loops.monotonic()
        pause, interval = (self.state.pause, self.state.interval) if self.state is not None else (0.0, 0.0)
        if now - self._looked_on >= pause:
            self._due = True
        if now - self._stored_on >= max(POSITION_SECONDS, interval):
            self._store()

    def leave(self) -> None:
        self._store()
        self._recorder.keys.leave(self)
        if self._around is None:
            return
        state, before = self._around
        if not state.told and state.text() != before:
            state.told = True
            self._recorder.warn(
                f"loop {self.key!r} has no state, and changed the state of loop {state.key!r}: "
                "a resumed run skips its finished items, and what they changed is lost; give it a state of its own"
            )

    def __enter__(self) -> None:
        """Take over what earlier runs stored, and begin."""
        try:
            self._loops.interrupts.check()
            self._begin()
        except RecipeError as error:
            self._recorder.refused(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(value, RecipeError):
            self._recorder.refused(value)
        self._loops.end(self)

    def _begin(self) -> None:
        self.skip(0)
        if self._claim.recalled:
            run, stored = self._claim.recalled[-1]
            assert isinstance(stored, events.PositionReached)
            self._restore(stored)
            self._before, self._marks = stored, list(stored.marks)
            self._stages = stored.stages
            self._stored = stored.position, stored.position == stored.total
            self.skip(stored.position)
            self._compare_totals(run, stored)
        self._around = self._state_around()
        self._entered_before = self._recorder.keys.stages.entered
        if self.state is not None:
            self.state.copy(self.done)
            self._first = self.state.text()
        self._recorder.keys.enter(self)
        self._loops.begin(self)

    def _state_around(self) -> tuple[LoopState, str] | None:
        """Return the state that this loop can change without storing it, and what it is now."""
        for each in reversed(self._recorder.keys.around):
            if self.state is None and isinstance(each, ResumableLoop) and each.state is not None:
                with suppress(TypeError, ValueError):
                    return each.state, each.state.text()
        return None

    def _look_at_reader(self) -> None:
        frame = sys._getframe(2)  # noqa: SLF001 - the caller of the generator that calls this
        if self._before is not None:
            self._say_what_is_skipped(self._before, frame)
        iterator = self._iterator() if self._iterator is not None else None
        loop_readers.check(
            self.key,
            frame,
            iterator,
            skips=self.skipped > 0,
            goes_on=self._loops.resumable.__contains__,
            warn=self._recorder.warn,
        )
        self._look_at_losses(frame.f_code, frame.f_lineno)

    def _look_at_losses(self, code: CodeType, line: int) -> None:
        """Warn of what a resumed run would lack, once for each place."""
        from stagerun.authoring import loop_losses, loop_undone  # they import `ast`, which takes long

        where = f"{code.co_filename}, line {line}"
        if where not in self._loops.losing:
            self._loops.losing.add(where)
            for look in (loop_losses.lost, loop_undone.undone):
                if (loss := look(code, line)) is not None:
                    self._recorder.warn(f"loop {self.key!r} {loss.what} ({where}): {loss.why}")

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
        self._due = False
        self._went_on = True
        if self.state is not None:
            self.state.copy(self.done)
        self._looked_on = self._loops.monotonic()
        if (mark := fingerprint(item, self._recorder.masker.holds)) is not None:
            self._marks = [*self._marks[-1:], (self.done, mark)]

    def _finish_items(self, items: int) -> None:
        self.done += items
        if self.state is not None:
            self.state.note(self.done)

    def _end_of_source(self) -> None:
        """Note that the source has no more items."""
        self._went_on = self._finished = True
        if self.state is not None:
            self.state.copy(self.done)
            if self.done > self.skipped + 1 and self.state.text() == self._first:
                self._recorder.warn(f"the state of loop {self.key!r} did not change: change that dict, not another one")

    def _store(self) -> None:
        """Store the position, unless it is stored already."""
        if not self._went_on:
            return
        position, state = (max(0, self.done), None) if self.state is None else self.state.newest()
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
                error=self._recorder.keys.error(self.key, position),
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

    def _restore(self, stored: events.PositionReached) -> None:
        if (stored.state is None) != (self.state is None):
            before = "without state" if stored.state is None else "with state"
            raise RecipeError(
                f"an earlier run stored the loop {self.key!r} {before}, so it can't go on",
                "run its stage again: stagerun resume --from STAGE",
            )
        if self.state is not None:
            self.state.restore(stored.state or {})

    def _say_what_is_skipped(self, stored: events.PositionReached, frame: FrameType) -> None:
        from stagerun.authoring.loop_losses import may_lose  # it imports `ast`, which takes long

        of = f" of {stored.total:,}" if stored.total is not None else ""
        items = wording.plural(stored.total if stored.total is not None else stored.position, self.unit)
        lost = ""
        if self.state is None and may_lose(frame.f_code, frame.f_lineno):
            lost = "; variables that they changed are not restored (state= does that)"
        run = self._claim.recalled[-1].run
        self._recorder.tell(f"loop {self.key}: {stored.position:,}{of} {items} done in run {run}, skipped{lost}")

    def _compare_totals(self, run: int, stored: events.PositionReached) -> None:
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
