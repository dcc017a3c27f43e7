"""What a resumed run takes over from the runs before it: pure functions of a run and of what it has stored.

A checkpoint inside a finished step, or inside a finished item of a loop, is not asked for again there, because the step
or the item is skipped as a whole. Another item may still ask for it, so it is taken over without being announced.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from stagerun.errors import UsageError
from stagerun.states import StageState
from stagerun.view import RunView


MOST_ATTEMPTS: Final = 20  # so many failures are not mended by one more
_LOOPS: Final = ("track", "map")


class Kept(Struct, frozen=True, kw_only=True):
    """What is stored under one key.

    Attributes:
        key: the key.
        call: the method of `p` that stored it: "checkpoint", "step", "sh", "track" or "map".
        stage, inside, item: as in `events.Stored`.
        done: the finished items of a loop or map, else None.
        total: how many items there are, or None if unknown.
        run: the run that stored it last.
        seq: the number of the event that stored it last.
        stages: the declared stages that were entered inside a loop.

    """

    key: str
    call: str
    stage: str | None
    inside: str | None
    item: int | None
    done: int | None
    total: int | None
    run: int
    seq: int
    stages: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """True if none of its work is left."""
        return self.call not in _LOOPS or (self.done is not None and self.done == self.total)


class Resumption(Struct, frozen=True, kw_only=True):
    """What a run takes over from the run that it resumes.

    Attributes:
        view: the run that is being resumed.
        done_before: stages that it, or the runs before it, have finished.
        kept: what the run is going to ask for, in the order in which it was stored.
        covered: what is taken over besides: it is part of something that is skipped as a whole, so the run asks for it
            only if it asks for it again somewhere else.
        dropped: what was stored and is not taken over, because its stage runs again.

    """

    view: RunView
    done_before: tuple[str, ...]
    kept: tuple[Kept, ...]
    covered: tuple[Kept, ...]
    dropped: tuple[Kept, ...]

    @property
    def inherited(self) -> Mapping[str, tuple[int, int]]:
        """Key -> (run, seq) of the newest event stored under it."""
        return {each.key: (each.run, each.seq) for each in (*self.kept, *self.covered)}

    @property
    def skipped(self) -> tuple[Kept, ...]:
        """The steps that are not called again."""
        return tuple(each for each in self.kept if each.call == "step")

    @property
    def goes_on(self) -> tuple[Kept, ...]:
        """The loops and maps that have items left."""
        return tuple(each for each in self.kept if not each.finished)

    @property
    def reused(self) -> tuple[Kept, ...]:
        """Everything else that is finished: checkpoints, programs, whole loops and maps."""
        return tuple(each for each in self.kept if each.finished and each.call != "step")

    @property
    def runs_again(self) -> tuple[str, ...]:
        """The declared stages that are not skipped."""
        skipped = {each.key for each in self.skipped}
        return tuple(name for name in self.view.plan.stages if name not in skipped)


def resumption(view: RunView, stored: Iterable[Kept], from_stage: str | None = None) -> Resumption:
    """Return what a run that resumes `view` takes over: nothing from `from_stage` or a later stage.

    Args:
        view: the run.
        stored: what is stored for it, in the order in which it was stored; the parts of a map one by one.
        from_stage: the stage to begin with, or None for where it stopped; UsageError if the run has no such stage.

    """
    names = view.plan.stages
    if from_stage is not None and from_stage not in names:
        hint = f"its stages: {', '.join(names) or 'none'}"
        raise UsageError(f"{view.plan.target} has no stage {from_stage!r}", hint)
    again = set(names[names.index(from_stage) :] if from_stage else ())
    done = {*view.plan.done_before, *(stage.name for stage in view.stages if stage.state is StageState.DONE)}
    all_ = _by_key(stored)
    dropped = {key: each for key, each in all_.items() if not again.isdisjoint([each.stage, *each.stages])}
    left = {key: each for key, each in all_.items() if key not in dropped}
    return Resumption(
        view=view,
        done_before=tuple(name for name in names if name in done - again),
        kept=tuple(each for each in left.values() if not _is_covered(each, left)),
        covered=tuple(each for each in left.values() if _is_covered(each, left)),
        dropped=tuple(each for each in dropped.values() if not _is_covered(each, all_)),
    )


def _by_key(stored: Iterable[Kept]) -> dict[str, Kept]:
    """Return key -> what is stored under it; the parts of a map count as one."""
    found: dict[str, Kept] = {}
    for each in stored:
        before = found.pop(each.key, None)
        done = each.done if before is None or each.done is None else (before.done or 0) + each.done
        found[each.key] = replace(each, done=done)
    return found


def _is_covered(each: Kept, all_: Mapping[str, Kept]) -> bool:
    """Return True if it is part of something that will be skipped as a whole."""
    seen = {each.key}
    while each.inside is not None and each.inside not in seen and (around := all_.get(each.inside)) is not None:
        seen.add(around.key)
        skipped = each.item is not None and around.done is not None and each.item < around.done
        if around.finished or (around.call == "track" and skipped):
            return True
        each = around
    return False
