"""Running an operation and its chain: every change goes through one function that stamps, journals and tells.

The runner prints nothing and knows no display. What it tells goes to sinks; a sink that breaks is let go.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, NoReturn, Protocol, TypeVar

from stagerun import events, identity, recipes, tracebacks
from stagerun.capture import Capture
from stagerun.errors import HeldError, Interruption, JournalBusy, JournalError, OperationCancelled, RecipeError
from stagerun.interrupts import Interrupts
from stagerun.journal import Journal
from stagerun.operation import LiveOperation
from stagerun.progress import Handover, Progress, Recalled
from stagerun.records import HEARTBEAT, Records, Resumption
from stagerun.states import RunState, StageState
from stagerun.view import RunView, fold


BATCH_LINES: Final = 500
BATCH_SECONDS: Final = 0.2

_T = TypeVar("_T")

HELD_EXIT_CODE: Final = 3
TIMED_OUT_EXIT_CODE: Final = 124  # as timeout(1)
# 128 + the signal's number, as shells count it.
SIGNAL_EXIT_CODES: Final = {"SIGHUP": 129, "SIGINT": 130, "SIGTERM": 143}


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from.

    Attributes:
        wall: when it is, in seconds since 1970.
        monotonic: for how long, in seconds; it never goes back.
        sleep: waits so many seconds, unless a signal breaks it.
        tick: seconds between two looks at the counters, and so between two frames of a display.

    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    tick: float = 0.1


class Sink(Protocol):
    """Someone who is told what happens."""

    def update(self, entry: events.Entry, view: RunView) -> None:
        """Take note of `entry`; `view` is what is known after it."""

    def refresh(self, now: float) -> None:
        """Draw what is due; called a few times a second."""

    def close(self) -> None:
        """Draw what is left and let go of the stream."""


class Emitter:
    """The one way a change gets out: stamped, journaled, then told to the sinks, in that order.

    Any thread may emit; a signal in the main thread waits until an event is out.
    """

    def __init__(self, journal: Journal, sinks: Iterable[Sink], clock: Clock, interrupts: Interrupts) -> None:
        self.view: RunView | None = None
        self.failure: JournalError | None = None
        self.broken_sinks: list[tuple[Sink, Exception]] = []
        self._journal = journal
        self._sinks = list(sinks)
        self._clock = clock
        self._interrupts = interrupts
        self._lock = threading.RLock()
        self._seq = 0
        self._flush_at = 0.0
        self._beat_at = clock.monotonic() + HEARTBEAT
        self._dropped = 0
        self._dropped_for = ""
        self._pid = os.getpid()

    def emit(self, event: events.Event) -> None:
        """Tell an event of the current run. Raises JournalError if a fact can't be recorded, also ever after."""
        if os.getpid() != self._pid:
            return  # a fork of the recipe: it owns neither the run nor the journal's connection
        with self._interrupts, self._lock:
            if self.failure is not None:
                raise self.failure
            assert self.view is not None
            entry = self._stamp(self.view.id, event)
            before, after = self.view, fold(self.view, entry)
            if isinstance(event, events.Fact):
                self._record(lambda: self._journal.append([entry], after, before.state))
            else:
                self._queue(entry, after)
            self.view = after
            self._tell(entry, after)

    def create(self, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        """Add a run and make it the current one; HeldError if another run excludes it."""
        with self._interrupts, self._lock:
            entry = self._stamp(0, plan)
            self.view = view = self._record(lambda: self._journal.create(entry, exclusive=exclusive))
            self._tell(entry._replace(run=view.id), view)
            return view

    def hand_over(self, ending: events.RunFinished, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        """End the current run and add the one it chains to, in one transaction; return the ended one.

        HeldError, with nothing changed, if another run excludes the next one.
        """
        with self._interrupts, self._lock:
            assert self.view is not None
            running = self.view
            entry, created = self._stamp(running.id, ending), self._stamp(0, plan)

            def record() -> tuple[RunView, events.Entry, RunView]:
                following = self._journal.create(created, exclusive=exclusive)
                ended = entry._replace(event=replace(ending, chained_to=following.id))
                over = fold(running, ended)
                self._journal.append([ended], over, running.state)
                return following, ended, over

            following, ended, over = self._record(record)
            self.view = following
            self._tell(ended, over)
            self._tell(created._replace(run=following.id), following)
            return over

    def bury(self, crashed: Iterable[RunView]) -> None:
        """Record the ends of runs whose processes are gone."""
        with self._interrupts, self._lock:
            for view in crashed:
                self._journal.bury(view)

    def tick(self) -> None:
        """Write what has waited long enough, give a sign of life, and let the sinks draw."""
        with self._lock:
            if self._journal.queued and self._clock.monotonic() >= self._flush_at:
                with suppress(JournalBusy):  # the next look tries again
                    self._flush(wait=False)
            self._beat()
            self._each_sink(lambda sink: sink.refresh(self._clock.wall()))

    def cancel_requested(self) -> bool:
        """Return True if another process has asked for a cancel of the current run."""
        with self._lock:
            return self.view is not None and self._journal.cancel_requested(self.view.id)

    def _beat(self) -> None:
        now = self._clock.monotonic()
        if self._beat_at <= now and self.view is not None and self.view.state is RunState.RUNNING:
            self._beat_at = now + HEARTBEAT
            with suppress(JournalError):  # the next fact meets it too
                self._journal.beat(self.view, self._clock.wall())

    def close(self) -> None:
        """Write what is queued and close the sinks."""
        with self._lock:
            self._flush()
            self._each_sink(lambda sink: sink.close())

    def _stamp(self, run: int, event: events.Event) -> events.Entry:
        self._seq += 1
        return events.Entry(run, self._seq, self._clock.wall(), event)

    def settle(self) -> None:
        """Write what is queued, and say how many log lines could not be recorded."""
        with self._lock:
            self._flush()
            if self._dropped and self.view is not None:
                text = f"{self._dropped:,} log lines could not be recorded: {self._dropped_for}"
                self._tell(self._stamp(self.view.id, events.LogLine(text, "warning")), self.view)
                self._dropped = 0

    def _record(self, write: Callable[[], _T]) -> _T:
        """Return what `write` returns, done in one transaction with the queue."""
        try:
            try:
                with self._journal.transaction():
                    return write()
            except JournalBusy:
                raise
            except JournalError as error:
                if not self._journal.queued:
                    raise
                # What is only a log line must not cost a fact.
                self._drop(error)
                with self._journal.transaction():
                    return write()
        except JournalError as error:
            self.failure = error
            raise

    def _queue(self, entry: events.Entry, view: RunView) -> None:
        if not self._journal.queued:
            self._flush_at = self._clock.monotonic() + BATCH_SECONDS
        self._journal.queue(entry, view)
        if self._journal.queued >= BATCH_LINES:
            self._flush()

    def _flush(self, *, wait: bool = True) -> None:
        """Write the queue; lines that can't be written are counted, and the work goes on."""
        try:
            self._journal.flush(wait=wait)
        except JournalBusy as error:
            if not wait:
                raise
            self._drop(error)
        except JournalError as error:
            self._drop(error)

    def _drop(self, error: JournalError) -> None:
        self._dropped += self._journal.drop_queue()
        self._dropped_for = error.message

    def _tell(self, entry: events.Entry, view: RunView) -> None:
        self._each_sink(lambda sink: sink.update(entry, view))

    def _each_sink(self, act: Callable[[Sink], None]) -> None:
        for sink in self._sinks.copy():
            try:
                act(sink)
            except (RecursionError, MemoryError):
                raise  # the recipe is at its limits, not the display
            except Exception as error:
                # A display must never stop the work.
                self._sinks.remove(sink)
                self.broken_sinks.append((sink, error))


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
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._interrupts = interrupts
        self._records = records
        self._progress: Progress | None = None
        self._pid = os.getpid()
        self.emitter = Emitter(journal, sinks, self._clock, interrupts)

    def run(
        self,
        found: recipes.Found,
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
        with self._interrupts:
            plan = self._plan(found, operation, chained_from=None, resumption=resumption)
            self.emitter.bury(self._records.unrecorded_crashes())
            view = self.emitter.create(plan, exclusive=operation.exclusive)
            created(view.id)
            with self._ticking(), self._interrupts.limit(timeout, "the run"):
                while (following := self._run_one(found, operation)) is not None:
                    found, operation = following
            self._interrupts.close()
        self.emitter.close()
        assert self.emitter.view is not None
        return self.emitter.view

    def _run_one(self, found: recipes.Found, operation: LiveOperation) -> tuple[recipes.Found, LiveOperation] | None:
        """Run one link and record its end; return the next link, which is recorded with it."""
        begun = self._clock.monotonic()
        handover = Handover()
        self._reflect(operation)
        error: BaseException | None = None
        if not self._interrupts.stopping:
            self.emitter.emit(events.RunStarted())
            self._reflect(operation)
            error = self._execute(operation, handover)
        if self.emitter.failure is not None:
            raise self.emitter.failure
        ending = self._ending(error, handover, self._clock.monotonic() - begun)
        self.emitter.settle()
        if ending.state is RunState.SUCCEEDED and error is None and handover.next is not None:
            following = recipes.locate(type(handover.next), found), handover.next
            try:
                self.emitter.bury(self._records.unrecorded_crashes())
                plan = self._plan(*following, chained_from=operation.id, resumption=None)
                operation.reflect(self.emitter.hand_over(ending, plan, exclusive=handover.next.exclusive))
            except HeldError as held:
                failure = events.Failure(type="", message=held.message)
                ending = replace(ending, state=RunState.FAILED, exit_code=HELD_EXIT_CODE, error=failure)
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

        self._progress = progress = Progress(
            stages={name: index for index, name in enumerate(operation.stages)},
            emit=emit,
            interrupts=self._interrupts,
            monotonic=self._clock.monotonic,
            sleep=self._clock.sleep,
            accept=_accept,
            recall=self._recall,
            done_before=self.emitter.view.done_before if self.emitter.view else (),
            handover=handover,
        )
        error: BaseException | None = None
        try:
            with Capture(progress.write), self._interrupts.limit(operation.timeout, "the run"):
                try:
                    self._interrupts.expose()
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
                exit_code=TIMED_OUT_EXIT_CODE,
                error=events.Failure(type="", message=self._interrupts.expired, stage=handover.broken_stage),
            )
        if self._interrupts.stopping or isinstance(error, OperationCancelled | KeyboardInterrupt):
            signal = self._interrupts.signal or ("SIGINT" if isinstance(error, KeyboardInterrupt) else None)
            own = error is not None and not isinstance(error, Interruption | KeyboardInterrupt | SystemExit)
            return events.RunFinished(
                state=RunState.CANCELLED,
                seconds=seconds,
                exit_code=SIGNAL_EXIT_CODES.get(signal or "", SIGNAL_EXIT_CODES["SIGTERM"]),
                signal=signal,
                error=tracebacks.failure(error, stage) if own and error else None,
            )
        code = 0
        failure: events.Failure | None = None
        if isinstance(error, SystemExit):
            code = _exit_code(error.code) or (1 if handover.broken is error else 0)
        elif error is not None:
            code = 1
        if error is not None and code:
            failure = tracebacks.failure(error, stage)
        elif handover.failure is not None:
            code, failure = 1, events.Failure(type="", message=handover.failure)
        state = RunState.FAILED if code else RunState.SUCCEEDED
        return events.RunFinished(state=state, seconds=seconds, exit_code=code, error=failure)

    def _recall(self, key: str) -> Recalled | None:
        view = self.emitter.view
        return self._records.checkpoint(view.id, key) if view is not None and view.resumed_from is not None else None

    def _plan(
        self,
        found: recipes.Found,
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
            chained_from=before.chained_from if before else chained_from,
            resumed_from=before.id if before else None,
            root=before.root if before else None,
            attempt=before.attempt + 1 if before else 1,
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
                self._sample()
                self.emitter.tick()
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

    def _sample(self) -> None:
        progress = self._progress
        if progress is not None:
            with suppress(JournalError):  # the main thread meets it too, and stops
                progress.sample()


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


def _accept(operation: object) -> None:
    if not isinstance(operation, LiveOperation):
        raise RecipeError(
            f"p.chain_to needs an operation, not {operation!r}",
            "make one: p.chain_to(Publish(owner=self.owner))",
        )
    operation.checked()


def _left_open(error: BaseException | None) -> StageState:
    match error:
        case None:
            return StageState.DONE
        case OperationCancelled() | KeyboardInterrupt():
            return StageState.CANCELLED
        case _:
            return StageState.FAILED


def _exit_code(code: object) -> int:
    """Return what a SystemExit asks for, inside 1 to 125 unless it is 0 (above it shells have their own meanings)."""
    if code is None or code == 0:
        return 0
    return max(1, min(125, code)) if isinstance(code, int) else 1
