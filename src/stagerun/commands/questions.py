"""Questions to the person at the terminal, on standard error. Who must not be asked gets an error."""

from typing import Final

import click

from stagerun.authoring.params import Parameter
from stagerun.commands.surroundings import Surroundings
from stagerun.errors import UsageError
from stagerun.text.untrusted import neutralise


_ANSWERS: Final = {"y": True, "yes": True, "n": False, "no": False, "": False}


def confirm(here: Surroundings, question: str) -> None:
    """Ask the question of an operation; UsageError unless it is answered with yes."""
    if not here.may_ask:
        raise UsageError(f"nobody can answer: {question}", "to answer with yes: --yes")
    while (answer := _line(f"{neutralise(question)} [y/N]").strip().lower()) not in _ANSWERS:
        click.echo(here.safe("answer y or n"), err=True)
    if not _ANSWERS[answer]:
        raise UsageError("not confirmed: nothing was started")


def ask(here: Surroundings, parameter: Parameter) -> object:
    """Return the value of a parameter that is missing; ask again until it fits."""
    about = f" ({parameter.help})" if parameter.help else ""
    kind = "|".join(map(str, parameter.choices)) or parameter.type_name.removeprefix("list of ")
    text = neutralise(f"{parameter.name}{about} [{'y/n' if kind == 'bool' else kind}]")
    while True:
        value: object = _lines(text) if parameter.many else _line(text)
        try:
            parameter.convert(value)
        except UsageError as error:
            click.echo(here.safe(error.message), err=True)
        else:
            return value


def _line(text: str) -> str:
    value = str(click.prompt(text, err=True, default="", show_default=False))
    return {"y": "yes", "n": "no"}.get(value, value) if text.endswith("[y/n]") else value


def _lines(text: str) -> list[str]:
    """Return what is typed up to an empty line."""
    found = list[str]()
    while line := click.prompt(f"{text}, empty to end", err=True, default="", show_default=False):
        found.append(line)
    return found
