"""Runs an operation whose process dies at a chosen moment, then resumes it: `python -m tests.killing MODE PLACE`.

Every life is a fork of this process, which has one thread. A life writes what it was told into `effects`, so that
the test can compare that with the journal.
"""

import itertools
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import sqlite_utils  # noqa: F401 - so that no fork has to

from stagerun import LiveOperation, Progress
from stagerun.authoring import finding
from stagerun.errors import JournalError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.journal.sqlite import files
from stagerun.machine.clock import Clock
from stagerun.states import RESUMABLE, RunState
from stagerun.view import RunView
from tests import rebuild
from tests.journals import Opened, make, reading, records_of


ON_NETWORK = "-on-network"  # after a mode: as on a network file system, where there is no write-ahead log


class Effects:
    """A file of lines that outlives its writer: what a recipe did, and what it was told."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, line: str) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []


effects = Effects(Path(os.devnull))


def _make(key: str, value: object) -> object:
    effects.tell(f"made {key}")
    return value


class Stages(LiveOperation):
    """Three stages, a checkpoint in each."""

    stages = ["Load", "Process", "Save"]

    def run(self, p: Progress) -> None:
        for stage in self.stages:
            with p.stage(stage) as block:
                if block.done_before:
                    effects.tell(f"again {stage}")
                p.checkpoint(stage, _make, stage, [stage, 1, None])
                effects.tell(f"told {stage}")
            effects.tell(f"left {stage}")
        p.result(stages=3)


class Loop(LiveOperation):
    """A resumable loop, in which every third item is a checkpoint of its own."""

    stages = ["Items"]

    def run(self, p: Progress) -> None:
        with p.stage("Items") as block:
            if block.done_before:
                effects.tell("again Items")
            for item in p.track(range(9), key="loop"):
                p.log(f"item {item}")
                if item % 3 == 0:
                    p.checkpoint(f"item-{item}", _make, f"item-{item}", item)
                    effects.tell(f"told item-{item}")
        effects.tell("left Items")


class First(LiveOperation):
    """A chain of two."""

    stages = ["One"]

    def run(self, p: Progress) -> None:
        with p.stage("One") as block:
            if block.done_before:
                effects.tell("again One")
            p.checkpoint("one", _make, "one", 1)
            effects.tell("told one")
        effects.tell("left One")
        p.chain_to(Second(owner=self.owner))


class Second(LiveOperation):
    stages = ["Two"]

    def run(self, p: Progress) -> None:
        with p.stage("Two") as block:
            if block.done_before:
                effects.tell("again Two")
            p.checkpoint("two", _make, "two", 2)
            effects.tell("told two")
        effects.tell("left Two")


FIXTURES: dict[str, type[LiveOperation]] = {"stages": Stages, "loop": Loop, "chain": First}


class Mortal:
    """A connection that kills its process before or after the Nth call that reaches SQLite."""

    def __init__(self, connection: sqlite3.Connection, moment: int) -> None:
        self._connection = connection
        self._left = moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        return self._between(lambda: self._connection.execute(sql, values))

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> sqlite3.Cursor:
        return self._between(lambda: self._connection.executemany(sql, rows))

    def _between(self, act: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        self._point()
        cursor = act()
        self._point()
        return cursor

    def _point(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def live(operation: type[LiveOperation], path: Path, moment: int) -> None:
    """Run `operation`, or resume it where an earlier life left it; die at `moment`, or never for 0."""
    opened = Opened(path, through=lambda connection: cast("sqlite3.Connection", Mortal(connection, moment)))
    records = opened.records
    for crashed in records.unrecorded_crashes():
        opened.journal.record_crash(crashed)
    before = records.newest_resumable()
    if before is None and records.history(limit=1):
        return  # the life before died after its last word
    resumption = records.resumption(before) if before else None
    if before is not None:
        operation = next(each for each in (*FIXTURES.values(), Second) if each.__name__ == before.plan.operation)
    found = finding.Found(operation=operation, target=f"demo:{operation.__name__}", recipe="demo", source=None)
    # The ticker writes at moments of its own; here only the numbered ones count.
    opened.runner(clock=Clock(tick=3600)).run(found, operation(owner="demo"), resumption=resumption)


def in_a_fork(act: Callable[[], None]) -> int:
    """Return how a fork that does `act` ended: its exit code, or minus the signal's number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_a_process(path: Path, told: Path, *, before: Sequence[str] = (), mode: str = "life") -> int:
    """Live in a process of its own, started through the command `before`; return its exit code."""
    command = [*before, sys.executable, "-m", "tests.killing", mode, str(path), str(told)]
    return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, check=False).returncode


def violations(path: Path) -> list[str]:
    """Return what the journal says against itself or against what the recipe was told."""
    # The journal is read as a command reads it before anything else opens it, and mends it.
    records = records_of(path)
    runs = records.history(limit=1000)
    records.close()
    with closing(sqlite3.connect(path)) as connection:
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    found = [] if integrity == "ok" else [f"integrity: {integrity}"]
    found += [f"run {run.id} is shown {run.state}" for run in runs if run.state in (RunState.RUNNING, RunState.PENDING)]
    told = {line.split()[1] for line in effects.lines() if line.startswith("told ")}
    lost = told - {key for _, key, _ in rebuild.checkpoint_rows(path)}
    if lost:
        found.append(f"lost checkpoints: {lost}")
    left = {line.split()[1] for line in effects.lines() if line.startswith("left ")}
    finished = {stage.name for run in runs for stage in run.stages if stage.state == "done"}
    if left - finished:
        found.append(f"finished stages shown unfinished: {left - finished}")
    recorded = {run.id: run for run in runs if run.state is not RunState.CRASHED}
    rebuilt = rebuild.views(path)
    found += [f"run {run}: tables and events differ" for run, view in recorded.items() if rebuilt[run] != view]
    if rebuild.checkpoints(path) != rebuild.checkpoint_rows(path):
        found.append("checkpoints: table and events differ")
    return found


def after_resume(path: Path) -> list[str]:
    """Return what is wrong once a resume has gone through."""
    found = violations(path)
    lines = effects.lines()
    for key in {line.split()[1] for line in lines if line.startswith("told ")}:
        first = lines.index(f"told {key}")
        if f"made {key}" in lines[first:]:
            found.append(f"checkpoint {key} was made again after it had been acknowledged")
    for stage in {line.split()[1] for line in lines if line.startswith("left ")}:
        first = lines.index(f"left {stage}")
        if f"left {stage}" in lines[first + 1 :] and f"again {stage}" not in lines[first + 1 :]:
            found.append(f"stage {stage} was entered again without being told that it was done before")
    records = records_of(path)
    newest = records.history(limit=1)
    open_runs = [run.id for run in records.history(limit=1000) if _is_open(records, run)]
    records.close()
    if not newest or newest[0].state is not RunState.SUCCEEDED:
        found.append(f"the resume did not succeed: {newest}")
    if open_runs:
        found.append(f"runs left to resume: {open_runs}")
    return found


def _is_open(records: Records, run: RunView) -> bool:
    return run.state in RESUMABLE and records.successor(run) is None


def after_making(folder: Path) -> list[str]:
    """Return what is wrong after a process was killed while it made `folder/journal.db`."""
    path, found = folder / "journal.db", list[str]()
    try:
        if opening.has_runs(path):
            with reading(path) as records:
                found += [f"there is a run: {view}" for view in records.history(limit=1)]
    except JournalError as error:
        if error.message != f"journal {path} has no runs yet":
            found.append(f"it can't be read: {error}")
    try:
        make(path)
    except JournalError as error:
        return [*found, f"it can't be made: {error}"]
    with closing(sqlite3.connect(path)) as connection:
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    if integrity != "ok":
        found.append(f"integrity: {integrity}")
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}
    ignored = (folder / ".gitignore").read_text()
    modes.pop("journal.db-journal", None)  # stays, empty, where there is no write-ahead log
    if (modes.pop(".gitignore", None), modes, ignored) != (0o644, {"journal.db": 0o600}, "*\n"):
        found.append(f"the folder holds {modes}, and Git is told {ignored!r}")
    return found


def at_points(fixture: str, folder: Path, step: int, seed: int) -> tuple[int, list[str]]:
    """Return how many died and what was wrong.

    Kill at each `step`th point until a life ends by itself; after each death look, resume, and look again.
    """
    global effects
    found, deaths = list[str](), 0
    for points in itertools.count(1 + seed % step, step):
        place = folder / f"{fixture}-{points}"
        place.mkdir(parents=True)
        path, effects = place / "journal.db", Effects(place / "effects")
        code = in_a_fork(partial(live, FIXTURES[fixture], path, points))
        if code == 0:
            break
        if code != -signal.SIGKILL:
            found.append(f"point {points}: the life ended with {code}")
            break
        deaths += 1
        found += [f"point {points}: {text}" for text in violations(path)]
        if (code := in_a_fork(partial(live, FIXTURES[fixture], path, 0))) != 0:
            found.append(f"point {points}: the resume ended with {code}")
        found += [f"point {points}, resumed: {text}" for text in after_resume(path)]
    return deaths, found


def at_random(rounds: int, folder: Path, seed: int) -> dict[str, object]:
    """Kill `rounds` lives after a random time each, and resume until one ends by itself, over and over."""
    global effects
    chance, found, deaths, ends = random.Random(seed), list[str](), 0, 0
    whole = _length_of_a_life(folder)
    while deaths < rounds:
        fixture, place, attempt = chance.choice(list(FIXTURES)), folder / str(ends), 0
        place.mkdir(parents=True)
        path, effects = place / "journal.db", Effects(place / "effects")
        while True:
            attempt += 1
            seconds = chance.random() * whole * (1 + attempt / 4)
            code = in_a_fork(partial(_short_life, FIXTURES[fixture], path, seconds))
            if code != -signal.SIGKILL:
                break
            deaths += 1
            if path.exists():
                found += violations(path)
        if code != 0:
            return {"deaths": deaths, "ends": ends, "violations": [*found, f"a life ended with {code}"]}
        found += after_resume(path)
        ends += 1
    return {"deaths": deaths, "ends": ends, "violations": found}


def _length_of_a_life(folder: Path) -> float:
    """Return the seconds that a life takes on this machine today."""
    (folder / "measured").mkdir(parents=True)
    begun = time.monotonic()
    in_a_fork(partial(live, FIXTURES["stages"], folder / "measured" / "journal.db", 0))
    return time.monotonic() - begun


def _short_life(operation: type[LiveOperation], path: Path, seconds: float) -> None:
    def die() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()
    live(operation, path, 0)


def main(mode: str, place: str, *more: str) -> int:
    global effects  # noqa: PLW0603 - one process lives one life
    if mode.endswith(ON_NETWORK):
        mode = mode.removesuffix(ON_NETWORK)
        files.is_on_network = lambda path: True
    if mode == "prepare":
        os.umask(0o022)
        make(Path(place))
    elif mode == "life":
        effects = Effects(Path(more[0]))
        try:
            live(Stages, Path(place), 0)
        except JournalError:
            return 3
    elif mode == "random":
        print(json.dumps(at_random(int(more[0]), Path(place), int(more[1]))))
    else:
        told = {fixture: at_points(fixture, Path(place), int(more[0]), int(more[1])) for fixture in FIXTURES}
        deaths = {fixture: died for fixture, (died, _) in told.items()}
        wrong = [f"{fixture}: {text}" for fixture, (_, found) in told.items() for text in found]
        print(json.dumps({"deaths": deaths, "violations": wrong}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
