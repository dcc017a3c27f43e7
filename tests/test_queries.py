"""How runs are found: by an index, in as many steps in a long journal as in a short one, and the right ones."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from stagerun import events
from stagerun.errors import UsageError
from stagerun.journal import queries
from stagerun.journal.reading import Records
from stagerun.journal.writing import Journal
from stagerun.machine.identity import current_process
from stagerun.states import RESUMABLE, RunState, StageState
from stagerun.view import RunView, fold
from tests.conftest import START
from tests.journals import Opened, records_of, select, writing


NOW: Final = START + 1e6
TARGETS: Final = ("orders:Import", "stock:Import", "site:Publish")
OWNERS: Final = ("alice", "alice", "alice", "bob", "carol")
ENDS: Final = (*[RunState.SUCCEEDED] * 6, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT, RunState.CRASHED)
SILENT: Final = "silent"  # a host that gives no sign of life
SPECIAL: Final = {4: "running", 14: "pending", 23: "dead", 24: "dead", 33: "running"}  # counted from the newest run


def _record(journal: Journal, plan: events.RunCreated, time: float, *happened: events.Event) -> RunView:
    """Record a run and what happens in it, in the transaction that is going on."""
    view = journal.create(events.Entry(0, 1, time, plan))
    entries = [events.Entry(view.id, seq, time, event) for seq, event in enumerate(happened, 2)]
    for entry in entries:
        view = fold(view, entry)
    if entries:
        journal.append(entries, view, RunState.PENDING)
    return view


def _make(path: Path, size: int, *, jumps: bool = False) -> Path:
    """Make a journal whose newest runs are alike for every `size`; with `jumps` somebody has set the clock at times."""
    process = current_process()
    with writing(path) as opened:
        journal = opened.journal
        failed: RunView | None = None
        with opened.transaction():
            for age in range(size - 1, -1, -1):
                kind = SPECIAL.get(age, "")
                oldest = age == size - 1
                target = "old:Once" if oldest else TARGETS[age % 3]
                plan = events.RunCreated(
                    target=target,
                    recipe=target.partition(":")[0],
                    operation=target.partition(":")[2],
                    stages=("Only",),
                    owner="zoe" if oldest else OWNERS[age % 5],
                    host=SILENT if kind == "dead" else process.host,
                    boot_id="another" if kind == "dead" else process.boot_id,
                    pid_namespace=process.pid_namespace,
                    pid=process.pid,
                    process_started=process.started,
                    resumed_from=failed.id if failed and age % 20 == 15 else None,
                    tags=("often", "rare") if oldest else ("often",) if age % 3 else (),
                    once="first" if oldest else None,
                )
                happened: list[events.Event] = [
                    events.RunStarted(),
                    events.StageEntered(stage="Only", index=0),
                    events.Log("a line"),
                    events.CheckpointStored(key="rows", stage="Only", value=1),
                ]
                if kind == "pending":
                    happened = []
                elif not kind:
                    end = RunState.SUCCEEDED if oldest or target == "site:Publish" else ENDS[age % 10]
                    left = StageState.DONE if end is RunState.SUCCEEDED else StageState.FAILED
                    happened += [
                        events.StageLeft(stage="Only", index=0, state=left, seconds=1.0),
                        events.RunFinished(state=end, seconds=1.0, exit_code=int(end is not RunState.SUCCEEDED)),
                    ]
                jump = (age % 7 - 3) * 1000 if jumps else 0
                view = _record(journal, plan, NOW - 100 - age * 30 + jump, *happened)
                failed = view if view.state is RunState.FAILED else failed
    return path


class _Connection(sqlite3.Connection):
    """A connection that keeps each statement with the values of its first use."""

    statements: dict[str, Any]

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        self.__dict__.setdefault("statements", {}).setdefault(sql, values)
        return super().execute(sql, values)

    def executemany(self, sql: str, many: Any) -> sqlite3.Cursor:
        rows = list(many)
        if rows:
            self.__dict__.setdefault("statements", {}).setdefault(sql, rows[0])
        return super().executemany(sql, rows)


class _Far:
    """A journal, open for everything, and what was asked of it."""

    def __init__(self, path: Path) -> None:
        opened = Opened(path, now=lambda: NOW)
        self.connection: Any = opened.connection
        self.records, self.journal, self.transaction = opened.records, opened.journal, opened.transaction

    def newest(self) -> RunView:
        return self.records.find("last")

    def steps(self, call: "_Call") -> int:
        """Return how many steps SQLite's virtual machine takes, a measure that no other process disturbs."""
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        self.connection.set_progress_handler(step, 1)
        call(self)
        self.connection.set_progress_handler(None, 0)
        return count

    def add(self, plan: events.RunCreated, *, exclusive: bool = False) -> RunView:
        return self.journal.commit(lambda: self.journal.create(events.Entry(0, 1, NOW, plan), exclusive=exclusive))

    def record_crashes(self) -> None:
        for view in self.records.unrecorded_crashes():
            self.journal.record_crash(view)

    def line(self) -> None:
        view = self.newest()
        self.journal.queue(events.Entry(view.id, 1000, NOW, events.Log("a line")), view)


_Call = Callable[[_Far], object]


@pytest.fixture
def open_far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], _Far]]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=_Connection))
    monkeypatch.setattr(queries, "_FEW", 10)
    opened = list[_Far]()

    def open_it(path: Path) -> _Far:
        opened.append(_Far(path))
        return opened[-1]

    yield open_it
    for each in opened:
        each.connection.close()


def _history(**filters: Any) -> _Call:
    return lambda far: far.records.history(limit=3, **filters)


def _refused(far: _Far, ref: str, operation: str | None = None) -> None:
    with pytest.raises(UsageError):
        far.records.find(ref, operation)


def _refused_again(far: _Far) -> None:
    with pytest.raises(UsageError):
        far.add(replace(PLAN, once="first"))


# Whoever adds a method adds what it asks here; prunable, which looks at every run, stands apart.
READING: Final[dict[str, list[_Call]]] = {
    "find": [
        lambda far: far.records.find("last"),
        lambda far: far.records.find("last~3"),
        lambda far: far.records.find("50"),
        lambda far: far.records.find("last", "Import"),
        lambda far: far.records.find("last", "old:Once"),
        lambda far: _refused(far, "1000000"),
        lambda far: _refused(far, "last", "Imprt"),
        lambda far: _refused(far, "last", "stock:Imprt"),
    ],
    "history": [
        _history(),
        *[_history(state=state) for state in RunState],
        *[
            _history(operation=operation, state=state)
            for operation in ("Import", "Once", "None", "stock:Import", "old:Once", "no:None", "stock")
            for state in (None, *RunState)
        ],
        *[_history(owner=owner, state=state) for owner in ("alice", "zoe", "nobody") for state in (None, *RunState)],
        *[_history(since=since) for since in (0.0, NOW - 200, NOW)],
        *[_history(since=NOW - 200, state=state) for state in RunState],
        _history(since=NOW - 200, operation="Import", owner="alice"),
        *[_history(operation=operation, owner="zoe") for operation in ("Import", "old:Once")],
        *[_history(tag=tag, state=state) for tag in ("often", "rare", "none") for state in (None, RunState.FAILED)],
    ],
    "targets": [lambda far: far.records.targets()],
    "tags": [lambda far: far.records.tags()],
    "ahead": [lambda far: far.records.ahead(far.newest())],
    "chain": [lambda far: far.records.chain(far.newest())],
    "entries": [
        lambda far: list(far.records.entries(50)),
        lambda far: list(far.records.entries(50, after=2, kinds=("log",))),
        lambda far: list(far.records.entries(50, kinds=("log",), newest=1)),
    ],
    "expected": [lambda far: [far.records.expected(target) for target in ("site:Publish", "old:Once", "no:None")]],
    "usual": [lambda far: [far.records.usual(operation) for operation in ("site:Publish", "Once", "no:None")]],
    "recall": [lambda far: far.records.recall(50, "rows")],
    "unrecorded_crashes": [lambda far: far.records.unrecorded_crashes()],
    "newest_resumable": [
        lambda far: far.records.newest_resumable(),
        lambda far: far.records.newest_resumable("Once"),
        lambda far: far.records.newest_resumable("site:Publish"),
    ],
    "operations": [lambda far: far.records.operations()],
    "successor": [lambda far: far.records.successor(far.newest())],
    "resumed_as": [lambda far: far.records.resumed_as([50, far.newest().id])],
    "place_to_resume": [lambda far: far.records.place_to_resume(far.newest(), along_chain=True)],
    "resumption": [lambda far: far.records.resumption(far.newest())],
    "get": [lambda far: far.records.get(50)],
    "version": [lambda far: far.records.version()],
    "wait": [lambda far: far.records.wait(-1, 0.0)],
}
PLAN: Final = events.RunCreated(
    target="site:Publish", recipe="site", operation="Publish", stages=("Only",), owner="bob"
)
WRITING: Final[dict[str, list[_Call]]] = {
    "create": [
        lambda far: far.add(PLAN),
        lambda far: far.add(
            events.RunCreated(
                target="a:B",
                recipe="a",
                operation="B",
                stages=(),
                owner="bob",
                resumed_from=50,
                inherited={"rows": (50, 5)},
            ),
            exclusive=True,
        ),
        _refused_again,
    ],
    "append": [lambda far: None],  # by `record_crash`
    "record_crash": [_Far.record_crashes],
    "beat": [lambda far: far.journal.beat(far.newest())],
    "queue": [_Far.line],
    "flush": [lambda far: far.journal.flush()],
    "request_cancel": [lambda far: far.journal.request_cancel(50, NOW, "bob")],
    "cancel_requested": [lambda far: far.journal.cancel_requested(far.newest())],
    "delete": [lambda far: far.journal.delete([60])],
}


def _methods(kind: type) -> set[str]:
    return {name for name, each in vars(kind).items() if callable(each) and not name.startswith("_")}


def test_every_method_of_the_journal_is_asked_here() -> None:
    assert set(READING) == _methods(Records) - {"prunable", "find_damage", "damage", "close"}
    assert set(WRITING) == _methods(Journal) - {"drop_queue", "commit", "close"}


def test_whatever_is_asked_takes_as_many_steps_in_a_journal_of_ten_times_as_many_runs(
    tmp_path: Path, open_far: Callable[[Path], _Far]
) -> None:
    short, long = (open_far(_make(tmp_path / f"{size}.db", size)) for size in (300, 3000))

    def steps(far: _Far) -> dict[str, list[int]]:
        return {name: [far.steps(call) for call in calls] for name, calls in (READING | WRITING).items()}

    assert steps(long) == steps(short)


@pytest.fixture
def plans(tmp_path: Path, open_far: Callable[[Path], _Far]) -> dict[str, list[str]]:
    """Return statement -> how SQLite finds its rows, for all that is asked above and to prune."""
    far = open_far(_make(tmp_path / "journal.db", 100))
    for call in [each for calls in (READING | WRITING).values() for each in calls]:
        call(far)
    far.records.prunable(keep=1, before=None, state=None)
    asked = {sql: values for sql, values in far.connection.statements.items() if "runs" in sql or "run_id" in sql}
    return {
        sql: [line for *_, line in far.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        for sql, values in asked.items()
    }


def test_every_index_is_used(plans: dict[str, list[str]], tmp_path: Path) -> None:
    made = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'runs'"
    indexes = {name for (name,) in select(tmp_path / "journal.db", made)}

    lines = "\n".join(line for plan in plans.values() for line in plan)
    assert set(re.findall(r"\b(runs_by_\w+)", lines)) == indexes


def test_only_the_newest_runs_and_those_to_prune_are_read_without_an_index(plans: dict[str, list[str]]) -> None:
    tables = r"SCAN (TABLE )?(runs|stages|events|checkpoints|cancel_requests)\b"
    scans = {sql for sql, plan in plans.items() if any(re.match(tables, line) for line in plan)}

    assert scans == {
        *[
            f"SELECT * FROM runs WHERE id IN (SELECT id FROM runs WHERE {condition} "
            "ORDER BY id DESC LIMIT :limit OFFSET :skip) ORDER BY id DESC"
            for condition in (
                "TRUE",
                "+created_on >= :since",
                "EXISTS (SELECT 1 FROM tags WHERE tag = :tag AND run_id = runs.id)",
            )
        ],
        "SELECT id, root, state, created_on FROM runs ORDER BY id",
        "SELECT id FROM runs ORDER BY id DESC LIMIT ?",
    }


def test_no_query_of_runs_sorts_them(plans: dict[str, list[str]]) -> None:
    sorts = {sql for sql, plan in plans.items() if any("TEMP B-TREE" in line for line in plan)}

    assert {sql for sql in sorts if sql.startswith(("SELECT * FROM runs", "SELECT id FROM runs"))} == set()


@pytest.mark.parametrize("few", [5, 10_000], ids=["few=5", "few=10000"])
def test_the_history_tells_the_runs_that_a_look_at_every_run_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(queries, "_FEW", few)
    path = _make(tmp_path / "journal.db", 120, jumps=True)
    with closing(records_of(path, now=lambda: NOW)) as reader:
        everything = reader.history(limit=1000)

        def agrees(view: RunView, **wanted: Any) -> bool:
            operation, since = wanted["operation"], wanted["since"]
            return (
                wanted["state"] in (None, view.state)
                and operation in (None, view.plan.operation, view.plan.target)
                and wanted["owner"] in (None, view.owner)
                and (since is None or view.created_on >= since)
            )

        assert [view.id for view in everything] == list(range(120, 0, -1))
        for state in (None, *RunState):
            for operation in (None, "Import", "stock:Import", "Once", "None"):
                for owner in (None, "alice", "zoe", "nobody"):
                    for since in (None, 0.0, NOW - 2500, NOW - 300, NOW + 9999):
                        wanted = {"state": state, "operation": operation, "owner": owner, "since": since}
                        found = [view for view in everything if agrees(view, **wanted)]
                        assert reader.history(limit=1000, **wanted) == found
                        assert reader.history(limit=4, skip=2, **wanted) == found[2:6]


@pytest.mark.parametrize("operation", [None, "Import", "stock:Import", "site:Publish", "Again", "Once", "None"])
def test_the_newest_resumable_run_is_the_one_that_a_look_at_every_run_finds(
    tmp_path: Path, operation: str | None
) -> None:
    path = _make(tmp_path / "journal.db", 120)
    again = replace(PLAN, target="site:Again", operation="Again", stages=())
    with closing(Opened(path, now=lambda: NOW)) as opened:
        journal, reader = opened.journal, opened.records
        with opened.transaction():
            for state, resumed_from in ((RunState.FAILED, None), (RunState.FAILED, None), (RunState.SUCCEEDED, 122)):
                code = int(state is not RunState.SUCCEEDED)
                finished = events.RunFinished(state=state, seconds=1.0, exit_code=code)
                _record(journal, replace(again, resumed_from=resumed_from), NOW - 100, events.RunStarted(), finished)
        resumable = [
            view
            for view in reader.history(limit=1000, operation=operation)
            if view.state in RESUMABLE and reader.successor(view) is None
        ]

        assert reader.newest_resumable(operation) == next(iter(resumable), None)


def test_many_runs_that_died_without_a_word_hide_no_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE", 100)
    path = _make(tmp_path / "journal.db", 40)
    dead = replace(PLAN, host=SILENT, boot_id="another")
    with closing(Opened(path, now=lambda: NOW - 100)) as opened, opened.transaction():
        for _ in range(150):
            _record(opened.journal, dead, NOW - 100, events.RunStarted())

    with closing(records_of(path, now=lambda: NOW)) as reader:
        assert [view.id for view in reader.history(limit=9, state=RunState.RUNNING)] == [36, 7]
        assert [view.id for view in reader.history(limit=9, state=RunState.PENDING)] == [26]
        assert [view.id for view in reader.history(limit=2, state=RunState.CRASHED)] == [190, 189]
        assert len(reader.unrecorded_crashes()) == 152


def test_a_stage_is_entered_with_five_statements_and_touches_no_index(
    tmp_path: Path, open_far: Callable[[Path], _Far]
) -> None:
    far = open_far(tmp_path / "journal.db")
    view = far.add(PLAN)
    started = events.Entry(view.id, 2, NOW, events.RunStarted())
    entered = events.Entry(view.id, 3, NOW, events.StageEntered(stage="Only", index=0))
    running = fold(view, started)
    with far.transaction():
        far.journal.append([started], running, view.state)
    far.connection.statements.clear()

    with far.transaction():
        far.journal.append([entered], fold(running, entered), running.state)

    statements = list(far.connection.statements)
    indexed = {
        column
        for (name,) in far.connection.execute("SELECT name FROM pragma_index_list('runs')").fetchall()
        for (column,) in far.connection.execute("SELECT name FROM pragma_index_info(?)", (name,))
    }
    assert [re.sub(r"^(\w+( INTO)? \w+).*", r"\1", each) for each in statements] == [
        "BEGIN IMMEDIATE",
        "UPDATE runs",
        "INSERT INTO events",
        "UPDATE stages",
        "COMMIT",
    ]
    changed = set(re.findall(r"(\w+) = \?", statements[1].partition(" WHERE ")[0]))
    assert changed & indexed == set()
