"""The runner on an outlet and a memory that are no journal: what another machine has."""

import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import pytest
from msgspec.structs import replace

from stagerun import LiveOperation, Progress, events
from stagerun.authoring.finding import Found
from stagerun.engine.runner import Runner
from stagerun.errors import HeldError, JournalBusy, JournalError
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.states import RunState
from stagerun.text.masking import Masker
from stagerun.view import RunView, begin, fold
from tests.conftest import HandClock


class List:
    """An outlet that keeps what it is given."""

    def __init__(self) -> None:
        self.view: RunView | None = None
        self.failure: JournalError | None = None
        self.lock = threading.RLock()
        self.told: list[tuple[int, events.Event]] = []
        self.asides: list[events.Log] = []
        self.held = False

    def emit(self, event: events.Event, run: int | None = None) -> None:
        assert self.view is not None
        assert run in (None, self.view.id)
        self.told.append((self.view.id, event))
        self.view = fold(self.view, events.Entry(self.view.id, len(self.told), 0.0, event))

    def aside(self, log: events.Log) -> None:
        self.asides.append(log)

    def create(self, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        if self.held:
            raise HeldError("another run goes on")
        run = 1 if self.view is None else self.view.id + 1
        self.told.append((run, plan))
        self.view = begin(events.Entry(run, len(self.told), 0.0, plan))
        return self.view

    def hand_over(self, ending: events.RunFinished, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        if self.held:
            raise HeldError("another run goes on")
        assert self.view is not None
        self.emit(replace(ending, chained_to=self.view.id + 1))
        ended = self.view
        self.create(plan, exclusive=exclusive)
        return ended

    def record_crashes(self, crashed: Iterable[RunView]) -> None:
        assert list(crashed) == []

    def tick(self) -> None: ...

    def cancel_requested(self) -> bool:
        return False

    def settle(self) -> None: ...

    def terminal_lent(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None: ...


class Nothing:
    """A memory of no run."""

    def expected(self, target: str) -> dict[str, float]:
        return {}

    def recall(self, run: int, key: str) -> list[events.Recalled]:
        return []

    def unrecorded_crashes(self) -> list[RunView]:
        return []

    def ahead(self, view: RunView) -> list[RunView]:
        return []


class First(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("a line")
        p.chain_to(Second(owner=self.owner))


class Second(LiveOperation):
    stages = ["Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Save"):
            p.result(rows=p.checkpoint("rows", lambda: 3))


FOUND = Found(operation=First, target="demo:First", recipe="demo", source=None)


@pytest.fixture
def outlet() -> List:
    return List()


def runner_on(outlet: List) -> Runner:
    return Runner(
        outlet=outlet, memory=Nothing(), interrupts=Interrupts(), masker=Masker(), clock=HandClock().as_clock()
    )


def test_a_run_that_one_runner_has_created_is_performed_by_another(outlet: List) -> None:
    created = runner_on(outlet).create(FOUND, First(owner="alice"))
    before = len(outlet.told)

    last = runner_on(outlet).perform(FOUND, First(owner="alice"))

    assert (created.id, created.state, before) == (1, RunState.PENDING, 1)
    assert (last.id, last.state, last.result_context) == (2, RunState.SUCCEEDED, {"rows": 3})


def test_a_chain_needs_an_outlet_and_no_journal(outlet: List) -> None:
    runner_on(outlet).run(FOUND, First(owner="alice"))

    assert [(run, event.kind) for run, event in outlet.told] == [
        (1, "run_created"),
        (1, "run_started"),
        (1, "stage_entered"),
        (1, "log"),
        (1, "stage_left"),
        (1, "run_finished"),
        (2, "run_created"),
        (2, "run_started"),
        (2, "stage_entered"),
        (2, "checkpoint_stored"),
        (2, "result_set"),
        (2, "stage_left"),
        (2, "run_finished"),
    ]


def test_a_link_that_is_refused_fails_the_run_that_would_hand_over_to_it(outlet: List) -> None:
    runner = runner_on(outlet)
    runner.create(FOUND, First(owner="alice"))
    outlet.held = True

    last = runner.perform(FOUND, First(owner="alice"))

    assert (last.id, last.state, last.exit_code) == (1, RunState.FAILED, 3)
    assert last.error is not None
    assert last.error.message == "another run goes on"


def test_a_time_limit_that_runs_out_between_two_links_ends_the_second_as_timed_out(outlet: List) -> None:
    interrupts = Interrupts()

    class Slow(List):
        def hand_over(self, ending: events.RunFinished, plan: events.RunCreated, *, exclusive: bool) -> RunView:
            ended = super().hand_over(ending, plan, exclusive=exclusive)
            interrupts.expired, interrupts.stopping = "the run took longer than 1s", True
            return ended

    slow = Slow()
    runner = Runner(outlet=slow, memory=Nothing(), interrupts=interrupts, masker=Masker(), clock=HandClock().as_clock())

    last = runner.run(FOUND, First(owner="alice"))

    assert (last.id, last.state, last.exit_code) == (2, RunState.TIMED_OUT, 124)


def test_a_look_at_the_journal_that_fails_ends_neither_the_run_nor_the_looking(outlet: List) -> None:
    class Busy(List):
        looks = 0

        def cancel_requested(self) -> bool:
            self.looks += 1
            if self.looks == 1:
                raise JournalBusy("another process holds it")
            return False

    busy = Busy()

    class Waits(LiveOperation):
        def run(self, p: Progress) -> None:
            while busy.looks < 3:
                time.sleep(0.01)

    found = Found(operation=Waits, target="demo:Waits", recipe="demo", source=None)
    runner = Runner(outlet=busy, memory=Nothing(), interrupts=Interrupts(), masker=Masker(), clock=Clock(tick=0.01))

    assert runner.run(found, Waits(owner="alice")).state is RunState.SUCCEEDED
