"""`p.map` in an event loop: a coroutine function in tasks of the loop, a plain function in threads beside it."""

import asyncio
import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from stagerun.authoring import awaiting, flight
from stagerun.authoring.item_results import ItemResults
from stagerun.authoring.pool_process import Answer
from stagerun.errors import Interruption, OperationCancelled


_T = TypeVar("_T")

WORKERS: Final = 32
_LANDINGS: Final = 64  # items that need no waiting, until the other tasks get their turn


class Tasks(Generic[_T]):
    """The tasks of a map, one for each item that is being worked on."""

    def __init__(
        self, fn: Callable[[_T], Awaitable[Any]], count: int | None, arrived: Callable[[object], None]
    ) -> None:
        self.ahead = count or WORKERS
        self._fn = fn
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self._stopped = False

    def submit(self, item: _T, *, last_try: bool) -> "asyncio.Task[Any]":
        task = self._loop.create_task(self._call(item))
        task.add_done_callback(self._arrived)
        return task

    def answer(self, future: "asyncio.Task[Any]") -> Answer:
        if not future.cancelled():
            error = future.exception()
            return Answer([], error) if error is not None else Answer([], result=future.result())
        # An item may also cancel itself, and is then a failed one.
        return (
            Answer([], started=False) if self._stopped else Answer([], asyncio.CancelledError("the item was cancelled"))
        )

    def stop(self, futures: Iterable["asyncio.Task[Any]"]) -> None:
        self._stopped = True
        for future in futures:
            future.cancel()

    def close(self, *, patient: bool) -> None:
        """There is nothing to release."""

    async def _call(self, item: _T) -> Any:
        return await self._fn(item)


class _Arrivals:
    """Wakes a map when an item has arrived, or is finished."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    def wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Wait until somebody wakes the map, at most so many seconds."""
        self._waiter = self._loop.create_future()
        alarm = None if seconds is None else self._loop.call_later(seconds, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if alarm is not None:
                alarm.cancel()


class _Source(Generic[_T]):
    """The items of an async iterable, read by one task from beginning to end, one item ahead."""

    def __init__(self, items: AsyncIterable[_T], arrived: Callable[[], None]) -> None:
        self._items = items
        self._arrived = arrived
        self._item: list[_T] = []
        self._taken = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._read())

    def hand_to(self, items: "flight.Flight[_T]") -> bool:
        """Hand over the next item, or that there is none; False if it is not there yet. Raises what reading raised."""
        if self._item:
            items.take(self._item.pop())
            self._taken.set()
        elif self._task.done():
            items.more = False
            self._task.result()
        else:
            return False
        return True

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # it is raised already, or follows from closing

    async def _read(self) -> None:
        try:
            async for item in self._items:
                self._item.append(item)
                self._arrived()
                self._taken.clear()
                await self._taken.wait()
        finally:
            self._arrived()


class Job(NamedTuple):
    """What `flight.run` takes, for a map in an event loop."""

    items: Any
    total: int | None
    rules: flight.Rules
    host: flight.Host
    stored: ItemResults | None


async def in_tasks(fn: Callable[[_T], Awaitable[Any]], count: int | None, job: Job) -> list[Any]:
    """Return the results in the order of the items; the first failure cancels the rest, as `flight.run` says."""
    arrivals = _Arrivals()
    is_async = awaiting.is_only_async(job.items)
    source = _Source[_T](job.items, arrivals.wake) if is_async else None
    items = flight.Flight[_T](
        Tasks(fn, count, arrivals.wake),
        () if is_async else job.items,
        total=job.total,
        rules=job.rules,
        host=job.host,
        stored=job.stored,
    )
    try:
        await _fly(items, source, arrivals, job)
        items.finish()
    except (asyncio.CancelledError, Interruption):
        await _end(items, source, arrivals)
        raise
    except BaseException as error:
        await _end(items, source, arrivals)
        raise items.first_failure() or error from None
    return items.results


async def _fly(items: "flight.Flight[_T]", source: "_Source[_T] | None", arrivals: _Arrivals, job: Job) -> None:
    landings = 0
    while items.goes_on():
        job.host.check()
        missing = False
        if source is None:
            items.take_off()
        else:
            items.start_again()
            missing = items.has_room and not source.hand_to(items)
        if items.has_to_wait or missing:
            if items.only_waits and not missing:
                await job.host.clock.sleep_in_loop(items.patience)
            else:
                await arrivals.wait(items.patience)
            landings = 0
        elif (landings := landings + 1) >= _LANDINGS:
            await asyncio.sleep(0)
            landings = 0
        items.land()


async def _end(items: "flight.Flight[_T]", source: "_Source[_T] | None", arrivals: _Arrivals) -> None:
    """Cancel the tasks, wait for their clean-up, and put away what has finished."""
    items.halt()
    try:
        if source is not None:
            await source.close()
        items.settle()
        while items.in_air:
            await arrivals.wait(flight.LOOK)
            items.settle()
    finally:
        items.put_away()


async def in_threads(crew: "flight.Crew[Any]", job: Job) -> list[Any]:
    """Return what `flight.run` returns, in a thread beside the loop; a cancel of this task ends the map, too."""
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise OperationCancelled

    thread = ThreadPoolExecutor(1, thread_name_prefix="stagerun-map")
    host = job.host._replace(check=check)
    run = partial(flight.run, crew, job.items, total=job.total, rules=job.rules, host=host, stored=job.stored)
    work = asyncio.get_running_loop().run_in_executor(thread, run)
    work.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio reports it as unseen
    thread.shutdown(wait=False)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait([work])
        raise
    except Interruption:
        await asyncio.sleep(0)  # an item may see the request to stop just before this task is cancelled
        raise
