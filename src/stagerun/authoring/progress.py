"""Progress: the `p` of a recipe. Each call is checked here and carried out by the session."""

import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from stagerun.authoring import awaiting, log_lines
from stagerun.authoring.session import Session
from stagerun.authoring.stages import Stage
from stagerun.authoring.tracking import Loop
from stagerun.errors import RecipeError


if TYPE_CHECKING:
    from concurrent.futures import Executor

    from stagerun.authoring import flight
    from stagerun.programs.request import Completed

_T = TypeVar("_T")
_R = TypeVar("_R")


class Progress:
    """The `p` of `run(self, p)`.

    `log`, `status`, `percent`, `sh` and `check_cancelled` may be called from any thread, all other calls only from the
    operation's own.
    Every call raises OperationCancelled once a cancel was requested, except during the clean-up after it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def stage(self, name: str, timeout: float | None = None) -> Stage:
        """Return the context manager of one stage; a name that is not declared is shown but not tracked.

        Args:
            name: the stage.
            timeout: the seconds it may take; after that it fails and the run ends `timed_out`.

        """
        self._session.check_task("stage")
        caller = sys._getframe(1)  # noqa: SLF001 - the only way to know the line of a call
        place = caller.f_code.co_filename, caller.f_lineno
        return self._session.blocks.make(name, timeout, self._session.mask, place)

    def status(self, text: object, level: str = "info") -> None:
        """Set the one-line status."""
        self._session.check()
        self._session.status(str(text), log_lines.checked(level))

    def percent(self, n: float) -> None:
        """Set the progress, clamped to 0 to 100."""
        self._session.check()
        self._session.percent(max(0.0, min(100.0, float(n))) if n == n else 0.0)  # noqa: PLR0124 - NaN differs from itself

    def skip(self, reason: object) -> NoReturn:
        """End the innermost block as done, because there is nothing to do in it; what follows in the block is not run.

        A step then returns None, and stores nothing.
        """
        self._session.skip(str(reason))

    def step(
        self,
        name: str,
        fn: Callable[..., _T],
        /,
        *args: Any,
        type: Any = None,  # noqa: A002 - the name that authors expect
        attempts: int = 1,
        **kwargs: Any,
    ) -> _T:
        """Call `fn(*args, **kwargs)` as all the work of a stage, once: a resumed run gets its value without a call.

        In a resumed run the stage is done without being entered. The value is durable before it is returned. Nothing is
        stored when `fn` raises or the run is cancelled.

        Args:
            name: the stage, which is also the key: no other call of the run may use it.
            fn: does the work; JSON must be able to restore what it returns exactly.
            *args: for `fn`.
            type: the value's type if JSON alone can't restore it: a dataclass, datetime, Path, Enum, a list of them.
            attempts: how often to try; after an exception it waits 1 s, 2 s, 4 s, … plus a random part of a second.
            **kwargs: for `fn`.

        """
        self._session.check_task("step")
        self._checked_call("step", fn, attempts)
        mark = self._session.mark(args, kwargs)
        make: Callable[[], _T] = partial(self._made, f"step {name!r}", mark, fn, args, kwargs)
        return self._session.step(str(name), make, kind=type, attempts=attempts, mark=mark)

    @overload
    def track(
        self,
        iterable: Iterable[_T],
        total: int | None = ...,
        label: str | None = ...,
        unit: str = ...,
        key: str | None = ...,
        *,
        state: dict[str, Any] | None = ...,
    ) -> Iterator[_T]: ...
    @overload
    def track(
        self,
        iterable: AsyncIterable[_T],
        total: int | None = ...,
        label: str | None = ...,
        unit: str = ...,
        key: str | None = ...,
        *,
        state: dict[str, Any] | None = ...,
    ) -> AsyncIterator[_T]: ...
    def track(
        self,
        iterable: Any,
        total: int | None = None,
        label: str | None = None,
        unit: str = "item",
        key: str | None = None,
        *,
        state: dict[str, Any] | None = None,
    ) -> Any:
        """Yield the items and count them; checks for a cancel at each item.

        Args:
            iterable: never turned into a list. In an `async def run` also an async iterable, read by `async for`.
            total: how many there are; by default `len()`, else a length hint, else unknown.
            label: what is counted, shown beside the stage.
            unit: the name of one item, in the singular.
            key: makes the loop resumable: a resumed run skips as many items as were finished before. An item is
                finished when the next one is asked for. The items must come in the same order again.
            state: a dict that the loop changes, such as totals: a resumed run restores it, in place, as it was after
                the items that are skipped. JSON must be able to restore it exactly. It needs a key.

        """
        self._check_loop("track", iterable, key, state)
        session = self._session
        loop = session.loop(iterable, key, state, total=total, label=label, unit=unit)
        return session.loops.note(loop, self._count(loop, iterable))

    @overload
    def batches(
        self,
        items: Iterable[_T],
        size: int,
        *,
        total: int | None = ...,
        label: str | None = ...,
        unit: str = ...,
        key: str | None = ...,
        state: dict[str, Any] | None = ...,
    ) -> Iterator[list[_T]]: ...
    @overload
    def batches(
        self,
        items: AsyncIterable[_T],
        size: int,
        *,
        total: int | None = ...,
        label: str | None = ...,
        unit: str = ...,
        key: str | None = ...,
        state: dict[str, Any] | None = ...,
    ) -> AsyncIterator[list[_T]]: ...
    def batches(
        self,
        items: Any,
        size: int,
        *,
        total: int | None = None,
        label: str | None = None,
        unit: str = "item",
        key: str | None = None,
        state: dict[str, Any] | None = None,
    ) -> Any:
        """Yield lists of `size` items, the last one shorter, and count the items.

        A batch is finished when the next one is asked for. The other arguments are those of `track`.
        """
        if type(size) is not int or size < 1:
            raise RecipeError(f"p.batches: size must be a whole number above 0, not {size!r}")
        self._check_loop("batches", items, key, state)
        session = self._session
        loop = session.loop(items, key, state, total=total, label=label, unit=unit)
        return session.loops.note(loop, self._batch(loop, items, size))

    def map(
        self,
        fn: Callable[[_T], _R],
        items: Iterable[_T],
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
    ) -> list[_R]:
        """Return `[fn(item) for item in items]`, several at a time, and count them.

        After a failure or a cancel no more items start. The first failure is raised with its item in a note.

        Args:
            fn: called in another thread, where `p.log`, `p.status`, `p.percent`, `p.sh` and `p.check_cancelled` work.
            items: taken a few at a time, so they may be endless.
            workers: how many at a time; by default as many as `concurrent.futures` uses.
            processes: True to use processes: `fn`, the items and the results are pickled.
            executor: does the work instead; it is not closed.
            label: what is counted, shown beside the stage.
            unit: the name of one item, in the singular.
            key: makes it resumable: each result is stored, and a resumed run calls `fn` only for the items whose result
                is missing. JSON must be able to restore a result exactly. The items must come in the same order again.
            type: with a key, the type of a result if JSON alone can't restore it.
            attempts: how often to try an item, with waits between as for `checkpoint`.
            keep_going: True to try all items; ItemsFailed, which holds the results too, is raised at the end.

        """
        from stagerun.authoring import fanout, flight

        self._checked_call("map", fn, attempts)
        self._check_loop("map", items, key)
        self._check_map(items, workers, processes=processes, executor=executor, key=key, kind=type)
        session, rules = self._session, flight.Rules(attempts, keep_going)
        loop, stored = session.begin_map(items, key, type, label=label, unit=unit)
        try:
            with session.inside(key):
                pool = fanout.workers_for(fn, workers, processes=processes, executor=executor)
                host = self._map_host(loop)
                return flight.run(pool, items, total=loop.total, rules=rules, host=host, stored=stored)
        finally:
            session.loops.end(loop)

    def _map_host(self, loop: Loop) -> "flight.Host":
        from stagerun.authoring import flight

        session = self._session
        lines = session.lines
        return flight.Host(session.guarded(), session.check, loop.finish, lines.write, lines.warn, session.clock)

    def _check_map(
        self, items: object, workers: object, *, processes: bool, executor: object, key: str | None, kind: Any
    ) -> None:
        from stagerun.authoring import fanout

        fanout.check(workers, processes=processes, executor=executor, key=key, kind=kind)
        if isinstance(items, Iterator | AsyncIterator) and items in self._session.loops.resumable:
            raise RecipeError(
                "p.map over p.track(key=...): items would count as finished when they are taken",
                "give the items and the key to p.map alone",
            )

    def sh(
        self,
        command: str | Sequence[Any],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, Any] | None = None,
        check: bool = True,
        timeout: float | None = None,
        capture: bool = False,
        stdin: str | bytes | int | IO[Any] | None = None,
        pty: bool = False,
        interactive: bool = False,
        quiet: bool = False,
        key: str | None = None,
    ) -> "Completed":
        """Run a program to its end; its output becomes log lines of the run. Raises ChildFailed if it does not succeed.

        Args:
            command: a list runs as it is, a string through `sh -e`. A Secret in a list is shown as ***.
            cwd: the folder to run it in.
            env: variables to add to its environment; None removes one.
            check: False to return even if the exit code is not 0.
            timeout: the seconds it may take.
            capture: True to return what it wrote.
            stdin: its input: text, bytes, or an open file; by default empty.
            pty: True to give it a pseudo-terminal for its output: it may then use colours and progress bars.
            interactive: True to give it the terminal itself, for an editor or a password prompt.
            quiet: True to log neither the command nor its output.
            key: makes it resumable: how it ended and what was captured are stored, and a resumed run does not start it
                again.

        """
        from stagerun.programs.request import Request

        self._session.check()
        request = Request(
            command=command,
            cwd=cwd,
            env=env,
            check=check,
            timeout=timeout,
            capture=capture,
            stdin=stdin,
            pty=pty,
            mask=self._session.mask,
        )
        return self._session.run_program(request, interactive=interactive, quiet=quiet, key=key)

    def checkpoint(
        self,
        key: str,
        fn: Callable[..., _T],
        /,
        *args: Any,
        type: Any = None,  # noqa: A002 - the name that authors expect
        attempts: int = 1,
        **kwargs: Any,
    ) -> _T:
        """Call `fn(*args, **kwargs)` once and return its value: a resumed run gets the stored value without a call.

        The value is durable before it is returned. Nothing is stored when `fn` raises or the run is cancelled.

        Args:
            key: the checkpoint's name, unique in the run.
            fn: computes the value, which JSON must be able to restore exactly.
            *args: for `fn`.
            type: the value's type if JSON alone can't restore it: a dataclass, datetime, Path, Enum, a list of them.
            attempts: how often to try; after an exception it waits 1 s, 2 s, 4 s, … plus a random part of a second.
            **kwargs: for `fn`.

        """
        self._session.check_task("checkpoint")
        self._checked_call("checkpoint", fn, attempts)
        mark = self._session.mark(args, kwargs)
        make: Callable[[], _T] = partial(self._made, f"checkpoint {key!r}", mark, fn, args, kwargs)
        return self._session.checkpoint(key, make, kind=type, attempts=attempts, mark=mark)

    def token(self, key: str) -> str:
        """Return a text that is the same in all attempts of this work, and nowhere else: an idempotency key.

        Hand it to a service, which then does the same request only once.
        """
        self._session.check()
        return self._session.token(key)

    def log(self, line: object, level: str = "info") -> None:
        """Write a line to the journal and to the output; text with newlines becomes several lines."""
        self._session.check()
        self._session.lines.write(str(line), log_lines.checked(level))

    def result(self, context: object = None, **extra: Any) -> None:
        """Set the run's result, a JSON object. What JSON can't hold is converted, or else recorded as its `repr`."""
        self._session.check_record("result")
        from stagerun.authoring import results

        results.record(self._session, context, extra)

    def error(self, message: object) -> None:
        """Make the run end `failed` with this message, whatever `run` returns."""
        self._session.check_record("error")
        self._session.fail(str(message))

    def check_cancelled(self) -> None:
        """Raise OperationCancelled if a cancel was requested."""
        self._session.check()

    def chain_to(self, next_operation: object) -> None:
        """Run `next_operation` after this one has succeeded. A run can chain to only one operation."""
        self._session.check_task("chain_to")
        self._session.check()
        self._session.chain_to(next_operation)

    def _checked_call(self, call: str, fn: object, attempts: object) -> None:
        from stagerun.authoring import checkpoints

        self._session.check()
        checkpoints.checked(call, fn, attempts=attempts)
        awaiting.refuse_coroutine_function(fn, call)

    def _made(self, what: str, mark: int | None, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        value = fn(*args, **kwargs)
        self._look_at_given(what, mark, value, args, kwargs)
        return value

    def _look_at_given(self, what: str, mark: int | None, value: object, args: Any, kwargs: Any) -> None:
        """Warn if a call has changed what it was given, and does not return it."""
        if not any(each is value for each in (*args, *kwargs.values())):
            self._session.checkpoints.look_at(what, mark, self._session.mark(args, kwargs))

    def _check_loop(self, call: str, items: object, key: str | None, state: object = None) -> None:
        self._check_owner(call, key)
        self._check_items(call, items)
        if state is not None and key is None:
            raise RecipeError(f"p.{call}: state= is stored under a key", "give a key")

    def _check_owner(self, call: str, key: str | None) -> None:
        """Raise RecipeError if `p.<call>` was called in the wrong thread, or with a key in the wrong task."""
        if key is None:
            self._session.check_thread(call)
        else:
            self._session.check_task(call)

    def _check_items(self, call: str, items: object) -> None:
        awaiting.refuse_async_items(items, call)

    def _count(self, loop: Loop, items: Any) -> Any:
        return loop.count(items)

    def _batch(self, loop: Loop, items: Any, size: int) -> Any:
        return loop.batches(items, size)

    def __reduce__(self) -> NoReturn:
        raise TypeError("p can't be pickled: another process has no run to report to; return values instead")
