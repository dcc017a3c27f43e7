"""`python -m benchmarks [NAME...] [--rounds N]`: measure all workloads or some, and write the results."""

import argparse
import shutil
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks import report
from benchmarks.harness import Workload, measure


# In the order of the report; each is a module beside this one.
NAMES = (
    *("startup", "stages", "loops", "resumable", "coroutines"),
    *("logs", "children", "chains", "writers", "journal", "places", "web"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which workloads: {', '.join(NAMES)}; all if none")
    parser.add_argument("--rounds", type=int, help="rounds for each contender, instead of what its workload sets")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no such workloads: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    # In the checkout, because the temporary directory may be in memory, where a commit costs nothing.
    folder = Path("build/benchmarks").absolute()
    for name in arguments.names or NAMES:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        section = run(name, folder, arguments.rounds)
        # At once, so the results are kept if a later module fails.
        report.merge(section)
        print(report.tables(section), flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    print(report.write(NAMES))


def run(name: str, folder: Path, rounds: int | None) -> report.Section:
    """Measure the workloads of one module."""
    begun, machine = time.perf_counter(), report.machine(folder)
    module = import_module(f"benchmarks.{name}")
    workloads: list[Workload] = module.workloads(folder)
    rows = []
    for workload in workloads:
        print(f"{name}: {workload.name}", file=sys.stderr, flush=True)
        rows += measure(workload, rounds=rounds)
    return report.Section(
        name=name,
        about=(module.__doc__ or "").partition("\n")[0],
        rows=rows,
        commands=report.commands(workloads, folder),
        seconds=time.perf_counter() - begun,
        machine=machine,
    )


if __name__ == "__main__":
    main()
