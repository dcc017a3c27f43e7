"""Writing the journal: facts before anyone hears of them, all or nothing, and what happens when it can't be written."""

import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import pytest

from stagerun import LiveOperation, Progress, events
from stagerun.errors import JournalError
from stagerun.sinks import Sink
from stagerun.states import RunState, StageState
from stagerun.view import RunView
from tests import rebuild
from tests.conftest import START, Bench, HandClock, Project, apart
from tests.journals import Opened, change, records_of
from tests.processes import until


PLAN: Final = events.RunCreated(target="demo:Op", recipe="demo", operation="Op", stages=("Only",), owner="alice")


@dataclass
class SecondReader(Sink):
    """A sink that reads the journal through a connection of its own at each event."""

    path: Path
    told: list[tuple[events.Entry, RunView]] = field(default_factory=list)
    found: list[tuple[events.Entry, RunView]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)

    def update(self, entry: events.Entry, view: RunView) -> None:
        records = records_of(self.path)
        entries = list(records.entries(view.id))
        if isinstance(entry.event, events.Fact):
            self.told.append((entry, view))
            self.found.append((entries[-1], records.find(str(view.id))))
        self.written.append(len(apart(entries)))
        records.close()

    def refresh(self, now: float) -> None: ...

    def close(self) -> None: ...


def _count(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    assert isinstance(count, int)
    return count


class Publish(LiveOperation):
    def run(self, p: Progress) -> None:
        p.log("published")


class Everything(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("a line")
            p.status("loading")
            p.percent(40)
        with p.stage("Warm up"):
            p.log("another line")
        with p.stage("Save"):
            p.result({"count": 3})
        p.chain_to(Publish(owner=self.owner))


def test_every_fact_is_in_the_journal_before_a_sink_hears_of_it(bench: Bench) -> None:
    reader = SecondReader(bench.journal)

    bench.run(Everything(owner="alice"), reader)

    assert [entry.event.kind for entry, _ in reader.told] == [
        "run_created",
        "run_started",
        *["stage_entered", "stage_left"] * 2,
        "stage_entered",
        "result_set",
        "stage_left",
        "run_finished",
        "run_created",
        "run_started",
        "run_finished",
    ]
    # Blocks that are not declared are seen live only.
    assert reader.found == [(entry, rebuild.as_read(view)) for entry, view in reader.told]


def test_pulses_wait_and_are_written_before_the_next_fact(bench: Bench) -> None:
    class Talk(LiveOperation):
        stages = ["Only"]

        def run(self, p: Progress) -> None:
            p.log("one")
            p.log("two")
            p.status("three")
            with p.stage("Only"):
                p.log("four")

    reader = SecondReader(bench.journal)

    bench.run(Talk(owner="alice"), reader)

    assert reader.written == [1, 2, 2, 2, 2, 6, 6, 8, 9]
    assert apart(bench.records().entries(1)) == bench.seen.entries


def test_256_kib_are_written_without_waiting_for_a_fact(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    emitter = Opened(path).emitter(clock=HandClock().as_clock())
    emitter.create(PLAN, exclusive=False)
    for _ in range(3):
        emitter.emit(events.Log("x" * 65_536))
    before = _count(path, "events")

    emitter.emit(events.Log("x" * 65_536))

    assert (before, _count(path, "events")) == (1, 2)


def test_log_lines_of_one_kind_that_came_within_ten_milliseconds_share_a_row_and_keep_their_numbers(
    tmp_path: Path,
) -> None:
    path, clock = tmp_path / "journal.db", HandClock()
    emitter = Opened(path).emitter(clock=clock.as_clock())
    emitter.create(PLAN, exclusive=False)
    lines: tuple[tuple[str, events.Level, str | None, float], ...] = (
        ("one", "info", None, 0.0),
        ("two\nthree", "info", None, 0.004),
        ("four", "warning", None, 0.0),
        ("five", "warning", "stderr", 0.0),
        ("six", "warning", "stderr", 0.01),
        ("seven", "warning", "stderr", 0.0),
    )
    for text, level, stream, after in lines:
        clock.move(after)
        emitter.emit(events.Log(text, level, stream))
    emitter.settle()

    records = records_of(path)
    assert [(entry.seq, round(entry.time - START, 3), entry.event) for entry in records.entries(1, after=1)] == [
        (2, 0.0, events.Log("one\ntwo\nthree")),
        (5, 0.004, events.Log("four", "warning")),
        (6, 0.004, events.Log("five", "warning", "stderr")),
        (7, 0.014, events.Log("six\nseven", "warning", "stderr")),
    ]


def test_lines_wait_no_longer_than_a_fifth_of_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "journal.db", HandClock()
    emitter = Opened(path).emitter(clock=clock.as_clock())
    emitter.create(PLAN, exclusive=False)
    emitter.emit(events.Log("first"))
    clock.move(0.19)
    emitter.tick()
    before = _count(path, "events")

    clock.move(0.02)
    emitter.tick()

    assert (before, _count(path, "events")) == (1, 2)


def test_a_commit_that_raises_leaves_nothing_and_the_waiting_lines_go_along_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Opened(path).journal
    created = events.Entry(0, 1, 0.0, PLAN)
    view = journal.commit(lambda: journal.create(created))
    line = events.Entry(1, 2, 0.0, events.Log("a line"))
    journal.queue(line, view)

    def create_and_fail() -> None:
        journal.create(created)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        journal.commit(create_and_fail)

    after_failure = {table: _count(path, table) for table in ("runs", "stages", "events")}
    journal.flush()
    assert after_failure == {"runs": 1, "stages": 1, "events": 1}
    assert list(records_of(path).entries(1)) == [created._replace(run=1), line]


def _record_a_crash(path: Path) -> events.Entry:
    """Do what another process does that takes run 1 for dead: record its end behind its newest event."""
    connection = sqlite3.connect(path, isolation_level=None)
    (newest,) = connection.execute("SELECT max(seq) FROM events WHERE run_id = 1").fetchone()
    finished = events.RunFinished(state=RunState.CRASHED, seconds=0.0, exit_code=1)
    entry = events.Entry(1, newest + 1, 0.0, finished)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO events VALUES (1, ?, 0.0, 'run_finished', ?)",
        (entry.seq, json.dumps(msgspec.to_builtins(finished))),
    )
    connection.execute("UPDATE runs SET state = 'crashed', finished_on = 0.0, seconds = 0.0, exit_code = 1")
    connection.execute("COMMIT")
    connection.close()
    return entry


LOST: Final = "run 1 no longer belongs to this process: another process has recorded its end"


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.stage("Only").__enter__(),
        lambda p: p.result(count=1),
        lambda p: [p.log(n) for n in range(500)] and p.result(count=1),
        lambda p: None,
    ],
    ids=["stage", "result", "lines-and-result", "the-end"],
)
def test_whoever_lost_a_run_can_not_write_to_it_any_more(bench: Bench, write: Callable[[Progress], object]) -> None:
    crash = list[events.Entry]()

    class Slow(LiveOperation):
        stages = ["Only"]

        def run(self, p: Progress) -> None:
            crash.append(_record_a_crash(bench.journal))
            write(p)

    with pytest.raises(JournalError) as caught:
        bench.run(Slow(owner="alice"))

    records = bench.records()
    assert (caught.value.message, caught.value.hint) == (LOST, "see 'stagerun status 1'")
    assert [entry.event.kind for entry in records.entries(1)] == ["run_created", "run_started", "run_finished"]
    assert list(records.entries(1))[-1] == crash[0]
    assert records.find("1").state is RunState.CRASHED


def test_a_run_that_another_process_has_ended_stops_with_code_3(project: Project) -> None:
    project.recipe(
        "recipe",
        """
import time
from pathlib import Path

class Slow(LiveOperation):
    stages = ["First", "Second"]

    def run(self, p: Progress) -> None:
        with p.stage("First"):
            Path("here").touch()
            while not Path("go").exists():
                time.sleep(0.01)
        with p.stage("Second"):
            Path("went on").touch()
""",
    )
    process = project.start("run", "recipe:Slow")
    until((project.root / "here").exists)
    _record_a_crash(project.journal)
    (project.root / "go").touch()

    with process:
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (3, f"stagerun: {LOST}\n  see 'stagerun status 1'\n")
    assert not (project.root / "went on").exists()
    assert project.records().find("1").state is RunState.CRASHED


GONE: Final = {
    "removed": "JOURNAL.unlink()",
    "replaced": "shutil.copy(JOURNAL, 'copy.db'); os.replace('copy.db', JOURNAL)",
    "folder renamed": "JOURNAL.parent.rename('old')",
}


def _vanished(journal: Path) -> str:
    return (
        f"stagerun: journal {journal} was removed or replaced while the run was writing to it\n"
        "  what was recorded before is in the old file, if it still exists\n"
    )


@pytest.mark.parametrize("how", GONE)
def test_a_journal_that_goes_away_under_a_run_stops_it_with_code_3(project: Project, how: str) -> None:
    project.recipe(
        "recipe",
        f"""
import os
import shutil
from pathlib import Path

JOURNAL = Path(".stagerun/journal.db")

class Slow(LiveOperation):
    stages = ["First", "Second"]

    def run(self, p: Progress) -> None:
        with p.stage("First"):
            p.log("here")
            {GONE[how]}
        with p.stage("Second"):
            Path("went on").touch()
""",
    )

    done = project.stagerun("run", "recipe:Slow")

    assert (done.code, done.out, done.err) == (
        3,
        "run 1 · recipe:Slow · started by alice\n=== [1/2] First ===\nhere\n",
        _vanished(project.journal),
    )
    assert not (project.root / "went on").exists()


def test_a_recipe_that_swallows_the_journal_error_opens_no_further_stage_and_still_ends_with_code_3(
    project: Project,
) -> None:
    project.recipe(
        "recipe",
        """
from pathlib import Path

class Slow(LiveOperation):
    stages = ["First", "Second"]

    def run(self, p: Progress) -> None:
        Path(".stagerun/journal.db").rename("old.db")
        for stage in self.stages:
            try:
                with p.stage(stage):
                    Path("went on").touch()
            except Exception:
                pass
            Path(".stagerun/journal.db").touch()
""",
    )

    done = project.stagerun("run", "recipe:Slow")

    assert (done.code, done.out, done.err) == (
        3,
        "run 1 · recipe:Slow · started by alice\n",
        _vanished(project.journal),
    )
    assert not (project.root / "went on").exists()


def test_an_id_is_never_given_twice_even_when_runs_were_deleted(bench: Bench) -> None:
    bench.run(Publish(owner="alice"))
    bench.run(Publish(owner="alice"))
    for table, column in (("events", "run_id"), ("stages", "run_id"), ("runs", "id")):
        change(bench.journal, f"DELETE FROM {table} WHERE {column} IN (1, 2)")

    view = bench.run(Publish(owner="alice"))

    assert view.id == 3
    assert [each.id for each in bench.records().history(limit=10)] == [3]


# What a full disk does to SQLite, on the connection that the run itself writes through.
FULL_DISK: Final = """
import gc
import sqlite3
from pathlib import Path

def set_pages(limit: int) -> None:
    (connection,) = (each for each in gc.get_objects() if isinstance(each, sqlite3.Connection))
    connection.execute(f"PRAGMA max_page_count = {limit}")
"""


def test_a_full_disk_stops_a_run_whose_fact_can_not_be_recorded_with_code_3(project: Project) -> None:
    project.recipe(
        "recipe",
        f"""{FULL_DISK}
class Big(LiveOperation):
    stages = ["First", "Second"]

    def run(self, p: Progress) -> None:
        with p.stage("First"):
            set_pages(1)
            p.result(text="x" * 100_000)
        with p.stage("Second"):
            Path("went on").touch()
""",
    )

    done = project.stagerun("run", "recipe:Big")

    connection = sqlite3.connect(project.journal)
    assert (done.code, done.out, done.err) == (
        3,
        "run 1 · recipe:Big · started by alice\n=== [1/2] First ===\n",
        f"stagerun: journal {project.journal}: the disk is full\n  free some space\n",
    )
    assert not (project.root / "went on").exists()
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT kind FROM events ORDER BY seq").fetchall() == [
        ("run_created",),
        ("run_started",),
        ("stage_entered",),
    ]
    connection.close()


def _lines(text: str, what: str) -> list[str]:
    return re.findall(rf"^{what}.*$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("lines", [3, 700], ids=["fewer-than-a-batch", "more-than-a-batch"])
def test_a_full_disk_drops_log_lines_counts_them_in_one_warning_and_lets_the_work_go_on(
    project: Project, lines: int
) -> None:
    project.recipe(
        "recipe",
        f"""{FULL_DISK}
class Talk(LiveOperation):
    stages = ["First", "Second"]

    def run(self, p: Progress) -> None:
        with p.stage("First"):
            set_pages(1)
            for n in range({lines}):
                p.log(f"line {{n}} " + "x" * 10_000)
        with p.stage("Second"):
            p.result(count=3)
""",
    )

    done = project.stagerun("run", "recipe:Talk")

    view = project.records().find("1")
    (warning,) = _lines(done.out + done.err, "warning: ")
    assert (done.code, view.state) == (0, RunState.SUCCEEDED)
    assert view.stage_states == {"First": StageState.DONE, "Second": StageState.DONE}
    assert view.result_context == {"count": 3}
    assert len(_lines(done.out, "line ")) == lines
    assert re.search(rf"\b{lines}\b", warning)
    assert "the disk is full" in warning


def test_lines_are_recorded_again_once_there_is_space(project: Project) -> None:
    project.recipe(
        "recipe",
        f"""{FULL_DISK}
class Talk(LiveOperation):
    stages = ["First"]

    def run(self, p: Progress) -> None:
        set_pages(1)
        for n in range(500):
            p.log("lost " + "x" * 10_000)
        set_pages(1_000_000)
        with p.stage("First"):
            p.log("kept")
""",
    )

    done = project.stagerun("run", "recipe:Talk")

    entries = [entry.event for entry in project.records().entries(1)]
    assert done.code == 0
    recorded = [event.text[:4] for event in entries if isinstance(event, events.Log) and event.level == "info"]
    assert recorded[-1] == "kept"
    # Lines that still waited when the space came back are not lost.
    assert len(recorded) < 500
