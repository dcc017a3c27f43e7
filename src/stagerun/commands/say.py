"""How a command tells a person on stderr what is wrong and the way out."""

import os

import click

from stagerun.machine import ci
from stagerun.render import dialect_of
from stagerun.text.untrusted import neutralise


def say(message: str, hint: str | None = None) -> None:
    """Print `message`, and the way out under it."""
    first, *rest = message.split("\n")
    told = [f"stagerun: {neutralise(first)}", *map(neutralise, rest)]
    if hint:
        told.append(f"  {neutralise(hint)}")
    guard = dialect_of(ci.detect(os.environ), os.environ).guard
    click.echo("\n".join(map(guard, told)), err=True)
