"""How commands print: lines and JSON on stdout, errors on stderr, all made harmless for terminals and CI systems."""

import os
import sys
from collections.abc import Iterable, Mapping

import click

from stagerun import events
from stagerun.commands.surroundings import Surroundings
from stagerun.machine import ci
from stagerun.render.output import Output
from stagerun.text.paint import Paint
from stagerun.text.untrusted import neutralise, neutralise_json


def print_lines(here: Surroundings, lines: Iterable[str], *, err: bool = False) -> None:
    """Print each line as it comes."""
    guard = here.guard
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        told = guard(line).encode(encoding, "backslashreplace").decode(encoding)
        click.echo(told, color=True, err=err)  # the lines contain colour only if it is allowed


def print_json(document: object) -> None:
    click.echo(neutralise_json(events.dumps(document)))


def say(here: Surroundings, message: str, hint: str | None = None) -> None:
    """Print an error on stderr, with the hint on the next line."""
    first, *rest = message.split("\n")
    told = [f"stagerun: {neutralise(first)}", *map(neutralise, rest)]
    if hint:
        told.append(f"  {neutralise(hint)}")
    click.echo("\n".join(map(here.guard, told)), err=True)


def paint(here: Surroundings) -> Paint:
    """Return the colours and symbols that standard output can show."""
    output = Output(sys.stdout)
    colour = may_colour(output, here.system)
    output.close()
    return Paint(colour=colour, unicode=output.unicode)


def may_colour(output: Output, system: ci.System) -> bool:
    """Return True if `output` may have colours: a terminal, or the log view of a CI system."""
    return wants_colour(os.environ, shown=output.isatty() or (system in ci.COLOURED and not output.is_file()))


def wants_colour(environ: Mapping[str, str], *, shown: bool) -> bool:
    """Decide about colour: NO_COLOR, then FORCE_COLOR or CLICOLOR_FORCE, then TERM=dumb, then whether it is shown.

    Sources: no-color.org, force-color.org, bixense.com/clicolors.
    """
    if environ.get("NO_COLOR"):
        return False
    for variable in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        if environ.get(variable):
            return environ[variable] != "0"
    return shown and environ.get("TERM") != "dumb"
