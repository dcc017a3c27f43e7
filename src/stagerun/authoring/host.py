"""What a session needs from its host, on this machine or another. Only types live here."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Protocol

from stagerun import events


class Host(Protocol):
    """What performs a session.

    Attributes:
        lock: held while an event is emitted; the thread that holds it may take it again.
        hidden: the environment variables that the recipe's programs do not get.

    """

    @property
    def lock(self) -> AbstractContextManager[object]: ...

    @property
    def hidden(self) -> Collection[str]: ...

    def recall(self, key: str) -> list[events.Recalled]:
        """Return what the runs that this one resumes stored under `key`, in order."""

    def accept(self, operation: object) -> None:
        """Note the operation to run next; RecipeError if it is not an operation, or not valid."""

    def terminal_lent(self) -> AbstractContextManager[None]:
        """Return a context in which no display touches the terminal."""
