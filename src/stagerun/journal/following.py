"""Following a run: reading it from the journal while another process writes it."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from stagerun import events
from stagerun.journal.reading import Records
from stagerun.states import RunState


_LOOK: Final = 0.05  # seconds between two calls of `meanwhile`
_LONGEST_LOOK: Final = 0.5  # a dead process writes nothing, so a reader must not wait for a change


def follow(
    records: Records,
    run: int,
    *,
    after: int = 0,
    meanwhile: Callable[[], None] = lambda: None,
    kinds: Sequence[str] = (),
) -> Iterator[events.Entry]:
    """Yield the events of a run and of its chain, past and future ones, until the last run of the chain is over.

    A crashed run ends with a RunFinished event even if the journal has none yet.

    Args:
        records: the journal.
        run: the first run.
        after: the number of the last event to leave out of the first run's, which must not be its end.
        meanwhile: called several times a second while there is nothing new.
        kinds: the kinds of events to yield; empty for all.

    """
    seq = after
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
    """Wait until another process has written since `version`, at most `_LONGEST_LOOK` seconds."""
    deadline = time.monotonic() + _LONGEST_LOOK
    while not records.wait(version, _LOOK) and time.monotonic() < deadline:
        meanwhile()
