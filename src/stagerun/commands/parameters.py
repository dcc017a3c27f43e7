"""An operation's parameters as command line options, and values from a file, the environment or a prompt."""

import os
import sys
from pathlib import Path
from typing import Final

import click

from stagerun.authoring.params import Parameter
from stagerun.errors import UsageError
from stagerun.text.secrets import Secret


_METAVARS: Final = {"str": "TEXT", "int": "INTEGER", "secret": "PATH"}


def options(parameter: Parameter) -> list[click.Option]:
    """Return the options that set `parameter`. Conversion is left to the parameter itself."""
    about = parameter.help
    if parameter.secret:
        return _secret_options(parameter)
    flag = parameter.type is bool and not parameter.many
    kind = "|".join(map(str, parameter.choices)) if parameter.choices else parameter.type_name.removeprefix("list of ")
    default = None if parameter.required else parameter.to_json(parameter.default)
    if default not in (None, [], ()):
        about += f"  [default: {default}]"
    if parameter.rules:
        about += f"  [{parameter.rules}]"
    return [
        click.Option(
            [parameter.option, parameter.name],
            type=click.BOOL if flag else click.STRING,
            is_flag=flag or None,
            multiple=parameter.many,
            required=parameter.required,
            default=None,
            metavar=None if flag else f"[{kind}]" if parameter.choices else _METAVARS.get(kind, kind.upper()),
            help=about.strip(),
            envvar=parameter.variable,
        )
    ]


def _secret_options(parameter: Parameter) -> list[click.Option]:
    """Return the options of a secret, which comes from a file: every user of the machine can read a command line."""
    by_file = parameter.option

    def read(ctx: click.Context, option: click.Parameter, value: str | None) -> Secret | None:
        if value is not None:
            return Secret(read_value(parameter.name, value))
        needed = parameter.required and not ctx.resilient_parsing
        return secret_value(parameter, needed=needed, by_file=f"{by_file} PATH")

    def refuse(ctx: click.Context, option: click.Parameter, value: object) -> None:
        if value is not None:
            raise not_on_command_line(parameter, f"{by_file} PATH")

    return [
        click.Option(
            [by_file, parameter.name],
            metavar="PATH",
            help=f"{parameter.help}  [or as {parameter.variable}]".strip(),
            callback=read,
        ),
        click.Option(
            [by_file.removesuffix("-file"), f"{parameter.name}_refused"],
            hidden=True,
            callback=refuse,
            expose_value=False,
            is_eager=True,
        ),
    ]


def read_value(name: str, file: str) -> str:
    """Return the text of `file` without its final newlines, which editors add."""
    try:
        return Path(file).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name!r} can't be read from {file}: {error}") from None


def secret_value(parameter: Parameter, *, needed: bool, by_file: str, why: str = "") -> Secret | None:
    """Return the secret from the environment; if it is not there, prompt for it if `needed`, else return None.

    Args:
        parameter: the secret.
        needed: True if the command can't continue without it.
        by_file: the option that reads it from a file.
        why: the text after "the secret 'token' is missing".

    """
    if parameter.variable in os.environ:
        return Secret(os.environ[parameter.variable])
    if not needed:
        return None
    if sys.stdin is not None and sys.stdin.isatty():
        return Secret(click.prompt(parameter.name, hide_input=True, err=True))
    raise UsageError(f"the secret {parameter.name!r} is missing{why}", _ways(parameter, by_file))


def not_on_command_line(parameter: Parameter, by_file: str) -> UsageError:
    """Return the error for a secret on the command line, where every user of the machine could read it."""
    return UsageError(
        f"{parameter.name!r} is a secret and can't be given on the command line", _ways(parameter, by_file)
    )


def _ways(parameter: Parameter, by_file: str) -> str:
    return f"set {parameter.variable}, or give {by_file}"
