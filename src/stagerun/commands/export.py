"""`stagerun export REF --format FORMAT`: a run and its chain, in a format that other tools read."""

import time
from pathlib import Path
from typing import Final

import click

from stagerun import events
from stagerun.commands import common
from stagerun.commands.types import Ref


_FORMATS: Final = ("junit", "markdown", "trace")


@click.command("export", epilog=common.ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@common.option(
    "--format", "kind", type=click.Choice(_FORMATS), metavar="FORMAT", required=True, help="junit, markdown or trace."
)
@common.operation_option
@common.journal_option
@click.pass_context
def command(ctx: click.Context, *, ref: str, kind: str, operation: str | None, journal: Path | None) -> None:
    """Write a run and its chain to standard output, for other tools.

    junit is XML with a test case for each stage, markdown a table for people, trace a timeline for ui.perfetto.dev.
    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = common.open_records(ctx, journal)
    views, now = list(records.chain(records.find(ref, operation))), time.time()
    if kind == "junit":
        from stagerun.reports.junit import report

        click.echo(report(views, now).encode(), nl=False)  # in the encoding that it names
    elif kind == "markdown":
        from stagerun.reports.markdown import report

        common.print_lines(report(views, now).rstrip("\n").split("\n"))
    else:
        from stagerun.reports.trace import document

        kinds = (events.StageEntered.kind, events.StageLeft.kind, events.CheckpointStored.kind)
        common.print_json(document(((view, records.entries(view.id, kinds=kinds)) for view in views), now))
