"""What it costs when 1, 10 and 50 processes write to one journal at once: a run of twenty stages each."""

from pathlib import Path

from benchmarks.floors import COMMITS
from benchmarks.harness import Contender, Workload
from benchmarks.project import PYTHON, STAGERUN, Project


SIZES = (1, 10, 50)
STAGES = 20
COMMITS_OF_A_RUN = 2 * STAGES + 3  # created, started, each stage entered and left, finished
RECIPE = f"""
from stagerun import LiveOperation


class Small(LiveOperation):
    stages = [f"Stage {{number}}" for number in range(1, {STAGES} + 1)]

    def run(self, p):
        for name in self.stages:
            with p.stage(name):
                pass
"""
# Starts `count` processes at once and waits; the exit code is the highest of theirs.
AT_ONCE = """
import subprocess, sys

count, *command = sys.argv[1:]
started = [subprocess.Popen(command) for _ in range(int(count))]
sys.exit(max([process.wait() for process in started]))
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "writers", RECIPE)
    operation = [STAGERUN, "run", "it:Small", "--progress", "plain"]
    bare = [PYTHON, "-c", COMMITS, "bare.db", str(COMMITS_OF_A_RUN), "1", "1", "0"]
    contenders = []
    for size in SIZES:
        for name, command in (("SQLite, as many commits", bare), ("stagerun", operation)):
            contenders.append(
                Contender(
                    name,
                    [PYTHON, "-c", AT_ONCE, str(size), *command],
                    size=size,
                    folder=project.folder,
                    prepare=project.refresh,
                )
            )
    return [Workload("processes that write at once", "process", contenders, floor="SQLite, as many commits", rounds=3)]
