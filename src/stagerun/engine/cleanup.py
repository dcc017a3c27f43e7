"""Watching the clean-up of a recipe that was asked to stop: it may take any time, but is reported."""

import sys
from pathlib import Path
from typing import Final

from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.text import wording


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
        interrupts = self._interrupts
        return wording.clean_up(interrupts.signal, self._place(), hurried=interrupts.hurried)

    def _place(self) -> tuple[str, int] | None:
        """Return the file name and line that the recipe is at, or None outside its own file."""
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - the only way to see another thread
        while frame is not None and frame.f_code.co_filename != self._source:
            frame = frame.f_back
        return None if frame is None else (Path(frame.f_code.co_filename).name, frame.f_lineno)
