"""The items of a `p.map` on their way: taken a few ahead, started, tried again, stored, and returned in order."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from stagerun.authoring import retries
from stagerun.authoring.capture import Write
from stagerun.authoring.item_results import ItemResults
from stagerun.authoring.pool_process import Answer
from stagerun.errors import Interruption, ItemsFailed, RecipeError
from stagerun.machine.clock import Clock


_T = TypeVar("_T")
_Item_contra = TypeVar("_Item_contra", contravariant=True)

GRACE: Final = 5.0  # seconds that running items get to end by themselves after a cancel
_WAITING: Final = 8  # finished items that may wait for an earlier one, for each in flight
LOOK: Final = 0.2
_SHOWN: Final = 200


class Crew(Protocol[_Item_contra]):
    """What works on the items: threads, processes, the tasks of an event loop.

    Attributes:
        ahead: how many items may be in flight.

    """

    ahead: int

    def submit(self, item: _Item_contra, *, last_try: bool) -> Any:
        """Start an item and return its future; if it fails on its `last_try`, no more items start."""

    def answer(self, future: Any) -> Answer:
        """Return how a finished item went."""

    def stop(self, futures: Iterable[Any]) -> None:
        """Start no more items."""

    def close(self, *, patient: bool) -> None:
        """Release what works; wait for running items only if `patient`."""


class Rules(NamedTuple):
    """How a map treats its items.

    Attributes:
        attempts: how often an item is tried.
        keep_going: True to try all items, and raise what failed at the end.

    """

    attempts: int = 1
    keep_going: bool = False


class Host(NamedTuple):
    """What a map needs from its run.

    Attributes:
        guard: holds back an interruption, which could leave the locks of a future held.
        check: raises if the run is to stop.
        finished: called with how many items are finished.
        write: writes a line that an item wrote in another process: text, level, stream.
        warn: writes a warning.
        clock: the source of time for the waits between two tries.

    """

    guard: AbstractContextManager[object]
    check: Callable[[], None]
    finished: Callable[[int], None]
    write: Write
    warn: Callable[[str], None]
    clock: Clock


class _Item(Generic[_T]):
    """One item.

    Attributes:
        position, value: the item.
        mark: its fingerprint, if results are stored.
        attempt: the number of the current try.
        future: the current try, or None.
        answer: how it went, or None while it is not finished.

    """

    __slots__ = ("answer", "attempt", "future", "mark", "position", "value")

    def __init__(self, position: int, value: _T, mark: int | None) -> None:
        self.position = position
        self.value = value
        self.mark = mark
        self.attempt = 0
        self.future: Any = None
        self.answer: Answer | None = None


def run(
    workers: Crew[_T],
    items: Iterable[_T],
    *,
    total: int | None,
    rules: Rules,
    host: Host,
    stored: ItemResults | None,
) -> list[Any]:
    """Return the results in the order of `items`.

    The first failure stops the rest and is raised with its item, unless the rules say to keep going: then all are
    tried, and ItemsFailed is raised at the end.
    """
    flight = Flight(workers, items, total=total, rules=rules, host=host, stored=stored)
    patient = False
    try:
        while flight.goes_on():
            host.check()
            flight.take_off()
            if flight.has_to_wait:
                flight.wait()
            flight.land()
        flight.finish()
        patient = True
    except Interruption:
        _stop(flight, GRACE)
        raise
    except BaseException as error:
        _stop(flight, None)
        patient = True
        failure = flight.first_failure()
        if failure is None and stored is not None and isinstance(error, RecipeError):
            stored.refused(error)
        raise failure or error from None
    finally:
        workers.close(patient=patient)
    return flight.results


def _stop(flight: "Flight[_T]", grace: float | None) -> None:
    """Start no more items, wait for the running ones, and put away what they came to."""
    flight.halt()
    deadline = None if grace is None else time.monotonic() + grace
    while flight.in_air and (deadline is None or time.monotonic() < deadline):
        flight.wait()
        flight.settle()
    flight.put_away()


class Flight(Generic[_T]):
    """The items that were taken, and whose results were not yet.

    Attributes:
        results: the results so far, in the order of the items.
        more: True if items may be left to take.
        in_air: how many items are being worked on.

    """

    def __init__(
        self,
        workers: Crew[_T],
        items: Iterable[_T],
        *,
        total: int | None,
        rules: Rules,
        host: Host,
        stored: ItemResults | None,
    ) -> None:
        self.results: list[Any] = []
        self._workers = workers
        self._source = iter(items)
        self._total = total
        self._rules = rules
        self._host = host
        self._stored = stored
        self.more = True
        self.in_air = 0
        self._taken = 0
        self._finished = 0 if stored is None else len(stored)
        self._line = deque[_Item[_T]]()
        self._landed = SimpleQueue[_Item[_T]]()
        self._bell = SimpleQueue[None]()  # an interruption may lose what is waited for
        self._again: list[tuple[float, _Item[_T]]] = []
        self._failed: dict[int, Exception] = {}
        self._fatal = False

    def goes_on(self) -> bool:
        return self.more or bool(self._line)

    @property
    def has_room(self) -> bool:
        """True if another item can be taken."""
        ahead = self._workers.ahead
        return self.more and self.in_air < ahead and len(self._line) < ahead * _WAITING

    @property
    def has_to_wait(self) -> bool:
        """True if nothing can be done before an item is finished."""
        return bool(self._line) and self._line[0].answer is None and not self.has_room

    def take_off(self) -> None:
        """Take items while there is room and none has finished, and start what is to be tried again."""
        self.start_again()
        while self.has_room:
            for value in self._source:
                self.take(value)
                break
            else:
                self.more = False
            if not self._bell.empty():
                return

    def start_again(self) -> None:
        """Start what is to be tried again, if it is time."""
        if not self._again:
            return
        now = self._host.clock.monotonic()
        for due in [each for each in self._again if each[0] <= now]:
            self._again.remove(due)
            self._start(due[1])

    def take(self, value: _T) -> None:
        """Start an item, unless its result is stored."""
        position = self._taken
        self._taken += 1
        item = _Item(position, value, None if self._stored is None else self._stored.mark(value))
        if self._stored is not None and self._stored.known(position, item.mark):
            item.answer = Answer([], result=self._stored.recalled(position))
            self._line.append(item)
        else:
            self._start(item)

    def land(self) -> None:
        """Take what is finished."""
        with self._host.guard:
            for item in self._finished_items():
                self._take(item)
            if self._fatal and (error := self.first_failure()) is not None:
                raise error
            self._release()
            if self._stored is not None:
                self._stored.store_due(self._total if self.more else self._taken)

    def finish(self) -> None:
        """Store what is left; raise what has failed."""
        with self._host.guard:
            if self._stored is not None:
                self._stored.finish(self._taken) if not self._failed else self._stored.store(self._taken)
        if self._failed:
            message = f"{len(self._failed):,} of {self._taken:,} items failed"
            raise ItemsFailed(message, self._failed, self.results)

    def halt(self) -> None:
        """Start no more items."""
        with self._host.guard:
            self._workers.stop(item.future for item in self._line if item.future is not None)
        self._again.clear()

    def settle(self) -> None:
        """Note what has finished since the halt."""
        with self._host.guard, contextlib.suppress(RecipeError):  # the first error is the one to report
            for item in self._finished_items():
                self._settle(item)

    def put_away(self) -> None:
        """Write the output of what has finished, and store its results."""
        with self._host.guard, contextlib.suppress(RecipeError):
            for item in self._line:
                self._write(item)
            if self._stored is not None:
                self._stored.store(self._total if self.more else self._taken)

    def first_failure(self) -> BaseException | None:
        """Return the error of the first failed item in order, with the item in a note."""
        for item in self._line:
            error = item.answer.raised() if item.answer else None
            if error is not None:
                return _with_note(error, item.value)
        return None

    def _start(self, item: _Item[_T]) -> None:
        with self._host.guard:
            item.attempt += 1
            last = item.attempt >= self._rules.attempts and not self._rules.keep_going
            item.future = self._workers.submit(item.value, last_try=last)
            self.in_air += 1
            if item.attempt == 1:
                self._line.append(item)
            item.future.add_done_callback(lambda _: self._has_finished(item))

    def _has_finished(self, item: _Item[_T]) -> None:
        self._landed.put(item)
        if self._bell.empty():  # whoever hears it takes all that has landed
            self._bell.put(None)

    def _finished_items(self) -> Iterator[_Item[_T]]:
        while not self._bell.empty():
            self._bell.get_nowait()
        while not self._landed.empty():
            yield self._landed.get_nowait()

    def _take(self, item: _Item[_T]) -> None:
        """Note how an item went, or that it has to be tried again."""
        error = self._settle(item)
        if error is None:
            return
        if item.attempt < self._rules.attempts and retries.is_worth_it(error):
            self._write(item)
            item.answer = None
            wait = retries.pause(item.attempt)
            self._again.append((self._host.clock.monotonic() + wait, item))
            told = retries.next_try(error, item.attempt, self._rules.attempts, wait)
            self._host.warn(f"item {_shown(item.value)}: {told}")
        elif self._rules.keep_going and isinstance(error, Exception):
            self._count()
        else:
            self._fatal = True

    def _settle(self, item: _Item[_T]) -> BaseException | None:
        """Note how an item went, and return what it raised."""
        assert item.future is not None
        self.in_air -= 1
        answer = self._workers.answer(item.future)
        item.future = None  # its callback holds the item: together they would stay until the garbage collector comes
        if not answer.started:
            return None
        item.answer, error = answer, answer.raised()
        if error is None:
            if self._stored is not None:
                self._stored.look_at(item.value, item.mark, answer.result)
                self._stored.add(item.position, item.mark, answer.result)
            self._count()
        return error

    def _count(self) -> None:
        self._finished += 1
        self._host.finished(self._finished)

    def _release(self) -> None:
        """Move what is finished, in order, to the results."""
        while self._line and (answer := self._line[0].answer) is not None:
            item = self._line.popleft()
            self._write(item)
            error = answer.raised()
            if isinstance(error, Exception):
                self._failed[item.position] = error
                _with_note(error, item.value)
            self.results.append(answer.result)

    def _write(self, item: _Item[_T]) -> None:
        for line in item.answer.said if item.answer else ():
            self._host.write(*line)

    @property
    def patience(self) -> float:
        """The seconds after which something may be due: a new try, or storing results."""
        now = self._host.clock.monotonic()
        return min([LOOK, *(max(0.0, due - now) for due, _ in self._again)])

    @property
    def only_waits(self) -> bool:
        """True if nothing is being worked on until the next try of an item."""
        return bool(self._again) and not self.in_air

    def wait(self) -> None:
        """Wait until an item is finished, or something is due."""
        if self.only_waits:
            self._host.clock.sleep(self.patience)
            return
        with contextlib.suppress(Empty):
            self._bell.get(timeout=self.patience)


def _with_note(error: BaseException, item: object) -> BaseException:
    note = f"in p.map, with the item {_shown(item)}"
    with contextlib.suppress(Exception):  # an error may refuse notes
        if not isinstance(error, Interruption) and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    return error


def _shown(item: object) -> str:
    try:
        text = repr(item)
    except Exception:
        text = f"of {type(item).__name__} that can't be shown"
    # Never cut it: a part of a secret would not be masked.
    return text if len(text) <= _SHOWN else f"a long {type(item).__name__}"
