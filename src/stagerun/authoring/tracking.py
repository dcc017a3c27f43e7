"""Counted loops: their progress for the displays, and their position for a resumed run."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from operator import index, length_hint
from typing import Any, Final, TypeVar

from stagerun import events
from stagerun.machine.interrupts import Interrupts


POSITION_SECONDS: Final = 0.4  # a SIGKILL costs a resumable loop at most this much work

_T = TypeVar("_T")


class Loop:
    """One loop. A plain object: nothing counts as fast.

    Attributes:
        total, label, unit, skipped, depth: as in `events.ProgressMoved`.
        key: the name under which its position is stored, or None.
        stage: the declared stage that it began in, or None.
        begun: when it began, by the monotonic clock.
        done: position of the current item, which is also the number of finished items; one less before the first.
        shown: `done` in the last event.
        stored: the last stored position.
        stored_on: when it was stored, by the monotonic clock.
        in_order: how many items from the first on are finished without a gap if they end out of order; else None.

    """

    def __init__(
        self,
        *,
        total: int | None,
        label: str | None,
        unit: str,
        key: str | None,
        stage: str | None,
        skipped: int,
        depth: int,
        begun: float,
    ) -> None:
        self.total = total
        self.label = label
        self.unit = unit
        self.key = key
        self.stage = stage
        self.skipped = skipped
        self.depth = depth
        self.begun = begun
        self.done = skipped - 1
        self.shown = -1
        self.stored = skipped
        self.stored_on = begun
        self.in_order: int | None = None

    @property
    def position(self) -> int:
        """How many items a resumed run may skip."""
        return max(self.done if self.in_order is None else self.in_order, self.skipped)

    def rest(self, items: Iterable[_T]) -> Iterable[_T]:
        """Return the items that no earlier run finished."""
        return islice(items, self.skipped, None) if self.skipped else items

    def finished(self, done: int, in_order: int) -> None:
        """Note that `done` of the rest are finished, and the first `in_order` of them without a gap."""
        self.done, self.in_order = self.skipped + done, self.skipped + in_order

    def moved(self, now: float, *, ended: bool) -> events.ProgressMoved:
        """Return the event that reports how far the loop is."""
        self.shown = self.done
        done, total = max(0, self.done), self.total
        percent = None if total is None else 100.0 * min(done, total) / total if total else 100.0
        return events.ProgressMoved(
            done=done,
            total=total,
            percent=percent,
            label=self.label,
            unit=self.unit,
            skipped=self.skipped,
            seconds=now - self.begun,
            depth=self.depth,
            ended=ended,
        )


class Loops:
    """The running loops of one run.

    Args:
        emit: emits an event.
        lock: the lock of `emit`: a sample must not overtake the end of a loop.
        interrupts: stops a loop at its next item.
        monotonic: the clock for durations, in seconds.

    """

    def __init__(
        self,
        *,
        emit: Callable[[events.Event], None],
        lock: AbstractContextManager[object],
        interrupts: Interrupts,
        monotonic: Callable[[], float],
    ) -> None:
        self._emit = emit
        self._lock = lock
        self._interrupts = interrupts
        self._monotonic = monotonic
        self._loops: list[Loop] = []
        self._pid = os.getpid()

    @property
    def depth(self) -> int:
        """How many loops are running."""
        return len(self._loops)

    def make(
        self,
        items: Iterable[Any],
        *,
        total: int | None = None,
        label: str | None,
        unit: str,
        key: str | None,
        stage: str | None,
        skipped: int,
    ) -> Loop:
        """Return a loop over `items` that has not begun; unless given, its total is `len()` or a length hint."""
        if total is None:
            hint = length_hint(items, -1)
            total = None if hint < 0 else hint
        return Loop(
            total=None if total is None else max(0, index(total)),
            label=None if label is None else str(label),
            unit=str(unit),
            key=key,
            stage=stage,
            skipped=skipped,
            depth=self.depth,
            begun=self._monotonic(),
        )

    def begin(self, loop: Loop) -> None:
        self._loops.append(loop)

    def count(self, iterable: Iterable[_T], loop: Loop) -> Iterator[_T]:
        """Yield the remaining items of `iterable`, and count them."""
        interrupts = self._interrupts
        self._loops.append(loop)
        try:
            interrupts.check()
            rest = enumerate(loop.rest(iterable), loop.skipped)
            if loop.key is None:
                for loop.done, item in rest:
                    if interrupts.stopping:
                        interrupts.check()
                    yield item
                loop.done += 1
            else:
                # Counted after each item: if the source itself fails, the item before is finished.
                loop.done = loop.skipped
                for position, item in rest:
                    if interrupts.stopping:
                        interrupts.check()
                    yield item
                    loop.done = position + 1
        finally:
            self.end(loop)

    def end(self, loop: Loop) -> None:
        """Emit the end of a loop; ending it twice does no harm."""
        if os.getpid() != self._pid:
            return  # a fork of the recipe: the lock may be held for ever there
        with self._interrupts, self._lock:
            if loop in self._loops:
                self._loops.remove(loop)
                self._store(loop)
                self._emit(loop.moved(self._monotonic(), ended=True))

    def end_inside(self, depth: int) -> None:
        """End the loops that are inside `depth` others."""
        for loop in reversed(self._loops[depth:]):
            self.end(loop)

    def sample(self) -> None:
        """Report how far the innermost loop is, if it moved, and store positions. May be called from any thread."""
        with self._lock:
            if self._loops and self._loops[-1].done != self._loops[-1].shown:
                self._emit(self._loops[-1].moved(self._monotonic(), ended=False))
            for loop in self._loops:
                if loop.key is not None and self._monotonic() - loop.stored_on >= POSITION_SECONDS:
                    self._store(loop)

    def _store(self, loop: Loop) -> None:
        position = loop.position
        if loop.key is not None and position != loop.stored:
            loop.stored, loop.stored_on = position, self._monotonic()
            self._emit(events.PositionReached(key=loop.key, stage=loop.stage, position=position))
