"""Progress: what a recipe talks to. It turns calls into events and holds no journal, no display and no run."""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from operator import index, length_hint
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar

from msgspec import Struct

from stagerun import events
from stagerun.authoring import retries
from stagerun.authoring.tracking import Loop
from stagerun.errors import IllegalTransition, Interruption, OperationCancelled, RecipeError
from stagerun.machine.interrupts import Interrupts, is_limit
from stagerun.states import StageState
from stagerun.text.masking import Masker


if TYPE_CHECKING:
    from concurrent.futures import Executor

    from stagerun.programs.children import Children, Completed

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LINE_LIMIT: Final = 64 * 1024
POSITION_SECONDS: Final = 0.4  # a resumable loop loses at most so much to a SIGKILL

_T = TypeVar("_T")
_R = TypeVar("_R")
Recalled: TypeAlias = events.CheckpointStored | events.PositionReached


class Handover(Struct):
    """What a recipe leaves for the runner.

    Attributes:
        failure: what `p.error` was told, or None.
        next: the operation that `p.chain_to` was given, or None.
        broken: the error that last cut a stage short, or None.
        broken_stage: the innermost block that `broken` cut short.

    """

    failure: str | None = None
    next: Any = None
    broken: BaseException | None = None
    broken_stage: str | None = None


class Stage:
    """One visit to a stage, as a context manager.

    Attributes:
        name: the stage.
        index: its declared position, None for a block that is not declared.
        done_before: True if the run that is being resumed had finished this stage.

    """

    def __init__(
        self, progress: "Progress", name: str, index: int | None, *, timeout: float | None, done_before: bool
    ) -> None:
        self.name = name
        self.index = index
        self.done_before = done_before
        self._progress = progress
        self._entered: float | None = None
        self._loops_around = 0
        self._limit = progress._interrupts.limit(timeout, f"stage {name!r}")

    def __enter__(self) -> "Stage":
        progress = self._progress
        progress._own_thread("stage")
        progress.check_cancelled()
        try:
            with progress._interrupts:
                progress._open(self)
                self._entered = progress._monotonic()
                self._limit.__enter__()
        except Interruption as interruption:
            # It waited until the stage was recorded, and no with block will ever leave it.
            if self._entered is not None:
                self._leave(_state_after(type(interruption)))
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        handover = self._progress._handover
        if value is not None and value is not handover.broken:
            handover.broken, handover.broken_stage = value, self.name
        self._leave(_state_after(kind))

    def _leave(self, state: StageState) -> None:
        progress = self._progress
        if self not in progress._blocks:
            return  # the runner has left it already
        with progress._interrupts:
            self._limit.__exit__(None, None, None)
            # An error that is being handled keeps the loop it left alive for longer than the stage.
            for loop in reversed(progress._loops[self._loops_around :]):
                progress._end(loop)
            seconds = progress._monotonic() - (self._entered or 0.0)
            progress._blocks.remove(self)
            progress._emit(events.StageLeft(stage=self.name, index=self.index, state=state, seconds=seconds))


def _state_after(kind: type[BaseException] | None) -> StageState:
    """Return the state of a stage that was left by an exception of `kind`."""
    if kind is None:
        return StageState.DONE
    return StageState.CANCELLED if issubclass(kind, OperationCancelled | KeyboardInterrupt) else StageState.FAILED


class Progress:
    """The `p` of `run(self, p)`.

    `log`, `status`, `percent`, `sh` and `check_cancelled` may be called from any thread, everything else from the
    operation's own.
    Every call raises OperationCancelled once a cancel was asked for, except while that is being cleaned up.
    """

    def __init__(
        self,
        *,
        stages: Mapping[str, int],
        emit: Callable[[events.Event], None],
        lock: AbstractContextManager[object],
        interrupts: Interrupts,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        accept: Callable[[object], None],
        masker: Masker,
        children: Callable[[], "Children"],
        terminal_lent: Callable[[], AbstractContextManager[None]],
        recall: Callable[[str], Recalled | None],
        done_before: Collection[str],
        handover: Handover,
    ) -> None:
        self._stages = stages
        self._emit = emit
        self._lock = lock  # the one of `emit`: a sample must not overtake the end of a loop
        self._interrupts = interrupts
        self._monotonic = monotonic
        self._sleep = sleep
        self._accept = accept
        self._masker = masker
        self._make_children = children
        self._children: Children | None = None
        self._terminal_lent = terminal_lent
        self._recall = recall
        self._done_before = done_before
        self._keys: set[str] = set()
        self._handover = handover
        self._thread = threading.get_ident()
        self._blocks: list[Stage] = []
        self._loops: list[Loop] = []
        self._begun = monotonic()
        self._percent: float | None = None
        self._warned: set[str] = set()
        self._over = False

    def stage(self, name: str, timeout: float | None = None) -> Stage:
        """Return the context manager of one stage; a name that is not declared is shown but not tracked.

        Args:
            name: the stage.
            timeout: the seconds it may take; after them it fails and the run ends `timed_out`.

        """
        self._own_thread("stage")
        if timeout is not None and not is_limit(timeout):
            raise RecipeError(f"p.stage: timeout must be a number of seconds above 0, not {timeout!r}")
        name = str(name)
        if not name.strip():
            raise RecipeError("p.stage needs a name")
        if name not in self._stages:
            name = self._masker.mask(name)
        done_before = name in self._done_before
        return Stage(self, name, self._stages.get(name), timeout=timeout, done_before=done_before)

    def status(self, text: object, level: str = "info") -> None:
        """Set the one-line status."""
        self.check_cancelled()
        line = self._cut(" ".join(self._masker.mask(str(text)).split("\n")))
        self._emit(events.StatusChanged(events.encodable(line), _level(level)))

    def percent(self, n: float) -> None:
        """Set the progress, 0 to 100; what lies outside is clamped."""
        self.check_cancelled()
        percent = max(0.0, min(100.0, float(n))) if n == n else 0.0  # noqa: PLR0124 - NaN differs from itself
        if round(percent, 1) != self._percent:
            self._percent = round(percent, 1)
            self._emit(events.ProgressMoved(percent=percent, seconds=self._monotonic() - self._begun))

    def track(
        self,
        iterable: Iterable[_T],
        total: int | None = None,
        label: str | None = None,
        unit: str = "item",
        key: str | None = None,
    ) -> Iterator[_T]:
        """Yield the items and count them; a cancel reaches the loop at each item.

        Args:
            iterable: never turned into a list.
            total: how many there are; without it `len()`, else a length hint, else unknown.
            label: what is counted, shown beside the stage.
            unit: one item, in the singular.
            key: makes the loop resumable: a resumed run skips as many items as were finished before. The items
                have to come in the same order again.

        """
        return self._count(iterable, self._loop("track", iterable, total=total, label=label, unit=unit, key=key))

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
    ) -> list[_R]:
        """Return `[fn(item) for item in items]`, several at a time, and count them.

        The first failure stops what has not begun, and is raised with its item in a note. A cancel does the same.

        Args:
            fn: called in another thread; there `p.log`, `p.status`, `p.percent`, `p.sh` and `p.check_cancelled` work.
            items: taken a few at a time, so it may be endless.
            workers: how many at a time; without it as many as `concurrent.futures` would take.
            processes: True to use processes: `fn`, the items and the results are pickled.
            executor: does the work instead; it is not closed.
            label: what is counted, shown beside the stage.
            unit: one item, in the singular.
            key: makes it resumable: a resumed run leaves out the items that were finished, and their results.

        """
        from stagerun.authoring import fanout

        if workers is not None and (type(workers) is not int or workers < 1):
            raise RecipeError(f"p.map: workers must be a whole number above 0, not {workers!r}")
        if processes and executor is not None:
            raise RecipeError("p.map: processes=True goes with no executor", "hand in a ProcessPoolExecutor alone")
        loop = self._loop("map", items, total=None, label=label, unit=unit, key=key)
        rest = islice(items, loop.skipped, None) if loop.skipped else items

        def finished(done: int, in_order: int) -> None:
            loop.done, loop.in_order = loop.skipped + done, loop.skipped + in_order

        finished(0, 0)
        self._loops.append(loop)
        try:
            self.check_cancelled()
            pool: fanout.Workers[_T, _R]
            if executor is not None:
                pool = fanout.Workers(fn, executor, workers, self.write)
            elif processes:
                pool = fanout.Processes(fn, workers, self.write)
            else:
                pool = fanout.Threads(fn, workers, self.write)
            return fanout.run(pool, rest, guard=self._interrupts, check=self.check_cancelled, finished=finished)
        finally:
            self._end(loop)

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
    ) -> "Completed":
        """Run a program to its end; its lines become lines of the run. ChildFailed if it does not succeed.

        Args:
            command: a list runs as it is, a string through `sh`. A Secret in a list is shown as ***.
            cwd: the folder to run it in.
            env: variables to add to its environment; None takes one away.
            check: False to return also when the exit code is not 0.
            timeout: the seconds it may take.
            capture: True to return what it wrote.
            stdin: what it reads: text, bytes, or an open file; without it, nothing.
            pty: True to give it a pseudo-terminal to write to, where it may use colours and progress bars.
            interactive: True to give it the terminal itself, for an editor or a password prompt.
            quiet: True to write neither the command nor its lines.

        """
        from stagerun.programs.children import Request

        self.check_cancelled()
        if self._over:
            raise RecipeError("p.sh was called after the run was over", "wait for your threads before run returns")
        request = Request(
            command=command,
            cwd=cwd,
            env=env,
            check=check,
            timeout=timeout,
            capture=capture,
            stdin=stdin,
            pty=pty,
        )
        request.argv()  # or there is nothing to announce
        if not quiet:
            self.write(f"$ {request.shown}", "info", None)
        with self._lock:
            children = self._children = self._children or self._make_children()
        if interactive:
            with self._terminal_lent():
                return children.run_on_terminal(request)
        return children.run(
            request,
            tell=_unheard if quiet else self._hear,
            warn=lambda text: self._emit(events.Log(text, "warning")),
            cut=self._cut,
        )

    def _hear(self, lines: list[str], stream: str) -> None:
        """Write the lines of a program, in one go."""
        self._emit(events.Log("\n".join(lines), "info", stream))

    def _loop(
        self, call: str, items: Iterable[Any], *, total: int | None, label: str | None, unit: str, key: str | None
    ) -> Loop:
        self._own_thread(call)
        skipped = 0
        if key is not None:
            self._claim(call, key)
            if (recalled := self._recall(key)) is not None:
                if not isinstance(recalled, events.PositionReached):
                    raise RecipeError(f"the key {key!r} belongs to a checkpoint, not to a loop")
                skipped = recalled.position
        if total is None:
            hint = length_hint(items, -1)
            total = None if hint < 0 else hint
        return Loop(
            total=None if total is None else max(0, index(total)),
            label=None if label is None else str(label),
            unit=str(unit),
            key=key,
            stage=self._stage_name(),
            skipped=skipped,
            depth=len(self._loops),
            begun=self._monotonic(),
        )

    def checkpoint(
        self,
        key: str,
        fn: Callable[..., _T],
        /,
        *args: Any,
        type: Any = None,  # noqa: A002 - the word that authors know it by
        attempts: int = 1,
        **kwargs: Any,
    ) -> _T:
        """Return `fn(*args, **kwargs)`, called once: a resumed run gets the stored value and calls nothing.

        The value is durable before it is returned. Nothing is stored when `fn` raises or the run is cancelled.

        Args:
            key: the checkpoint's name, unique in the run.
            fn: makes the value, which JSON has to give back exactly.
            *args: for `fn`.
            type: the value's type if JSON alone can't give it back: a dataclass, datetime, Path, Enum, a list of them.
            attempts: how often to try: after an exception it waits 1 s, 2 s, 4 s, … plus a random part of a second.
            **kwargs: for `fn`.

        """
        from stagerun.authoring import stored_values

        self._own_thread("checkpoint")
        self.check_cancelled()
        self._claim("checkpoint", key)
        recalled = self._recall(key)
        if recalled is not None:
            if not isinstance(recalled, events.CheckpointStored):
                raise RecipeError(f"the key {key!r} belongs to a loop, not to a checkpoint")
            value: _T = (
                recalled.value if type is None else stored_values.recalled(recalled.value, type, f"checkpoint {key!r}")
            )
            return value
        value = retries.attempt(
            lambda: fn(*args, **kwargs),
            attempts,
            sleep=self._wait,
            tell=lambda text: self._emit(events.Log(f"checkpoint {key!r}: {text}", "warning")),
        )
        self.check_cancelled()
        what = f"checkpoint {key!r}"
        plain = stored_values.exact(value, what) if type is None else stored_values.to_builtins(value, type, what)
        if self._masker.holds(plain):
            raise RecipeError(f"{what} holds a secret, and the journal must not", "leave it out of the value")
        size = len(events.dumps(plain).encode())
        if size > stored_values.LIMIT:
            raise RecipeError(
                f"{what} has {size:,} bytes, and {stored_values.LIMIT:,} is the most",
                "store a file, and its path as checkpoint",
            )
        self._emit(events.CheckpointStored(key=key, stage=self._stage_name(), value=plain))
        return value

    def log(self, line: object, level: str = "info") -> None:
        """Write a line to the journal and to the output; text with line ends becomes several."""
        self.check_cancelled()
        self.write(str(line), _level(level), None)

    def result(self, context: Mapping[str, Any] | None = None, **extra: Any) -> None:
        """Set the run's result, a JSON object; RecipeError names the part that JSON can't hold."""
        self.check_cancelled()
        if context is not None and not isinstance(context, Mapping):
            raise RecipeError(f"p.result needs a dict, not {type(context).__name__}", "p.result(value=...)")
        from stagerun.authoring import stored_values

        # As JSON gives it back: what the recipe does to its own dict afterwards is not the result.
        result = stored_values.through_json({**(context or {}), **extra}, "result")
        self._emit(events.ResultSet(result=result))

    def error(self, message: object) -> None:
        """Let the run end `failed` with this message, whatever `run` returns."""
        self.check_cancelled()
        self._handover.failure = str(message)

    def check_cancelled(self) -> None:
        """Raise OperationCancelled if a cancel was asked for."""
        self._interrupts.check()

    def chain_to(self, next_operation: object) -> None:
        """Let `next_operation` run after this one has succeeded. A run can hand over once."""
        self._own_thread("chain_to")
        self.check_cancelled()
        if self._handover.next is not None:
            raise RecipeError(
                f"the run is chained already, to {type(self._handover.next).__name__}",
                "a run hands over to one operation",
            )
        self._accept(next_operation)
        self._handover.next = next_operation

    def write(self, text: str, level: str, stream: str | None) -> None:
        """Write captured text: what `print`, `logging` and warnings of a recipe come to."""
        # A secret of several lines is found only before they are parted.
        for line in self._masker.mask(text).removesuffix("\n").split("\n"):
            told = line if len(line) <= LINE_LIMIT else self._cut(line)
            self._emit(events.Log(told.removesuffix("\r"), level, stream))

    @contextmanager
    def programs_ended(self) -> Iterator[None]:
        """When the block fails, end what its programs have left in the background; when it succeeds, that stays."""
        try:
            yield
        except BaseException as error:
            if self._children is not None and not (isinstance(error, SystemExit) and not error.code):
                self._children.end()
            raise
        if self._children is not None and (self._handover.failure is not None or self._interrupts.stopping):
            self._children.end()

    def sample(self) -> None:
        """Tell how far the innermost loop is, if it moved. Called a few times a second, from any thread."""
        with self._lock:
            if self._loops and self._loops[-1].done != self._loops[-1].shown:
                self._emit(self._loops[-1].moved(self._monotonic(), ended=False))
            for loop in self._loops:
                if loop.key is not None and self._monotonic() - loop.stored_on >= POSITION_SECONDS:
                    self._store_position(loop)

    def close(self, state: StageState) -> None:
        """End the loops and leave the blocks that the recipe left open; what comes later goes nowhere."""
        for loop in reversed(self._loops.copy()):
            self._end(loop)
        for block in reversed(self._blocks.copy()):
            block._leave(state)
        self._emit = _nobody
        self._over = True

    def __reduce__(self) -> NoReturn:
        raise TypeError("p can't be pickled: another process has no run to report to; return values instead")

    def _open(self, block: Stage) -> None:
        declared = self._stage_name()
        if block.index is not None and declared is not None:
            raise RecipeError(
                f"stage {block.name!r} was entered inside stage {declared!r}",
                "stages are flat: leave one first",
            )
        if block.index is None:
            self._warn_of_near_miss(block.name)
        try:
            self._emit(events.StageEntered(stage=block.name, index=block.index))
        except IllegalTransition as error:
            raise RecipeError(str(error), "it was cancelled: let the cancel through") from None
        self._blocks.append(block)
        block._loops_around = len(self._loops)
        self._begun = self._monotonic()
        self._percent = None

    def _warn_of_near_miss(self, name: str) -> None:
        from difflib import get_close_matches

        near = get_close_matches(name, self._stages, 1, 0.75)
        if near and name not in self._warned:
            self._warned.add(name)
            self._emit(events.Log(f"stage {name!r} is not declared; did you mean {near[0]!r}?", "warning"))

    def _count(self, iterable: Iterable[_T], loop: Loop) -> Iterator[_T]:
        interrupts = self._interrupts
        self._loops.append(loop)
        try:
            interrupts.check()
            rest = enumerate(islice(iterable, loop.skipped, None) if loop.skipped else iterable, loop.skipped)
            if loop.key is None:
                for loop.done, item in rest:
                    if interrupts.stopping:
                        interrupts.check()
                    yield item
                loop.done += 1
            else:
                # One step more for each item: when the source itself fails, the item before is finished.
                loop.done = loop.skipped
                for position, item in rest:
                    if interrupts.stopping:
                        interrupts.check()
                    yield item
                    loop.done = position + 1
        finally:
            self._end(loop)

    def _end(self, loop: Loop) -> None:
        with self._interrupts, self._lock:
            if loop in self._loops:
                self._loops.remove(loop)
                self._store_position(loop)
                self._emit(loop.moved(self._monotonic(), ended=True))

    def _store_position(self, loop: Loop) -> None:
        position = loop.position
        if loop.key is not None and position != loop.stored:
            loop.stored, loop.stored_on = position, self._monotonic()
            self._emit(events.PositionReached(key=loop.key, stage=loop.stage, position=position))

    def _wait(self, seconds: float) -> None:
        self.check_cancelled()
        self._sleep(seconds)
        self.check_cancelled()

    def _cut(self, line: str, more: int = 0) -> str:
        """Return a line as it is recorded; `more` characters of it were left out already."""
        if len(line) > LINE_LIMIT or more:
            line = self._masker.mask(line)  # or a part of a secret could stay
        missing = max(0, len(line) - LINE_LIMIT) + more
        return f"{line[:LINE_LIMIT]} [... {missing:,} characters cut]" if missing else line

    def _claim(self, call: str, key: object) -> None:
        if not isinstance(key, str) or not key:
            raise RecipeError(f"p.{call} needs a key, a text that names it, not {key!r}")
        if self._masker.holds(key):
            raise RecipeError(f"the key of p.{call} holds a secret, and the journal must not", "choose another key")
        if key in self._keys:
            raise RecipeError(f"the key {key!r} is used twice in this run", f'in a loop, number it: f"{key}-{{n}}"')
        self._keys.add(key)

    def _stage_name(self) -> str | None:
        """Return the declared stage that is open, None outside any."""
        return next((each.name for each in self._blocks if each.index is not None), None)

    def _own_thread(self, call: str) -> None:
        if threading.get_ident() != self._thread:
            raise RecipeError(
                f"p.{call} was called from another thread",
                "call it from the thread that runs the operation; p.log, p.status, p.percent and p.sh work anywhere",
            )


def _level(level: str) -> str:
    if level not in LEVELS:
        raise RecipeError(f"there is no level {level!r}", "levels: " + ", ".join(LEVELS))
    return level


def _unheard(lines: list[str], stream: str) -> None:
    """Take what a program says that nobody wants to hear."""


def _nobody(event: events.Event) -> None:
    """Take what a thread or a generator says after the run is over."""
