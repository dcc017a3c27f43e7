"""`stagerun agent`: what is started at another place to perform a run. It is not for people."""

import os

import click

from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.errors import UsageError


@click.command("agent", hidden=True)
@pass_surroundings
def command(here: Surroundings) -> int:
    """Perform the run of another process, which it is spoken with over standard input and output."""
    if os.isatty(0) or os.isatty(1):
        raise UsageError(
            "stagerun agent is started by stagerun at another place; it does nothing for people",
            "to run an operation there: stagerun run TARGET --on PLACE",
        )
    from stagerun.remote import agent

    return agent.serve(here.masker)
