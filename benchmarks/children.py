"""What the output of a program costs through `p.sh`, from a thousand lines to four million, against a bare loop."""

from pathlib import Path

from benchmarks.harness import Contender, Workload
from benchmarks.project import Project


SIZES = (1_000, 10_000, 100_000, 1_000_000, 4_000_000)
INVOKE_SIZES = (1_000, 10_000, 100_000)  # a million take a minute
LARGE = 1_000_000
RECIPE = """
from stagerun import LiveOperation


class Lines(LiveOperation):
    count: int

    def run(self, p):
        p.sh(f"seq -f 'a line of some usual length, number %.0f' {self.count}")
"""
BARE = """
import subprocess, sys

command = f"seq -f 'a line of some usual length, number %.0f' {sys.argv[1]}"
with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, text=True) as process:
    for line in process.stdout:
        sys.stdout.write(line)
"""
INVOKE = """
import invoke, sys

invoke.run(f"seq -f 'a line of some usual length, number %.0f' {sys.argv[1]}", in_stream=False)
"""
PIPE = "seq -f 'a line of some usual length, number %.0f' {} | cat"


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "children", RECIPE)
    contenders = []
    for size in SIZES:
        often = 3 if size >= LARGE else 1000
        contenders += [
            project.script("Popen and a loop", BARE, size, size=size, at_most=often),
            Contender("cat", ["sh", "-c", PIPE.format(size)], size=size, at_most=often),
            project.run("p.sh, plain", "Lines", "--count", size, size=size, at_most=often),
        ]
    contenders += [project.script("invoke.run", INVOKE, size, size=size, at_most=2) for size in INVOKE_SIZES]
    return [Workload("child lines", "line", contenders, floor="Popen and a loop", rounds=5)]
