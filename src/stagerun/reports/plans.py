"""The plan of a resume: what is skipped, reused, goes on and runs again, as text and as a JSON document."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from stagerun.resumption import Kept, Resumption
from stagerun.text import sentences, wording
from stagerun.text.untrusted import neutralise


_MOST: Final = 8  # names on a line
_NOUNS: Final = {"checkpoint": "checkpoint", "step": "step", "sh": "command", "track": "loop", "map": "map"}


class Plan(Struct, frozen=True, kw_only=True):
    """What a resume is going to do.

    Attributes:
        resumption: what is taken over.
        from_stage: the stage that it begins with, or None for where the run stopped.
        changes: the parameters that have other values than before.
        folder: the folder it runs in, if that is not the current one.
        changed_source: the recipe's file, if it has changed since.

    """

    resumption: Resumption
    from_stage: str | None = None
    changes: tuple[str, ...] = ()
    folder: str | None = None
    changed_source: str | None = None

    @property
    def warnings(self) -> list[str]:
        """What may be wrong with it."""
        told = []
        if self.changes and self.resumption.kept:
            told.append(f"what is skipped and reused was made with the old {_listed(self.changes)}")
        if self.changed_source is not None:
            told.append(f"{neutralise(self.changed_source)} has changed since")
        return told


def lines(plan: Plan, now: float) -> Iterator[str]:
    """Yield the plan as text."""
    resumption = plan.resumption
    view = resumption.view
    place = sentences.ended_in(view)
    where = f" in {sentences.tag(view, place, view.position(place))}" if place else ""
    when = wording.ago(view.finished_on or view.created_on, now)
    yield f"resuming run {view.id}: {neutralise(view.plan.target)}, {wording.state_word(view.state)}{where} {when}"
    stages = [_stage(resumption, each) for each in resumption.runs_again]
    rest = "whatever has no step or key" if resumption.kept else ""
    told = (
        ("in folder", [neutralise(plan.folder)] if plan.folder else []),
        ("skipped", [sentences.tag(view, each.key, view.position(each.key)) for each in resumption.skipped]),
        ("reused", [_named(each) for each in resumption.reused]),
        ("goes on", [_named(each) for each in resumption.goes_on]),
        ("dropped", [_named(each) for each in resumption.dropped]),
        ("changed", [neutralise(each) for each in plan.changes]),
    )
    for label, names in told:
        if names:
            yield f"  {label + ':':12} {_listed(names)}"
    if resumption.kept:
        yield f"  {'runs again:':12} {_listed(stages)}{', and ' if stages else ''}{rest}"
    else:
        what = "nothing is taken over" if resumption.dropped else "nothing was stored"
        yield f"  {what}: all of it runs again"
    yield from (f"  warning: {each}" for each in plan.warnings)


def document(plan: Plan) -> dict[str, Any]:
    """Return the plan as a JSON document; docs/json.md lists its keys."""
    resumption = plan.resumption
    return {
        "run": resumption.view.id,
        "target": resumption.view.plan.target,
        "state": resumption.view.state,
        "from_stage": plan.from_stage,
        "folder": plan.folder,
        "skipped": _documents(resumption.skipped),
        "reused": _documents(resumption.reused),
        "goes_on": _documents(resumption.goes_on),
        "dropped": _documents(resumption.dropped),
        "runs_again": list(resumption.runs_again),
        "done_before": list(resumption.done_before),
        "changed": list(plan.changes),
        "changed_source": plan.changed_source,
    }


def _documents(kept: Iterable[Kept]) -> list[dict[str, Any]]:
    return [
        {"key": each.key, "call": each.call, "stage": each.stage, "done": each.done, "total": each.total}
        | {"run": each.run}
        for each in kept
    ]


def _stage(resumption: Resumption, name: str) -> str:
    view = resumption.view
    position = view.position(name)
    done = " (was done)" if name in resumption.done_before else ""
    if position is not None and (reason := view.stages[position].skipped) is not None:
        done = f" (was skipped: {sentences.why_skipped(reason)})"
    return f"{sentences.tag(view, name, position)}{done}"


def named(call: str, key: str, done: int | None, total: int | None) -> str:
    """`checkpoint rows`, `loop pages after 399 of 2,000`, `map urls with 5 of 7 results`, `loop files (all 5)`."""
    name = f"{_NOUNS[call]} {neutralise(key)}"
    if done is None:
        return name
    if done == total:
        return f"{name} (all {done:,})"
    of = f" of {total:,}" if total is not None else ""
    # A map has no order: what is finished may lie behind what is not.
    return f"{name} with {done:,}{of} results" if call == "map" else f"{name} after {done:,}{of}"


def _named(kept: Kept) -> str:
    return named(kept.call, kept.key, kept.done, kept.total)


def _listed(names: Sequence[str]) -> str:
    """Return the names; only the first ones if there are many."""
    shown = ", ".join(names[:_MOST])
    return shown if len(names) <= _MOST else f"{shown} and {len(names) - _MOST:,} more"
