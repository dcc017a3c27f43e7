"""What it costs to count the items of a loop, from a thousand to ten million, against tqdm and rich."""

from pathlib import Path

from benchmarks.harness import Workload
from benchmarks.project import Project


SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
RECIPE = """
from stagerun import LiveOperation


class Track(LiveOperation):
    count: int

    def run(self, p):
        for _ in p.track(range(self.count)):
            pass
"""
BARE = """
import sys


def run(count):
    for _ in range(count):
        pass


run(int(sys.argv[1]))
"""
GENERATOR = """
import sys


def each(items):
    for item in items:
        yield item


def run(count):
    for _ in each(range(count)):
        pass


run(int(sys.argv[1]))
"""
TQDM = """
import sys
from tqdm import tqdm


def run(count):
    for _ in tqdm(range(count)):
        pass


run(int(sys.argv[1]))
"""
RICH = """
import sys
from rich.progress import track


def run(count):
    for _ in track(range(count)):
        pass


run(int(sys.argv[1]))
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "loops", RECIPE)
    contenders = []
    for size in SIZES:
        contenders += [
            project.script("bare loop", BARE, size, size=size),
            project.script("bare generator", GENERATOR, size, size=size),
            project.run("p.track, plain", "Track", "--count", size, size=size),
            project.run("p.track, terminal", "Track", "--count", size, size=size, progress="tty"),
            project.script("tqdm, pipe", TQDM, size, size=size),
            project.script("tqdm, terminal", TQDM, size, size=size, terminal=True),
            project.script("rich, pipe", RICH, size, size=size),
            project.script("rich, terminal", RICH, size, size=size, terminal=True),
        ]
    return [Workload("tracked items", "item", contenders, floor="bare loop", rounds=5)]
