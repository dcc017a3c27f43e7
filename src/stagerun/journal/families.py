"""Runs that belong together: the chain of a run, and all attempts at each of its links."""

from typing import Final

from stagerun.errors import RunDamaged
from stagerun.journal.reading import Records
from stagerun.view import RunView


LARGEST: Final = 200  # runs that one picture can show


def family(records: Records, view: RunView) -> list[RunView]:
    """Return the runs that belong to `view`, in order, with `view` itself; at most LARGEST, those nearest to it."""
    found, waiting = {view.id: view}, [view]
    for each in waiting:
        ids = (each.plan.chained_from, each.chained_to, each.plan.resumed_from)
        try:
            near = [*(records.get(run) for run in ids if run is not None), records.successor(each)]
        except RunDamaged as error:
            records.damaged.append(error)
            continue
        for other in near:
            if other is not None and other.id not in found and len(found) < LARGEST:
                found[other.id] = other
                waiting.append(other)
    return [found[run] for run in sorted(found)]
