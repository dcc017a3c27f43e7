"""Home: the process that owns a run which works at a place.

It creates the run, opens the place, sends the work, and puts each event that comes into the emitter as if it had
happened here. It decides how the run ended: as the far end says, or as crashed when the far end can't say it any more.
What the far end says is not believed but checked: a frame that is not expected now, a number out of order, a move that
no state allows end it. Its clock is not believed, either: only how much time has passed there.

A signal is passed on and not raised: this process waits, in slices, until the far end has come to its end.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from stagerun import events, exit_codes
from stagerun.authoring import sources
from stagerun.authoring.finding import Found
from stagerun.authoring.operation import LiveOperation
from stagerun.engine.emitter import Emitter
from stagerun.engine.endings import ending
from stagerun.engine.runner import Runner, Terms
from stagerun.engine.ticker import Ticker
from stagerun.errors import HeldError, IllegalTransition, OperationCancelled, PlaceError
from stagerun.journal.reading import Records
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.machine.settings import Origin, Project
from stagerun.remote import messages, rules
from stagerun.remote.line import SILENCE, Ended, Frame, Inbox
from stagerun.remote.messages import Hello, Work, convert
from stagerun.remote.places.place import Opened, Place
from stagerun.remote.rules import State
from stagerun.states import RunState
from stagerun.text.masking import Masker
from stagerun.view import RunView


if TYPE_CHECKING:
    from stagerun.resumption import Resumption

NO_ANSWER: Final = 10.0  # seconds of silence after a request to stop
GREETING: Final = 60.0  # seconds in which a far end comes after something else was said
_WAITING: Final = 10.0  # seconds until a line says what is waited for
_SLICE: Final = 0.2
_IT: Final = "the far process"


class Supervisor:
    """Runs an operation at a place, then those that it chains to.

    Args:
        place: where.
        project: the project whose recipe is sent.
        emitter, memory, interrupts, masker, clock, origin, terms, log_level: as for a Runner.

    """

    # As a receiver of interrupts: everything here is guarded, so nothing is ever raised.
    unwinds = OperationCancelled
    is_waiting = False

    def __init__(
        self,
        *,
        place: Place,
        project: Project,
        emitter: Emitter,
        memory: Records,
        interrupts: Interrupts,
        masker: Masker,
        clock: Clock,
        origin: Origin,
        terms: Terms,
        log_level: events.Level | None,
    ) -> None:
        self._place = place
        self._project = project
        self._emitter = emitter
        self._memory = memory
        self._interrupts = interrupts
        self._masker = masker
        self._clock = clock
        self._terms = terms
        self._log_level = log_level
        self._creator = Runner(
            outlet=emitter,
            memory=memory,
            interrupts=interrupts,
            masker=masker,
            clock=clock,
            origin=origin,
            terms=terms,
            place=place.name,
        )
        self._inbox = Inbox()
        self._state = State.OPENING
        self._opened: Opened | None = None
        self._there: Hello | None = None
        self._work: Callable[[], Work]
        self._secret = False
        self._number = 0
        self._begun_on = 0.0  # when the far end said hello, by the clock of here
        self._latest = 0.0
        self._opened_on = 0.0
        self._stops = deque[str | None]()
        self._asked_on: float | None = None
        self._told_on: float | None = None

    def run(
        self,
        found: Found,
        operation: LiveOperation,
        *,
        resumption: "Resumption | None" = None,
        timeout: float | None = None,
        created: Callable[[int], None] = lambda _: None,
    ) -> RunView:
        """Record a run of `operation`, and supervise it and what it chains to; as `Runner.run`."""
        modules = sources.collect(found, self._project)
        with self._interrupts:
            view = self._creator.create(found, operation, resumption)
            created(view.id)

            def work() -> Work:
                view = self._view
                return Work(
                    target=found.target,
                    recipe=found.recipe,
                    module=type(operation).__module__,
                    operation=type(operation).__name__,
                    source_hash=found.source_hash(),
                    modules=modules,
                    params=operation.params() | operation.secret_values(),
                    view=replace(view, plan=replace(view.plan, inherited={})),  # home looks it up itself
                    limit=timeout,
                    terms=self._terms,
                    log_level=self._log_level,
                    left=None if timeout is None else max(0.0, timeout - (time.monotonic() - begun)),
                )

            self._work, self._secret = work, bool(operation.secret_values())
            ticker = Ticker(self._emitter, self._interrupts, self._clock, lambda: None)
            with ticker.ticking():
                self._creator.wait_for_turn(operation)  # here, where it holds no place
                begun = time.monotonic()
                with self._interrupts.limit(timeout, "the run"):
                    self._supervise({each.variable for each in operation.parameters.values() if each.secret})
        self._emitter.close()
        return self._view

    # As a receiver of interrupts.

    def notify(self) -> None:
        # After the end of the run a signal is not noted, but its hooks are to be cut short.
        self._stops.append(self._interrupts.signal or ("SIGINT" if self._state is State.AFTERWARDS else None))
        if self._state in (State.WORKING, State.AFTERWARDS):
            self._pass_on()
        self._inbox.wake()

    def is_due(self, *, blocked: bool) -> bool:
        return False

    def _pass_on(self) -> None:
        """Tell the far end to stop, as often as it was asked for."""
        with suppress(IndexError):  # there is none left
            while True:
                name = self._stops.popleft()
                self._asked_on = self._asked_on or time.monotonic()
                if name is not None and self._opened is not None:  # the far end knows its time limit itself
                    self._opened.line.send(["stop", name])

    # The course of a run.

    def _supervise(self, hidden: set[str]) -> None:
        if self._interrupts.stopping:  # while it waited for its turn
            self._end_before_work()
            return
        self._interrupts.receiver = self
        try:
            self._opened_on = time.monotonic()
            self._opened = self._place.open(self._inbox.put, self._inbox.end, hidden)
            while self._state is not State.OVER:
                self._turn(self._opened)
        except PlaceError as error:
            self._refuse(error.message)
        finally:
            self._interrupts.receiver = None
            self._leave()

    def _leave(self) -> None:
        """Let go of the far end: it has ended the run, or is not to go on."""
        if self._opened is None:
            return
        end = self._view.end
        if end is None or end.state is RunState.CRASHED or self._there is None:
            self._opened.kill()
        else:
            self._opened.close()

    def _turn(self, opened: Opened) -> None:
        frame = self._inbox.get(_SLICE)
        if self._emitter.failure is not None:
            raise self._emitter.failure
        for line in opened.lines():
            self._emitter.emit(events.Log(line, "error", "place"))
        if self._state is State.OPENING and self._interrupts.stopping:
            self._end_before_work()
        elif frame is None:
            self._look(opened)
        elif isinstance(frame, Ended):
            self._lose(opened, frame.wrong)
        else:
            try:
                self._hear(opened, frame)
            except (ValueError, IllegalTransition) as error:
                self._crash(f"{_IT} broke the protocol: {error}")

    def _look(self, opened: Opened) -> None:
        """Look at the time."""
        now = time.monotonic()
        if self._state is State.OPENING:
            if opened.line.greeted_for > GREETING:
                self._refuse(f"{_IT} did not come, but somebody said:\n{_indented(opened.line.greeting)}")
            elif now - self._opened_on > _WAITING and self._told_on is None:
                self._told_on = now
                news = opened.news()
                told = f"waiting for {self._place.name}" + (f": {news}" if news else "")
                self._emitter.emit(events.StatusChanged(told))
        elif self._asked_on is not None and min(now - self._asked_on, opened.line.silent_for) > NO_ANSWER:
            self._crash(f"{_IT} did not stop: nothing was heard of it for {NO_ANSWER:g} s")
        elif opened.line.silent_for > SILENCE:
            self._crash(f"nothing was heard of {_IT} for {SILENCE:g} s")

    def _lose(self, opened: Opened, wrong: str | None) -> None:
        """End a run whose stream has ended, unless it is over."""
        if self._state is State.AFTERWARDS:
            self._state = State.OVER
        elif wrong is not None:
            self._crash(f"{_IT} broke the protocol: {wrong}")
        elif self._state is State.OPENING:
            said = _indented(opened.line.greeting)
            self._refuse("\n".join(filter(None, [opened.reason(), said])))
        else:
            self._crash(opened.reason())

    # What the far end says.

    def _hear(self, opened: Opened, frame: Frame) -> None:
        if not rules.is_expected(frame[0], self._state, newer=self._is_newer):
            return
        match frame:
            case ["hello", hello]:
                self._greet(opened, convert(hello, Hello))
            case ["events", int(number), list(happened)]:
                self._take(number, happened)
                opened.line.send(["done", number])
            case ["recall", int(run), str(key)]:
                self._recall(opened, run, key)
            case ["ahead"]:
                self._tell_what_is_ahead(opened)
            case ["over", end, plan, bool(exclusive)]:
                self._hand_over(opened, rules.link_end(end), rules.next_plan(plan, self._view), exclusive=exclusive)
            case ["aside", log]:
                self._emitter.aside(convert(log, events.Log))
            case ["refused", str(message)]:
                self._refuse(message)
            case _:
                raise ValueError(f"{frame[0]!r} has another form")

    def _greet(self, opened: Opened, hello: Hello) -> None:
        self._there = hello
        if (why := messages.mismatch(hello, messages.hello(), self._place.name)) is not None:
            self._refuse(why)
            return
        if self._secret and self._place.trust != "any" and hello.boot_id != messages.hello().boot_id:
            self._refuse(f"the way to {hello.host} is not encrypted, and the operation has a secret")
            return
        self._begun_on = self._clock.wall()
        opened.line.send(["work", self._work()])
        self._state = State.WORKING
        self._pass_on()

    def _take(self, number: int, happened: Sequence[Any]) -> None:
        """Emit the events up to that number."""
        if number != self._number + len(happened):
            raise ValueError(f"event {number} came after {self._number} with {len(happened)} events")
        for each in happened:
            match each:
                case [int() | float() as moment, str(kind), data]:
                    self._emit(moment, kind, data)
                case _:
                    raise ValueError("an event has another form")
            self._number += 1
            if self._state is not State.WORKING:
                return  # what comes after the end is not heard

    def _emit(self, moment: float, kind: str, data: object) -> None:
        event = rules.event(kind, data, self._view, newer=self._is_newer)
        if event is None:
            return
        if isinstance(event, events.RunStarted):
            assert self._there is not None
            event = events.RunStarted(worker=self._there.worker)
        self._emitter.emit(event, at=self._at(moment))
        if isinstance(event, events.RunFinished):
            self._state = State.AFTERWARDS
            self._asked_on = None

    def _at(self, moment: float) -> float:
        """Return when something happened, by the clock of here: never before what came earlier, never in the future."""
        self._latest = max(self._latest, min(self._clock.wall(), self._begun_on + moment))
        return self._latest

    def _recall(self, opened: Opened, run: int, key: str) -> None:
        if run != self._view.id:
            raise ValueError(f"it asked for what run {run} has stored")
        with self._emitter.lock:
            found = self._memory.recall(run, key)
        for each in found:
            opened.line.send(["recalled", each.run, each.stored.kind, each.stored])
        opened.line.send(["recalled", None, None, None])

    def _tell_what_is_ahead(self, opened: Opened) -> None:
        with self._emitter.lock:
            found = self._memory.ahead(self._view)
        opened.line.send(["ahead", found])

    def _hand_over(self, opened: Opened, end: events.RunFinished, plan: events.RunCreated, *, exclusive: bool) -> None:
        try:
            with self._emitter.lock:
                self._emitter.record_crashes(self._memory.unrecorded_crashes())
                plan = replace(plan, expected=self._memory.expected(plan.target))
                self._emitter.hand_over(end, plan, exclusive=exclusive)
        except HeldError as held:
            opened.line.send(["held", held.message, held.hint])
        else:
            opened.line.send(["go", self._view.id])

    # How it ends when the far end does not say it.

    def _refuse(self, message: str) -> None:
        """End a run that could not be begun."""
        self._emitter.settle()
        self._start()
        self._finish(RunState.FAILED, exit_codes.NOT_STARTED, message)

    def _crash(self, message: str) -> None:
        if self._state is State.AFTERWARDS:
            self._state = State.OVER  # what happens now does not change how it ended
            return
        self._finish(RunState.CRASHED, exit_codes.FAILED, message)

    def _end_before_work(self) -> None:
        end = ending(None, None, self._interrupts, seconds=0.0, source=None, mask=self._masker.mask)
        if end.state is not RunState.CANCELLED:
            self._start()  # a time limit can only end what has started
        self._emitter.emit(end)
        self._state = State.OVER

    def _start(self) -> None:
        if self._view.state is RunState.PENDING:
            self._emitter.emit(events.RunStarted())

    def _finish(self, state: RunState, code: int, message: str) -> None:
        view = self._view
        seconds = max(0.0, self._clock.wall() - (view.started_on or self._clock.wall()))
        stage = view.active.name if view.active else None
        error = events.Failure(type="", message=message, stage=stage)
        self._emitter.emit(events.RunFinished(state=state, seconds=seconds, exit_code=code, error=error))
        self._state = State.OVER

    @property
    def _view(self) -> RunView:
        view = self._emitter.view
        assert view is not None
        return view

    @property
    def _is_newer(self) -> bool:
        return self._there is not None and self._there.protocol > messages.PROTOCOL


def _indented(greeting: bytes) -> str:
    lines = greeting.decode("utf-8", "backslashreplace").split("\n")
    return "\n".join(f"  {line}" for line in lines if line.strip())
