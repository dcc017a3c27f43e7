"""`stagerun status [REF]`: one run and its chain."""

import time

import click

from stagerun import events, exit_codes
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option, operation_option, option
from stagerun.commands.printing import paint, print_json, print_lines
from stagerun.commands.records import open_records, tell_damage
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.journal.reading import Records
from stagerun.reports import documents
from stagerun.reports.report import Report
from stagerun.states import RunState
from stagerun.view import RunView


@click.command("status", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@operation_option
@journal_option
@json_option
@option("-v", "--verbose", is_flag=True, help="Show parameters, start, folder and traceback too.")
@help_option
@pass_surroundings
def command(here: Surroundings, *, ref: str, operation: str | None, as_json: bool, verbose: bool) -> int:
    """Show one run and its chain.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = open_records(here)
    view = records.find(ref, operation)
    if as_json:
        print_json(documents.run(view, records.resumed_as([view.id]).get(view.id)))
        return exit_codes.SUCCEEDED
    report = Report(now=time.time(), paint=paint(here))
    for link in records.chain(view):
        details = report.details(link) if verbose else ()
        print_lines(here, report.run(link, _last_line(records, link), records.successor(link), details))
    return tell_damage(here, records.damaged)


def _last_line(records: Records, view: RunView) -> str | None:
    """Return the last line of a crashed run: nothing else shows how far it got."""
    if view.state is not RunState.CRASHED:
        return None
    for entry in records.entries(view.id, kinds=(events.Log.kind,), newest=1):
        assert isinstance(entry.event, events.Log)
        return entry.event.lines[-1]
    return None
