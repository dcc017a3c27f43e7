"""The log lines that a display has shown last: what they say of a program that failed is not said again."""

from collections import deque
from typing import Final

from stagerun import events


_KEPT: Final = 60  # the last lines of a program, and the command above them


class Recent:
    """The newest log lines, as they were recorded."""

    def __init__(self) -> None:
        self._lines = deque[str](maxlen=_KEPT)

    @property
    def lines(self) -> list[str]:
        return list(self._lines)

    def add(self, log: events.Log) -> None:
        self._lines.extend(log.text.rsplit("\n", _KEPT)[-_KEPT:])

    def clear(self) -> None:
        """Forget the lines: they have been hidden."""
        self._lines.clear()
