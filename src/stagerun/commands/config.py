"""`stagerun config [NAME]`: each setting with its value, and where that comes from."""

import os
from typing import Any

import click

from stagerun import exit_codes, notify, render
from stagerun.commands import places
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, json_option
from stagerun.commands.printing import print_json, print_line, print_lines, say
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Word
from stagerun.errors import StagerunError, UsageError
from stagerun.machine import notices, settings
from stagerun.text import suggestions
from stagerun.text.untrusted import neutralise


@click.command("config", epilog=ENVIRONMENT)
@click.argument("name", type=Word(list(settings.SETTINGS)), required=False)
@json_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, name: str | None, as_json: bool) -> int:
    """Show every setting with its value and where that comes from; with NAME the value of one.

    A setting comes from its environment variable, from [tool.stagerun] in pyproject.toml, or is the default.
    A value that no run would accept is named on standard error, and the exit code is 2.
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
    refused = [each for each in (_refusal(here, *item) for item in found.items()) if each is not None]
    for origin, error in refused:
        say(here, f"{origin}: {error.message}", error.hint)
    return exit_codes.USAGE if refused else exit_codes.SUCCEEDED


def _refusal(here: Surroundings, name: str, found: tuple[Any, str]) -> tuple[str, StagerunError] | None:
    """Return where a value comes from that a run would refuse, and the error; None if it would accept it."""
    value, origin = found
    if origin == "default":
        return None
    try:
        match name:
            case "journal":
                settings.journal_file(value, here.project.root)
            case "progress":
                render.check(value)
            case "timestamps":
                _flag(value)
            case "otel" if isinstance(value, str):
                notify.switched(value, name)
            case "notify" if isinstance(value, str) and value != notify.NOBODY:
                notices.read(value, name)
            case "on" if value:
                places.find(here, value)
    except StagerunError as error:
        return _origin(here, origin), error
    return None


def _flag(value: str | bool) -> None:
    try:
        click.BOOL.convert(value, None, None)
    except click.BadParameter:
        raise UsageError(f"timestamps can't be {value!r}", "true or false") from None


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
