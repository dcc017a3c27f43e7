"""What each command loads, checked by the modules and never by a clock."""

import json
import subprocess
import sys
from typing import Final

import pytest

from tests.conftest import Project


HEAVY: Final = {"rich", "sqlite_utils", "asyncio", "importlib.metadata", "logging", "psutil", "tenacity"}

ONE: Final = """
class Import(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            for _ in p.track(range(3)):
                p.log("a line")
        with p.stage("Save"):
            p.result({"count": 3})
"""

# Modules that Python itself or a coverage tool has loaded before are not ours.
_WRAPPER: Final = """
import sys
before = set(sys.modules)
def tell():
    import json
    loaded = sorted(set(sys.modules) - before)
    with open("modules.json", "w") as file:
        json.dump(loaded, file)
"""
_COMMAND: Final = f"""{_WRAPPER}
from stagerun.__main__ import main
code = main()
tell()
sys.exit(code)
"""


def _loaded(project: Project, code: str, *arguments: str) -> set[str]:
    """Return the modules that `code` loads in a process of its own."""
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=project.root,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=60,
    )
    modules: list[str] = json.loads((project.root / "modules.json").read_text())
    return set(modules)


@pytest.fixture
def recorded(project: Project) -> Project:
    """A project whose journal holds a run already."""
    project.recipe("orders", ONE)
    assert project.stagerun("run", "orders:Import").code == 0
    return project


def _elsewhere(loaded: set[str]) -> set[str]:
    """Return the modules that only a run at another place needs."""
    return {name for name in loaded if name.startswith(("stagerun.remote", "stagerun.commands.places", "distributed"))}


def test_importing_stagerun_loads_no_library(project: Project) -> None:
    loaded = _loaded(project, f"{_WRAPPER}import stagerun\ntell()")

    assert {"stagerun"} <= loaded
    assert loaded & {"click", "sqlite3", "msgspec", "stagerun.authoring.operation", *HEAVY} == set()


def test_what_a_recipe_imports_loads_no_command_line_and_no_journal(project: Project) -> None:
    names = "LiveOperation, OperationCancelled, Progress, Secret"
    loaded = _loaded(project, f"{_WRAPPER}from stagerun import {names}\ntell()")

    assert {"stagerun.authoring.operation", "stagerun.authoring.progress"} <= loaded
    assert loaded & {"click", "sqlite3", "stagerun.journal.writing", *HEAVY} == set()


def test_the_version_is_answered_without_a_command_line_parser(project: Project) -> None:
    loaded = _loaded(project, _COMMAND, "--version")

    assert {name for name in loaded if name.startswith("stagerun")} == {"stagerun", "stagerun.__main__"}
    assert loaded & {"click", "sqlite3", *HEAVY} == set()


def test_the_help_loads_no_journal(project: Project) -> None:
    loaded = _loaded(project, _COMMAND, "--help")

    assert {"click"} <= loaded
    assert loaded & {"sqlite3", *HEAVY} == set()
    assert _elsewhere(loaded) == set()


@pytest.mark.parametrize("arguments", [["status"], ["history"], ["logs", "1"]], ids=" ".join)
def test_a_read_command_loads_sqlite3_and_nothing_heavy(recorded: Project, arguments: list[str]) -> None:
    loaded = _loaded(recorded, _COMMAND, *arguments)

    assert {"sqlite3", "stagerun.journal.reading"} <= loaded
    assert loaded & {"stagerun.engine.runner", "stagerun.journal.writing", *HEAVY} == set()
    assert _elsewhere(loaded) == set()


def test_list_loads_nothing_heavy(recorded: Project) -> None:
    loaded = _loaded(recorded, _COMMAND, "list")

    assert {"stagerun.authoring.finding"} <= loaded
    assert loaded & {"stagerun.engine.runner", "stagerun.journal.writing", *HEAVY} == set()


def test_a_plain_run_on_an_existing_journal_loads_nothing_heavy(recorded: Project) -> None:
    loaded = _loaded(recorded, _COMMAND, "run", "orders:Import")

    assert {"sqlite3", "stagerun.engine.runner", "stagerun.render.plain"} <= loaded
    assert (
        loaded & {"subprocess", "concurrent.futures", "stagerun.programs.children", "stagerun.authoring.fanout"}
        == set()
    )
    assert (
        loaded
        & {
            *HEAVY,
            *("stagerun.authoring.async_progress", "stagerun.authoring.sources"),
            *("stagerun.engine.hooks", "stagerun.notify", "urllib.request"),
        }
        == set()
    )
    assert _elsewhere(loaded) == set()


def test_a_run_at_another_place_loads_no_cluster_unless_it_is_one(recorded: Project) -> None:
    loaded = _loaded(recorded, _COMMAND, "run", "orders:Import", "--on", "local:")

    assert {"stagerun.remote.supervisor", "stagerun.remote.places.command"} <= loaded
    assert loaded & {"stagerun.remote.far", "stagerun.remote.places.dask", "distributed", "rich", "asyncio"} == set()


def test_the_first_run_on_a_new_journal_loads_sqlite_utils_for_its_migrations(project: Project) -> None:
    project.recipe("orders", ONE)

    loaded = _loaded(project, _COMMAND, "run", "orders:Import")

    assert {"sqlite_utils", "stagerun.engine.runner"} <= loaded
    assert loaded & {"rich", "psutil", "tenacity"} == set()
