"""`stagerun rerun REF`: run an operation anew, with the parameters and in the folder of an earlier run."""

import click

from stagerun.commands import again
from stagerun.commands.execution import RunSettings, execute, run_options
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option, option
from stagerun.commands.records import open_records
from stagerun.commands.run import print_dry_run
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref


@click.command("rerun", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref())
@again.set_option
@again.set_file_option
@option("--dry-run", is_flag=True, help="Show stages and parameters; start nothing.")
@run_options
@operation_option
@journal_option
@help_option
@pass_surroundings
def command(
    here: Surroundings,
    settings: RunSettings,
    *,
    ref: str,
    set_: tuple[str, ...],
    files: tuple[str, ...],
    dry_run: bool,
    operation: str | None,
) -> int:
    """Run an operation anew, with the parameters of an earlier run.

    REF is a run's id, last, last~1, …. Nothing is taken over: to go on where a run stopped, use 'stagerun resume'.
    """
    records = open_records(here, upgrade=not dry_run)
    view = records.find(ref, operation)
    records.close()
    texts = again.texts(files)
    again.enter_folder(here, view)
    found = again.find(view, here.project)
    instance = again.make(here, found, view, set_, texts)
    if dry_run:
        print_dry_run(here, found, instance, settings.on)
        return 0
    return execute(here, found, instance, settings)
