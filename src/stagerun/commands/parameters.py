"""The value of a parameter that does not stand on the command line: in a file, in the environment, asked for."""

import os
import sys
from pathlib import Path

import click

from stagerun.authoring.params import Parameter
from stagerun.errors import UsageError
from stagerun.text.secrets import Secret


def read_value(name: str, file: str) -> str:
    """Return the text of `file`, without the line end that an editor leaves."""
    try:
        return Path(file).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name!r} can't be read from {file}: {error}") from None


def secret_value(parameter: Parameter, *, needed: bool, by_file: str, why: str = "") -> Secret | None:
    """Return the secret from the environment, or from the person at the terminal; None if it is not `needed`.

    Args:
        parameter: which secret.
        needed: True if there is no going on without it.
        by_file: the option that reads it from a file.
        why: goes on after "the secret 'token' is missing".

    """
    if parameter.variable in os.environ:
        return Secret(os.environ[parameter.variable])
    if not needed:
        return None
    if sys.stdin is not None and sys.stdin.isatty():
        return Secret(click.prompt(parameter.name, hide_input=True, err=True))
    raise UsageError(f"the secret {parameter.name!r} is missing{why}", _ways(parameter, by_file))


def not_on_command_line(parameter: Parameter, by_file: str) -> UsageError:
    """Return the error for a secret where every user of the machine could read it."""
    return UsageError(
        f"{parameter.name!r} is a secret and can't be given on the command line", _ways(parameter, by_file)
    )


def _ways(parameter: Parameter, by_file: str) -> str:
    return f"set {parameter.variable}, or give {by_file}"
