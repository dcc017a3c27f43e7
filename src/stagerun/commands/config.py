"""`stagerun config [NAME]`: each setting with its value, and where that comes from."""

import os
from typing import Any

import click

from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, json_option
from stagerun.commands.printing import print_json, print_line, print_lines
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Word
from stagerun.errors import UsageError
from stagerun.machine import settings
from stagerun.text import suggestions
from stagerun.text.untrusted import neutralise


@click.command("config", epilog=ENVIRONMENT)
@click.argument("name", type=Word(list(settings.SETTINGS)), required=False)
@json_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, name: str | None, as_json: bool) -> None:
    """Show every setting with its value and where that comes from; with NAME the value of one.

    A setting comes from its environment variable, from [tool.stagerun] in pyproject.toml, or is the default.
    """
    found = settings.values(here.project, os.environ)
    if name is not None:
        if name not in found:
            raise UsageError(f"there is no setting {name!r}", suggestions.hint(name, found, "settings"))
        found = {name: found[name]}
    if as_json:
        print_json(
            {
                "root": str(here.project.root),
                "settings": [
                    {"name": each, "value": value, "origin": _origin(here, origin)}
                    for each, (value, origin) in found.items()
                ],
            }
        )
    elif name is not None:
        print_line(here, _text(found[name][0]))
    else:
        rows = [(each, neutralise(_text(value)), _origin(here, origin)) for each, (value, origin) in found.items()]
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        print_lines(here, (f"{each:{first}}  {value:{second}}  {origin}" for each, value, origin in rows))


def _text(value: Any) -> str:
    """Return a value on one line: of places their names, of notices whom they tell."""
    match value:
        case bool():
            return str(value).lower()
        case str(told) | {"url": str(told)}:
            return told
        case {"command": list(words)}:
            return ", ".join(words)
        case _:
            return ", ".join(map(_text, value))


def _origin(here: Surroundings, origin: str) -> str:
    """Return where a value comes from; of a variable also that the env_file has set it."""
    return f"{origin} in {here.project.env_file}" if origin in here.from_env_file else origin
