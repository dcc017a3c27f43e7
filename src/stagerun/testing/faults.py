"""What a test has ordered to go wrong: failures, cancels and crashes, each at an exact place of a run."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from mmap import mmap
from types import TracebackType
from typing import Any, Final, Literal

from stagerun import events
from stagerun.authoring.operation import LiveOperation
from stagerun.authoring.resumable_loop import POSITION_SECONDS
from stagerun.authoring.session import Session
from stagerun.authoring.tracking import Loop
from stagerun.engine.emitter import BATCH_SECONDS, Emitter
from stagerun.engine.runner import Runner
from stagerun.machine.interrupts import Interrupts
from stagerun.testing.clock import HandClock


_A_LOOK: Final = POSITION_SECONDS + 0.1  # after so many seconds a run stores how far it is


class PlannedFailure(Exception):
    """The failure that `fail_at` raises unless it was given another one."""


class NotReached(AssertionError):
    """A run ended without coming to the place where a test had ordered something to go wrong."""


@dataclass(eq=False)
class Fault:
    """One thing that is to go wrong, once.

    Attributes:
        kind: what happens there.
        stage: in this stage; on its own, as soon as it is entered.
        item: when a loop has finished so many items.
        key: at the call or in the loop with this key; on its own, as soon as something is stored under it.
        before: True for the moment before that is stored.
        line: when a log line contains this text.
        error: what a failure raises.
        signal: the signal that a cancel stands for.
        lost: how many finished items a crash forgets.
        looked: True once the run was made to store how far it is.
        stored: True once a map has done so.

    """

    kind: Literal["fail", "cancel", "crash"]
    stage: str | None = None
    item: int | None = None
    key: str | None = None
    before: bool = False
    line: str | None = None
    error: BaseException | None = None
    signal: str = "SIGINT"
    lost: int = 0
    looked: bool = False
    stored: bool = False
    _happened: mmap = field(default_factory=lambda: mmap(-1, 1))  # a fork shares it

    @property
    def happened(self) -> bool:
        return self._happened[0] != 0

    def note(self) -> None:
        """Note that it has happened."""
        self._happened[0] = 1

    def __str__(self) -> str:
        told = [] if self.stage is None else [repr(self.stage)]
        told += [f"{name}={value!r}" for name in ("item", "key", "line") if (value := getattr(self, name)) is not None]
        return f"{self.kind}_at({', '.join(told)}{', before=True' if self.before else ''})"

    def check(self) -> None:
        """Raise ValueError if it names no place, or one that does not exist."""
        if not {self.stage, self.item, self.key, self.line} - {None}:
            raise ValueError(f"{self.kind}_at needs a place: a stage, item=, key= or line=")
        if self.before and (self.key is None or self.item is not None):
            raise ValueError(f"{self}: before=True needs a key, and no item")
        if self.line is not None and (self.item is not None or self.key is not None):
            raise ValueError(f"{self}: line= can't be combined with item= or key=")
        if self.item is not None and self.item < self.lost:
            raise ValueError(f"{self}: lost={self.lost} is more than the items that are finished")

    def is_at(self, event: events.Event, stage: str | None) -> bool:
        """Return True if it is to happen at `event`, in the open declared `stage`."""
        match event:
            case events.StageEntered(stage=entered):
                return self.stage == entered and not {self.item, self.key, self.line} - {None}
            case events.Log(text=text):
                return self.line is not None and self.stage in (None, stage) and self.line in text
            case events.PositionReached(key=key, position=position):
                return self.key == key and self.stage in (None, stage) and position >= (self.item or 0)
            case events.Stored(key=key):
                return self.key == key and self.stage in (None, stage) and self.item is None
            case events.ProgressMoved(ended=True, done=int(done)):
                return self.key is None and self._is_among(done, stage)
            case _:
                return False

    def is_in(self, loop: Loop, session: Session) -> bool:
        """Return True if it is to happen in `loop`, now or later."""
        if self.item is None or self.stage not in (None, session.blocks.stage):
            return False
        return self.key is None or session.recorder.keys.place().inside == self.key

    def _is_among(self, done: int, stage: str | None) -> bool:
        return self.item is not None and self.stage in (None, stage) and done >= self.item


class Faults(Interrupts):
    """Lets happen what was ordered, where a signal could arrive as well.

    Args:
        ordered: what is to happen.
        clock: the clock of the test.

    Attributes:
        session: the session of the current run, or None.
        look_at_run: does what the ticker does a few times a second.
        write_queue: writes what waits to be written.

    """

    def __init__(self, ordered: Iterable[Fault], clock: HandClock) -> None:
        self._stopping = False
        self._asking = False
        super().__init__(monotonic=clock.monotonic)
        self.session: Session | None = None
        self.look_at_run: Callable[[], None] = lambda: None
        self.write_queue: Callable[[], None] = lambda: None
        self._ordered = list(ordered)
        self._clock = clock
        self._raise_next: Fault | None = None

    @property
    def stopping(self) -> bool:
        """True once the run was asked to stop. A loop asks before each item, so this is where items are counted."""
        if not self._asking and self._is_exposed():
            self._asking = True
            try:
                self.look()  # at the time limits: no ticker does it
                self._count_items()
            finally:
                self._asking = False
        return self._stopping

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self._stopping = value

    def check(self) -> None:
        self._raise_waiting()
        _ = self.stopping
        super().check()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, value, trace)
        if kind is None:
            self._raise_waiting()

    def cover(self) -> None:
        # The recipe ends without another call of `p`; an error of its own comes first.
        error = self._due() if sys.exception() is None else None
        super().cover()
        if error is not None:
            raise error

    def before(self, event: events.Event) -> None:
        """Let happen what is due before an event is recorded."""
        self._meet(event, [each for each in self._ordered if each.before])

    def after(self, event: events.Event) -> None:
        """Let happen what is due after an event was recorded."""
        self._meet(event, [each for each in self._ordered if not each.before])
        if isinstance(event, events.ResultsStored):
            for fault in self._ordered:
                fault.stored = fault.looked and fault.key == event.key
            self._count_items()

    def _meet(self, event: events.Event, faults: Iterable[Fault]) -> None:
        if os.getpid() != self._pid:
            return  # a fork of the recipe is no part of the run
        stage = self.session.blocks.stage if self.session is not None else None
        for fault in faults:
            if fault.is_at(event, stage):
                self._let_happen(fault)
                break
        if self._is_exposed():
            self.check()

    def _count_items(self) -> None:
        session = self.session
        loop = session.loops.innermost if session is not None else None
        if session is None or loop is None:
            return
        for fault in self._ordered:
            if not fault.is_in(loop, session):
                continue
            assert fault.item is not None
            if fault.kind == "crash" and loop.done >= fault.item - fault.lost and not fault.looked:
                # As if the ticker had looked just now: it stores the position, and makes a map store its results.
                fault.looked = True
                self._clock.move(_A_LOOK)
                self.look_at_run()
            is_map = fault.key is not None and session.recorder.keys.user_of(fault.key) == "map"
            if loop.done >= fault.item and (fault.stored or not (fault.looked and is_map)):
                self._let_happen(fault)
                break
        self._raise_waiting()

    def _let_happen(self, fault: Fault) -> None:
        self._ordered.remove(fault)
        match fault.kind:
            case "crash":
                fault.note()
                self._clock.move(BATCH_SECONDS)
                self.write_queue()  # a real run that takes time loses only the lines of the last moment
                os.kill(os.getpid(), signal.SIGKILL)
            case "cancel":
                fault.note()
                self.request(fault.signal)
            case "fail":
                self._raise_next = fault

    def _is_exposed(self) -> bool:
        """Return True in the code of the recipe, and in what it calls outside a guarded block."""
        is_own = threading.get_ident() == self._thread and os.getpid() == self._pid
        return is_own and self._covered is not None and not self._depth

    def _raise_waiting(self) -> None:
        if (error := self._due()) is not None:
            raise error

    def _due(self) -> BaseException | None:
        """Take what is to be raised now."""
        if self._raise_next is None or not self._is_exposed():
            return None
        fault, self._raise_next = self._raise_next, None
        fault.note()
        return None if fault.error is None else fault.error.with_traceback(None)


class FaultyEmitter(Emitter):
    """Shows every event to the faults, before and after it is recorded."""

    def __init__(self, faults: Faults, *parts: Any) -> None:
        super().__init__(*parts)
        self._faults = faults

    def emit(self, event: events.Event, run: int | None = None, at: float | None = None) -> None:
        self._faults.before(event)
        super().emit(event, run, at)
        self._faults.after(event)


class FaultyRunner(Runner):
    """Shows the faults each session, and lets them look at the run; `on_begin` is called before a recipe begins."""

    def __init__(self, faults: Faults, on_begin: Callable[[LiveOperation, Session], None], **parts: Any) -> None:
        super().__init__(**parts)
        self._faults = faults
        self._on_begin = on_begin
        faults.look_at_run, faults.write_queue = self._ticker.look, self._outlet.tick

    def _begin(self, operation: LiveOperation) -> Session:
        self._faults.session = session = super()._begin(operation)
        self._on_begin(operation, session)
        return session
