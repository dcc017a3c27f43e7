"""What a stage costs, from 0 to 10,000 of them in one run: entered and left, each durable before the next line."""

from pathlib import Path

from benchmarks.harness import Contender, Workload
from benchmarks.project import PYTHON, Project
from benchmarks.startup import DBOS


SIZES = (0, 10, 100, 1_000, 10_000)
LARGE = 10_000
DBOS_SIZES = (0, 100, 1_000)
RECIPE = """
import os
from stagerun import LiveOperation


class Many(LiveOperation):
    stages = [f"Stage {number}" for number in range(1, int(os.environ["STAGES"]) + 1)]

    def run(self, p):
        for name in self.stages:
            with p.stage(name):
                pass
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "stages", RECIPE, files={"dbos_steps.py": DBOS})
    often = {size: 2 if size >= LARGE else 1000 for size in SIZES}
    floor = [project.commits("SQLite, two commits each", size=size, commits=2, at_most=often[size]) for size in SIZES]
    own = [
        project.run("stagerun", "Many", size=size, environ={"STAGES": str(size)}, at_most=often[size]) for size in SIZES
    ]
    dbos = [
        Contender("DBOS steps", [PYTHON, "dbos_steps.py", str(size)], size=size, folder=project.folder, at_most=3)
        for size in DBOS_SIZES
    ]
    return [Workload("stages", "stage", [*floor, *own, *dbos], floor=floor[0].name, rounds=5)]
