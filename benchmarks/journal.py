"""What a command costs in a journal of a million runs and twenty million events, against the same in a journal of one.

The journals are made through `Journal` itself and kept in the temporary directory, because the largest takes minutes.
"""

import hashlib
import inspect
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from benchmarks.harness import Contender, Workload
from benchmarks.project import STAGERUN
from stagerun import events, states
from stagerun.journal import rows, writing
from stagerun.journal.reading import Records
from stagerun.journal.sqlite import database, files, schema
from stagerun.journal.sqlite.store import SqliteStore
from stagerun.journal.writing import Journal
from stagerun.machine.identity import current_process
from stagerun.states import RunState, StageState
from stagerun.view import RunView, fold


SIZES = (1, 1_000, 10_000, 100_000, 1_000_000)
LINEAR_SIZE = 100_000  # reading a whole file that does not fit into memory would measure the disk
RECIPE = """
from stagerun import LiveOperation, Progress


class Three(LiveOperation):
    stages = ["One", "Two", "Three"]

    def run(self, p: Progress):
        for stage in self.stages:
            with p.stage(stage):
                pass
"""
THREE = "three:Three"
STAGES = ("One", "Two", "Three")
NEWEST = 1_760_000_000.0  # when the newest run began, in seconds since 1970
PACE = 30.0  # seconds between two runs
FOREVER = 1e11
AT_A_TIME = 1_000

# How often each is drawn. Two recipes have a class Import; Steady never fails.
TARGETS = {"orders:Import": 40, "stock:Import": 10, "site:Publish": 15, "data:Clean": 10, "data:Steady": 20, THREE: 5}
OWNERS = {"deploy": 70, "alice": 15, "bob": 14, "carol": 1}
ENDS = {
    RunState.SUCCEEDED: 88,
    RunState.FAILED: 6,
    RunState.CANCELLED: 3,
    RunState.TIMED_OUT: 1,
    RunState.CRASHED: 2,
}

_Command = Callable[[int], list[str]]
_T = TypeVar("_T", str, RunState)


def workloads(folder: Path, *, sizes: Sequence[int] = SIZES) -> list[Workload]:
    """Return a workload for each command, with a contender for each size of journal; `folder` holds the project."""
    project = folder / "journal"
    (project / "recipes").mkdir(parents=True, exist_ok=True)
    (project / "recipes" / "three.py").write_text(RECIPE)
    (project / "recipes" / "data.py").write_text(RECIPE.replace("class Three", "class Steady"))
    kept = {size: _kept(size) for size in sizes}
    shorter = {size: path for size, path in kept.items() if size <= LINEAR_SIZE}
    return [
        *[_workload(name, command, kept, project) for name, command in READING.items()],
        *[_workload(name, command, kept, project, written=True) for name, command in WRITING.items()],
        *[_workload(name, command, shorter, project, rounds=3) for name, command in LINEAR.items()],
        *[
            _workload(name, command, shorter, project, rounds=3, written=True)
            for name, command in LINEAR_WRITING.items()
        ],
    ]


def _middle(size: int) -> int:
    return size // 2 + 1


def _always(*arguments: str) -> _Command:
    return lambda size: list(arguments)


def _of_middle(*arguments: str) -> _Command:
    return lambda size: [*arguments, str(_middle(size))]


# None of these may take longer in a long journal.
READING: Mapping[str, _Command] = {
    "status": _always("status"),
    "status ID": _of_middle("status"),
    "status last": _always("status", "last"),
    "status --operation": _always("status", "--operation", "Three"),
    "status --json": _always("status", "--json"),
    "history": _always("history"),
    "history --json": _always("history", "--json"),
    "history --state succeeded": _always("history", "--state", "succeeded"),
    "history --state failed": _always("history", "--state", "failed"),
    "history --state crashed": _always("history", "--state", "crashed"),
    "history --state crashed --json": _always("history", "--state", "crashed", "--json"),
    "history --state running": _always("history", "--state", "running"),
    "history --state pending": _always("history", "--state", "pending"),
    "history --operation CLASS": _always("history", "--operation", "Import"),
    "history --operation CLASS, one old run": _always("history", "--operation", "Once"),
    "history --operation TARGET": _always("history", "--operation", "stock:Import"),
    "history --operation TARGET, one old run": _always("history", "--operation", "old:Import"),
    "history --operation --state": _always("history", "--operation", "Clean", "--state", "failed"),
    "history --operation --state, no run": _always("history", "--operation", "Steady", "--state", "failed"),
    "history --owner": _always("history", "--owner", "deploy"),
    "history --owner, two old runs": _always("history", "--owner", "zoe"),
    "history --owner --state": _always("history", "--owner", "carol", "--state", "timed_out"),
    "history --owner --operation": _always("history", "--owner", "alice", "--operation", "Publish"),
    "history --since, five runs": _always(
        "history", "--since", datetime.fromtimestamp(NEWEST - 4.5 * PACE, UTC).isoformat()
    ),
    "history --since, all runs": _always("history", "--since", "2000-01-01"),
    "logs ID": _of_middle("logs"),
    "logs --follow ID, of a run that is over": _of_middle("logs", "--follow"),
    "show": _always("show", THREE),
    "wait ID, for a run that is over": _of_middle("wait"),
    "resume ID, of a run that succeeded": _of_middle("resume"),
    "resume --dry-run, of a run far back": _always("resume", "--operation", "Steady", "--dry-run"),
    "run --dry-run": _always("run", THREE, "--dry-run"),
}
WRITING: Mapping[str, _Command] = {"run": _always("run", THREE, "--progress", "plain")}
# These read every run, or the whole file.
LINEAR: Mapping[str, _Command] = {"doctor (linear)": _always("doctor")}
LINEAR_WRITING: Mapping[str, _Command] = {"prune, dry (linear)": _always("prune", "--keep", "100")}


def _workload(
    name: str, command: _Command, kept: Mapping[int, Path], project: Path, *, rounds: int = 7, written: bool = False
) -> Workload:
    contenders = []
    for size, path in kept.items():
        journal = _copy(path) if written else path
        arguments = [STAGERUN, *command(size), "--journal", str(journal)]
        prepare = _shortening(journal, size) if written else lambda: None
        contenders.append(Contender(_named(size), arguments, folder=project, prepare=prepare))
    return Workload(name=name, unit="process", contenders=contenders, floor=_named(min(kept)), rounds=rounds)


def _named(size: int) -> str:
    return "1 run" if size == 1 else f"{size:,} runs"


def _kept(size: int) -> Path:
    """Return a journal of `size` runs; one that the same sources have made before is used again."""
    sources = [inspect.getsource(module) for module in (events, files, rows, schema, states, writing)]
    sources += [inspect.getsource(each) for each in (make, _special, _Recorder)]
    sources += [repr(each) for each in (NEWEST, PACE, TARGETS, OWNERS, ENDS)]
    digest = hashlib.sha256("".join(sources).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / "stagerun-benchmarks" / f"journal-{schema.VERSION}-{digest}"
    path = folder / f"{size}.db"
    if not path.exists():
        print(f"making a journal of {_named(size)} in {folder}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = folder / f"{size}-{os.getpid()}.db"
        make(unfinished, size)
        unfinished.rename(path)
    return path


def _copy(path: Path) -> Path:
    """Return a journal like `path` that may be written to."""
    copy = path.with_name(f"{path.stem}-written.db")
    if not copy.exists():
        unfinished = path.with_name(f"{path.stem}-{os.getpid()}.db")
        shutil.copy(path, unfinished)
        unfinished.rename(copy)
    return copy


def _shortening(path: Path, size: int) -> Callable[[], None]:
    """Return a function that makes the journal as long as it was before a run was added."""

    def shorten() -> None:
        with closing(files.open_for_writing(path, durable=False)) as connection:
            journal, records = Journal(SqliteStore(connection, path)), Records(SqliteStore(connection, path))
            for crashed in records.unrecorded_crashes():
                journal.record_crash(crashed)
            while (newest := records.find("last").id) > size:
                journal.delete([newest])

    return shorten


def make(path: Path, size: int) -> None:
    """Make a journal of `size` runs of about 20 events each; the newest and the middle one are alike."""
    with closing(files.open_for_writing(path, durable=False)) as connection:
        journal = Journal(SqliteStore(connection, path))
        recorder = _Recorder(journal, size)
        for start in range(1, size + 1, AT_A_TIME):
            with database.transaction(connection):
                for run in range(start, min(start + AT_A_TIME, size + 1)):
                    recorder.record(run)
        for view in recorder.going_on:
            Journal(SqliteStore(connection, path, now=lambda: FOREVER)).beat(view)


def _special(size: int) -> dict[int, str]:
    """Return run -> what is special about it: runs that each journal needs, or that a command searches for."""
    special = {_middle(size): "plain", size: "plain"}
    if size > 1:
        special |= {5: "once", 7: "old"}
        special |= {size - 10 * step: "going on" for step in range(1, 6)}
        special |= {size - 10 * step - 1: "pending" for step in range(1, 3)}
        special |= {size // 2 + 20 * step: "dead" for step in range(1, 21)}
    return special


class _Recorder:
    """Records run after run.

    Attributes:
        going_on: the runs that are still active.

    """

    def __init__(self, journal: Journal, size: int) -> None:
        self.going_on: list[RunView] = []
        self._journal = journal
        self._size = size
        self._dice = random.Random(size)
        self._special = _special(size)
        self._before: RunView | None = None
        self._host = current_process().host

    def record(self, run: int) -> None:
        kind = self._special.get(run, "")
        began = NEWEST - (self._size - run) * PACE
        view = self._journal.create(events.Entry(0, 1, began, self._plan(run, kind)))
        if kind != "pending":
            end = self._end(kind, view.plan.target)
            hands_over = end is RunState.SUCCEEDED and self._is_free(run + 1) and self._dice.random() < 0.03
            happened = self._happened(end, chained_to=run + 1 if hands_over else None)
            entries = [events.Entry(run, seq, began + seq * 0.25, event) for seq, event in enumerate(happened, 2)]
            for entry in entries:
                view = fold(view, entry)
            self._journal.append(entries, view, RunState.PENDING)
        if kind in ("going on", "pending"):
            self.going_on.append(view)
        self._before = view

    def _is_free(self, run: int) -> bool:
        return run < self._size and run not in self._special

    def _plan(self, run: int, kind: str) -> events.RunCreated:
        before = self._before if self._is_free(run) else None
        chained = before is not None and before.chained_to is not None
        resumed = before if before and before.state is RunState.FAILED and self._dice.random() < 0.3 else None
        usual = {"plain": THREE, "once": "old:Once", "old": "old:Import"}.get(kind) or self._draw(TARGETS)
        target = resumed.plan.target if resumed else usual
        recipe, _, operation = target.partition(":")
        return events.RunCreated(
            target=target,
            recipe=recipe,
            operation=operation,
            stages=STAGES,
            owner="zoe" if kind in ("once", "old") else self._draw(OWNERS),
            params={"day": f"2025-{run % 12 + 1:02}-{run % 28 + 1:02}", "limit": run % 1000},
            source=f"/home/deploy/shop/recipes/{recipe}.py",
            source_hash=hashlib.sha256(recipe.encode()).hexdigest(),
            # Runs of another host are alive by their signs of life; those of an earlier boot of this host are dead.
            host="elsewhere" if kind in ("going on", "pending") else self._host,
            boot_id="an earlier boot",
            pid_namespace="pid:[4026531836]",
            pid=run % 30_000 + 2,
            process_started=float(run),
            chained_from=before.id if before and chained else None,
            resumed_from=resumed.id if resumed else None,
            root=resumed.root if resumed else None,
            attempt=resumed.plan.attempt + 1 if resumed else 1,
            expected=dict.fromkeys(STAGES, 1.5),
        )

    def _end(self, kind: str, target: str) -> RunState:
        if kind in ("going on", "dead"):
            return RunState.RUNNING
        return RunState.SUCCEEDED if kind or target == "data:Steady" else self._draw(ENDS)

    def _happened(self, end: RunState, *, chained_to: int | None) -> Iterator[events.Event]:
        """Yield the events of a run after its creation."""
        succeeds = end is RunState.SUCCEEDED
        stops_in = None if succeeds else self._dice.randrange(len(STAGES))
        yield events.RunStarted()
        for index, stage in enumerate(STAGES):
            yield events.StageEntered(stage=stage, index=index)
            for number in range(1, 4):
                yield events.Log(f"a line of some usual length, number {number} in stage {stage}")
            if index == 0:
                yield events.ProgressMoved(done=1000, total=1000, percent=100.0, label="rows", seconds=1.0, ended=True)
            if index == 1 and self._dice.random() < 0.5:
                yield events.CheckpointStored(key="rows", stage=stage, value=[1, 2, 3])
            if index == stops_in:
                if end not in (RunState.RUNNING, RunState.CRASHED):
                    left = StageState.CANCELLED if end is RunState.CANCELLED else StageState.FAILED
                    yield events.StageLeft(stage=stage, index=index, state=left, seconds=1.0)
                break
            yield events.StageLeft(stage=stage, index=index, state=StageState.DONE, seconds=1.0)
        if succeeds:
            yield events.ResultSet(result={"count": self._dice.randrange(1000)})
        if end is not RunState.RUNNING:
            where = None if stops_in is None else STAGES[stops_in]
            error = None if succeeds else events.Failure(type="ValueError", message="no rows", stage=where)
            code = 0 if succeeds else 1
            yield events.RunFinished(state=end, seconds=5.0, exit_code=code, error=error, chained_to=chained_to)

    def _draw(self, chances: Mapping[_T, int]) -> _T:
        return self._dice.choices(list(chances), list(chances.values()))[0]
