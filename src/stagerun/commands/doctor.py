"""`stagerun doctor`: problems with this machine, the journal or the recipes folder."""

import ast
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from stagerun import __version__, exit_codes
from stagerun.authoring import finding
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option, option
from stagerun.commands.printing import paint, print_json, print_lines
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.errors import JournalError
from stagerun.journal import opening
from stagerun.machine import ci
from stagerun.render.output import Output
from stagerun.text import wording
from stagerun.text.untrusted import neutralise


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `ok`, `note` for a risk or a limitation, `bad` for something to fix."""

    grade: Literal["ok", "note", "bad"]
    what: str
    text: str


@click.command("doctor", epilog=ENVIRONMENT)
@option("--on", metavar="PLACE", help="Open this place, too.")
@journal_option
@json_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, on: str | None, as_json: bool) -> int:
    """Report problems with this machine, the journal or the recipes folder; exit with 1 if one is bad."""
    findings = [*_machine(), *_recipes(here.project.recipes), *_journal(here.journal), *_output(here.system)]
    findings += [] if on is None else _place(here, on)
    if as_json:
        print_json([{"grade": each.grade, "what": each.what, "text": each.text} for each in findings])
    else:
        colour = paint(here)
        colours = {"ok": "green", "note": "yellow", "bad": "red"}
        width = max(len(each.what) for each in findings)
        lines = (
            f"{colour(f'{each.grade:4}', colours[each.grade])}  {each.what:{width}}  {neutralise(each.text)}"
            for each in findings
        )
        print_lines(here, lines)
    return exit_codes.FAILED if any(each.grade == "bad" for each in findings) else exit_codes.SUCCEEDED


def _machine() -> Iterator[Finding]:
    yield Finding("ok", "stagerun", f"{__version__} on Python {platform.python_version()}, {platform.system()}")
    name, version, weakness = opening.engine()
    if weakness is None:
        yield Finding("ok", name, version)
    else:
        yield Finding("note", name, f"{version}: {weakness}")


def _recipes(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding("note", "recipes", f"there is no folder {folder}")
        return
    files = sorted(folder.glob("*.py"))
    yield Finding("ok", "recipes", f"{folder}, {wording.count(len(files), 'file')}")
    for file in files:
        try:
            tree = ast.parse(file.read_bytes(), str(file))
            for name, lines in finding.twins(tree).items():
                told = f"{file}, lines {' and '.join(map(str, lines))}: classes named {name!r}"
                yield Finding("bad", "recipe", f"{told}, of which Python keeps only the last")
        except (SyntaxError, ValueError, OSError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            yield Finding("bad", "recipe", f"{file}{line}: {getattr(error, 'msg', error)}")
        if file.stem in sys.stdlib_module_names:
            yield Finding("note", "recipe", f"{file} has the name of a standard library module; imports find that one")


def _journal(path: Path) -> Iterator[Finding]:
    try:
        has_runs = opening.has_runs(path)
    except JournalError as error:
        yield Finding("bad", "journal", ": ".join(filter(None, [error.message, error.hint])))
        return
    if not has_runs:
        folder = next(parent for parent in path.parents if parent.exists())
        if folder.is_dir() and os.access(folder, os.W_OK):
            yield Finding("ok", "journal", f"{path}, not created yet")
        else:
            why = "is read-only" if folder.is_dir() else "is not a folder"
            yield Finding("bad", "journal", f"{path} can't be created: {folder} {why}")
        return
    problems = list(opening.examine(path))
    for problem in problems:
        yield Finding("bad", "journal", f"{path}: {problem}")
    if not problems:
        yield Finding("ok", "journal", f"{path}, {path.stat().st_size:,} bytes")
    for note in opening.notes(path):
        yield Finding("note", "journal", note)
    if not problems and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        yield Finding("bad", "journal", f"{path} can't be written")


def _place(here: Surroundings, name: str) -> Iterator[Finding]:
    from stagerun.commands import places

    place = places.find(here, name)
    if place is not None:
        usable, text = places.told(place)
        yield Finding("ok" if usable else "bad", "place", text)


def _output(system: ci.System) -> Iterator[Finding]:
    output = Output(sys.stdout)
    told = "not in CI" if system is ci.System.NONE else f"in CI ({system})"
    if output.isatty():
        symbols = "Unicode" if output.unicode else f"ASCII symbols ({output.encoding})"
        where = f"a terminal of {output.width()} columns, TERM={os.environ.get('TERM', '')}, {symbols}"
    else:
        where = "no terminal: runs print plain text"
    yield Finding("ok", "output", f"{where}; {told}")
    output.close()
