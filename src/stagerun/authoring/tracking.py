"""Counted loops and their progress for the displays."""

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from operator import index, length_hint
from typing import Any, TypeVar
from weakref import WeakSet

from stagerun import events
from stagerun.errors import RecipeError
from stagerun.machine.interrupts import Interrupts


_T = TypeVar("_T")
_Iterator = TypeVar("_Iterator", bound="Iterator[Any] | AsyncIterator[Any]")


class Loop:
    """One loop. A plain object: nothing counts as fast.

    Attributes:
        total, label, unit, skipped, depth: as in `events.ProgressMoved`.
        begun: when it began, by the monotonic clock.
        done: position of the current item, which is also the number of finished items; one less before the first.
        shown: `done` in the last event, None before the first.

    """

    def __init__(
        self,
        loops: "Loops",
        items: Iterable[Any],
        *,
        total: int | None = None,
        label: str | None = None,
        unit: str = "item",
    ) -> None:
        """Describe a loop over `items` that has not begun; unless given, its total is `len()` or a length hint."""
        if total is None:
            hint = length_hint(items, -1)
            total = None if hint < 0 else hint
        if isinstance(total, str):  # the second argument of p.track is easily taken for the unit
            raise RecipeError(f"the total of a loop is a number, not {total!r}", f"to name an item: unit={total!r}")
        self.total = None if total is None else max(0, min(index(total), events.LARGEST))
        self.label = None if label is None else str(label)
        self.unit = str(unit)
        self.depth = loops.depth
        self.begun = loops.monotonic()
        self.skipped = 0
        self.done = -1
        self.shown: int | None = None
        self._loops = loops

    def count(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield the items, and count them."""
        loops = self._loops
        interrupts = loops.interrupts
        loops.begin(self)
        try:
            interrupts.check()
            for self.done, item in enumerate(items):
                if interrupts.stopping:
                    interrupts.check()
                yield item
            self.done += 1
        finally:
            loops.end(self)

    def batches(self, items: Iterable[_T], size: int) -> Iterator[list[_T]]:
        """Yield lists of `size` items, and count the items."""
        loops = self._loops
        loops.begin(self)
        try:
            self.skip(0)
            rest = iter(items)
            while batch := list(islice(rest, size)):
                loops.interrupts.check()
                yield batch
                self.done += len(batch)
        finally:
            loops.end(self)

    async def count_async(self, items: AsyncIterable[_T]) -> AsyncIterator[_T]:
        """Yield the items of an async iterable, and count them."""
        loops = self._loops
        interrupts = loops.interrupts
        loops.begin(self)
        try:
            interrupts.check()
            async for item in items:
                self.done += 1
                if interrupts.stopping:
                    interrupts.check()
                yield item
            self.done += 1
        finally:
            loops.end(self)

    async def batches_async(self, items: AsyncIterable[_T], size: int) -> AsyncIterator[list[_T]]:
        """Yield lists of `size` items of an async iterable, and count the items."""
        loops = self._loops
        loops.begin(self)
        try:
            self.skip(0)
            async for batch in in_batches(items, size):
                loops.interrupts.check()
                yield batch
                self.done += len(batch)
        finally:
            loops.end(self)

    def skip(self, items: int) -> None:
        """Note that an earlier run has finished so many items."""
        self.skipped = self.done = items

    def finish(self, items: int) -> None:
        """Note that so many items are finished."""
        self.done = items

    def note(self, iterator: Any) -> bool:
        """Note the iterator that counts the loop; return True if what is taken from it counts as finished."""
        return False

    def tick(self) -> None:
        """Do what is due a few times a second, while it runs. Called by the ticker's thread."""

    def leave(self) -> None:
        """Do what is due when it ends."""

    def counted(self, now: float) -> dict[str, Any]:
        """Return the fields that say how far the loop is."""
        done, total = max(0, self.done), self.total
        return {
            "done": done,
            "total": total,
            "percent": None if total is None else 100.0 * min(done, total) / total if total else 100.0,
            "label": self.label,
            "unit": self.unit,
            "skipped": self.skipped,
            "seconds": now - self.begun,
        }


class Loops:
    """The running loops of one run.

    Args:
        emit: emits an event.
        lock: the lock of `emit`: a sample must not overtake the end of a loop.
        interrupts: stops a loop at its next item.
        monotonic: the clock for durations, in seconds.

    Attributes:
        resumable: the iterators that count what is taken from them as finished.
        losing: the places of loops of which a warning has said what a resumed run would lack.

    """

    def __init__(
        self,
        *,
        emit: Callable[[events.Event], None],
        lock: AbstractContextManager[object],
        interrupts: Interrupts,
        monotonic: Callable[[], float],
    ) -> None:
        self.interrupts = interrupts
        self.monotonic = monotonic
        self.losing = set[str]()
        self.resumable = WeakSet[Iterator[Any] | AsyncIterator[Any]]()
        self._emit = emit
        self._lock = lock
        self._loops: list[Loop] = []
        self._pid = os.getpid()

    @property
    def depth(self) -> int:
        """How many loops are running."""
        return len(self._loops)

    @property
    def innermost(self) -> Loop | None:
        """The loop that began last, or None if none is running."""
        return self._loops[-1] if self._loops else None

    def note(self, loop: Loop, items: _Iterator) -> _Iterator:
        """Note that `items` is the iterator of `loop`, and return it."""
        if loop.note(items):
            self.resumable.add(items)
        return items

    def begin(self, loop: Loop) -> None:
        self._loops.append(loop)

    def end(self, loop: Loop) -> None:
        """Emit the end of a loop; ending it twice does no harm."""
        if os.getpid() != self._pid:
            return  # a fork of the recipe: the lock may be held for ever there
        with self.interrupts, self._lock:
            if loop in self._loops:
                moved = self._moved(loop, ended=True)
                self._loops.remove(loop)
                loop.leave()
                self._emit(moved)

    def end_inside(self, depth: int) -> None:
        """End the loops that are inside `depth` others."""
        for loop in reversed(self._loops[depth:]):
            self.end(loop)

    def sample(self) -> None:
        """Report how far the loops are, if one began or moved. May be called from any thread."""
        with self._lock:
            if any(loop.done != loop.shown for loop in self._loops):
                self._emit(self._moved(self._loops[-1], ended=False))
            for loop in self._loops:
                loop.shown = loop.done
                loop.tick()

    def _moved(self, loop: Loop, *, ended: bool) -> events.ProgressMoved:
        """Return the event that reports how far `loop` is, and the loops around it."""
        now = self.monotonic()
        around = [each for each in self._loops[: self._loops.index(loop)] if each.depth < loop.depth]
        return events.ProgressMoved(
            **loop.counted(now),
            depth=loop.depth,
            ended=ended,
            around=tuple(events.Counted(**each.counted(now)) for each in around),
        )


async def in_batches(items: AsyncIterable[_T], size: int) -> AsyncIterator[list[_T]]:
    """Yield lists of `size` items, the last one shorter."""
    batch: list[_T] = []
    async for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
