"""Following a run: reading it from the journal while another process writes it."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from stagerun import events
from stagerun.errors import IllegalTransition
from stagerun.journal.reading import Records
from stagerun.journal.rows import Nonsense
from stagerun.states import TERMINAL, RunState
from stagerun.view import RunView, begin, fold


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
    wanted = tuple({*kinds, events.RunFinished.kind} if kinds else ())
    seen, following = set[int](), run
    while following not in seen:  # a chain that leads back to itself ends there
        seen.add(following)
        for entry in _of_one(records, following, after, meanwhile, wanted):
            if not kinds or entry.event.kind in kinds:
                yield entry
            if isinstance(entry.event, events.RunFinished) and entry.event.chained_to is not None:
                following = entry.event.chained_to
        after = 0


def _of_one(
    records: Records, run: int, after: int, meanwhile: Callable[[], None], kinds: Sequence[str]
) -> Iterator[events.Entry]:
    """Yield the events of one run after number `after`, until it is over or pruned."""
    seq, over = after, False
    while True:
        version = records.version()
        for entry in records.entries(run, after=seq, kinds=kinds):
            seq = entry.seq
            yield entry
            if isinstance(entry.event, events.RunFinished):
                return
        view = records.get(run)
        if view is None:
            return
        if view.state is RunState.CRASHED and view.end is not None:
            yield events.Entry(run, seq + 1, view.finished_on or 0.0, view.end)
            return
        if over:
            raise records.damage(run, Nonsense("events", "the one that ends it is missing"))
        over = view.state in TERMINAL  # it may have ended after its events were read
        if not over:
            until_changed(records, version, meanwhile)


def replay(records: Records, run: int, *, meanwhile: Callable[[], None]) -> Iterator[tuple[events.Entry, RunView]]:
    """Yield what `follow` yields, each event with its run as it is then."""
    view: RunView | None = None
    for entry in follow(records, run, meanwhile=meanwhile):
        try:
            view = _after(view, entry)
        except IllegalTransition as error:
            raise records.damage(entry.run, Nonsense(f"event {entry.seq}", str(error))) from None
        yield entry, view


def _after(view: RunView | None, entry: events.Entry) -> RunView:
    if isinstance(entry.event, events.RunCreated):
        return begin(entry)
    if view is None or view.id != entry.run:
        raise IllegalTransition(f"a run can't begin with {entry.event.kind}")
    return fold(view, entry)


def until_changed(records: Records, version: int, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Wait until another process has written since `version`, at most `_LONGEST_LOOK` seconds."""
    deadline = time.monotonic() + _LONGEST_LOOK
    while not records.wait(version, _LOOK) and time.monotonic() < deadline:
        meanwhile()
