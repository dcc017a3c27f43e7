"""The recipe's source on its way: what is sent, what is used there, and what is refused."""

import sys
from pathlib import Path

from stagerun.states import RunState
from tests.conftest import Project
from tests.places.conftest import Distant
from tests.processes import rows


RECIPE = """
from pathlib import Path
import helper

class Train(LiveOperation):
    def run(self, p: Progress):
        p.log(helper.word())
        p.log(f"code of {helper.word.__code__.co_filename}")
        p.log(f"kept at {Path(__file__).parent}")
        p.log(",".join(p.map(helper.shout, ["a", "b"], 2, processes=True)))
"""
HELPER = """
def word():
    return "here"

def shout(text):
    return text.upper()
"""


def _logged(near: Distant) -> list[object]:
    sql = "SELECT json_extract(data, '$.text') FROM events WHERE kind = 'log' ORDER BY run_id, seq"
    return [line for (text,) in rows(near.project, sql) for line in str(text).split("\n")]


def test_a_recipe_and_its_helpers_are_executed_as_they_are_here_and_kept_there_for_this_user(near: Distant) -> None:
    near.project.recipe("orders", RECIPE)
    helper = near.project.recipe("helper", HELPER)

    assert near.stagerun("run", "orders").code == 0

    word, code, kept, shouted = _logged(near)
    folder = Path(str(kept).removeprefix("kept at "))
    assert (word, code, shouted) == ("here", f"code of {helper}", "A,B")
    assert folder.parent == Path(near.where.environ["XDG_CACHE_HOME"]) / "stagerun" / "recipes"
    assert [folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777] == [0o700, 0o700]
    assert {each.name: each.read_text() for each in folder.glob("*.py")} == {
        "orders.py": (near.project.root / "recipes" / "orders.py").read_text(),
        "helper.py": helper.read_text(),
    }


def test_what_is_kept_there_is_not_believed(near: Distant) -> None:
    near.project.recipe("orders", RECIPE)
    near.project.recipe("helper", HELPER)
    near.stagerun("run", "orders")
    folder = Path(str(_logged(near)[2]).removeprefix("kept at "))
    (folder / "helper.py").write_text("def word(): return 'changed'")

    near.stagerun("run", "orders")

    assert _logged(near)[4] == "here"
    assert "here" in (folder / "helper.py").read_text()
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]


def test_a_recipe_that_can_not_be_imported_there_fails_with_the_traceback_of_its_import(near: Distant) -> None:
    file = near.project.recipe("orders", "import os\nif os.environ.get('STAGERUN_CHILD'):\n    1 / 0\n" + RECIPE)
    near.project.recipe("helper", HELPER)

    done = near.stagerun("run", "orders")

    assert (done.code, near.newest().state) == (1, RunState.FAILED)
    assert f'  File "{file}", line 4, in <module>\n    1 / 0\n' in done.out
    assert "ZeroDivisionError: division by zero\n" in done.out


def _packaged(project: Project, word: str, there: str | None) -> dict[str, str]:
    """Make an installed package, and another one of that name, which only the far end finds; return the paths."""
    paths = {}
    for place, text in (("here", word), ("there", there)):
        folder = project.root / place / "site-packages"
        (folder / "shop").mkdir(parents=True)
        paths[place] = str(folder)
        if text is None:
            continue
        (folder / "shop" / "__init__.py").touch()
        (folder / "shop" / "orders.py").write_text(
            f"from stagerun import LiveOperation\nclass Train(LiveOperation):\n    def run(self, p): p.log({text!r})\n"
        )
    return paths


def _run_package(near: Distant, word: str, there: str | None) -> tuple[int, str]:
    paths = _packaged(near.project, word, there)
    agent = f'["env", "PYTHONPATH={paths["there"]}", "{sys.executable}", "-m", "stagerun", "agent"]'
    (near.project.root / "pyproject.toml").write_text(
        f'[tool.stagerun.places.other]\ncommand = ["env"]\nagent = {agent}\n'
    )
    environ = {"PYTHONPATH": paths["here"]}
    done = near.project.stagerun("run", "shop.orders:Train", "--on", "other", environ=environ)
    return done.code, done.out + done.err


def test_a_package_is_not_sent_but_has_to_be_there(near: Distant) -> None:
    code, out = _run_package(near, "same", "same")

    assert (code, "same" in out.splitlines()) == (0, True)


def test_a_package_that_differs_there_is_refused_with_both_hashes(near: Distant) -> None:
    code, out = _run_package(near, "one", "another")

    assert code == 3
    assert near.newest().state is RunState.FAILED
    line = next(line for line in out.splitlines() if line.startswith("error: "))
    hashes = [word.strip(",") for word in line.split() if len(word.strip(",")) == 64]
    assert len({*hashes}) == 2


def test_a_package_that_is_not_there_is_refused(near: Distant) -> None:
    code, out = _run_package(near, "one", None)

    assert code == 3
    assert "there is none" in out


def test_a_recipe_that_is_too_large_is_not_sent_and_no_run_is_recorded(near: Distant) -> None:
    near.project.recipe("orders", "class Train(LiveOperation):\n    def run(self, p): pass\n#" + "x" * 1024 * 1024)

    done = near.stagerun("run", "orders")

    assert (done.code, near.project.stagerun("history").out) == (3, "")
    assert "and 1,048,576 can be sent" in done.err
