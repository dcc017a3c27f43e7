"""How a recipe imports its project, wherever it lies and wherever the command is typed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import Project


HEAD: Final = "from stagerun import LiveOperation, Progress\n"
# A recipe that says what it was imported as, and what it has imported; it fails, to be resumed.
SAYS: Final = """
class Op(LiveOperation):
    def run(self, p: Progress) -> None:
        p.result(name=__name__, found=FOUND)
        p.error("once more")
"""
IN_PROCESSES: Final = """
def work(item):
    return [__name__, FOUND]

class Op(LiveOperation):
    def run(self, p: Progress) -> None:
        p.result(p.map(work, [1], processes=True)[0] and dict([p.map(work, [1], processes=True)[0]]))
"""

# Each layout: its files beside the recipe, what the recipe imports, the target, and the name that it then has.
LAYOUTS: Final[Mapping[str, tuple[Mapping[str, str], str, str, str, str]]] = {
    "a package beside recipes": (
        {"shopapp/__init__.py": "", "shopapp/db.py": "FOUND = 'db'"},
        "recipes/orders.py",
        "from shopapp.db import FOUND",
        "orders:Op",
        "orders",
    ),
    "a package without __init__": (
        {"shopapp/db.py": "FOUND = 'db'"},
        "recipes/orders.py",
        "from shopapp.db import FOUND",
        "orders:Op",
        "orders",
    ),
    "a package in src": (
        {"src/shopapp/__init__.py": "", "src/shopapp/db.py": "FOUND = 'db'"},
        "recipes/orders.py",
        "from shopapp.db import FOUND",
        "orders:Op",
        "orders",
    ),
    "a root that is a package": (
        {"__init__.py": "", "shopapp/__init__.py": "", "shopapp/db.py": "FOUND = 'db'"},
        "shopapp/op.py",
        "from shopapp.db import FOUND",
        "shopapp/op.py:Op",
        "shopapp.op",
    ),
    "a module at the root": (
        {"settings.py": "FOUND = 'db'"},
        "recipes/orders.py",
        "from settings import FOUND",
        "orders:Op",
        "orders",
    ),
    "a recipe beside": (
        {"recipes/common.py": "FOUND = 'db'"},
        "recipes/orders.py",
        "from common import FOUND",
        "orders:Op",
        "orders",
    ),
    "a folder of recipes": (
        {"recipes/team/common.py": "FOUND = 'db'"},
        "recipes/team/nightly.py",
        "from .common import FOUND",
        "team.nightly:Op",
        "team.nightly",
    ),
    "a folder of recipes, by path": (
        {"recipes/team/common.py": "FOUND = 'db'"},
        "recipes/team/nightly.py",
        "from .common import FOUND",
        "recipes/team/nightly.py:Op",
        "team.nightly",
    ),
    "a folder of recipes, its module without a dot": (
        {"recipes/team/common.py": "FOUND = 'db'"},
        "recipes/team/nightly.py",
        "from common import FOUND",
        "team.nightly:Op",
        "team.nightly",
    ),
    "recipes as a package": (
        {"recipes/__init__.py": "", "recipes/common.py": "FOUND = 'db'"},
        "recipes/orders.py",
        "from .common import FOUND",
        "orders:Op",
        "recipes.orders",
    ),
    "recipes and a package in it": (
        {"recipes/__init__.py": "", "recipes/team/__init__.py": "", "recipes/common.py": "FOUND = 'db'"},
        "recipes/team/nightly.py",
        "from ..common import FOUND",
        "team.nightly:Op",
        "recipes.team.nightly",
    ),
    "a file in a package": (
        {"shopapp/__init__.py": "", "shopapp/db.py": "FOUND = 'db'"},
        "shopapp/op.py",
        "from .db import FOUND",
        "shopapp/op.py:Op",
        "shopapp.op",
    ),
    "a file in a package without __init__": (
        {"shopapp/db.py": "FOUND = 'db'"},
        "shopapp/op.py",
        "from .db import FOUND",
        "shopapp/op.py:Op",
        "shopapp.op",
    ),
    "a file in a package in src": (
        {"src/shopapp/db.py": "FOUND = 'db'"},
        "src/shopapp/op.py",
        "from shopapp.db import FOUND",
        "src/shopapp/op.py:Op",
        "shopapp.op",
    ),
    "a module of a package in src": (
        {"src/shopapp/__init__.py": "", "src/shopapp/db.py": "FOUND = 'db'"},
        "src/shopapp/op.py",
        "from . import db; FOUND = db.FOUND",
        "shopapp.op:Op",
        "shopapp.op",
    ),
    "a package itself": (
        {"shopapp/db.py": "FOUND = 'db'"},
        "shopapp/__init__.py",
        "from .db import FOUND",
        "shopapp/__init__.py:Op",
        "shopapp",
    ),
    "a package in a package itself": (
        {"shopapp/__init__.py": "", "shopapp/db.py": "FOUND = 'db'"},
        "shopapp/jobs/__init__.py",
        "from ..db import FOUND",
        "shopapp/jobs/__init__.py:Op",
        "shopapp.jobs",
    ),
    "recipes inside a package": (
        {
            "shopapp/__init__.py": "",
            "shopapp/jobs/__init__.py": "",
            "shopapp/db.py": "FOUND = 'db'",
            "pyproject.toml": "[tool.stagerun]\nrecipes = 'shopapp/jobs'\n",
        },
        "shopapp/jobs/nightly.py",
        "from ..db import FOUND",
        "nightly:Op",
        "shopapp.jobs.nightly",
    ),
    "recipes inside a package, by module": (
        {"shopapp/db.py": "FOUND = 'db'", "pyproject.toml": "[tool.stagerun]\nrecipes = 'shopapp/jobs'\n"},
        "shopapp/jobs/nightly.py",
        "from ..db import FOUND",
        "shopapp.jobs.nightly:Op",
        "shopapp.jobs.nightly",
    ),
    "names that Python has no syntax for": (
        {"my-jobs/common.py": "FOUND = 'db'"},
        "my-jobs/build-all.py",
        "from common import FOUND",
        "my-jobs/build-all.py:Op",
        "build-all",
    ),
    "the name of a module of Python": (
        {"recipes/common.py": "FOUND = 'db'"},
        "recipes/json.py",
        "from common import FOUND",
        "json:Op",
        "stagerun_recipe_json",
    ),
    "the name of a package of the project": (
        {"orders/__init__.py": "", "orders/db.py": "FOUND = 'db'"},
        "recipes/orders.py",
        "from orders.db import FOUND",
        "orders:Op",
        "stagerun_recipe_orders",
    ),
    "a folder with the name of a package of Python": (
        {"recipes/json/common.py": "FOUND = 'db'"},
        "recipes/json/nightly.py",
        "from common import FOUND",
        "json.nightly:Op",
        "stagerun_recipe_nightly",
    ),
}


def _laid_out(project: Project, layout: str, body: str) -> tuple[str, str]:
    """Write the files of a layout; return the target and the name that the recipe has."""
    files, recipe, imports, target, name = LAYOUTS[layout]
    for file, text in {**files, recipe: f"{HEAD}{imports}\n{body}"}.items():
        (project.root / file).parent.mkdir(parents=True, exist_ok=True)
        (project.root / file).write_text(text)
    return target, name


def _result(project: Project) -> Mapping[str, object] | None:
    return project.records().find("last").result_context


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_recipe_imports_its_project_and_so_does_a_resume_that_is_typed_elsewhere(
    project: Project, tmp_path: Path, layout: str
) -> None:
    target, name = _laid_out(project, layout, SAYS)
    said = {"name": name, "found": "db"}
    # Another project with modules of the same names, and a folder that is none.
    other = tmp_path / "other"
    for module in ("recipes/common.py", "shopapp/db.py", "settings.py"):
        (other / module).parent.mkdir(parents=True, exist_ok=True)
        (other / module).write_text("FOUND = 'other'")

    results = []
    for place, arguments in [
        (project.root, ["run", target]),
        (other, ["resume", "--journal", str(project.journal)]),
        (tmp_path, ["resume", "--journal", str(project.journal)]),
    ]:
        done = Project(place, project.environ).stagerun(*arguments)
        assert (done.code, done.err) == (1, "")
        results.append(_result(project))

    assert results == [said] * 3


@pytest.mark.parametrize(
    "layout",
    [
        "a package in src",
        "a folder of recipes, by path",
        "recipes and a package in it",
        "a file in a package without __init__",
        "recipes inside a package",
        "the name of a package of the project",
    ],
)
def test_the_processes_of_a_map_import_the_project_too(project: Project, layout: str) -> None:
    target, name = _laid_out(project, layout, IN_PROCESSES)

    done = project.stagerun("run", target)

    assert (done.code, done.err, _result(project)) == (0, "", {name: "db"})


def test_a_recipe_imports_its_project_from_a_folder_below(project: Project) -> None:
    target, name = _laid_out(project, "a package in src", SAYS)
    below = project.root / "deep" / "down"
    below.mkdir(parents=True)

    Project(below, project.environ).stagerun("run", target)

    assert _result(project) == {"name": name, "found": "db"}


@pytest.mark.parametrize(
    ("markers", "typed_in", "root"),
    [
        (["a/recipes", "other/recipes"], "other", "a"),
        (["a/recipes"], ".", "a"),
        (["recipes", "a/recipes"], ".", "."),
        ([], ".", "."),
        ([], "a", "a"),
        ([], "other", "a/jobs"),
    ],
    ids=["another", "a folder above", "in a larger one", "none", "none, from inside", "none, from elsewhere"],
)
def test_a_recipe_file_imports_the_project_it_is_in_as_seen_from_where_the_command_is_typed(
    tmp_path: Path, project: Project, markers: list[str], typed_in: str, root: str
) -> None:
    top = tmp_path / "top"
    for folder in [*markers, "other", "a/jobs"]:
        (top / folder).mkdir(parents=True, exist_ok=True)
    for place in (".", "a", "a/jobs"):
        (top / place / "shopapp.py").write_text(f"FOUND = {place!r}")
    file = top / "a" / "jobs" / "op.py"
    file.write_text(f"{HEAD}from shopapp import FOUND\n{SAYS}")

    done = Project(top / typed_in, project.environ).stagerun("run", os.path.relpath(file, top / typed_in))

    assert f"found={root}" in done.out.splitlines()


@pytest.mark.parametrize("error", ["ImportError", "ValueError"])
def test_a_package_that_does_not_import_is_told_and_its_recipe_is_not_executed_without_it(
    project: Project, error: str
) -> None:
    target, _ = _laid_out(project, "a file in a package", f"open('executed', 'w')\n{SAYS}")
    (project.root / "shopapp" / "__init__.py").write_text(f"raise {error}('boom')\n")

    lines = _refused(project, target)

    assert (lines[0], lines[-1]) == ("stagerun: recipe shopapp/op.py can't be imported", f"{error}: boom")
    assert '  File "ROOT/shopapp/__init__.py", line 1, in <module>' in lines
    assert not (project.root / "executed").exists()


@pytest.mark.parametrize(
    ("module", "place", "started_in"),
    [
        ("pexpect", "{root}", "{root}"),
        ("pexpect", "{root}/src", "{root}/src"),
        ("pexpect", "{root}/recipes", "{root}"),
        ("colorsys", "{root}", "{root}/recipes"),
    ],
    ids=["the root before what is installed", "src", "what is installed before recipes", "Python before the root"],
)
def test_a_name_means_what_it_means_to_a_python_that_is_started_there(
    project: Project, module: str, place: str, started_in: str
) -> None:
    file = Path(place.format(root=project.root)) / f"{module}.py"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    ask = f"import {module}; print({module}.__file__)"
    project.recipe("ask", f"{ask}\nclass Ask(LiveOperation):\n    def run(self, p): ...\n")

    done = project.stagerun("run", "ask", fresh=True)

    python = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=started_in.format(root=project.root),
        env=project.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.err == python.stdout


def test_a_project_whose_modules_have_the_names_of_those_of_python_does_not_break_stagerun(project: Project) -> None:
    for module in ("hashlib", "secrets", "subprocess", "selectors", "traceback", "queue"):
        (project.root / f"{module}.py").write_text("raise RuntimeError('not this one')\n")
    work = (
        "\nclass Op(LiveOperation):\n    def run(self, p): p.result({p.sh('echo', capture=True).returncode: FOUND})\n"
    )
    target, _ = _laid_out(project, "a package beside recipes", work)

    done = project.stagerun("run", target, fresh=True)

    assert (done.code, done.err, _result(project)) == (0, "", {"0": "db"})


def test_a_package_that_only_has_the_name_of_a_folder_is_not_executed(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "team"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("from pathlib import Path\nPath('executed').touch()\n")
    target, _ = _laid_out(project, "a folder of recipes, its module without a dot", SAYS)

    project.stagerun("run", target, environ={"PYTHONPATH": str(other.parent)})

    assert _result(project) == {"name": "stagerun_recipe_nightly", "found": "db"}
    assert not (project.root / "executed").exists()


def test_the_next_operation_of_a_chain_has_the_target_that_would_run_it(project: Project) -> None:
    (project.root / "recipes" / "__init__.py").touch()
    project.recipe(
        "first",
        """
from .second import Second
class First(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Second())
""",
    )
    project.recipe("second", "class Second(LiveOperation):\n    def run(self, p: Progress) -> None: ...\n")

    assert project.stagerun("run", "first").code == 0
    assert [view.plan.target for view in project.records().history(limit=9)] == ["second:Second", "first:First"]
    assert project.stagerun("run", "second:Second").code == 0


# --- what can't be imported


def _refused(project: Project, target: str) -> list[str]:
    """Return the message and the hint of a run that could not start."""
    done = project.stagerun("run", target)
    assert (done.code, done.out) == (3, "")
    assert not project.journal.exists()
    root = str(project.root)
    return [line.replace(root, "ROOT").replace(sys.executable, "PYTHON") for line in done.err.splitlines()]


@pytest.mark.parametrize(
    ("imported", "files", "found"),
    [
        (
            "import tools",
            ["lib/tools.py"],
            "ROOT/lib/tools.py has that name: import lib.tools, or set PYTHONPATH=ROOT/lib; ",
        ),
        (
            "import tools.db",
            ["a/b/tools/db.py"],
            "ROOT/a/b/tools has that name: import a.b.tools, or set PYTHONPATH=ROOT/a/b; ",
        ),
        ("import tools", ["my-lib/tools.py"], "ROOT/my-lib/tools.py has that name: set PYTHONPATH=ROOT/my-lib; "),
        ("import tools", [".venv/lib/tools.py", "node_modules/tools.py", "env/pyvenv.cfg", "env/tools.py"], ""),
        ("import tools", ["lib/tools/notes.txt"], ""),
        ("import shopap", ["shopapp/db.py"], "did you mean 'shopapp'? "),
        ("import settigns", ["src/settings.py"], "did you mean 'settings'? "),
    ],
)
def test_a_module_that_is_not_on_the_path_is_told_with_the_place_where_one_of_its_name_lies(
    project: Project, imported: str, files: list[str], found: str
) -> None:
    project.recipe("orders", f"{imported}\n")
    (project.root / "src").mkdir()
    for file in files:
        (project.root / file).parent.mkdir(parents=True, exist_ok=True)
        (project.root / file).touch()

    name = imported.split()[1].partition(".")[0]
    assert _refused(project, "orders") == [
        f"stagerun: recipe orders can't be imported: there is no module {name!r} (ROOT/recipes/orders.py, line 2)",
        f"  {found}looked in ROOT, ROOT/src, ROOT/recipes, and in the packages of PYTHON",
    ]


def test_a_module_of_a_package_that_is_not_there_is_told_with_the_nearest_of_that_package(project: Project) -> None:
    project.recipe("orders", "import shopapp.dbs\n")
    (project.root / "shopapp").mkdir()
    (project.root / "shopapp" / "db.py").touch()

    assert _refused(project, "orders")[1:] == [
        "  did you mean 'shopapp.db'? looked in ROOT/shopapp, where 'shopapp' was found"
    ]


def test_a_package_that_hides_another_of_its_name_is_told(project: Project) -> None:
    project.recipe("orders", "import shopapp.db\n")
    for file in ("src/shopapp/__init__.py", "shopapp/db.py"):
        (project.root / file).parent.mkdir(parents=True)
        (project.root / file).touch()

    hidden = "ROOT/shopapp/db.py has that name, but another 'shopapp' is found first"
    assert _refused(project, "orders")[1:] == [f"  {hidden}; looked in ROOT/src/shopapp, where 'shopapp' was found"]


@pytest.mark.parametrize(
    ("file", "imported", "present", "hint"),
    [
        (
            "recipes/orders.py",
            "from .common import x",
            [],
            "create an empty ROOT/recipes/__init__.py, or import without the dots",
        ),
        (
            "recipes/team/orders.py",
            "from ..common import x",
            [],
            "create an empty ROOT/recipes/team/__init__.py and ROOT/recipes/__init__.py, or import without the dots",
        ),
        (
            "recipes/team/orders.py",
            "from .. import x",
            ["recipes/team/__init__.py"],
            "create an empty ROOT/recipes/__init__.py, or import without the dots",
        ),
        ("recipes/orders.py", "from ..common import x", [], "import without the dots"),
        ("orders.py", "from . import x", [], "import without the dots"),
        (
            "recipes/json/orders.py",
            "from . import x",
            ["recipes/json/__init__.py"],
            "rename ROOT/recipes/json: another module has that name",
        ),
    ],
)
def test_a_relative_import_outside_a_package_is_told_with_what_is_missing(
    project: Project, file: str, imported: str, present: list[str], hint: str
) -> None:
    for each, text in [*((name, "") for name in present), (file, f"\n{imported}\n")]:
        (project.root / each).parent.mkdir(parents=True, exist_ok=True)
        (project.root / each).write_text(text)

    what = f"ROOT/{file}, line 2, imports relatively, from a package that it is not in"
    assert _refused(project, file) == [f"stagerun: recipe {file} can't be imported: {what}", f"  {hint}"]


@pytest.mark.parametrize("needs", ["from orders import Import", "import orders\norders.Import"])
def test_imports_that_go_in_a_circle_are_told_with_both_places(project: Project, needs: str) -> None:
    project.recipe("orders", "from publish import Publish\nclass Import(LiveOperation):\n    def run(self, p): ...\n")
    (project.root / "recipes" / "publish.py").write_text(f"{needs}\n")

    place = f"ROOT/recipes/publish.py, line {needs.count(chr(10)) + 1}"
    what = f"{place}, needs 'Import' of 'orders', which is not imported yet (ROOT/recipes/orders.py, line 2)"
    assert _refused(project, "orders") == [
        f"stagerun: recipe orders can't be imported: its imports go in a circle: {what}",
        "  import it in the function that needs it, or move what both need to a third module",
    ]


TWICE: Final = """
class Import(LiveOperation):
    def run(self, p): ...

class Publish(LiveOperation):
    def run(self, p): ...

class Import(LiveOperation):
    def run(self, p): ...
"""
TOLD: Final = "recipe orders has 2 classes named 'Import' (ROOT/recipes/orders.py, lines 3 and 9)"


@pytest.mark.parametrize("target", ["orders:Import", "orders"])
def test_two_classes_of_one_name_are_refused_with_their_lines(project: Project, target: str) -> None:
    project.recipe("orders", TWICE)

    assert _refused(project, target) == [
        f"stagerun: {TOLD}, and Python keeps only the last",
        "  give each a name of its own",
    ]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (TWICE, "orders:Publish"),
        (
            TWICE.replace("class Import(LiveOperation):\n    def run(self, p): ...\n\nclass P", "class P"),
            "orders:Import",
        ),
        (
            TWICE[:-1].removesuffix("Import(LiveOperation):\n    def run(self, p): ...") + "Import(Import): ...\n",
            "orders:Import",
        ),
        (TWICE.replace("(LiveOperation):\n    def run(self, p): ...\n\nclass P", ": ...\nclass P"), "orders:Publish"),
        ('"""\nclass Import\nclass Import\n"""' + TWICE.replace("\nclass Import", "\nclass Other", 1), "orders:Import"),
    ],
    ids=["another", "one", "derived", "a helper", "in a text"],
)
def test_an_operation_whose_name_is_its_own_runs_beside_others(project: Project, source: str, target: str) -> None:
    project.recipe("orders", source)

    done = project.stagerun("run", target)

    assert (done.code, done.err) == (0, "")


def test_doctor_finds_two_classes_of_one_name(project: Project) -> None:
    file = project.recipe("orders", TWICE)

    found = json.loads(project.stagerun("doctor", "--json").out)

    text = f"{file}, lines 3 and 9: classes named 'Import', of which Python keeps only the last"
    assert [each for each in found if each["what"] == "recipe"] == [{"grade": "bad", "what": "recipe", "text": text}]
