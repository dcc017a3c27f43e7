"""Makes `stagerun/text/unicode_ranges.py` from the files of the Unicode Character Database.

    python -m tests.unicode_data /usr/share/unicode > src/stagerun/text/unicode_ranges.py

The folder is that of Debian's package unicode-data; the files are also at unicode.org/Public.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path


_WIDTH = 100
_HEAD = '''"""Two properties of Unicode {version}, as the inside of a character class of `re`.

Written by `python -m tests.unicode_data` from DerivedCoreProperties.txt and emoji/emoji-data.txt (unicode.org/Public).
"""

from typing import Final


'''


def ranges(file: Path, name: str) -> list[tuple[int, int]]:
    """Return the first and the last code point of each stretch that has the property."""
    found = list[tuple[int, int]]()
    for first, last in sorted(_listed(file.read_text("utf-8"), name)):
        if found and found[-1][1] + 1 == first:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return found


def _listed(text: str, name: str) -> Iterator[tuple[int, int]]:
    for match in re.finditer(rf"(?m)^([0-9A-F]+)(?:\.\.([0-9A-F]+))?\s*; {name}\s*#", text):
        yield int(match[1], 16), int(match[2] or match[1], 16)


def _constant(name: str, found: list[tuple[int, int]]) -> str:
    lines = [""]
    for first, last in found:
        told = _escape(first) if first == last else f"{_escape(first)}-{_escape(last)}"
        if len(lines[-1] + told) > _WIDTH:
            lines.append("")
        lines[-1] += told
    return f"{name}: Final = (\n" + "".join(f'    r"{line}"\n' for line in lines) + ")\n"


def _escape(code: int) -> str:
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


def main(folder: Path) -> None:
    core, emoji = folder / "DerivedCoreProperties.txt", folder / "emoji" / "emoji-data.txt"
    match = re.search(r"-([\d.]+)\.txt", core.read_text("utf-8"))
    assert match is not None
    sys.stdout.write(_HEAD.format(version=match[1]))
    sys.stdout.write(_constant("DEFAULT_IGNORABLE", ranges(core, "Default_Ignorable_Code_Point")))
    sys.stdout.write(_constant("PICTOGRAPHIC", ranges(emoji, "Extended_Pictographic")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
