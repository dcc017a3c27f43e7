"""What the page of a run needs, read from the journal. No server: the report command uses it too."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from stagerun.journal import opening
from stagerun.journal.pages import Pages
from stagerun.journal.reading import Records
from stagerun.outline import LogLine, Outline
from stagerun.reports.html.model import Links, Page
from stagerun.states import TERMINAL, RunState
from stagerun.text import sentences
from stagerun.view import RunView


MOST_LINES: Final = 2000  # lines in one page
REPORT_LINES: Final = 20_000  # lines in one report
_NEWEST: Final = 1000  # lines that the page of a longer log begins with
_AROUND: Final = 200  # lines before and after a line that was asked for
_LINKS: Final = 3  # links of a chain shown on each side
_MOST_RUNS: Final = 50  # runs of a chain in one report


class Reader(Struct, frozen=True):
    """One connection to the journal, for one thread.

    Attributes:
        records: its runs.
        pages: its logs by line number.

    """

    records: Records
    pages: Pages


@contextmanager
def reading(journal: Path) -> Iterator[Reader]:
    """Open the journal while the block runs; UsageError if there is none yet."""
    with closing(opening.open_existing(journal)) as store:
        yield Reader(Records(store), Pages(store))


def links(reader: Reader, view: RunView) -> Links:
    """Return the runs around a run; of a long chain only the near ones."""
    records, before, after = reader.records, list[RunView](), list[RunView]()
    while len(before) < _LINKS and (found := records.get((before or [view])[0].plan.chained_from)) is not None:
        before.insert(0, found)
    while len(after) < _LINKS and (found := records.get((after or [view])[-1].chained_to)) is not None:
        after.append(found)
    return Links(
        before=before,
        after=after,
        more_before=bool(before) and before[0].plan.chained_from is not None,
        more_after=bool(after) and after[-1].chained_to is not None,
        resumed_by=records.successor(view),
        previous=_previous(reader, view),
        cancelled_by=reader.pages.cancelled_by(view.id) if view.state not in TERMINAL else None,
    )


def page(reader: Reader, view: RunView, outline: Outline, now: float, line: int | None = None) -> Page:
    """Return the page of a run with the lines around `line`, or with those that say most about how it stands."""
    first, last = _around(view, outline, line)
    lines = reader.pages.lines(view.id, outline, first, last) if outline.lines else []
    return Page(view=view, outline=outline, lines=lines, now=now, links=links(reader, view), wanted=line)


def report_pages(reader: Reader, view: RunView, now: float) -> tuple[list[Page], int]:
    """Return a run's chain as pages of a report, and how many runs were left out at its beginning."""
    chain = reader.records.chain(view)
    omitted = max(0, len(chain) - _MOST_RUNS)
    room, found = REPORT_LINES, list[Page]()
    for link in reversed(chain[omitted:]):
        outline = Outline()
        reader.pages.extend(link.id, outline)
        lines = _both_ends(reader, link, outline, room)
        room -= len(lines)
        prefix = f"r{link.id}-"
        found.insert(
            0,
            Page(
                view=link,
                outline=outline,
                lines=lines,
                now=now,
                links=links(reader, link),
                prefix=prefix,
                acting=False,
            ),
        )
    return found, omitted


def _both_ends(reader: Reader, view: RunView, outline: Outline, room: int) -> Sequence[LogLine]:
    """Return at most `room` lines: a quarter from the beginning, the rest from the end."""
    if outline.lines <= room:
        return reader.pages.lines(view.id, outline, 1, outline.lines) if outline.lines else []
    if not room:
        return []
    begin = room // 4
    newest = outline.lines - (room - begin) + 1
    return [
        *reader.pages.lines(view.id, outline, 1, begin),
        *reader.pages.lines(view.id, outline, newest, outline.lines),
    ]


def _around(view: RunView, outline: Outline, line: int | None) -> tuple[int, int]:
    """Return the first and the last line that a page begins with."""
    total = outline.lines
    if line is not None and total:
        line = min(max(1, line), total)
        return max(1, line - _AROUND), min(total, line + _AROUND)
    if total <= MOST_LINES:
        return 1, total
    place = sentences.ended_in(view)
    last = next((fold.last for fold in reversed(outline.folds) if fold.lines and fold.name == place), total)
    return max(1, last - _NEWEST + 1), last


def _previous(reader: Reader, view: RunView) -> RunView | None:
    """Return the newest run of the same operation before this one that succeeded."""
    if view.state not in TERMINAL:
        return None
    found = reader.records.history(limit=1, state=RunState.SUCCEEDED, operation=view.plan.target, before=view.id)
    return found[0] if found else None
