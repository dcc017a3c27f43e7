"""`stagerun wait REF`: block until a run and its chain are over."""

import click

from stagerun import events, exit_codes
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option
from stagerun.commands.records import open_records
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.journal.following import follow


@click.command("wait", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@operation_option
@journal_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, ref: str, operation: str | None) -> int:
    """Wait until a run and its chain are over; exit with its exit code.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = open_records(here)
    view = records.find(ref, operation)
    code = exit_codes.FAILED  # if it is pruned meanwhile
    for entry in follow(records, view.id, kinds=(events.RunFinished.kind,)):
        assert isinstance(entry.event, events.RunFinished)
        code = entry.event.exit_code
    return code
