"""`--operation NAME`: what `stagerun run NAME` runs is found by that name, whatever the runs were called."""

import json
import shutil

import pytest

from tests.conftest import Project, new_project


TWO = """
class Good(LiveOperation):
    def run(self, p: Progress) -> None: ...

class Bad(LiveOperation):
    def run(self, p: Progress) -> None:
        raise ValueError("bad")
"""
ONE = "class {}(LiveOperation):\n    def run(self, p: Progress) -> None: ...\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two files, each run by several of its names; a recipe is named as a class; `quiet` and `new` have not run yet."""
    project = new_project(tmp_path_factory.mktemp("runs"))
    project.recipe("orders", TWO)
    (project.root / "shopapp").mkdir()
    shutil.copy(project.root / "recipes" / "orders.py", project.root / "shopapp" / "op.py")
    project.recipe("Bad", TWO.partition("\n\n")[2].replace("Bad", "Worse"))
    project.recipe("single", ONE.format("Single"))
    shutil.move(project.recipe("quiet", ONE.format("New")), project.root / "shopapp" / "new.py")
    project.recipe("quiet", ONE.format("Quiet"))
    for target in (
        *("orders:Good", "recipes/orders.py:Good", "orders:Bad"),
        *("shopapp.op:Good", "shopapp/op.py:Good", "shopapp/op.py:Bad"),
        *("single", "orders:Good", "Bad"),
    ):
        project.stagerun("run", target)
    return project


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Good", [8, 5, 4, 2, 1]),
        ("Bad", [9, 6, 3]),
        ("orders", [8, 3, 2, 1]),
        ("orders:Good", [8, 2, 1]),
        ("recipes/orders.py", [8, 3, 2, 1]),
        ("./recipes/../recipes/orders.py:Good", [8, 2, 1]),
        ("shopapp.op", [6, 5, 4]),
        ("shopapp.op:Bad", [6]),
        ("shopapp/op.py", [6, 5, 4]),
        ("single", [7]),
        ("single:Single", [7]),
        ("Single", [7]),
    ],
)
def test_the_runs_of_an_operation_are_found_by_each_of_its_names(runs: Project, name: str, found: list[int]) -> None:
    def ids(*arguments: str) -> list[int]:
        done = runs.stagerun("history", "--operation", name, "--json", *arguments)
        assert (done.code, done.err) == (0, "")
        return [each["id"] for each in json.loads(done.out)]

    failed = [each for each in found if each in (3, 6, 9)]
    assert [ids(), ids("--state", "failed"), ids("--limit", "2")] == [found, failed, found[:2]]
    refs = [runs.stagerun("status", f"last~{back}", "--operation", name, "--json").out for back in range(len(found))]
    assert [json.loads(each)["id"] for each in refs] == found


KNOWN = [
    *("Bad:Worse", "orders:Bad", "orders:Good", "quiet:Quiet", "single:Single"),
    *("recipes/orders.py:Good", "shopapp.op:Good", "shopapp/op.py:Bad", "shopapp/op.py:Good"),
]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Godo", "did you mean 'Good'?"),
        ("ordres", "did you mean 'orders'?"),
        ("orders:Godo", "did you mean 'orders:Good'?"),
        ("shopap.op:Good", "did you mean 'shopapp.op:Good'?"),
        ("recipes/ordrs.py", "did you mean 'recipes/orders.py'?"),
        ("zzz", f"there are: {', '.join(sorted(KNOWN))}"),
    ],
)
def test_an_operation_that_there_is_not_is_refused_with_the_nearest_name(runs: Project, name: str, hint: str) -> None:
    done = runs.stagerun("history", "--operation", name)

    assert (done.code, done.out, done.err) == (2, "", f"stagerun: there is no operation {name!r}\n  {hint}\n")


@pytest.mark.parametrize(
    "name", ["quiet", "quiet:Quiet", "Quiet", "recipes/quiet.py", "shopapp.new", "shopapp/new.py:New"]
)
def test_an_operation_that_has_not_run_yet_has_no_runs(runs: Project, name: str) -> None:
    done = runs.stagerun("history", "--operation", name)
    as_json = runs.stagerun("history", "--operation", name, "--json")

    assert (done.code, done.out, done.err, as_json.code, as_json.out) == (0, "", "no runs\n", 0, "[]\n")


def test_a_resume_without_ref_takes_the_newest_run_of_an_operation_by_any_of_its_names(runs: Project) -> None:
    told = [
        runs.stagerun("resume", "--operation", name, "--dry-run").out.partition(",")[0]
        for name in ("recipes/orders.py:Bad", "shopapp.op:Bad", "Bad")
    ]

    assert told == [
        "resuming run 3: orders:Bad",
        "resuming run 6: shopapp/op.py:Bad",
        "resuming run 9: Bad:Worse",
    ]


def test_the_newest_run_that_can_be_resumed_is_looked_for_under_all_names(runs: Project) -> None:
    newest = runs.records().newest_resumable("Bad")

    assert newest is not None
    assert newest.plan.target == "Bad:Worse"
