"""What the runner needs of the rest: an outlet, through which events get out, and a memory of earlier runs.

The emitter and the journal's records are these two where the journal is at hand. On another machine they are a stream
to the process that has it.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from stagerun import events
from stagerun.errors import JournalError
from stagerun.view import RunView


class Outlet(Protocol):
    """The way out for what happens.

    Attributes:
        view: what is known of the current run, None before the first.
        failure: why nothing more can be recorded, or None.
        lock: held while an event gets out; it may be taken again by the thread that has it.

    """

    @property
    def view(self) -> RunView | None: ...

    @property
    def failure(self) -> JournalError | None: ...

    @property
    def lock(self) -> AbstractContextManager[object]: ...

    def emit(self, event: events.Event) -> None:
        """Tell an event of the current run; a fact is durable when this returns. Raises JournalError if it can't be."""

    def create(self, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        """Add a run and make it the current one; HeldError if another run excludes it."""

    def hand_over(self, ending: events.RunFinished, plan: events.RunCreated, *, exclusive: bool) -> RunView:
        """End the current run and add the one it chains to, all or nothing; return the ended one."""

    def record_crashes(self, crashed: Iterable[RunView]) -> None:
        """Record the ends of runs whose processes are gone."""

    def tick(self) -> None:
        """Do what is due: called a few times a second."""

    def cancel_requested(self) -> bool:
        """Return True if another process has asked for a cancel of the current run."""

    def settle(self) -> None:
        """Write what waits."""

    def terminal_lent(self) -> AbstractContextManager[None]:
        """Return a context in which no display touches the terminal."""

    def close(self) -> None:
        """Write what waits, and let go of the displays."""


class Memory(Protocol):
    """What earlier runs have left."""

    def expected(self, target: str) -> dict[str, float]:
        """Return stage -> usual seconds of a target."""

    def checkpoint(self, run: int, key: str) -> events.CheckpointStored | events.PositionReached | None:
        """Return what is stored for `run` under `key`, in that run or in one that it goes on from."""

    def unrecorded_crashes(self) -> list[RunView]:
        """Return the runs that are dead, and that nobody has recorded as crashed yet."""
