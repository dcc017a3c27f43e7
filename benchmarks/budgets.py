"""The budgets: what stagerun may cost, and which measured rows show what it costs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.harness import Row


@dataclass(frozen=True)
class Reading:
    """A budget with its measurement, in words, and whether it is met."""

    measured: str
    floor: str
    peer: str
    ratio: str
    met: bool


class Rows:
    """The rows of all workloads."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.all = list(rows)

    def of(self, workload: str, contender: str) -> list[Row]:
        """Return the rows of a contender, the smallest size first; LookupError if there are none."""
        found = [row for row in self.all if (row.workload, row.contender) == (workload, contender)]
        if not found:
            raise LookupError(contender)
        return sorted(found, key=lambda row: row.size)

    def one(self, workload: str, contender: str) -> Row:
        """Return the row of the largest size."""
        return self.of(workload, contender)[-1]

    def slope(self, workload: str, contender: str, sizes: tuple[int, int] | None = None) -> float:
        """Return the seconds for one more unit, from the smallest size to the largest or between `sizes`."""
        rows = [row for row in self.of(workload, contender) if sizes is None or row.size in sizes]
        if len(rows) < 2:
            raise LookupError(contender)
        return (rows[-1].wall - rows[0].wall) / (rows[-1].size - rows[0].size)

    def growth(self, workload: str, contender: str) -> float:
        """Return how many MB the largest size needs more than the smallest."""
        rows = self.of(workload, contender)
        return rows[-1].peak - rows[0].peak


class Budget(Protocol):
    """One budget.

    Attributes:
        what: what is limited.
        limit: the budget, in words.

    """

    @property
    def what(self) -> str: ...

    @property
    def limit(self) -> str: ...

    def read(self, rows: Rows) -> Reading:
        """Return the measurement; LookupError if there is none."""


@dataclass(frozen=True)
class Times:
    """A whole process takes at most `factor` times as long as the floor, and less than each of `ahead_of`."""

    what: str
    workload: str
    contender: str
    floor: str
    factor: float
    ahead_of: Sequence[str] = ()

    @property
    def limit(self) -> str:
        ahead = ", and ahead of every Python peer" if self.ahead_of else ""
        return f"≤ {self.factor:g} × `{self.floor}`{ahead}"

    def read(self, rows: Rows) -> Reading:
        row, floor = rows.one(self.workload, self.contender), rows.one(self.workload, self.floor)
        peers = {name: rows.one(self.workload, name).wall for name in self.ahead_of}
        return Reading(
            measured=seconds(row.wall),
            floor=seconds(floor.wall),
            peer=_best(peers),
            ratio=spread(row),
            met=row.ratio <= self.factor and all(row.wall < peer for peer in peers.values()),
        )


@dataclass(frozen=True)
class PerUnit:
    """One more unit takes at most so many seconds, or so many times the floor's, and less than each of `ahead_of`.

    Attributes:
        over: True if the seconds are counted on top of the floor's.
        sizes: the two sizes that are compared, if not the smallest and the largest.

    """

    what: str
    limit: str
    workload: str
    contender: str
    floor: str
    most: float | None = None
    factor: float | None = None
    over: bool = False
    sizes: tuple[int, int] | None = None
    ahead_of: Sequence[str] = ()

    def read(self, rows: Rows) -> Reading:
        slope = rows.slope(self.workload, self.contender, self.sizes)
        floor = rows.slope(self.workload, self.floor, self.sizes)
        peers = {name: rows.slope(self.workload, name) for name in self.ahead_of}
        cost = slope - floor if self.over else slope
        met = (self.most is None or cost <= self.most) and (self.factor is None or slope <= self.factor * floor)
        return Reading(
            measured=f"{seconds(slope)}, {seconds(cost)} over it" if self.over else seconds(slope),
            floor=seconds(floor),
            peer=_best(peers),
            ratio=f"{slope / floor:.2f}",
            met=met and all(slope < peer for peer in peers.values()),
        )


@dataclass(frozen=True)
class Rate:
    """At least `least` units a second, without the start-up."""

    what: str
    workload: str
    contender: str
    floor: str
    least: int
    peers: Sequence[str] = ()

    @property
    def limit(self) -> str:
        return f"≥ {self.least:,} a second"

    def read(self, rows: Rows) -> Reading:
        slope, floor = rows.slope(self.workload, self.contender), rows.slope(self.workload, self.floor)
        peers = {name: rows.slope(self.workload, name) for name in self.peers}
        best = min(peers, key=peers.__getitem__, default=None)
        return Reading(
            measured=f"{1 / slope:,.0f} a second",
            floor=f"{1 / floor:,.0f} a second",
            peer=f"{best}: {1 / peers[best]:,.0f} a second" if best else "",
            ratio=f"{slope / floor:.2f}",
            met=1 / slope >= self.least,
        )


@dataclass(frozen=True)
class Within:
    """Some commands, whole processes in the largest journal, take at most `factor` times as long as in an empty one."""

    what: str
    limit: str
    commands: Sequence[str]
    contender: str
    factor: float

    def read(self, rows: Rows) -> Reading:
        found = [
            row for row in rows.all if row.workload.split()[0] in self.commands and row.contender == self.contender
        ]
        if not found:
            raise LookupError(self.contender)
        worst = max(found, key=lambda row: row.ratio)
        return Reading(
            measured=f"{seconds(worst.wall)} (`{worst.workload}`)",
            floor=seconds(worst.wall / worst.ratio),
            peer="",
            ratio=spread(worst),
            met=worst.ratio <= self.factor,
        )


@dataclass(frozen=True)
class Paced:
    """In the same time a display takes little more processor time for many lines than for few, over that of `base`.

    Attributes:
        most: seconds for each further line: to write it, because drawing must not depend on the number of lines.

    """

    what: str
    limit: str
    workload: str
    contender: str
    base: str
    most: float

    def read(self, rows: Rows) -> Reading:
        pairs = list(zip(rows.of(self.workload, self.contender), rows.of(self.workload, self.base), strict=True))
        few, many = (own.cpu - base.cpu for own, base in (pairs[0], pairs[-1]))
        lines = pairs[-1][0].size - pairs[0][0].size
        return Reading(
            measured=f"{many:+.2f} s for {pairs[-1][0].size:,} lines: {seconds((many - few) / lines)} a line",
            floor=f"{few:+.2f} s for {pairs[0][0].size:,} lines",
            peer="",
            ratio="",
            met=many - few <= self.most * lines,
        )


@dataclass(frozen=True)
class Undisturbed:
    """Whoever looks on, a process takes at most `factor` times the processor time that it takes alone."""

    what: str
    workload: str
    contenders: Sequence[str]
    floor: str
    factor: float

    @property
    def limit(self) -> str:
        return f"≤ {self.factor:g} × `{self.floor}`"

    def read(self, rows: Rows) -> Reading:
        floor = rows.one(self.workload, self.floor)
        worst = max((rows.one(self.workload, name) for name in self.contenders), key=lambda row: row.cpu)
        return Reading(
            measured=f"{seconds(worst.cpu)} (`{worst.contender}`)",
            floor=seconds(floor.cpu),
            peer="",
            ratio=f"{worst.cpu / floor.cpu:.2f}",
            met=worst.cpu <= self.factor * floor.cpu,
        )


@dataclass(frozen=True)
class Flat:
    """Peak memory grows by at most `most` MB from the smallest size to the largest."""

    what: str
    workload: str
    contender: str
    most: float = 5.0

    @property
    def limit(self) -> str:
        return f"± {self.most:g} MB"

    def read(self, rows: Rows) -> Reading:
        smallest, *_, largest = rows.of(self.workload, self.contender)
        growth = rows.growth(self.workload, self.contender)
        return Reading(
            measured=f"{growth:+.1f} MB ({largest.peak:.0f} MB at {largest.size:,})",
            floor=f"{smallest.peak:.0f} MB at {smallest.size:,}",
            peer="",
            ratio=f"{largest.peak / smallest.peak:.2f}",
            met=growth <= self.most,
        )


CLICK = "python -c 'import click'"
FLUSHED = "print, each line at once"
STEP = "`p.step`, entered, done, stored and left"
STAGE = "one stage, entered and left"
STAGE_OF_MANY = "one stage of 1,000 that are declared"
PLAIN_LINE = "`p.log`, a line, plain"
# Why a budget is not met, for when it is not.
REASONS: Mapping[str, str] = {
    STEP: "it commits three facts: a stage is entered and left, and a value is stored. Each costs what it costs in "
    "*one stage* above. With 1,000 declared stages the row of the run grows as well.",
    STAGE: "a stage commits three rows, each in a table of its own (the event, the run, the stage), while the floor "
    "commits one, and about 0.1 ms of other work separates two commits. After such a pause the disk is slower, too. "
    "The cost of that in SQLite alone is below: *the same of three rows, 0.1 ms apart*.",
    STAGE_OF_MANY: "in addition, the row of the run holds the state of every stage (`stage_states`), and each commit "
    "rewrites it.",
    PLAIN_LINE: "a line is written when `p.log` returns, so neither a crash of the process nor the output of a "
    "program can come before it. That takes two system calls (poll, write) and wakes the reader for each line, as "
    "`logging` does. The rest is Python.",
}
BUDGETS: Sequence[Budget] = (
    Times("`stagerun --version`", "version", "stagerun --version", "python -c pass", 1.5),
    Times("`stagerun --help`", "commands", "stagerun --help", CLICK, 1.3),
    Times("`stagerun status`", "commands", "stagerun status", CLICK, 1.3),
    Times(
        "`stagerun run` of three stages, plain",
        "three steps",
        "stagerun run, plain",
        CLICK,
        1.7,
        ahead_of=("invoke", "doit", "nox", "DBOS", "Metaflow", "Prefect"),
    ),
    Times("`stagerun run` of three stages, on a terminal", "three steps", "stagerun run, terminal", CLICK, 2.5),
    PerUnit(
        STAGE,
        "≤ 1.5 × two bare commits, and ahead of DBOS",
        "stages",
        "three stages, again and again",
        "SQLite, two commits each",
        factor=1.5,
        ahead_of=("DBOS steps",),
    ),
    PerUnit(
        STAGE_OF_MANY,
        "≤ 1.5 × two bare commits, and ahead of DBOS",
        "stages",
        "as many stages as that",
        "SQLite, two commits each",
        factor=1.5,
        sizes=(0, 1_000),
        ahead_of=("DBOS steps",),
    ),
    PerUnit(
        STEP,
        "≤ 1.5 × three bare commits",
        "steps",
        "p.step",
        "SQLite, three commits each",
        factor=1.5,
    ),
    Rate(
        "`p.map` with a key, small results stored",
        "mapped items",
        "p.map with a key",
        "ThreadPoolExecutor.map",
        20_000,
    ),
    PerUnit(
        "`p.track`, an item, plain",
        "≤ 60 ns over the bare loop, and ahead of tqdm and rich",
        "tracked items",
        "p.track, plain",
        "bare loop",
        most=60e-9,
        over=True,
        ahead_of=("tqdm, pipe", "rich, pipe"),
    ),
    PerUnit(
        "`p.track`, an item, on a terminal",
        "≤ 60 ns over the bare loop, and ahead of tqdm and rich",
        "tracked items",
        "p.track, terminal",
        "bare loop",
        most=60e-9,
        over=True,
        ahead_of=("tqdm, terminal", "rich, terminal"),
    ),
    PerUnit(PLAIN_LINE, "≤ 6 µs", "log lines", "p.log, plain", FLUSHED, most=6e-6),
    PerUnit(
        "`p.log`, a line, on a terminal",
        "≤ 15 µs",
        "log lines",
        "p.log, terminal",
        FLUSHED,
        most=15e-6,
        ahead_of=("rich, terminal",),
    ),
    Paced(
        "the live display, 3 s at 10 and at 100,000 lines a second: processor time over no display",
        "≤ 2 µs for each line more",
        "log lines within 3 s",
        "terminal",
        "no display",
        most=2e-6,
    ),
    Rate(
        "lines of a program through `p.sh`, plain",
        "child lines",
        "p.sh, plain",
        "Popen and a loop",
        300_000,
        peers=("invoke.run",),
    ),
    Within(
        "`status` and `history` in a journal of 1,000,000 runs",
        "the slowest of them within 20 % of a journal of one",
        ("status", "history"),
        "1,000,000 runs",
        1.2,
    ),
    Undisturbed(
        "a run of 150,000 lines that pages follow: processor time of the run",
        "a run that is watched",
        ("1 page", "200 pages"),
        "no page",
        1.05,
    ),
    Flat("memory, 10^6 log lines, plain", "log lines", "p.log, plain"),
    Flat("memory, 10^6 log lines, on a terminal", "log lines", "p.log, terminal"),
    Flat("memory, 10^6 log lines, json", "log lines", "p.log, json"),
    Flat("memory, 10^7 tracked items, plain", "tracked items", "p.track, plain"),
    Flat("memory, 10^7 tracked items, on a terminal", "tracked items", "p.track, terminal"),
    Flat("memory, 4 × 10^6 lines of a program", "child lines", "p.sh, plain", most=10.0),
    Flat("memory, 10,000 links of a chain", "chain links", "stagerun"),
)


def seconds(value: float) -> str:
    """Return `12.3 ms`: three digits and the unit that suits them."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}" if abs(value) < 1000 else f"{value:,.0f} s"
    return f"{value / 1e-9:.3g} ns"


def spread(row: Row) -> str:
    """Return the ratio to the floor, with the lowest and the highest of the rounds."""
    return f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"


def _best(peers: Mapping[str, float]) -> str:
    best = min(peers, key=peers.__getitem__, default=None)
    return f"{best}: {seconds(peers[best])}" if best else ""
