"""The counter of a `p.track` loop: what the loop moves and the display reads."""

from msgspec import Struct

from stagerun import events


class Loop(Struct, kw_only=True, eq=False):
    """One loop.

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

    total: int | None
    label: str | None
    unit: str
    key: str | None
    stage: str | None
    skipped: int
    depth: int
    begun: float
    done: int = 0
    shown: int = -1
    stored: int = 0
    stored_on: float = 0.0
    in_order: int | None = None

    def __post_init__(self) -> None:
        self.done = self.skipped - 1
        self.stored, self.stored_on = self.skipped, self.begun

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
