"""`stagerun logs REF`: the log lines of a run, with its stages and its end if asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

import click

from stagerun import events
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, json_option, operation_option, option
from stagerun.commands.printing import print_json, print_lines
from stagerun.commands.records import open_records
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.errors import UsageError
from stagerun.journal import following
from stagerun.journal.reading import Records
from stagerun.render.recent import Recent
from stagerun.reports import documents
from stagerun.text import sentences, wording
from stagerun.view import RunView


_STAGES: Final = tuple(
    event.kind for event in (events.RunCreated, events.StageEntered, events.StageLeft, events.StageTakenOver)
)


@click.command("logs", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), default="last")
@operation_option
@option("-f", "--follow", is_flag=True, help="Keep printing new lines until the run and its chain are over.")
@option("--stages", is_flag=True, help="Print the beginning, the stages, the error and the end too.")
@option("--tail", type=click.IntRange(0, 1_000_000), metavar="N", help="Only the last N lines.")
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
    stages: bool,
    tail: int | None,
    timestamps: bool,
    as_json: bool,
) -> None:
    """Print the lines of a run.

    REF is a run's id, last (the default), last~1, last~2, …
    """
    if stages and as_json:
        raise UsageError("--stages is for people", "for programs: stagerun watch REF --progress json")
    records = open_records(here)
    view = records.find(ref, operation)
    told = documents.log_lines if as_json else _Plain(records, timestamps=timestamps).lines
    lines = _lines(records, view, told, follow=follow, stages=stages, tail=tail)
    if not as_json:
        print_lines(here, lines)
    elif follow:
        # One object per line: an array could only be closed at the end.
        for line in lines:
            print_json(line)
    else:
        print_json(list(lines))


def _lines(
    records: Records,
    view: RunView,
    told: Callable[[events.Entry], Iterable[Any]],
    *,
    follow: bool,
    stages: bool,
    tail: int | None,
) -> Iterator[Any]:
    """Yield what `told` makes of the entries: the last `tail` recorded lines, then with `follow` new ones."""
    kinds = (events.Log.kind, *(_STAGES if stages else ()))
    after = 0
    if tail is not None or not follow:
        recorded: Iterable[events.Entry] = records.entries(
            view.id, kinds=kinds, newest=None if tail is None else max(1, tail)
        )
        if follow:
            recorded = list(recorded)
            after = recorded[-1].seq if recorded else 0
        elif stages and view.end is not None:  # the journal may not have it yet, after a crash
            recorded = chain(recorded, [events.Entry(view.id, 0, view.finished_on or 0.0, view.end)])
        past = (line for entry in recorded for line in told(entry))
        yield from past if tail is None else deque(past, maxlen=tail)
    if follow:
        kinds = (*kinds, *([events.RunFinished.kind] if stages else []))
        for entry in following.follow(records, view.id, after=after, kinds=kinds):
            yield from told(entry)


class _Plain:
    """The lines of plain text, without progress.

    Args:
        records: where a run is looked up.
        timestamps: True for a time before each line.

    """

    def __init__(self, records: Records, *, timestamps: bool) -> None:
        self._records = records
        self._timestamps = timestamps
        self._view: RunView | None = None
        self._recent = Recent()

    def lines(self, entry: events.Entry) -> Iterator[str]:
        moment = f"{wording.timestamp(entry.time)} " if self._timestamps else ""
        yield from (moment + line for line in self._told(entry))

    def _told(self, entry: events.Entry) -> Iterable[str]:
        match entry.event:
            case events.Log() as log:
                self._recent.add(log)
                return sentences.logged(log)
            case events.RunCreated():
                return [sentences.opening(self._run(entry), "·")]
            case events.StageEntered() as event:
                return [sentences.header(sentences.tag(self._run(entry), event.stage, event.index))]
            case events.StageLeft() as event:
                return [sentences.footer(sentences.outcome(self._run(entry), event))]
            case events.StageTakenOver() as event:
                return [sentences.footer(sentences.taken_over(self._run(entry), event))]
            case events.RunFinished():
                return sentences.closing(self._run(entry, again=True), self._recent.lines)
            case _:
                return []

    def _run(self, entry: events.Entry, *, again: bool = False) -> RunView:
        if again or self._view is None or self._view.id != entry.run:
            self._view = self._records.get(entry.run)
        assert self._view is not None
        return self._view
