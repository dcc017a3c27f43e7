"""The contract of a database that holds a journal. The rules about runs are above it, once for all databases.

These are only types: no code imports them at run time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar


_T = TypeVar("_T")

Values: TypeAlias = Sequence[object] | Mapping[str, object]


class Row(Protocol):
    """A row of a table: columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...

    def keys(self) -> Iterable[str]: ...


class Store(Protocol):
    """One connection to a journal. The caller makes sure that only one thread at a time uses it.

    Statements are SQL that databases share: `?` or `:name` for values, ON CONFLICT, JSON as text. Where the efficient
    form of a query differs between databases, a method returns it. Every method raises JournalError if the database
    fails, and JournalBusy if another process holds it for too long.

    Attributes:
        place: where the journal is, for people: a path, or an address without its password.

    """

    @property
    def place(self) -> str: ...

    @property
    def concurrent(self) -> bool:
        """True if several processes can use it safely at the same time."""

    def commit(self, write: Callable[[], _T], *, wait: bool = True) -> _T:
        """Return what `write` returns. By then everything that it wrote is durable; if this raises, nothing is written.

        Args:
            write: only writes, because it may be called again after a lost connection.
            wait: False to raise JournalBusy at once if another process holds the database.

        """

    def rows(self, sql: str, values: Values = ()) -> Sequence[Row]:
        """Return the rows that a query finds."""

    def change(self, sql: str, values: Values = ()) -> int:
        """Inside `commit`: change rows, and return how many."""

    def add(self, table: str, values: Mapping[str, object]) -> int | None:
        """Inside `commit`: add a row and return its id; if it conflicts with another row, add nothing, return None."""

    def many(self, sql: str, rows: Iterable[Values]) -> None:
        """Inside `commit`: execute a statement for each of `rows`."""

    def newest(self, states: Sequence[str], conditions: Sequence[str]) -> str:
        """Return a query of the newest runs: `:limit` of them, after the first `:skip`.

        Args:
            states: the states of the runs; empty for any.
            conditions: further conditions on the columns of `runs`.

        """

    def names(self, column: str, *, table: str = "runs") -> str:
        """Return a query of the distinct values of an indexed column, as `name`."""

    def unindexed(self, column: str) -> str:
        """Return `column` for a condition that is checked row by row, without the column's index."""

    def now(self) -> float:
        """Return the time that signs of life are compared with, in seconds since 1970."""

    def version(self) -> int:
        """Return a number that changes when another process has written. It is cheap to ask for."""

    def wait(self, version: int, seconds: float) -> bool:
        """Sleep until another process has written since `version`, at most `seconds`; return True if one has."""

    def announce(self, run: int) -> None:
        """Wake the processes that wait for news of `run`."""

    def exclusive(self, name: str) -> None:
        """Inside `commit`: keep other processes from starting a run of that name until the commit is over."""

    def vacuum(self) -> None:
        """Free the space of deleted rows."""

    def size(self) -> int:
        """Return the journal's size in bytes."""

    def close(self) -> None: ...
