"""What it costs that a resumed run does nothing twice: steps, results of a map, position and state of a loop."""

from pathlib import Path

from benchmarks.harness import Workload
from benchmarks.project import Project


STEPS = (0, 100, 1_000)
ITEMS = (0, 100_000)
TRACKED = (0, 2_000_000)
RECIPE = """
import os
from stagerun import LiveOperation


def double(item):
    return 2 * item


class Steps(LiveOperation):
    stages = [f"Stage {number}" for number in range(1, int(os.environ.get("STAGES", "0")) + 1)]

    def run(self, p):
        for number, name in enumerate(self.stages):
            p.step(name, int, number)


class Map(LiveOperation):
    items: int
    keyed: bool = False

    def run(self, p):
        p.map(double, range(self.items), key="doubles" if self.keyed else None)


class Loop(LiveOperation):
    items: int
    keyed: bool = False
    stated: bool = False

    def run(self, p):
        totals = {"sum": 0, "count": 0} if self.stated else None
        for item in p.track(range(self.items), key="loop" if self.keyed else None, state=totals):
            pass
"""
EXECUTOR = """
import sys
from concurrent.futures import ThreadPoolExecutor


def double(item):
    return 2 * item


with ThreadPoolExecutor() as executor:
    list(executor.map(double, range(int(sys.argv[1]))))
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "resumable", RECIPE)
    floor = [project.commits("SQLite, three commits each", size=size, commits=3) for size in STEPS]
    steps = [project.run("p.step", "Steps", size=size, environ={"STAGES": str(size)}) for size in STEPS]
    executor = [project.script("ThreadPoolExecutor.map", EXECUTOR, size, size=size) for size in ITEMS]
    maps = [
        project.run(name, "Map", "--items", size, *options, size=size)
        for name, options in (("p.map", ()), ("p.map with a key", ("--keyed",)))
        for size in ITEMS
    ]
    loops = [
        project.run(name, "Loop", "--items", size, *options, size=size)
        for name, options in (
            ("p.track", ()),
            ("p.track with a key", ("--keyed",)),
            ("p.track with a key and a state", ("--keyed", "--stated")),
        )
        for size in TRACKED
    ]
    return [
        Workload("steps", "step", [*floor, *steps], floor=floor[0].name, rounds=5),
        Workload("mapped items", "item", [*executor, *maps], floor=executor[0].name, rounds=5),
        Workload("resumable loops", "item", loops, floor=loops[0].name, rounds=5),
    ]
