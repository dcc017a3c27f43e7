"""A page of the documentation, and a reader who does what it says, block by block, in a project of its own.

A block whose line before ends with a file's name in backticks and a colon is that file. A recipe without one is called
after its first operation. A comment before a block, `not run: why`, says that it can't be executed here. What a page
takes for granted stands in comments, too: `file: NAME` with the lines of a file, `file: NAME of PAGE`, and `$ COMMAND`.

`python -m tests.pages docs/how-to/asyncio.md` writes into a page what its commands print now.
"""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from msgspec import yaml

from stagerun.machine.settings import SETTINGS
from tests.conftest import REPOSITORY, STAGERUN, Project, new_project, timeless


DOCS: Final = REPOSITORY / "docs"
PAGES: Final = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "how-to").glob("*.md"))]
HOME: Final = "/home/alice/shop"  # where the project is, on every page

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GRANTED: Final = re.compile(r"^<!-- (?:file: (\S+)(?: of (\S+) |\n(.*?))|\$ (.*?) )-->$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"`([\w./@-]*\.\w+|Makefile|crontab)`:$")
_MARK: Final = re.compile(r"^<!-- not run: (.+) -->$")
_FIRST_OPERATION: Final = re.compile(r"^class (\w+)\(LiveOperation\)", re.MULTILINE)
_SHELL: Final = re.compile(r"[|&;<>$`*()]")
_RUNS_IN_CI: Final = ("run", "script", "bash", "command")


def page_name(page: Path) -> str:
    """Return `how-to/cron.md` for a page of the documentation."""
    return str(page.relative_to(DOCS) if page.is_relative_to(DOCS) else page.name)


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    text: str
    file: str | None
    not_run: str | None
    start: int  # where its text begins in the page


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text("utf-8")
    found = [_block(match, text[: match.start()].rsplit("\n", 5)) for match in _FENCE.finditer(text)]
    found += [_granted(match) for match in _GRANTED.finditer(text)]
    return sorted(found, key=lambda block: block.start)


def _granted(match: re.Match[str]) -> Block:
    """Return what a page takes for granted: a file, or a command."""
    file, page, text, command = match.groups()
    if page:
        text = next(block.text for block in blocks(DOCS / page) if block.file == file)
    return Block(language="" if file else "granted", text=text or command, file=file, not_run=None, start=match.start())


def _block(fence: re.Match[str], before: list[str]) -> Block:
    """Return the block of a fence; `before` ends with the lines before it."""
    language, text = fence.groups()
    lines = [line for line in before if line]
    marked = _MARK.search(lines[-1]) if lines else None
    named = _FILE.search(lines[-2 if marked else -1]) if lines else None
    operation = _FIRST_OPERATION.search(text) if language == "python" else None
    return Block(
        language=language,
        text=text,
        file=named[1] if named else f"recipes/{operation[1].lower()}.py" if operation else None,
        not_run=marked[1] if marked else None,
        start=fence.start(2),
    )


def settled(text: str) -> str:
    """Return `text` without what differs from machine to machine: durations, moments, processes, blanks."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| [+-]\d{4})?", "MOMENT", timeless(text))
    text = re.sub(r"process \d+ on \S+", "process N on HOST", text)
    text = re.sub(r"about \d\S* left", "about N left", text)
    text = re.sub(r'\b(time|hostname)="[^"]*"', r'\1=""', text)  # of JUnit
    text = re.sub(r":\d+:stagerun_\d+", ":TIME:ID", text)  # of GitLab
    text = re.sub(r" \(ms\)' value='\d+'", " (ms)' value='N'", text)  # of TeamCity
    text = re.sub(r"\d+\.\d{3,}|\b\d\S*e-\d+", "0.0", text)  # of JSON
    text = re.sub(r'"(pid|host)": "?\w+"?', r'"\1": ""', text)
    # Python 3.11 and 3.13 mark the place in a line differently.
    text = re.sub(r"^ +[~^]+$\n", "", text, flags=re.MULTILINE)
    return re.sub(r" +", " ", text)


@dataclass
class Reader:
    """Somebody who does what a page says. `seen` has what the page shows, and what the reader saw instead."""

    project: Project
    code: int = 0
    shown: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    printed: str = ""

    def __post_init__(self) -> None:
        """Give the project an environment of its own, as the pages have it."""
        (self.project.root / ".venv" / "bin").mkdir(parents=True)
        (self.project.root / ".venv" / "bin" / "stagerun").symlink_to(STAGERUN)

    def read(self, block: Block) -> str:
        """Do what a block says; return it with what was seen instead of what it shows."""
        if block.not_run:
            if block.language == "python":
                compile(block.text, "a page", "exec")
            return block.text
        if block.language == "console":
            return self._session(block.text)
        if block.language == "granted":
            self.printed += self._told(block.text)
            return block.text
        if block.file:
            self._write(block.file, block.text)
        elif block.language == "python":
            exec(compile(block.text, "a page", "exec"), {"__name__": "page"})
        elif block.language == "toml":
            tables = tomllib.loads(block.text)
            assert {*tables.get("tool", {}).get("stagerun", {})} <= {*SETTINGS}
        else:
            self._is_part_of_what_was_printed(block.text)
        return block.text

    def _write(self, name: str, text: str) -> None:
        """Write a file, and check what no command on the page would."""
        file = self.project.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace(HOME, str(self.project.root)), encoding="utf-8")
        if name == "crontab":
            self._crontab(file.read_text("utf-8"))
        elif file.suffix in {".service", ".timer"}:
            self._unit(file)
        elif file.suffix in {".yml", ".yaml"}:
            for command in _commands_of(yaml.decode(text)):
                self._as_a_job(command)
        elif file.suffix == ".toml":
            tomllib.loads(text)

    def _session(self, text: str) -> str:
        """Type each command; return the session as it went."""
        lines, went = text.splitlines(), list[str]()
        while lines:
            typed = [lines.pop(0)]
            while typed[-1].endswith("\\"):
                typed.append(lines.pop(0))
            command = "\n".join(typed).removeprefix("$ ")
            told = self._told(command).splitlines()
            shown = list[str]()
            # What a recipe runs is shown like a command, too.
            while lines and (not lines[0].startswith("$ ") or lines[0] in told):
                shown.append(lines.pop(0))
            self.shown.append(settled("\n".join([*typed, *shown])))
            self.seen.append(settled("\n".join([*typed, *told])))
            self.printed += "\n".join(told) + "\n"
            went += [*typed, *(shown if self.shown[-1] == self.seen[-1] else told)]
        return "\n".join(went) + "\n"

    def _told(self, command: str) -> str:
        """Return what a command prints."""
        command = command.replace(HOME, str(self.project.root))
        given, _, simple = re.fullmatch(r"((\w+=\S+ )*)(.*)", command, re.DOTALL).groups()  # type: ignore[union-attr]
        if simple.startswith("stagerun ") and not _SHELL.search(command):
            environ = dict(each.split("=", 1) for each in given.split())
            done = self.project.stagerun(*shlex.split(simple)[1:], environ=environ)
            self.code, text = done.code, done.err + done.out
        else:
            self.code, text = self._in_a_shell(f"(exit {self.code}); {command}")
        return text.replace(str(self.project.root), HOME).replace(sys.prefix, f"{HOME}/.venv")

    def _in_a_shell(self, command: str) -> tuple[int, str]:
        path = f"{STAGERUN.parent}:{self.project.environ['PATH']}"
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=self.project.root,
            env=self.project.environ | {"PATH": path, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout

    def _as_a_job(self, command: str) -> None:
        """Run a command as cron, systemd or a CI system would: it is one that the command line knows, at least."""
        code, text = self._in_a_shell(command)
        assert code != 2, f"{command}\n{text}"
        assert code != 127, f"{command}\n{text}"
        self.printed += text

    def _crontab(self, text: str) -> None:
        for line in text.splitlines():
            if not line or line.startswith("#") or re.match(r"\w+=", line):
                continue
            *when, command = line.split(None, 5)
            assert len(when) == 5, line
            assert all(re.fullmatch(r"[\d*/,-]+", each) for each in when), line
            self._as_a_job(command.replace(r"\%", "%"))

    def _unit(self, file: Path) -> None:
        """Have systemd check a unit, where it is installed, and start what it starts."""
        unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
        unit.optionxform = str  # type: ignore[assignment, method-assign]
        unit.read_string(file.read_text("utf-8"))
        if analyze := shutil.which("systemd-analyze"):
            checked = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True, check=False)
            about = [line for line in checked.stderr.splitlines() if file.name in line]
            assert not about, "\n".join(about)
        if unit.has_option("Service", "ExecStart"):
            assert unit["Service"]["WorkingDirectory"] == str(self.project.root)
            self._as_a_job(unit["Service"]["ExecStart"])

    def _is_part_of_what_was_printed(self, text: str) -> None:
        missing = [line for line in settled(text).splitlines() if line not in settled(self.printed)]
        assert not missing, f"no command on the page printed {missing}"


def _commands_of(document: Any) -> Iterator[str]:
    """Yield what a CI system would run."""
    if isinstance(document, list):
        for each in document:
            yield from _commands_of(each)
    elif isinstance(document, dict):
        for key, value in document.items():
            lines = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            if key in _RUNS_IN_CI:
                yield from (each for each in lines if isinstance(each, str) and "stagerun " in each)
            yield from _commands_of(value)


def _update(page: Path) -> None:
    """Write into a page what its commands print now."""
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(new_project(Path(folder)))
        text, went = page.read_text("utf-8"), [(block, reader.read(block)) for block in blocks(page)]
    for block, now in reversed(went):
        if block.language != "console":
            continue
        text = text[: block.start] + now + text[block.start + len(block.text) :]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        _update(Path(argument).resolve())
