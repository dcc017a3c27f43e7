"""`stagerun status [REF]`: one run and its chain."""

import time
from pathlib import Path

import click

from stagerun import events
from stagerun.commands import common
from stagerun.commands.types import Ref
from stagerun.journal.reading import Records
from stagerun.reports import documents
from stagerun.reports.report import Report
from stagerun.states import RunState
from stagerun.view import RunView


@click.command("status", epilog=common.ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@common.operation_option
@common.journal_option
@common.json_option
@click.pass_context
def command(ctx: click.Context, *, ref: str, operation: str | None, journal: Path | None, as_json: bool) -> None:
    """Show one run and its chain.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = common.open_records(ctx, journal)
    view = records.find(ref, operation)
    if as_json:
        common.print_json(documents.run(view))
        return
    report = Report(now=time.time(), paint=common.paint())
    for link in records.chain(view):
        common.print_lines(report.run(link, _last_line(records, link)))


def _last_line(records: Records, view: RunView) -> str | None:
    """Return what a crashed run said last: nothing else tells how far it was."""
    if view.state is not RunState.CRASHED:
        return None
    for entry in records.entries(view.id, kinds=(events.Log.kind,), newest=1):
        assert isinstance(entry.event, events.Log)
        return entry.event.lines[-1]
    return None
