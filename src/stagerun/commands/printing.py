"""How commands print: lines, documents and JSON on stdout, errors on stderr, all made harmless on the way.

No other module of the commands writes to a stream. What is not written by stagerun (click's messages and help, a recipe
while it is imported or after its run, Python's own warnings and tracebacks) gets to the streams through `SafeStream`.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TextIO

import click

from stagerun.commands.surroundings import Surroundings
from stagerun.machine import ci
from stagerun.render.output import Output
from stagerun.text import json_text
from stagerun.text.paint import Paint
from stagerun.text.streams import SafeStream
from stagerun.text.untrusted import neutralise, neutralise_json


def print_line(here: Surroundings, line: str, *, err: bool = False) -> None:
    print_lines(here, [line], err=err)


def print_lines(here: Surroundings, lines: Iterable[str], *, err: bool = False) -> None:
    """Print each line as it comes. The colours that `paint` allows stay."""
    stream, guard = _stream(err=err), here.guard
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for line in lines:
        told = guard(neutralise(line, keep_colour=True)).encode(encoding, "backslashreplace").decode(encoding)
        click.echo(told, file=stream, color=True)


def print_document(document: str) -> None:
    """Print a document that is safe already, in UTF-8, which its header names."""
    click.echo(document.encode(), file=_stream(), nl=False)


def print_json(document: object) -> None:
    click.echo(neutralise_json(json_text.dumps(document)), file=_stream())


def say(here: Surroundings, message: str, hint: str | None = None, traceback: str | None = None) -> None:
    """Print an error on stderr: the message in one line, the traceback behind it, the hint."""
    told = [f"stagerun: {message}", *(traceback.split("\n") if traceback else ()), *([f"  {hint}"] if hint else ())]
    click.echo("\n".join(map(here.safe, told)), file=_stream(err=True))


def _stream(*, err: bool = False) -> TextIO | None:
    """Return the stream itself: what is written here is safe, and may have colour."""
    stream = sys.stderr if err else sys.stdout
    return stream.original if isinstance(stream, SafeStream) else stream


def terminal_width() -> int | None:
    """Return the columns of standard output if it is a terminal, else None."""
    return width() if sys.stdout is not None and sys.stdout.isatty() else None


def width() -> int:
    """Return the columns of standard output: COLUMNS, those of the terminal, or 80."""
    if (given := os.environ.get("COLUMNS", "")).isdecimal():
        return max(20, int(given))
    output = Output(sys.stdout)
    columns = output.width()
    output.close()
    return columns


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
