"""`stagerun logs REF`: the lines of a run, as they were."""

from pathlib import Path

import click

from stagerun import events
from stagerun.commands import common
from stagerun.commands.types import Ref
from stagerun.journal import following
from stagerun.reports import documents
from stagerun.text import sentences, wording


@click.command("logs", epilog=common.ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@common.operation_option
@common.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the run and its chain are over.")
@common.option("--timestamps", is_flag=True, help="Put the time before each line.")
@common.journal_option
@common.json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    ref: str,
    operation: str | None,
    follow: bool,
    timestamps: bool,
    journal: Path | None,
    as_json: bool,
) -> None:
    """Print the lines of a run.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = common.open_records(ctx, journal)
    view = records.find(ref, operation)
    kinds = (events.Log.kind,)
    entries = following.follow(records, view.id, kinds=kinds) if follow else records.entries(view.id, kinds=kinds)
    if as_json and not follow:
        common.print_json([line for entry in entries for line in documents.log_lines(entry)])
        return
    for entry in entries:
        if as_json:
            # Nobody knows yet where the array would end.
            for line in documents.log_lines(entry):
                common.print_json(line)
            continue
        assert isinstance(entry.event, events.Log)
        told = sentences.logged(entry.event)
        moment = f"{wording.timestamp(entry.time)} " if timestamps else ""
        common.print_lines(moment + line for line in told)
