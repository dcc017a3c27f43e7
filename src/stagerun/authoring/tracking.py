"""The counter of a `p.track` loop: what the loop moves and the display reads."""

from stagerun import events


class Loop:
    """One loop. A plain object: nothing counts as fast.

    Attributes:
        total, label, unit, skipped, depth: as in `events.ProgressMoved`.
        key: the name under which its position is stored, or None.
        stage: the declared stage that it began in, or None.
        begun: when it began, by the monotonic clock.
        done: position of the item in hand, so that as many are finished; one less before the first.
        shown: `done` when it was told last.
        stored: the position that was stored last.
        stored_on: when that was.
        in_order: how many are finished from the first on, where items end out of order; else None.

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
        """How many a resumed run may skip."""
        return max(self.done if self.in_order is None else self.in_order, self.skipped)

    def moved(self, now: float, *, ended: bool) -> events.ProgressMoved:
        """Return the event that tells how far the loop is."""
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
