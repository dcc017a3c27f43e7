"""The bench of a test: it runs operations in this process, on a real journal, and lets go wrong what a test orders."""

import contextlib
import signal as signals
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

from msgspec.structs import replace

from stagerun.authoring import finding
from stagerun.authoring.operation import LiveOperation
from stagerun.authoring.session import Session
from stagerun.engine.runner import Runner
from stagerun.errors import UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.journal.writing import Journal
from stagerun.machine import settings
from stagerun.render.output import Output
from stagerun.render.plain import Plain
from stagerun.resumption import Resumption
from stagerun.states import RunState
from stagerun.testing import crashes, golden
from stagerun.testing.clock import START, HandClock
from stagerun.testing.faults import Fault, Faults, FaultyEmitter, NotReached, PlannedFailure
from stagerun.testing.programs import Programs, StubbedChildren
from stagerun.testing.runs import Run
from stagerun.text import suggestions
from stagerun.text.masking import Masker
from stagerun.view import RunView


_HOW_TO_UPDATE: Final = "pytest --stagerun-update-golden"


class Bench:
    """Runs operations as `stagerun run` does, in this process, with a clock that the test moves.

    With a `with` block, its folder and all in it are removed at the end unless it was given.

    Args:
        folder: where the runs work: their current folder, which holds their journal.

    Attributes:
        folder: where the runs work.
        clock: the clock of the runs.
        programs: what `p.sh` runs.
        runs: the runs so far, each as `run`, `resume` or `rerun` returned it.
        golden: the folder of the golden files.
        update_golden: True to write golden files instead of comparing with them.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="stagerun-") if folder is None else None
        self.folder = Path(self._own.name if self._own else folder or "").resolve()
        self._home = self.folder / ".stagerun"
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clock = HandClock()
        self.programs = Programs(self._home / "test-programs.jsonl")
        self.runs: list[Run] = []
        self.golden = Path("golden").absolute()
        self.update_golden = False
        self._output = self._home / "test-output.txt"
        self._ordered: list[Fault] = []
        self._operations: dict[int, LiveOperation] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own is not None:
            self._own.cleanup()

    @property
    def journal(self) -> Path:
        return self._home / "journal.db"

    # --- running

    def run(self, operation: LiveOperation, *, timeout: float | None = None) -> Run:
        """Run `operation`, and what it chains to; return the last run of the chain.

        A failure of the recipe is in the run; what the command would refuse is raised (HeldError, RecipeError,
        UsageError).

        Args:
            operation: what to run.
            timeout: the seconds of the clock that the whole chain may take.

        """
        if type(operation).__module__ == "builtins":
            name = getattr(operation, "__name__", "Operation")
            raise UsageError(f"run needs an operation, not {operation!r}", f"make one: run({name}(...))")
        return self._run(_found(type(operation)), operation, timeout)

    def resume(
        self,
        operation: LiveOperation | None = None,
        *,
        from_stage: str | None = None,
        changes: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Run:
        """Go on from the newest run, as `stagerun resume` does: with its parameters, as the journal holds them.

        Args:
            operation: what to run instead, such as the corrected recipe.
            from_stage: run this stage and the later ones again.
            changes: parameters that get another value, as with `--set`; also the secrets of a later link of a chain.
            timeout: as for `run`.

        """
        with self._records() as records:
            view = records.place_to_resume(records.find("last"), along_chain=from_stage is None)
            if view.state is RunState.SUCCEEDED and from_stage is None:
                raise UsageError(f"nothing to resume: run {view.id} succeeded", "to run part of it again: from_stage=")
            resumption = records.resumption(view, from_stage)
        if operation is not None:
            return self._run(_found(type(operation)), operation, timeout, resumption)
        return self._run(*self._made_again(view, changes or {}), timeout, resumption)

    def rerun(self, *, changes: Mapping[str, Any] | None = None, timeout: float | None = None) -> Run:
        """Run the newest run's operation anew, with its parameters and those of `changes`; nothing is taken over."""
        with self._records() as records:
            view = records.find("last")
        return self._run(*self._made_again(view, changes or {}), timeout)

    # --- what goes wrong, each once, in the next run

    def fail_at(
        self,
        stage: str | None = None,
        *,
        item: int | None = None,
        key: str | None = None,
        before: bool = False,
        line: str | None = None,
        error: BaseException | type[BaseException] | None = None,
    ) -> None:
        """Let the next run fail at a place, as if the recipe had raised there.

        Args:
            stage: in this stage; on its own, as soon as it is entered.
            item: when a loop or map has finished so many items.
            key: at the call or in the loop with this key; on its own, as soon as something is stored under it.
            before: True for the moment before that is stored: the work is done, and nobody knows.
            line: when a log line contains this text, such as one that a program writes.
            error: what is raised; by default a PlannedFailure.

        """
        fault = Fault("fail", stage=stage, item=item, key=key, before=before, line=line)
        raised = error() if isinstance(error, type) else error
        fault.error = PlannedFailure(f"ordered by {fault}") if raised is None else raised
        self._order(fault)

    def cancel_at(
        self,
        stage: str | None = None,
        *,
        item: int | None = None,
        key: str | None = None,
        before: bool = False,
        line: str | None = None,
        signal: str = "SIGINT",
    ) -> None:
        """Cancel the next run at a place, as Ctrl-C does, or `stagerun cancel` with signal="SIGTERM".

        The places are those of `fail_at`.
        """
        if signal not in ("SIGINT", "SIGTERM", "SIGHUP"):
            raise ValueError(f"signal can't be {signal!r}: it is SIGINT, SIGTERM or SIGHUP")
        self._order(Fault("cancel", stage=stage, item=item, key=key, before=before, line=line, signal=signal))

    def crash_at(
        self,
        stage: str | None = None,
        *,
        item: int | None = None,
        key: str | None = None,
        before: bool = False,
        line: str | None = None,
        lost: int = 0,
    ) -> None:
        """Kill the next run at a place, by SIGKILL: it works in a fork of this process, and no clean-up is done.

        What it has changed in memory is gone; files, the journal and `programs.calls` stay. The places are those of
        `fail_at`.

        Args:
            stage: as for `fail_at`.
            item: as for `fail_at`.
            key: as for `fail_at`.
            before: as for `fail_at`.
            line: as for `fail_at`.
            lost: how many of the finished items were not stored yet: a real crash loses those of the last half second.

        """
        if not hasattr(signals, "SIGKILL"):
            raise NotImplementedError("crash_at needs a system that can fork and kill")
        self._order(Fault("crash", stage=stage, item=item, key=key, before=before, line=line, lost=lost))

    def _order(self, fault: Fault) -> None:
        fault.check()
        self._ordered.append(fault)

    # --- golden texts

    def assert_golden(self, run: Run | str, name: str) -> None:
        """Compare what a run printed, or any text, with a file of the folder `golden`.

        Durations, moments, the folder and who started the run are left out of the comparison.
        """
        text = golden.settled(run.output if isinstance(run, Run) else run, self.folder)
        golden.compare(text, self.golden / name, update=self.update_golden, how=_HOW_TO_UPDATE)

    # --- how it is done

    def _run(
        self,
        found: finding.Found,
        operation: LiveOperation,
        timeout: float | None,
        resumption: Resumption | None = None,
    ) -> Run:
        ordered, self._ordered = self._ordered, []
        first, printed = self._newest() + 1, len(self._printed())
        self._operations[first] = operation

        def work() -> None:
            with contextlib.chdir(self.folder), self._output.open("a", encoding="utf-8") as stream:
                self._work(found, operation, ordered, stream, resumption=resumption, timeout=timeout)

        killed = False
        if any(fault.kind == "crash" for fault in ordered):
            killed = crashes.killed_in_fork(work)
        else:
            work()
        ended = self._ended(first, self._printed()[printed:])
        self.runs.append(ended)
        if self.programs.refusal is not None:
            refusal, self.programs.refusal = self.programs.refusal, None
            raise refusal
        if ordered and not killed:
            raise _not_reached(ordered[0], ended)
        return ended

    def _work(
        self,
        found: finding.Found,
        operation: LiveOperation,
        ordered: list[Fault],
        stream: TextIO,
        *,
        resumption: Resumption | None,
        timeout: float | None,
    ) -> None:
        interrupts, clock, masker, output = Faults(ordered, self.clock), self.clock.as_clock(), Masker(), Output(stream)
        # A test need not survive a power cut.
        store = opening.open_journal(self.journal, write=True, durable=False, now=self.clock.wall)
        with closing(store), closing(output):
            emitter = FaultyEmitter(Journal(store), [Plain(output, masker=masker)], clock, interrupts, masker)
            emitter.faults = interrupts
            runner = _Runner(
                outlet=emitter,
                memory=Records(store),
                interrupts=interrupts,
                masker=masker,
                clock=clock,
                origin=settings.Origin(str(self.folder), ""),
            )
            interrupts.look_at_run = runner.look
            runner.on_begin = partial(self._prepare, interrupts)
            runner.run(found, operation, resumption=resumption, timeout=timeout)

    def _prepare(self, interrupts: Faults, operation: LiveOperation, session: Session) -> None:
        """Put what a test has ordered into a link of a chain, before its recipe begins."""
        assert operation.id is not None
        self._operations[operation.id] = operation
        interrupts.session = session
        session.programs = children = session.new_programs(StubbedChildren)
        children.programs = self.programs

    def _ended(self, first: int, output: str) -> Run:
        """Return the last run of the chain that begins with run `first`."""
        chain: list[Run] = []
        with self._records() as records:
            for view in records.chain(records.find(str(first))):
                if view.id >= first:
                    entries = list(records.entries(view.id))
                    self.clock.now = max(self.clock.now, entries[-1].time - START)  # a fork has moved its own
                    told = Run(view, entries, output=output, before=chain, records=self._records, now=self.clock.wall)
                    chain = told.chain
        return chain[-1]

    def _newest(self) -> int:
        if not opening.has_runs(self.journal):
            return 0
        with self._records() as records:
            return next((view.id for view in records.history(limit=1)), 0)

    @contextmanager
    def _records(self) -> Iterator[Records]:
        with closing(Records(opening.open_existing(self.journal))) as records:
            yield records

    def _printed(self) -> str:
        return self._output.read_text("utf-8") if self._output.exists() else ""

    def _made_again(self, view: RunView, changes: Mapping[str, Any]) -> tuple[finding.Found, LiveOperation]:
        """Return the operation of a run, with the parameters that the journal holds and the secrets of this test."""
        known = self._operations.get(view.id)
        # A later link of a chain that was killed is known to that process only.
        kind = type(known) if known else next((each for each in _kinds() if _is_of(each, view)), None)
        if kind is None:
            raise UsageError(f"there is no class for {view.plan.target}", "pass the operation: resume(Operation(...))")
        values = {name: value for name, value in view.plan.params.items() if name in kind.parameters}
        for name, parameter in kind.parameters.items():
            if parameter.secret:
                values.pop(name, None)
                if known and getattr(known, name) is not None:
                    values[name] = getattr(known, name)
        found = replace(_found(kind), target=view.plan.target, recipe=view.plan.recipe)
        return found, found.make(owner=view.owner, **{**values, **changes})


class _Runner(Runner):
    """The runner, with a say in how each link of a chain begins."""

    on_begin: Callable[[LiveOperation, Session], None]

    def look(self) -> None:
        """Do what the ticker does a few times a second."""
        self._ticker.look()

    def _begin(self, operation: LiveOperation) -> Session:
        session = super()._begin(operation)
        self.on_begin(operation, session)
        return session


def _found(kind: type[LiveOperation]) -> finding.Found:
    recipe = kind.__module__.rpartition(".")[2]
    return finding.Found(operation=kind, target=f"{recipe}:{kind.__name__}", recipe=recipe, source=_file_of(kind))


def _file_of(kind: type[LiveOperation]) -> Path | None:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return Path(file) if file else None


def _is_of(kind: type[LiveOperation], view: RunView) -> bool:
    """Return True if `kind` is the class of a run's operation."""
    file = _file_of(kind)
    return kind.__name__ == view.plan.operation and view.plan.source == (None if file is None else str(file))


def _kinds(base: type[LiveOperation] = LiveOperation) -> Iterator[type[LiveOperation]]:
    """Yield all operations that were ever made, the newest first."""
    for each in reversed(base.__subclasses__()):
        yield from _kinds(each)
        yield each


def _not_reached(fault: Fault, ended: Run) -> NotReached:
    stages = {name for run in ended.chain for name in run.stages}
    hint = suggestions.did_you_mean(fault.stage or "", sorted(stages)) if fault.stage not in stages else None
    return NotReached(f"{fault} was not reached: {ended!r}{f'; {hint}' if hint else ''}")
