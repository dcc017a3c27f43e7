"""The one path of every event: masked, stamped, journaled, then passed to the sinks, in that order.

The order is the promise. A fact is durable before any display shows it: a crash can't undo what was shown. If the
journal refuses a fact, no sink gets it, `failure` is set, and every later event raises it: the run stops. A pulse may
be shown first; it is queued, and written with the next fact or after a moment. If the journal refuses only pulses,
they are dropped and counted, and the work continues.

One lock covers all of it: numbers rise in the order in which events are shown. Any thread may emit. The lock is
reentrant, because writing an event can run foreign code: the garbage collector may end an abandoned loop in the middle
of a commit, and that emits an event. Such an event waits for the current one, and so does a signal
(`machine.interrupts`).

A sink that raises is removed and reported at the end: a display must never stop the work.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from msgspec.structs import replace

from stagerun import events
from stagerun.errors import JournalBusy, JournalError, RunLost
from stagerun.journal.rules import HEARTBEAT, OPEN
from stagerun.journal.writing import Journal
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.sinks import Sink
from stagerun.text.masking import Masker
from stagerun.view import RunView, fold


BATCH_SIZE: Final = 256 * 1024  # characters, plus the overhead of each event
BATCH_SECONDS: Final = 0.2

_T = TypeVar("_T")


class Emitter:
    """Masks, stamps and journals every event, then passes it to the sinks, in that order.

    Any thread may emit; a signal in the main thread waits until the event is emitted.

    Attributes:
        view: what is known about the current run, or None before the first.
        failure: why a fact could not be recorded, or None.
        broken_sinks: the sinks that raised and were removed, each with its error.
        lock: held while an event is emitted; reentrant.

    """

    def __init__(
        self, journal: Journal, sinks: Iterable[Sink], clock: Clock, interrupts: Interrupts, masker: Masker
    ) -> None:
        self.view: RunView | None = None
        self.failure: JournalError | None = None
        self.broken_sinks: list[tuple[Sink, Exception]] = []
        self._journal = journal
        self._sinks = list(sinks)
        self._clock = clock
        self._interrupts = interrupts
        self._masker = masker
        self.lock = threading.RLock()
        self._waiting = deque[tuple[events.Event, int | None, float | None]]()
        self._inside = False
        self._seq = 0
        self._flush_at = 0.0
        self._beat_at = clock.monotonic() + HEARTBEAT
        self._dropped = 0
        self._dropped_for = ""
        self._pid = os.getpid()

    def emit(self, event: events.Event, run: int | None = None, at: float | None = None) -> None:
        """Emit an event of the current run, or drop it if it belongs to another `run`.

        Raises JournalError if this fact or an earlier one can't be recorded.

        Args:
            event: what happened.
            run: whose it is, None for the current one's.
            at: when it happened, None for now.

        """
        if os.getpid() != self._pid:
            return  # a fork of the recipe: it owns neither the run nor the journal's connection
        with self._interrupts, self.lock:
            # An abandoned loop may be collected, and end, in the middle of another event: its event waits.
            self._waiting.append((event, run, at))
            if not self._inside:
                self._let_out()

    def aside(self, log: events.Log) -> None:
        """Show lines of a run that is over; they are recorded nowhere."""
        if os.getpid() == self._pid:
            with self._alone():
                masked = self._masker.event(log)
                self._each_sink(lambda sink: sink.afterword(masked))

    def create(self, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        """Add a run and make it the current one; HeldError if another run excludes it."""
        with self._alone():
            entry = self._stamp(0, plan)
            self.view = view = self._record(lambda: self._journal.create(entry, exclusive=exclusive))
            self._tell(entry._replace(run=view.id), view)
            return view

    def hand_over(self, ending: events.RunFinished, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        """End the current run and add the one it chains to, in one transaction; return the ended one.

        HeldError, with nothing changed, if another run excludes the next one.
        """
        with self._alone():
            assert self.view is not None
            running = self.view
            entry, created = self._stamp(running.id, ending), self._stamp(0, plan)

            def record() -> tuple[RunView, events.Entry, RunView]:
                following = self._journal.create(created, exclusive=exclusive)
                ended = entry._replace(event=replace(entry.event, chained_to=following.id))
                over = fold(running, ended)
                self._journal.append([ended], over, running.state)
                return following, ended, over

            following, ended, over = self._record(record)
            self.view = following
            self._tell(ended, over)
            self._tell(created._replace(run=following.id), following)
            return over

    def record_crashes(self, crashed: Iterable[RunView]) -> None:
        """Record the ends of runs whose processes are gone."""
        with self._alone():
            for view in crashed:
                self._journal.record_crash(view)

    def tick(self) -> None:
        """Write the queue if it is due, record a heartbeat, and let the sinks draw."""
        with self._alone():
            if self._journal.queued and self._clock.monotonic() >= self._flush_at:
                with suppress(JournalBusy, RunLost):  # the next tick tries again, or raises `failure`
                    self._flush(wait=False)
            self._beat()
            self._each_sink(lambda sink: sink.refresh(self._clock.wall()))

    def cancel_requested(self) -> bool:
        """Return True if another process has requested a cancel of the current run."""
        with self.lock:
            try:
                return self.view is not None and self._journal.cancel_requested(self.view)
            except RunLost as error:
                self.failure = error
                return False

    def settle(self) -> None:
        """Write the queue, and report how many log lines could not be recorded."""
        with self._alone():
            self._flush()
            if self._dropped and self.view is not None:
                text = f"{self._dropped:,} log lines could not be recorded: {self._dropped_for}"
                self._tell(self._stamp(self.view.id, events.Log(text, "warning")), self.view)
                self._dropped = 0

    @contextmanager
    def terminal_lent(self) -> Iterator[None]:
        """Keep the sinks off the terminal during the block."""
        with self._alone():
            self._each_sink(lambda sink: sink.suspend())
        try:
            yield
        finally:
            with self._alone():
                self._each_sink(lambda sink: sink.resume())

    def close(self) -> None:
        """Write the queue and close the sinks."""
        with self._alone():
            self._flush()
            self._each_sink(lambda sink: sink.close())

    def _beat(self) -> None:
        now = self._clock.monotonic()
        if self._beat_at <= now and self.view is not None and self.view.state in OPEN:
            self._beat_at = now + HEARTBEAT
            try:
                self._journal.beat(self.view)
            except RunLost as error:
                self.failure = error
            except JournalError:
                pass  # the next fact raises it, too

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock; events emitted meanwhile, also by this thread, are emitted afterwards."""
        with self._interrupts, self.lock:
            self._inside = True
            try:
                yield
            finally:
                self._inside = False
            self._let_out()

    def _let_out(self) -> None:
        self._inside = True
        try:
            while self._waiting:
                self._emit(*self._waiting.popleft())
        finally:
            self._inside = False

    def _emit(self, event: events.Event, run: int | None, at: float | None) -> None:
        if self.failure is not None:
            raise self.failure
        assert self.view is not None
        if run not in (None, self.view.id):
            return
        entry = self._stamp(self.view.id, event, at)
        before, after = self.view, fold(self.view, entry)
        if isinstance(event, events.Fact):
            self._record(lambda: self._journal.append([entry], after, before.state))
            if isinstance(event, events.RunFinished):
                self._interrupts.close(event.exit_code)  # at once: the sinks may be slow
        else:
            self._queue(entry, after)
        self.view = after
        self._tell(entry, after)

    def _stamp(self, run: int, event: events.Event, at: float | None = None) -> events.Entry:
        seq, event = self._seq + 1, self._masker.event(event)
        self._seq += event.text.count("\n") + 1 if isinstance(event, events.Log) else 1
        return events.Entry(run, seq, self._clock.wall() if at is None else at, event)

    def _record(self, write: Callable[[], _T]) -> _T:
        """Call `write` in one commit with the queue, and return its result."""
        try:
            try:
                return self._journal.commit(write)
            except (JournalBusy, RunLost):
                raise
            except JournalError as error:
                if not self._journal.queued:
                    raise
                # A queue that can't be written must not stop a fact.
                self._drop(error)
                return self._journal.commit(write)
        except JournalError as error:
            self.failure = error
            raise

    def _queue(self, entry: events.Entry, view: RunView) -> None:
        if not self._journal.queued:
            self._flush_at = self._clock.monotonic() + BATCH_SECONDS
        self._journal.queue(entry, view)
        if self._journal.queued >= BATCH_SIZE:
            self._flush()

    def _flush(self, *, wait: bool = True) -> None:
        """Write the queue; if that fails, drop and count it, and let the work continue. RunLost is raised."""
        try:
            self._journal.flush(wait=wait)
        except RunLost as error:
            self.failure = error
            raise
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
                raise  # the recipe reached a limit, not the display
            except Exception as error:
                # A display must never stop the work.
                self._sinks.remove(sink)
                self.broken_sinks.append((sink, error))
