"""Measuring whole processes side by side: contenders take turns, round after round, and are compared round by round.

So a slow moment of the machine affects a whole round alike. What counts is the ratio to the workload's floor.
"""

import os
import pty
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


_STARTER = str(Path(__file__).with_name("starter.py"))
_MAXRSS_IN_MB = 1024 if sys.platform == "linux" else 1024**2  # getrusage(2) counts in KiB, on macOS in bytes


@dataclass(frozen=True)
class Contender:
    """One command that does a workload.

    Attributes:
        name: as the report shows it.
        command: what is started; its output is read and discarded.
        size: how many units of the workload it does.
        folder: its working folder.
        environ: variables that are added to the environment.
        terminal: True to give it a pseudo-terminal of 80 columns and 24 lines as standard output and error.
        prepare: called before each start, outside the measured time.
        at_most: the most rounds that it takes part in, for a slow contender.

    """

    name: str
    command: Sequence[str]
    size: int = 1
    folder: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    terminal: bool = False
    prepare: Callable[[], object] = lambda: None
    at_most: int = 1000


@dataclass(frozen=True)
class Workload:
    """Something that several contenders can do.

    Attributes:
        name: "start-up", "log lines".
        unit: what a size counts ("process", "line", "item").
        contenders: those that take turns.
        floor: the name of the contender that the others are compared with, at the same size.
        rounds: how often each contender runs.

    """

    name: str
    unit: str
    contenders: Sequence[Contender]
    floor: str
    rounds: int = 7


@dataclass(frozen=True)
class Sample:
    """One measured process, with the children it waited for.

    Attributes:
        wall: elapsed seconds.
        cpu: seconds of processor time.
        peak: peak memory of the largest of them, in MB; values below that of `starter` can't be measured.

    """

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Row:
    """The samples of one contender at one size: medians, and the lowest and highest time.

    Attributes:
        ratio, ratio_low, ratio_high: time divided by the floor's of the same round.

    """

    workload: str
    unit: str
    contender: str
    size: int
    rounds: int
    wall: float
    wall_low: float
    wall_high: float
    cpu: float
    peak: float
    ratio: float
    ratio_low: float
    ratio_high: float


def measure(workload: Workload, *, rounds: int | None = None) -> list[Row]:
    """Let the contenders take turns, after one small uncounted start each; return a row for each."""
    samples: dict[int, list[Sample]] = {position: [] for position, _ in enumerate(workload.contenders)}
    for contender in {each.name: each for each in sorted(workload.contenders, key=lambda each: -each.size)}.values():
        run(contender)
    for number in range(rounds or workload.rounds):
        # There and back, so that no contender always follows the same one.
        for position in sorted(samples, reverse=number % 2 == 1):
            contender = workload.contenders[position]
            if number < min(contender.at_most, rounds or workload.rounds):
                samples[position].append(run(contender))
    return [_row(workload, position, samples) for position in samples]


def run(contender: Contender) -> Sample:
    """Start it, read its output, and wait for its end; SystemExit with its last output if it fails."""
    contender.prepare()
    reader, writer = pty.openpty() if contender.terminal else os.pipe()
    if contender.terminal:
        import termios

        termios.tcsetwinsize(writer, (24, 80))
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TERM": "xterm-256color", **contender.environ}
    told, tell = os.pipe()
    starter = subprocess.Popen(
        [sys.executable, "-I", "-S", _STARTER, str(tell), *contender.command],
        cwd=contender.folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        pass_fds=[tell],
    )
    os.close(writer)
    os.close(tell)
    last = b""
    while data := _read(reader):
        last = (last + data)[-2000:]
    starter.wait()
    code, *taken = _read(told).decode().split() or ["1"]
    os.close(reader)
    os.close(told)
    if code != "0":
        raise SystemExit(f"{contender.name}: exit code {code}\n{last.decode(errors='replace')}")
    wall, cpu, peak = map(float, taken)
    return Sample(wall, cpu, peak / _MAXRSS_IN_MB)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""  # the other side of the pseudo-terminal is closed


def _row(workload: Workload, position: int, samples: Mapping[int, Sequence[Sample]]) -> Row:
    contender, own = workload.contenders[position], samples[position]
    (floor,) = (
        each
        for each, other in enumerate(workload.contenders)
        if other.name == workload.floor and other.size == contender.size
    )
    ratios = [sample.wall / base.wall for sample, base in zip(own, samples[floor], strict=False)]
    walls = [sample.wall for sample in own]
    return Row(
        workload=workload.name,
        unit=workload.unit,
        contender=contender.name,
        size=contender.size,
        rounds=len(own),
        wall=statistics.median(walls),
        wall_low=min(walls),
        wall_high=max(walls),
        cpu=statistics.median(sample.cpu for sample in own),
        peak=statistics.median(sample.peak for sample in own),
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
    )
