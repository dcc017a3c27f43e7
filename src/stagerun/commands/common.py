"""What commands share: their options, the journal they read, and the terminal they write to."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from stagerun import events
from stagerun.commands.types import JournalFile
from stagerun.errors import UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.machine import ci
from stagerun.machine.settings import Project, find
from stagerun.render import dialect_of
from stagerun.render.output import Output
from stagerun.text.paint import Paint
from stagerun.text.untrusted import neutralise_json


_Function = TypeVar("_Function", bound=Callable[..., Any])


def option(*names: str, **settings: Any) -> Callable[[_Function], _Function]:
    """Declare an option that can also be set as STAGERUN_<OPTION>."""
    longest = max((name for name in names if name.startswith("--")), key=len).partition("/")[0]
    variable = "STAGERUN_" + longest.lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, **settings)


ENVIRONMENT: Final = "Every option can also be set as STAGERUN_<OPTION>."
journal_option: Final = option("--journal", type=JournalFile(), help="The journal's file.")
json_option: Final = option("--json", "as_json", is_flag=True, help="Print JSON.")
operation_option: Final = option("--operation", metavar="NAME", help="Only runs of this operation.")


def project_of(ctx: click.Context) -> Project:
    return ctx.find_object(Project) or find(Path.cwd())  # completion runs no group


def journal_file(ctx: click.Context, journal: Path | None) -> Path:
    return journal or project_of(ctx).journal


def read_parameter(name: str, file: str) -> str:
    """Return the text of `file`, without the line end that an editor leaves."""
    try:
        return Path(file).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name!r} can't be read from {file}: {error}") from None


def expected(ctx: click.Context, journal: Path | None, target: str) -> dict[str, float]:
    """Return the usual seconds of each stage of `target`, {} when nothing is known."""
    return open_records(ctx, journal).expected(target) if opening.has_runs(journal_file(ctx, journal)) else {}


def open_records(ctx: click.Context, journal: Path | None) -> Records:
    """Open the journal for reading; UsageError if there is none yet."""
    return Records(opening.open_existing(journal_file(ctx, journal)))


def paint() -> Paint:
    """Return the colours and symbols that standard output can show."""
    output = Output(sys.stdout)
    colour = may_colour(output, ci.detect(os.environ))
    output.close()
    return Paint(colour=colour, unicode=output.unicode)


def print_lines(lines: Iterable[str], *, err: bool = False) -> None:
    guard = dialect_of(ci.detect(os.environ), os.environ).guard
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        told = guard(line).encode(encoding, "backslashreplace").decode(encoding)
        click.echo(told, color=True, err=err)  # the lines hold no colour where there may be none


def print_json(document: object) -> None:
    click.echo(neutralise_json(events.dumps(document)))


def may_colour(output: Output, system: ci.System) -> bool:
    """Return True if `output` shows colours to somebody: a terminal, or the log view of a CI system."""
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
