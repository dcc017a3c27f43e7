"""Progress: what a recipe talks to. It turns calls into events and holds no journal, no display and no run."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import length_hint
from types import TracebackType
from typing import Any, Final, NoReturn, TypeVar

from stagerun import events
from stagerun.errors import OperationCancelled, RecipeError
from stagerun.interrupts import Interrupts
from stagerun.states import StageState


LEVELS: Final = ("debug", "info", "warning", "error", "critical")
LINE_LIMIT: Final = 64 * 1024

_T = TypeVar("_T")


@dataclass(slots=True)
class Handover:
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

    """

    def __init__(self, progress: "Progress", name: str, index: int | None) -> None:
        self.name = name
        self.index = index
        self._progress = progress
        self._entered: float | None = None

    def __enter__(self) -> "Stage":
        progress = self._progress
        progress.check_cancelled()
        try:
            with progress._interrupts:
                progress._open(self)
                self._entered = progress._monotonic()
        except OperationCancelled:
            # The signal waited until the stage was recorded, and no with block will ever leave it.
            if self._entered is not None:
                self._leave(StageState.CANCELLED)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        handover = self._progress._handover
        if value is not None and value is not handover.broken:
            handover.broken, handover.broken_stage = value, self.name
        if kind is None:
            self._leave(StageState.DONE)
        elif issubclass(kind, OperationCancelled | KeyboardInterrupt):
            self._leave(StageState.CANCELLED)
        else:
            self._leave(StageState.FAILED)

    def _leave(self, state: StageState) -> None:
        progress = self._progress
        with progress._interrupts:
            seconds = progress._monotonic() - (self._entered or 0.0)
            progress._blocks.remove(self)
            progress._emit(events.StageLeft(stage=self.name, index=self.index, state=state, seconds=seconds))


class _Loop:
    """The counter of one `track` loop, read by `sample` while the loop runs."""

    __slots__ = ("begun", "depth", "done", "label", "shown", "total", "unit")

    def __init__(self, total: int | None, label: str | None, unit: str, depth: int, begun: float) -> None:
        self.total = total
        self.label = label
        self.unit = unit
        self.depth = depth
        self.begun = begun
        self.done = -1  # position of the item in hand: as many are finished
        self.shown = -1

    def moved(self, now: float, *, ended: bool) -> events.ProgressMoved:
        self.shown = self.done
        done, total = max(0, self.done), self.total
        percent = None if total is None else 100.0 * min(done, total) / total if total else 100.0
        return events.ProgressMoved(
            done=done,
            total=total,
            percent=percent,
            label=self.label,
            unit=self.unit,
            seconds=now - self.begun,
            depth=self.depth,
            ended=ended,
        )


class Progress:
    """The `p` of `run(self, p)`.

    `log`, `status` and `percent` may be called from any thread, everything else from the operation's own.
    Every call raises OperationCancelled once a cancel was asked for, except while that is being cleaned up.
    """

    def __init__(
        self,
        *,
        stages: Mapping[str, int],
        emit: Callable[[events.Event], None],
        interrupts: Interrupts,
        monotonic: Callable[[], float],
        accept: Callable[[object], None],
        handover: Handover,
    ) -> None:
        self._stages = stages
        self._emit = emit
        self._interrupts = interrupts
        self._monotonic = monotonic
        self._accept = accept
        self._handover = handover
        self._thread = threading.get_ident()
        self._blocks: list[Stage] = []
        self._loops: list[_Loop] = []
        self._begun = monotonic()
        self._percent: float | None = None
        self._warned: set[str] = set()

    def stage(self, name: str) -> Stage:
        """Return the context manager of one stage; a name that is not declared is shown but not tracked."""
        self._own_thread("stage")
        if not str(name).strip():
            raise RecipeError("p.stage needs a name")
        return Stage(self, str(name), self._stages.get(str(name)))

    def status(self, text: object, level: str = "info") -> None:
        """Set the one-line status."""
        self.check_cancelled()
        self._emit(events.StatusChanged(_cut(" ".join(str(text).split("\n"))), _level(level)))

    def percent(self, n: float) -> None:
        """Set the progress, 0 to 100; what lies outside is clamped."""
        self.check_cancelled()
        percent = max(0.0, min(100.0, float(n))) if n == n else 0.0  # noqa: PLR0124 - NaN differs from itself
        if round(percent, 1) != self._percent:
            self._percent = round(percent, 1)
            self._emit(events.ProgressMoved(percent=percent, seconds=self._monotonic() - self._begun))

    def track(
        self, iterable: Iterable[_T], total: int | None = None, label: str | None = None, unit: str = "item"
    ) -> Iterator[_T]:
        """Yield the items and count them; a cancel reaches the loop at each item.

        Args:
            iterable: never turned into a list.
            total: how many there are; without it `len()`, else a length hint, else unknown.
            label: what is counted, shown beside the stage.
            unit: one item, in the singular.

        """
        self._own_thread("track")
        if total is None:
            hint = length_hint(iterable, -1)
            total = None if hint < 0 else hint
        return self._count(iterable, total, label, unit)

    def log(self, line: object, level: str = "info") -> None:
        """Write a line to the journal and to the output; text with line ends becomes several."""
        self.check_cancelled()
        self.write(str(line), _level(level), None)

    def result(self, context: Mapping[str, Any] | None = None, **extra: Any) -> None:
        """Set the run's result, a JSON object; RecipeError names the part that JSON can't hold."""
        self.check_cancelled()
        if context is not None and not isinstance(context, Mapping):
            raise RecipeError(f"p.result needs a dict, not {type(context).__name__}", "p.result(value=...)")
        result = {**(context or {}), **extra}
        try:
            events.dumps(result)
        except (TypeError, ValueError, RecursionError) as error:
            where = _unjsonable(result, "result") or "result"
            raise RecipeError(f"p.result: JSON can't hold {where}", str(error)) from None
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
        for line in text.removesuffix("\n").split("\n"):
            self._emit(events.LogLine(_cut(line.removesuffix("\r")), level, stream))

    def sample(self) -> None:
        """Tell how far the innermost loop is, if it moved. Called a few times a second, from any thread."""
        loops = self._loops
        loop = loops[-1] if loops else None
        if loop is not None and loop.done != loop.shown:
            self._emit(loop.moved(self._monotonic(), ended=False))

    def close(self, state: StageState) -> None:
        """Leave the blocks that the recipe left open."""
        for block in reversed(self._blocks.copy()):
            block._leave(state)

    def __reduce__(self) -> NoReturn:
        raise TypeError("p can't be pickled: another process has no run to report to; return values instead")

    def _open(self, block: Stage) -> None:
        declared = next((each.name for each in self._blocks if each.index is not None), None)
        if block.index is not None and declared is not None:
            raise RecipeError(
                f"stage {block.name!r} was entered inside stage {declared!r}",
                "stages are flat: leave one first",
            )
        if block.index is None:
            self._warn_of_near_miss(block.name)
        self._emit(events.StageEntered(stage=block.name, index=block.index))
        self._blocks.append(block)
        self._begun = self._monotonic()
        self._percent = None

    def _warn_of_near_miss(self, name: str) -> None:
        from difflib import get_close_matches

        near = get_close_matches(name, self._stages, 1, 0.75)
        if near and name not in self._warned:
            self._warned.add(name)
            self._emit(events.LogLine(f"stage {name!r} is not declared; did you mean {near[0]!r}?", "warning"))

    def _count(self, iterable: Iterable[_T], total: int | None, label: str | None, unit: str) -> Iterator[_T]:
        interrupts = self._interrupts
        loop = _Loop(total, label, unit, len(self._loops), self._monotonic())
        self._loops.append(loop)
        try:
            interrupts.check()
            for loop.done, item in enumerate(iterable):
                if interrupts.signal is not None:
                    interrupts.check()
                yield item
            loop.done += 1
        finally:
            self._loops.remove(loop)
            self._emit(loop.moved(self._monotonic(), ended=True))

    def _own_thread(self, call: str) -> None:
        if threading.get_ident() != self._thread:
            raise RecipeError(
                f"p.{call} was called from another thread",
                "call it from the thread that runs the operation; p.log, p.status and p.percent work anywhere",
            )


def _level(level: str) -> str:
    if level not in LEVELS:
        raise RecipeError(f"there is no level {level!r}", "levels: " + ", ".join(LEVELS))
    return level


def _cut(line: str) -> str:
    if len(line) <= LINE_LIMIT:
        return line
    return f"{line[:LINE_LIMIT]} [... {len(line) - LINE_LIMIT:,} characters cut]"


def _unjsonable(value: object, path: str) -> str | None:
    """Return the path and type of the first part that JSON can't hold."""
    if isinstance(value, Mapping):
        parts = [(f"{path}[{name!r}]", each) for name, each in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{path}[{index}]", each) for index, each in enumerate(value)]
    else:
        try:
            events.dumps(value)
        except (TypeError, ValueError):
            return f"{path}, {'the number ' + repr(value) if isinstance(value, float) else 'a ' + type(value).__name__}"
        return None
    return next((found for name, each in parts if (found := _unjsonable(each, name))), None)
