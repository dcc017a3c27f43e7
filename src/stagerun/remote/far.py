"""The outlet and the memory of the far end: a stream to home, which has the journal.

A fact is sent and waited for until home has committed it. A pulse is sent and not waited for: those of ten
milliseconds travel together, and once too much is under way, whoever emits waits. When the stream ends, so does this
process: as if SIGHUP had come, and after a grace period it is killed with all that it has started.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Any, Final

from msgspec.structs import replace

from stagerun import events
from stagerun.errors import HeldError, JournalError, RecipeError
from stagerun.exit_codes import OF_SIGNAL
from stagerun.journal.writing import joined
from stagerun.machine.interrupts import Interrupts
from stagerun.programs.children import MARK
from stagerun.remote.line import SILENCE, Frame, Line
from stagerun.remote.messages import Work, convert
from stagerun.text.masking import Masker
from stagerun.view import RunView, begin, fold


UNDER_WAY: Final = 4 * 1024 * 1024  # characters of pulses and facts that home has not recorded
GRACE: Final = 3.0  # seconds that this process lives on without home
_BATCH: Final = 256 * 1024  # characters of pulses that are not kept back
_AT_ONCE: Final = 0.01  # seconds that a pulse waits for others
_LOOK: Final = 0.5
_OVERHEAD: Final = 128  # characters that an event counts for, besides its text
_ORDERLY: Final = 0.5  # seconds after which a stop that no handler has taken is asked for in another way


class Far:
    """One end of a line, for the runner.

    Attributes:
        line: the line to home.
        view: the current run, None before there is work.
        failure: why nothing more can be recorded, or None.
        lock: held while an event is sent; reentrant.
        mark: what the environment of every process that descends from this one begins with.

    """

    line: Line

    def __init__(self, interrupts: Interrupts, masker: Masker) -> None:
        self.view: RunView | None = None
        self.failure: JournalError | None = None
        self.lock = threading.RLock()
        self.mark = f"{os.environ.get(MARK, '')}/{os.getpid()}-far-"
        self._interrupts = interrupts
        self._masker = masker
        self._files: Mapping[str, str] = {}
        self._pid = os.getpid()
        self._main = threading.main_thread().ident or 0
        self._begun_on = time.monotonic()
        self._stop_on: float | None = None
        self._over = False
        self._work = SimpleQueue[Any]()
        self._answers = SimpleQueue[Frame]()
        self._waiting = deque[tuple[events.Event, int | None]]()
        self._inside = False
        self._bell = threading.Event()
        self._pulses: list[events.Entry] = []
        self._kept_back = 0
        self._sent = 0  # number of the newest event that was sent
        self._done = 0  # number of the newest event that home has recorded
        self._sizes = deque[tuple[int, int]]()
        self._under_way = 0
        self._changed = threading.Condition()

    # What home says.

    def heard(self, frame: Frame) -> None:
        """Take a frame from home, in the line's thread."""
        match frame:
            case ["done", int(number)]:
                self._note_done(number)
            case ["recalled" | "ahead" | "go" | "held", *_]:
                self._answers.put(frame)
            case ["stop", str(name)] if name in OF_SIGNAL:
                self._stop_on = self._stop_on or time.monotonic()
                signal.pthread_kill(self._main, signal.Signals[name])
            case ["work", work]:
                self._work.put(work)
            case _:
                pass  # of a newer home

    def ended(self, wrong: str | None) -> None:
        """Note that home is gone, in the line's thread."""
        self._work.put(None)
        with self._changed:
            if self._over or self.failure is not None:
                return
            self.failure = JournalError(wrong or "the process that this run was started from is gone")
            self._changed.notify_all()
        if self.view is not None:
            threading.Thread(target=self._die, name="stagerun-far-end", daemon=True).start()
            # Not as one more signal: the third would end this process at once, and leave what it has started.
            self._interrupts.request("SIGHUP")

    def _die(self) -> None:
        """Kill this process, with all that it has started, after the grace period; sooner if it was asked twice."""
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and not self._interrupts.hurried:
            time.sleep(_AT_ONCE)
        try:
            self.sweep()
        finally:
            os._exit(OF_SIGNAL["SIGHUP"])

    def sweep(self) -> None:
        """Kill all that this process has started."""
        from stagerun.programs.process_tree import ProcessTree

        ProcessTree(MARK, self.mark).end(hurried=lambda: True)

    def work(self) -> Work | None:
        """Wait for the work; None if home goes before it says any. ValueError if it makes no sense."""
        while True:
            try:
                work = self._work.get(timeout=_LOOK)
            except Empty:
                if self._interrupts.stopping or self.line.silent_for > SILENCE:
                    return None
            else:
                return None if work is None else convert(work, Work)

    def begin(self, view: RunView, files: Mapping[str, str]) -> None:
        """Begin to work on the run; `files` are the recipe's files here -> where the run was started."""
        self._files = files
        self.view = view
        threading.Thread(target=self._ship_pulses, name="stagerun-far-pulses", daemon=True).start()
        if self.failure is not None:
            raise self.failure

    # What the runner says.

    def emit(self, event: events.Event, run: int | None = None) -> None:
        if os.getpid() != self._pid:
            return
        if isinstance(event, events.Pulse):
            while self._is_full():
                time.sleep(_AT_ONCE)  # a cancel breaks it
        with self._interrupts, self.lock:
            # An abandoned loop may be collected, and end, in the middle of another event: its event waits.
            self._waiting.append((event, run))
            if not self._inside:
                self._let_out()

    def aside(self, log: events.Log) -> None:
        if os.getpid() == self._pid:
            with self._interrupts, self.lock:
                self.line.send(["aside", self._masker.event(log)])

    def create(self, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        raise NotImplementedError("home creates the runs")

    def hand_over(self, ending: events.RunFinished, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        with self._interrupts, self.lock:
            assert self.view is not None
            self._ship()
            plan = replace(self._masker.event(plan), source=self._files.get(plan.source or "", plan.source))
            self.line.send(["over", self._masker.event(ending), plan, exclusive])
            match self._answer():
                case ["go", int(run)]:
                    over = self._after(replace(ending, chained_to=run))
                    self.view = begin(events.Entry(run, 0, time.time(), plan))
                    return over
                case ["held", str(message), hint]:
                    raise HeldError(message, hint)
                case frame:
                    raise JournalError(f"home answered {frame[0]!r} to the end of a link")

    def record_crashes(self, crashed: Iterable[RunView]) -> None:
        """Do nothing: home does it."""

    def tick(self) -> None:
        if self.line.silent_for > SILENCE:
            self.ended(f"nothing was heard of the process that this run was started from for {SILENCE:g} s")

    def cancel_requested(self) -> bool:
        return self._stop_on is not None and time.monotonic() - self._stop_on > _ORDERLY

    def settle(self) -> None:
        with self._interrupts, self.lock:
            self._ship()

    def terminal_lent(self) -> AbstractContextManager[None]:
        raise RecipeError(
            "p.sh: interactive=True works on your own machine alone",
            "run it without --on, or leave interactive=True out",
        )

    def close(self) -> None:
        """Note that nothing more is to be said: home may go."""
        self._over = True

    def expected(self, target: str) -> dict[str, float]:
        return {}

    def recall(self, run: int, key: str) -> list[events.Recalled]:
        found = list[events.Recalled]()
        with self._interrupts, self.lock:
            self.line.send(["recall", run, key])
            while True:
                match self._answer():
                    case ["recalled", int(number), str(kind), data]:
                        stored: Any = convert(data, events.EVENTS[kind])
                        found.append(events.Recalled(number, stored))
                    case _:
                        return found

    def unrecorded_crashes(self) -> list[RunView]:
        return []

    def ahead(self, view: RunView) -> list[RunView]:
        with self._interrupts, self.lock:
            self.line.send(["ahead"])
            match self._answer():
                case ["ahead", found]:
                    return convert(found, list[RunView])
                case frame:
                    raise JournalError(f"home answered {frame[0]!r} to the question of what is ahead")

    # How it is sent.

    def _let_out(self) -> None:
        self._inside = True
        try:
            while self._waiting:
                event, run = self._waiting.popleft()
                assert self.view is not None
                if run in (None, self.view.id):
                    self._emit(self._masker.event(event))
        finally:
            self._inside = False

    def _emit(self, event: events.Event) -> None:
        if isinstance(event, events.Pulse):
            if self.failure is None:
                self._keep_back(event)
            return
        if self.failure is not None:
            raise self.failure
        after = self._after(event)
        self._ship(event)
        self._wait_until_done(self._sent)
        self.view = after
        if isinstance(event, events.RunFinished):
            self._interrupts.close(event.exit_code)

    def _after(self, event: events.Event) -> RunView:
        assert self.view is not None
        return fold(self.view, events.Entry(self.view.id, 0, time.time(), event))

    def _keep_back(self, pulse: events.Event) -> None:
        """Let a pulse wait for others."""
        for part in _parts(pulse):
            size = _size(part)
            self._pulses.append(self._entry(part))
            self._kept_back += size
            with self._changed:
                self._under_way += size
            if self._kept_back >= _BATCH:
                self._ship()
            else:
                self._bell.set()

    def _entry(self, event: events.Event) -> events.Entry:
        assert self.view is not None
        return events.Entry(self.view.id, 0, time.monotonic() - self._begun_on, event)

    def _ship_pulses(self) -> None:
        while True:
            self._bell.wait()
            time.sleep(_AT_ONCE)
            self._bell.clear()
            with self.lock:
                self._ship()

    def _ship(self, fact: events.Event | None = None) -> None:
        """Send the pulses that wait, and then the fact; RecipeError if it is too large."""
        entries, size = [*joined(self._pulses)], self._kept_back
        self._pulses, self._kept_back = [], 0
        if fact is None:
            self._send(entries, size)
            return
        try:
            self._send([*entries, self._entry(fact)], size)
        except ValueError as error:
            self._send(entries, size)
            raise RecipeError(f"this can't be recorded from another place: {error}", "store a file instead") from None

    def _send(self, entries: list[events.Entry], size: int) -> None:
        """Send some events, whose pulses count for `size`."""
        if entries:
            number = self._sent + len(entries)
            self.line.send(["events", number, [[entry.time, entry.event.kind, entry.event] for entry in entries]])
            self._sent = number
            with self._changed:
                self._sizes.append((number, size))

    def _note_done(self, number: int) -> None:
        with self._changed:
            self._done = max(self._done, number)
            while self._sizes and self._sizes[0][0] <= number:
                self._under_way -= self._sizes.popleft()[1]
            self._changed.notify_all()

    def _wait_until_done(self, number: int) -> None:
        with self._changed:
            while self._done < number and self.failure is None:
                self._changed.wait(_LOOK)
            if self._done < number and self.failure is not None:
                raise self.failure

    def _is_full(self) -> bool:
        return self._under_way > UNDER_WAY and self.failure is None and not self._interrupts.stopping

    def _answer(self) -> Frame:
        while True:
            try:
                return self._answers.get(timeout=_LOOK)
            except Empty:
                if self.failure is not None:
                    raise self.failure from None


def _parts(pulse: events.Event) -> Iterator[events.Event]:
    """Yield a pulse in parts that can be sent: many lines that were written at once are several pulses."""
    if not isinstance(pulse, events.Log) or len(pulse.text) <= _BATCH:
        yield pulse
        return
    lines, size = list[str](), 0
    for line in pulse.lines:
        lines.append(line)
        size += len(line)
        if size > _BATCH:
            yield replace(pulse, text="\n".join(lines))
            lines, size = [], 0
    if lines:
        yield replace(pulse, text="\n".join(lines))


def _size(event: events.Event) -> int:
    return _OVERHEAD + (len(event.text) if isinstance(event, events.Log) else 0)
