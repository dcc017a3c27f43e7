"""What a run pays for pages that follow it; `python -m benchmarks.web` shows what the server and a browser pay.

The pages are sockets of one other process. The processor time of the run is compared, because the pages need some too.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import Workload
from benchmarks.project import PYTHON, Project


LINES = 150_000
PAGES = {"no page": 0, "1 page": 1, "200 pages": 200}
RECIPE = """
import time

from stagerun import LiveOperation


class Lines(LiveOperation):
    count: int

    def run(self, p):
        for number in range(self.count):
            p.log(f"a line of some usual length, number {number}")


class Steady(LiveOperation):
    count: int
    rate: int

    def run(self, p):
        begun = time.monotonic()
        for number in range(self.count):
            if (ahead := begun + number / self.rate - time.monotonic()) > 0.001:
                time.sleep(ahead)
            p.log(f"at {time.time():.4f} line {number}")
"""


def workloads(folder: Path) -> list[Workload]:
    project = Project(folder / "web", RECIPE)
    contenders = []
    watching = list[subprocess.Popen[str]]()
    for name, pages in PAGES.items():
        plain = project.run("Lines", "Lines", "--count", LINES, "--run-id-file", "run-id", size=LINES, progress="quiet")
        contenders.append(replace(plain, name=name, prepare=_prepared(project, watching, pages)))
    return [Workload("a run that is watched", "line", contenders, floor="no page", rounds=5)]


def _prepared(project: Project, watching: "list[subprocess.Popen[str]]", pages: int) -> Callable[[], object]:
    """Return what ends the pages of the contender before, makes the journal anew, and opens so many pages."""

    def prepare() -> None:
        while watching:
            watching.pop().wait(60)
        (project.folder / "run-id").unlink(missing_ok=True)
        project.refresh()
        if pages:
            watching.append(start_watching(project.folder, "benchmarks.watchers", str(pages)))

    return prepare


def start_watching(folder: Path, module: str, argument: str) -> "subprocess.Popen[str]":
    command = [PYTHON, "-m", module, str(folder), argument]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def main(counts: Sequence[int] = (1, 100, 1000)) -> None:
    """Print what the server and a browser pay, and how long lines are under way, at 20 and at 10,000 lines a second."""
    for rate, lines in ((20, 100), (10_000, 100_000)):
        for pages in counts:
            print(f"{rate:,} lines/s:", _watched(rate, lines, ["benchmarks.watchers", str(pages)]), flush=True)
        print(f"{rate:,} lines/s:", _watched(rate, lines, ["benchmarks.page", str(lines)]), flush=True)


def _watched(rate: int, lines: int, watcher: Sequence[str]) -> str:
    """Return what a watcher, a module with an argument, says of a run with so many lines a second."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "recipes").mkdir()
        (folder / "recipes" / "it.py").write_text(RECIPE)
        watching = start_watching(folder, *watcher)
        command = [sys.executable, "-m", "stagerun", "run", "it:Steady", f"--count={lines}", f"--rate={rate}"]
        options = ["--progress", "quiet", "--run-id-file", "run-id"]
        subprocess.run([*command, *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return watching.communicate()[0].strip()


if __name__ == "__main__":
    main()
