"""Many items at once: a function mapped over them by the executors of `concurrent.futures`, a few ahead at a time."""

import contextlib
import contextvars
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from stagerun.authoring import pool_process
from stagerun.errors import Interruption, RecipeError


_T = TypeVar("_T")
_R = TypeVar("_R")
Write = Callable[[str, str, str | None], None]

GRACE: Final = 5.0  # seconds that running items get to end by themselves after a cancel
_AHEAD: Final = 2  # items in flight for each worker: none waits for its next item
_WAITING: Final = 8  # finished items that may wait for an earlier one, for each in flight
_LOOK: Final = 0.2
_SHOWN: Final = 200
THREADS: Final = "stagerun-map"


class Workers(Generic[_T, _R]):
    """What calls the function of a `p.map`: each subclass decides how items are sent and results come back.

    Attributes:
        ahead: how many items may be in flight.

    """

    def __init__(self, fn: Callable[[_T], _R], executor: Executor, ahead: int) -> None:
        self._fn = fn
        self._executor = executor
        self.ahead = ahead

    def submit(self, item: _T) -> "Future[Any]":
        return self._executor.submit(self._fn, item)

    def error_of(self, future: "Future[Any]") -> BaseException | None:
        """Return what a finished item raised, or None."""
        return future.exception()

    def result_of(self, future: "Future[Any]") -> _R:
        """Return the result of a finished item, or raise what it raised."""
        result: _R = future.result()
        return result

    def stop(self, futures: Iterable["Future[Any]"]) -> None:
        """Start no more items."""
        for future in futures:
            future.cancel()

    def close(self, *, patient: bool) -> None:
        """Release the executor; wait for running items only if `patient`."""


class Lent(Workers[_T, _R]):
    """An executor that the recipe passed in: it is used, and never closed.

    The function is sent unchanged: the workers may be on another machine, without stagerun.
    """

    def __init__(self, fn: Callable[[_T], _R], executor: Executor, count: int | None, write: Write) -> None:
        # Python's executors keep their size in this attribute, and others copy them; no public name exists.
        super().__init__(fn, executor, count or _AHEAD * (getattr(executor, "_max_workers", None) or _default_count()))


class _Telling(Workers[_T, _R]):
    """Workers in other processes that have stagerun: their output comes back with the result, and is written then."""

    _write: Write

    def submit(self, item: _T) -> "Future[Any]":
        return self._executor.submit(pool_process.call, self._fn, item)

    def error_of(self, future: "Future[Any]") -> BaseException | None:
        if (error := future.exception()) is not None:
            return error
        answer: pool_process.Answer = future.result()
        return answer.raised()

    def result_of(self, future: "Future[Any]") -> _R:
        answer: pool_process.Answer = future.result()
        for line in answer.said:
            self._write(*line)
        if (error := self.error_of(future)) is not None:
            raise error
        result: _R = answer.result
        return result


class LentProcesses(_Telling[_T, _R], Lent[_T, _R]):
    """A ProcessPoolExecutor that the recipe passed in: its processes run the same Python."""

    def __init__(self, fn: Callable[[_T], _R], executor: Executor, count: int | None, write: Write) -> None:
        super().__init__(fn, executor, count, write)
        self._write = write


class Threads(Workers[_T, _R]):
    """Threads of our own, each item in a copy of the caller's context."""

    def __init__(self, fn: Callable[[_T], _R], count: int | None) -> None:
        count = count or _default_count()
        super().__init__(fn, ThreadPoolExecutor(count, thread_name_prefix=THREADS), _AHEAD * count)
        self._pid = os.getpid()
        self._context = contextvars.copy_context()
        self._stopped = threading.Event()

    def submit(self, item: _T) -> "Future[Any]":
        return self._executor.submit(self._call, item)

    def stop(self, futures: Iterable["Future[Any]"]) -> None:
        self._stopped.set()
        super().stop(futures)

    def close(self, *, patient: bool) -> None:
        self._executor.shutdown(wait=patient, cancel_futures=True)

    def _call(self, item: _T) -> _R | None:
        if self._stopped.is_set():
            return None  # the result is no longer needed
        try:
            return self._context.copy().run(self._fn, item)
        except BaseException:
            self._stopped.set()  # at once: this thread would start its next item
            raise
        finally:
            if os.getpid() != self._pid:
                os._exit(0)  # a fork that returned: the other items are not its own


class Processes(_Telling[_T, _R]):
    """New processes of our own; `write` gets their output, in the order of the items."""

    def __init__(self, fn: Callable[[_T], _R], count: int | None, write: Write) -> None:
        try:
            pickle.dumps(fn)
        except Exception as error:
            raise RecipeError(
                f"p.map: {fn!r} can't be sent to another process: {error}",
                "use a function at the top of the recipe, or threads",
            ) from None
        # A fork of a process with threads may hang; a spawned process can't.
        context = multiprocessing.get_context("spawn")
        self._stopped = context.Event()
        self._write = write
        count = count or os.cpu_count() or 1
        executor = ProcessPoolExecutor(
            count,
            mp_context=context,
            initializer=pool_process.begin,
            initargs=(getattr(fn, "__module__", None), pool_process.recipes(), os.getpid(), self._stopped),
        )
        super().__init__(fn, executor, _AHEAD * count)

    def submit(self, item: _T) -> "Future[Any]":
        with _ctrl_c_held():  # a process that is still starting can't handle it
            return super().submit(item)

    def stop(self, futures: Iterable["Future[Any]"]) -> None:
        self._stopped.set()  # a cancelled future would break the pool when its process ends

    def close(self, *, patient: bool) -> None:
        if patient:
            self._executor.shutdown()
            return
        processes = list((getattr(self._executor, "_processes", None) or {}).values())
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_LOOK)
            process.kill()
        self._executor.shutdown()


def workers_for(
    fn: Callable[[_T], _R], count: int | None, *, processes: bool, executor: Executor | None, write: Write
) -> Workers[_T, _R]:
    """Return the workers that call `fn`: `executor` if given, else `count` processes or threads of our own."""
    if executor is not None:
        # Only for this class is it known that the workers have stagerun.
        kind = LentProcesses if isinstance(executor, ProcessPoolExecutor) else Lent
        return kind(fn, executor, count, write)
    return Processes(fn, count, write) if processes else Threads(fn, count)


def run(
    workers: Workers[_T, _R],
    items: Iterable[_T],
    *,
    guard: AbstractContextManager[object],
    check: Callable[[], None],
    finished: Callable[[int, int], None],
) -> list[_R]:
    """Return the results in the order of `items`; the first failure stops the rest and is raised with its item.

    Args:
        workers: do the work.
        items: taken one by one, never far ahead.
        guard: holds back an interruption, which could leave the locks of a future held.
        check: raises if the run is to stop.
        finished: called with how many are finished, and how many of these are finished without a gap from the first.

    """
    flight = _Flight(workers, iter(items), guard, finished)
    patient = False
    try:
        while flight.goes_on():
            check()
            flight.take_off()
            flight.land()
        patient = True
    except Interruption:
        flight.stop(GRACE)
        raise
    except BaseException as error:
        flight.stop(None)
        patient = True
        raise flight.first_failure() or error from None
    finally:
        workers.close(patient=patient)
    return flight.results


class _Flight(Generic[_T, _R]):
    """The items that were taken, and whose results were not yet."""

    def __init__(
        self,
        workers: Workers[_T, _R],
        source: Iterator[_T],
        guard: AbstractContextManager[object],
        finished: Callable[[int, int], None],
    ) -> None:
        self.results: list[_R] = []
        self._workers = workers
        self._source = source
        self._more = True
        self._guard = guard
        self._finished = finished
        self._flying = deque[tuple[_T, Future[Any]]]()
        self._landed = SimpleQueue[None]()

    def goes_on(self) -> bool:
        return self._more or bool(self._flying)

    def take_off(self) -> None:
        """Submit the next item, if there is room for one."""
        if not self._has_room():
            return
        for item in self._source:
            with self._guard:
                future = self._workers.submit(item)
                self._flying.append((item, future))
                future.add_done_callback(lambda _: self._landed.put(None))
            return
        self._more = False

    def land(self) -> None:
        """Take the results that are ready; wait for one if no more items can be taken."""
        if not self._has_room() and self._flying and not self._flying[0][1].done():
            with contextlib.suppress(Empty):
                self._landed.get(timeout=_LOOK)
        with self._guard:
            self._count()
            if (error := self.first_failure()) is not None:
                raise error
            while self._flying and self._flying[0][1].done():
                self.results.append(self._workers.result_of(self._flying.popleft()[1]))

    def stop(self, grace: float | None) -> None:
        """Start no more items, wait for the running ones, and write their output."""
        with self._guard:
            self._workers.stop(future for _, future in self._flying)
        deadline = None if grace is None else time.monotonic() + grace
        while self._undone() and (deadline is None or time.monotonic() < deadline):
            with contextlib.suppress(Empty):
                self._landed.get(timeout=_LOOK)
        with self._guard:
            self._count()
            for _, future in self._flying:
                if future.done() and not future.cancelled():
                    with contextlib.suppress(BaseException):
                        self._workers.result_of(future)

    def first_failure(self) -> BaseException | None:
        """Return the error of the first failed item in order, with the item in a note."""
        for item, future in self._flying:
            error = self._workers.error_of(future) if future.done() and not future.cancelled() else None
            if error is not None:
                note = f"in p.map, with the item {_shown(item)}"
                with contextlib.suppress(Exception):  # an error may refuse notes
                    if not isinstance(error, Interruption) and note not in getattr(error, "__notes__", ()):
                        error.add_note(note)
                return error
        return None

    def _has_room(self) -> bool:
        ahead = self._workers.ahead
        return self._more and self._undone() < ahead and len(self._flying) < ahead * _WAITING

    def _undone(self) -> int:
        with self._guard:
            return sum(not future.done() for _, future in self._flying)

    def _count(self) -> None:
        succeeded = [self._has_succeeded(future) for _, future in self._flying]
        in_order = succeeded.index(False) if False in succeeded else len(succeeded)
        self._finished(len(self.results) + sum(succeeded), len(self.results) + in_order)

    def _has_succeeded(self, future: "Future[Any]") -> bool:
        return future.done() and not future.cancelled() and self._workers.error_of(future) is None


def _shown(item: object) -> str:
    try:
        text = repr(item)
    except Exception:
        text = f"of {type(item).__name__} that can't be shown"
    # Never cut it: a part of a secret would not be masked.
    return text if len(text) <= _SHOWN else f"a long {type(item).__name__}"


def _default_count() -> int:
    return min(32, (os.cpu_count() or 1) + 4)


@contextlib.contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Block SIGINT in this thread, and in the processes that it starts, during the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
