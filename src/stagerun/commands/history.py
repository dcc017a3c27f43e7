"""`stagerun history`: past runs, newest first."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from stagerun.commands import common
from stagerun.errors import UsageError
from stagerun.render import document
from stagerun.render.report import Report
from stagerun.states import RunState


class _Moment(click.ParamType[float]):
    """A date or time in ISO 8601, or how long ago (`90m`, `2h`, `7d`), as seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
        if value[-1:] in units and value[:-1].isdecimal():
            return datetime.now().astimezone().timestamp() - int(value[:-1]) * units[value[-1]]
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            raise UsageError(
                f"--since can't be {value!r}", "give 2026-01-31, 2026-01-31T10:00, 90m, 2h or 7d"
            ) from None


class _State(click.ParamType[RunState]):
    name = "state"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RunState:
        try:
            return RunState(value.lower().replace("-", "_").replace(" ", "_"))
        except ValueError:
            raise UsageError(f"there is no state {value!r}", "states: " + ", ".join(RunState)) from None


@click.command("history", epilog=common.ENVIRONMENT)
@common.option("--state", type=_State(), help="Only runs in this state.")
@common.operation_option
@common.option("--owner", help="Only runs of this person.")
@common.option("--since", type=_Moment(), help="Only runs since a date, or since 90m, 2h, 7d ago.")
@common.option("--limit", type=click.IntRange(1), default=15, show_default=True, help="How many.")
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
    if common.journal_file(ctx, journal).exists():
        records = common.open_records(ctx, journal)
        views = records.history(limit=limit, state=state, operation=operation, owner=owner, since=since)
    if as_json:
        common.print_json([document.run(view) for view in views])
    elif views:
        common.print_lines(Report(now=time.time(), paint=common.paint()).history(views))
    else:
        click.echo("no runs", err=True)
