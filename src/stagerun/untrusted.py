"""How text that is not ours is made safe to show. Every sink calls it; the journal keeps the original."""

import re
from typing import Final


# Control bytes, C1, and what Unicode offers for hiding or reordering text; lone surrogates can't be encoded.
_ACTIVE: Final = (
    r"\x00-\x08\x0a-\x1f\x7f-\x9f"
    r"\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f"
)
_UNSAFE: Final = re.compile(f"[{_ACTIVE}]")
_UNSAFE_OR_COLOUR: Final = re.compile(rf"(\x1b\[[0-9;:]{{0,40}}m)|[{_ACTIVE}]")
_NOT_ASCII: Final = re.compile(r"[^\x20-\x7e]")
_RESET: Final = "\x1b[0m"


def neutralise(text: str, *, keep_colour: bool = False) -> str:
    """Return one line of `text` in which nothing can act: control characters stand as Python escapes.

    TAB stays. With `keep_colour`, colour sequences (SGR) stay too, closed by a reset.
    """
    if text.isascii() and text.isprintable():
        return text
    if not keep_colour:
        return _UNSAFE.sub(_escape, text)
    safe = _UNSAFE_OR_COLOUR.sub(lambda match: match[1] or _escape(match), text)
    return safe + _RESET if "\x1b" in safe else safe


def neutralise_json(text: str) -> str:
    """Return the JSON `text` with all but printable ASCII as JSON's own escapes: it still means the same."""
    if text.isascii() and text.isprintable():
        return text
    return _NOT_ASCII.sub(lambda match: "".join(f"\\u{unit:04x}" for unit in _utf16(match[0])), text)


def _utf16(character: str) -> tuple[int, ...]:
    data = character.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[start : start + 2]) for start in range(0, len(data), 2))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
