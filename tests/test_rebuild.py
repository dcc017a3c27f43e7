"""The events are the truth: the tables of runs and stages can be rebuilt from them alone."""

import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from stagerun import LiveOperation, Progress, events
from stagerun.journal.reading import Records
from stagerun.sinks import Sink
from stagerun.states import RunState, StageState
from stagerun.view import RunView, StageView, begin, fold
from tests.conftest import START, Bench, Project
from tests.processes import until


class Succeeds(LiveOperation):
    """With all that a run can say."""

    stages = ["Load", "Process", "Save"]
    source: str = "orders.csv"
    limit: int | None = None

    def run(self, p: Progress) -> None:
        p.status("warming up")
        with p.stage("Load"):
            p.log("read 10,000 rows\nfrom \udcff")
            p.percent(33.3)
        with p.stage("Process"):
            for _ in p.track(range(7), label="rows", unit="row"):
                p._session.loops.sample()
        with p.stage("Save"):
            p.status("nearly there", level="warning")
            p.result({"count": 10_000, "ratio": 0.1 + 0.2, "names": ["a", {"b": None}]})


class Fails(LiveOperation):
    stages = ["Load", "Process", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("loaded")
        with p.stage("Process"):
            p.percent(50)
            raise ValueError("boom \udcff")


class SaysThatItFailed(LiveOperation):
    def run(self, p: Progress) -> None:
        p.result(count=0)
        p.error("there are no rows")


class ReentersAStage(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        try:
            with p.stage("Load"):
                Path("missing").read_text()
        except OSError:
            p.log("once more")
        for _ in range(3):
            with p.stage("Load"):
                p.percent(10)
        with p.stage("Save"):
            pass
        with p.stage("Load"):
            p.log("again, after a later stage")


class EntersStagesThatAreNotDeclared(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress) -> None:
        with p.stage("Warm up"):
            p.percent(5)
            with p.stage("Load"), p.stage("Inside"):
                p.log("deep")
        with p.stage("Laod"):
            p.log("a near miss")


class HasNoStages(LiveOperation):
    def run(self, p: Progress) -> None: ...


class Chains(LiveOperation):
    stages = ["Load"]
    links: int = 3

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.result(left=self.links)
        p.chain_to(Chains(links=self.links - 1) if self.links > 1 else Fails())


def _rebuilt(records: Records, run: int) -> RunView:
    first, *others = records.entries(run)
    view = begin(first)
    for entry in others:
        view = fold(view, entry)
    return view


def _assert_all_rebuilt(records: Records, path: Path, runs: int) -> None:
    """Compare what the events of each run fold to with what its rows say, read as a view and column by column."""
    rebuilt = [_rebuilt(records, run) for run in range(1, runs + 1)]

    assert list(reversed(records.history(limit=runs + 1))) == rebuilt
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT current_stage, stages, stage_states, percent, root, state FROM runs ORDER BY id")
    assert [
        (current, json.loads(stages), json.loads(states), percent, root, state)
        for current, stages, states, percent, root, state in rows
    ] == [
        (
            view.current_stage,
            [stage.name for stage in view.stages],
            view.stage_states,
            view.percent,
            view.root,
            view.state,
        )
        for view in rebuilt
    ]
    assert connection.execute("SELECT count(*) FROM stages").fetchone() == (sum(len(view.stages) for view in rebuilt),)
    connection.close()


@pytest.mark.parametrize(
    ("kind", "runs", "state"),
    [
        (Succeeds, 1, RunState.SUCCEEDED),
        (Fails, 1, RunState.FAILED),
        (SaysThatItFailed, 1, RunState.FAILED),
        (ReentersAStage, 1, RunState.SUCCEEDED),
        (EntersStagesThatAreNotDeclared, 1, RunState.SUCCEEDED),
        (HasNoStages, 1, RunState.SUCCEEDED),
        (Chains, 4, RunState.FAILED),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_runs_and_stages_can_be_rebuilt_from_the_events(
    bench: Bench, kind: Callable[..., LiveOperation], runs: int, state: RunState
) -> None:
    last = bench.run(kind(owner="alice"))

    assert (last.id, last.state) == (runs, state)
    _assert_all_rebuilt(bench.records(), bench.journal, runs)


def test_a_stage_that_was_entered_again_counts_its_visits_and_adds_up_its_time(bench: Bench) -> None:
    class Loops(LiveOperation):
        stages = ["Load", "Save"]

        def run(self, p: Progress) -> None:
            for _ in range(3):
                with p.stage("Load"):
                    bench.clock.move(2)

    bench.run(Loops())

    loaded = StageView(name="Load", state=StageState.DONE, seconds=6.0, entered_on=START + 4, visits=3)
    assert bench.records().find("1").stages == (loaded, StageView(name="Save"))
    _assert_all_rebuilt(bench.records(), bench.journal, 1)


def test_a_run_whose_texts_utf8_can_not_hold_can_be_rebuilt_from_the_events(bench: Bench) -> None:
    class Odd(LiveOperation):
        stages = ["Load"]
        file: str

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                p.status("reading \udcfd")
            p.result(file=self.file)

    bench.run(Odd(owner="al\udcffice", file="\udcfc.csv"))

    _assert_all_rebuilt(bench.records(), bench.journal, 1)


@pytest.mark.parametrize("stage", ["Load", "Warm up"])
def test_a_cancelled_run_can_be_rebuilt_from_the_events(bench: Bench, stage: str) -> None:
    class Cancelled(LiveOperation):
        stages = ["Load", "Save"]

        def run(self, p: Progress) -> None:
            with p.stage(stage):
                bench.clock.move(1.5)
                bench.interrupts.request("SIGTERM")
                p.check_cancelled()

    last = bench.run(Cancelled())

    assert (last.state, last.signal) == (RunState.CANCELLED, "SIGTERM")
    _assert_all_rebuilt(bench.records(), bench.journal, 1)


def test_a_run_can_be_rebuilt_at_every_fact_of_its_life(bench: Bench) -> None:
    class EachFact(Sink):
        def update(self, entry: events.Entry, view: RunView) -> None:
            if isinstance(entry.event, events.Fact):
                records = bench.records()
                rebuilt = _rebuilt(records, view.id)
                pairs.append((rebuilt, view))
                stored.append((records.find(str(view.id)), replace(rebuilt, untracked=())))
                records.close()

        def refresh(self, now: float) -> None: ...

        def close(self) -> None: ...

    pairs = list[tuple[RunView, RunView]]()
    stored = list[tuple[RunView, RunView]]()

    for kind in (Succeeds, ReentersAStage, EntersStagesThatAreNotDeclared):
        bench.run(kind(), EachFact())

    assert len(pairs) == 10 + 15 + 11
    assert [rebuilt for rebuilt, _ in pairs] == [view for _, view in pairs]
    assert [found for found, _ in stored] == [rebuilt for _, rebuilt in stored]


def test_runs_of_the_real_command_on_a_real_clock_can_be_rebuilt_from_the_events(project: Project) -> None:
    project.recipe(
        "recipe",
        """
import time
from pathlib import Path

class First(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            for n in p.track(range(30), unit="row"):
                time.sleep(0.01)
                print("row", n)
        with p.stage("Save"):
            p.result(ratio=1 / 3)
        p.chain_to(Second(owner=self.owner))

class Second(LiveOperation):
    stages = ["Wait"]

    def run(self, p: Progress) -> None:
        with p.stage("Wait"):
            Path("here").touch()
            time.sleep(60)
""",
    )
    with project.start("run", "recipe:First") as process:
        until((project.root / "here").exists)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert process.returncode == -signal.SIGINT
    _assert_all_rebuilt(project.records(), project.journal, 2)
    assert [view.state for view in project.records().history(limit=5)] == [RunState.CANCELLED, RunState.SUCCEEDED]


def test_the_numbers_of_the_events_only_rise_along_a_run_and_its_chain(bench: Bench) -> None:
    bench.run(Chains())

    numbers: list[Any] = [entry.seq for run in range(1, 5) for entry in bench.records().entries(run)]
    handed_over = [entry.seq for entry in bench.seen.entries]
    assert sorted(numbers) == numbers
    assert handed_over == list(range(1, len(handed_over) + 1))
    assert set(numbers) <= set(handed_over)
