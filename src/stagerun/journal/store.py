"""The contract of a database that holds a journal. What runs mean is decided above it, once for all databases.

These are types alone: nothing loads them to run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar


_T = TypeVar("_T")

Values: TypeAlias = Sequence[object] | Mapping[str, object]


class Row(Protocol):
    """A row of a table: columns by their names."""

    def __getitem__(self, column: str, /) -> Any: ...


class Store(Protocol):
    """One connection to a journal. The caller makes sure that one thread at a time is in here.

    Statements are of the common kind: `?` or `:name` for values, ON CONFLICT, JSON as text. Where the good form of a
    query differs from database to database there is a phrase for it. Every method raises JournalError if the database
    fails, and JournalBusy if another process holds it for too long.

    Attributes:
        place: where the journal is, for people: a path, or an address without its password.

    """

    @property
    def place(self) -> str: ...

    def commit(self, write: Callable[[], _T], *, wait: bool = True) -> _T:
        """Return what `write` returns; all that it writes is durable then, or nothing of it is written.

        Args:
            write: only writes, because it may be called again after a lost connection.
            wait: False to raise JournalBusy at once if another process holds the database.

        """

    def rows(self, sql: str, values: Values = ()) -> Sequence[Row]:
        """Return the rows that a query finds."""

    def change(self, sql: str, values: Values = ()) -> int:
        """Inside `commit`: change rows, and return how many."""

    def add(self, table: str, values: Mapping[str, object]) -> int | None:
        """Inside `commit`: add a row and return its id; add nothing and return None if another row excludes it."""

    def many(self, sql: str, rows: Iterable[Values]) -> None:
        """Inside `commit`: do a statement for each of `rows`."""

    def newest(self, states: Sequence[str], conditions: Sequence[str]) -> str:
        """Return a query of the newest runs in one of `states`, or in any if there are none: `:limit` after `:skip`.

        Args:
            states: states of runs.
            conditions: what is asked of the columns of `runs` besides.

        """

    def names(self, column: str) -> str:
        """Return a query of the different values of an indexed column of `runs`, called `name`."""

    def unindexed(self, column: str) -> str:
        """Return `column` for a condition that is to be checked row by row, without looking into its index."""

    def now(self) -> float:
        """Return the time that signs of life are measured by, in seconds since 1970."""

    def version(self) -> int:
        """Return a number that is another one after another process has written. It costs next to nothing to ask."""

    def wait(self, version: int, seconds: float) -> bool:
        """Sleep until somebody has written since `version`, or for so long; return whether somebody has."""

    def announce(self, run: int) -> None:
        """Wake those who wait for news of `run`."""

    def exclusive(self, name: str) -> None:
        """Inside `commit`: keep other processes from beginning a run of that name until it is over."""

    def vacuum(self) -> None:
        """Give the space of deleted rows back."""

    def size(self) -> int:
        """Return the bytes that the journal takes."""

    def close(self) -> None: ...
