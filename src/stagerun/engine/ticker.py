"""The second thread of a run: what is looked at ten times a second, so that a loop pays only for counting.

It samples the loops, lets the outlet write and draw, and finds out that the run has to stop: that a time limit ran out,
that a cancel was requested in the journal, that nothing more can be recorded. It tells what a recipe may not see: how
long its clean-up takes, and that a signal no longer reaches stagerun.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from stagerun.authoring.session import Session
from stagerun.errors import JournalError
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.text import wording


if TYPE_CHECKING:
    from stagerun.engine.cleanup import CleanUp
    from stagerun.engine.outlet import Outlet

_LOST_FOR: Final = 1.0  # seconds; a library that gives a signal back sooner is not reported


class Ticker:
    """Looks at a run from a thread of its own.

    Args:
        outlet: takes every event.
        interrupts: the signals and time limits that stop the run.
        clock: the source of time.
        session: returns the current session, or None between two links of a chain.

    """

    def __init__(
        self, outlet: "Outlet", interrupts: Interrupts, clock: Clock, session: Callable[[], Session | None]
    ) -> None:
        self._outlet = outlet
        self._interrupts = interrupts
        self._clock = clock
        self._session = session
        self._thread = threading.get_ident()
        self._clean_up: CleanUp | None = None
        self._lost = LostSignals(interrupts, clock)

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Look again and again during the block."""
        done = threading.Event()

        def tick() -> None:
            while not done.wait(self._clock.tick):
                self.look()

        thread = threading.Thread(target=tick, name="stagerun-ticker", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def look(self) -> None:
        """Do what is due; called a few times a second."""
        self._interrupts.break_sleep()
        stopping = self._interrupts.look()  # first: the rest may have to wait for the journal
        with suppress(JournalError):  # the main thread gets it, too, and stops
            if (session := self._session()) is not None:
                session.sample()
                for line in self._lost.lines():
                    session.lines.warn(line)
                if stopping:
                    self._tell_of_clean_up(session)
            self._outlet.tick()
        if not stopping and self._has_to_stop():
            self._interrupts.request("SIGTERM")

    def _has_to_stop(self) -> bool:
        """Return True if somebody asked for a cancel, or nothing more can be recorded."""
        if self._outlet.failure is not None:
            return True
        with suppress(JournalError):  # the next look tries again
            return self._outlet.cancel_requested()
        return False

    def _tell_of_clean_up(self, session: Session) -> None:
        from stagerun.engine.cleanup import CleanUp

        view = self._outlet.view
        if self._clean_up is None and view is not None:
            self._clean_up = CleanUp(view.plan.source, self._thread, self._interrupts, self._clock)
        if self._clean_up is not None and (line := self._clean_up.line()) is not None:
            session.lines.write(line)


class LostSignals:
    """Reports each signal whose handler others have replaced, once."""

    def __init__(self, interrupts: Interrupts, clock: Clock) -> None:
        self._interrupts = interrupts
        self._clock = clock
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def lines(self) -> list[str]:
        """Return the lines to show now. Called a few times a second."""
        now, replaced = self._clock.monotonic(), self._interrupts.replaced()
        self._since = {name: self._since.get(name, now) for name in replaced}
        due = [name for name, since in self._since.items() if now - since >= _LOST_FOR and name not in self._told]
        self._told.update(due)
        return [wording.lost_signal(name, replaced[name]) for name in due]
