"""Many items at once: a function mapped over them by the executors of `concurrent.futures`, a few ahead at a time."""

import contextvars
import importlib
import importlib.util
import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from stagerun.capture import Capture
from stagerun.errors import Interruption, RecipeError
from stagerun.masking import Masker
from stagerun.processes import dies_with


_T = TypeVar("_T")
_R = TypeVar("_R")

Write = Callable[[str, str, str | None], None]  # text, level, stream

GRACE: Final = 5.0  # seconds that items in hand get to end by themselves after a cancel
_AHEAD: Final = 2  # items in flight for each worker, so that none waits for the next
_WAITING: Final = 8  # finished items that wait for an earlier one, for each in flight
_LOOK: Final = 0.2
_SHOWN: Final = 200
_SAID: Final = "stagerun_said"


@contextmanager
def workers(
    fn: Callable[[_T], _R], count: int | None, *, apart: bool, executor: Executor | None, write: Write
) -> Iterator[tuple[Executor, Callable[[_T], Any], Callable[[Any], _R], int]]:
    """Yield an executor, what to call with it, what makes a result of its answer, and how many items it may have.

    Threads by default, with `apart` processes; our own executor is closed, one that was handed in is left as it is.
    """
    if executor is not None:
        yield executor, fn, _same, _AHEAD * (count or getattr(executor, "_max_workers", None) or default_workers())
        return
    if apart:
        count = count or os.cpu_count() or 1
        with _closing(_processes(fn, count)) as own:
            try:
                yield own, partial(_in_process, fn), lambda answer: _told(answer, write), _AHEAD * count
            except Exception as error:
                for line in getattr(error, _SAID, ()):
                    write(*line)
                raise
    else:
        count = count or default_workers()
        with _closing(ThreadPoolExecutor(count, thread_name_prefix="stagerun-map")) as own:
            yield own, lambda item: contextvars.copy_context().run(fn, item), _same, _AHEAD * count


def default_workers() -> int:
    return min(32, (os.cpu_count() or 1) + 4)


def run(
    executor: Executor,
    call: Callable[[_T], Any],
    items: Iterable[_T],
    *,
    result_of: Callable[[Any], _R],
    ahead: int,
    check: Callable[[], None],
    finished: Callable[[int, int], None],
) -> list[_R]:
    """Return the results in the order of `items`; the first failure is raised with its item, and cancels the rest.

    Args:
        executor: does the work.
        call: called with each item.
        items: taken one by one, never far before their turn.
        result_of: makes a result of what `call` returned, in the order of the items.
        ahead: how many may be in flight.
        check: raises if the run is to stop.
        finished: told how many are finished, and how many from the first on without a gap.

    """
    results, source = list[_R](), iter(items)
    flying = deque[tuple[_T, Future[Any]]]()
    try:
        while _take_off(flying, executor, call, source, ahead=ahead):
            check()
            undone = [future for _, future in flying if not future.done()]
            if not flying[0][1].done():
                wait(undone, timeout=_LOOK, return_when=FIRST_COMPLETED)
            _raise_failure(flying)
            while flying and flying[0][1].done():
                results.append(result_of(flying.popleft()[1].result()))
            finished(len(results) + sum(future.done() for _, future in flying), len(results))
    except BaseException as error:
        for _, future in flying:
            future.cancel()
        if isinstance(error, Interruption):
            wait([future for _, future in flying], timeout=GRACE)
        raise
    return results


def _take_off(
    flying: deque[tuple[_T, Future[Any]]],
    executor: Executor,
    call: Callable[[_T], Any],
    source: Iterator[_T],
    *,
    ahead: int,
) -> bool:
    """Submit as many items as may be in flight; return False when there is nothing left to wait for."""
    undone = sum(not future.done() for _, future in flying)
    while undone < ahead and len(flying) < ahead * _WAITING:
        for item in source:
            flying.append((item, executor.submit(call, item)))
            break
        else:
            break
        undone += 1
    return bool(flying)


def _raise_failure(flying: Iterable[tuple[Any, "Future[Any]"]]) -> None:
    """Raise what an item has raised, the first in order, with the item in a note."""
    for item, future in flying:
        if future.done() and (error := future.exception()) is not None:
            if not isinstance(error, Interruption):
                error.add_note(f"in p.map, with the item {repr(item)[:_SHOWN]}")
            raise error


@contextmanager
def _closing(executor: Executor) -> Iterator[Executor]:
    """Close the executor: when it works it waits for its workers, after an interruption it waits for none."""
    try:
        yield executor
    except Interruption:
        processes = list((getattr(executor, "_processes", None) or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    except BaseException:
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    executor.shutdown()


def _processes(fn: Callable[..., Any], count: int) -> Executor:
    try:
        pickle.dumps(fn)
    except Exception as error:
        raise RecipeError(
            f"p.map: {fn!r} can't be sent to another process: {error}",
            "use a function at the top of the recipe, or threads",
        ) from None
    function = fn.func if isinstance(fn, partial) else fn
    module = sys.modules.get(getattr(function, "__module__", ""))
    place = (module.__name__, getattr(module, "__file__", None)) if module else ("", None)
    # A fork of a process with threads may hang; a new process has none.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_begin_process, initargs=(*place, os.getpid()))


def _begin_process(name: str, file: str | None, parent: int) -> None:
    """Make the recipe's module known under its name, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (prepare := dies_with(parent)) is not None:
        prepare()
    try:
        importlib.import_module(name)
    except (ImportError, ValueError):
        if file is None:
            raise
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


def _in_process(fn: Callable[[_T], _R], item: _T) -> tuple[list[tuple[str, str, str | None]], _R]:
    """Return what `fn` said and what it returned; what it said goes with an error too."""
    said = list[tuple[str, str, str | None]]()
    with Capture(lambda *line: said.append(line), Masker()):
        try:
            return said, fn(item)
        except BaseException as error:
            setattr(error, _SAID, said)
            raise


def _told(answer: tuple[list[tuple[str, str, str | None]], _R], write: Write) -> _R:
    for text, level, stream in answer[0]:
        write(text, level, stream)
    return answer[1]


def _same(answer: Any) -> Any:
    return answer
