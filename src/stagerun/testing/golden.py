"""Golden texts: what a run printed, compared with a file that people have read and accepted."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final


_DURATION: Final = re.compile(r"\b(?:\d+h \d\dm|\d+m \d\ds|\d+\.\ds)")
_MOMENT: Final = re.compile(r"\b\d+ (?:s|min|h) ago")
_OWNER: Final = re.compile(r"^(run \d+ . \S+ . started by ).*$", re.MULTILINE)


def timeless(text: str) -> str:
    """Return `text` with each duration as 0.0s, and each recent moment as "just now"."""
    return _MOMENT.sub("just now", _DURATION.sub("0.0s", text))


def settled(text: str, folders: Mapping[Path, str]) -> str:
    """Return `text` without what differs on another machine: times, whoever started the run, `folders`.

    Each folder is replaced by its name; one without a name is left out, so that paths in it are relative.
    """
    text = _OWNER.sub(r"\1someone", timeless(text))
    for folder, name in folders.items():
        text = text.replace(str(folder), name) if name else text.replace(f"{folder}{os.sep}", "")
    return text


def update(text: str, file: Path) -> list[Path]:
    """Make `file` hold `text`; return the file if that has changed it."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return []
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return [file]


def compare(text: str, file: Path, *, how: str) -> None:
    """Raise AssertionError with the difference if `file` does not hold `text`; `how` says how to update it."""
    if not file.exists():
        raise AssertionError(f"there is no {file}; to write it: {how}")
    accepted = file.read_text(encoding="utf-8")
    if text != accepted:
        lines = difflib.unified_diff(accepted.splitlines(), text.splitlines(), str(file), "this run", lineterm="")
        raise AssertionError("\n".join([*lines, f"to accept it: {how}"]))
