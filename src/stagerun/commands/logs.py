"""`stagerun logs REF`: the lines of a run, as they were."""

from pathlib import Path

import click

from stagerun import events, wording
from stagerun.commands import common
from stagerun.render import document, lines


@click.command("logs", epilog=common.ENVIRONMENT)
@click.argument("ref", type=common.Ref(), default="last")
@common.operation_option
@common.option("--timestamps", is_flag=True, help="Put the time before each line.")
@common.journal_option
@common.json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    ref: str,
    operation: str | None,
    timestamps: bool,
    journal: Path | None,
    as_json: bool,
) -> None:
    """Print the lines of a run.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = common.open_records(ctx, journal)
    view = records.find(ref, operation)
    entries = records.entries(view.id, kinds=(events.LogLine.kind,))
    if as_json:
        common.print_json([document.log_line(entry) for entry in entries])
        return
    for entry in entries:
        assert isinstance(entry.event, events.LogLine)
        line = lines.logged(entry.event)
        click.echo(f"{wording.timestamp(entry.time)} {line}" if timestamps else line)
