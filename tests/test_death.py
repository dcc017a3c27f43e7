"""Runs whose process could not report its own end: how that is found out, shown, recorded, and kept."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from stagerun import events
from stagerun.journal.rules import SILENCE
from stagerun.journal.sqlite.store import SqliteStore
from stagerun.journal.writing import Journal
from stagerun.machine import identity
from stagerun.machine.identity import Process, current_process
from stagerun.states import RunState, StageState
from stagerun.view import RunView, fold
from tests.conftest import START, Project, new_project, timeless
from tests.journals import reading, writing
from tests.processes import GATE, everything, finish, logged, look, open_gate, read_until, rows, running, until


VICTIM = (
    GATE
    + """
class Victim(LiveOperation):
    stages = ["Load", "Process", "Save"]

    def run(self, p):
        with p.stage("Load"):
            p.log("loaded")
        with p.stage("Process"):
            p.log("half way")
            gate("go")
            p.log("went on")
        p.result(late=True)
"""
)


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("killed"))
    project.recipe("victim", VICTIM)
    project.recipe("quick", "class Quick(LiveOperation):\n    def run(self, p):\n        p.log('done')\n")
    with running(project, "run", "victim") as run:
        read_until(run, "half way")
        until(lambda: logged(project, 1) == ["loaded", "half way"])
        run.kill()
        run.wait()
    return project


@pytest.fixture
def killed(killed_once: Project, tmp_path: Path) -> Project:
    """A run was killed in its second stage, with its last line in the journal."""
    return killed_once.copied(tmp_path)


def _crash_of(view: RunView) -> events.RunFinished:
    return events.RunFinished(
        state=RunState.CRASHED,
        seconds=1.0,
        exit_code=1,
        error=events.Failure(type="", message="the process ended without a word", stage="Process"),
    )


def test_every_reader_says_crashed_as_soon_as_the_process_is_gone_and_records_nothing(killed: Project) -> None:
    before = everything(killed)

    status = killed.stagerun("status")
    document = json.loads(killed.stagerun("status", "--json").out)
    history = killed.stagerun("history")
    documents = json.loads(killed.stagerun("history", "--json", "--state", "crashed").out)
    wait = killed.stagerun("wait", "1")
    watch = killed.stagerun("watch", "1")
    logs = killed.stagerun("logs", "1")

    assert (rows(killed, "SELECT state FROM runs"), everything(killed)) == ([("running",)], before)
    assert re.sub(r"just now|\d+ s ago", "lately", timeless(status.out)) == (
        "run 1  victim:Victim  crashed after 0.0s  lately  by alice\n"
        "  ✓ Load     0.0s\n"
        "  ✗ Process  0.0s  the process ended without a word\n"
        "  ○ Save\n"
        "  last line: half way\n"
        "resume with: stagerun resume 1\n"
    )
    assert history.out.splitlines()[1].split()[:4] == ["1", "victim:Victim", "crashed", "1/3"]
    assert [document] == documents
    assert (wait.code, watch.code, logs.code) == (1, 1, 0)
    assert timeless(watch.out).splitlines()[-3:] == [
        "error: the process ended without a word",
        "run 1 crashed in [2/3] Process after 0.0s",
        "resume with: stagerun resume 1",
    ]
    assert logs.out == "loaded\nhalf way\n"


def test_the_duration_of_a_crashed_run_does_not_grow(killed: Project) -> None:
    process = look(killed, 1).process

    views = []
    for later in (0.0, 100_000.0):
        now = rows(killed, "SELECT seen_on + ? FROM runs", later)[0][0]
        assert isinstance(now, float)
        with reading(killed.journal, now=partial(float, now)) as records:
            views.append(records.find("1"))
    killed.stagerun("cancel", "1")
    recorded = look(killed, 1)

    assert process.is_gone() is True
    assert views[0] == views[1] == recorded


def test_a_recorded_crash_is_the_same_in_the_tables_and_in_the_events(killed: Project) -> None:
    before = look(killed, 1)

    killed.stagerun("cancel", "1")

    with reading(killed.journal) as records:
        entries = list(records.entries(1))
    view = fold(before, entries[0])
    for entry in entries[1:]:
        view = fold(view, entry)
    assert view.state is RunState.CRASHED
    assert replace(view, progress=before.progress) == before == look(killed, 1)


def test_the_next_run_records_the_crash_exactly_once(killed: Project) -> None:
    shown = look(killed, 1)

    for _ in range(2):
        killed.stagerun("run", "quick")

    finished = rows(killed, "SELECT run_id, time, data FROM events WHERE kind = 'run_finished' AND run_id = 1")
    assert rows(killed, "SELECT state, seconds, finished_on, exit_code FROM runs WHERE id = 1") == [
        ("crashed", shown.seconds, shown.finished_on, 1)
    ]
    assert rows(killed, "SELECT name, state FROM stages WHERE run_id = 1 ORDER BY position") == [
        ("Load", "done"),
        ("Process", "failed"),
        ("Save", "pending"),
    ]
    assert [(run, time) for run, time, _ in finished] == [(1, shown.finished_on)]
    assert json.loads(str(finished[0][2])) == {
        "state": "crashed",
        "seconds": shown.seconds,
        "exit_code": 1,
        "signal": None,
        "error": {
            "type": "",
            "message": "the process ended without a word",
            "stage": "Process",
            "traceback": None,
            "file": None,
            "line": None,
            "program": None,
        },
        "chained_to": None,
    }


def test_two_runs_that_start_at_once_record_a_crash_once(killed: Project) -> None:
    with running(killed, "run", "quick") as one, running(killed, "run", "quick") as other:
        codes = [finish(one).code, finish(other).code]

    assert codes == [0, 0]
    assert rows(killed, "SELECT count(*) FROM events WHERE kind = 'run_finished' AND run_id = 1") == [(1,)]


def test_a_crash_that_two_have_seen_is_recorded_by_the_first(killed: Project) -> None:
    seen = look(killed, 1)

    with writing(killed.journal) as opened:
        opened.journal.record_crash(seen)
        once = everything(killed)
        opened.journal.record_crash(seen)

    assert everything(killed) == once
    assert len(rows(killed, "SELECT seq FROM events WHERE kind = 'run_finished'")) == 1


def test_a_live_run_is_not_recorded_as_crashed_by_the_next_one(project: Project) -> None:
    project.recipe("victim", VICTIM)
    project.recipe("quick", "class Quick(LiveOperation):\n    def run(self, p):\n        p.log('done')\n")

    with running(project, "run", "victim") as run:
        read_until(run, "half way")
        project.stagerun("run", "quick")
        state = look(project, 1).state
        open_gate(project, "go")
        ended = finish(run)

    assert (state, ended.code, look(project, 1).state) == (RunState.RUNNING, 0, RunState.SUCCEEDED)


def test_a_frozen_process_that_was_recorded_as_crashed_can_not_write_any_more(project: Project) -> None:
    project.recipe("victim", VICTIM)

    with running(project, "run", "victim") as run:
        read_until(run, "half way")
        until(lambda: logged(project, 1) == ["loaded", "half way"])
        run.send_signal(signal.SIGSTOP)
        view = look(project, 1)
        with writing(project.journal) as opened:
            opened.journal.record_crash(fold(view, events.Entry(1, 0, view.created_on + 1.0, _crash_of(view))))
        buried = everything(project)
        open_gate(project, "go")
        run.send_signal(signal.SIGCONT)
        ended = finish(run)

    assert view.state is RunState.RUNNING
    assert ended.code == 3
    assert "run 1 no longer belongs to this process: another process has recorded its end" in ended.err
    assert "run 1 succeeded" not in ended.out
    assert everything(project) == buried


def test_a_run_that_was_recorded_as_crashed_while_it_is_quiet_stops_by_itself(project: Project) -> None:
    project.recipe(
        "quiet",
        """
import time
from pathlib import Path

class Quiet(LiveOperation):
    def run(self, p):
        p.log("ready")
        try:
            time.sleep(600)
        finally:
            Path("cleaned").touch()
""",
    )

    with running(project, "run", "quiet") as run:
        read_until(run, "ready")
        view = look(project, 1)
        with writing(project.journal) as opened:
            opened.journal.record_crash(fold(view, events.Entry(1, 0, view.created_on + 1.0, _crash_of(view))))
        ended = finish(run)

    told = "run 1 no longer belongs to this process: another process has recorded its end"
    assert (ended.code, ended.err) == (3, f"stagerun: {told}\n  see 'stagerun status 1'\n")
    assert (project.root / "cleaned").exists()


def test_a_recipe_that_leaves_by_the_back_door_is_shown_as_crashed(project: Project) -> None:
    project.recipe(
        "leaver",
        """
import os

class Leaver(LiveOperation):
    stages = ["Load"]

    def run(self, p):
        with p.stage("Load"):
            os._exit(0)
""",
    )

    project.stagerun("run", "leaver")

    view = look(project, 1)
    assert (view.state, view.stage_states) == (RunState.CRASHED, {"Load": StageState.FAILED})
    assert project.stagerun("wait", "1").code == 1


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({}, False),
        ({"boot_id": "another"}, True),
        ({"started": current_process().started - 1}, True),
        ({"pid_namespace": "pid:[1]"}, None),
        ({"host": "another", "boot_id": "another"}, None),
    ],
    ids=["itself", "another boot", "its pid is another's by now", "another pid namespace", "another host"],
)
def test_a_process_is_gone_or_not_or_nothing_can_be_known_of_it(changes: dict[str, object], gone: bool | None) -> None:
    assert replace(current_process(), **changes).is_gone() is gone


def test_of_a_process_on_another_host_nothing_can_be_known_where_boots_have_no_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "_machine", lambda: ("here", "", ""))

    assert replace(current_process(), host="there").is_gone() is None


def test_a_pid_that_nobody_has_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        child.wait()

    assert replace(current_process(), pid=child.pid).is_gone() is True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_a_zombie_is_gone() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        process = replace(current_process(), pid=child, started=_start_time(child))
        alive = process.is_gone()
        os.kill(child, signal.SIGKILL)
        until(lambda: _state(child) == "Z")
        dead = process.is_gone()
    finally:
        os.waitpid(child, 0)

    assert (alive, dead) == (False, True)


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _state(pid: int) -> str:
    return _fields(pid)[0]


def _start_time(pid: int) -> float:
    return float(_fields(pid)[19])


def _begin_elsewhere(path: Path) -> None:
    """Record a run of another host that gave its last sign of life at START + 5."""
    process = Process(host="another", boot_id="another", pid_namespace="pid:[1]", pid=1, started=1.0)
    plan = events.RunCreated(
        target="demo:Far",
        recipe="demo",
        operation="Far",
        stages=("Load",),
        owner="alice",
        host=process.host,
        boot_id=process.boot_id,
        pid_namespace=process.pid_namespace,
        pid=process.pid,
        process_started=process.started,
    )
    with writing(path) as opened:
        journal = opened.journal
        with opened.transaction():
            view = journal.create(events.Entry(0, 1, START, plan))
        begun = events.Entry(1, 2, START, events.RunStarted())
        entered = events.Entry(1, 3, START + 2, events.StageEntered(stage="Load", index=0))
        running = fold(fold(view, begun), entered)
        with opened.transaction():
            journal.append([begun], fold(view, begun), view.state)
            journal.append([entered], running, running.state)
        Journal(SqliteStore(opened.connection, path, now=lambda: START + 5)).beat(running)


@pytest.mark.parametrize(
    ("age", "state"), [(0.0, "running"), (SILENCE, "running"), (SILENCE + 1, "crashed"), (-3600.0, "running")]
)
def test_a_run_on_another_host_is_dead_after_a_minute_of_silence(tmp_path: Path, age: float, state: str) -> None:
    path = tmp_path / "journal.db"
    _begin_elsewhere(path)

    with reading(path, now=lambda: START + 5 + age) as records:
        view = records.find("1")

    assert view.state == state


def test_a_run_that_fell_silent_ended_with_its_last_sign_of_life(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    _begin_elsewhere(path)

    with reading(path, now=lambda: START + 100_000) as records:
        view = records.find("1")

    assert (view.finished_on, view.seconds) == (START + 5, 5.0)
    assert [(stage.state, stage.seconds) for stage in view.stages] == [(StageState.FAILED, 3.0)]


def test_a_silent_run_gives_signs_of_life(project: Project) -> None:
    project.recipe("victim", VICTIM)

    with running(project, "run", "victim") as run:
        read_until(run, "half way")
        until(lambda: logged(project, 1) == ["loaded", "half way"])
        before = rows(project, "SELECT seen_on FROM runs")
        until(lambda: rows(project, "SELECT seen_on FROM runs") > before)
        open_gate(project, "go")
        ended = finish(run)

    assert ended.code == 0
