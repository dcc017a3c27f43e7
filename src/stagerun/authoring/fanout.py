"""What works on the items of a `p.map`: the executors of `concurrent.futures`, our own and those of a recipe."""

import contextlib
import contextvars
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from stagerun.authoring import awaiting, pool_process
from stagerun.authoring.pool_process import Answer
from stagerun.authoring.workers import Workers
from stagerun.errors import RecipeError


_T = TypeVar("_T")

_AHEAD: Final = 2  # items in flight for each worker: none waits for its next item
_LOOK: Final = 0.2
_LEFT_OUT: Final = object()
THREADS: Final = "stagerun-map"


class Lent(Workers[_T]):
    """An executor that the recipe passed in: it is used, and never closed.

    The function is sent unchanged: the workers may be on another machine, without stagerun.
    """

    def __init__(self, fn: Callable[[_T], Any], executor: Executor, count: int | None) -> None:
        # Python's executors keep their size in this attribute, and others copy them; no public name exists.
        super().__init__(fn, executor, count or _AHEAD * (getattr(executor, "_max_workers", None) or _default_count()))


class _Telling(Workers[_T]):
    """Workers in other processes that have stagerun: their output comes back with the result."""

    def submit(self, item: _T, *, last_try: bool) -> "Future[Any]":
        return self._executor.submit(pool_process.call, self._fn, item, last_try)

    def answer(self, future: "Future[Any]") -> Answer:
        answer = super().answer(future)
        return answer.result if isinstance(answer.result, Answer) else answer


class LentProcesses(_Telling[_T], Lent[_T]):
    """A ProcessPoolExecutor that the recipe passed in: its processes run the same Python."""


class Threads(Workers[_T]):
    """Threads of our own, each item in a copy of the caller's context."""

    def __init__(self, fn: Callable[[_T], Any], count: int | None) -> None:
        count = count or _default_count()
        super().__init__(fn, ThreadPoolExecutor(count, thread_name_prefix=THREADS), _AHEAD * count)
        self._pid = os.getpid()
        self._context = contextvars.copy_context()
        self._stopped = threading.Event()

    def submit(self, item: _T, *, last_try: bool) -> "Future[Any]":
        return self._executor.submit(self._call, item, last_try)

    def answer(self, future: "Future[Any]") -> Answer:
        answer = super().answer(future)
        return Answer([], started=False) if answer.result is _LEFT_OUT else answer

    def stop(self, futures: Iterable["Future[Any]"]) -> None:
        self._stopped.set()
        super().stop(futures)

    def close(self, *, patient: bool) -> None:
        self._executor.shutdown(wait=patient, cancel_futures=True)

    def _call(self, item: _T, last_try: bool) -> Any:
        if self._stopped.is_set():
            return _LEFT_OUT
        try:
            return awaiting.plain(self._context.copy().run(self._fn, item), "map")
        except BaseException:
            if last_try:
                self._stopped.set()  # at once: this thread would start its next item
            raise
        finally:
            if os.getpid() != self._pid:
                os._exit(0)  # a fork that returned: the other items are not its own


class Processes(_Telling[_T]):
    """New processes of our own."""

    def __init__(self, fn: Callable[[_T], Any], count: int | None) -> None:
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
        count = count or os.cpu_count() or 1
        executor = ProcessPoolExecutor(
            count,
            mp_context=context,
            initializer=pool_process.begin,
            initargs=(getattr(fn, "__module__", None), pool_process.recipes(), os.getpid(), self._stopped),
        )
        super().__init__(fn, executor, _AHEAD * count)

    def submit(self, item: _T, *, last_try: bool) -> "Future[Any]":
        with _ctrl_c_held():  # a process that is still starting can't handle it
            return super().submit(item, last_try=last_try)

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


def check(workers: object, *, processes: bool, executor: object, key: str | None, kind: object) -> None:
    """Raise RecipeError if `p.map` was given what does not go together."""
    if workers is not None and (workers.__class__ is not int or workers < 1):
        raise RecipeError(f"p.map: workers must be a whole number above 0, not {workers!r}")
    if processes and executor is not None:
        raise RecipeError(
            "p.map: processes=True can't be combined with an executor", "pass a ProcessPoolExecutor alone"
        )
    if kind is not None and key is None:
        raise RecipeError("p.map: type= is the type of stored results, and only a key stores them", "give a key")


def workers_for(
    fn: Callable[[_T], Any], count: int | None, *, processes: bool, executor: Executor | None
) -> Workers[_T]:
    """Return the workers that call `fn`: `executor` if given, else `count` processes or threads of our own."""
    if executor is not None and type(executor).__module__.partition(".")[0] == "distributed":
        from stagerun.authoring.cluster import Cluster

        return Cluster(fn, executor, count)
    if executor is not None:
        # Only for this class is it known that the workers have stagerun.
        kind = LentProcesses if isinstance(executor, ProcessPoolExecutor) else Lent
        return kind(fn, executor, count)
    return Processes(fn, count) if processes else Threads(fn, count)


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
