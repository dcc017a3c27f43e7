"""Running an operation and its chain, in this thread. The runner prints nothing and knows no display."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from msgspec.structs import replace

from stagerun import events, exit_codes
from stagerun.authoring import finding
from stagerun.authoring.capture import Capture
from stagerun.authoring.operation import LiveOperation
from stagerun.authoring.progress import Handover, Progress, Recalled
from stagerun.engine.emitter import Emitter
from stagerun.errors import HeldError, Interruption, JournalError, OperationCancelled, RecipeError
from stagerun.journal.reading import Records
from stagerun.journal.rules import Resumption
from stagerun.journal.writing import Journal
from stagerun.machine import identity
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.sinks import Sink
from stagerun.states import RunState, StageState
from stagerun.text import wording
from stagerun.text.masking import SHORTEST, Masker
from stagerun.view import RunView


if TYPE_CHECKING:
    from stagerun.programs.children import Children

_SLOW_IMPORT: Final = 0.5  # seconds; nobody wonders about less


class Runner:
    """Runs one operation after the other, each in this thread, as long as they hand over.

    Attributes:
        emitter: where everything that happens goes through.

    """

    def __init__(
        self,
        *,
        journal: Journal,
        records: Records,
        sinks: Iterable[Sink],
        interrupts: Interrupts,
        masker: Masker | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._interrupts = interrupts
        self._records = records
        self._progress: Progress | None = None
        self._pid = os.getpid()
        self._masker = masker or Masker()
        self.emitter = Emitter(journal, sinks, self._clock, interrupts, self._masker)

    def run(
        self,
        found: finding.Found,
        operation: LiveOperation,
        *,
        resumption: Resumption | None = None,
        timeout: float | None = None,
        created: Callable[[int], None] = lambda _: None,
    ) -> RunView:
        """Run `operation` and what it chains to; return the last run as it ended.

        A failure of the recipe is recorded, not raised. Raises JournalError if a fact can't be recorded, HeldError
        if another run excludes this one.

        Args:
            found: where the operation comes from.
            operation: what to run.
            resumption: what it takes over from an earlier run.
            timeout: seconds that the whole chain may take.
            created: told the first run's id before its first stage.

        """
        self._masker.learn(operation.secret_values().values())
        with self._interrupts:
            plan = self._plan(found, operation, chained_from=None, resumption=resumption)
            self.emitter.record_crashes(self._records.unrecorded_crashes())
            view = self.emitter.create(plan, exclusive=operation.exclusive)
            created(view.id)
            with self._ticking(), self._interrupts.limit(timeout, "the run"):
                while (following := self._run_one(found, operation)) is not None:
                    found, operation = following
            last = self.emitter.view
            assert last is not None
            assert last.exit_code is not None
            self._interrupts.close(last.exit_code)
        self.emitter.close()
        return last

    def _run_one(self, found: finding.Found, operation: LiveOperation) -> tuple[finding.Found, LiveOperation] | None:
        """Run one link and record its end; return the next link, which is recorded with it."""
        begun = self._clock.monotonic()
        handover = Handover()
        self._reflect(operation)
        error: BaseException | None = None
        if not self._interrupts.stopping:
            self.emitter.emit(events.RunStarted())
            self._tell_of_slow_import(found)
            self._warn_of_short_secrets(operation)
            self._reflect(operation)
            error = self._execute(operation, handover)
        if self.emitter.failure is not None:
            raise self.emitter.failure
        ending = self._ending(error, handover, self._clock.monotonic() - begun)
        self.emitter.settle()
        if ending.state is RunState.SUCCEEDED and error is None and handover.next is not None:
            following = finding.locate(type(handover.next), found), handover.next
            try:
                self.emitter.record_crashes(self._records.unrecorded_crashes())
                plan = self._plan(*following, chained_from=operation.id, resumption=None)
                operation.reflect(self.emitter.hand_over(ending, plan, exclusive=handover.next.exclusive))
            except HeldError as held:
                failure = events.Failure(type="", message=held.message)
                ending = replace(ending, state=RunState.FAILED, exit_code=exit_codes.NOT_STARTED, error=failure)
            else:
                return following
        self.emitter.emit(ending)
        self._reflect(operation)
        return None

    def _execute(self, operation: LiveOperation, handover: Handover) -> BaseException | None:
        """Let the recipe work; return what it raised, or None. No stage is left open."""

        def emit(event: events.Event) -> None:
            self.emitter.emit(event)
            if isinstance(event, events.Fact):
                self._reflect(operation)

        view = self.emitter.view
        assert view is not None

        def children() -> "Children":
            from stagerun.programs.children import Children

            hidden = {f"STAGERUN_{name.upper()}" for name, each in operation.parameters.items() if each.secret}
            return Children(self._interrupts, view.id, hidden)

        self._progress = progress = Progress(
            stages={name: index for index, name in enumerate(operation.stages)},
            emit=emit,
            lock=self.emitter.lock,
            interrupts=self._interrupts,
            monotonic=self._clock.monotonic,
            sleep=self._clock.sleep,
            accept=self._accept,
            masker=self._masker,
            children=children,
            terminal_lent=self.emitter.terminal_lent,
            recall=self._recall,
            done_before=view.plan.done_before,
            handover=handover,
        )
        error: BaseException | None = None
        try:
            with Capture(progress.write, self._masker), self._interrupts.limit(operation.timeout, "the run"):
                try:
                    self._interrupts.expose()
                    with progress.programs_ended():
                        operation.run(progress)
                finally:
                    self._interrupts.cover()
        except BaseException as raised:
            self._interrupts.cover()
            error = raised
        if os.getpid() != self._pid:
            _leave_fork(error)
        self._progress = None
        if self.emitter.failure is None:
            progress.close(_left_open(error))
        return error

    def _ending(self, error: BaseException | None, handover: Handover, seconds: float) -> events.RunFinished:
        """Decide how the run ended."""
        stage = handover.broken_stage if handover.broken is error else None
        if self._interrupts.expired is not None and self._interrupts.signal is None:
            return events.RunFinished(
                state=RunState.TIMED_OUT,
                seconds=seconds,
                exit_code=exit_codes.TIMED_OUT,
                error=events.Failure(type="", message=self._interrupts.expired, stage=handover.broken_stage),
            )
        if self._interrupts.stopping or isinstance(error, OperationCancelled | KeyboardInterrupt):
            signal = self._interrupts.signal or ("SIGINT" if isinstance(error, KeyboardInterrupt) else None)
            own = error is not None and not isinstance(error, Interruption | KeyboardInterrupt | SystemExit)
            return events.RunFinished(
                state=RunState.CANCELLED,
                seconds=seconds,
                exit_code=exit_codes.OF_SIGNAL[signal or "SIGTERM"],
                signal=signal,
                error=self._failure(error, stage) if own and error else None,
            )
        code = exit_codes.SUCCEEDED
        failure: events.Failure | None = None
        if isinstance(error, SystemExit):
            code = _exit_code(error.code) or (exit_codes.FAILED if handover.broken is error else exit_codes.SUCCEEDED)
        elif error is not None:
            code = exit_codes.FAILED
        if error is not None and code:
            failure = self._failure(error, stage)
        elif handover.failure is not None:
            code, failure = exit_codes.FAILED, events.Failure(type="", message=handover.failure)
        state = RunState.FAILED if code else RunState.SUCCEEDED
        return events.RunFinished(state=state, seconds=seconds, exit_code=code, error=failure)

    def _failure(self, error: BaseException, stage: str | None) -> events.Failure:
        from stagerun.text import tracebacks

        view = self.emitter.view
        return tracebacks.failure(error, stage, source=view.plan.source if view else None, mask=self._masker.mask)

    def _accept(self, operation: object) -> None:
        if not isinstance(operation, LiveOperation):
            raise RecipeError(
                f"p.chain_to needs an operation, not {operation!r}",
                "make one: p.chain_to(Publish(owner=self.owner))",
            )
        self._masker.learn(operation.checked().secret_values().values())

    def _tell_of_slow_import(self, found: finding.Found) -> None:
        if found.import_seconds > _SLOW_IMPORT:
            self.emitter.emit(events.Log(wording.slow_import(found.recipe, found.import_seconds)))

    def _warn_of_short_secrets(self, operation: LiveOperation) -> None:
        for name, value in operation.secret_values().items():
            if any(0 < len(line.strip()) < SHORTEST for line in value.splitlines()):
                what = "a line of" if "\n" in value.strip() else ""
                text = f"secret {name!r} has {what} fewer than {SHORTEST} characters: it is masked nowhere"
                self.emitter.emit(events.Log(" ".join(text.split()), "warning"))

    def _recall(self, key: str) -> Recalled | None:
        view = self.emitter.view
        if view is None or view.plan.resumed_from is None:
            return None
        return self._records.checkpoint(view.id, key)

    def _plan(
        self,
        found: finding.Found,
        operation: LiveOperation,
        *,
        chained_from: int | None,
        resumption: Resumption | None,
    ) -> events.RunCreated:
        process = identity.current_process()
        before = resumption.view if resumption else None
        return events.RunCreated(
            target=found.target,
            recipe=found.recipe,
            operation=type(operation).__name__,
            source=str(found.source) if found.source else None,
            source_hash=found.source_hash(),
            params={name: _encodable(value) for name, value in operation.params().items()},
            stages=tuple(operation.stages),
            owner=events.encodable(operation.owner),
            host=process.host,
            boot_id=process.boot_id,
            pid_namespace=process.pid_namespace,
            pid=process.pid,
            process_started=process.started,
            chained_from=before.plan.chained_from if before else chained_from,
            resumed_from=before.id if before else None,
            root=before.root if before else None,
            attempt=before.plan.attempt + 1 if before else 1,
            expected=self._records.expected(found.target),
            done_before=resumption.done_before if resumption else (),
            inherited=resumption.inherited if resumption else {},
        )

    def _reflect(self, operation: LiveOperation) -> None:
        operation.reflect(self.emitter.view)
        operation.cancel_requested = self._interrupts.stopping

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        """Look at the counters from a thread of its own, so that a loop pays only for counting."""
        done = threading.Event()

        def tick() -> None:
            asked = False
            while not done.wait(self._clock.tick):
                self._look()
                if not asked and self.emitter.cancel_requested():
                    asked = True
                    if not self._interrupts.stopping:
                        self._interrupts.request("SIGTERM")

        thread = threading.Thread(target=tick, name="stagerun-ticker", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _look(self) -> None:
        progress = self._progress
        with suppress(JournalError):  # the main thread meets it too, and stops
            if progress is not None:
                progress.sample()
            self.emitter.tick()


def _leave_fork(error: BaseException | None) -> NoReturn:
    """End a fork that came back out of `run`: the run is not its own to end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(_exit_code(error.code) if isinstance(error, SystemExit) else int(error is not None))


def _encodable(value: object) -> object:
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return events.encodable(value) if isinstance(value, str) else value


def _left_open(error: BaseException | None) -> StageState:
    match error:
        case None:
            return StageState.DONE
        case OperationCancelled() | KeyboardInterrupt():
            return StageState.CANCELLED
        case _:
            return StageState.FAILED


def _exit_code(code: object) -> int:
    """Return what a SystemExit asks for, inside the range that a recipe may use."""
    if code is None or code == 0:
        return 0
    return max(1, min(exit_codes.LARGEST_OF_A_RECIPE, code)) if isinstance(code, int) else exit_codes.FAILED
