"""The source of time: one value, which tests replace with a clock of their own."""

import time
from collections.abc import Awaitable, Callable

from msgspec import Struct


async def _sleep_in_loop(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


class Clock(Struct, frozen=True):
    """The source of time.

    Attributes:
        wall: returns the time in seconds since 1970.
        monotonic: returns seconds that never go back, to measure durations.
        sleep: waits for a number of seconds, unless a signal interrupts it.
        sleep_in_loop: does that in an event loop, without blocking it.
        tick: seconds between two reads of the counters, and so between two frames of a display.

    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    sleep_in_loop: Callable[[float], Awaitable[None]] = _sleep_in_loop
    tick: float = 0.1
