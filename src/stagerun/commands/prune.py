"""`stagerun prune`: delete old runs. Without `--delete` it only shows what it would delete."""

import click

from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, option
from stagerun.commands.printing import print_line
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Moment, State
from stagerun.errors import UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.journal.writing import Journal
from stagerun.states import RunState
from stagerun.text import wording


@click.command("prune", epilog=ENVIRONMENT)
@option("--keep", type=click.IntRange(0), metavar="N", help="Keep the newest N runs.")
@option("--before", type=Moment(), help="Only runs that began before a date, or 90m, 2h, 7d ago.")
@option("--state", type=State(), help="Only runs that ended in this state.")
@option("--delete", is_flag=True, help="Delete them, not only show them.")
@option("--vacuum", is_flag=True, help="Give the freed space back to the disk.")
@journal_option
@help_option
@pass_surroundings
def command(
    here: Surroundings,
    *,
    keep: int | None,
    before: float | None,
    state: RunState | None,
    delete: bool,
    vacuum: bool,
) -> None:
    """Delete old runs with their events.

    A run is deleted together with the runs that it was resumed from. Active runs are kept, and so are runs that can
    still be resumed, unless --state names their state.
    """
    if keep is None and before is None and state is None and not vacuum:
        raise UsageError("say which runs: --keep, --before or --state", "see 'stagerun prune --help'")
    store = opening.open_existing(here.journal, write=True, durable=here.project.durable)
    writing, records = Journal(store), Records(store)
    for crashed in records.unrecorded_crashes():
        writing.record_crash(crashed)
    runs = []
    if keep is not None or before is not None or state is not None:
        runs = records.prunable(keep=keep or 0, before=before, state=state)
    if delete:
        writing.delete(runs)
        print_line(here, f"deleted {wording.count(len(runs), 'run')}")
    elif runs:
        print_line(here, f"would delete {wording.count(len(runs), 'run')}: {_ranges(runs)}; to do it: --delete")
    else:
        print_line(here, "no run to delete")
    if vacuum:
        store.vacuum()
        print_line(here, f"the journal has {store.size():,} bytes now")


def _ranges(runs: list[int]) -> str:
    """`1-40, 42, 45-47`, cut after a few."""
    ranges: list[tuple[int, int]] = []
    for run in sorted(runs):
        if ranges and ranges[-1][1] == run - 1:
            ranges[-1] = (ranges[-1][0], run)
        else:
            ranges.append((run, run))
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:10]]
    return ", ".join(shown) + (", …" if len(ranges) > 10 else "")
