"""Questions to the person at the terminal, on standard error. Who must not be asked gets an error."""

import click

from stagerun.commands.surroundings import Surroundings
from stagerun.errors import UsageError
from stagerun.text.untrusted import neutralise


def confirm(here: Surroundings, question: str) -> None:
    """Ask the question of an operation; UsageError unless it is answered with yes."""
    if not here.may_ask:
        raise UsageError(f"nobody can answer: {question}", "to answer with yes: --yes")
    if not click.confirm(neutralise(question), err=True):
        raise UsageError("not confirmed: nothing was started")
