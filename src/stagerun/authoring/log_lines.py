"""Writing log lines: cut to a length that can be recorded, then emitted."""

from collections.abc import Callable
from typing import Final, get_args

from stagerun import events
from stagerun.errors import RecipeError
from stagerun.events import LINE_LIMIT
from stagerun.text import json_text, wording
from stagerun.text.masking import Masker


_LONGEST_REDRAWN: Final = 500  # characters
LEVELS: Final[tuple[events.Level, ...]] = get_args(events.Level)


class LogLines:
    """Takes the lines of `p.log`, `print`, `logging`, warnings and programs.

    The emitter masks secrets. Here they are masked only in text that has to be cut or joined first: only a whole
    secret is found.
    """

    def __init__(self, emit: Callable[[events.Event], None], masker: Masker) -> None:
        self._emit = emit
        self._masker = masker
        self._redrawn: tuple[str, str] | None = None
        self._told: tuple[str, str] | None = None

    def write(self, text: str, level: events.Level = "info", stream: str | None = None) -> None:
        """Write text; newlines split it into lines."""
        if self._redrawn is not None or self._told is not None:
            self._settle(stream)
        if len(text) > LINE_LIMIT or "\r" in text or text.endswith("\n"):
            # Masked before it is cut: a part of a secret would not be found.
            lines = self._masker.mask(text).removesuffix("\n").split("\n")
            text = "\n".join(wording.cut_line(line.removesuffix("\r")) for line in lines)
        self._emit(events.Log(text, level, stream))

    def redraw(self, text: str, stream: str) -> None:
        """Note the state of a line that is being drawn anew, perhaps a thousand times a second."""
        self._redrawn = text, stream

    def tell_redrawn(self) -> None:
        """Report the newest state of such a line. The caller holds the lock of `emit`, so that no end overtakes it."""
        redrawn, self._redrawn = self._redrawn, None
        if redrawn is not None and redrawn != self._told:
            self._told = text, stream = redrawn
            self._emit(events.LineRedrawn(self._masker.mask(text)[:_LONGEST_REDRAWN], stream))

    def _settle(self, stream: str | None) -> None:
        """Note that a line of the stream has got its end."""
        if self._redrawn is not None and self._redrawn[1] == stream:
            self._redrawn = None
        if self._told is not None and self._told[1] == stream:
            self._told = None

    def warn(self, text: str) -> None:
        self.write(text, "warning")

    def on_one_line(self, text: str) -> str:
        """Return the text as a line that can be recorded."""
        return json_text.encodable(wording.cut_line(" ".join(self._masker.mask(text).split("\n"))))

    def hear(self, lines: list[str], stream: str) -> None:
        """Write lines of a program as one event."""
        if self._redrawn is not None or self._told is not None:
            self._settle(stream)
        self._emit(events.Log("\n".join(lines), "info", stream))


def checked(level: str) -> events.Level:
    """Return `level`; RecipeError that lists the levels if it is not one."""
    for known in LEVELS:
        if level == known:
            return known
    raise RecipeError(f"there is no level {level!r}", "levels: " + ", ".join(LEVELS))
