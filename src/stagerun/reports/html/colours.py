"""Colour sequences of a terminal (SGR) as HTML: the classes of `page.css`, and nothing else of what they can do."""

import re
from collections.abc import Iterator
from typing import Final

from markupsafe import Markup, escape

from stagerun.text.untrusted import neutralise


_SEQUENCE: Final = r"\x1b\[([0-9;:]*)m"
_NAMES: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_ON: Final = {
    **{first + place: ("colour", f"t-{name}") for first in (30, 90) for place, name in enumerate(_NAMES)},
    1: ("weight", "t-bold"),
    2: ("weight", "t-faint"),
    3: ("slope", "t-italic"),
    4: ("line", "t-under"),
}
_OFF: Final = {22: "weight", 23: "slope", 24: "line", 39: "colour"}
_OTHER_COLOURS: Final = (38, 48)


def coloured(text: str) -> Markup:
    """Return a line of a log as harmless HTML, coloured as a terminal would show it."""
    if "\x1b" not in text:
        return escape(neutralise(text))
    return Markup("").join(_spans(text))


def without_colours(text: str) -> str:
    return re.sub(_SEQUENCE, "", text)


def _spans(text: str) -> Iterator[Markup]:
    classes = dict[str, str]()
    for place, part in enumerate(re.split(_SEQUENCE, text)):
        if place % 2:
            _change(classes, part)
        elif part and classes:
            yield Markup('<span class="{}">{}</span>').format(" ".join(classes.values()), neutralise(part))
        elif part:
            yield escape(neutralise(part))


def _change(classes: dict[str, str], codes: str) -> None:
    """Change kind -> class as a colour sequence says."""
    numbers = iter(int(code) if code.isdecimal() and len(code) < 4 else 0 for code in re.split("[;:]", codes))
    for number in numbers:
        if number == 0:
            classes.clear()
        elif number in _ON:
            kind, name = _ON[number]
            classes[kind] = name
        elif number in _OFF:
            classes.pop(_OFF[number], None)
        elif number in _OTHER_COLOURS:
            # A colour by its number or its parts is not shown, but has to be passed over.
            for _ in range({5: 1, 2: 3}.get(next(numbers, 0), 0)):
                next(numbers, None)
