"""`stagerun list`: the operations of the recipes folder, read from their source."""

import click

from stagerun.authoring import finding
from stagerun.commands.help import help_option
from stagerun.commands.options import json_option
from stagerun.commands.printing import print_json, print_line, print_lines
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.reports import operations


@click.command("list")
@json_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, as_json: bool) -> None:
    """List the operations of this project."""
    folder = here.project.recipes
    listed = finding.listing(folder)
    if as_json:
        print_json([operations.listed_document(each) for each in listed])
    elif listed:
        print_lines(here, operations.listing(listed))
    else:
        print_line(here, f"no operations in {folder}", err=True)
