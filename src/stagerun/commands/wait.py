"""`stagerun wait REF`: block until a run and its chain are over."""

from pathlib import Path

import click

from stagerun import events
from stagerun.commands import common
from stagerun.commands.types import Ref
from stagerun.journal.following import follow


@click.command("wait", epilog=common.ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@common.operation_option
@common.journal_option
@click.pass_context
def command(ctx: click.Context, /, *, ref: str, operation: str | None, journal: Path | None) -> int:
    """Wait until a run and its chain are over; exit with its exit code.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = common.open_records(ctx, journal)
    view = records.find(ref, operation)
    code = 0
    for entry in follow(records, view.id, kinds=(events.RunFinished.kind,)):
        assert isinstance(entry.event, events.RunFinished)
        code = entry.event.exit_code
    return code
