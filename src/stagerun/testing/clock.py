"""The clock of a test: it stands still until somebody moves it."""

import asyncio
from typing import Final

from stagerun.machine.clock import Clock


START: Final = 1_800_000_000.0  # 15 January 2027, 08:00 UTC


class HandClock:
    """A clock that a test moves. To wait moves it, too, and takes no time.

    Attributes:
        now: seconds since the test began.
        sleeps: what was waited for, in order.

    """

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def move(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"a clock does not run backwards: {seconds:g} seconds")
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.move(seconds)

    async def sleep_in_loop(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    def wall(self) -> float:
        """Return the time in seconds since 1970."""
        return START + self.now

    def monotonic(self) -> float:
        return self.now

    def as_clock(self) -> Clock:
        # The ticker would look at moments of its own.
        return Clock(
            wall=self.wall, monotonic=self.monotonic, sleep=self.sleep, sleep_in_loop=self.sleep_in_loop, tick=3600
        )
