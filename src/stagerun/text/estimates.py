"""When a run will be over: from the usual durations of its stages, corrected by its own pace."""

from typing import Final

from msgspec.structs import replace

from stagerun import events
from stagerun.states import TERMINAL, StageState
from stagerun.text import wording
from stagerun.view import RunView, StageView


_TRUST: Final = 0.1  # once this share of the usual total is over, this run's pace counts for half
_FASTEST, _SLOWEST = 0.5, 2.0  # a pace beyond these says something of the stages that are over, and of no other
_MUCH: Final = 1.5  # times the usual duration
_LONG: Final = 10.0  # seconds more than usual; less is no news


def left(view: RunView, now: float) -> float | None:
    """Return the seconds until the run is over, or None if that is unknown: a stage is new, or takes too long."""
    active, expected = view.active, view.plan.expected
    waiting = [stage.name for stage in view.stages if stage.state is StageState.PENDING]
    if view.state in TERMINAL or active is None or not {active.name, *waiting} <= expected.keys():
        return None
    rest = _left_in(active, view, now)
    later = sum(expected[name] for name in waiting) * _pace(view, now)
    return None if rest is None else (rest + later) or None


def slowed(told: events.ProgressMoved, waited: float) -> events.ProgressMoved:
    """Return progress that was told so many seconds ago: no faster than if the next item were finished just now."""
    if told.done is None or told.ended:
        return told
    following = replace(told, done=told.done + 1, percent=100.0 * (told.done + 1) / told.total if told.total else None)
    around = [*told.around]
    if around and around[0].total and told.share is not None and following.share is not None:
        before = 100.0 * around[0].skipped / around[0].total
        if before < told.share <= following.share:
            part = (told.share - before) / (following.share - before)
            around[0] = replace(around[0], seconds=max(around[0].seconds, part * (around[0].seconds + waited)))
    part = (told.done - told.skipped) / (told.done - told.skipped + 1)
    return replace(told, seconds=max(told.seconds, part * (told.seconds + waited)), around=tuple(around))


def slower_than_usual(view: RunView, now: float) -> float | None:
    """Return the usual seconds of the whole run if it takes, or took, much longer than that; else None."""
    if view.state in TERMINAL and not view.finished_successfully:
        return None
    own = [stage for stage in view.stages if not _is_left_out(stage, view)]
    known = [view.plan.expected[stage.name] for stage in own if stage.name in view.plan.expected]
    whole = sum(known)
    took = view.elapsed(now) + (left(view, now) or 0.0)
    return whole if known and len(known) == len(own) and _is_much(took, whole) else None


def _left_in(stage: StageView, view: RunView, now: float) -> float | None:
    """Return the seconds that the active stage still takes, or None if that is unknown."""
    elapsed, usual = stage.elapsed(now), view.plan.expected[stage.name]
    of_loop = wording.remaining(view.progress) if view.progress else None
    # A loop that is over long before the stage usually is will hardly be its last one.
    if of_loop is not None and elapsed + of_loop > usual / 2:
        return of_loop
    return None if _is_much(elapsed, usual) else max(0.0, usual - elapsed)


def _pace(view: RunView, now: float) -> float:
    """Return how long this run's stages take, as a multiple of what is usual; near 1 until enough of them are over."""
    expected = view.plan.expected
    known = [stage for stage in view.stages if stage.name in expected and not _is_left_out(stage, view)]
    over = [stage for stage in known if stage.state is StageState.DONE or stage.elapsed(now) > expected[stage.name]]
    trusted = _TRUST * sum(expected.values())
    taken, usual = sum(stage.elapsed(now) for stage in over), sum(expected[stage.name] for stage in over)
    return min(_SLOWEST, max(_FASTEST, (taken + trusted) / (usual + trusted))) if trusted else 1.0


def _is_left_out(stage: StageView, view: RunView) -> bool:
    if stage.from_run is not None or stage.skipped is not None:
        return True
    return stage.state is StageState.PENDING and view.state in TERMINAL


def _is_much(took: float, usual: float) -> bool:
    return took > _MUCH * usual and took - usual > _LONG
