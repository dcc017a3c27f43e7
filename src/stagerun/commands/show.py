"""`stagerun show TARGET`: one operation in full."""

import click

from stagerun.authoring import finding
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option
from stagerun.commands.printing import paint, print_json, print_lines
from stagerun.commands.records import usual_seconds
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Target
from stagerun.reports import operations


@click.command("show", epilog=ENVIRONMENT)
@click.argument("target", type=Target())
@journal_option
@json_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, target: str, as_json: bool) -> None:
    """Show one operation: parameters, stages, usual durations."""
    found = finding.load(target, here.project)
    expected = usual_seconds(here, found.target)
    if as_json:
        print_json(operations.document(found, expected))
    else:
        print_lines(here, operations.operation(found, expected, paint(here)))
