"""The recipes that come with the project, run as a newcomer would run them."""

import re
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest
from sqlite_utils import Database

from tests.conftest import Done, Project
from tests.journals import reading


REPOSITORY: Final = Path(__file__).parents[1]


@pytest.fixture
def demo(project: Project, tmp_path: Path) -> Project:
    """The repository's own recipes, with the journal somewhere else."""
    return Project(REPOSITORY, project.environ | {"STAGERUN_JOURNAL": str(tmp_path / "journal.db")})


def _without_times(text: str) -> str:
    """Return the text as a machine of any speed prints it: no durations, and of a loop only its last line."""
    text = re.sub(r"^\w+: \d\d?% .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\b(in|after) \d+\.\ds$", r"\1 0.0s", text, flags=re.MULTILINE)


def test_step_a_hands_over_to_step_b(demo: Project, tmp_path: Path) -> None:
    done = demo.stagerun("run", "recipe:StepA", "--journal", str(tmp_path / "journal.db"))

    assert (done.code, done.err) == (0, "")
    assert _without_times(done.out) == (
        "run 1 · recipe:StepA · started by alice\n"
        "Step A done\n"
        "run 1 succeeded in 0.0s\n"
        "run 2 · recipe:StepB · chained from run 1\n"
        "=== [1/2] Greet ===\n"
        "hello, alice\n"
        "--- [1/2] Greet: done in 0.0s\n"
        "=== [2/2] Count ===\n"
        "Count: 100% (1,000/1,000 numbers) in 0.0s\n"
        "--- [2/2] Count: done in 0.0s\n"
        "total=499500\n"
        "run 2 succeeded in 0.0s\n"
    )


def test_index_reads_the_standard_library_and_hands_over_to_its_report(demo: Project, tmp_path: Path) -> None:
    path, output, report = tmp_path / "journal.db", tmp_path / "stdlib.db", tmp_path / "stdlib.md"
    root = Path(sysconfig.get_path("stdlib"))

    done = demo.stagerun("run", "stdlib:Index", "--limit", "20", "--output", str(output), "--journal", str(path))

    modules = list(Database(output, execute_plugins=False)["modules"].rows)
    with reading(path) as records:
        index, told = records.find("1"), records.find("2")
    counts = {name: sum(module[name] for module in modules) for name in ("lines", "classes", "functions")}
    assert (done.code, done.err) == (0, "")
    assert index.result_context == {"files": 20, "broken": 0} | counts
    assert told.result_context == {"report": str(report)}
    assert _without_times(done.out) == (
        "run 1 · stdlib:Index · started by alice\n"
        "=== [1/3] Scan ===\n"
        f"found 20 files in {root}\n"
        "--- [1/3] Scan: done in 0.0s\n"
        "=== [2/3] Parse ===\n"
        "Parse: 100% (20/20 files) in 0.0s\n"
        "--- [2/3] Parse: done in 0.0s\n"
        "=== [3/3] Save ===\n"
        f"wrote {output}\n"
        "--- [3/3] Save: done in 0.0s\n"
        "files=20\n"
        "broken=0\n"
        f"lines={counts['lines']}\n"
        f"classes={counts['classes']}\n"
        f"functions={counts['functions']}\n"
        "run 1 succeeded in 0.0s\n"
        "run 2 · stdlib:Report · chained from run 1\n"
        "=== [1/2] Read ===\n"
        "--- [1/2] Read: done in 0.0s\n"
        "=== [2/2] Write ===\n"
        "--- [2/2] Write: done in 0.0s\n"
        f"report={report}\n"
        "run 2 succeeded in 0.0s\n"
    )


def test_the_index_holds_what_is_in_the_files(demo: Project, tmp_path: Path) -> None:
    package = tmp_path / "library" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        '"""A package."""\n\n\nclass A:\n    def f(self): ...\n\n    def _g(self): ...\n'
    )
    (package / "broken.py").write_text("def\n")
    output = tmp_path / "library.db"

    done = demo.stagerun("run", "stdlib:Index", "--root", str(package.parent), "--output", str(output))

    assert (done.code, done.err) == (0, "")
    assert list(Database(output, execute_plugins=False)["modules"].rows) == [
        {"name": "package", "lines": 7, "classes": 1, "functions": 2, "public": 3, "documented": 1}
    ]
    assert (tmp_path / "library.md").read_text("utf-8") == (
        "# The standard library\n"
        "\n"
        "## Largest modules\n"
        "\n"
        "| module | lines | classes | functions | documented |\n"
        "|---|--:|--:|--:|--:|\n"
        "| `package` | 7 | 1 | 2 | 33 % |\n"
        "\n"
        "## Least documented modules\n"
        "\n"
        "| module | lines | classes | functions | documented |\n"
        "|---|--:|--:|--:|--:|\n"
    )


def _smoke(demo: Project, tmp_path: Path, python: str) -> Done:
    options = ["--python", python, "--folder", str(tmp_path / "smoke"), "--limit", "5"]
    return demo.stagerun("run", "release:Smoke", *options, "--journal", str(tmp_path / "journal.db"))


@pytest.mark.soak
def test_a_release_whose_wheel_counts_as_the_source_does_passes_its_smoke_test(demo: Project, tmp_path: Path) -> None:
    done = _smoke(demo, tmp_path, sys.executable)

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("run 1 succeeded in ")
    assert 'source=["files=5",' in done.out


@pytest.mark.soak
def test_a_release_whose_wheel_counts_otherwise_fails_its_smoke_test(demo: Project, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho files=4\n")
    python.chmod(0o755)

    done = _smoke(demo, tmp_path, str(python))

    assert done.code == 1
    assert "error: the wheel and the source differ in what they count\n" in done.out


def test_the_release_check_has_the_stages_that_a_release_goes_through(demo: Project) -> None:
    done = demo.stagerun("run", "release:Check", "--dry-run")

    assert (done.code, done.err) == (0, "")
    assert [line.split()[1] for line in done.out.splitlines() if line[:4].strip().rstrip(".").isdigit()] == [
        "Lint",
        "Types",
        "Test",
        "Build",
        "Install",
    ]
