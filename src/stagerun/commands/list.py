"""`stagerun list`: the operations of the recipes folder, read from their source."""

import click

from stagerun.authoring import finding
from stagerun.commands import common
from stagerun.reports import operations
from stagerun.text.untrusted import neutralise


@click.command("list")
@common.json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """List the operations of this project."""
    folder = common.project_of(ctx).recipes
    listed = finding.listing(folder)
    if as_json:
        common.print_json([operations.listed_document(each) for each in listed])
    elif listed:
        common.print_lines(operations.listing(listed))
    else:
        click.echo(f"no operations in {neutralise(str(folder))}", err=True)
