"""Random histories of runs, crashes and resumes beside a small model: the journal always says what the model says."""

import itertools
import shutil
import tempfile
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from stagerun import LiveOperation, Progress, events
from stagerun.authoring import finding
from stagerun.authoring.stages import Stage
from stagerun.engine.runner import Runner
from stagerun.errors import HeldError, JournalError, OperationCancelled
from stagerun.machine import identity
from stagerun.machine.interrupts import Interrupts
from stagerun.resumption import Resumption
from stagerun.states import RESUMABLE, RunState, StageState
from stagerun.view import RunView, StageView, fold
from tests import rebuild
from tests.conftest import START, HandClock
from tests.journals import Opened, make, records_of


STAGES = ("Load", "Work", "Save")
EXTRA = "Warm up"  # a block that is not declared


class Make(NamedTuple):
    """A checkpoint."""

    key: str
    value: int


class Loop(NamedTuple):
    """A resumable loop, left at item `until`."""

    key: str
    items: int
    until: int
    how: Literal["break", "raise", "crash"]


class Tell(NamedTuple):
    """A status, which is a pulse, or a result, which is a fact."""

    number: int
    what: Literal["status", "result"]


Step: TypeAlias = Make | Loop | Tell


class Block(NamedTuple):
    stage: str
    steps: tuple[Step, ...]
    fails: bool  # with an error that the recipe catches


End: TypeAlias = Literal["return", "raise", "error", "exit", "cancel", "crash"]


class Script(NamedTuple):
    """What a recipe does; its end comes inside the last block or after it."""

    blocks: tuple[Block, ...]
    end: End
    inside: bool


class Planned(Exception):
    """An error that the recipe catches."""


class Died(BaseException):
    """The process is gone: its journal is closed, and nothing that it does is recorded any more."""


@dataclass
class Kept:
    """What is stored under a key."""

    value: int
    stage: str | None
    finished: bool


@dataclass
class Model:
    """What is known of one run, moved by hand in step with the recipe."""

    view: RunView
    kept: dict[str, Kept]
    alive: bool = True
    said: events.StatusChanged | None = None  # the newest status, which the next fact takes along
    seen: float = 0.0  # when the newest fact was recorded
    claimed: set[str] = field(default_factory=set)
    successor: int | None = None
    last: str | None = None  # the declared stage that was entered last

    def fact(self, now: float, **changes: object) -> None:
        if self.alive:
            self.seen = now
            self.view = replace(self.view, status=self.said, **changes)

    def enter(self, name: str, now: float) -> None:
        self.said = None
        if name == EXTRA:
            self.fact(now)
        else:
            self.last = name
            position = STAGES.index(name)
            visits = self.view.stages[position].visits + 1
            stages = self._with(name, state=StageState.ACTIVE, entered_on=now, visits=visits)
            self.fact(now, stages=stages, current_stage=position)

    def leave(self, name: str, state: StageState, now: float) -> None:
        if name == EXTRA:
            self.fact(now)
        else:
            old = self.view.stages[STAGES.index(name)]
            seconds = old.seconds + now - (old.entered_on or 0.0)
            self.fact(now, stages=self._with(name, state=state, seconds=seconds))

    def keep(self, key: str, value: int, now: float, *, finished: bool = True) -> None:
        if self.alive:
            self.kept[key] = Kept(value, self.last, finished)
        self.fact(now)

    def finish(self, now: float, state: RunState, code: int, **changes: Any) -> None:
        started = self.view.started_on
        seconds = 0.0 if started is None else now - started
        end = events.RunFinished(state=state, seconds=seconds, exit_code=code, **changes)
        self.fact(now, state=state, finished_on=now, end=end)

    def die(self) -> None:
        """What a reader makes of it: it died when it was last heard of, in the stage that it was in."""
        active, seen, stages = self.view.active, self.seen, self.view.stages
        if active is not None:
            seconds = active.seconds + seen - (active.entered_on or 0.0)
            stages = self._with(active.name, state=StageState.FAILED, seconds=seconds)
        failure = events.Failure(
            type="", message="the process ended without a word", stage=active.name if active else None
        )
        self.view = replace(
            self.view,
            stages=stages,
            state=RunState.CRASHED,
            finished_on=seen,
            end=events.RunFinished(
                state=RunState.CRASHED, seconds=seen - (self.view.started_on or seen), exit_code=1, error=failure
            ),
        )
        self.alive = False

    def _with(self, name: str, **changes: object) -> tuple[StageView, ...]:
        return tuple(replace(stage, **changes) if stage.name == name else stage for stage in self.view.stages)


class Histories(RuleBasedStateMachine):
    template: ClassVar[Path]  # an empty journal; making one takes long
    happened: ClassVar[Counter[str]]  # a test that nothing happened in would pass, too

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "journal.db"
        shutil.copy(self.template, self.path)
        self.clock = HandClock()
        self.runs: dict[int, Model] = {}
        self.patch = pytest.MonkeyPatch()
        # The operating system's list of processes: each run has one of its own.
        self.living: dict[int, float] = {}
        self.pids = itertools.count(1000)
        self.patch.setattr(identity, "start_time", self.living.get)
        self.patch.setattr(identity, "current_process", self.new_process)
        self.reader = records_of(self.path, now=lambda: self.now)

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.reader.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    @property
    def now(self) -> float:
        return START + self.clock.now

    def new_process(self) -> identity.Process:
        pid = next(self.pids)
        self.living[pid] = 7.0 + pid
        host, boot_id, pid_namespace = identity._machine()
        return identity.Process(
            host=host, boot_id=boot_id, pid_namespace=pid_namespace, pid=pid, started=self.living[pid]
        )

    # What can happen.

    steps = st.one_of(
        st.builds(Make, st.sampled_from(["a", "b"]), st.integers(0, 9)),
        st.builds(
            Loop,
            st.sampled_from(["rows", "files"]),
            st.integers(0, 5),
            st.integers(0, 6),
            st.sampled_from(["break", "break", "raise", "raise", "crash"]),
        ),
        st.builds(Tell, st.integers(0, 9), st.sampled_from(["status", "result"])),
    )
    blocks = st.builds(
        Block, st.sampled_from([*STAGES, *STAGES, EXTRA]), st.lists(steps, max_size=4).map(tuple), st.booleans()
    )
    ends = st.sampled_from(["return", "raise", "error", "exit", "cancel", "crash", "crash"])
    scripts = st.builds(Script, st.lists(blocks, min_size=1, max_size=4).map(tuple), ends, st.booleans())

    @rule(script=scripts)
    def run(self, script: Script) -> None:
        self.live(script, None)

    @rule(end=st.sampled_from(["SIGINT", "SIGTERM", None]))
    def end_before_the_start(self, end: str | None) -> None:
        self.live(Script((), "return", inside=False), None, cancelled_by=end, stillborn=end is None)

    @precondition(lambda self: self.resumable())
    @rule(data=st.data(), script=scripts, again=st.none() | st.sampled_from(STAGES))
    def resume(self, data: st.DataObject, script: Script, again: str | None) -> None:
        chosen = data.draw(st.sampled_from(self.resumable()))
        self.live(script, self.resumption(chosen, again))

    @precondition(lambda self: self.resumable())
    @rule(script=scripts)
    def go_on(self, script: Script) -> None:
        self.live(script, self.resumption(self.resumable()[-1], None))

    @precondition(lambda self: self.resumable())
    @rule(script=scripts, again=st.sampled_from(STAGES))
    def go_on_from_a_stage(self, script: Script, again: str) -> None:
        self.live(script, self.resumption(self.resumable()[-1], again))

    @precondition(lambda self: any(model.successor for model in self.runs.values()))
    @rule(data=st.data())
    def resume_a_second_time(self, data: st.DataObject) -> None:
        taken = data.draw(st.sampled_from([run for run, model in self.runs.items() if model.successor]))
        with closing(self.open()) as opened, pytest.raises(HeldError):
            self.runner(opened).run(self.found(Plain), Plain(owner="demo"), resumption=self.resumption(taken, None))

    # How a run of the recipe and the model go side by side.

    def resumable(self) -> list[int]:
        return [run for run, model in self.runs.items() if model.view.state in RESUMABLE and not model.successor]

    def resumption(self, run: int, again: str | None) -> Resumption:
        found = self.reader.resumption(self.reader.find(str(run)), again)
        model = self.runs[run]
        redone = STAGES[STAGES.index(again) :] if again else ()
        finished = {each.name for each in model.view.stages if each.state is StageState.DONE}
        done = finished.union(model.view.plan.done_before)
        assert found.done_before == tuple(name for name in STAGES if name in done and name not in redone)
        assert set(found.inherited) == {key for key, kept in model.kept.items() if kept.stage not in redone}
        assert {each.key for each in found.dropped} == {key for key, kept in model.kept.items() if kept.stage in redone}
        return found

    def open(self) -> Opened:
        return Opened(self.path, durable=False, now=lambda: self.now)

    def runner(self, opened: Opened, interrupts: Interrupts | None = None) -> Runner:
        return opened.runner(interrupts=interrupts, clock=self.clock.as_clock())

    def found(self, operation: type[LiveOperation]) -> finding.Found:
        return finding.Found(operation=operation, target="demo:Scripted", recipe="demo", source=None)

    def live(
        self, script: Script, resumption: Resumption | None, *, cancelled_by: str | None = None, stillborn: bool = False
    ) -> None:
        self.clock.move(1)
        self.opened = self.open()
        self.interrupts = Interrupts()
        if cancelled_by:
            self.interrupts.request(cancelled_by)
        self.record_crashes()

        broken = []

        def act(p: Progress) -> None:
            try:
                self.play(p, script)
            except (ValueError, SystemExit, OperationCancelled, Died, JournalError):
                raise
            except BaseException as error:
                broken.append(error)  # the runner would take it for the recipe's own
                raise

        class Scripted(LiveOperation):
            stages = list(STAGES)

            def run(self, p: Progress) -> None:
                act(p)

        def created(run: int) -> None:
            self.create(run, resumption)
            self.check()
            if stillborn:
                self.die()

        runner = self.runner(self.opened, self.interrupts)
        with closing(self.opened), suppress(JournalError):
            view = runner.run(self.found(Scripted), Scripted(owner="demo"), resumption=resumption, created=created)
            for error in broken:
                raise error
            if cancelled_by:
                code = {"SIGINT": 130, "SIGTERM": 143}[cancelled_by]
                self.model.finish(self.now, RunState.CANCELLED, code, signal=cancelled_by)
            else:
                self.end(script)
            assert view.id == self.model.view.id
        assert self.model.alive is (self.model.view.state is not RunState.CRASHED)
        self.living.pop(self.model.view.process.pid, None)
        self.happened[self.model.view.state] += 1

    def record_crashes(self) -> None:
        for crashed in self.opened.records.unrecorded_crashes():
            self.opened.journal.record_crash(crashed)

    def create(self, run: int, resumption: Resumption | None) -> None:
        before = self.runs[resumption.view.id] if resumption else None
        if before is not None:
            before.successor = run
        pid = max(self.living)
        host, boot_id, pid_namespace = identity._machine()
        view = RunView(
            id=run,
            created_on=self.now,
            plan=events.RunCreated(
                target="demo:Scripted",
                recipe="demo",
                operation="Scripted",
                stages=STAGES,
                owner="demo",
                host=host,
                boot_id=boot_id,
                pid_namespace=pid_namespace,
                pid=pid,
                process_started=self.living[pid],
                resumed_from=before.view.id if before else None,
                root=before.view.root if before else None,
                attempt=before.view.plan.attempt + 1 if before else 1,
                done_before=resumption.done_before if resumption else (),
            ),
            stages=tuple(StageView(name=name) for name in STAGES),
        )
        kept = {key: before.kept[key] for key in resumption.inherited} if before and resumption else {}
        assert run == len(self.runs) + 1
        self.model = self.runs[run] = Model(view, kept, seen=self.now)
        self.happened["resumed"] += before is not None

    def die(self) -> None:
        self.opened.close()
        self.living.pop(self.model.view.process.pid)
        self.model.die()

    def play(self, p: Progress, script: Script) -> None:
        self.model.fact(self.now, state=RunState.RUNNING, started_on=self.now)
        for number, block in enumerate(script.blocks):
            last = script.inside and number == len(script.blocks) - 1
            with suppress(Planned):
                self.play_block(p, block, script.end if last else None)
        if not (script.inside and script.blocks):
            self.play_end(p, script.end)

    def play_block(self, p: Progress, block: Block, end: End | None) -> None:
        left = StageState.FAILED
        try:
            with p.stage(block.stage) as stage:
                self.entered(stage, block)
                for step in block.steps:
                    self.clock.move(1)
                    self.play_step(p, step)
                    self.check()
                if end is not None:
                    left = StageState.CANCELLED if end == "cancel" else StageState.FAILED
                    self.play_end(p, end)
                if block.fails:
                    left = StageState.FAILED
                    raise Planned
                left = StageState.DONE
        finally:
            self.model.leave(block.stage, left, self.now)
            self.check()

    def entered(self, stage: Stage, block: Block) -> None:
        self.model.enter(block.stage, self.now)
        assert stage.done_before is (block.stage in self.model.view.plan.done_before)
        self.check()

    def play_step(self, p: Progress, step: Step) -> None:
        match step:
            case Tell(number, "status"):
                p.status(number)
                self.model.said = events.StatusChanged(str(number))
            case Tell(number, _):
                p.result(number=number)
                self.model.fact(self.now, result_context={"number": number})
            case Make(key, value):
                self.play_checkpoint(p, key, value)
            case Loop():
                self.play_loop(p, step)

    def play_checkpoint(self, p: Progress, key: str, value: int) -> None:
        if key in self.model.claimed:
            return  # a key is used once
        made = list[int]()

        def make() -> int:
            made.append(value)
            return value

        returned = p.checkpoint(key, make)
        self.model.claimed.add(key)
        stored = self.model.kept.get(key)
        assert returned == (stored.value if stored else value)
        assert made == ([] if stored else [value])
        self.happened["recalled"] += stored is not None
        if not stored:
            self.model.keep(key, value, self.now)

    def play_loop(self, p: Progress, step: Loop) -> None:
        if step.key in self.model.claimed:
            return  # a key is used once
        self.model.claimed.add(step.key)
        kept = self.model.kept.get(step.key)
        before = kept.value if kept else 0
        if before > step.items:
            return  # a loop does not go on with fewer items
        seen = []
        loop = p.track(range(step.items), key=step.key)
        error = Planned if step.how == "raise" else None
        with suppress(Planned):
            for item in loop:
                seen.append(item)
                if item == step.until:
                    if step.how == "crash":
                        self.die()
                        break
                    if error:
                        raise error
                    break
        with suppress(JournalError):
            loop.close()  # type: ignore[attr-defined]
        finished = min(step.items, step.until) if before <= step.until else step.items
        assert seen == list(range(before, step.items if step.until < before else min(step.items, step.until + 1)))
        if not self.model.alive:
            raise Died
        ended = seen == list(range(before, step.items)) and not (seen and step.until == seen[-1])
        if (max(before, finished), ended) != (before, bool(kept and kept.finished)):
            self.model.keep(step.key, finished, self.now, finished=ended)

    def play_end(self, p: Progress, end: End) -> None:
        self.clock.move(1)
        match end:
            case "return":
                pass
            case "raise":
                raise ValueError("boom")
            case "error":
                p.error("bad")
            case "exit":
                raise SystemExit(7)
            case "cancel":
                self.interrupts.request("SIGINT")
                p.check_cancelled()
            case "crash":
                self.die()
                raise Died

    def end(self, script: Script) -> None:
        """Let the model end as the script did."""
        stage = script.blocks[-1].stage if script.inside and script.blocks else None
        match script.end:
            case "return":
                self.model.finish(self.now, RunState.SUCCEEDED, 0)
            case "raise":
                error = events.Failure(type="ValueError", message="boom", stage=stage)
                self.model.finish(self.now, RunState.FAILED, 1, error=error)
            case "error":
                self.model.finish(self.now, RunState.FAILED, 1, error=events.Failure(type="", message="bad"))
            case "exit":
                error = events.Failure(type="SystemExit", message="7", stage=stage)
                self.model.finish(self.now, RunState.FAILED, 7, error=error)
            case "cancel":
                self.model.finish(self.now, RunState.CANCELLED, 130, signal="SIGINT")
            case "crash":
                raise AssertionError("a crashed run reported its end")

    # What has to hold after each step.

    def check(self) -> None:
        """What a reader sees is what the model knows, also while the run goes on."""
        views = {view.id: view for view in self.reader.history(limit=1000)}
        assert {run: _plain(view) for run, view in views.items()} == {
            run: model.view for run, model in self.runs.items()
        }

    @invariant()
    def tables_follow_the_events(self) -> None:
        self.check()
        rebuilt = rebuild.views(self.path)
        for run, view in {view.id: view for view in self.reader.history(limit=1000)}.items():
            told = replace(rebuilt[run], untracked=())
            if view.state is RunState.CRASHED and told.state is not RunState.CRASHED:
                assert view.end is not None
                told = fold(told, events.Entry(run, 0, view.finished_on or 0.0, view.end))
            assert told == view
        rows = rebuild.checkpoint_rows(self.path)
        assert rebuild.checkpoints(self.path) == rows
        assert set(rows) == {(run, key, 0) for run, model in self.runs.items() for key in model.kept}
        newest = self.reader.newest_resumable()
        assert (newest.id if newest else None) == next(reversed(self.resumable()), None)


class Plain(LiveOperation):
    stages = list(STAGES)


def _plain(view: RunView) -> RunView:
    """The view without what the model does not work out: traces, progress, usual durations."""
    error = view.error and replace(view.error, traceback=None, file=None, line=None)
    end = view.end and replace(view.end, error=error)
    return replace(view, end=end, progress=None, plan=replace(view.plan, expected={}, work=""))


@pytest.mark.parametrize("histories", [10, pytest.param(500, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_the_journal_says_what_a_model_says_through_any_history_of_runs_crashes_and_resumes(
    tmp_path: Path, histories: int, seed: int
) -> None:
    Histories.template = tmp_path / "template.db"
    make(Histories.template)
    Histories.happened = Counter()

    run_state_machine_as_test(
        hypothesis.seed(seed)(Histories),
        settings=settings(
            max_examples=histories,
            stateful_step_count=12,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )

    expected = ("succeeded", "failed", "cancelled", "crashed", "resumed", "recalled")
    assert [each for each in expected if not Histories.happened[each]] == []
