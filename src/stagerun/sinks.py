"""The interface of everything that observes a run. A sink only listens: it changes nothing, and no run needs it."""

from stagerun import events
from stagerun.view import RunView


class Sink:
    """An observer of a run. Each method does nothing unless a subclass overrides it."""

    def update(self, entry: events.Entry, view: RunView) -> None:
        """Handle `entry`; `view` is the run after it."""

    def afterword(self, log: events.Log) -> None:
        """Handle lines of a run that is over. They belong to no run any more, and are not recorded."""

    def refresh(self, now: float) -> None:
        """Draw what is due; called a few times a second."""

    def suspend(self) -> None:
        """Leave the terminal to another program until `resume`."""

    def resume(self) -> None:
        """Take the terminal back."""

    def close(self) -> None:
        """Draw what is left and release the stream."""
