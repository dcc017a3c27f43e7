"""Colour for reports: a word in, the word with its colour out, or unchanged where there is none."""

from typing import Final


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
    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, style: str | None) -> str:
        if not self._colour or style is None:
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"
