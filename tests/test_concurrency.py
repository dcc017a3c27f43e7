"""Several processes on one journal: runs at once, readers alongside, and one that holds the write lock."""

import json
import signal
import sqlite3
import time
from typing import Any, Final

import pytest

from stagerun.events import Log
from stagerun.states import RunState, StageState
from tests.conftest import Project
from tests.processes import until
from tests.serving import Command


PROCESSES: Final = 8

BUSY: Final = """
class Busy(LiveOperation):
    stages = [f"Stage {n}" for n in range(10)]
    name: str

    def run(self, p: Progress) -> None:
        for stage in self.stages:
            with p.stage(stage):
                for n in p.track(range(50)):
                    p.log(f"{self.name} {stage} {n}")
        p.result(name=self.name)
"""

# It stops before its second stage until it is let go on.
WAITING: Final = """
import time
from pathlib import Path

class Waiting(LiveOperation):
    stages = ["First", "Second"]

    def run(self, p: Progress) -> None:
        with p.stage("First"):
            Path("here").touch()
            while not Path("go").exists():
                time.sleep(0.01)
            Path("writing").touch()
        with p.stage("Second"):
            p.result(count=3)
"""


def _finish(processes: list[Command]) -> list[tuple[int, str, str]]:
    ends = []
    for process in processes:
        with process:
            out, err = process.communicate(timeout=90)
        ends.append((process.wait(), err, out.splitlines()[-1][:15] if out else ""))
    return ends


def _expected_of_all(project: Project) -> None:
    """Assert that the journal holds PROCESSES whole runs, each with all its lines and nobody else's."""
    views = project.records().history(limit=100)
    names = [f"run-{n}" for n in range(PROCESSES)]
    assert sorted(view.id for view in views) == list(range(1, PROCESSES + 1))
    assert {view.state for view in views} == {RunState.SUCCEEDED}
    assert sorted(view.plan.params["name"] for view in views) == names
    for view in views:
        assert view.result_context == view.plan.params
        assert set(view.stage_states.values()) == {StageState.DONE}
        entries = list(project.records().entries(view.id))
        lines = [line for entry in entries if isinstance(entry.event, Log) for line in entry.event.lines]
        assert lines == [f"{view.plan.params['name']} Stage {stage} {n}" for stage in range(10) for n in range(50)]


def test_eight_runs_that_start_at_once_on_a_new_journal_all_succeed(project: Project) -> None:
    project.recipe("recipe", BUSY)

    started = [project.start("run", "recipe:Busy", "--name", f"run-{n}") for n in range(PROCESSES)]

    assert {end[:2] for end in _finish(started)} == {(0, "")}
    _expected_of_all(project)


def test_eight_runs_and_their_readers_never_get_in_each_others_way(project: Project) -> None:
    project.recipe("recipe", BUSY)
    started = [project.start("run", "recipe:Busy", "--name", "run-0")]
    until(lambda: project.journal.exists() and _has_runs(project))
    started += [project.start("run", "recipe:Busy", "--name", f"run-{n}") for n in range(1, PROCESSES)]

    read = list[tuple[int, str]]()
    states = set[str]()
    while not read or any(process.poll() is None for process in started):
        for arguments in (("status", "--json"), ("history", "--json"), ("logs", "1", "--json")):
            done = project.stagerun(*arguments)
            read.append((done.code, done.err))
            document: Any = json.loads(done.out)
            states |= {each["state"] for each in document if "state" in each} if arguments[0] == "history" else set()

    assert set(read) == {(0, "")}
    assert states <= {"pending", "running", "succeeded"}
    assert {end[:2] for end in _finish(started)} == {(0, "")}
    _expected_of_all(project)


def _has_runs(project: Project) -> bool:
    return project.stagerun("status").code == 0


def _lock(project: Project) -> sqlite3.Connection:
    connection = sqlite3.connect(project.journal, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_a_process_that_holds_the_journal_for_a_while_delays_a_run_and_does_not_break_it(project: Project) -> None:
    project.recipe("recipe", WAITING)
    process = project.start("run", "recipe:Waiting")
    until((project.root / "here").exists)
    holder = _lock(project)
    (project.root / "go").touch()
    until((project.root / "writing").exists)

    # The while itself: longer than SQLite waits in one piece.
    time.sleep(1)
    still = project.records().find("1")
    ended = process.poll()
    holder.execute("ROLLBACK")
    holder.close()

    assert ended is None
    assert still.stage_states == {"First": StageState.ACTIVE, "Second": StageState.PENDING}
    assert _finish([process]) == [(0, "", "run 1 succeeded")]
    assert project.records().find("1").stage_states == {"First": StageState.DONE, "Second": StageState.DONE}


@pytest.mark.parametrize("command", [("status",), ("history",), ("logs", "1")], ids=" ".join)
def test_readers_do_not_wait_for_whoever_holds_the_journal(project: Project, command: tuple[str, ...]) -> None:
    project.recipe("recipe", BUSY)
    assert project.stagerun("run", "recipe:Busy", "--name", "run-0").code == 0
    holder = _lock(project)

    done = project.stagerun(*command)

    assert (done.code, done.err) == (0, "")
    holder.close()


def test_a_third_signal_ends_a_run_at_once_that_waits_for_the_journal(project: Project) -> None:
    project.recipe("recipe", WAITING)
    process = project.start("run", "recipe:Waiting")
    until((project.root / "here").exists)
    holder = _lock(project)
    (project.root / "go").touch()
    until((project.root / "writing").exists)

    # Signals of one number that wait together are one: these are three, and the last is handled last.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    with process:
        process.communicate(timeout=20)

    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert holder.in_transaction
    holder.close()


def test_a_cancel_that_came_while_the_journal_was_held_is_recorded_once_it_is_free(project: Project) -> None:
    project.recipe("recipe", WAITING)
    process = project.start("run", "recipe:Waiting")
    until((project.root / "here").exists)
    holder = _lock(project)
    (project.root / "go").touch()
    until((project.root / "writing").exists)

    process.send_signal(signal.SIGTERM)
    holder.execute("ROLLBACK")
    holder.close()
    with process:
        process.communicate(timeout=60)

    view = project.records().find("1")
    assert process.returncode == -signal.SIGTERM
    assert (view.state, view.signal) == (RunState.CANCELLED, "SIGTERM")
    assert view.stage_states["Second"] is not StageState.ACTIVE
