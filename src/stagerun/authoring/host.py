"""What a session needs of whoever performs it, here or on another machine. These are types alone."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Protocol

from stagerun.authoring.checkpoints import Recalled


class Host(Protocol):
    """Whoever performs a session.

    Attributes:
        lock: held while an event gets out; it may be taken again by the thread that has it.
        hidden: the environment variables that programs of the recipe do not get.

    """

    @property
    def lock(self) -> AbstractContextManager[object]: ...

    @property
    def hidden(self) -> Collection[str]: ...

    def recall(self, key: str) -> Recalled | None:
        """Return what the runs that this one goes on from have stored under `key`."""

    def accept(self, operation: object) -> None:
        """Take note of the operation that is to come next; RecipeError if it is none, or is not valid."""

    def terminal_lent(self) -> AbstractContextManager[None]:
        """Return a context in which no display touches the terminal."""
