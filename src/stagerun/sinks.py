"""Who is told what happens in a run. A sink only listens: it changes nothing, and the run goes on without it."""

from stagerun import events
from stagerun.view import RunView


class Sink:
    """Someone who is told what happens, and does nothing about it unless a method says so."""

    def update(self, entry: events.Entry, view: RunView) -> None:
        """Take note of `entry`; `view` is what is known after it."""

    def refresh(self, now: float) -> None:
        """Draw what is due; called a few times a second."""

    def suspend(self) -> None:
        """Leave the terminal to somebody else, until `resume`."""

    def resume(self) -> None:
        """Take the terminal back."""

    def close(self) -> None:
        """Draw what is left and let go of the stream."""
