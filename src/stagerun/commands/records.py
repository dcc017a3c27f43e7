"""Reading the journal from a command."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stagerun import exit_codes
from stagerun.commands.printing import say
from stagerun.commands.surroundings import Surroundings
from stagerun.errors import RunDamaged, UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records


if TYPE_CHECKING:
    from stagerun.journal.store import Store


def open_records(here: Surroundings, *, upgrade: bool = False) -> Records:
    """Open the journal for reading; UsageError if there is none yet. With `upgrade` an older one is upgraded first."""
    return records_in(here, opening.open_existing(here.journal, write=upgrade))


def records_in(here: Surroundings, store: "Store") -> Records:
    """Return the contents of a journal, in which an operation can be named as in `stagerun run`."""

    def file_of(recipe: str) -> Path | None:
        from stagerun.authoring import finding

        return finding.file_of(recipe, here.project)

    return Records(store, file_of)


def check_operation(here: Surroundings, records: Records, operation: str) -> None:
    """Raise UsageError if neither the journal nor the project knows an operation of that name."""
    from stagerun.authoring import finding
    from stagerun.text import suggestions

    recipe = operation.partition(":")[0]
    known = records.operations(each.target for each in finding.listing(here.project.recipes))
    if operation in known or (recipe not in known and finding.file_of(recipe, here.project) is not None):
        return
    near = suggestions.did_you_mean(operation, sorted(known))
    there = ", ".join(sorted(name for name in known if ":" in name))
    raise UsageError(f"there is no operation {operation!r}", near or f"there are: {there or 'none'}")


def tell_damage(here: Surroundings, damaged: Sequence[RunDamaged]) -> int:
    """Say why runs were left out; return the exit code."""
    for error in damaged:
        say(here, error.message)
    return exit_codes.of_error(damaged[0]) if damaged else exit_codes.SUCCEEDED


def usual_seconds(here: Surroundings, target: str) -> dict[str, float]:
    """Return the usual seconds of each stage of `target`, {} if nothing is known."""
    return open_records(here).expected(target) if opening.has_runs(here.journal) else {}
