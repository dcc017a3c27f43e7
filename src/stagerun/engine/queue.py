"""Waiting in line: a run that is recorded but not started, behind the earlier ones of its operation.

Its place is its id. The line needs no lock: a later run has a higher id, so once nothing is ahead nothing can come.
"""

from typing import TYPE_CHECKING, Final

from stagerun import events
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.text import sentences


if TYPE_CHECKING:
    from stagerun.engine.outlet import Memory, Outlet

_LOOK: Final = 0.25  # seconds between two looks at the line


def wait_in_line(outlet: "Outlet", memory: "Memory", interrupts: Interrupts, clock: Clock) -> None:
    """Show what the current run waits for, until no other is ahead of it or it was asked to stop."""
    shown = ""
    while not interrupts.stopping:
        with outlet.lock:  # the ticker uses the same connection
            assert outlet.view is not None
            ahead = memory.ahead(outlet.view)
        if not ahead:
            return
        told = sentences.waiting(ahead, clock.wall())
        if told != shown:
            outlet.emit(events.StatusChanged(told))
            shown = told
        clock.sleep(_LOOK)
