"""The tutorial, walked by a newcomer in an empty project: every block, in order."""

import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from typing import Final

from tests.conftest import REPOSITORY, Project, timeless


PAGE: Final = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
KILLED: Final = " > run.log & sleep 4; kill -9 $!"


def _blocks() -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each block."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def _commands(block: str) -> list[tuple[str, str]]:
    """Return each command of a block with what the page says that it prints."""
    return re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def _settled(text: str) -> str:
    """Return the text as a machine of any speed prints it, wherever the kill has struck."""
    text = re.sub(r"^\w+: \d\d?% .* left\n", "", timeless(text), flags=re.MULTILINE)
    text = re.sub(r"\d+(?=/100 orders| of 100)|\d+(?=% \()", "N", text)
    return re.sub(r" +", " ", text)


def _is_killed_in_the_middle(project: Project, command: str) -> None:
    """Run a command, faster than on the page, and kill it when half of its orders are sent."""
    warehouse = project.root / "warehouse.txt"
    faster = shlex.split(command.replace("--pause 0.1", "--pause 0.02"))
    with project.start(*faster[1:]) as running:
        while not warehouse.exists() or warehouse.read_text().count("\n") < 50:
            time.sleep(0.02)
        running.kill()
        running.communicate(timeout=20)


def _told(project: Project, command: str) -> str:
    """Return what a command prints."""
    if command.startswith("stagerun "):
        done = project.stagerun(*shlex.split(command)[1:])
        return done.err + done.out
    return subprocess.run(command, shell=True, cwd=project.root, capture_output=True, text=True, check=True).stdout


def test_whoever_follows_the_tutorial_sees_what_it_shows(project: Project) -> None:
    told, shown = list[str](), list[str]()

    for language, block in _blocks():
        if language == "python":
            (project.root / "recipes" / "orders.py").write_text(block)
            continue
        for command, output in _commands(block):
            if command.endswith(KILLED):
                _is_killed_in_the_middle(project, command.removesuffix(KILLED))
            elif not command.startswith("mkdir "):
                told.append(_settled(f"$ {command}\n{_told(project, command)}"))
                shown.append(_settled(f"$ {command}\n{output}"))

    assert "".join(told) == "".join(shown)
    assert len(shown) == 10
