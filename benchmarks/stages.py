"""What a stage costs: entered and left, each durable before the next line; of few that come again, and of many."""

from pathlib import Path

from benchmarks.harness import Contender, Workload
from benchmarks.project import PYTHON, Project
from benchmarks.startup import DBOS


SIZES = (0, 10, 100, 1_000, 10_000)
DECLARED_SIZES = (0, 10, 100, 1_000)
DBOS_SIZES = (0, 100, 1_000)
RECIPE = """
import os
from stagerun import LiveOperation


class Declared(LiveOperation):
    stages = [f"Stage {number}" for number in range(1, int(os.environ["STAGES"]) + 1)]

    def run(self, p):
        for name in self.stages:
            with p.stage(name):
                pass


class Again(LiveOperation):
    stages = ["One", "Two", "Three"]

    def run(self, p):
        for number in range(int(os.environ["STAGES"])):
            with p.stage(self.stages[number % 3]):
                pass
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "stages", RECIPE, files={"dbos_steps.py": DBOS})
    floor = [project.commits("SQLite, two commits each", size=size, commits=2) for size in SIZES]
    alike = [
        project.commits("the same of three rows, 0.1 ms apart", size=size, commits=2, tables=3, pause=1e-4)
        for size in SIZES
    ]
    own = [
        project.run(name, operation, size=size, environ={"STAGES": str(size)})
        for name, operation, sizes in (
            ("three stages, again and again", "Again", SIZES),
            ("as many stages as that", "Declared", DECLARED_SIZES),
        )
        for size in sizes
    ]
    dbos = [
        Contender("DBOS steps", [PYTHON, "dbos_steps.py", str(size)], size=size, folder=project.folder, at_most=3)
        for size in DBOS_SIZES
    ]
    return [Workload("stages", "stage", [*floor, *alike, *own, *dbos], floor=floor[0].name, rounds=5)]
