"""What a person is told who asks for something that is not there, or whose recipe does not load."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import STAGERUN, Done, Project


ORDERS = """
from typing import Literal

class Import(LiveOperation):
    stages = ["Load"]
    source: str = ""
    limit: int = 1
    speed: Literal["fast", "safe"] = "safe"

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            pass

class Publish(LiveOperation):
    def run(self, p: Progress) -> None: ...
"""


@pytest.fixture
def orders(project: Project) -> Project:
    project.recipe("orders", ORDERS)
    project.recipe("billing", ORDERS)
    project.recipe("_draft", "class Draft(LiveOperation):\n    def Run(self, p): ...\n")
    return project


def _refused(done: Done, code: int = 2) -> tuple[str, str]:
    """Check what holds for every error a person can act on; return its message and its hint."""
    assert done.code == code
    assert done.out == ""
    message, hint = done.err.removesuffix("\n").split("\n")
    assert message.startswith("stagerun: ")
    assert hint.startswith("  ")
    return message.removeprefix("stagerun: "), hint.strip()


@pytest.mark.parametrize(
    ("command", "message", "hint"),
    [
        ("run ordesr:Import", "there is no recipe 'ordesr'", "did you mean 'orders'?"),
        ("show ordesr:Import", "there is no recipe 'ordesr'", "did you mean 'orders'?"),
        ("run zzz:Import", "there is no recipe 'zzz'", "there are: billing, orders"),
        ("run shop.zzz:Import", "there is no recipe 'shop.zzz'", "there are: billing, orders"),
        ("run zzz.py:Import", "there is no recipe file zzz.py", "see 'stagerun list'"),
        ("run orders.py", "there is no recipe file orders.py", "did you mean 'orders'?"),
        ("run orders:Imprt", "recipe orders has no operation 'Imprt'", "did you mean 'Import'?"),
        ("show orders:Imprt", "recipe orders has no operation 'Imprt'", "did you mean 'Import'?"),
        ("run orders:Zzz", "recipe orders has no operation 'Zzz'", "there are: Import, Publish"),
        ("run orders", "recipe orders has 2 operations", "name one: orders:Import, orders:Publish"),
        ("run _draft", "recipe _draft has no operation", "Draft has no run(self, p)"),
        ("run orders:Progress", "recipe orders has no operation 'Progress'", "there are: Import, Publish"),
        ("run orders:LiveOperation", "recipe orders has no operation 'LiveOperation'", "there are: Import, Publish"),
        ("histroy", "there is no command 'histroy'", "did you mean 'history'?"),
        ("orders:Import", "there is no command 'orders:Import'", "to run it: stagerun run orders:Import"),
        ("run", "missing argument 'TARGET'", "name an operation; see 'stagerun list'"),
        ("cancel", "missing argument 'REF'", "name a run by its id, or as last, last~1, last~2"),
        ("run orders:Import extra", "got unexpected extra argument (extra)", "see 'stagerun run --help'"),
        (
            "history --state runing",
            "there is no state 'runing'",
            "states: pending, running, succeeded, failed, cancelled, timed_out, crashed",
        ),
        ("history --since noon", "--since can't be 'noon'", "give 2026-01-31, 2026-01-31T10:00, 90m, 2h or 7d"),
        ("run orders:Import --progress tyt", "there is no progress mode 'tyt'", "modes: auto, tty, plain, json, quiet"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest_match_or_what_there_is(
    orders: Project, command: str, message: str, hint: str
) -> None:
    assert _refused(orders.stagerun(*command.split())) == (message, hint)
    assert not orders.journal.exists()


def test_an_unknown_command_that_resembles_none_names_them_all(project: Project) -> None:
    message, hint = _refused(project.stagerun("zzz"))

    assert message == "there is no command 'zzz'"
    assert hint.startswith("commands: ")
    assert {"run", "list", "show", "status", "history", "logs"} <= set(hint.removeprefix("commands: ").split(", "))


def test_an_unknown_parameter_names_the_nearest_match(orders: Project) -> None:
    message, _ = _refused(orders.stagerun("run", "orders:Import", "--sorce", "x"))

    assert "'--sorce'" in message
    assert "'--source'" in message


def test_an_unknown_parameter_that_resembles_none_names_the_legal_ones(orders: Project) -> None:
    _, hint = _refused(orders.stagerun("run", "orders:Import", "--zzz", "x"))

    assert all(name in hint for name in ("--source", "--limit", "--speed"))


def test_an_unknown_operation_in_a_filter_names_the_nearest_match(orders: Project) -> None:
    orders.stagerun("run", "orders:Import")

    message, hint = _refused(orders.stagerun("status", "--operation", "Imprt"))

    assert "Imprt" in message
    assert "'Import'" in hint


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--limit", "many"), ["parameter 'limit' can't be 'many'", "whole number"]),
        (("--limit", "1.5"), ["parameter 'limit' can't be '1.5'", "whole number"]),
        (("--speed", "slow"), ["parameter 'speed' can't be 'slow'", "one of fast, safe"]),
        (("--limit",), ["--limit"]),
    ],
)
def test_a_value_that_does_not_fit_names_the_parameter_the_value_and_what_fits(
    orders: Project, arguments: tuple[str, ...], told: list[str]
) -> None:
    done = orders.stagerun("run", "orders:Import", *arguments)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("stagerun: ")
    assert "Traceback" not in done.err
    assert [each for each in told if each not in done.err] == []
    assert not orders.journal.exists()


def test_a_required_parameter_that_is_missing_is_named(project: Project) -> None:
    project.recipe("orders", ORDERS.replace('source: str = ""', "source: str"))

    message, hint = _refused(project.stagerun("run", "orders:Import"))

    assert message == "Import needs a value for 'source'"
    assert "--source" in hint


RAISED = """\
Traceback (most recent call last):
  File "{file}", line LINE, in <module>
    SOURCE
ERROR"""


def _raised(line: int, source: str, error: str) -> str:
    return RAISED.replace("LINE", str(line)).replace("SOURCE", source).replace("ERROR", error)


BOOM = 'raise ValueError("boom")'
UNPRINTABLE = "class E(AttributeError):\n    def __str__(self):\n        return 1 / 0\nraise E\n"
NOT_FOUND = "raise ModuleNotFoundError('get it at example.com', name='shop')"
IN_F = f'  File "{{file}}", line 3, in f\n    {BOOM}\nValueError: boom'


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("broken", "def f(:\n", '  File "{file}", line 2\n    def f(:\n          ^\nSyntaxError: invalid syntax'),
        ("broken", NOT_FOUND, _raised(2, NOT_FOUND, "ModuleNotFoundError: get it at example.com")),
        ("broken", "raise ImportError\n", _raised(2, "raise ImportError", "ImportError")),
        ("broken", UNPRINTABLE, _raised(5, "raise E", "broken.E: <exception str() failed>")),
        ("broken", f"def f():\n    {BOOM}\nf()\n", _raised(4, "f()", IN_F)),
        ("broken", "import sys\nsys.exit(0)\n", _raised(3, "sys.exit(0)", "SystemExit: 0")),
        ("json", BOOM, _raised(2, BOOM, "ValueError: boom")),
    ],
    ids=[
        "SyntaxError",
        "ImportError",
        "no message",
        "unprintable",
        "exception",
        "sys.exit",
        "the name of a module of Python",
    ],
)
@pytest.mark.parametrize("command", ["run", "show"])
def test_a_recipe_that_does_not_import_is_told_with_its_own_lines_alone(
    project: Project, command: str, name: str, source: str, told: str
) -> None:
    file = project.recipe(name, source)

    done = project.stagerun(command, f"{name}:Op")

    what, *lines = done.err.splitlines()
    assert (done.code, done.out) == (3, "")
    assert what.startswith(f"stagerun: recipe {name} ")
    # Python 3.13 marks calls, where older ones mark only parts of a line.
    assert [line for line in lines if not re.fullmatch(r" +~+\^+", line)] == told.format(file=file.resolve()).split(
        "\n"
    )
    assert not project.journal.exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('raise RuntimeError("boom")\n', "RuntimeError: boom"),
        ('raise ValueError("boom")\n', "ValueError: boom"),
        ("import sys; sys.exit(0)\n", "SystemExit: 0"),
    ],
)
def test_a_package_that_does_not_import_is_told_with_its_own_line(project: Project, source: str, told: str) -> None:
    package = project.root / "shop"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    (package / "orders.py").write_text("from stagerun import LiveOperation\n" + ORDERS)

    done = project.stagerun("run", "shop.orders:Import")

    lines = done.err.splitlines()
    assert (done.code, done.out) == (3, "")
    assert lines[0].startswith("stagerun: recipe shop.orders ")
    assert f'  File "{(package / "__init__.py").resolve()}", line 1, in <module>' in lines
    assert lines[-1] == told
    assert "stagerun/" not in "".join(line for line in lines if line.startswith("  File "))


@pytest.mark.parametrize(
    ("source", "missing", "looked"),
    [
        ("import pandas\n", "pandas", "looked in {folders}, and in the packages of {python}"),
        ("from pandas.db import orders\n", "pandas", "looked in {folders}, and in the packages of {python}"),
        ("from shop.db import orders\n", "shop.db", "looked in {root}/recipes/shop, where 'shop' was found"),
        ("import helper.db\n", "helper.db", "'helper' is not a package: it was found as {root}/recipes/helper.py"),
        ("import sys.db\n", "sys.db", "'sys' is not a package: it was found as part of Python"),
    ],
)
def test_a_module_that_is_not_there_is_told_with_the_place_of_its_import_and_where_it_was_looked_for(
    project: Project, source: str, missing: str, looked: str
) -> None:
    file = project.recipe("orders", source)
    (file.parent / "helper.py").touch()
    (file.parent / "shop").mkdir()
    (file.parent / "shop" / "__init__.py").touch()

    told = [project.stagerun(command, "orders:Import") for command in ("run", "show")]

    folders = f"{project.root}, {file.parent}"
    where = looked.format(root=project.root, folders=folders, python=sys.executable)
    line = f"stagerun: recipe orders can't be imported: there is no module '{missing}' ({file}, line 2)\n  {where}\n"
    assert [(done.code, done.out, done.err) for done in told] == [(3, "", line)] * 2


def test_a_module_that_is_not_there_was_looked_for_on_the_path_of_python_too(project: Project) -> None:
    file = project.recipe("orders", "import shopapp\n")
    elsewhere = project.root / "elsewhere"

    done = project.stagerun("run", "orders:Import", environ={"PYTHONPATH": str(elsewhere)})

    looked = f"looked in {elsewhere}, {project.root}, {file.parent}, and in the packages of {sys.executable}"
    assert (done.code, done.err.splitlines()[1:]) == (3, [f"  {looked}"])


def test_the_folder_of_a_linked_command_is_no_place_where_a_module_was_looked_for(project: Project) -> None:
    file = project.recipe("orders", "import pandas\n")
    link = project.root / "stagerun"
    link.symlink_to(STAGERUN)

    done = subprocess.run(
        [link, "run", "orders"], check=False, cwd=project.root, env=project.environ, capture_output=True
    )

    looked = f"looked in {project.root}, {file.parent}, and in the packages of {sys.executable}"
    assert (done.returncode, done.stderr.decode().splitlines()[1:]) == (3, [f"  {looked}"])


def test_a_module_that_is_not_there_for_what_a_recipe_imports_is_told_with_both_places(project: Project) -> None:
    file = project.recipe("orders", "import helper\n")
    helper = file.with_name("helper.py")
    helper.write_text("\n\nimport shopapp\n")

    done = project.stagerun("run", "orders:Import")

    what = "recipe orders can't be imported: there is no module 'shopapp'"
    where = f"{helper}, line 3, imported by {file}, line 2"
    assert (done.code, done.out, done.err.splitlines()[0]) == (3, "", f"stagerun: {what} ({where})")


def test_a_rule_that_a_recipe_breaks_is_told_with_class_and_name_and_without_a_traceback(project: Project) -> None:
    project.recipe("orders", ORDERS.replace('["Load"]', '["Load", "Load"]'))

    done = project.stagerun("run", "orders:Import")

    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines()[0] == "stagerun: Import: stage 'Load' is listed twice"
    assert "Traceback" not in done.err


@pytest.mark.parametrize("target", ["../secret:Op", "/etc/passwd:Op", "a/b:Op", "..secret:Op", "a..b:Op", "a-b:Op", ""])
def test_a_name_that_could_leave_the_recipes_folder_is_no_module_name(project: Project, target: str) -> None:
    evil = 'from pathlib import Path\nPath("imported").touch()\n' + ORDERS
    project.recipe("unused", evil).rename(project.root / "secret.py")
    (project.root / "recipes" / "a").mkdir()
    project.recipe("a/b", evil)

    message, hint = _refused(project.stagerun("run", target))

    assert message.startswith(repr(target.removesuffix(":Op")))
    assert hint.startswith("name ")
    assert not (project.root / "imported").exists()


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_link_out_of_the_recipes_folder_is_not_followed(project: Project, tmp_path: Path, is_folder: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    project.recipe("unused", 'from pathlib import Path\nPath("imported").touch()\n' + ORDERS).rename(outside / "op.py")
    if is_folder:
        (project.root / "recipes" / "link").symlink_to(outside)
    else:
        (project.root / "recipes" / "link.py").symlink_to(outside / "op.py")
    recipe = "link.op" if is_folder else "link"

    assert _refused(project.stagerun("run", f"{recipe}:Import")) == (
        f"recipe {recipe} is outside {project.root / 'recipes'}",
        "name its file instead",
    )
    assert not (project.root / "imported").exists()


def test_a_link_inside_the_recipes_folder_is_followed(orders: Project) -> None:
    (orders.root / "recipes" / "alias.py").symlink_to("orders.py")

    assert orders.stagerun("run", "alias:Publish").code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"[tool.stagerun\n", "line 1"),
        (b"[tool.stagerun]\nprogress = \xff\n", "utf-8"),
        (b'[tool.stagerun]\nprogess = "plain"\n', "has no setting 'progess'"),
        (b'[tool.stagerun]\ntimestamps = "yes"\n', "timestamps must be true or false, not 'yes'"),
        (b'[tool.stagerun]\ndurability = "none"\n', "durability can't be 'none'"),
        (b"[tool]\nstagerun = 3\n", "tool.stagerun"),
        (b"tool = 3 # stagerun\n", "tool"),
        (b"[[tool.stagerun]]\n", "tool.stagerun"),
    ],
)
def test_a_configuration_that_can_not_be_used_is_named_by_its_path(orders: Project, text: bytes, told: str) -> None:
    file = orders.root / "pyproject.toml"
    file.write_bytes(text)

    done = orders.stagerun("history")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"stagerun: {file}")
    assert told in done.err
    assert "Traceback" not in done.err


def test_the_settings_that_there_are_are_named_beside_one_that_is_not(orders: Project) -> None:
    file = orders.root / "pyproject.toml"
    file.write_text('[tool.stagerun]\nprogess = "plain"\n')

    message, hint = _refused(orders.stagerun("list"))

    assert message == f"{file}: [tool.stagerun] has no setting 'progess'"
    assert hint in (
        "did you mean 'progress'?",
        "settings: journal, recipes, durability, progress, timestamps, owner, on, places",
    )


def test_a_configuration_of_other_tools_is_none_of_ours(orders: Project) -> None:
    (orders.root / "pyproject.toml").write_text('[project]\nname = "shop"\n[tool.other]\nprogress = 3\n')

    assert orders.stagerun("run", "orders:Publish").code == 0


def test_help_is_there_also_when_the_configuration_is_broken(orders: Project) -> None:
    (orders.root / "pyproject.toml").write_text("[tool.stagerun\n")

    done = orders.stagerun("--help")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: stagerun ")


def test_an_error_message_holds_no_control_character_of_what_was_asked_for(orders: Project) -> None:
    done = orders.stagerun("run", "orders\x1b[2J:Import\u202e")

    assert done.code == 2
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err
