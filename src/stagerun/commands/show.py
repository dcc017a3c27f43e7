"""`stagerun show TARGET`: one operation in full."""

from pathlib import Path

import click

from stagerun import recipes
from stagerun.commands import common
from stagerun.render import catalogue


@click.command("show", epilog=common.ENVIRONMENT)
@click.argument("target", type=common.Target())
@common.journal_option
@common.json_option
@click.pass_context
def command(ctx: click.Context, *, target: str, journal: Path | None, as_json: bool) -> None:
    """Show one operation: parameters, stages, usual durations."""
    found = recipes.load(target, common.project_of(ctx).recipes)
    expected = common.expected(ctx, journal, found.target)
    if as_json:
        common.print_json(catalogue.document(found, expected))
    else:
        common.print_lines(catalogue.operation(found, expected, common.paint()))
