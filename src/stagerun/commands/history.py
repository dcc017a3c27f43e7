"""`stagerun history`: past runs, newest first."""

import time

import click

from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option, operation_option, option
from stagerun.commands.printing import paint, print_json, print_line, print_lines, terminal_width
from stagerun.commands.records import check_operation, open_records, tell_damage
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Moment, Operation, State, Tag
from stagerun.errors import RunDamaged, UsageError
from stagerun.journal import opening
from stagerun.reports import documents
from stagerun.reports.report import Report
from stagerun.states import RunState
from stagerun.view import RunView


@click.command("history", epilog=ENVIRONMENT)
@click.argument("target", type=Operation(), required=False)
@option("--state", type=State(), help="Only runs in this state.")
@operation_option
@option("--owner", help="Only runs of this owner.")
@option("--tag", type=Tag(), metavar="NAME", help="Only runs with this tag.")
@option("--since", type=Moment(), help="Only runs that began since a date, or 90m, 2h, 7d ago.")
@option("--limit", type=click.IntRange(1, 1_000_000), default=15, show_default=True, help="How many.")
@journal_option
@json_option
@help_option
@pass_surroundings
def command(
    here: Surroundings,
    *,
    target: str | None,
    state: RunState | None,
    operation: str | None,
    owner: str | None,
    tag: str | None,
    since: float | None,
    limit: int,
    as_json: bool,
) -> int:
    """Show past runs, newest first; with TARGET only those of one operation, as with --operation."""
    if target is not None and operation not in (None, target):
        raise UsageError(f"it can't be both {target} and {operation}", "give TARGET or --operation")
    operation = operation or target
    views, damaged, resumed_as = list[RunView](), list[RunDamaged](), dict[int, int]()
    if opening.has_runs(here.journal):
        records = open_records(here)
        views = records.history(limit=limit, state=state, operation=operation, owner=owner, tag=tag, since=since)
        damaged = records.damaged
        if not views and operation is not None:
            check_operation(here, records, operation)
        resumed_as = records.resumed_as([view.id for view in views]) if as_json else {}
    if as_json:
        print_json([documents.run(view, resumed_as.get(view.id)) for view in views])
    elif views:
        print_lines(here, Report(now=time.time(), paint=paint(here)).history(views, terminal_width()))
    elif not damaged:
        print_line(here, "no runs", err=True)
    return tell_damage(here, damaged)
