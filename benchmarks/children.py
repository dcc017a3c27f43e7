"""What the output of a program costs: `p.sh` in plain mode and journaled, against a bare read loop and invoke's `run`.

Every contender is a whole process that runs `seq` and writes each of its lines to a pipe that is read and thrown away.
They take turns, round after round. Memory is the peak of the process itself, from wait4(2).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


ROUNDS = 5
SIZES = (10_000, 1_000_000, 4_000_000)
INVOKE_SIZES = (10_000, 100_000)  # it takes about a minute for a million
RECIPE = """
from stagerun import LiveOperation


class Lines(LiveOperation):
    count: int

    def run(self, p):
        p.sh(f"seq -f 'a line of some usual length, number %g' {self.count}")
"""
BARE = """
import subprocess, sys
command = f"seq -f 'a line of some usual length, number %g' {sys.argv[1]}"
with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, text=True) as process:
    for line in process.stdout:
        sys.stdout.write(line)
"""
INVOKE = """
import invoke, sys
invoke.run(f"seq -f 'a line of some usual length, number %g' {sys.argv[1]}", in_stream=False)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipes").mkdir()
        (folder / "recipes" / "lines.py").write_text(RECIPE)
        stagerun = [sys.executable, "-m", "stagerun", "run", "lines", "--progress", "plain", "--count"]
        contenders = {
            "p.sh, plain, journaled": (stagerun, SIZES),
            "subprocess, bare loop": ([sys.executable, "-c", BARE], SIZES),
            "invoke.run": ([sys.executable, "-c", INVOKE], INVOKE_SIZES),
        }
        measured: dict[tuple[str, int], list[tuple[float, int]]] = {}
        for _ in range(ROUNDS):
            for size in sorted({*SIZES, *INVOKE_SIZES}):
                for contender, (command, sizes) in contenders.items():
                    if size in sizes:
                        measured.setdefault((contender, size), []).append(run([*command, str(size)], folder))
                        (folder / ".stagerun" / "journal.db").unlink(missing_ok=True)
    print(f"{'contender':24} {'lines':>10} {'seconds':>8} {'lines/s':>10} {'x bare':>7} {'MB':>5}")
    for (contender, size), runs in measured.items():
        seconds = statistics.median(each for each, _ in runs)
        bare = [each for each, _ in measured.get(("subprocess, bare loop", size), [])]
        ratio = f"{seconds / statistics.median(bare):7.2f}" if bare else "      -"
        memory = statistics.median(each for _, each in runs) / 1024
        print(f"{contender:24} {size:10,} {seconds:8.2f} {size / seconds:10,.0f} {ratio} {memory:5.0f}")


def run(command: list[str], folder: Path) -> tuple[float, int]:
    """Return the seconds of a command whose output is read, and the peak of its memory in KiB."""
    begun = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        while process.stdout.read(1 << 16):
            pass
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - begun, usage.ru_maxrss


if __name__ == "__main__":
    main()
