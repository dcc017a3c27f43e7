"""Colour and symbols for reports, as far as the stream can show them."""

from typing import Final

from stagerun.text import wording


_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "bright_black": "90",
}


class Paint:
    """A function of a text and a style that returns the text in colour, or unchanged without colour or style.

    Attributes:
        symbols: stage state -> its symbol.
        bar: a column of a bar.
        steps: columns of rising height.
        ellipsis: what stands for the rest of a text that is cut.

    """

    def __init__(self, *, colour: bool, unicode: bool) -> None:
        self._colour = colour
        self.symbols = wording.SYMBOLS if unicode else wording.ASCII_SYMBOLS
        self.bar = "━" if unicode else "="
        self.steps = "▁▂▃▄▅▆▇█" if unicode else "_.-=+*%#"
        self.ellipsis = "…" if unicode else "..."

    def cut(self, text: str, width: int) -> str:
        """Return a text of at most `width` columns."""
        return text if len(text) <= width else text[: max(0, width - len(self.ellipsis))] + self.ellipsis

    def __call__(self, text: str, style: str | None) -> str:
        if not self._colour or style is None:
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"
