"""`stagerun history`: past runs, newest first."""

import time
from pathlib import Path

import click

from stagerun.commands import common
from stagerun.commands.types import Moment, State
from stagerun.journal import opening
from stagerun.reports import documents
from stagerun.reports.report import Report
from stagerun.states import RunState


@click.command("history", epilog=common.ENVIRONMENT)
@common.option("--state", type=State(), help="Only runs in this state.")
@common.operation_option
@common.option("--owner", help="Only runs of this person.")
@common.option("--since", type=Moment(), help="Only runs since a date, or since 90m, 2h, 7d ago.")
@common.option("--limit", type=click.IntRange(1, 1_000_000), default=15, show_default=True, help="How many.")
@common.journal_option
@common.json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    state: RunState | None,
    operation: str | None,
    owner: str | None,
    since: float | None,
    limit: int,
    journal: Path | None,
    as_json: bool,
) -> None:
    """Show past runs, newest first."""
    views = []
    if opening.has_runs(common.journal_file(ctx, journal)):
        records = common.open_records(ctx, journal)
        views = records.history(limit=limit, state=state, operation=operation, owner=owner, since=since)
    if as_json:
        common.print_json([documents.run(view) for view in views])
    elif views:
        common.print_lines(Report(now=time.time(), paint=common.paint()).history(views))
    else:
        click.echo("no runs", err=True)
