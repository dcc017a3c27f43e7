"""What stands on a page of the documentation: its blocks, and what the page takes for granted.

A block whose line before ends with a file's name in backticks and a colon is that file. A recipe without one is called
after its first operation. A comment right before a block says how it is read:

- `not run: why`: it can't be executed here
- `goes on`: the last command is watched until it has printed what is shown, and may go on
- `on a terminal`: the same, typed on a terminal of 80 columns
- `as another user`: the commands are typed by somebody who is not root, as whom the page was read so far

What a page takes for granted stands in comments, too:

- `file: NAME` with the lines of a file, or `file: NAME of PAGE`
- `around: NAME` with the lines of a file in which the next block that is part of one stands instead of `# the block`
- `$ COMMAND`; with lines below it a session that is compared, like one that is shown
- `$ COMMAND &`, in the background; `$ COMMAND & until TEXT`, read on once it has said that; `$ kill -9 %` ends it
- `here: NAME is a KIND`, what the tests have to provide: a folder, a service that is told something, a host for ssh, a
  partition of Slurm, a scheduler of Dask
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conftest import REPOSITORY


DOCS: Final = REPOSITORY / "docs"
PAGES: Final = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "how-to").glob("*.md"))]
OPERATION: Final = re.compile(r"^class (\w+)\(LiveOperation\)", re.MULTILINE)

_FENCE: Final = re.compile(r"^([> ]*)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"^<!-- (.*?)-->$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"`([\w./@-]*\.\w+|Makefile|crontab)`:$")
_HOW: Final = re.compile(r"not run: .+|goes on|on a terminal|as another user")


def page_name(page: Path) -> str:
    """Return `how-to/cron.md` for a page of the documentation."""
    return str(page.relative_to(DOCS) if page.is_relative_to(DOCS) else page.name)


@dataclass(frozen=True, kw_only=True)
class Block:
    """What stands between two fences, or in a comment.

    Attributes:
        kind: the language of a block that is shown; of a comment `file`, `around`, `here`, `do` or `console`.
        text: its text, without the signs of a quotation and the like.
        file: the name of the file, or of what is provided.
        how: what the comment before the block says.
        start: where its text begins in the page.
        indent: what stands before each of its lines there.
        is_shown: False for a comment.

    """

    kind: str
    text: str
    start: int
    file: str | None = None
    how: str = ""
    indent: str = ""
    is_shown: bool = True

    @property
    def is_run(self) -> bool:
        return not self.how.startswith("not run: ")


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in their order."""
    text = page.read_text("utf-8")
    shown = [_shown(match, text[: match.start()].rsplit("\n", 5)) for match in _FENCE.finditer(text)]
    granted = [block for match in _COMMENT.finditer(text) if (block := _granted(match)) is not None]
    return sorted([*shown, *granted], key=lambda block: block.start)


def _shown(fence: re.Match[str], before: list[str]) -> Block:
    """Return the block of a fence; `before` ends with the lines before it."""
    indent, language, text = fence.groups()
    lines = [line for line in before if line.strip("> ")]
    comment = _COMMENT.fullmatch(lines[-1].removeprefix(indent)) if lines else None
    how = comment[1].strip() if comment and _HOW.fullmatch(comment[1].strip()) else ""
    named = _FILE.search(lines[-2 if how else -1]) if lines else None
    operation = OPERATION.search(text) if language == "python" else None
    return Block(
        kind=language,
        text=re.sub(rf"^{indent.rstrip()} {{,{len(indent) - len(indent.rstrip())}}}", "", text, flags=re.MULTILINE),
        file=named[1] if named else f"recipes/{operation[1].lower()}.py" if operation else None,
        how=how,
        start=fence.start(3),
        indent=indent,
    )


def _granted(comment: re.Match[str]) -> Block | None:
    """Return what a page takes for granted, or None for a comment that says how a block is read."""
    said, start = comment[1], comment.start(1)
    if _HOW.fullmatch(said.strip()):
        return None
    if said.startswith("$ "):
        if "\n" in said:
            return Block(kind="console", text=said, start=start, is_shown=False)
        return Block(kind="do", text=said[2:].strip(), start=start, is_shown=False)
    kind, _, rest = said.partition(": ")
    head, _, text = rest.partition("\n")
    name, *more = head.split()
    if kind == "file" and more:
        text = next(block.text for block in blocks(DOCS / more[-1]) if block.file == name)
    elif kind == "here":
        text = more[-1]
    elif kind not in {"file", "around"}:
        raise AssertionError(f"nobody knows what this comment asks for: {said}")
    return Block(kind=kind, text=text, file=name, start=start, is_shown=False)
