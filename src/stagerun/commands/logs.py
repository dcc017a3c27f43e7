"""`stagerun logs REF`: the log lines of a run."""

from collections.abc import Iterable, Iterator

import click

from stagerun import events
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option, operation_option, option
from stagerun.commands.printing import print_json, print_lines
from stagerun.commands.records import open_records
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.journal import following
from stagerun.reports import documents
from stagerun.text import sentences, wording


@click.command("logs", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@operation_option
@option("-f", "--follow", is_flag=True, help="Keep printing new lines until the run and its chain are over.")
@option("--timestamps", is_flag=True, help="Put the time before each line.")
@journal_option
@json_option
@help_option
@pass_surroundings
def command(
    here: Surroundings,
    *,
    ref: str,
    operation: str | None,
    follow: bool,
    timestamps: bool,
    as_json: bool,
) -> None:
    """Print the lines of a run.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = open_records(here)
    view = records.find(ref, operation)
    kinds = (events.Log.kind,)
    entries = following.follow(records, view.id, kinds=kinds) if follow else records.entries(view.id, kinds=kinds)
    if as_json and not follow:
        print_json([line for entry in entries for line in documents.log_lines(entry)])
        return
    if as_json:
        # One object per line: an array could only be closed at the end.
        for entry in entries:
            for line in documents.log_lines(entry):
                print_json(line)
        return
    print_lines(here, _told(entries, timestamps=timestamps))


def _told(entries: Iterable[events.Entry], *, timestamps: bool) -> Iterator[str]:
    for entry in entries:
        assert isinstance(entry.event, events.Log)
        moment = f"{wording.timestamp(entry.time)} " if timestamps else ""
        yield from (moment + line for line in sentences.logged(entry.event))
