"""What a run costs at another place: its start, a fact, a log line, a cancel."""

import atexit
import subprocess
from pathlib import Path

from benchmarks.harness import Contender, Workload
from benchmarks.project import BIN, PYTHON, Project


STAGERUN = str(BIN / "stagerun")  # this environment has the libraries of all places
FACTS = (100, 1_100)
LINES = (1_000, 300_000)
RECIPE = """
import time
from stagerun import LiveOperation


class Three(LiveOperation):
    stages = ["One", "Two", "Three"]

    def run(self, p):
        for stage in self.stages:
            with p.stage(stage):
                pass


class Facts(LiveOperation):
    count: int

    def run(self, p):
        for number in range(self.count):
            p.checkpoint(f"key {number}", lambda: number)


class Lines(LiveOperation):
    count: int

    def run(self, p):
        for number in range(self.count):
            p.log(f"a line of some usual length, number {number}")


class Sleep(LiveOperation):
    def run(self, p):
        p.log("asleep")
        time.sleep(600)
"""
# Prints nothing; its time is that from the request to the end of the command, and of what it takes to get there.
CANCEL = """
import signal, subprocess, sys

process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
while "asleep" not in process.stdout.readline():
    pass
process.send_signal(signal.SIGINT)
process.stdout.read()
sys.exit(0 if process.wait() == -signal.SIGINT else 1)
"""
CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address.replace("tcp", "dask"), flush=True)
        sys.stdin.read()
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "places", RECIPE)
    (project.folder / "cluster.py").write_text(CLUSTER)
    places = {"here": "here", "local:": "local:", "Dask": _cluster(project.folder)}

    def command(place: str, operation: str, size: int = 1) -> list[str]:
        given = [] if size == 1 else [f"--count={size}"]
        return [STAGERUN, "run", f"it:{operation}", "--progress", "plain", "--on", place, *given]

    def contenders(operation: str, sizes: tuple[int, ...] = (1,), *before: str) -> list[Contender]:
        return [
            Contender(
                name,
                [*before, *command(place, operation, size)],
                size=size,
                folder=project.folder,
                prepare=project.refresh,
            )
            for name, place in places.items()
            for size in sizes
        ]

    return [
        Workload("a run of three stages at a place", "run", contenders("Three"), floor="here"),
        Workload("facts at a place", "fact", contenders("Facts", FACTS), floor="here", rounds=5),
        Workload("log lines at a place", "line", contenders("Lines", LINES), floor="here", rounds=3),
        Workload("a cancel at a place", "run", contenders("Sleep", (1,), PYTHON, "-c", CANCEL), floor="here"),
    ]


def _cluster(folder: Path) -> str:
    """Start a cluster that ends with this process, and return its address."""
    process = subprocess.Popen(
        [PYTHON, "cluster.py"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.wait)
    assert process.stdin is not None
    atexit.register(process.stdin.close)
    assert process.stdout is not None
    return process.stdout.readline().strip()
