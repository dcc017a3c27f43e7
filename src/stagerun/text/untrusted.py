"""How untrusted text is made safe to show. Every sink calls this; the journal keeps the original."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final


# Patterns are compiled on first use: most runs show nothing that needs them.
_SGR: Final = r"\x1b\[[0-9;:]*m"
_RESET: Final = "\x1b[0m"
_FLAGS: Final = ("gbeng", "gbsct", "gbwls")  # the flags that are written with tags: England, Scotland, Wales
_STARTS: Final = "\ufe0e\ufe0f\u200d\U000e0067"  # of what may be invisible inside an emoji
_NOT_PLAIN_JSON: Final = r"[^\x20-\x7e]|#(?=#)"

# Commands to CI systems: anywhere in a line (GitHub, Azure, TeamCity), or at its start (GitHub, Buildkite, Gitea).
_ANYWHERE: Final = r"(?i)##(?=\[|vso|teamcity)"
_AT_START: Final = (
    r"(?i)\s*(?=::.*::|(?:---|\+\+\+|~~~)\s|\^\^\^|\[command\])"
    r"|(?=.{4}-..-..T..:.{12}Z)"  # GitLab takes it for its own timestamp and hides it
)
# CI systems ignore colours; those in .NET also ignore characters without weight in culture-sensitive comparison.
_WEIGHTLESS: Final = frozenset({"Cc", "Cf", "Cn", "Mc", "Me", "Mn"})
_WEIGHTLESS_TOO: Final = frozenset("\u0640\u07fa\u180a\u1cd3\ufe73")

_NOT_XML: Final = r"[\ufffe\uffff]|[\U0001fffe-\U0001ffff]"
# A command needs a line of its own or a `#`; the line ends that indent a document are followed by a tag.
_COMMAND_IN_XML: Final = r"\n(?!\s*(?:<|\Z))|(?<!&)#"


def neutralise(text: str, *, keep_colour: bool = False) -> str:
    """Return the line `text` with everything that could control a terminal, or that can't be seen, as Python escapes.

    TAB stays, and emoji made of several characters stay whole. With `keep_colour`, colour sequences (SGR) stay too,
    closed by a reset.
    """
    if text.isascii() and text.isprintable():
        return text
    if not keep_colour:
        return _unsafe().sub(_escape_unless_emoji, text)
    safe = _unsafe(keep_colour=True).sub(lambda match: match[1] or _escape_unless_emoji(match), text)
    return safe if safe.rfind("\x1b") == safe.rfind(_RESET) else safe + _RESET


@cache
def _unsafe(*, keep_colour: bool = False) -> re.Pattern[str]:
    """Return the pattern of what is escaped; with `keep_colour` its first group is a colour sequence, which stays."""
    from stagerun.text.unicode_ranges import DEFAULT_IGNORABLE

    # Control bytes, C1, Unicode's line ends and annotations, surrogates (UTF-8 can't encode them), what can't be seen.
    unsafe = rf"\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029\ufff9-\ufffb\ud800-\udfff{DEFAULT_IGNORABLE}"
    return re.compile(rf"(\x1b\[[0-9;:]{{0,40}}m)|\x1b|[{unsafe}]+" if keep_colour else rf"[\x1b{unsafe}]+")


@cache
def _inside_emoji() -> re.Pattern[str]:
    """Return the pattern of the invisible characters that join or style an emoji's visible ones (Unicode, UTS 51)."""
    from stagerun.text.unicode_ranges import PICTOGRAPHIC

    base, skin = f"[{PICTOGRAPHIC}]", r"[\U0001f3fb-\U0001f3ff]"
    regions = "|".join("".join(chr(0xE0000 + ord(each)) for each in region) for region in _FLAGS)
    return re.compile(
        rf"(?<=\U0001f3f4)(?:{regions})\U000e007f"
        rf"|(?<=[0-9#*])\ufe0f(?=\u20e3)"
        rf"|(?:(?<={skin})|(?<={base})(?:\ufe0e|\ufe0f?))(?:(?<!\ufe0e)\u200d(?={base}))?"
    )


def _escape_unless_emoji(match: re.Match[str]) -> str:
    emoji = _inside_emoji().match(match.string, match.start()) if match[0][0] in _STARTS else None
    return _escaped(match[0]) if emoji is None else emoji[0] + _escaped(match[0][len(emoji[0]) :])


def disarm(text: str) -> str:
    """Return the neutralised line `text` with the commands broken that a CI system finds anywhere in a line."""
    if "#" not in text:
        return text
    places = set[int]()
    for weighty in (_weighty(text), _weighty(text, colours=True)):
        seen = "".join(text[index] for index in weighty)
        places.update(weighty[match.end() - 1] + 1 for match in re.finditer(_ANYWHERE, seen))
    return _with_backslashes(text, places)


def disarm_line(text: str) -> str:
    """Return the neutralised line `text` with all commands broken, also those that work only at a line's start."""
    text = disarm(text)
    weighty = _weighty(text)
    match = re.match(_AT_START, "".join(text[index] for index in weighty))
    return _with_backslashes(text, [weighty[match.end()]] if match else [])


def _weighty(text: str, *, colours: bool = False) -> Sequence[int]:
    """Return the indexes of the characters that count in the search for commands.

    With `colours` a colour sequence counts as text, except for its first character, which has no weight.
    """
    if text.isascii() and text.isprintable():
        return range(len(text))
    from unicodedata import category

    spans = [] if colours else [match.span() for match in re.finditer(_SGR, text)]
    hidden = {index for span in spans for index in range(*span)}
    return [
        index
        for index, each in enumerate(text)
        if index not in hidden and (each == "\t" or (category(each) not in _WEIGHTLESS and each not in _WEIGHTLESS_TOO))
    ]


def _with_backslashes(text: str, places: Iterable[int]) -> str:
    for place in sorted(places, reverse=True):
        text = f"{text[:place]}\\{text[place:]}"
    return text


def neutralise_json(text: str) -> str:
    """Return the JSON `text` with everything but printable ASCII as JSON escapes; its meaning stays the same.

    The first of two `#` is escaped too, because commands to CI systems begin with them.
    """
    if text.isascii() and text.isprintable() and "##" not in text:
        return text
    return re.sub(_NOT_PLAIN_JSON, lambda match: "".join(f"\\u{unit:04x}" for unit in _utf16(match[0])), text)


def neutralise_xml(text: str) -> str:
    """Return `text` without what XML 1.0 forbids (w3.org/TR/xml, 2.2); the document then goes through `disarm_xml`."""
    return "\n".join(re.sub(_NOT_XML, lambda match: _escaped(match[0]), neutralise(line)) for line in text.split("\n"))


def disarm_xml(document: str) -> str:
    """Return the XML `document` with commands broken by character references; its meaning stays the same."""
    return re.sub(_COMMAND_IN_XML, lambda match: f"&#{ord(match[0])};", document)


def _utf16(character: str) -> tuple[int, ...]:
    data = character.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[start : start + 2]) for start in range(0, len(data), 2))


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")
