"""The recipes that come with the project, run as a newcomer would run them."""

import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlite_utils import Database

from stagerun import LiveOperation, Secret, __version__
from stagerun.authoring import finding
from stagerun.machine import settings
from stagerun.testing import Bench
from tests.conftest import STAGERUN, Project
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


def test_an_index_that_was_killed_reads_only_the_files_that_are_missing(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    for number in range(40):
        (library / f"module_{number:02}.py").write_text(f"def f{number}(): ...\n")
    kit = Bench(tmp_path)
    index = finding.load("stdlib:Index", settings.find(REPOSITORY)).make(root=library)
    kit.crash_at("Parse", key="modules", item=4)

    kept = kit.run(index).plan().goes_on["modules"]
    for file in sorted(library.iterdir())[:4]:
        file.write_text("nobody reads this again")
    resumed = kit.resume()

    assert kept is not None
    assert 4 <= kept < 40
    assert resumed.chain[0].result == {"files": 40, "broken": 0, "lines": 40, "classes": 0, "functions": 40}


@pytest.mark.soak
def test_the_demo_kills_a_run_and_resumes_it(demo: Project, tmp_path: Path) -> None:
    given = {"STAGERUN": str(STAGERUN), "STAGERUN_LIMIT": "400", "STAGERUN_OUTPUT": str(tmp_path / "stdlib.db")}
    command = ["sh", str(REPOSITORY / "recipes" / "demo.sh")]

    told = subprocess.run(command, env=demo.environ | given, capture_output=True, text=True, check=True).stdout

    assert re.findall(r"^run \d  \S+  crashed", told, re.MULTILINE) == ["run 1  stdlib:Index  crashed"]
    assert re.findall(r"^run (\d) succeeded", told, re.MULTILINE) == ["2", "3"]
    assert re.search(r"^map modules: \d+ of 400 results taken from run 1$", told, re.MULTILINE)


NAMES: Final = [f"stagerun-{__version__}-py3-none-any.whl", f"stagerun-{__version__}.tar.gz"]


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Bench]:
    """A bench with programs that pretend: the build makes two files, and every version is the right one."""

    def build() -> None:
        folder = tmp_path / "release" / "dist"
        folder.mkdir(parents=True)
        (folder / NAMES[0]).touch()
        with tarfile.open(folder / NAMES[1], "w:gz") as source:
            source.add(tmp_path, f"stagerun-{__version__}", recursive=False)

    with Bench(tmp_path) as bench:
        bench.programs.stub(re.compile(r".* -m build .*"), does=build)
        bench.programs.stub(re.compile(r".*stagerun --version"), stdout=f"stagerun {__version__}\n")
        yield bench


def _release(kit: Bench, **given: Any) -> LiveOperation:
    kit.programs.stub(re.compile(r".* -m stagerun run .*"), stdout="files=200\nreport=somewhere\n")
    kit.programs.stub(re.compile(r".*"))
    found = finding.load("release:Release", settings.find(REPOSITORY))
    return found.make(owner="alice", folder=Path("release"), **given)


def _give_it_a_root(kit: Bench, release: LiveOperation, monkeypatch: pytest.MonkeyPatch, *, pyproject: str) -> None:
    monkeypatch.setattr(sys.modules[type(release).__module__], "ROOT", kit.folder)
    (kit.folder / "CHANGELOG.md").write_text(f"# Changes\n\n## {__version__} · 2026-12-01\n")
    (kit.folder / "pyproject.toml").write_text(pyproject)


def _programs(kit: Bench) -> list[str]:
    """Return the programs that were run, without their folders and options."""
    calls = [re.sub(r"^\S+python\S* -m ", "", call).split() for call in kit.programs.calls]
    return [" ".join(each[:2]) if each[0] == "twine" else Path(each[0]).name for each in calls]


BEFORE: Final = ["ruff", "ruff", "mypy", "build"]
INSTALL: Final = ["venv", "pip", "stagerun", "stagerun", "stagerun"]
AFTER: Final = ["twine check", "check_wheel_contents", *INSTALL, "make", "pytest"]


def test_a_release_is_built_checked_installed_tested_and_without_a_token_not_uploaded(kit: Bench) -> None:
    run = kit.run(_release(kit))

    assert run.succeeded
    assert run.result == {"version": __version__, "built": NAMES, "uploaded": False}
    assert [name for name, state in run.stages.items() if state != "done"] == ["Upload"]
    assert _programs(kit) == [*BEFORE, *AFTER]


@pytest.mark.parametrize("upload", [None, "0.0.1"])
def test_an_upload_that_nobody_has_confirmed_is_refused_before_anything_is_built(
    kit: Bench, upload: str | None
) -> None:
    run = kit.run(_release(kit, token=Secret("pypi-geheim"), upload=upload))

    assert run.error is not None
    assert run.error.message == f"to upload version {__version__}, say so: --upload {__version__}"
    assert kit.programs.calls == []


def test_an_upload_of_a_project_that_names_no_address_is_refused(kit: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    release = _release(kit, token=Secret("pypi-geheim"), upload=__version__)
    _give_it_a_root(kit, release, monkeypatch, pyproject="[project]\n")

    run = kit.run(release)

    assert run.error is not None
    assert run.error.message == (
        "pyproject.toml has no [project.urls]: on the index links of README.md would lead nowhere"
    )
    assert kit.programs.calls == []


def test_a_release_whose_wheel_counts_otherwise_than_the_source_fails(kit: Bench) -> None:
    kit.programs.stub(re.compile(r".*/env/bin/python -m stagerun run .*"), stdout="files=4\n")

    run = kit.run(_release(kit))

    assert run.error is not None
    assert (run.error.message, run.error.stage) == ("the wheel and the source differ in what they count", "Install")


def test_a_build_that_warns_fails(tmp_path: Path) -> None:
    kit = Bench(tmp_path)
    kit.programs.stub(re.compile(r".* -m build .*"), stderr="* Warning: no licence\n")

    run = kit.run(_release(kit))

    assert run.error is not None
    assert (run.error.message, run.error.stage) == ("the build warned", "Build")


def test_a_release_that_was_killed_while_it_uploaded_is_not_built_again(
    kit: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = _release(kit, token=Secret("pypi-geheim"), upload=__version__)
    _give_it_a_root(kit, release, monkeypatch, pyproject='[project.urls]\nSource = "https://example.com"\n')
    kit.crash_at("Upload")

    crashed = kit.run(release)
    resumed = kit.resume()

    assert crashed.plan().skipped == ("Build",)
    assert resumed.result == {"version": __version__, "built": NAMES, "uploaded": True}
    assert _programs(kit) == [*BEFORE, *AFTER, *BEFORE[:3], *AFTER, "twine upload"]
