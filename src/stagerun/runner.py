"""Running an operation and its chain: every change goes through one function that stamps, journals and tells.

The runner prints nothing and knows no display. What it tells goes to sinks; a sink that breaks is let go.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

from stagerun import events, identity, recipes, tracebacks
from stagerun.capture import Capture
from stagerun.errors import JournalError, OperationCancelled, RecipeError
from stagerun.interrupts import Interrupts
from stagerun.journal import Journal
from stagerun.operation import LiveOperation
from stagerun.progress import Handover, Progress
from stagerun.states import RunState, StageState
from stagerun.view import RunView, fold


BATCH_LINES: Final = 500
BATCH_SECONDS: Final = 0.2

# 128 + the signal's number, as shells count it.
SIGNAL_EXIT_CODES: Final = {"SIGHUP": 129, "SIGINT": 130, "SIGTERM": 143}


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from.

    Attributes:
        wall: when it is, in seconds since 1970.
        monotonic: for how long, in seconds; it never goes back.
        tick: seconds between two looks at the counters, and so between two frames of a display.

    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
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
        self._dropped = 0
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
                with self._recording():
                    self._journal.append([entry], after, before.state)
            else:
                self._queue(entry, after)
            self.view = after
            self._tell(entry, after)

    def create(self, plan: events.RunCreated) -> RunView:
        """Add a run and make it the current one."""
        with self._interrupts, self._lock:
            entry = self._stamp(0, plan)
            with self._recording():
                self.view = view = self._journal.create(entry)
            self._tell(entry._replace(run=view.id), view)
            return view

    def hand_over(self, ending: events.RunFinished, plan: events.RunCreated) -> RunView:
        """End the current run and add the one it chains to, in one transaction; return the ended one."""
        with self._interrupts, self._lock:
            assert self.view is not None
            ended, created = self._stamp(self.view.id, ending), self._stamp(0, plan)
            with self._recording():
                following = self._journal.create(created)
                ended = ended._replace(event=replace(ending, chained_to=following.id))
                over = fold(self.view, ended)
                self._journal.append([ended], over, self.view.state)
            self.view = following
            self._tell(ended, over)
            self._tell(created._replace(run=following.id), following)
            return over

    def tick(self) -> None:
        """Write what has waited long enough, and let the sinks draw."""
        with self._lock:
            if self._journal.queued and self._clock.monotonic() >= self._flush_at:
                self._flush()
            self._each_sink(lambda sink: sink.refresh(self._clock.wall()))

    def close(self) -> None:
        """Write what is queued and close the sinks."""
        with self._lock:
            self._flush()
            self._each_sink(lambda sink: sink.close())

    def _stamp(self, run: int, event: events.Event) -> events.Entry:
        self._seq += 1
        return events.Entry(run, self._seq, self._clock.wall(), event)

    @contextmanager
    def _recording(self) -> Iterator[None]:
        try:
            with self._journal.transaction():
                yield
        except JournalError as error:
            self.failure = error
            raise

    def _queue(self, entry: events.Entry, view: RunView) -> None:
        if not self._journal.queued:
            self._flush_at = self._clock.monotonic() + BATCH_SECONDS
        self._journal.queue(entry, view)
        if self._journal.queued >= BATCH_LINES:
            self._flush()

    def _flush(self) -> None:
        """Write the queue; lines that can't be written are counted, and the work goes on."""
        try:
            self._journal.flush()
        except JournalError as error:
            first = not self._dropped
            self._dropped += self._journal.drop_queue()
            if first and self.view is not None:
                warning = events.LogLine(f"log lines are not being recorded: {error.message}", "warning")
                self._tell(self._stamp(self.view.id, warning), self.view)

    def _tell(self, entry: events.Entry, view: RunView) -> None:
        self._each_sink(lambda sink: sink.update(entry, view))

    def _each_sink(self, act: Callable[[Sink], None]) -> None:
        for sink in self._sinks.copy():
            try:
                act(sink)
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
        sinks: Iterable[Sink],
        interrupts: Interrupts,
        expected: Callable[[str], Mapping[str, float]],
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._interrupts = interrupts
        self._expected = expected
        self._progress: Progress | None = None
        self._pid = os.getpid()
        self.emitter = Emitter(journal, sinks, self._clock, interrupts)

    def run(
        self,
        found: recipes.Found,
        operation: LiveOperation,
        *,
        created: Callable[[int], None] = lambda _: None,
    ) -> RunView:
        """Run `operation` and what it chains to; return the last run as it ended.

        `created` is told the first run's id before its first stage. A failure of the recipe is recorded, not
        raised; JournalError is raised if a fact can't be recorded.
        """
        with self._interrupts:
            view = self.emitter.create(self._plan(found, operation, None))
            created(view.id)
            with self._ticking():
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
        if self._interrupts.requested:
            error: BaseException | None = OperationCancelled(self._interrupts.signal)
        else:
            self.emitter.emit(events.RunStarted())
            error = self._execute(operation, handover)
        if self.emitter.failure is not None:
            raise self.emitter.failure
        ending = self._ending(error, handover, self._clock.monotonic() - begun)
        if ending.state is not RunState.SUCCEEDED or handover.next is None:
            self.emitter.emit(ending)
            self._reflect(operation)
            return None
        following = recipes.locate(type(handover.next), found), handover.next
        operation.reflect(self.emitter.hand_over(ending, self._plan(*following, operation.id)))
        return following

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
            accept=_accept,
            handover=handover,
        )
        error: BaseException | None = None
        try:
            with Capture(progress.write), self._interrupts.exposed():
                operation.run(progress)
        except BaseException as raised:
            error = raised
        if os.getpid() != self._pid:
            os._exit(0 if error is None else 1)  # a fork that came back out of `run` must not end the run too
        self._progress = None
        if self.emitter.failure is None:
            progress.close(_left_open(error))
        return error

    def _ending(self, error: BaseException | None, handover: Handover, seconds: float) -> events.RunFinished:
        """Decide how the run ended."""
        stage = handover.broken_stage if handover.broken is error else None
        if self._interrupts.requested or isinstance(error, OperationCancelled | KeyboardInterrupt):
            signal = self._interrupts.signal or ("SIGINT" if isinstance(error, KeyboardInterrupt) else None)
            own = error is not None and not isinstance(error, OperationCancelled | KeyboardInterrupt | SystemExit)
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

    def _plan(self, found: recipes.Found, operation: LiveOperation, chained_from: int | None) -> events.RunCreated:
        process = identity.current_process()
        return events.RunCreated(
            target=found.target,
            recipe=found.recipe,
            operation=type(operation).__name__,
            source=str(found.source) if found.source else None,
            source_hash=found.source_hash(),
            params=operation.params(),
            stages=tuple(operation.stages),
            owner=operation.owner,
            host=process.host,
            boot_id=process.boot_id,
            pid_namespace=process.pid_namespace,
            pid=process.pid,
            process_started=process.started,
            chained_from=chained_from,
            expected=self._expected(found.target),
        )

    def _reflect(self, operation: LiveOperation) -> None:
        operation.reflect(self.emitter.view)
        operation.cancel_requested = self._interrupts.requested

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        """Look at the counters from a thread of its own, so that a loop pays only for counting."""
        done = threading.Event()

        def tick() -> None:
            while not done.wait(self._clock.tick):
                self._sample()
                self.emitter.tick()

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
