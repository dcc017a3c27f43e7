"""`stagerun watch REF`: the display of a run that another process works on, or that is over."""

import sys
import time
from pathlib import Path

import click

from stagerun import events
from stagerun.commands import common, execution
from stagerun.commands.types import Ref
from stagerun.journal.following import follow
from stagerun.machine.ci import System
from stagerun.render.output import Output
from stagerun.view import RunView, begin, fold


@click.command("watch", epilog=common.ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@execution.display_options
@common.operation_option
@common.journal_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    ref: str,
    progress: str,
    timestamps: bool,
    ci: System,
    operation: str | None,
    journal: Path | None,
) -> int:
    """Show a run as it goes on, from its start to its end and along its chain.

    REF is a run's id, last (the default), last~1, last~2, … Ctrl-C ends the watching, not the run.
    """
    records = common.open_records(ctx, journal)
    run = records.find(ref, operation).id
    display = execution.choose_display(Output(sys.stdout), progress=progress, timestamps=timestamps, system=ci)

    view: RunView | None = None
    try:
        for entry in follow(records, run, meanwhile=lambda: display.refresh(time.time())):
            created = isinstance(entry.event, events.RunCreated)
            view = begin(entry) if created or view is None else fold(view, entry)
            display.update(entry, view)
    finally:
        display.close()
    assert view is not None
    return view.exit_code or 0
