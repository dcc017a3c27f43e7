"""`stagerun export REF --format FORMAT`: a run and its chain, in a format that other tools read."""

import time
from typing import Final

import click

from stagerun import events
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option, option
from stagerun.commands.printing import print_document, print_json, print_lines
from stagerun.commands.records import open_records
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref


_FORMATS: Final = ("junit", "markdown", "trace")


@click.command("export", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@option(
    "--format", "kind", type=click.Choice(_FORMATS), metavar="FORMAT", required=True, help="junit, markdown or trace."
)
@operation_option
@journal_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, ref: str, kind: str, operation: str | None) -> None:
    """Write a run and its chain to standard output, for other tools.

    junit is XML with a test case for each stage, markdown a table for people, trace a timeline for ui.perfetto.dev.
    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = open_records(here)
    views, now = list(records.chain(records.find(ref, operation))), time.time()
    if kind == "junit":
        from stagerun.reports.junit import report

        print_document(report(views, now))
    elif kind == "markdown":
        from stagerun.reports.markdown import report

        print_lines(here, report(views, now).rstrip("\n").split("\n"))
    else:
        from stagerun.reports.trace import document

        shown = (events.StageEntered, events.StageLeft, events.StageTakenOver, events.CheckpointStored)
        kinds = [event.kind for event in shown]
        print_json(document(((view, records.entries(view.id, kinds=kinds)) for view in views), now))
