"""`stagerun export REF --format FORMAT`: a run and its chain, or metrics, in a format that other tools read."""

import time
from typing import Final

import click

from stagerun import events
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option, option
from stagerun.commands.printing import print_document, print_json, print_lines
from stagerun.commands.records import check_operation, open_records, tell_damage
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.errors import UsageError
from stagerun.journal.reading import Records
from stagerun.states import RunState


_FORMATS: Final = ("junit", "markdown", "trace", "openmetrics")


@click.command("export", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), required=False)
@option(
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    metavar="FORMAT",
    required=True,
    help="junit, markdown, trace or openmetrics.",
)
@operation_option
@journal_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, ref: str | None, kind: str, operation: str | None) -> int:
    """Write a run and its chain to standard output, for other tools.

    junit is XML with a test case for each stage, markdown a table for people, trace a timeline for ui.perfetto.dev.
    REF is a run's id, last (the default), last~1, last~2, …. openmetrics has no REF: it tells of the last runs of all
    operations.
    """
    records, now = open_records(here), time.time()
    if kind == "openmetrics":
        if ref is not None:
            raise UsageError("--format openmetrics has no REF", "it tells of the last runs of all operations")
        if operation is not None:
            check_operation(here, records, operation)
        _print_metrics(records, operation, now)
        return tell_damage(here, records.damaged)
    views = list(records.chain(records.find(ref or "last", operation)))
    if kind == "junit":
        from stagerun.reports.junit import report

        print_document(report(views, now))
    elif kind == "markdown":
        from stagerun.reports.markdown import report

        print_lines(here, report(views, now).rstrip("\n").split("\n"))
    else:
        from stagerun.reports.trace import document

        shown = (events.StageEntered, events.StageLeft, events.StageTakenOver, events.CheckpointStored)
        kinds = [event.kind for event in shown]
        print_json(document(((view, records.entries(view.id, kinds=kinds)) for view in views), now))
    return tell_damage(here, records.damaged)


def _print_metrics(records: Records, operation: str | None, now: float) -> None:
    from stagerun.reports.openmetrics import Latest, report

    names: dict[int, list[str]] = {}
    for target in records.targets():
        for last in records.history(limit=1, operation=target):
            names.setdefault(last.id, []).append(target)
    latest = list[Latest]()
    for wanted in [operation] if operation else [spelled[0] for spelled in names.values()]:
        for last in records.history(limit=1, operation=wanted):
            succeeded = records.history(limit=1, operation=wanted, state=RunState.SUCCEEDED)
            spelled = names.get(last.id, [last.plan.target])
            latest.append(Latest(last=last, succeeded=next(iter(succeeded), None), names=spelled))
    print_document(report(latest, now))
