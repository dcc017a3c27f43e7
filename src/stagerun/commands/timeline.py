"""`stagerun timeline REF`: when each stage was active, over the chain of a run and all its attempts."""

import time

import click

from stagerun import events
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option, operation_option
from stagerun.commands.printing import paint, print_json, print_lines, say, width
from stagerun.commands.records import open_records, tell_damage
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.journal import families
from stagerun.reports import timeline


_KINDS = tuple(event.kind for event in (events.StageEntered, events.StageLeft))


@click.command("timeline", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@operation_option
@journal_option
@json_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, ref: str, operation: str | None, as_json: bool) -> int:
    """Show when each stage was active, over the whole chain of a run and all its attempts.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    records = open_records(here)
    family, now = families.family(records, records.find(ref, operation)), time.time()
    tracks = [timeline.track(view, records.entries(view.id, kinds=_KINDS), now) for view in family]
    if as_json:
        print_json([timeline.document(each) for each in tracks])
    else:
        print_lines(here, timeline.lines(tracks, now=now, width=width(), paint=paint(here)))
    if len(family) == families.LARGEST:
        say(here, f"the chain has more runs: these are the {families.LARGEST} nearest to run {ref}")
    return tell_damage(here, records.damaged)
