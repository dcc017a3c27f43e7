"""Stopping, waiting for and following a run from another process."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest

from stagerun import LiveOperation, OperationCancelled, Progress
from stagerun.engine.cleanup import CleanUp
from stagerun.engine.ticker import LostSignals
from stagerun.machine.interrupts import Interrupts
from stagerun.states import RunState, StageState
from tests.conftest import STAGERUN, Bench, Done, HandClock, Project, timeless
from tests.journals import change
from tests.processes import (
    GATE,
    everything,
    finish,
    logged,
    look,
    open_gate,
    read_until,
    rows,
    running,
    shell_code,
    until,
)


SLEEPER = (
    GATE
    + """
class Sleeper(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p):
        with p.stage("Load"):
            p.log("ready")
            gate("never")
"""
)

TALKER = (
    GATE
    + """
class Talker(LiveOperation):
    stages = ["First", "Second"]

    def run(self, p):
        with p.stage("First"):
            p.log("one")
            gate("second")
        with p.stage("Second"):
            p.log("two", level="warning")
            print("three")
        p.result(lines=3)
        p.chain_to(After(owner=self.owner))


class After(LiveOperation):
    stages = ["Only"]

    def run(self, p):
        with p.stage("Only"):
            p.log("four")
            gate("third")
            raise SystemExit(7)
"""
)


def _crash(project: Project, target: str = "sleeper") -> None:
    """Let a run die in its first stage, with its last line in the journal."""
    with running(project, "run", target) as run:
        until(lambda: project.journal.exists() and run.poll() is None and _has_run(project) and logged(project, 1))
        run.kill()
        run.wait()


def _has_run(project: Project) -> bool:
    with suppress(Exception):
        return bool(rows(project, "SELECT id FROM runs"))
    return False


def test_cancel_stops_a_run_of_another_process_which_then_dies_of_sigterm(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)

    with running(project, "run", "sleeper") as run:
        before = read_until(run, "ready")
        cancel = project.stagerun("cancel", "1")
        ended = finish(run)

    assert (cancel.code, cancel.out, cancel.err) == (0, "run 1 cancelled\n", "")
    assert (ended.code, ended.err) == (-signal.SIGTERM, "")
    assert timeless(before + ended.out) == (
        "run 1 · sleeper:Sleeper · started by alice\n"
        "=== [1/2] Load ===\n"
        "ready\n"
        "--- [1/2] Load: cancelled after 0.0s\n"
        "run 1 cancelled by SIGTERM in [1/2] Load after 0.0s\n"
        "resume with: stagerun resume 1\n"
    )
    view = look(project, 1)
    assert (view.state, view.signal, view.exit_code) == (RunState.CANCELLED, "SIGTERM", 143)
    assert view.stage_states == {"Load": StageState.CANCELLED, "Save": StageState.PENDING}


def test_a_single_cancel_leaves_the_clean_up_of_a_run_its_time(project: Project) -> None:
    project.recipe(
        "tidy",
        GATE
        + """
class Tidy(LiveOperation):
    def run(self, p):
        try:
            p.log("ready")
            gate("never")
        finally:
            for _ in range(20):
                time.sleep(0.05)
            pathlib.Path("tidied").touch()
""",
    )

    with running(project, "run", "tidy") as run:
        read_until(run, "ready")
        cancel = project.stagerun("cancel", "1")
        ended = finish(run)

    assert (cancel.code, ended.code) == (0, -signal.SIGTERM)
    assert (project.root / "tidied").exists()


def test_cancel_of_a_finished_run_says_so_and_changes_nothing(project: Project) -> None:
    project.recipe("quick", "class Quick(LiveOperation):\n    def run(self, p):\n        p.log('done')\n")
    project.stagerun("run", "quick")
    before = everything(project)

    assert project.stagerun("cancel", "1") == Done(0, "run 1 is already over: succeeded\n", "")
    assert everything(project) == before


def test_cancel_of_a_crashed_run_records_the_crash_once(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)
    _crash(project)

    answers = [project.stagerun("cancel", "1") for _ in range(2)]

    assert [(each.code, each.out, each.err) for each in answers] == [(0, "run 1 is already over: crashed\n", "")] * 2
    assert rows(project, "SELECT state, exit_code FROM runs") == [("crashed", 1)]
    assert len(rows(project, "SELECT seq FROM events WHERE kind = 'run_finished'")) == 1


def test_cancel_of_an_unknown_run_is_an_error_of_usage(project: Project) -> None:
    project.recipe("quick", "class Quick(LiveOperation):\n    def run(self, p):\n        p.log('done')\n")
    project.stagerun("run", "quick")

    cancel = project.stagerun("cancel", "2")

    message = f"stagerun: there is no run 2 in {project.journal}\n  the newest is 1\n"
    assert (cancel.code, cancel.out, cancel.err) == (2, "", message)


def test_force_kills_a_run_that_swallows_every_cancel_and_it_reads_crashed(project: Project) -> None:
    project.recipe(
        "stubborn",
        GATE
        + """
class Stubborn(LiveOperation):
    stages = ["Load"]

    def run(self, p):
        with p.stage("Load"):
            p.log("ready")
            while True:
                try:
                    gate("never")
                except BaseException:
                    pass
""",
    )

    with running(project, "run", "stubborn") as run:
        read_until(run, "ready")
        cancel = project.stagerun("cancel", "--force", "1")
        code = run.wait(60)

    assert (cancel.code, cancel.out, cancel.err) == (0, "run 1 crashed\n", "")
    assert code == -signal.SIGKILL
    assert rows(project, "SELECT state FROM runs") == [("crashed",)]
    assert look(project, 1).stage_states == {"Load": StageState.FAILED}


def test_a_request_in_the_journal_alone_stops_a_run_that_no_signal_reaches(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)

    with running(project, "run", "sleeper") as run:
        read_until(run, "ready")
        change(project.journal, "INSERT INTO cancel_requests VALUES (1, 0.0, 'bob')")
        ended = finish(run)

    assert (ended.code, ended.err) == (-signal.SIGTERM, "")
    assert look(project, 1).state is RunState.CANCELLED


LOST = ("signal.SIGINT", "signal.SIGTERM", "signal.SIGHUP", "signal.SIGURG", "signal.SIGALRM")


def _robbed(take: str, work: str) -> str:
    """Return a recipe in which a library takes signals, before it works."""
    return f"""{GATE}
import asyncio

class Robbed(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p):
        {take}
        p.log("ready")
        try:
            {work}
        finally:
            p.log("cleaned up")
"""


ONE_TAKEN = "signal.signal(signal.SIGTERM, lambda number, frame: None)"
ALL_TAKEN = f"[signal.signal(number, signal.SIG_IGN) for number in ({', '.join(LOST)})]"
IN_A_LOOP_OF_ASYNCIO = """async def wait():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
            p.log("ready")
            await asyncio.sleep(600)"""


@pytest.mark.parametrize(
    ("take", "work"),
    [
        pytest.param(ONE_TAKEN, "time.sleep(600)", id="a handler, in a sleep"),
        pytest.param(ONE_TAKEN, "while True: pass", id="a handler, in a loop"),
        pytest.param(IN_A_LOOP_OF_ASYNCIO, "asyncio.run(wait())", id="asyncio"),
        *(
            pytest.param(ALL_TAKEN, work, id=f"all handlers, in {name}")
            for name, work in {
                "check_cancelled": "while True: p.check_cancelled()",
                "log": "while True: p.log('more'); time.sleep(0.1)",
                "track": "for _ in p.track(range(10**6)): time.sleep(0.01)",
                "stage": "while True:\n                with p.stage('Save'): time.sleep(0.1)",
                "sh": "p.sh([shutil.which('sleep'), '600'])",
                "map": "p.map(lambda _: time.sleep(0.2), range(10**6), workers=2)",
            }.items()
        ),
    ],
)
def test_cancel_stops_a_run_in_which_a_library_has_taken_the_signals(project: Project, take: str, work: str) -> None:
    project.recipe("robbed", "import shutil\n" + _robbed(take, work))

    with running(project, "run", "robbed", "--progress", "quiet") as run:
        until(lambda: _has_run(project) and logged(project, 1))
        cancel = project.stagerun("cancel", "1")
        ended = finish(run)

    assert (cancel.code, cancel.out, cancel.err) == (0, "run 1 cancelled\n", "")
    assert (ended.code, ended.err) == (-signal.SIGTERM, "")
    assert logged(project, 1)[-1] == "cleaned up"
    assert (look(project, 1).state, look(project, 1).signal) == (RunState.CANCELLED, "SIGTERM")


TAKEN = """
def mine(number, frame): pass

class Taken(LiveOperation):
    def run(self, p):
        signal.signal(signal.SIGTERM, mine)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        gate("end")
        time.sleep(0.5)
"""


def test_a_signal_that_others_handle_is_told_of_once(project: Project) -> None:
    project.recipe("taken", GATE + TAKEN)

    with running(project, "run", "taken", "--progress", "quiet") as run:
        until(lambda: _has_run(project) and len(logged(project, 1)) >= 3)
        open_gate(project, "end")
        ended = finish(run)

    assert (ended.code, logged(project, 1)) == (
        0,
        [
            "SIGINT is now ignored; 'stagerun cancel' still stops this run",
            "SIGTERM is now handled by taken.mine, not by stagerun; 'stagerun cancel' still stops this run",
            "SIGHUP now ends this process at once, without clean-up: its handler was reset",
        ],
    )


def test_a_signal_that_is_given_back_soon_is_not_told_of() -> None:
    clock, interrupts = HandClock(), Interrupts()
    lost = LostSignals(interrupts, clock.as_clock())
    interrupts.install()

    def told_after(seconds: float) -> list[str]:
        clock.move(seconds)
        return lost.lines()

    ours = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told = [told_after(seconds) for seconds in (0, 0.9)]
    signal.signal(signal.SIGTERM, ours)
    told.append(told_after(0.2))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told += [told_after(seconds) for seconds in (0.5, 0.9, 0.2, 5)]
    interrupts.restore()

    assert told == [[]] * 5 + [["SIGTERM is now ignored; 'stagerun cancel' still stops this run"], []]


def test_a_request_for_another_run_stops_nobody(project: Project) -> None:
    project.recipe(
        "counter",
        GATE
        + """
class Counter(LiveOperation):
    def run(self, p):
        while not pathlib.Path("enough").exists():
            p.log("tick")
            time.sleep(0.01)
""",
    )

    with running(project, "run", "counter", "--progress", "quiet") as run:
        until(lambda: _has_run(project) and logged(project, 1))
        change(project.journal, "INSERT INTO cancel_requests VALUES (2, 0.0, 'bob')")
        # The owner looks for requests after each batch of lines, so at least once between two batches.
        for _ in range(3):
            known = len(logged(project, 1))
            until(lambda known=known: len(logged(project, 1)) > known)  # type: ignore[misc]
        open_gate(project, "enough")
        ended = finish(run)

    assert (ended.code, ended.err) == (0, "")


CLEAN_UP = (
    GATE
    + """
class CleanUp(LiveOperation):
    stages = ["Load"]

    def run(self, p):
        with p.stage("Load"):
            try:
                p.log("ready")
                gate("never")
            finally:
                try:
                    pathlib.Path("cleaning").touch()
                    gate("never")
                    pathlib.Path("cleaned").touch()
                finally:
                    pathlib.Path("cut").touch()
                    gate("end")
"""
)


def test_a_second_signal_cuts_the_clean_up_short(project: Project) -> None:
    project.recipe("cleanup", CLEAN_UP)
    open_gate(project, "end")

    with running(project, "run", "cleanup") as run:
        read_until(run, "ready")
        run.send_signal(signal.SIGINT)
        until((project.root / "cleaning").exists)
        run.send_signal(signal.SIGINT)
        ended = finish(run)

    assert (ended.code, ended.err) == (-signal.SIGINT, "")
    assert not (project.root / "cleaned").exists()
    view = look(project, 1)
    assert (view.state, view.signal, view.stage_states) == (
        RunState.CANCELLED,
        "SIGINT",
        {"Load": StageState.CANCELLED},
    )


def test_cancel_reaches_a_run_that_was_started_with_the_signal_ignored(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)
    start = "import os, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"

    with subprocess.Popen(
        [sys.executable, "-c", start, str(STAGERUN), "run", "sleeper"],
        cwd=project.root,
        env=project.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        while run.stdout.readline() != "ready\n":
            pass
        cancel = project.stagerun("cancel", "1")
        code = run.wait(timeout=60)

    assert (cancel.code, code, look(project, 1).state) == (0, -signal.SIGTERM, RunState.CANCELLED)


def test_a_clean_up_that_takes_long_says_where_it_is(project: Project) -> None:
    project.recipe(
        "cleanup",
        """
import time

class CleanUp(LiveOperation):
    def run(self, p):
        try:
            p.log("ready")
            time.sleep(600)
        finally:
            time.sleep(600)
""",
    )

    with running(project, "run", "cleanup") as run:
        read_until(run, "ready")
        run.send_signal(signal.SIGINT)
        read_until(
            run, "stopping for SIGINT: clean-up is still running in cleanup.py, line 11; a second Ctrl-C cuts it short"
        )
        run.send_signal(signal.SIGINT)
        ended = finish(run)

    assert ended.code == -signal.SIGINT


def test_the_place_of_a_clean_up_is_told_after_two_seconds_and_then_every_thirty() -> None:
    clock, interrupts = HandClock(), Interrupts()
    clean_up = CleanUp(__file__, threading.get_ident(), interrupts, clock.as_clock())

    def told_after(seconds: float) -> bool:
        clock.move(seconds)
        return clean_up.line() is not None

    before = told_after(60)
    interrupts.request("SIGTERM")
    times = [told_after(seconds) for seconds in (0, 1.9, 0.2, 29.9, 0.2)]

    assert (before, times) == (False, [False, False, True, False, True])


def test_a_third_signal_ends_the_process_at_once(project: Project) -> None:
    project.recipe("cleanup", CLEAN_UP)

    with running(project, "run", "cleanup") as run:
        read_until(run, "ready")
        for mark in ("cleaning", "cut"):
            run.send_signal(signal.SIGINT)
            until((project.root / mark).exists)
        run.send_signal(signal.SIGINT)
        ended = finish(run)

    assert (shell_code(ended.code), ended.err) == (130, "")
    assert look(project, 1).state in (RunState.CRASHED, RunState.CANCELLED)


class Next(LiveOperation):
    def run(self, p: Progress) -> None:
        raise AssertionError("it must never start")


CALLS: Mapping[str, Callable[[Progress], object]] = {
    "stage": lambda p: p.stage("Load").__enter__(),
    "status": lambda p: p.status("text"),
    "percent": lambda p: p.percent(50),
    "track": lambda p: next(iter(p.track([1]))),
    "log": lambda p: p.log("text"),
    "checkpoint": lambda p: p.checkpoint("key", int),
    "result": lambda p: p.result(count=1),
    "error": lambda p: p.error("text"),
    "chain_to": lambda p: p.chain_to(Next()),
    "check_cancelled": lambda p: p.check_cancelled(),
}


@pytest.mark.parametrize("call", CALLS)
def test_after_a_cancel_every_call_raises_it_however_often_it_is_swallowed(bench: Bench, call: str) -> None:
    reached = list[str]()

    class Swallower(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            bench.interrupts.request("SIGTERM")
            try:
                CALLS[call](p)
            except OperationCancelled:
                reached.append("swallowed")
            CALLS[call](p)
            reached.append("went on")

    view = bench.run(Swallower())

    assert reached == ["swallowed"]
    assert (view.state, view.signal, view.chained_to) == (RunState.CANCELLED, "SIGTERM", None)


def test_a_cancel_that_broke_a_sleep_and_was_swallowed_is_raised_again(project: Project) -> None:
    project.recipe(
        "swallower",
        GATE
        + """
class Swallower(LiveOperation):
    def run(self, p):
        p.log("ready")
        try:
            gate("never")
        except BaseException:
            pass
        pathlib.Path("swallowed").touch()
        p.log("went on")
        pathlib.Path("went on").touch()
""",
    )

    with running(project, "run", "swallower") as run:
        read_until(run, "ready")
        cancel = project.stagerun("cancel", "1")
        ended = finish(run)

    assert (cancel.code, ended.code) == (0, -signal.SIGTERM)
    assert (project.root / "swallowed").exists()
    assert not (project.root / "went on").exists()
    assert logged(project, 1) == ["ready"]


def test_wait_returns_the_exit_code_of_the_last_link_of_a_chain(project: Project) -> None:
    project.recipe("talker", TALKER)

    with running(project, "run", "talker:Talker") as run:
        read_until(run, "one")
        with running(project, "wait", "1") as wait:
            open_gate(project, "second")
            read_until(run, "four")
            still_waiting = wait.poll() is None
            open_gate(project, "third")
            waited = finish(wait)
        ended = finish(run)

    assert still_waiting
    assert (waited.code, waited.out, waited.err) == (7, "", "")
    assert ended.code == 7
    assert project.stagerun("wait", "1").code == 7


def test_wait_for_a_run_that_succeeded_returns_0(project: Project) -> None:
    project.recipe("quick", "class Quick(LiveOperation):\n    def run(self, p):\n        p.log('done')\n")
    project.stagerun("run", "quick")

    assert project.stagerun("wait") == Done(0, "", "")


def test_wait_for_a_run_that_crashes_meanwhile_returns_1(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)

    with running(project, "run", "sleeper") as run:
        read_until(run, "ready")
        with running(project, "wait", "1") as wait:
            run.kill()
            run.wait()
            waited = finish(wait)

    assert (waited.code, waited.out, waited.err) == (1, "", "")
    assert project.stagerun("wait", "1").code == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_run_dies_of_its_signal_and_who_only_tells_of_it_exits_with_its_code(
    project: Project, number: signal.Signals
) -> None:
    project.recipe("sleeper", SLEEPER)

    with running(project, "run", "sleeper") as run:
        read_until(run, "ready")
        run.send_signal(number)
        died = run.wait(60)
    told = [project.stagerun(*command).code for command in (["wait"], ["watch", "--progress", "quiet"])]
    view = look(project, 1)

    assert (died, told) == (-number, [128 + number] * 2)
    assert (view.state, view.signal, view.exit_code) == (RunState.CANCELLED, number.name, 128 + number)


def test_a_resumed_run_dies_of_its_signal_too(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)

    for command in ("run", "sleeper"), ("resume",):
        with running(project, *command) as run:
            read_until(run, "ready")
            run.send_signal(signal.SIGTERM)

            assert run.wait(60) == -signal.SIGTERM


def test_logs_follow_prints_lines_as_they_come_and_ends_with_the_run_and_its_chain(project: Project) -> None:
    project.recipe("talker", TALKER)

    with running(project, "run", "talker:Talker") as run:
        read_until(run, "one")
        with running(project, "logs", "1", "-f") as logs:
            first = read_until(logs, "one")
            open_gate(project, "second")
            second = read_until(logs, "four")
            open_gate(project, "third")
            ended = finish(logs)

    assert (first, second) == ("one\n", "warning: two\nthree\nfour\n")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_logs_without_follow_prints_the_lines_of_one_run_and_no_more(project: Project) -> None:
    project.recipe("talker", TALKER)
    open_gate(project, "second")
    open_gate(project, "third")
    project.stagerun("run", "talker:Talker")

    logs = [project.stagerun("logs", ref) for ref in ("1", "2")]

    assert [(each.code, each.out, each.err) for each in logs] == [
        (0, "one\nwarning: two\nthree\n", ""),
        (0, "four\n", ""),
    ]


def test_logs_follow_ends_when_the_run_crashes(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)

    with running(project, "run", "sleeper") as run:
        read_until(run, "ready")
        with running(project, "logs", "1", "-f") as logs:
            read_until(logs, "ready")
            run.kill()
            run.wait()
            ended = finish(logs)

    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_logs_follow_as_json_prints_each_line_as_it_comes(project: Project) -> None:
    project.recipe("talker", TALKER)

    with running(project, "run", "talker:Talker") as run:
        read_until(run, "one")
        with running(project, "logs", "1", "-f", "--json") as logs:
            assert logs.stdout is not None
            until(lambda: len(logged(project, 1)) == 1)
            readable, _, _ = select.select([logs.stdout], [], [], 10)

    assert readable == [logs.stdout]


def test_watch_shows_live_and_afterwards_the_text_that_the_run_printed(project: Project) -> None:
    project.recipe("talker", TALKER)

    with running(project, "run", "talker:Talker") as run:
        begin = read_until(run, "one")
        with running(project, "watch", "1", "--progress", "plain") as watch:
            seen = read_until(watch, "one")
            open_gate(project, "second")
            open_gate(project, "third")
            seen_rest = finish(watch)
        rest = finish(run)
    afterwards = project.stagerun("watch", "1", "--progress", "plain")

    printed = begin + rest.out
    assert "run 2 failed" in printed
    assert (seen + seen_rest.out, seen_rest.err, seen_rest.code) == (printed, "", 7)
    assert (afterwards.out, afterwards.err, afterwards.code) == (printed, "", 7)


PACED = (
    GATE
    + """
class Paced(LiveOperation):
    stages = ["Loops", "Statuses", "Percent"]

    def run(self, p):
        with p.stage("Loops"):
            for _ in p.track(range(3), unit="row"):
                pass
            for _ in p.track(range(5), unit="file"):
                pass
        with p.stage("Statuses"):
            for number in range(3):
                p.status(f"quick {number}")
            gate("statuses")
            p.status("slow")
        with p.stage("Percent"):
            p.percent(10)
            p.percent(100)
"""
)


def test_watch_shows_the_same_loops_statuses_and_percentages_as_the_run(project: Project) -> None:
    project.recipe("paced", PACED)

    with running(project, "run", "paced") as run:
        begin = read_until(run, "Statuses: quick 2")
        open_gate(project, "statuses")
        rest = finish(run)
    watch = project.stagerun("watch", "1")

    assert timeless(begin + rest.out) == (
        "run 1 · paced:Paced · started by alice\n"
        "=== [1/3] Loops ===\n"
        "Loops: 100% (3/3 rows) in 0.0s\n"
        "Loops: 100% (5/5 files) in 0.0s\n"
        "--- [1/3] Loops: done in 0.0s\n"
        "=== [2/3] Statuses ===\n"
        "Statuses: quick 0\n"
        "Statuses: quick 2\n"
        "Statuses: slow\n"
        "--- [2/3] Statuses: done in 0.0s\n"
        "=== [3/3] Percent ===\n"
        "Percent: 100%\n"
        "--- [3/3] Percent: done in 0.0s\n"
        "run 1 succeeded in 0.0s\n"
    )
    assert (watch.out, watch.err, watch.code) == (begin + rest.out, "", 0)


def test_watch_of_a_run_that_crashes_ends_with_the_crash(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)

    with running(project, "run", "sleeper") as run:
        read_until(run, "ready")
        with running(project, "watch", "1") as watch:
            begin = read_until(watch, "ready")
            run.kill()
            run.wait()
            ended = finish(watch)

    assert (ended.code, ended.err) == (1, "")
    assert timeless(begin + ended.out) == (
        "run 1 · sleeper:Sleeper · started by alice\n"
        "=== [1/2] Load ===\n"
        "ready\n"
        "error: the process ended without a word\n"
        "run 1 crashed in [1/2] Load after 0.0s\n"
        "resume with: stagerun resume 1\n"
    )


def test_an_interrupt_ends_the_watching_and_not_the_run(project: Project) -> None:
    project.recipe("talker", TALKER)

    with running(project, "run", "talker:After") as run:
        read_until(run, "four")
        with running(project, "watch", "1") as watch:
            read_until(watch, "four")
            watch.send_signal(signal.SIGINT)
            watched = finish(watch)
        open_gate(project, "third")
        ended = finish(run)

    assert (watched.code, watched.out, watched.err.strip()) == (-signal.SIGINT, "", "")
    assert ended.code == 7


def test_under_github_actions_a_run_is_cancelled_when_its_shell_is_killed(project: Project) -> None:
    project.recipe("sleeper", SLEEPER)

    shell = subprocess.Popen(
        ["sh", "-c", f"'{STAGERUN}' run sleeper --run-id-file id --progress quiet; true"],
        cwd=project.root,
        env=project.environ | {"GITHUB_ACTIONS": "true"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: _has_run(project) and logged(project, 1) == ["ready"])
    shell.kill()
    shell.wait()
    try:
        until(lambda: look(project, 1).state is not RunState.RUNNING)
    finally:
        with suppress(ProcessLookupError):
            os.kill(look(project, 1).process.pid, signal.SIGKILL)

    view = look(project, 1)
    assert (view.state, view.signal) == (RunState.CANCELLED, "SIGTERM")


def test_elsewhere_a_run_outlives_its_shell(project: Project) -> None:
    project.recipe("talker", TALKER)

    shell = subprocess.Popen(
        ["sh", "-c", f"'{STAGERUN}' run talker:After --progress quiet; true"],
        cwd=project.root,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: _has_run(project) and logged(project, 1) == ["four"])
    shell.kill()
    shell.wait()
    open_gate(project, "third")
    until(lambda: look(project, 1).state is not RunState.RUNNING)

    assert (look(project, 1).state, look(project, 1).exit_code) == (RunState.FAILED, 7)
