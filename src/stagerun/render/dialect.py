"""How a log is written for whoever reads it, and how text that is not ours is kept from commands.

A dialect turns what happens into lines and remembers only which fold is open. This one is of no system; those of the
CI systems derive from it.
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
    """A line that the CI system itself reads: nothing may stand before it."""

    __slots__ = ()


class Dialect:
    """Plain lines, where no CI system reads them.

    Attributes:
        heartbeat: True if a silent run has to give a sign of life.
        coloured: True if lines may have colour.
        fold_end: what closes the fold that is open now, "" if none is.

    """

    heartbeat = False
    coloured = False

    def __init__(self) -> None:
        self.fold_end = ""

    def own(self, text: str) -> str:
        """Return a line that begins with words of ours."""
        return text

    def recipe(self, text: str) -> str:
        """Return a line that begins with what a recipe said."""
        return text

    def guard(self, text: str) -> str:
        """Return a line that may be another's from its first character on, outside the text of a run."""
        return text

    def register(self, secrets: Iterable[str]) -> Iterator[str]:
        """Tell the system what it must not show."""
        yield from ()

    def opening(self, text: str) -> Iterator[str]:
        yield self.own(text)

    def entered(self, view: RunView, title: str, now: float) -> Iterator[str]:
        """Open a fold. Folds don't nest, so only the outermost block gets one."""
        yield from self.entered_inside(title)

    def left(self, view: RunView, event: events.StageLeft, outcome: str, now: float) -> Iterator[str]:
        """Close the fold; `outcome` says how the block ended."""
        yield from self._closed()
        yield from self.left_inside(outcome)

    def entered_inside(self, title: str) -> Iterator[str]:
        """Tell of a block inside another one."""
        yield self.own(sentences.header(title))

    def left_inside(self, outcome: str) -> Iterator[str]:
        yield self.own(sentences.footer(outcome))

    def moved(self, view: RunView) -> Iterator[str]:
        """Tell how far the whole run is."""
        yield from ()

    def ended(self, view: RunView, told: Iterable[str], text: str) -> Iterator[str]:
        """Tell the end: `told` is the error and the result, `text` the last word."""
        yield from self._closed()
        yield from map(self.recipe, told)
        if view.state in _BROKEN:
            yield from self._annotated(view)
        yield self.own(text)

    def closed(self) -> Iterator[str]:
        """Close what is open, because nothing more will come."""
        yield from self._closed()

    def _closed(self) -> Iterator[str]:
        if self.fold_end:
            yield Command(self.fold_end)
            self.fold_end = ""

    def _annotated(self, view: RunView) -> Iterator[str]:
        yield from ()


class Other(Dialect):
    """A CI system without folds, or one in whose log another system's output may be embedded: a container in a job."""

    heartbeat = True

    def own(self, text: str) -> str:
        return disarm(text)

    def recipe(self, text: str) -> str:
        return self.guard(text)

    def guard(self, text: str) -> str:
        return disarm_line(text)
