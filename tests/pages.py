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
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

import sqlite_utils.cli
from click.testing import CliRunner

from tests.blocks import OPERATION, Block, blocks
from tests.conftest import STAGERUN, Project, plain_environ
from tests.loopback import WebService
from tests.page_files import commands_in
from tests.places import clusters
from tests.processes import until
from tests.settling import settled
from tests.terminal import Terminal


HOME: Final = "/home/alice/shop"  # where the project is, on every page
SERVER: Final = "127.0.0.1:8421"  # where `stagerun serve` listens, on every page
NOBODY: Final = 65534  # a user who is not root

# What a place is in the tests -> the programs that it takes.
_PLACES: Final = {
    "host": ("ssh", "sshd", "ssh-keygen"),
    "partition": ("srun", "slurmctld", "slurmd", "munged"),
    "scheduler": ("dask",),
}
_STAGERUN: Final = re.compile(
    r"((?:\w+=\S* )*)(?:exec )?(?:\S*/)?stagerun ([^|&;<>$`*()]*)(?:> ?(\S+)|\| (.+))?", re.DOTALL
)
_BACKGROUND: Final = re.compile(r"stagerun (.*) &(?: until (.*))?")
_EXPORT: Final = re.compile(r"export (\w+)=(\S*)")
_EXTRA: Final = re.compile(r"pip install 'stagerun\[(\w+)\]'")


@dataclass
class Reader:
    """Somebody who does what a page says.

    Attributes:
        project: where.
        patient: True for one who waits for a Dask cluster.
        shown: what the page shows.
        seen: what the reader saw instead.

    """

    project: Project
    patient: bool = False
    shown: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    _code: int = 0
    _printed: str = ""
    _typed: str = ""
    _jobs: list[Terminal] = field(default_factory=list)
    _services: list[WebService] = field(default_factory=list)
    _recipes: list[tuple[str, str]] = field(default_factory=list)
    _absent: set[str] = field(default_factory=set)
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
            self._recipes += [(block.file, name) for name in OPERATION.findall(block.text)]
            self._write(block.file, block.text)
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
            folder = self.project.root / "settings"
            folder.mkdir(exist_ok=True)
            (folder / "pyproject.toml").write_text(block.text)
            done = Project(folder, self.project.environ).stagerun("config")
            assert done.code == 0, done.err
        elif block.kind == "sh":
            told = self._told(block.text)
            assert self._code == 0, told
        else:
            assert not block.kind, f"nobody knows what to do with a block of {block.kind}"
            self._is_what_was_printed(block.text)

    def expect_that_all_was_used(self) -> None:
        """Import the recipes that no command of the page has named. What the page provides for has been used."""
        for recipe, name in self._recipes:
            if Path(recipe).stem not in self._typed:
                told = self._told(f"stagerun show {recipe}:{name}")
                assert self._code == 0, told
        assert not self._around
        assert all(service.received for service in self._services)

    def _write(self, name: str, text: str) -> None:
        """Write a file, and check what no command on the page would."""
        file = self.project.root / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._here(text), encoding="utf-8")
        for command in commands_in(file):
            self._as_a_job(command)

    def _provide(self, name: str, kind: str) -> None:
        """Provide what the page names. A block that names what this machine can't provide is passed over."""
        if kind == "folder":
            self._names[name] = str(self.project.root / "folders" / name.lstrip("/"))
            Path(self._names[name]).mkdir(parents=True)
        elif kind == "service":
            self._services.append(self._open.enter_context(WebService()))
            self._names[name] = self._services[-1].url
        elif clusters.missing(*_PLACES[kind]) or (kind == "scheduler" and not self.patient):
            self._absent.add(name)
        elif kind == "host":
            self.project.environ.update(self._open.enter_context(clusters.ssh_anywhere()))
        elif kind == "partition":
            self.project.environ.update(self._open.enter_context(clusters.slurm()).environ)
        else:
            self._names[name] = self._open.enter_context(clusters.dask(small=True)).name.removeprefix("dask://")

    def _session(self, block: Block) -> str:
        """Type each command; return the session as it went."""
        if (block.how == "as another user" and os.getuid() != 0) or any(name in block.text for name in self._absent):
            return block.text
        lines, went = block.text.splitlines(), list[str]()
        while lines:
            typed = [lines.pop(0)]
            while typed[-1].endswith("\\"):
                typed.append(lines.pop(0))
            command = "\n".join(typed).removeprefix("$ ")
            told = self._typed_as(block.how, command, lines).splitlines()
            shown = list[str]()
            # What a recipe runs is shown like a command, too.
            while lines and (not lines[0].startswith("$ ") or lines[0] in told):
                shown.append(lines.pop(0))
            self.shown.append(settled("\n".join([*typed, *shown])))
            self.seen.append(settled("\n".join([*typed, *told])))
            self._printed += "\n".join(told) + "\n"
            went += [*typed, *(shown if self.shown[-1] == self.seen[-1] else told)]
        return "\n".join(went) + "\n"

    def _typed_as(self, how: str, command: str, below: list[str]) -> str:
        """Return what a command prints, typed as the page says; `below` are the lines of the session after it."""
        if how == "as another user":
            return self._as_another_user(command)
        if not how or any(line.startswith("$ ") for line in below):
            return self._told(command)
        job = self._start(command, on_terminal=how == "on a terminal")
        expected = settled("\n".join(below))
        with suppress(AssertionError):  # what was seen instead is compared
            job.wait_until(lambda: settled(self._there("\n".join(job.lines))) == expected)
        return self._there("\n".join(job.lines))

    def _do(self, command: str) -> None:
        """Do what a page takes for granted."""
        if background := _BACKGROUND.fullmatch(command):
            self._start(f"stagerun {background[1]}")
            if background[2]:
                until(lambda: background[2] in self.project.stagerun("status").out)
        elif command == "kill -9 %":
            self._jobs[-1].signal(signal.SIGKILL)
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
            self._names |= {SERVER: address[0], "-L 8421:": f"-L {clusters.free_port()}:"}
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
        command = self._here(command).removeprefix(f"cd {self.project.root} && ")
        found = _STAGERUN.fullmatch(command)
        if found is None and command.startswith("sqlite-utils "):
            return self._sqlite_utils(shlex.split(command)[1:])
        if found is None:
            return self._there(self._in_a_shell(f"(exit {self._code}); {command}"))
        given, typed, file, shell = found.groups()
        arguments, environ = shlex.split(typed), dict(each.split("=", 1) for each in given.split())
        if file:
            with (self.project.root / file).open("w") as opened:
                return self._there(self._run(arguments, environ, opened.fileno()))
        if not shell:
            return self._there(self._run(arguments, environ))
        if shell == "python -m json.tool":
            return self._there(json.dumps(json.loads(self._run(arguments, environ)), indent=4))
        with self._shell(shell, stdin=subprocess.PIPE) as reading:
            assert reading.stdin is not None
            assert reading.stdout is not None
            with reading.stdin as pipe:
                err = self._run(arguments, environ, pipe.fileno())
            out = reading.stdout.read()
        self._code = reading.returncode
        return self._there(err + out)

    def _sqlite_utils(self, arguments: list[str]) -> str:
        """Run sqlite-utils in this process: its start would take longer than all of a page."""
        with chdir(self.project.root):
            ended = CliRunner().invoke(sqlite_utils.cli.cli, arguments)
        self._code = ended.exit_code
        return ended.output

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
        """Return what somebody who is not root is told in a folder of theirs."""
        os.chown(self.project.root, NOBODY, NOBODY)
        done = self.project.stagerun(*shlex.split(command)[1:], user=NOBODY)
        os.chown(self.project.root, 0, 0)
        self._code = done.code
        return self._there(done.err + done.out).replace(pwd.getpwuid(NOBODY).pw_name, "alice")

    def _as_a_job(self, command: str) -> None:
        """Run a command as cron, systemd or a CI system would: it is one that the command line knows, at least."""
        assert not command.startswith("cd ") or command.startswith(f"cd {self.project.root} && "), command
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
        """Return what was printed here as a page has it: with its names, and with escapes for what can't be seen."""
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
def reader(*, patient: bool = False) -> Iterator[Reader]:
    """Yield a reader with an empty project, in a folder that other users can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "shop" / "recipes").mkdir(parents=True)
        somebody = Reader(Project(Path(folder) / "shop", plain_environ()), patient)
        with somebody._open:
            yield somebody
        somebody.expect_that_all_was_used()


def _update(page: Path) -> None:
    """Write into a page what its commands print now."""
    with reader(patient=True) as somebody:
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
