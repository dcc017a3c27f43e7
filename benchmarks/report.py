"""The report: Markdown tables, JSON, the table of budgets, and the picture of time against size."""

import json
import os
import platform
import shlex
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.budgets import BUDGETS, REASONS, Rows, seconds, spread
from benchmarks.harness import Row, Workload
from benchmarks.project import BIN, OWN, PYTHON


HERE = Path(__file__).parent
RESULTS, DATA = HERE / "RESULTS.md", HERE / "results.json"
PICTURE = HERE.parent / "docs" / "scaling.svg"
PACKAGES = (
    *("stagerun", "click", "msgspec", "rich", "sqlite-utils"),
    *("invoke", "doit", "nox", "dbos", "metaflow", "prefect", "rust-just", "go-task-bin", "tqdm"),
)
# The curves of the picture: label, workload, contender, a colour for light and dark backgrounds.
CURVES = (
    ("stages", "stages", "three stages, again and again", "#d1495b"),
    ("chain links", "chain links", "stagerun", "#e08a1e"),
    ("checkpoints", "checkpoints", "stagerun", "#2a9d6f"),
    ("log lines", "log lines", "p.log, plain", "#3b82d6"),
    ("lines of a program", "child lines", "p.sh, plain", "#9b6bd3"),
    ("tracked items", "tracked items", "p.track, plain", "#1aa3b0"),
)
SIZES = ("10", "100", "1,000", "10,000", "100,000", "1 million", "10 million")
GREY = "#808080"
PREFACE = """
`make bench` measures this: whole processes that take turns, round after round. Times are medians. "× floor" is the
median of the ratios inside each round, with the lowest and the highest in brackets; it is more reliable than the times,
which depend on this machine. "one ..." is the slope from the smallest size to the largest, without the start-up; "at
the end" is the slope between the two largest. Memory is the peak of the largest process; below 8 MB it is not visible.
""".strip()


@dataclass(frozen=True)
class Section:
    """The results of one module.

    Attributes:
        name: the module.
        about: the first line of its docstring.
        rows: one for each contender and size.
        commands: workload -> contender -> the command of its largest size.
        seconds: how long it took to measure.
        machine: where and when it was measured.

    """

    name: str
    about: str
    rows: Sequence[Row]
    commands: Mapping[str, Mapping[str, str]]
    seconds: float
    machine: Mapping[str, str] = field(default_factory=dict)


def merge(section: Section) -> None:
    """Put a section into the JSON file, replacing the earlier one of that name."""
    data = _data()
    data[section.name] = asdict(section)
    sections = [f"{json.dumps(name)}: {_lines(each)}" for name, each in data.items()]
    DATA.write_text("{" + ",\n".join(sections) + "}\n", encoding="utf-8")


def write(names: Sequence[str]) -> str:
    """Write the Markdown file and the picture from the JSON file; return the table of budgets."""
    data = _data()
    sections = [_section(data[name]) for name in names if name in data]
    rows = Rows(row for section in sections for row in section.rows)
    table = _budgets(rows)
    machines = [section.machine for section in sections]
    parts = ["# Benchmarks", _preface(machines), "## Budgets", table]
    for section in sections:
        when = f"Measured in {section.seconds:.0f} s, {section.machine['measured on']}, load before"
        about = f"{section.about} {when}: {section.machine['load before']}."
        parts += [f"## {section.name}", about, tables(section)]
    parts += ["## Commands", *map(_commands, sections)]
    RESULTS.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    _draw(rows)
    return table


def machine(folder: Path) -> dict[str, str]:
    """Return where it is measured: the machine, the versions, the time."""
    try:
        about = Path("/proc/cpuinfo").read_text()
        model = next(line.partition(":")[2].strip() for line in about.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "journals lie on": _file_system(folder),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
        **{name: version(name) for name in PACKAGES},
        "measured on": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def commands(workloads: Sequence[Workload], folder: Path) -> dict[str, dict[str, str]]:
    """Return the commands, without the paths of this machine; Python source is left out."""
    places = {
        PYTHON: "python",
        f"{OWN}/": "",
        f"{BIN}/": "",
        f"{folder}/": "",
        str(folder): ".",
        tempfile.gettempdir(): "$TMPDIR",
    }
    told: dict[str, dict[str, str]] = {}
    for workload in workloads:
        for contender in sorted(workload.contenders, key=lambda each: each.size):
            words = ["…" if "\n" in word else shlex.quote(word) for word in contender.command]
            text = " ".join([*(f"{name}={value}" for name, value in contender.environ.items()), *words])
            for place, name in places.items():
                text = text.replace(place, name)
            told.setdefault(workload.name, {})[contender.name] = text
    return told


def tables(section: Section) -> str:
    """Return the tables of a section, as Markdown."""
    grouped: dict[str, list[Row]] = {}
    for row in section.rows:
        grouped.setdefault(row.workload, []).append(row)
    shapes = [tuple((row.contender, row.size) for row in rows) for rows in grouped.values()]
    if len(shapes) > 1 and len(set(shapes)) == 1 and len({size for _, size in shapes[0]}) == 1:
        return _matrix(grouped)
    parts = []
    for name, rows in grouped.items():
        scales = len({row.size for row in rows}) > 1
        parts += [f"### {name}", _by_size(rows) if scales else _plain(rows)]
    return "\n\n".join(parts)


def _plain(rows: Sequence[Row]) -> str:
    """Contenders of one size, one below the other."""
    body = [
        [
            row.contender,
            seconds(row.wall),
            f"{seconds(row.wall_low)} to {seconds(row.wall_high)}",
            spread(row),
            seconds(row.cpu),
            f"{row.peak:.0f}",
            str(row.rounds),
        ]
        for row in rows
    ]
    return _table(["", "median", "lowest to highest", "× floor (of each round)", "processor", "MB", "rounds"], body)


def _matrix(grouped: Mapping[str, Sequence[Row]]) -> str:
    """Workloads that have the same contenders: one line for each workload."""
    heads = [row.contender for row in next(iter(grouped.values()))]
    body = [[name, *(seconds(row.wall) for row in rows), spread(rows[-1])] for name, rows in grouped.items()]
    return _table(["", *heads, f"{heads[-1]}, × floor"], body)


def _by_size(rows: Sequence[Row]) -> str:
    """Contenders of several sizes: time, then memory, one line for each contender."""
    lookup = Rows(rows)
    workload, unit = rows[0].workload, rows[0].unit
    sizes = sorted({row.size for row in rows})
    time, processor, memory = [], [], []
    for name in dict.fromkeys(row.contender for row in rows):
        own = {row.size: row for row in lookup.of(workload, name)}
        each = seconds(lookup.slope(workload, name)) if len(own) > 1 else ""
        largest = sorted(own)[-2:]
        late = seconds(lookup.slope(workload, name, (largest[0], largest[1]))) if len(own) > 2 else ""
        ratio = spread(own[max(own)])
        time.append([name, *(seconds(own[size].wall) if size in own else "" for size in sizes), each, late, ratio])
        processor.append([name, *(seconds(own[size].cpu) if size in own else "" for size in sizes)])
        peaks = [f"{own[size].peak:.1f}" if size in own else "" for size in sizes]
        memory.append([name, *peaks, f"{lookup.growth(workload, name):+.1f}"])
    units = f"{unit}es" if unit.endswith("s") else f"{unit}s"
    heads = [f"{size:,}" for size in sizes]
    heads[0] += f" {unit if sizes[0] == 1 else units}"
    return "\n\n".join(
        [
            _table(["time", *heads, f"one {unit}", "at the end", "× floor, largest"], time),
            _table(["processor", *heads], processor),
            _table(["memory, MB", *heads, "growth"], memory),
        ]
    )


def _budgets(rows: Rows) -> str:
    body, missed = [], []
    for budget in BUDGETS:
        try:
            reading = budget.read(rows)
        except LookupError:
            body.append([budget.what, budget.limit, "not measured", "", "", "", ""])
        else:
            met = "yes" if reading.met else "**no**"
            missed += [] if reading.met else [budget.what]
            body.append([budget.what, budget.limit, reading.measured, reading.floor, reading.peer, reading.ratio, met])
    table = _table(["what", "budget", "measured", "floor", "best peer", "× floor", "met"], body, "---")
    return "\n".join([table, *(f"\nNot met: {what}: {REASONS.get(what, 'not explained yet.')}" for what in missed)])


def _preface(machines: Sequence[Mapping[str, str]]) -> str:
    latest = max(machines, key=lambda each: each["measured on"], default={})
    facts = _table(["", ""], [[name, told] for name, told in latest.items() if name != "load before"], "---")
    return f"{PREFACE}\n\n![Time against size](../docs/scaling.svg)\n\n{facts}"


def _commands(section: Section) -> str:
    """Return the commands; if all workloads have the same contenders, one command for each."""
    alike = len(section.commands) > 3 and len({tuple(told) for told in section.commands.values()}) == 1
    lines = []
    for workload, told in section.commands.items():
        for name, command in list(told.items())[-1:] if alike else told.items():
            title = workload if name == command else f"{workload}, {name}"
            lines.append(f"- {title}: `{command}`")
    return f"`benchmarks/{section.name}.py`:\n\n" + "\n".join(lines)


def _table(heads: Sequence[str], body: Sequence[Sequence[str]], align: str = "---:") -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---|" + f"{align}|" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds `folder`, by the mount table (Linux only)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    best, kind = "", "unknown"
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        point = before.split()[4]
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


def _draw(rows: Rows) -> None:
    """Draw time against size, both logarithmic: what is linear rises like the diagonal of the grid."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullLocator

    style = {"svg.fonttype": "none", "svg.hashsalt": "stagerun", "font.size": 11, "font.family": "sans-serif"}
    ends: list[tuple[int, float, str, str]] = []
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(7, 4.4))
        for label, workload, contender, colour in CURVES:
            try:
                points = [row for row in rows.of(workload, contender) if row.size > 0]
            except LookupError:
                continue
            axes.plot([row.size for row in points], [row.wall for row in points], "o-", color=colour, ms=3.5, lw=1.6)
            ends.append((points[-1].size, points[-1].wall, label, colour))
        axes.set(xscale="log", yscale="log")
        last, lowest = 0, 0.0
        for size, wall, label, colour in sorted(ends):
            # The labels of two curves that end side by side would overlap.
            lowest = max(wall, lowest * 1.5) if size == last else wall
            axes.annotate(label, (size, lowest), (6, 0), textcoords="offset points", color=colour, va="center")
            last = size
        axes.set_xticks([10**power for power in range(1, 8)], SIZES, fontsize=10)
        axes.set_yticks([0.1, 1, 10, 100], ["0.1 s", "1 s", "10 s", "100 s"], fontsize=10)
        axes.set_ylim(0.05, 2 * max((wall for _, wall, _, _ in ends), default=1.0))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(color=GREY, alpha=0.25, lw=0.6)
        axes.tick_params(colors=GREY)
        for side, spine in axes.spines.items():
            spine.set(color=GREY, visible=side in ("left", "bottom"))
        figure.savefig(PICTURE, transparent=True, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)


def _lines(section: Mapping[str, Any]) -> str:
    """Return a section as JSON, with a line for each row, so that diffs are readable."""
    rows = ",\n".join(json.dumps(row) for row in section["rows"])
    rest = json.dumps({name: value for name, value in section.items() if name != "rows"}, ensure_ascii=False)
    return f'{{"rows": [\n{rows}],\n{rest[1:]}'


def _data() -> dict[str, Any]:
    return dict(json.loads(DATA.read_text(encoding="utf-8"))) if DATA.exists() else {}


def _section(data: Mapping[str, Any]) -> Section:
    return Section(**{**data, "rows": [Row(**row) for row in data["rows"]]})
