"""`stagerun show TARGET`: one operation in full."""

from pathlib import Path

import click

from stagerun import recipes
from stagerun.commands import common
from stagerun.render import document


@click.command("show")
@click.argument("target", type=common.Target())
@common.journal_option
@common.json_option
@click.pass_context
def command(ctx: click.Context, *, target: str, journal: Path | None, as_json: bool) -> None:
    """Show one operation: parameters, stages, usual durations."""
    found = recipes.load(target, common.project_of(ctx).recipes)
    known = common.journal_file(ctx, journal).exists()
    expected = common.open_records(ctx, journal).expected(found.target) if known else {}
    if as_json:
        common.print_json(document.operation(found, expected))
    else:
        common.print_lines(common.report().operation(found, expected))
