"""`stagerun watch REF`: the display of a run in another process, or of a finished run."""

import sys
import time

import click

from stagerun import exit_codes
from stagerun.commands.display import DisplaySettings, choose_display, display_options
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option
from stagerun.commands.records import open_records
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.journal.following import replay
from stagerun.render.output import Output


@click.command("watch", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@display_options
@operation_option
@journal_option
@help_option
@pass_surroundings
def command(here: Surroundings, settings: DisplaySettings, *, ref: str, operation: str | None) -> int:
    """Show a run live, from its start to its end and along its chain.

    REF is a run's id, last (the default), last~1, last~2, … Ctrl-C stops watching, not the run.
    """
    records = open_records(here)
    run = records.find(ref, operation).id
    display = choose_display(here, Output(sys.stdout), settings)

    code: int | None = None
    try:
        for entry, view in replay(records, run, meanwhile=lambda: display.refresh(time.time())):
            display.update(entry, view)
            code = view.exit_code
    finally:
        display.close()
    return exit_codes.FAILED if code is None else code  # None: it was pruned meanwhile
