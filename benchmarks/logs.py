"""What a log line costs, from a thousand to a million, and what the live display adds when lines come slow or fast."""

from pathlib import Path

from benchmarks.harness import Workload
from benchmarks.project import Project


SIZES = (1_000, 10_000, 100_000, 1_000_000)
RICH_SIZES = (1_000, 10_000)  # a million take minutes
LARGE = 1_000_000
RATES = (10, 100, 1_000, 10_000, 100_000)  # lines a second
SECONDS = 3
RECIPE = f"""
import time
from stagerun import LiveOperation


class Lines(LiveOperation):
    count: int

    def run(self, p):
        for number in range(self.count):
            p.log(f"a line of some usual length, number {{number}}")


class Rate(LiveOperation):
    stages = ["Talk"]
    count: int

    def run(self, p):
        with p.stage("Talk"):
            begun = time.monotonic()
            for number in range(self.count):
                wait = begun + number * {SECONDS} / self.count - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                p.log(f"a line of some usual length, number {{number}}")
            # Every display gets the same time to draw, and has no line left to write.
            time.sleep(max(0, begun + {SECONDS} - time.monotonic()))
"""
PRINT = """
import sys

for number in range(int(sys.argv[1])):
    print(f"a line of some usual length, number {number}")
"""
FLUSHED = """
import sys

for number in range(int(sys.argv[1])):
    print(f"a line of some usual length, number {number}", flush=True)
"""
LOGGING = """
import logging, sys

logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
log = logging.getLogger("lines")
for number in range(int(sys.argv[1])):
    log.info("a line of some usual length, number %d", number)
"""
RICH = """
import sys
from rich.console import Console

console = Console()
for number in range(int(sys.argv[1])):
    console.print(f"a line of some usual length, number {number}")
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "logs", RECIPE)
    contenders = []
    for size in SIZES:
        often = 2 if size >= LARGE else 1000
        contenders += [
            project.script("print", PRINT, size, size=size, at_most=often),
            project.script("print, each line at once", FLUSHED, size, size=size, at_most=often),
            project.script("logging", LOGGING, size, size=size, at_most=often),
            *[
                project.run(f"p.log, {name}", "Lines", "--count", size, size=size, progress=progress, at_most=often)
                for name, progress in (("plain", "plain"), ("terminal", "tty"), ("json", "json"))
            ],
        ]
    for size in RICH_SIZES:
        contenders.append(project.script("rich, terminal", RICH, size, size=size, terminal=True))
    paced = [
        project.run(name, "Rate", "--count", rate * SECONDS, size=rate * SECONDS, progress=progress)
        for rate in RATES
        for name, progress in (("no display", "quiet"), ("plain", "plain"), ("terminal", "tty"))
    ]
    return [
        Workload("log lines", "line", contenders, floor="print", rounds=5),
        Workload(f"log lines within {SECONDS} s", "line", paced, floor="no display", rounds=2),
    ]
