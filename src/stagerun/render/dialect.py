"""How log lines are written for their reader, and how untrusted text is kept from acting as a command.

A dialect turns events into lines and remembers only which fold is open. `Dialect` is for no CI system; those of the CI
systems derive from it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from stagerun import events
from stagerun.states import RunState
from stagerun.text import sentences
from stagerun.text.untrusted import disarm, disarm_line
from stagerun.view import RunView


_BROKEN: Final = frozenset({RunState.FAILED, RunState.TIMED_OUT, RunState.CRASHED})


class Command(str):
    """A line that the CI system parses: nothing may be put before it."""

    __slots__ = ()


class Dialect:
    """Plain lines that no CI system reads.

    Attributes:
        heartbeat: True if a silent run must print a line now and then.
        coloured: True if lines may have colour.
        hides: True if the lines of a stage are hidden once its fold is closed.
        fold_end: the line that closes the open fold, or "".

    """

    heartbeat = False
    coloured = False
    hides = False

    def __init__(self) -> None:
        self.fold_end = ""

    def own(self, text: str) -> str:
        """Return a line that begins with stagerun's own words."""
        return text

    def recipe(self, text: str) -> str:
        """Return a line that begins with a recipe's text."""
        return text

    def guard(self, text: str) -> str:
        """Return a line that may begin with untrusted text and is not part of a run's plain text."""
        return text

    def register(self, secrets: Iterable[str]) -> Iterator[str]:
        """Tell the system which values to mask."""
        yield from ()

    def opening(self, text: str) -> Iterator[str]:
        yield self.own(text)

    def entered(self, view: RunView, title: str, now: float) -> Iterator[str]:
        """Open a fold. Folds don't nest: only the outermost block gets one."""
        yield from self.entered_inside(title)

    def left(self, view: RunView, event: events.StageLeft, outcome: str, now: float) -> Iterator[str]:
        """Close the fold; `outcome` says how the block ended."""
        yield from self._closed()
        yield from self.left_inside(outcome)

    def entered_inside(self, title: str) -> Iterator[str]:
        """Announce a block inside another one."""
        yield self.own(sentences.header(title))

    def left_inside(self, outcome: str) -> Iterator[str]:
        yield self.own(sentences.footer(outcome))

    def moved(self, view: RunView) -> Iterator[str]:
        """Report the progress of the whole run."""
        yield from ()

    def ended(self, view: RunView, told: Iterable[str], text: str) -> Iterator[str]:
        """Report the end: `told` is the error and the result, `text` the last line."""
        yield from self._closed()
        yield from map(self.recipe, told)
        if view.state in _BROKEN:
            yield from self._annotated(view)
        yield self.own(text)

    def closed(self) -> Iterator[str]:
        """Close the open fold: no more lines will come."""
        yield from self._closed()

    def _closed(self) -> Iterator[str]:
        if self.fold_end:
            yield Command(self.fold_end)
            self.fold_end = ""

    def _annotated(self, view: RunView) -> Iterator[str]:
        yield from ()


class Other(Dialect):
    """A CI system without folds, or a container whose output may be embedded in the log of another system."""

    heartbeat = True

    def own(self, text: str) -> str:
        return disarm(text)

    def recipe(self, text: str) -> str:
        return self.guard(text)

    def guard(self, text: str) -> str:
        return disarm_line(text)
