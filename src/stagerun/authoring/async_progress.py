"""AsyncProgress: the `p` of an `async def run`. Only what has to be awaited is here; the rest is that of `Progress`."""

import inspect
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from stagerun.authoring import async_map, awaiting, checkpoints, flight
from stagerun.authoring.progress import Progress
from stagerun.authoring.session import Session
from stagerun.authoring.tracking import Loop
from stagerun.errors import RecipeError


if TYPE_CHECKING:
    from concurrent.futures import Executor

_T = TypeVar("_T")
_R = TypeVar("_R")


class _Promised(NamedTuple):
    """A call whose work begins when it is awaited: what it is, and where it was made."""

    call: str
    place: str
    coroutine: Coroutine[Any, Any, Any]


class AsyncProgress(Progress):
    """The `p` of `async def run(self, p)`.

    A step or checkpoint of a coroutine function has to be awaited, and so has every map. Stages, and calls with a key,
    belong to the task that runs the operation; the other calls work in all tasks of the loop.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._promised: dict[int, _Promised] = {}
        self._number = 0

    @overload
    def step(
        self,
        name: str,
        fn: Callable[..., Coroutine[Any, Any, _T]],
        /,
        *args: Any,
        type: Any = ...,
        attempts: int = ...,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def step(
        self, name: str, fn: Callable[..., _T], /, *args: Any, type: Any = ..., attempts: int = ..., **kwargs: Any
    ) -> _T: ...
    def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        type: Any = None,  # noqa: A002 - the name that authors expect
        attempts: int = 1,
        **kwargs: Any,
    ) -> Any:
        """Do what `Progress.step` does. With a coroutine function it has to be awaited, a plain one blocks the loop."""
        if not awaiting.is_coroutine_function(fn):
            return super().step(name, fn, *args, type=type, attempts=attempts, **kwargs)
        self._check_call("step", fn, attempts)
        name, mark = str(name), self._session.mark(args, kwargs)
        make = self._await_once(f"step {name!r}", mark, fn, args, kwargs)
        return self._promise(f"p.step({name!r})", partial(self._step, name, make, type, attempts, mark))

    async def _step(
        self, name: str, make: Callable[[], Awaitable[_T]], kind: Any, attempts: int, mark: int | None
    ) -> _T:
        session = self._session
        session.check_task("step")
        session.check()
        stage, once = session.claim_step(name, kind, attempts, mark)
        if once.done_in is not None:
            value: _T = session.step_done_before(stage, once)
            return value
        with stage:
            return await session.checkpoints.perform_async(session.placed(once), make, session.clock.sleep_in_loop)

    @overload
    def checkpoint(
        self,
        key: str,
        fn: Callable[..., Coroutine[Any, Any, _T]],
        /,
        *args: Any,
        type: Any = ...,
        attempts: int = ...,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def checkpoint(
        self, key: str, fn: Callable[..., _T], /, *args: Any, type: Any = ..., attempts: int = ..., **kwargs: Any
    ) -> _T: ...
    def checkpoint(
        self,
        key: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        type: Any = None,  # noqa: A002 - the name that authors expect
        attempts: int = 1,
        **kwargs: Any,
    ) -> Any:
        """Do what `Progress.checkpoint` does. With a coroutine function it has to be awaited."""
        if not awaiting.is_coroutine_function(fn):
            return super().checkpoint(key, fn, *args, type=type, attempts=attempts, **kwargs)
        self._check_call("checkpoint", fn, attempts)
        mark = self._session.mark(args, kwargs)
        make = self._await_once(f"checkpoint {key!r}", mark, fn, args, kwargs)
        return self._promise(f"p.checkpoint({key!r})", partial(self._checkpoint, key, make, type, attempts, mark))

    def _await_once(
        self, what: str, mark: int | None, fn: Callable[..., Awaitable[Any]], args: Any, kwargs: Any
    ) -> Callable[[], Awaitable[Any]]:
        """Return what calls a coroutine function, and looks at its arguments."""

        async def call() -> Any:
            value = await fn(*args, **kwargs)
            self._look_at_given(what, mark, value, args, kwargs)
            return value

        return call

    async def _checkpoint(
        self, key: str, make: Callable[[], Awaitable[_T]], kind: Any, attempts: int, mark: int | None
    ) -> _T:
        session = self._session
        session.check_task("checkpoint")
        session.check()
        once = session.claim("checkpoint", key, kind, attempts, mark)
        if once.done_in is not None:
            value: _T = session.recalled(once)
            return value
        return await session.checkpoints.perform_async(once, make, session.clock.sleep_in_loop)

    @overload  # type: ignore[override]
    def map(
        self,
        fn: Callable[[_T], Coroutine[Any, Any, _R]],
        items: Iterable[_T] | AsyncIterable[_T],
        workers: int | None = ...,
        *,
        label: str | None = ...,
        unit: str = ...,
        key: str | None = ...,
        type: Any = ...,
        attempts: int = ...,
        keep_going: bool = ...,
    ) -> Coroutine[Any, Any, list[_R]]: ...
    @overload
    def map(
        self,
        fn: Callable[[_T], _R],
        items: Iterable[_T],
        workers: int | None = ...,
        *,
        processes: bool = ...,
        executor: "Executor | None" = ...,
        label: str | None = ...,
        unit: str = ...,
        key: str | None = ...,
        type: Any = ...,
        attempts: int = ...,
        keep_going: bool = ...,
    ) -> Coroutine[Any, Any, list[_R]]: ...
    def map(
        self,
        fn: Callable[[Any], Any],
        items: Any,
        workers: int | None = None,
        *,
        processes: bool = False,
        executor: "Executor | None" = None,
        label: str | None = None,
        unit: str = "item",
        key: str | None = None,
        type: Any = None,  # noqa: A002 - the name that authors expect
        attempts: int = 1,
        keep_going: bool = False,
    ) -> Coroutine[Any, Any, list[Any]]:
        """Do what `Progress.map` does, without blocking the loop: it has to be awaited.

        A coroutine function works in tasks of the loop, by default 32 at a time, and `items` may be an async iterable.
        The first failure cancels the other tasks. A plain function works in threads, or in processes, as in `Progress`.
        """
        self._check_call("map", fn, attempts)
        self._check_map(items, workers, processes=processes, executor=executor, key=key, kind=type)
        in_tasks = awaiting.is_coroutine_function(fn)
        if in_tasks and (processes or executor is not None):
            raise RecipeError("p.map: a coroutine function works in the event loop", "leave out processes and executor")
        if not in_tasks and awaiting.is_only_async(items):
            raise RecipeError(
                f"p.map: a plain function can't work on an {items.__class__.__name__}",
                "pass a coroutine function, or a list of the items",
            )

        async def work() -> list[Any]:
            session = self._session
            self._check_owner("map", key)
            loop, stored = session.begin_map(items, key, type, label=label, unit=unit)
            job = async_map.Job(items, loop.total, flight.Rules(attempts, keep_going), self._map_host(loop), stored)
            try:
                with session.inside(key):
                    if in_tasks:
                        return await async_map.in_tasks(fn, workers, job)
                    from stagerun.authoring import fanout

                    pool = fanout.workers_for(fn, workers, processes=processes, executor=executor)
                    return await async_map.in_threads(pool, job)
            finally:
                session.loops.end(loop)

        return self._promise("p.map", work)

    def close(self, *, failed: bool) -> None:
        """Close the calls that were not awaited; RecipeError that names one, unless the run has failed anyway."""
        left = [
            each
            for each in self._promised.values()
            if inspect.getcoroutinestate(each.coroutine) == inspect.CORO_CREATED
        ]
        for each in left:
            each.coroutine.close()
        self._promised.clear()
        if left and not failed:
            raise RecipeError(
                f"{left[0].call} ({left[0].place}) was not awaited, so nothing of it was done",
                "write await before it",
            )

    def _promise(self, call: str, work: Callable[[], Awaitable[_T]]) -> Coroutine[Any, Any, _T]:
        """Return a coroutine that begins `work`, and remember it until it is awaited."""
        self._number = number = self._number + 1

        async def begin() -> _T:
            self._promised.pop(number, None)
            return await work()

        caller = sys._getframe(2)  # noqa: SLF001 - the only way to know the line of a call
        coroutine = begin()
        place = f"{Path(caller.f_code.co_filename).name}, line {caller.f_lineno}"
        self._promised[number] = _Promised(call, place, coroutine)
        return coroutine

    def _check_call(self, call: str, fn: object, attempts: object) -> None:
        self._session.check()
        checkpoints.checked(call, fn, attempts=attempts)

    def _check_items(self, call: str, items: object) -> None:
        """Both kinds of items can be read."""

    def _count(self, loop: Loop, items: Any) -> Any:
        return loop.count_async(items) if awaiting.is_only_async(items) else loop.count(items)

    def _batch(self, loop: Loop, items: Any, size: int) -> Any:
        return loop.batches_async(items, size) if awaiting.is_only_async(items) else loop.batches(items, size)
