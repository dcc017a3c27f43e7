"""What a place is: the contract between home and what starts a far process. A place knows only the line."""

import os
from collections.abc import Callable, Collection
from typing import Final, Literal, Protocol, TypeAlias

from stagerun.remote.line import Frame, Line


AGENT: Final = ("python", "-m", "stagerun", "agent")

Trust: TypeAlias = Literal["any", "here", "none"]
Heard: TypeAlias = Callable[[Frame], None]
Ended: TypeAlias = Callable[[str | None], None]


class Opened(Protocol):
    """A place at which a far process was asked for.

    Attributes:
        line: the line to it, which is started.

    """

    line: Line

    def reason(self) -> str:
        """Return why the line has ended, as far as the place can tell: a sentence, and lines behind it."""

    def news(self) -> str | None:
        """Return the last line that the place has said, or None."""

    def lines(self) -> list[str]:
        """Return what went wrong on the way since the last call, for the log of the run."""

    def close(self) -> None:
        """End what was started, which has nothing left to do."""

    def kill(self) -> None:
        """Kill what was started."""


class Place(Protocol):
    """Where a run can work.

    Attributes:
        name: what was asked for.
        shown: what it comes to, for people: a command, an address.
        trust: where the far process may get secrets: "any" if nobody on the way can read along, "here" if it has to be
            on this machine, "none" if it may not have them.

    """

    name: str
    shown: str
    trust: Trust

    def open(self, heard: Heard, ended: Ended, hidden: Collection[str]) -> Opened:
        """Ask for a far process; PlaceError if that can't even be tried.

        Args:
            heard, ended: as for a line.
            hidden: the environment variables that it does not get.

        """


def without(hidden: Collection[str]) -> dict[str, str]:
    """Return the environment of this process without the variables that are `hidden`."""
    return {name: value for name, value in os.environ.items() if name not in hidden}
