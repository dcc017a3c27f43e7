"""What a terminal goes through: keys that are pressed, Ctrl-Z and fg, a kill; and how it is left."""

import fcntl
import functools
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.conftest import STAGERUN, Project
from tests.processes import until
from tests.terminal import Terminal
from tests.test_live import _HOLD, redrawn, seen, shows


WORK = """
class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        with p.stage("Load"):
            p.log("read 10,000 rows")
            hold("half")
            p.log("the rest")
"""
REGION = ["[1/1] Load", "read 10,000 rows", " run 1 · demo:Import 0.0s", " ● Load 0.0s"]
END = [
    "✓ [1/1] Load: done in 0.0s",
    "run 1 · demo:Import · started by alice",
    "✓ Load 0.0s",
    "run 1 succeeded in 0.0s",
]

Open = Callable[..., Terminal]


@pytest.fixture
def open_terminal(project: Project) -> Open:
    """Return a function that runs a recipe on a terminal."""

    def run(source: str = WORK, *arguments: str, **options: Any) -> Terminal:
        project.recipe("demo", _HOLD + source)
        return project.terminal(*(arguments or ("run", "demo:Import")), **options)

    return run


def echoes(terminal: Terminal) -> bool:
    modes = termios.tcgetattr(terminal._master)[3]
    assert isinstance(modes, int)
    return bool(modes & termios.ECHO)


def test_keys_leave_no_trace_and_echo_is_back_in_the_end(open_terminal: Open, project: Project) -> None:
    with open_terminal() as terminal:
        assert shows(terminal, REGION)
        assert not echoes(terminal)
        terminal.send(b"\n\n\nabc\n\x1b[A")
        redrawn(terminal)
        assert shows(terminal, REGION)
        assert terminal.cursor_is_visible
        (project.root / "half").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [*REGION[:2], "the rest", *END]
        assert echoes(terminal)


def test_a_recipe_that_asks_gets_the_terminal_for_the_answer(project: Project) -> None:
    body = "print('your ', end=''); p.log('hello ' + input('name? '))"
    project.recipe("demo", f"class Ask(LiveOperation):\n    def run(self, p):\n        {body}\n")

    with pexpect.spawn(
        sys.executable, ["-m", "stagerun", "run", "demo"], cwd=project.root, env=project.environ, encoding="utf-8"
    ) as terminal:
        terminal.expect_exact("your name? ")
        terminal.sendline("bob")
        terminal.expect_exact("bob\r\n")  # the echo
        terminal.expect_exact("hello bob\r\n")
        terminal.expect_exact("run 1 succeeded")
        terminal.expect(pexpect.EOF)


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM], [signal.SIGINT] * 3], ids=["a signal", "three, the last of which ends it at once"]
)
def test_however_a_run_is_stopped_echo_is_back(
    open_terminal: Open, project: Project, signals: list[signal.Signals]
) -> None:
    source = """
class Import(LiveOperation):
    def run(self, p: Progress):
        for name in ("first", "second", "third"):
            try:
                hold(name)
            except BaseException:
                if name == "third" or TERM:
                    raise
"""
    with open_terminal(f"TERM = {signals == [signal.SIGTERM]}\n{source}") as terminal:
        for number, name in zip(signals, ("first", "second", "third"), strict=False):
            terminal.wait_until((project.root / f"{name}-reached").exists)
            redrawn(terminal, 1)
            assert not echoes(terminal)
            os.kill(terminal._process.pid, number)

        assert terminal.wait() != 0
        assert echoes(terminal)


def test_a_run_that_no_shell_could_continue_is_not_stopped_by_control_z(open_terminal: Open, project: Project) -> None:
    with open_terminal() as terminal:
        assert shows(terminal, REGION)
        terminal.send(b"\x1a")
        redrawn(terminal)
        assert shows(terminal, REGION)
        (project.root / "half").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [*REGION[:2], "the rest", *END]


def _shell(slave: int, *, cwd: Path, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        ["bash", "--norc", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cwd,
        env=environ | {"PS1": "$ ", "HISTFILE": ""},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - the one call that only the child can make
    )
    os.close(slave)
    return process


def test_control_z_gives_the_shell_its_terminal_back_and_fg_goes_on(project: Project) -> None:
    project.recipe("demo", _HOLD + WORK)
    (project.root / "s").symlink_to(STAGERUN)
    with Terminal(functools.partial(_shell, cwd=project.root, environ=project.environ)) as terminal:
        terminal.wait_for("$")
        terminal.send(b"./s run demo:Import\n")
        terminal.wait_for("● Load")
        terminal.send(b"\x1a")
        terminal.wait_for("Stopped")
        assert not any(line.startswith(" run 1") or "●" in line for line in terminal.lines)
        terminal.send(b"echo in the shell\n")
        terminal.wait_until(lambda: terminal.lines.count("in the shell") == 1)

        terminal.send(b"fg\n")
        terminal.wait_for("● Load")
        redrawn(terminal)
        assert not echoes(terminal)
        assert seen(terminal)[-2:] == REGION[2:]
        terminal.send(b"\x1a")
        terminal.wait_until(lambda: "\n".join(terminal.lines).count("Stopped") == 2)
        (project.root / "half").touch()
        terminal.send(b"bg\n")
        terminal.wait_for("run 1 succeeded")
        terminal.send(b"exit\n")

        terminal.wait()
        assert [line.removeprefix("$ ") for line in seen(terminal) if "Load" in line or "rest" in line] == [
            "[1/1] Load",
            "the rest",
            "✓ [1/1] Load: done in 0.0s",
            "✓ Load 0.0s",
        ]


def test_watch_leaves_the_terminal_as_it_was(project: Project) -> None:
    project.recipe("demo", _HOLD + WORK)
    with project.start("run", "demo:Import", "--progress", "quiet") as run:
        until((project.root / "half-reached").exists)
        with project.terminal("watch") as terminal:
            terminal.wait_for("● Load")
            redrawn(terminal, 2)
            assert not echoes(terminal)
            terminal.send(b"\n\n\x03")

            terminal.wait()
            assert echoes(terminal)
        (project.root / "half").touch()
        run.communicate(timeout=60)
