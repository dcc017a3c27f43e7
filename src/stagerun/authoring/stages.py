"""Stages as a recipe uses them: which blocks are open, and how a block is entered and left."""

import sys
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NoReturn, Self

from stagerun import events
from stagerun.authoring.tracking import Loops
from stagerun.errors import IllegalTransition, OperationCancelled, RecipeError, StageSkipped
from stagerun.machine.interrupts import Interrupts, is_limit
from stagerun.states import StageState


class Stage:
    """One visit to a stage, as a context manager.

    Attributes:
        name: the stage.
        index: its declared position, or None for an undeclared block.
        done_before: True if the resumed run had finished this stage.

    """

    def __init__(
        self, blocks: "Blocks", name: str, index: int | None, *, timeout: float | None, done_before: bool
    ) -> None:
        self.name = name
        self.index = index
        self.done_before = done_before
        self._blocks = blocks
        self._timeout = timeout
        self._entered = False

    def __enter__(self) -> Self:
        if self._entered:
            raise RecipeError(f"this visit to stage {self.name!r} was entered before", "call p.stage for each visit")
        self._entered = True
        self._blocks.enter(self, self._timeout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None:  # not bool: a type checker would think that any error may end here
        return self._blocks.leave(self, value)


class Unentered:
    """A stage that was made and not entered yet, or never.

    Attributes:
        stage: the stage, as long as anybody can still enter it.
        message: what is wrong if nobody does.
        place: the file and line of the recipe that made it.

    """

    def __init__(self, stage: Stage, place: tuple[str, int]) -> None:
        self.stage = weakref.ref(stage)
        self.message = f"stage {stage.name!r} was never entered: p.stage does nothing without `with`"
        self.place = place


class _Visit:
    """An open block.

    Attributes:
        around: the error that was being handled when it was entered, or None.
        skipped: the exception by which the recipe leaves it, or None.

    """

    def __init__(self, stage: Stage, limit: AbstractContextManager[None], entered: float, loops_around: int) -> None:
        self.stage = stage
        self.limit = limit
        self.entered = entered
        self.loops_around = loops_around
        self.around = sys.exception()
        self.skipped: StageSkipped | None = None


class Blocks:
    """The blocks of one run.

    Args:
        declared: the declared stages, name -> position.
        done_before: the stages that the resumed run had finished.
        emit: emits an event.
        warn: writes a warning.
        check: raises if a block of that name may not be entered now.
        interrupts: holds signals back while a block is entered or left.
        monotonic: the clock for durations, in seconds.
        loops: the loops of the run; those that began in a block end with it.

    Attributes:
        broken: the error that last cut a block short, or None.
        broken_stage: the innermost block that `broken` cut short.
        last: the declared stage that was entered last, or None before the first.
        entered: how many blocks were entered so far.
        entered_on: when the last one was entered, or the run began, by `monotonic`.
        unentered: the stages that were made and not entered, in order.
        settle: called before a block is left: what it has still to say belongs to it.

    """

    def __init__(
        self,
        declared: Mapping[str, int],
        done_before: Collection[str],
        *,
        emit: Callable[[events.Event], None],
        warn: Callable[[str], None],
        check: Callable[[str], None],
        interrupts: Interrupts,
        monotonic: Callable[[], float],
        loops: Loops,
    ) -> None:
        self.broken: BaseException | None = None
        self.broken_stage: str | None = None
        self.last: str | None = None
        self.entered = 0
        self.entered_on = monotonic()
        self.unentered: list[Unentered] = []
        self.settle: Callable[[], object] = lambda: None
        self._declared = declared
        self._done_before = done_before
        self._emit = emit
        self._warn = warn
        self._check = check
        self._interrupts = interrupts
        self._monotonic = monotonic
        self._loops = loops
        self._visits: list[_Visit] = []
        self._entries: dict[str, int] = {}
        self._done: set[str] = set()
        self._warned: set[str] = set()

    @property
    def stage(self) -> str | None:
        """The declared stage that is open, or None."""
        return next((visit.stage.name for visit in self._visits if visit.stage.index is not None), None)

    def make(
        self, name: str, timeout: float | None, mask: Callable[[str], str], place: tuple[str, int] | None = None
    ) -> Stage:
        """Return a stage to enter; RecipeError for a bad argument, or if an earlier one can no longer be entered.

        Args:
            name: the stage.
            timeout: the seconds it may take, None for no limit.
            mask: removes secrets from the name.
            place: the file and line of the recipe that calls; None if the caller is sure to enter the stage.

        """
        for earlier in self.unentered:
            if earlier.stage() is None:
                file, line = earlier.place
                raise RecipeError(earlier.message, f"it was made in {file}, line {line}")
        if timeout is not None and not is_limit(timeout):
            raise RecipeError(f"p.stage: timeout must be a number of seconds above 0, not {timeout!r}")
        name = str(name)
        if not name.strip():
            raise RecipeError("p.stage needs a name")
        if name not in self._declared:
            name = mask(name)
        done_before = name in self._done_before
        stage = Stage(self, name, self._declared.get(name), timeout=timeout, done_before=done_before)
        if place is not None:
            self.unentered.append(Unentered(stage, place))
        return stage

    def check_step(self, name: str) -> None:
        """Raise RecipeError if a step of that name can't be made here."""
        if name == self.stage:
            raise RecipeError(
                f"p.step({name!r}) is inside its own stage",
                "it enters the stage: leave out the with, or use p.checkpoint",
            )
        if name in self._done:
            raise RecipeError(
                f"p.step({name!r}): the stage {name!r} was done before in this run",
                "a step is all the work of its stage; use p.checkpoint inside with p.stage(...)",
            )

    def take_over(self, stage: Stage, run: int) -> None:
        """Record that a stage is done without being entered, because `run` had finished its work."""
        self._check(stage.name)
        with self._interrupts:
            self._allow(stage)
            self._emit(events.StageTakenOver(stage=stage.name, index=stage.index, run=run))
            self._note_entry(stage)
            self._done.add(stage.name)

    def since(self, entered: int) -> list[str]:
        """Return the declared stages that were entered after so many blocks."""
        return [name for name, number in self._entries.items() if number > entered]

    def enter(self, stage: Stage, timeout: float | None) -> None:
        self.unentered = [each for each in self.unentered if each.stage() is not stage]
        self._check(stage.name)
        visit: _Visit | None = None
        try:
            with self._interrupts:
                self._allow(stage)
                self._record_entry(stage)
                visit = _Visit(
                    stage=stage,
                    limit=self._interrupts.limit(timeout, f"stage {stage.name!r}"),
                    entered=self._monotonic(),
                    loops_around=self._loops.depth,
                )
                self._visits.append(visit)
                self.entered_on = visit.entered
                visit.limit.__enter__()
        except BaseException as error:
            # What a signal handler raises waited until the stage was recorded, and no with block will leave that stage.
            if visit is not None:
                self.leave(stage, error)
            raise

    def skip(self, reason: str) -> NoReturn:
        """Leave the innermost block as done, because there is nothing to do in it."""
        if not self._visits:
            raise RecipeError("p.skip was called outside any stage", "call it inside `with p.stage(...)`")
        visit = self._visits[-1]
        error = sys.exception()
        if error is not None and error is not visit.around and not isinstance(error, StageSkipped):
            from stagerun.authoring import unwinding

            if unwinding.passes_through(error):
                raise error  # a finally: the error must get through
        visit.skipped = skipped = StageSkipped(reason)
        raise skipped

    def leave(self, stage: Stage, error: BaseException | None) -> bool:
        """Record that a block was left: by `error`, or at its end if that is None; return True if it ends here."""
        visit = next((each for each in self._visits if each.stage is stage), None)
        if visit is not None and visit.skipped is not None and _is(error, visit.skipped):
            self._leave(visit, StageState.DONE, skipped=str(visit.skipped))
            return True
        if error is not None and error is not self.broken:
            self.broken, self.broken_stage = error, stage.name
        if visit is not None:  # else the end of the run has closed it already
            if visit.skipped is not None and error is None:
                self._warn(f"stage {stage.name!r} is not skipped: its code has caught the exception of p.skip")
            self._leave(visit, state_after(self._interrupts.meant_by(error)))
        return False

    def close(self, state: StageState) -> None:
        """Leave the blocks that are still open."""
        for visit in reversed(self._visits.copy()):
            self._leave(visit, state)

    def _leave(self, visit: _Visit, state: StageState, *, skipped: str | None = None) -> None:
        with self._interrupts:
            visit.limit.__exit__(None, None, None)
            # The traceback of an error keeps the loop's generator alive after the stage.
            self._loops.end_inside(visit.loops_around)
            self.settle()
            seconds = self._monotonic() - visit.entered
            self._visits.remove(visit)
            stage = visit.stage
            self._emit(
                events.StageLeft(stage=stage.name, index=stage.index, state=state, seconds=seconds, skipped=skipped)
            )
            if state is StageState.DONE:
                self._done.add(stage.name)

    def _allow(self, stage: Stage) -> None:
        """Raise RecipeError if a block can't be entered here."""
        around = self.stage
        if stage.index is not None and around is not None:
            raise RecipeError(
                f"stage {stage.name!r} was entered inside stage {around!r}", "stages are flat: leave one first"
            )
        if stage.index is None:
            self._warn_of_near_miss(stage.name)

    def _record_entry(self, stage: Stage) -> None:
        try:
            self._emit(events.StageEntered(stage=stage.name, index=stage.index))
        except IllegalTransition as error:
            raise RecipeError(str(error), "it was cancelled: let the cancel through") from None
        self._note_entry(stage)

    def _note_entry(self, stage: Stage) -> None:
        self.entered += 1
        if stage.index is not None:
            self.last = stage.name
            self._entries[stage.name] = self.entered

    def _warn_of_near_miss(self, name: str) -> None:
        from stagerun.text import suggestions

        near = suggestions.nearest(name, self._declared, 0.75)
        if near and name not in self._warned:
            self._warned.add(name)
            self._warn(f"stage {name!r} is not declared; did you mean {near!r}?")


def state_after(error: BaseException | None) -> StageState:
    """Return the state of a stage that was left by `error`, or at its end if that is None."""
    match error:
        case None:
            return StageState.DONE
        case OperationCancelled() | KeyboardInterrupt():
            return StageState.CANCELLED
        case _:
            return StageState.FAILED


def _is(error: BaseException | None, skipped: StageSkipped) -> bool:
    """Return True if a block is left by `skipped`, be it through an `asyncio.TaskGroup`."""
    return error is skipped or (isinstance(error, BaseExceptionGroup) and error.exceptions == (skipped,))
