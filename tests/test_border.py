"""Everything that the program prints comes through one border, and what it prints of others does not act there."""

import ast
from collections import defaultdict
from pathlib import Path

import click
import pytest

import stagerun
from stagerun.cli import cli
from tests import hostile
from tests.ci_parsers import PARSERS, controls
from tests.conftest import Done, Project


SOURCE = Path(stagerun.__file__).parent

# Who writes to a stream, and why that is safe.
WRITERS = {
    "commands/printing.py": {"click.echo"},  # the border of the commands: each line is made safe there
    "text/streams.py": {"original.write", "original.flush"},  # and what is not ours: each line is made safe there
    "render/output.py": {"os.write", "stream.flush"},  # the displays: their lines come from a Dialect
    "render/live.py": {"Console", "_console.print"},  # of the same lines, and `frame` escapes each part
    "__main__.py": {"stdout.write"},  # the version
    # These print to the standard streams, which are SafeStreams by then.
    "cli.py": {"error.show", "stream.flush"},
    "commands/help.py": {"click.echo"},
    "commands/parameters.py": {"click.prompt"},
    "authoring/capture.py": {"stderr.write", "original.write", "original.flush", "stdout.write"},
    "commands/questions.py": {"click.prompt", "click.echo"},  # each part is neutralised there
    "engine/forks.py": {"stream.flush", "stderr.write"},
    "commands/report.py": {"click.echo", "stream.write"},  # HTML to a pipe or a file: each value is neutralised there
    "commands/serve.py": {"click.echo", "stdout.flush", "stream.write"},  # the address, also in a file for a browser
    # Not what the program prints.
    "reports/markdown.py": {"stream.write"},  # the summary of a job, a file
    "programs/running.py": {"os.write"},  # the input of a program
    "web/tokens.py": {"stream.write"},  # the file of the token
    "testing/crashes.py": {"stream.write"},  # what a fork of a test has raised, for its parent
    "commands/init.py": {"stream.write"},  # the files of a new project
    "remote/line.py": {"os.write"},  # frames for the process at the other end
    "authoring/cluster.py": {"__stderr__.write"},  # the log of a worker of somebody's cluster
}
_CALLS = {"echo", "secho", "prompt", "confirm", "pause", "show", "print", "write", "writelines", "flush", "Console"}
_STREAMS = {"click", "os", "error", "sys", "stdout", "stderr", "__stdout__", "__stderr__", "stream", "original"}
_STREAMS |= {"console", "_console", "buffer"}


def test_nobody_writes_to_a_stream_but_those_whose_text_is_made_safe() -> None:
    found = defaultdict[str, set[str]](set)
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (name := _written_to(node.func)):
                found[str(file.relative_to(SOURCE))].add(name)

    assert found == WRITERS


def _written_to(function: ast.expr) -> str | None:
    match function:
        case ast.Name("print" | "Console" | "input" as name):
            return name
        case ast.Attribute(ast.Name(stream) | ast.Attribute(attr=stream), name):
            return f"{stream}.{name}" if name in _CALLS and stream in _STREAMS else None
        case _:
            return None


# --- options


ALL = (
    "x\n::error::forged\r##[error]forged##vso[task.complete result=Failed;]##teamcity[buildStop comment='forged']"
    "\n--- forged\n\x1b]0;title\x07\x1b[2J\u202e\u3164\ue000\x9b31m\u2028::error::forged"
)
# Without what the program itself would have the systems do.
QUIET = {"STAGERUN_PROGRESS": "quiet", "NO_COLOR": "1"}
SYSTEMS = ("none", *PARSERS)
COMMANDS = sorted(cli.list_commands(click.Context(cli)))
# What a command can't do without. `serve` would go on for ever: nobody can listen on an address for documentation.
_NEEDED = {
    "run": ["demo:Calm"],
    "show": ["demo:Calm"],
    "export": ["--format", "junit"],
    "report": ["--output", "run.html"],
    "serve": ["--host", "192.0.2.1"],
}


def _options(command: str) -> list[list[str]]:
    """Return the ways to give a text to the command: each option that takes one, with what it needs beside it."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    needed = _NEEDED.get(command, [])
    ways = [[ALL], ["--" + ALL], [f"-{ALL}"], [f"demo:{ALL}"], [f"{ALL}.py:Calm"], [f"last~{ALL}"]]
    for each in found.params:
        if isinstance(each, click.Option):
            name = each.opts[0]
            ways += [[*needed, f"{name}={ALL}"]] if each.is_flag else [[*needed, name, ALL], [*needed, f"{name}={ALL}"]]
            ways += [[*needed, f"{name}={given}{ALL}"] for given in ("count=", "token=") if each.multiple]
    return ways


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_of_any_command_acts_where_it_is_told(project: Project, command: str, seed: int) -> None:
    project.recipe("demo", CALM)
    project.stagerun("run", "demo:Calm")
    ways = _options(command)[seed % 2 :: 2]  # the other half another time

    acted, told = {}, list[str]()
    for place, arguments in enumerate(ways):
        system = SYSTEMS[place % len(SYSTEMS)]
        done = project.stagerun(command, *arguments, environ=QUIET | {"STAGERUN_CI": system})
        acted[(*arguments, system)] = _acting(done, system)
        told += _lines(done)

    assert {way: found for way, found in acted.items() if found} == {}
    own = ("::error::forged", "--- forged", "Traceback")
    assert [line for line in told if line.lstrip().startswith(own)] == []
    assert len(acted) == len(ways) > 2


@pytest.mark.parametrize(
    "name", ["STAGERUN_JOURNAL", "STAGERUN_PROGRESS", "STAGERUN_TIMEOUT", "STAGERUN_COUNT", "TERM"]
)
def test_nothing_in_the_environment_acts_where_it_is_told(project: Project, name: str) -> None:
    project.recipe("demo", CALM)

    acted = {
        system: _acting(
            project.stagerun("run", "demo:Calm", environ=QUIET | {name: ALL, "STAGERUN_CI": system}), system
        )
        for system in SYSTEMS
    }

    assert {system: found for system, found in acted.items() if found} == {}


# --- recipes

CALM = """
class Calm(LiveOperation):
    stages = ["Load"]
    count: int = 1

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            pass
"""

HOSTILE = """
import atexit, sys, warnings
from typing import Annotated, Literal

LINES = {lines!r}
print(*LINES, sep="\\n")
print(*LINES, sep="\\n", file=sys.stderr)
warnings.warn(LINES[0])

class Noisy(LiveOperation):
    {text!r}
    stages = ["Load", *LINES[:20]]
    choice: Annotated[Literal["a", {text!r}], {text!r}] = {text!r}
    name: Annotated[str, {text!r}] = {text!r}

    def run(self, p: Progress) -> None:
        atexit.register(leave)

class Refusing(Noisy):
    def __init__(self, **fields):
        raise ValueError({text!r})

def leave():
    print(*LINES, sep="\\n", flush=True)
    for line in LINES[:100]:
        print(line, end="", flush=True)
    sys.stdout.buffer.write("\\n".join(LINES).encode() + b"\\n")
    raise ValueError("\\n".join(LINES))
"""
TEXT = "::error::forged\r##[error]forged \x1b[2J\n\n    \b\n    " + "\n    ".join(hostile.LINES)


@pytest.mark.parametrize(
    "system", [pytest.param(each, marks=() if each == "github" else pytest.mark.soak) for each in SYSTEMS]
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "demo:Noisy", "--help"),
        ("run", "demo:Noisy", "--dry-run"),
        ("run", "demo:Noisy"),
        ("run", "demo:Noisy", "--choice", "b"),
        ("run", "demo:Refusing"),
        ("run", "broken"),
        ("show", "demo:Noisy"),
        ("show", "demo:Noisy", "--json"),
        ("list",),
        ("list", "--json"),
    ],
    ids=" ".join,
)
def test_no_text_of_a_recipe_acts_where_it_is_shown(project: Project, arguments: tuple[str, ...], system: str) -> None:
    project.recipe("demo", HOSTILE.format(lines=list(hostile.LINES), text=TEXT))
    project.recipe("broken", f"raise ValueError({TEXT!r})")

    done = project.stagerun(*arguments, environ=QUIET | {"STAGERUN_CI": system})

    assert _acting(done, system) == []
    assert "forged" in done.out + done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_completes_does_not_act(project: Project, shell: str) -> None:
    project.recipe("demo", HOSTILE.format(lines=list(hostile.LINES), text=TEXT))
    line = {"COMP_WORDS": "stagerun run demo:Noisy --", "COMP_CWORD": "3" if shell != "fish" else "--"}

    done = project.stagerun(environ={"_STAGERUN_COMPLETE": f"{shell}_complete", "STAGERUN_CI": "none"} | line)

    assert "--owner" in done.out
    assert _acting(done, "none") == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_fork_of_a_recipe_is_made_safe_like_the_recipe(project: Project, system: str) -> None:
    body = "\n".join(
        [
            "import multiprocessing, logging, sys, time",
            f"LINES = {list(hostile.LINES)!r}",
            "def say(secret):",
            '    print(*LINES, sep="\\n")',
            "    for line in LINES[:100]:",
            "        for character in line:",
            "            sys.stdout.write(character)",
            '        logging.error("%s", line)',
            "        sys.stdout.flush()",
            "    for start in range(0, len(secret), 3):",
            "        sys.stdout.write(secret[start : start + 3])",
            '    print("", f"forked {secret}", end="")',
            "class Forking(LiveOperation):",
            "    token: Secret",
            "    def run(self, p: Progress) -> None:",
            '        sys.stdout.write("begun ")',
            '        child = multiprocessing.get_context("fork").Process(target=say, args=[self.token.reveal()])',
            "        child.start()",
            "        child.join()",
            "        print()",
        ]
    )
    project.recipe("demo", body)

    done = project.stagerun(
        *("run", "demo:Forking"),
        environ=QUIET | {"STAGERUN_CI": system, "STAGERUN_TOKEN": "it's-a-zq9"},
    )

    assert _acting(done, system) == []
    assert "forked ***" in done.out
    assert "begun" not in done.out
    assert "zq9" not in done.out + done.err


def test_what_is_raised_after_the_run_shows_no_secret(project: Project) -> None:
    project.recipe(
        "demo",
        """
import atexit, sys, threading, time

class Late(LiveOperation):
    token: Secret

    def run(self, p: Progress) -> None:
        atexit.register(self.leave)
        threading.Thread(target=self.later).start()

    def later(self):
        time.sleep(0.3)
        print("later", self.token.reveal())
        raise ValueError(self.token.reveal())

    def leave(self):
        print("leaving", self.token.reveal())
        print("leaving", self.token.reveal(), file=sys.stderr, end="")
        raise KeyError(self.token.reveal())
""",
    )

    done = project.stagerun("run", "demo:Late", environ={"STAGERUN_TOKEN": "it's a \"secret"}, fresh=True)

    assert "secret" not in done.out + done.err
    assert ("later ***" in done.out, "leaving ***" in done.out, done.err.count("***")) == (True, True, 3)


def test_an_operation_that_can_not_be_created_shows_no_secret(project: Project) -> None:
    project.recipe(
        "demo",
        """
class Strict(LiveOperation):
    token: Secret

    def __init__(self, **fields):
        raise ValueError(f"not {fields['token'].reveal()!r}")
""",
    )

    done = project.stagerun("run", "demo:Strict", environ={"STAGERUN_TOKEN": "it's a \"secret"})

    assert done.err.splitlines()[0] == "stagerun: operation demo:Strict can't be created"
    assert done.err.splitlines()[-1] == "ValueError: not '***'"


def _acting(done: Done, system: str) -> list[str]:
    """Return what a terminal or the system would obey in what a command has printed."""
    lines = _lines(done)
    found = [character for line in lines for character in controls(line, colour=False)]
    if system != "none":
        found += [str(each) for text in (done.out, done.err) for each in PARSERS[system](text.encode())]
    return found


def _lines(done: Done) -> list[str]:
    return [line for text in (done.out, done.err) for line in text.split("\n")]
