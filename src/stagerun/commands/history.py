"""`stagerun history`: past runs, newest first."""

import time

import click

from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option, operation_option, option
from stagerun.commands.printing import paint, print_json, print_line, print_lines
from stagerun.commands.records import check_operation, open_records, tell_damage
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Moment, State
from stagerun.errors import RunDamaged
from stagerun.journal import opening
from stagerun.reports import documents
from stagerun.reports.report import Report
from stagerun.states import RunState
from stagerun.view import RunView


@click.command("history", epilog=ENVIRONMENT)
@option("--state", type=State(), help="Only runs in this state.")
@operation_option
@option("--owner", help="Only runs of this owner.")
@option("--since", type=Moment(), help="Only runs that began since a date, or 90m, 2h, 7d ago.")
@option("--limit", type=click.IntRange(1, 1_000_000), default=15, show_default=True, help="How many.")
@journal_option
@json_option
@help_option
@pass_surroundings
def command(
    here: Surroundings,
    *,
    state: RunState | None,
    operation: str | None,
    owner: str | None,
    since: float | None,
    limit: int,
    as_json: bool,
) -> int:
    """Show past runs, newest first."""
    views, damaged, resumed_as = list[RunView](), list[RunDamaged](), dict[int, int]()
    if opening.has_runs(here.journal):
        records = open_records(here)
        views = records.history(limit=limit, state=state, operation=operation, owner=owner, since=since)
        damaged = records.damaged
        if not views and operation is not None:
            check_operation(here, records, operation)
        resumed_as = records.resumed_as([view.id for view in views]) if as_json else {}
    if as_json:
        print_json([documents.run(view, resumed_as.get(view.id)) for view in views])
    elif views:
        print_lines(here, Report(now=time.time(), paint=paint(here)).history(views))
    elif not damaged:
        print_line(here, "no runs", err=True)
    return tell_damage(here, damaged)
