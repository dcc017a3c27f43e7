"""What the runner needs from its surroundings: an outlet for events, and a memory of earlier runs.

With a local journal these are the emitter and the journal's records. On another machine they are a stream to the
process that has the journal.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from stagerun import events
from stagerun.errors import JournalError
from stagerun.view import RunView


class Outlet(Protocol):
    """Takes the events of a run.

    Attributes:
        view: what is known about the current run, or None before the first.
        failure: why nothing more can be recorded, or None.
        lock: held while an event is emitted; reentrant.

    """

    @property
    def view(self) -> RunView | None: ...

    @property
    def failure(self) -> JournalError | None: ...

    @property
    def lock(self) -> AbstractContextManager[object]: ...

    def emit(self, event: events.Event, run: int | None = None) -> None:
        """Emit an event of the current run; a fact is durable on return. Raises JournalError if it can't be.

        An event of another `run` is dropped, because a thread of an earlier link may still be talking. So is an event
        of a fork.
        """

    def aside(self, log: events.Log) -> None:
        """Show lines of a run that is over; they are recorded nowhere."""

    def create(self, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        """Add a run and make it the current one; HeldError if another run excludes it."""

    def hand_over(self, ending: events.RunFinished, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        """End the current run and add the one it chains to, all or nothing; return the ended one."""

    def record_crashes(self, crashed: Iterable[RunView]) -> None:
        """Record the ends of runs whose processes are gone."""

    def tick(self) -> None:
        """Do what is due; called a few times a second."""

    def cancel_requested(self) -> bool:
        """Return True if another process has requested a cancel of the current run."""

    def settle(self) -> None:
        """Write what is queued."""

    def terminal_lent(self) -> AbstractContextManager[None]:
        """Return a context in which no display touches the terminal."""

    def close(self) -> None:
        """Write what is queued, and close the displays."""


class Memory(Protocol):
    """What is stored from earlier runs."""

    def expected(self, target: str) -> dict[str, float]:
        """Return the usual seconds of each stage of a target, stage -> seconds."""

    def recall(self, run: int, key: str) -> list[events.Recalled]:
        """Return what is stored for `run` under `key`, by that run or by those that it resumes, in order."""

    def unrecorded_crashes(self) -> list[RunView]:
        """Return the dead runs that are not recorded as crashed yet."""

    def ahead(self, view: RunView) -> list[RunView]:
        """Return the runs of the same operation that were recorded earlier and are not over, oldest first."""
