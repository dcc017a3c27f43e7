r"""The file of variables that `env_file` in the settings names: `NAME=value` lines, as shells and containers read them.

A value stands bare, in single quotes as it is, or in double quotes with \n, \t, \" and \\; any other backslash stays.
It may span lines in quotes. Nothing is substituted.
"""

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from stagerun.errors import UsageError


_BLANK: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_VARIABLE: Final = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*
    (?:'(?P<literal>[^']*)'|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^'"\s][^\n]*?|))
    (?:[ \t]+\#[^\n]*|[ \t]*)(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$", "`": "`"}


def load(file: Path, environ: MutableMapping[str, str]) -> list[str]:
    """Set the variables of `file` that are not set yet, and return their names; nothing if there is no such file."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []  # it is seldom checked in, and CI sets the variables itself
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"env_file {file} can't be read: {error}") from None
    if "\0" in text:
        raise UsageError(f"env_file {file} can't be read: it holds a null character")
    new = {name: value for name, value in _variables(text, file).items() if name not in environ}
    environ.update(new)
    return sorted(new)


def _variables(text: str, file: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    place = 0
    text = text.replace("\r\n", "\n")
    while place < len(text):
        if (blank := _BLANK.match(text, place)) is not None:
            place = blank.end()
            continue
        line = _VARIABLE.match(text, place)
        if line is None:
            raise UsageError(
                f"env_file {file}, line {text.count(chr(10), 0, place) + 1}: it is not NAME=value",
                "put a value with blanks or quotes in quotes",
            )
        found[line["name"]] = _value(line)
        place = line.end()
    return found


def _value(line: "re.Match[str]") -> str:
    if line["quoted"] is not None:
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), line["quoted"], flags=re.DOTALL)
    return line["literal"] if line["literal"] is not None else line["bare"]
