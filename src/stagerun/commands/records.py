"""Reading the journal from a command."""

from collections.abc import Sequence

from stagerun import exit_codes
from stagerun.commands.printing import say
from stagerun.commands.surroundings import Surroundings
from stagerun.errors import RunDamaged
from stagerun.journal import opening
from stagerun.journal.reading import Records


def open_records(here: Surroundings, *, upgrade: bool = False) -> Records:
    """Open the journal for reading; UsageError if there is none yet. With `upgrade` an older one is upgraded first."""
    return Records(opening.open_existing(here.journal, write=upgrade))


def tell_damage(here: Surroundings, damaged: Sequence[RunDamaged]) -> int:
    """Say why runs were left out; return the exit code."""
    for error in damaged:
        say(here, error.message)
    return exit_codes.of_error(damaged[0]) if damaged else exit_codes.SUCCEEDED


def usual_seconds(here: Surroundings, target: str) -> dict[str, float]:
    """Return the usual seconds of each stage of `target`, {} if nothing is known."""
    return open_records(here).expected(target) if opening.has_runs(here.journal) else {}
