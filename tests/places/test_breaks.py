"""What becomes of a run when something between its two ends breaks, or somebody stops it."""

import os
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from stagerun.states import RunState
from tests import rebuild
from tests.conftest import timeless
from tests.places.conftest import Distant, end_of, is_gone, kill
from tests.processes import GATE, look, read_until, rows, until
from tests.serving import Command


SLEEPS = f"""{GATE}
class Train(LiveOperation):
    stages = ["Load", "Fit"]

    def run(self, p: Progress):
        with p.stage("Load"):
            p.checkpoint("rows", lambda: pathlib.Path("loaded").touch())
        with p.stage("Fit"):
            try:
                p.log("asleep")
                time.sleep(60)
            finally:
                pathlib.Path("cleaned").touch()
"""
COUNTS = f"""{GATE}
class Count(LiveOperation):
    stages = ["Load", "Fit"]
    folder: pathlib.Path

    def load(self):
        (self.folder / "loads").open("a").write("x")
        return [1, 2]

    def run(self, p: Progress):
        with p.stage("Load"):
            p.checkpoint("rows", self.load)
        with p.stage("Fit"):
            for item in p.track(range(160), key="items"):
                (self.folder / "items").open("a").write(f"{{item}}\\n")
                time.sleep(0.01)
                if item == 80:
                    p.log("half-way")
"""


def _asleep(far: Distant, *options: str) -> tuple[Command, psutil.Process]:
    """Return a command whose run sleeps in its second stage, and the process that sleeps."""
    far.project.recipe("orders", SLEEPS)
    process = far.start("run", "orders", *options)
    read_until(process, "asleep")
    return process, far.worker()


def test_ctrl_c_breaks_the_sleep_there_and_its_clean_up_runs_there(far: Distant) -> None:
    process, worker = _asleep(far)
    folder = Path(worker.cwd())

    process.send_signal(signal.SIGINT)

    done = end_of(process)
    assert done.code == -signal.SIGINT
    assert timeless(done.out) == (
        "--- [2/2] Fit: cancelled after 0.0s\n"
        "run 1 cancelled by SIGINT in [2/2] Fit after 0.0s\n"
        f"resume with: stagerun resume 1 --on {far.where.name}\n"
    )
    until(lambda: is_gone(worker))
    assert (folder / "cleaned").exists()
    for name in ("cleaned", "loaded"):  # the place's own folder may be another than the project's
        (folder / name).unlink()


def test_a_cancel_from_another_shell_reaches_it(near: Distant) -> None:
    process, worker = _asleep(near)

    told = near.project.stagerun("cancel", "last")

    assert (told.out, end_of(process).code) == ("run 1 cancelled\n", -signal.SIGTERM)
    until(lambda: is_gone(worker))


def test_a_time_limit_holds_there_and_is_told_as_it_was_given(near: Distant) -> None:
    near.project.recipe("orders", SLEEPS)

    done = near.stagerun("run", "orders", "--timeout", "3")

    assert (done.code, near.newest().state) == (124, RunState.TIMED_OUT)
    error = near.newest().error
    assert error is not None
    assert error.message == "the run took longer than 3s"
    assert (near.project.root / "cleaned").exists()


def _cut(far: Distant) -> str:
    """End the far process, or what leads to it; return what is told of it."""
    worker = far.worker()
    match far.where.name.partition(":")[0]:
        case "ssh":
            kill(next(each for each in worker.parents() if each.name().startswith("sshd")))
            return "error: ssh ended with exit code 255\n"
        case "slurm":
            kill(worker)
            return "error: srun ended with exit code 137\n  srun: error: "
        case _:
            kill(worker)
            return "error: the far process was killed by SIGKILL\n"


def test_a_run_whose_far_process_is_lost_has_crashed_in_its_stage_and_goes_on_elsewhere(far: Distant) -> None:
    far.project.recipe("orders", COUNTS)
    with far.start("run", "orders", f"--folder={far.project.root}") as process:
        read_until(process, "half-way")
        told = _cut(far)
        done = end_of(process)
    assert done.code == 1
    assert told in done.out
    assert "run 1 crashed in [2/2] Fit after" in done.out
    assert done.out.endswith(f"resume with: stagerun resume 1 --on {far.where.name}\n")

    resumed = far.stagerun("resume", on="local:")

    assert resumed.code == 0
    assert (far.project.root / "loads").read_text() == "x"
    items = [int(line) for line in (far.project.root / "items").read_text().splitlines()]
    assert sorted({*items}) == list(range(160))
    assert all(items.count(item) <= 2 for item in range(160))
    assert sum(items.count(item) - 1 for item in range(160)) <= 60  # about what half a second holds
    assert rebuild.checkpoints(far.project.journal) == rebuild.checkpoint_rows(far.project.journal)


@pytest.mark.parametrize("where", ["slurm"], indirect=True, scope="session")
def test_scancel_stops_a_run_as_sigterm_does(far: Distant) -> None:
    process, worker = _asleep(far)
    folder = Path(worker.cwd())

    subprocess.run(["scancel", "--name=stagerun"], env={**os.environ, **far.where.environ}, check=True)

    done = end_of(process)
    assert (done.code, (folder / "cleaned").exists()) == (-signal.SIGTERM, True)
    assert "run 1 cancelled by SIGTERM in [2/2] Fit after" in done.out


def test_when_this_process_is_killed_the_far_one_ends_with_all_that_it_has_started(near: Distant) -> None:
    near.project.recipe(
        "orders",
        f"""{GATE}
import subprocess

class Train(LiveOperation):
    def run(self, p: Progress):
        own = subprocess.Popen(["sleep", "610"], start_new_session=True)
        p.log(f"started {{own.pid}}")
        while True:
            try:
                p.sh("sleep 620")
            except BaseException:
                pass
""",
    )
    process = near.start("run", "orders")
    read_until(process, "$ sleep 620")
    worker = near.worker()
    started = [*worker.children(recursive=True)]
    assert {each.name() for each in started} >= {"sleep"}

    process.kill()

    end_of(process)
    until(lambda: near.project.stagerun("status").out.count("crashed"))
    until(lambda: is_gone(worker) and all(map(is_gone, started)))


@pytest.mark.soak
def test_a_far_process_that_stands_still_is_not_waited_for(near: Distant) -> None:
    process, worker = _asleep(near)
    kill(worker, signal.SIGSTOP)

    process.send_signal(signal.SIGINT)

    done = end_of(process)
    assert done.code == 1
    assert timeless(done.out) == (
        "error: the far process did not stop: nothing was heard of it for 10 s\n"
        "run 1 crashed in [2/2] Fit after 0.0s\n"
        "resume with: stagerun resume 1 --on local:\n"
    )
    until(lambda: is_gone(worker))


def test_the_third_signal_ends_both(near: Distant) -> None:
    near.project.recipe(
        "orders",
        """
import time

class Train(LiveOperation):
    def run(self, p: Progress):
        for turn in range(4):
            try:
                print(f"turn {turn}", flush=True)
                time.sleep(60)
            except BaseException:
                pass
""",
    )
    process = near.start("run", "orders")
    for turn in range(2):
        read_until(process, f"turn {turn}")
        process.send_signal(signal.SIGTERM)
    read_until(process, "turn 2")
    worker = near.worker()

    process.send_signal(signal.SIGTERM)

    assert end_of(process).code == -signal.SIGTERM
    until(lambda: is_gone(worker))


def test_a_journal_that_can_not_record_ends_the_work_there(near: Distant) -> None:
    process, worker = _asleep(near)
    subprocess.run(
        [
            *("sqlite3", str(near.project.journal)),
            "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'disk is full'); END",
        ],
        check=True,
    )

    process.send_signal(signal.SIGTERM)

    done = end_of(process)
    assert done.code == 3
    assert "disk is full" in done.err
    until(lambda: is_gone(worker))
    assert look(near.project, 1).state is RunState.CRASHED


@pytest.mark.parametrize("wait", [0.0, 0.2])
def test_a_run_that_is_stopped_before_it_has_begun_is_cancelled(near: Distant, wait: float) -> None:
    near.project.recipe("orders", SLEEPS)
    with near.start("run", "orders", on="local:") as process:
        until(near.project.journal.exists)
        until(lambda: rows(near.project, "SELECT 1 FROM runs"))
        time.sleep(wait)
        process.send_signal(signal.SIGTERM)
        done = end_of(process)

    assert (done.code, near.newest().state) == (-signal.SIGTERM, RunState.CANCELLED)


def test_a_run_that_waits_for_its_turn_holds_no_place_and_its_limit_begins_after_the_wait(near: Distant) -> None:
    near.project.recipe(
        "orders",
        f"""{GATE}
class Train(LiveOperation):
    def run(self, p: Progress):
        gate("open")
        time.sleep(0.5)
        p.log("done")
""",
    )
    with ExitStack() as stack:

        def begun(*arguments: str) -> Command:
            before = len(processes)
            command = stack.enter_context(near.start("run", "orders", *arguments, on="local:"))
            until(lambda: near.project.journal.exists() and len(rows(near.project, "SELECT id FROM runs")) > before)
            return command

        processes = list[Command]()
        for arguments in ((), ("--wait", "--timeout", "4"), ("--wait",)):
            processes.append(begun(*arguments))
        until(lambda: look(near.project, 3).status is not None)
        assert [look(near.project, run).worker for run in (2, 3)] == [None, None]
        near.project.stagerun("cancel", "3")
        time.sleep(4)  # longer than the limit
        (near.project.root / "open").touch()

        ends = [end_of(each).code for each in processes]

    assert ends == [0, 0, -signal.SIGTERM]
    states = [look(near.project, run).state for run in (1, 2, 3)]
    assert states == [RunState.SUCCEEDED, RunState.SUCCEEDED, RunState.CANCELLED]
    assert look(near.project, 3).worker is None
