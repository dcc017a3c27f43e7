"""Watching the clean-up of a recipe that was asked to stop: it may take any time, but is reported."""

import sys
from pathlib import Path
from typing import Final

from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts


_FIRST: Final = 2.0  # seconds until the first line about the clean-up
_AGAIN: Final = 30.0


class CleanUp:
    """Reports at intervals where the clean-up of a recipe is.

    Args:
        source: the recipe's file.
        thread: the thread that runs the recipe.
        interrupts: the signals and time limits that stop the run.
        clock: the source of time.

    """

    def __init__(self, source: str | None, thread: int, interrupts: Interrupts, clock: Clock) -> None:
        self._source = source
        self._interrupts = interrupts
        self._clock = clock
        self._thread = thread
        self._due: float | None = None

    def line(self) -> str | None:
        """Return a line to show, or None if none is due. Called a few times a second, from any thread."""
        if not self._interrupts.stopping:
            return None
        now = self._clock.monotonic()
        if self._due is None:
            self._due = now + _FIRST
        if now < self._due:
            return None
        self._due = now + _AGAIN
        why = self._interrupts.signal or "the time limit"
        interrupt = "a second Ctrl-C" if self._interrupts.signal else "Ctrl-C"
        hint = "" if self._interrupts.hurried else f"; {interrupt} cuts it short"
        return f"stopping for {why}: clean-up is still running{self._place()}{hint}"

    def _place(self) -> str:
        """Return where the recipe is, "" if it is not in its own file."""
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - the only way to see another thread
        while frame is not None and frame.f_code.co_filename != self._source:
            frame = frame.f_back
        return "" if frame is None else f" in {Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
