"""What a run at a place promises whatever happens: nothing acknowledged is lost, and memory stays as it was."""

import random
import sqlite3
import threading
import time
from contextlib import closing

import psutil
import pytest

from stagerun.states import RunState
from tests import rebuild
from tests.places.conftest import Distant, end_of, kill
from tests.processes import GATE, logged, rows, until


STORES = f"""{GATE}
class Store(LiveOperation):
    def run(self, p: Progress):
        for number in range(10_000):
            p.checkpoint(f"key {{number}}", lambda: number)
            with open("told", "a") as told:
                told.write(f"key {{number}}\\n")
"""
LOGS = f"""{GATE}
class Logs(LiveOperation):
    lines: int

    def run(self, p: Progress):
        p.log("begins")
        gate("go")
        for number in range(self.lines):
            p.log(f"line {{number}} {{'x' * 600}}")
"""


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_a_value_that_the_recipe_got_back_is_in_the_journal_whichever_end_is_killed(
    near: Distant, kills: int, seed: int
) -> None:
    near.project.recipe("orders", STORES)
    chance = random.Random(seed)
    command = ["run", "orders"]
    for count in range(kills):
        with near.start(*command) as process:
            worker = near.worker(count + 1)
            until((near.project.root / "told").exists)
            time.sleep(chance.random() / 2)
            if chance.random() < 0.5:
                kill(worker)
            else:
                process.kill()
            end_of(process)
        command = ["resume", "--force"]
        told = (near.project.root / "told").read_text().splitlines()
        stored = {key for _, key, _ in rebuild.checkpoint_rows(near.project.journal)}
        assert {line for line in told if line} - stored == set()
        assert near.newest().state is RunState.CRASHED
    told = (near.project.root / "told").read_text().splitlines()
    assert rebuild.checkpoints(near.project.journal) == rebuild.checkpoint_rows(near.project.journal)
    assert len({*told}) > 3


@pytest.mark.parametrize("lines", [40_000, pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_a_recipe_that_logs_faster_than_the_disk_here_takes_it_waits_and_no_memory_grows(
    near: Distant, lines: int
) -> None:
    near.project.recipe("orders", LOGS)
    with near.start("run", "orders", f"--lines={lines}", "--progress", "quiet") as process:
        worker, home = near.worker(), psutil.Process(process.pid)
        before = [each.memory_info().rss for each in (worker, home)]
        most = list(before)
        over = threading.Event()
        disk = threading.Thread(target=_slow_disk, args=(near, over))
        disk.start()
        (near.project.root / "go").touch()
        while process.poll() is None:
            for place, each in enumerate((worker, home)):
                try:
                    most[place] = max(most[place], each.memory_info().rss)
                except psutil.Error:
                    break
            time.sleep(0.05)
        over.set()
        disk.join()
        code = end_of(process).code

    assert code == 0
    assert [(most[place] - before[place]) // 2**20 < 20 for place in range(2)] == [True, True]
    sql = "SELECT json_extract(data, '$.text') FROM events WHERE kind = 'log' ORDER BY seq"
    logged = [line.split()[1] for (text,) in rows(near.project, sql) for line in str(text).split("\n") if " " in line]
    assert logged == [str(number) for number in range(lines)]


def _slow_disk(near: Distant, over: threading.Event) -> None:
    """Hold the journal for some seconds, then again and again, so that a commit takes as long as on a slow disk."""
    with closing(sqlite3.connect(near.project.journal, timeout=60, isolation_level=None)) as connection:
        seconds = 3.0
        while not over.is_set():
            connection.execute("BEGIN IMMEDIATE")
            over.wait(seconds)
            connection.execute("ROLLBACK")
            over.wait(0.01)
            seconds = 0.05


def test_many_lines_at_once_arrive_and_a_fact_that_is_too_large_is_an_error_of_the_recipe(near: Distant) -> None:
    near.project.recipe(
        "orders",
        """
class Large(LiveOperation):
    def run(self, p: Progress):
        p.log("\\n".join(map(str, range(100_000))))
        p.result(text="x" * 26_000_000)
""",
    )

    done = near.stagerun("run", "orders", "--progress", "quiet")

    assert done.code == 1
    error = near.newest().error
    assert error is not None
    assert error.message.startswith("this can't be recorded from another place: 26,000,")
    assert logged(near.project, 1) == [str(number) for number in range(100_000)]
