"""Where time comes from: one value that tests put their own clock into."""

import time
from collections.abc import Callable

from msgspec import Struct


class Clock(Struct, frozen=True):
    """Where time comes from.

    Attributes:
        wall: when it is, in seconds since 1970.
        monotonic: for how long, in seconds; it never goes back.
        sleep: waits so many seconds, unless a signal breaks it.
        tick: seconds between two looks at the counters, and so between two frames of a display.

    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    tick: float = 0.1
