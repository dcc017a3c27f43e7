"""What a command costs as a whole process, against the bare floors: `make bench`.

All commands run in turn, round after round, so that a slow moment of the machine hits them alike. The ratio to
`import click` is what counts; the milliseconds are of this machine.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


ROUNDS = 15
BIN = Path(sys.executable).parent
RECIPE = """
from stagerun import LiveOperation, Progress


class Three(LiveOperation):
    stages = ["One", "Two", "Three"]

    def run(self, p: Progress):
        for stage in self.stages:
            with p.stage(stage):
                pass
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "recipes").mkdir()
        (project / "recipes" / "three.py").write_text(RECIPE)
        stagerun = str(BIN / "stagerun")
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import click'": [sys.executable, "-c", "import click"],
            "stagerun --version": [stagerun, "--version"],
            "stagerun --help": [stagerun, "--help"],
            "stagerun status": [stagerun, "status"],
            "stagerun run, plain": [stagerun, "run", "three:Three", "--progress", "plain"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        subprocess.run(commands["stagerun run, plain"], cwd=project, stdout=subprocess.DEVNULL, check=True)
        for _ in range(ROUNDS):
            for name, command in commands.items():
                begun = time.perf_counter()
                subprocess.run(command, cwd=project, stdout=subprocess.DEVNULL, env=os.environ, check=True)
                seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    print(f"{'command':28} {'ms':>7}  {'x pass':>6}  {'x click':>7}")
    for name, median in medians.items():
        by_pass = median / medians["python -c pass"]
        by_click = median / medians["python -c 'import click'"]
        print(f"{name:28} {median * 1000:7.1f}  {by_pass:6.2f}  {by_click:7.2f}")


if __name__ == "__main__":
    main()
