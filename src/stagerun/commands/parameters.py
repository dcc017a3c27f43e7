"""An operation's parameters as command line options, and values from a file, the environment or a prompt.

A text on the command line may be `@file` for the text of a file, `-` for standard input, or `@@text` for the text as it
is, whatever it begins with.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from stagerun.authoring.params import Parameter
from stagerun.commands.surroundings import Surroundings, surroundings_of
from stagerun.commands.types import FileName, LongText, Word
from stagerun.errors import UsageError
from stagerun.text.secrets import Secret


_STDIN: Final = "stagerun.stdin"  # for which parameter standard input was read
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
        _Parameter(
            [parameter.option, parameter.name],
            declared=parameter,
            type=click.BOOL if flag else _type(parameter),
            is_flag=flag or None,
            multiple=parameter.many,
            required=parameter.required,
            default=None,
            metavar=None if flag else f"[{kind}]" if parameter.choices else _METAVARS.get(kind, kind.upper()),
            help=about.strip(),
            envvar=parameter.variable,
        )
    ]


def _type(parameter: Parameter) -> click.ParamType[Any]:
    """Return what a shell completes the values of a parameter from."""
    if parameter.type is Path:
        return FileName()
    return LongText() if parameter.type is str and not parameter.choices else Word(tuple(map(str, parameter.choices)))


class _Parameter(click.Option):
    """The option of a parameter: it reads long texts, and asks for what is missing."""

    def __init__(self, names: list[str], *, declared: Parameter, **settings: Any) -> None:
        super().__init__(names, **settings)
        self._declared = declared

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        if ctx.resilient_parsing:
            return value
        here, declared = surroundings_of(ctx), self._declared
        if self.required and (value is None or self.value_is_missing(value)) and here.may_ask:
            from stagerun.commands import questions

            return questions.ask(here, declared)
        typed = ctx.get_parameter_source(declared.name) is ParameterSource.COMMANDLINE
        if typed and declared.type is str and not declared.choices:
            value = tuple(self._text(ctx, each) for each in value) if declared.many else self._text(ctx, value)
        return super().process_value(ctx, value)

    def _text(self, ctx: click.Context, value: str) -> str:
        name = self._declared.name
        if value.startswith("@@"):
            return value[2:]
        if value == "@":
            raise UsageError(f"{name!r}: @ names no file", "for a text that begins with @: @@")
        if value.startswith("@"):
            return read_value(name, value[1:])
        if value != "-":
            return value
        if (before := ctx.meta.get(_STDIN)) is not None:
            raise UsageError(f"{name!r} can't be read from standard input: that was read for {before!r}")
        ctx.meta[_STDIN] = name
        return read_value(name, None)


def _secret_options(parameter: Parameter) -> list[click.Option]:
    """Return the options of a secret, which comes from a file: every user of the machine can read a command line."""
    by_file = parameter.option

    def read(ctx: click.Context, option: click.Parameter, value: str | None) -> Secret | None:
        if value is not None:
            return Secret(read_value(parameter.name, value))
        needed = parameter.required and not ctx.resilient_parsing
        return secret_value(surroundings_of(ctx), parameter, needed=needed, by_file=f"{by_file} PATH")

    def refuse(ctx: click.Context, option: click.Parameter, value: object) -> None:
        if value is not None:
            raise not_on_command_line(parameter, f"{by_file} PATH")

    return [
        click.Option(
            [by_file, parameter.name],
            type=FileName(),
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


def read_value(name: str, file: str | None) -> str:
    """Return the text of `file`, or of standard input, without its final newlines, which editors add."""
    try:
        if file is not None:
            return Path(file).read_text().rstrip("\r\n")
        return sys.stdin.read().rstrip("\r\n") if sys.stdin is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        why = f"it is not {error.encoding} text" if isinstance(error, UnicodeDecodeError) else error.strerror or error
        raise UsageError(f"{name!r} can't be read from {file or 'standard input'}: {why}") from None


def secret_value(
    here: Surroundings, parameter: Parameter, *, needed: bool, by_file: str, why: str = ""
) -> Secret | None:
    """Return the secret from the environment; if it is not there, ask for it if `needed`, else return None.

    Args:
        here: the surroundings, which say whether anybody can be asked.
        parameter: the secret.
        needed: True if the command can't continue without it.
        by_file: the option that reads it from a file.
        why: the text after "the secret 'token' is missing".

    """
    if parameter.variable in os.environ:
        return Secret(os.environ[parameter.variable])
    if not needed:
        return None
    if here.may_ask:
        return Secret(click.prompt(parameter.name, hide_input=True, err=True))
    raise UsageError(f"the secret {parameter.name!r} is missing{why}", _ways(parameter, by_file))


def not_on_command_line(parameter: Parameter, by_file: str) -> UsageError:
    """Return the error for a secret on the command line, where every user of the machine could read it."""
    return UsageError(
        f"{parameter.name!r} is a secret and can't be given on the command line", _ways(parameter, by_file)
    )


def _ways(parameter: Parameter, by_file: str) -> str:
    return f"set {parameter.variable}, or give {by_file}"
