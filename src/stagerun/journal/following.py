"""A run as it goes on, read from the journal while another process writes it."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from stagerun import events
from stagerun.journal.reading import Records
from stagerun.states import RunState


_LOOK: Final = 0.05  # seconds between two calls of `meanwhile`
_LONGEST_LOOK: Final = 0.5  # a process that is dead writes nothing: who waits has to look all the same


def follow(
    records: Records, run: int, *, meanwhile: Callable[[], None] = lambda: None, kinds: Sequence[str] = ()
) -> Iterator[events.Entry]:
    """Yield a run's events, those to come too, on along its chain, until the last link is over.

    A run that crashes ends with an event of its own.

    Args:
        records: the journal.
        run: where to begin.
        meanwhile: called several times a second while there is nothing new.
        kinds: the kinds of events that are wanted, all if there are none.

    """
    seq = 0
    wanted = {*kinds, events.RunFinished.kind} if kinds else set[str]()
    while True:
        version = records.version()
        for entry in records.entries(run, after=seq, kinds=tuple(wanted)):
            seq = entry.seq
            if not kinds or entry.event.kind in kinds:
                yield entry
            if isinstance(entry.event, events.RunFinished):
                if entry.event.chained_to is None:
                    return
                run, seq = entry.event.chained_to, 0
                break
        else:
            view = records.get(run)
            if view is None:
                return  # pruned
            if view.state is RunState.CRASHED and view.end is not None:
                if not kinds or events.RunFinished.kind in kinds:
                    yield events.Entry(run, seq + 1, view.finished_on or 0.0, view.end)
                return
            until_changed(records, version, meanwhile)


def until_changed(records: Records, version: int, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Come back when somebody has written since the journal had `version`, or after a while."""
    deadline = time.monotonic() + _LONGEST_LOOK
    while not records.wait(version, _LOOK) and time.monotonic() < deadline:
        meanwhile()
