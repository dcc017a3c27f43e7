"""A reader who does what a page of the documentation says, block by block, in a project of its own.

`python -m tests.pages docs/how-to/asyncio.md` writes into a page what its commands print now.
"""

import functools
import json
import os
import pwd
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

from stagerun.machine.settings import SETTINGS
from tests.blocks import Block, blocks
from tests.conftest import STAGERUN, Project, plain_environ, timeless
from tests.loopback import WebService
from tests.page_files import commands_in
from tests.places import clusters
from tests.processes import until
from tests.terminal import Terminal


HOME: Final = "/home/alice/shop"  # where the project is, on every page
SERVER: Final = "127.0.0.1:8421"  # where `stagerun serve` listens, on every page
NOBODY: Final = 65534  # a user who is not root

_STAGERUN: Final = re.compile(
    r"((?:\w+=\S* )*)(?:exec )?(?:\S*/)?stagerun ([^|&;<>$`*()]*)(?:([|>]) ?(.+))?", re.DOTALL
)
_BACKGROUND: Final = re.compile(r"stagerun (.*) &(?: until (.*))?")
_KILL: Final = re.compile(r"kill -(\w+) %")
_EXPORT: Final = re.compile(r"export (\w+)=(\S*)")
_MEANWHILE: Final = re.compile(r'once it says "(.*)": \$ (.*)')
_EXTRA: Final = re.compile(r"pip install 'stagerun\[(\w+)\]'")

# What differs from machine to machine, and from run to run.
_DIFFERENT: Final = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| [+-]\d{4})?", "MOMENT"),
    (r"process \d+ on \S+", "process N on HOST"),
    (r"on \S+, answered", "on HOST, answered"),
    (r"by process \d+ \(", "by process N ("),
    (r"(?<=\(alice, )[^)]+", "N"),  # how long a run ahead has been there
    (r"\b\d\S*( \d\S*)? left", "N left"),
    (r"\b\d[\d,.]*/(?:s|min)\b", "N/s"),
    (r"[━╸─]+", "━"),
    (r"\b\d+ms\b", "0.0s"),
    (r"[▁▂▃▄▅▆▇█]+", "▁"),
    (r"\d+% (?=slower|faster)", "N% "),
    (r"token=[\w-]+", "token=…"),
    (r'\b(time|hostname)="[^"]*"', r'\1=""'),  # of JUnit
    (r":\d+:stagerun_\d+", ":TIME:ID"),  # of GitLab
    (r" \(ms\)' value='\d+'", " (ms)' value='N'"),  # of TeamCity
    (r"\d+\.\d{3,}|\b\d\S*e-\d+", "0.0"),  # of JSON
    (r'"(pid|host)": "?\w+"?', r'"\1": ""'),
    # Of doctor: versions, and what is said of that of SQLite.
    (r"(Python|stagerun) \d+\.\d+\.\d+", r"\1 V"),
    (r"\d+\.\d+\.\d+ on Python V, \w+", "V on Python V, SYSTEM"),
    (r"^(?:ok|note) +SQLite .*", "ok SQLite V"),
    (r'"\w+",(\s+"what": "SQLite",\s+"text":) ".*"', r'"ok",\1 "V"'),
    (r"journal\.db, [\d,]+ bytes", "journal.db, N bytes"),
    # Python 3.11 and 3.13 mark the place in a line differently.
    (r"^ +[~^]+$\n", ""),
    (r" +", " "),
]


def settled(text: str) -> str:
    """Return `text` without what differs from machine to machine: durations, moments, processes, blanks."""
    text = timeless(text)
    for pattern, instead in _DIFFERENT:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


@dataclass
class Reader:
    """Somebody who does what a page says. `seen` has what the page shows, and what the reader saw instead."""

    project: Project
    shown: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    _code: int = 0
    _printed: str = ""
    _typed: str = ""
    _jobs: list[Terminal] = field(default_factory=list)
    _services: list[WebService] = field(default_factory=list)
    _around: deque[Block] = field(default_factory=deque)
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        """Give the project an environment of its own, as the pages have it."""
        (self.project.root / ".venv" / "bin").mkdir(parents=True)
        (self.project.root / ".venv" / "bin" / "stagerun").symlink_to(STAGERUN)
        # What the pages call something -> what it is here.
        self._names = {HOME: str(self.project.root)}

    def read(self, block: Block) -> str:
        """Do what a block says; return it with what was seen instead of what it shows."""
        if not block.is_run:
            if block.kind == "python":
                compile(block.text, "a page", "exec")
        elif block.kind == "console":
            return self._session(block)
        elif block.kind == "do":
            self._do(block.text)
        elif block.kind == "here":
            self._provide(str(block.file), block.text)
        elif block.kind == "around":
            self._around.append(block)
        elif block.file:
            self._write(block.file, block.text, is_shown=block.is_shown)
        else:
            self._read_part(block)
        return block.text

    def _read_part(self, block: Block) -> None:
        """Do what a block says that is no session and no file."""
        if self._around:
            around = self._around.popleft()
            place = re.search(r"^( *)# the block\n", around.text, re.MULTILINE)
            assert place is not None
            self._write(str(around.file), around.text.replace(place[0], textwrap.indent(block.text, place[1])))
        elif block.kind == "python":
            exec(compile(block.text, "a page", "exec"), {"__name__": "page"})
        elif block.kind == "toml":
            tables = tomllib.loads(block.text)
            assert {*tables.get("tool", {}).get("stagerun", {})} <= {*SETTINGS}
        elif block.kind == "sh":
            told = self._told(block.text)
            assert self._code == 0, told
        else:
            assert not block.kind, f"nobody knows what to do with a block of {block.kind}"
            self._is_what_was_printed(block.text)

    def close(self) -> None:
        """End what was started. Whatever the page provides for has been used."""
        self._open.close()
        assert not self._around
        assert all(service.received for service in self._services)

    def _write(self, name: str, text: str, *, is_shown: bool = True) -> None:
        """Write a file, and check what no command on the page would."""
        file = self.project.root / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._here(text), encoding="utf-8")
        for command in commands_in(file):
            self._as_a_job(command)

    def _provide(self, name: str, kind: str) -> None:
        """Provide a folder, a web service or a host that the page names."""
        if kind == "folder":
            self._names[name] = str(self.project.root / "folders" / name.lstrip("/"))
            Path(self._names[name]).mkdir(parents=True)
        elif kind == "service":
            self._services.append(self._open.enter_context(WebService()))
            self._names[name] = self._services[-1].url
        else:
            assert kind == "host", f"nobody knows what {kind} is"
            self.project.environ.update(self._open.enter_context(clusters.ssh_anywhere()))

    def _session(self, block: Block) -> str:
        """Type each command; return the session as it went."""
        if block.how == "as another user" and os.getuid() != 0:
            return block.text
        lines, went = block.text.splitlines(), list[str]()
        while lines:
            typed = [lines.pop(0)]
            while typed[-1].endswith("\\"):
                typed.append(lines.pop(0))
            command = "\n".join(typed).removeprefix("$ ")
            told = self._typed_as(block.how, command, "" if went else command, lines).splitlines()
            shown = list[str]()
            # What a recipe runs is shown like a command, too.
            while lines and (not lines[0].startswith("$ ") or lines[0] in told):
                shown.append(lines.pop(0))
            self.shown.append(settled("\n".join([*typed, *shown])))
            self.seen.append(settled("\n".join([*typed, *told])))
            self._printed += "\n".join(told) + "\n"
            went += [*typed, *(shown if self.shown[-1] == self.seen[-1] else told)]
        return "\n".join(went) + "\n"

    def _typed_as(self, how: str, command: str, first: str, below: list[str]) -> str:
        """Return what a command prints, typed as the page says; `below` are the lines of the session after it."""
        on_terminal = "on a terminal" in how
        if how == "as another user":
            return self._as_another_user(command)
        if first and (meanwhile := _MEANWHILE.fullmatch(how)):
            job = self._start(command)
            job.wait_for(meanwhile[1])
            self._do(meanwhile[2])
            self._code = job.wait()
        elif "goes on" in how and not any(line.startswith("$ ") for line in below):
            job = self._start(command, on_terminal=on_terminal)
            expected = settled("\n".join(below))
            with suppress(AssertionError):  # what was seen instead is compared
                job.wait_until(lambda: settled(self._there("\n".join(job.lines))) == expected)
        elif on_terminal:
            job = self._start(command, on_terminal=True)
            self._code = job.wait()
        else:
            return self._told(command)
        return self._there("\n".join(job.lines))

    def _do(self, command: str) -> None:
        """Do what a page takes for granted."""
        if background := _BACKGROUND.fullmatch(command):
            self._start(f"stagerun {background[1]}")
            if background[2]:
                until(lambda: background[2] in self.project.stagerun("status").out)
        elif kill := _KILL.fullmatch(command):
            self._jobs[-1].signal(int(kill[1]) if kill[1].isdecimal() else signal.Signals[f"SIG{kill[1]}"])
            if kill[1] == "9":
                self._jobs[-1].wait()
        else:
            self._printed += self._told(command)

    def _start(self, command: str, *, on_terminal: bool = False) -> Terminal:
        """Start a command that is looked at while it runs; without `on_terminal` it prints what it prints to a file."""
        found = _STAGERUN.fullmatch(self._here(command))
        assert found is not None
        self._typed += f"{command}\n"
        environ = dict(each.split("=", 1) for each in found[1].split())
        if "serve" in found[2]:
            environ["STAGERUN_PORT"] = "0"
        elif not on_terminal:
            environ["STAGERUN_PROGRESS"] = "plain"
        job = self.project.terminal(*shlex.split(found[2]), environ=environ, columns=80 if on_terminal else 250)
        self._jobs.append(self._open.enter_context(job))
        if "serve" in found[2]:
            job.wait_for("Ctrl-C ends it")
            address = re.search(r"127\.0\.0\.1:\d+", "\n".join(job.lines))
            assert address is not None
            self._names[SERVER] = address[0]
        return job

    def _told(self, command: str) -> str:
        """Return what a command prints."""
        self._typed += f"{command}\n"
        if variable := _EXPORT.fullmatch(command):
            self.project.environ[variable[1]] = self._here(variable[2])
            return ""
        if extra := _EXTRA.fullmatch(command):
            assert extra[1] in metadata.metadata("stagerun").get_all("Provides-Extra", [])
            return ""
        command = self._here(command)
        found = _STAGERUN.fullmatch(command)
        if found is None:
            return self._there(self._in_a_shell(f"(exit {self._code}); {command}"))
        given, arguments, sign, rest = found.groups()
        environ = dict(each.split("=", 1) for each in given.split())
        if sign == ">":
            with (self.project.root / rest).open("w") as file:
                return self._there(self._run(shlex.split(arguments), environ, file.fileno()))
        if sign is None:
            return self._there(self._run(shlex.split(arguments), environ))
        shell = self._shell(rest, stdin=subprocess.PIPE)
        assert shell.stdin is not None
        assert shell.stdout is not None
        with shell, shell.stdin as pipe:
            err = self._run(shlex.split(arguments), environ, pipe.fileno())
            pipe.close()
            out = shell.stdout.read()
        self._code = shell.returncode
        return self._there(err + out)

    def _run(self, arguments: list[str], environ: dict[str, str], stdout: int | None = None) -> str:
        """Run the command as a fork; return what it prints, but for what goes to `stdout`."""
        with self.project.start(*arguments, environ=environ, stdout=stdout) as process:
            out, err = process.read(60)
        self._code = process.wait()
        return (err + out).decode()

    def _in_a_shell(self, command: str) -> str:
        shell = self._shell(command, stdin=subprocess.DEVNULL)
        text, _ = shell.communicate()
        self._code = shell.returncode
        return text

    def _shell(self, command: str, stdin: int) -> "subprocess.Popen[str]":
        path = f"{STAGERUN.parent}:{self.project.environ['PATH']}"
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.project.root,
            env=self.project.environ | {"PATH": path, "LC_ALL": "C.UTF-8"},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _as_another_user(self, command: str) -> str:
        """Return what somebody who is not root is told."""
        done = self.project.stagerun(*shlex.split(command)[1:], user=NOBODY)
        self._code = done.code
        return self._there(done.err + done.out).replace(pwd.getpwuid(NOBODY).pw_name, "alice")

    def _as_a_job(self, command: str) -> None:
        """Run a command as cron, systemd or a CI system would: it is one that the command line knows, at least."""
        text = self._told(command)
        assert self._code not in {2, 127}, f"{command}\n{text}"
        self._printed += text

    def _is_what_was_printed(self, text: str) -> None:
        """Find the lines of a block together, in what was printed, will be printed, or came to a service."""
        expected = "\n" + settled(text)

        def is_in(lines: str) -> bool:
            return expected in "\n" + settled(self._there(lines)) + "\n"

        if is_in(self._printed) or any(is_in(_body(each.body)) for one in self._services for each in one.received):
            return
        for job in self._jobs:
            with suppress(AssertionError):
                job.wait_until(functools.partial(lambda job: is_in("\n".join(job.lines)), job))
                return
        self.shown.append(settled(text))
        self.seen.append(
            "\n".join(settled(self._there("\n".join(job.lines))) for job in self._jobs) or "nothing of that"
        )

    def _here(self, text: str) -> str:
        """Return the text of a page with the names that things have here."""
        for name, here in self._names.items():
            text = text.replace(name, here)
        return text

    def _there(self, text: str) -> str:
        """Return what was printed here as a page has it: with its names, and with what is not visible in writing."""
        for name, here in self._names.items():
            text = text.replace(here, name)
        return (
            text.replace(sys.prefix, f"{HOME}/.venv").replace("\x1b", r"\e").replace("\r\n", "\n").replace("\r", r"\r")
        )


def _body(body: bytes) -> str:
    """Return what a service was told: the text of a chat, or all of it."""
    with suppress(ValueError):
        return str(json.loads(body)["text"])
    return body.decode(errors="replace")


@contextmanager
def reader() -> Iterator[Reader]:
    """Yield a reader with an empty project, in a folder that other users can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "shop" / "recipes").mkdir(parents=True)
        somebody = Reader(Project(Path(folder) / "shop", plain_environ()))
        try:
            yield somebody
        finally:
            somebody.close()


def _update(page: Path) -> None:
    """Write into a page what its commands print now."""
    with reader() as somebody:
        text, went = page.read_text("utf-8"), [(block, somebody.read(block)) for block in blocks(page)]
    for block, now in reversed(went):
        if block.kind == "console":
            length = len(textwrap.indent(block.text, block.indent, lambda _: True))
            text = (
                text[: block.start] + textwrap.indent(now, block.indent, lambda _: True) + text[block.start + length :]
            )
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        _update(Path(argument).resolve())
