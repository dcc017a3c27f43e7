"""`stagerun stats TARGET`: how an operation has done so far."""

import time

import click

from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option, option
from stagerun.commands.printing import paint, print_json, print_lines, width
from stagerun.commands.records import check_operation, open_records, tell_damage
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Moment, Operation
from stagerun.errors import UsageError
from stagerun.reports import stats


@click.command("stats", epilog=ENVIRONMENT)
@click.argument("target", type=Operation())
@option("--since", type=Moment(), help="Only runs that began since a date, or 90m, 2h, 7d ago.")
@option("--limit", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Only so many newest runs.")
@journal_option
@json_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, target: str, since: float | None, limit: int, as_json: bool) -> int:
    """Show how often an operation succeeds, how long it and its stages take, and whether that changes."""
    records = open_records(here)
    views = records.history(limit=limit, operation=target, since=since)
    if not views:
        check_operation(here, records, target)
        raise UsageError(f"there is no run of {target} yet", f"start one: stagerun run {target}")
    found = stats.stats(views)
    if as_json:
        print_json(stats.document(found))
    else:
        print_lines(here, stats.lines(found, time.time(), paint(here), width=width()))
    return tell_damage(here, records.damaged)
