"""The bench of a test: it runs operations in this process, on a real journal, and lets go wrong what a test orders."""

import signal as signals
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from stagerun.authoring.finding import Found
from stagerun.authoring.operation import LiveOperation
from stagerun.authoring.session import Session
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.machine import settings
from stagerun.resumption import Resumption
from stagerun.testing import again, crashes, golden, process
from stagerun.testing.clock import START
from stagerun.testing.faults import Fault, Faults, FaultyEmitter, FaultyRunner, NotReached, PlannedFailure
from stagerun.testing.programs import Programs, StubbedChildren
from stagerun.testing.runs import Run, check_resumable
from stagerun.testing.workbench import Workbench
from stagerun.text import suggestions
from stagerun.text.masking import Masker
from stagerun.view import RunView


_HOW_TO_UPDATE: Final = "pytest --stagerun-update-golden"


class Bench(Workbench):
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
        written: the golden files that were written, because they were new or held another text.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="stagerun-") if folder is None else None
        self.folder = Path(self._own.name if self._own else folder or "").resolve()
        self._home = self.folder / ".stagerun"
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(self._home / "journal.db")
        self.programs = Programs(self._home / "test-programs.jsonl", self.clock.monotonic)
        self.runs: list[Run] = []
        self.golden = Path("golden").absolute()
        self.update_golden = False
        self.written: list[Path] = []
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
        if value is None:
            self.check_reached()

    def check_reached(self) -> None:
        """Raise NotReached if something was ordered, and no run came after that. The end of a `with` block does it."""
        if self._ordered:
            raise NotReached(f"{self._ordered[0]} was not reached: it is for the next run, and there was none")

    # --- running

    def run(self, operation: LiveOperation, *, timeout: float | None = None) -> Run:
        """Run `operation`, and what it chains to; return the last run of the chain.

        A failure of the recipe is in the run; what the command would refuse is raised (HeldError, RecipeError,
        UsageError).

        Args:
            operation: what to run.
            timeout: the seconds of the clock that the whole chain may take.

        """
        return self._run(again.found(operation), operation, timeout)

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
            check_resumable(view, from_stage)
            resumption = records.resumption(view, from_stage)
        if operation is not None:
            return self._run(again.found(operation), operation, timeout, resumption)
        return self._run(*self._made_again(view, changes), timeout, resumption)

    def rerun(self, *, changes: Mapping[str, Any] | None = None, timeout: float | None = None) -> Run:
        """Run the newest run's operation anew, with its parameters and those of `changes`; nothing is taken over."""
        with self._records() as records:
            view = records.find("last")
        return self._run(*self._made_again(view, changes), timeout)

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

        Durations, moments, the folders and who started the run are left out of the comparison, secrets of the runs are
        masked.
        """
        masker = Masker()
        for operation in self._operations.values():
            masker.learn(operation.secret_values().values())
        folders = {self.folder: "FOLDER", settings.find(self.golden.parent).root: ""}
        text = golden.settled(masker.mask(run.output if isinstance(run, Run) else run), folders)
        file = self.golden / name
        if self.update_golden:
            self.written += golden.update(text, file)
        else:
            golden.compare(text, file, how=_HOW_TO_UPDATE)

    # --- how it is done

    def _run(
        self, found: Found, operation: LiveOperation, timeout: float | None, resumption: Resumption | None = None
    ) -> Run:
        ordered, self._ordered = self._ordered, []
        first, printed, called = self._newest() + 1, len(self._printed()), len(self.programs.calls)
        self._operations[first] = operation
        work = partial(self._work, found, operation, ordered, resumption, timeout)
        try:
            if any(fault.kind == "crash" for fault in ordered):
                crashes.do_in_fork(work)
            else:
                work()
        except BaseException:
            self._ordered += [fault for fault in ordered if not fault.happened]
            raise
        ended = self._ended(first, self._printed()[printed:])
        self.runs.append(ended)
        self.programs.check(self.programs.calls[called:])
        if (missed := next((fault for fault in ordered if not fault.happened), None)) is not None:
            raise _not_reached(missed, ended)
        return ended

    def _work(
        self,
        found: Found,
        operation: LiveOperation,
        ordered: Sequence[Fault],
        resumption: Resumption | None,
        timeout: float | None,
    ) -> None:
        faults = Faults(ordered, self.clock)
        with process.of_its_own(self.folder), self._output.open("a", encoding="utf-8") as stream:
            self._perform(
                found,
                operation,
                stream,
                faults,
                resumption=resumption,
                timeout=timeout,
                origin=settings.Origin(str(self.folder), ""),
                emitters=partial(FaultyEmitter, faults),
                runners=partial(FaultyRunner, faults, self._begin),
            )

    def _begin(self, operation: LiveOperation, session: Session) -> None:
        """Prepare a link of a chain, before its recipe begins."""
        assert operation.id is not None
        self._operations[operation.id] = operation
        session.make_programs = partial(StubbedChildren, self.programs)

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

    def _made_again(self, view: RunView, changes: Mapping[str, Any] | None) -> tuple[Found, LiveOperation]:
        return again.made(view, self._operations.get(view.id), changes or {})


def _not_reached(fault: Fault, ended: Run) -> NotReached:
    stages = {name for run in ended.chain for name in run.stages}
    keys = {event["key"] for run in ended.chain for event in run.events if "key" in event}
    misspelt = [
        (name, known) for name, known in ((fault.stage, stages), (fault.key, keys)) if name not in (None, *known)
    ]
    hints = (suggestions.did_you_mean(str(name), sorted(known)) for name, known in misspelt)
    return NotReached("; ".join([f"{fault} was not reached: {ended!r}", *filter(None, hints)]))
