"""What a shell completes: the candidates, and the scripts in real shells on a real terminal."""

import fcntl
import os
import shutil
import subprocess
import termios
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import STAGERUN, Project
from tests.terminal import Terminal


RECIPE: Final = """
from pathlib import Path
from typing import Literal

if __name__ != "recipes.orders":
    import os
    assert "IMPORTABLE" in os.environ, "a completion imports nothing"

class Import(LiveOperation):
    '''Load the orders.'''
    stages = ["Load", "Save all"]
    tags = ["nightly"]
    region: Literal["eu", "us"] = "eu"
    source: Path = Path("x")
    note: str = ""
    dry: bool = False
    token: Secret | None = None

    def run(self, p):
        with p.stage("Load"):
            pass
        assert self.dry, "no rows"
"""


@pytest.fixture
def orders(project: Project) -> Project:
    project.recipe("orders", RECIPE)
    project.recipe("broken", "def run(:")
    for options in ((), ("--dry",)):
        project.stagerun("run", "orders", *options, environ={"IMPORTABLE": "1"})
    return project


def _offered(project: Project, *words: str) -> list[str]:
    done = project.stagerun("completion", "bash", "--", *words)
    assert (done.code, done.err) == (0, "")
    return done.out.splitlines()


def test_a_line_is_completed_without_importing_a_recipe(orders: Project) -> None:
    told = {
        "his": ["history\tShow past runs, newest first."],
        "run ord": ["orders:Import\tLoad the orders."],
        "run recipes/": [":\tfiles"],
        "run orders:Import --re": ["--region\t[default: eu]"],
        "run orders --region ": ["eu", "us"],
        "run orders --region=u": ["--region=us"],
        "run orders --source ": [":\tfiles"],
        "run orders --note @": ["@recipes/__pycache__/", "@recipes/broken.py", "@recipes/orders.py"],
        "run orders --note=@recipes/o": ["--note=@recipes/orders.py"],
        "run orders --note @@rec": [],
        "run orders --note rec": [],
        "run orders --token-f": ["--token-file\t[or as STAGERUN_TOKEN]"],
        "run nowhere --re": [],
        "run broken --re": [],
        "run orders --progress t": ["tty"],
        "run orders --log-level e": ["error"],
        "status l": ["last\tthe newest run"],
        "resume 1 --from ": ["Load\tdone", "Save all\tpending"],
        "resume 99 --from ": [],
        "history --state su": ["succeeded"],
        "history --tag ": ["nightly"],
        "history --operation orders:": ["orders:Import"],
        "history or": ["orders", "orders:Import"],
        "export --format j": ["junit"],
        "completion z": ["zsh"],
        "nothing ": [],
    }

    assert {line: _offered(orders, *line.split(" ")) for line in told} == told
    about = [line.split("\t") for line in _offered(orders, "status", "")]
    assert [(id_, *text.split(", ")[:2]) for id_, text in about] == [
        ("2", "orders:Import", "succeeded"),
        ("1", "orders:Import", "failed"),
        ("last", "the newest run"),
    ]


def test_an_unknown_shell_is_refused_with_the_known_ones(project: Project) -> None:
    refused = project.stagerun("completion", "tcsh")

    assert (refused.code, refused.err) == (
        2,
        "stagerun: there is no completion for 'tcsh'\n  shells: bash, zsh, fish\n",
    )


class _Shell:
    """A shell on a terminal, as `tests.terminal` wants it."""

    def __init__(self, terminal: int, arguments: list[str], folder: Path, environ: dict[str, str]) -> None:
        def lead() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=environ,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            preexec_fn=lead,  # noqa: PLW1509 - the tests start it from their only thread
        )
        os.close(terminal)
        self.pid, self.poll, self.wait = self._process.pid, self._process.poll, self._process.wait


SHELLS: Final = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(stagerun completion bash)"; echo re""ady'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u; eval "$(stagerun completion zsh)"; echo re""ady'),
    "fish": (["fish", "--no-config", "-i"], 'stagerun completion fish | source; echo re""ady'),
}


@pytest.mark.parametrize("name", list(SHELLS))
def test_a_shell_completes_commands_operations_options_values_runs_and_files(orders: Project, name: str) -> None:
    arguments, setup = SHELLS[name]
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    environ = orders.environ | {
        "PATH": f"{STAGERUN.parent}:/usr/bin:/bin",
        "HOME": str(orders.root),
        "LC_ALL": "C.UTF-8",
    }
    typed = {
        "stagerun his": "stagerun history",
        "stagerun run orders:Im": "stagerun run orders:Import",
        "stagerun run orders:Import --reg": "stagerun run orders:Import --region",
        "stagerun run orders:Import --region=u": "stagerun run orders:Import --region=us",
        "stagerun run orders:Import --note @recipes/or": "stagerun run orders:Import --note @recipes/orders.py",
        "stagerun resume 1 --from Sa": "stagerun resume 1 --from Save\\ all",
        "stagerun run reci": "stagerun run recipes/",
    }
    with Terminal(lambda slave: _Shell(slave, arguments, orders.root, environ), columns=120, rows=50) as terminal:
        terminal.send(f"{setup}\r".encode())
        terminal.wait_for("\nready")
        for line, whole in typed.items():
            terminal.send(f"{line}\t".encode())
            terminal.wait_for(whole)
            terminal.send(b"\x15")
        terminal.send(b"stagerun status \t\t")
        terminal.wait_for("orders:Import, failed")
        shown = "\n".join(terminal.lines)
        terminal.send(b"\x15exit\r")
        terminal.wait()
    assert shown.index("orders:Import, succeeded") < shown.index("orders:Import, failed")  # newest first
