"""Measuring whole processes side by side: contenders take turns, round after round, and are compared round by round.

A slow moment of the machine so hits all of a round alike; what counts is the ratio to the workload's floor.
"""

import os
import pty
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Contender:
    """One command that does a workload.

    Attributes:
        name: as the report shows it.
        command: what is started; its output is read and thrown away.
        size: how many units of the workload it does.
        folder: where it is started.
        environ: what is added to the environment.
        terminal: True to give it a pseudo-terminal of 80 columns and 24 lines as standard output and error.
        prepare: called before each start, outside of the measured time.
        at_most: rounds that it takes part in, for a contender that takes long.

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
        rounds: how often each has its turn.

    """

    name: str
    unit: str
    contenders: Sequence[Contender]
    floor: str
    rounds: int = 7


@dataclass(frozen=True)
class Sample:
    """One measured process: seconds that passed, seconds of processor time, peak of its memory in MB."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Row:
    """What the samples of one contender at one size say: medians, and the lowest and highest time.

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
    """Let the contenders take turns, after one start each that is not counted; return a row for each."""
    samples: dict[int, list[Sample]] = {position: [] for position, _ in enumerate(workload.contenders)}
    for number in range(-1, rounds or workload.rounds):
        # There and back, so that nobody always comes after the same one.
        for position in sorted(samples, reverse=number % 2 == 1):
            contender = workload.contenders[position]
            if number < min(contender.at_most, rounds or workload.rounds):
                sample = run(contender)
                if number >= 0:
                    samples[position].append(sample)
    return [_row(workload, position, samples) for position in samples]


def run(contender: Contender) -> Sample:
    """Start it, read what it writes, and wait for its end; SystemExit with its last words if it fails."""
    contender.prepare()
    reader, writer = pty.openpty() if contender.terminal else os.pipe()
    if contender.terminal:
        import termios

        termios.tcsetwinsize(writer, (24, 80))
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TERM": "xterm-256color", **contender.environ}
    begun = time.perf_counter()
    process = subprocess.Popen(
        contender.command, cwd=contender.folder, env=environ, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer
    )
    os.close(writer)
    last = b""
    while data := _read(reader):
        last = (last + data)[-2000:]
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    os.close(reader)
    if process.returncode != 0:
        raise SystemExit(f"{contender.name}: exit code {process.returncode}\n{last.decode(errors='replace')}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""  # the other side of a pseudo-terminal is closed


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
