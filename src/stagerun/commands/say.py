"""How a command tells a person on stderr what is wrong and the way out."""

import click

from stagerun.untrusted import neutralise


def say(message: str, hint: str | None = None) -> None:
    """Print `message`, and the way out under it."""
    first, *rest = message.split("\n")
    told = [f"stagerun: {neutralise(first)}", *map(neutralise, rest)]
    if hint:
        told.append(f"  {neutralise(hint)}")
    click.echo("\n".join(told), err=True)
