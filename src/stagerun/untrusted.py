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
_NOT_PLAIN_JSON: Final = re.compile(r"[^\x20-\x7e]|#(?=#)")
_RESET: Final = "\x1b[0m"

# What a CI system would obey: anywhere in a line (GitHub, Azure, TeamCity), or at its start (GitHub, Buildkite).
# Some look through colour sequences.
_SGR: Final = r"(?:\x1b\[[0-9;:]*m)*"
_ANYWHERE: Final = re.compile(
    rf"(#{_SGR}#)(?={_SGR}(?:\[|{_SGR.join('vso')}|{_SGR.join('teamcity')}))",
    re.IGNORECASE,
)
_AT_START: Final = re.compile(
    rf"^((?:\s|\x1b\[[0-9;:]*m)*)(?=:{_SGR}:.*:{_SGR}:|---(?:\s|$|\x1b)|\+\+\+(?:\s|$|\x1b)|~~~(?:\s|$|\x1b)|\^\^\^)"
)
_NOT_XML: Final = re.compile(r"[\ufffe\uffff]|[\U0001fffe-\U0001ffff]")
_COMMAND_IN_XML: Final = re.compile(r"^(\s*)([:~^+-])(?=[:~^+-])|#(?=#)", re.MULTILINE)


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


def disarm(text: str) -> str:
    """Return one neutralised line in which no CI system finds a command, wherever in a line it looks for one."""
    return _ANYWHERE.sub(r"\1\\", text) if "#" in text else text


def disarm_line(text: str) -> str:
    """Return one neutralised line in which no CI system finds a command, also where the line starts with it."""
    return _AT_START.sub(r"\1\\", disarm(text))


def neutralise_json(text: str) -> str:
    """Return the JSON `text` with all but printable ASCII as JSON's own escapes: it still means the same.

    So does the first `#` of two, with which commands to CI systems begin.
    """
    if text.isascii() and text.isprintable() and "##" not in text:
        return text
    return _NOT_PLAIN_JSON.sub(lambda match: "".join(f"\\u{unit:04x}" for unit in _utf16(match[0])), text)


def neutralise_xml(text: str) -> str:
    """Return lines of `text` as an XML 1.0 document can hold them (w3.org/TR/xml, 2.2); `disarm_xml` follows."""
    return "\n".join(_NOT_XML.sub(_escape, neutralise(line)) for line in text.split("\n"))


def disarm_xml(document: str) -> str:
    """Return the XML `document` with commands to CI systems broken by character references: it means the same."""
    return _COMMAND_IN_XML.sub(lambda match: f"{match[1] or ''}&#{ord(match[2] or '#')};", document)


def _utf16(character: str) -> tuple[int, ...]:
    data = character.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[start : start + 2]) for start in range(0, len(data), 2))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
