"""`stagerun show TARGET`: one operation in full."""

from pathlib import Path

import click

from stagerun.authoring import finding
from stagerun.commands import common
from stagerun.commands.types import Target
from stagerun.reports import operations


@click.command("show", epilog=common.ENVIRONMENT)
@click.argument("target", type=Target())
@common.journal_option
@common.json_option
@click.pass_context
def command(ctx: click.Context, *, target: str, journal: Path | None, as_json: bool) -> None:
    """Show one operation: parameters, stages, usual durations."""
    found = finding.load(target, common.project_of(ctx).recipes)
    expected = common.expected(ctx, journal, found.target)
    if as_json:
        common.print_json(operations.document(found, expected))
    else:
        common.print_lines(operations.operation(found, expected, common.paint()))
