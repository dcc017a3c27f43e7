"""`stagerun report REF -o FILE`: a run and its chain as one HTML file."""

import os
import time
from pathlib import Path

import click

from stagerun import __version__
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option, option
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.errors import UsageError


@click.command("report", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@option("-o", "--output", metavar="PATH", required=True, help="The file to write; - for standard output.")
@operation_option
@journal_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, ref: str, output: str, operation: str | None) -> None:
    """Write a run and its chain as one HTML file, for people who can't run stagerun.

    The file needs no other, has no script, and holds at most 20,000 lines of the logs. REF is a run's id, last (the
    default), last~1, last~2, …
    """
    from stagerun.reports.html import rendering
    from stagerun.web import run_pages

    with run_pages.reading(here.journal) as reader:
        now = time.time()
        pages, omitted = run_pages.report_pages(reader, reader.records.find(ref, operation), now)
        text = rendering.report(pages, now, version=__version__, omitted=omitted)
    data = text.encode("utf-8", "backslashreplace")
    if output == "-":
        click.echo(data, nl=False)
        return
    try:
        _write(Path(output), data)
    except OSError as error:
        raise UsageError(f"the report can't be written to {output}: {error.strerror}") from None


def _write(file: Path, data: bytes) -> None:
    """Write the whole file or nothing; it may hold what only its owner may read."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        _fill(file, data)  # a link, a device, a pipe: a rename would put a file in its place
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    _fill(draft, data)
    draft.replace(file)


def _fill(file: Path, data: bytes) -> None:
    with open(file, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        stream.write(data)
