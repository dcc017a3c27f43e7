"""The event loop of an `async def run`: what performs it, how a request to stop reaches it, what is left at its end.

A signal handler that raised wherever it arrives would break the loop itself. So a request is a callback of the loop: it
cancels the task of `run`, which raises CancelledError at its next await, as asyncio.Runner does for Ctrl-C. The tasks
that `run` waits for are cancelled by that wait: a task group, `gather`, `p.map`. A second request cancels all tasks.

Three cases need more:

- Code that blocks the loop, `time.sleep(60)`, keeps the callback waiting. After a second the handler raises
  CancelledError in that code, if it is the code of a task. The ticker's thread sees to it that there is a handler.
- Code that swallows CancelledError: the next call of `p` in that task raises it again.
- Code that never awaits meets CancelledError at its next call of `p`, in any task, until the callback has run. After
  that only a task that was cancelled meets it: the tasks of a clean-up may use `p`.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from stagerun.authoring.async_progress import AsyncProgress
from stagerun.authoring.flight import GRACE
from stagerun.authoring.session import Session
from stagerun.machine.interrupts import Interrupts, unwinding


_PATIENCE: Final = 1.0  # seconds that the loop gets to take a request
_NAMED: Final = 5
_QUIET: Final = 3  # turns of the loop in which no generator is closed: each may hold another one


def run(start: Callable[[AsyncProgress], Any], session: Session, interrupts: Interrupts) -> Any:
    """Run `start` in an event loop of its own and return what it returns. Called in a guarded block."""
    loop = EventLoop(session, interrupts)
    interrupts.receiver = loop
    try:
        return loop.run(start)
    except asyncio.CancelledError as error:
        if interrupts.stopping:
            raise interrupts.interruption().with_traceback(error.__traceback__) from None
        error.add_note("  nobody asked the run to stop: something in it cancelled its task, or what it awaited")
        raise
    finally:
        interrupts.receiver = None


class EventLoop:
    """The event loop of one run, which receives the requests to stop it.

    Attributes:
        unwinds: the exception by which a request unwinds the recipe.

    """

    unwinds: Final = asyncio.CancelledError

    def __init__(self, session: Session, interrupts: Interrupts) -> None:
        self._session = session
        self._interrupts = interrupts
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
        self._main: asyncio.Task[Any] | None = None
        self._asked = 0
        self._asked_on = 0.0
        self._taken = 0

    def run(self, start: Callable[[AsyncProgress], Any]) -> Any:
        self._session.in_own_task = lambda: asyncio.current_task() is self._main
        self._loop.set_default_executor(self._threads)
        with self._runner:
            try:
                self._interrupts.expose()
                return self._runner.run(self._run(start))
            finally:
                # The runner would wait for the threads without end.
                self._loop.set_default_executor(ThreadPoolExecutor(1))
                self._interrupts.cover()

    async def _run(self, start: Callable[[AsyncProgress], Any]) -> Any:
        self._main = asyncio.current_task()
        p = AsyncProgress(self._session)
        failed = True
        try:
            self._session.check()  # a request may have come before
            returned = await start(p)
            failed = False
            return returned
        finally:
            try:
                p.close(failed=failed)
            finally:
                await self._end_tasks(tell=not failed)
                await self._end_threads()

    # --- requests to stop: what `machine.interrupts.Receiver` says

    def notify(self) -> None:
        self._asked_on = time.monotonic()
        self._asked += 1
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._take)

    @property
    def is_waiting(self) -> bool:
        return self._taken < self._asked

    def is_due(self, *, blocked: bool) -> bool:
        task = asyncio.current_task(self._loop)
        if task is None or (not blocked and unwinding(self.unwinds) is not None):
            return False
        if not self.is_waiting:
            return not blocked and (task is self._main or task.cancelling() > 0)
        if blocked and time.monotonic() - self._asked_on < _PATIENCE:
            return False
        if task is self._main:
            self._taken = self._asked
        return True

    def _take(self) -> None:
        """Cancel the task of the run, at a further request all tasks."""
        if not self.is_waiting or self._main is None:
            return
        first, self._taken = self._taken == 0 and self._asked == 1, self._asked
        for task in [self._main] if first else asyncio.all_tasks(self._loop):
            task.cancel(str(self._interrupts.interruption()))

    # --- the end

    async def _end_tasks(self, *, tell: bool) -> None:
        """Cancel the tasks that the recipe has left, and wait for them."""
        await _generators_closed()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return
        if tell:
            self._session.lines.warn(_told(left))
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        for task in left:
            if not task.cancelled() and (error := task.exception()) is not None:
                context = {"message": "a task failed when it was cancelled", "exception": error, "task": task}
                self._loop.call_exception_handler(context)

    async def _end_threads(self) -> None:
        """Wait for the threads of `asyncio.to_thread`; in a run that is being stopped only for a moment."""
        over = self._loop.create_future()

        def end() -> None:
            self._threads.shutdown(cancel_futures=self._interrupts.stopping)
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_finish, over)

        threading.Thread(target=end, name="stagerun-threads", daemon=True).start()
        await asyncio.wait([over], timeout=GRACE if self._interrupts.stopping else None)


async def _generators_closed() -> None:
    """Wait for the tasks in which asyncio closes the generators of async loops that were broken off."""
    quiet = 0
    while quiet < _QUIET:
        closing = {each for each in asyncio.all_tasks() if type(each.get_coro()).__name__ == "async_generator_athrow"}
        if closing:
            await asyncio.wait(closing)
        else:
            await asyncio.sleep(0)
        quiet = 0 if closing else quiet + 1


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _told(left: "set[asyncio.Task[Any]]") -> str:
    names = sorted(getattr(task.get_coro(), "__qualname__", task.get_name()) for task in left)
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    tasks = "a task was" if len(left) == 1 else f"{len(left):,} tasks were"
    return f"run returned while {tasks} still running, now cancelled: {', '.join(names[:_NAMED])}{more}"
