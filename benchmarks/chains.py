"""What a link of a chain and a checkpoint cost, from ten to ten thousand of them, against bare commits."""

from pathlib import Path

from benchmarks.harness import Workload
from benchmarks.project import Project


SIZES = (10, 100, 1_000, 10_000)
LARGE = 10_000
RECIPE = """
from stagerun import LiveOperation


class Link(LiveOperation):
    left: int

    def run(self, p):
        if self.left > 1:
            p.chain_to(Link(left=self.left - 1))


class Points(LiveOperation):
    count: int

    def run(self, p):
        for number in range(self.count):
            p.checkpoint(f"point {number}", int, number)
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "chains", RECIPE)
    often = {size: 2 if size >= LARGE else 1000 for size in SIZES}
    floor = [project.commits("SQLite, a commit each", size=size, commits=1, at_most=often[size]) for size in SIZES]
    links = [project.run("stagerun", "Link", "--left", size, size=size, at_most=often[size]) for size in SIZES]
    points = [project.run("stagerun", "Points", "--count", size, size=size, at_most=often[size]) for size in SIZES]
    return [
        Workload("chain links", "link", [*floor, *links], floor=floor[0].name, rounds=5),
        Workload("checkpoints", "checkpoint", [*floor, *points], floor=floor[0].name, rounds=5),
    ]
