"""`stagerun list`: the operations of the project and of installed packages, read from their source."""

import time

import click

from stagerun.authoring import finding
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option
from stagerun.commands.printing import paint, print_json, print_line, print_lines, say, terminal_width
from stagerun.commands.records import open_records
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.journal import opening
from stagerun.reports import operations
from stagerun.reports.operations import Past


@click.command("list", epilog=ENVIRONMENT)
@journal_option
@json_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, as_json: bool) -> None:
    """List the operations of this project: how the last run ended, how long one takes, what each does."""
    recipes = finding.recipes(here.project)
    past = _past(here, [each.target for recipe in recipes for each in recipe.operations])
    if as_json:
        from stagerun.authoring import source

        print_json(
            [
                operations.listed_document(recipe, each, source.parameters(each), past.get(each.target, Past()))
                for recipe in recipes
                for each in recipe.operations
            ]
        )
    elif any(recipe.operations for recipe in recipes):
        print_lines(here, operations.listing(recipes, past, time.time(), paint(here), width=terminal_width()))
    else:
        print_line(here, f"no operations in {here.project.recipes}", err=True)
    for recipe in recipes:
        if recipe.broken:
            say(here, operations.broken(recipe))


def _past(here: Surroundings, targets: list[str]) -> dict[str, Past]:
    """Return what the journal knows of each target; {} if there is none."""
    if not targets or not opening.has_runs(here.journal):
        return {}
    records, past = open_records(here), dict[str, Past]()
    for target in targets:
        last = records.history(limit=1, operation=target)
        past[target] = Past(last=next(iter(last), None), usual=records.usual(target))
    return past
