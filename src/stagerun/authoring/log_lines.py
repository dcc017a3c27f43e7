"""Writing log lines: cut to a length that can be recorded, then emitted."""

from collections.abc import Callable
from typing import Final, get_args

from stagerun import events
from stagerun.errors import RecipeError
from stagerun.events import LINE_LIMIT
from stagerun.text import wording
from stagerun.text.masking import Masker


LEVELS: Final[tuple[events.Level, ...]] = get_args(events.Level)


class LogLines:
    """Takes the lines of `p.log`, `print`, `logging`, warnings and programs.

    The emitter masks secrets. Here they are masked only in text that has to be cut or joined first: only a whole
    secret is found.
    """

    def __init__(self, emit: Callable[[events.Event], None], masker: Masker) -> None:
        self._emit = emit
        self._masker = masker

    def write(self, text: str, level: events.Level = "info", stream: str | None = None) -> None:
        """Write text; newlines split it into lines."""
        if len(text) > LINE_LIMIT or "\r" in text or text.endswith("\n"):
            # Masked before it is cut: a part of a secret would not be found.
            lines = self._masker.mask(text).removesuffix("\n").split("\n")
            text = "\n".join(wording.cut_line(line.removesuffix("\r")) for line in lines)
        self._emit(events.Log(text, level, stream))

    def warn(self, text: str) -> None:
        self.write(text, "warning")

    def on_one_line(self, text: str) -> str:
        """Return the text as a line that can be recorded."""
        return events.encodable(wording.cut_line(" ".join(self._masker.mask(text).split("\n"))))

    def hear(self, lines: list[str], stream: str) -> None:
        """Write lines of a program as one event."""
        self._emit(events.Log("\n".join(lines), "info", stream))


def checked(level: str) -> events.Level:
    """Return `level`; RecipeError that lists the levels if it is not one."""
    for known in LEVELS:
        if level == known:
            return known
    raise RecipeError(f"there is no level {level!r}", "levels: " + ", ".join(LEVELS))
