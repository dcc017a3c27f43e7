"""Which rows of runs a question asks for, newest first, through the indexes that fit it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from stagerun.states import RunState
from stagerun.text import json_text


if TYPE_CHECKING:
    from stagerun.journal.operation_names import Match
    from stagerun.journal.store import Row, Store

PAGE: Final = 1000  # rows read at a time: a long log must not fill the memory
_FEW: Final = 10_000  # runs that can be checked one by one without a noticeable delay
_NO_ID: Final = 2**63 - 1  # above the id of any run

Query: TypeAlias = tuple[list[str], dict[str, object]]  # the conditions of a query of runs, its parameters' values


class Wanted(Struct, frozen=True):
    """What the runs of a query have in common."""

    owner: str | None = None
    tag: str | None = None
    since: float | None = None
    before: int | None = None


class Queries:
    """The queries of runs in one journal.

    Args:
        store: where they are.
        file_of: returns the file that the name of a recipe means.

    """

    def __init__(self, store: "Store", file_of: Callable[[str], Path | None]) -> None:
        self._store = store
        self._file_of = file_of

    def of(self, operation: str | None, wanted: Wanted | None = None) -> list[Query]:
        """Return a query for each column by which the runs of `operation` are found, one of all runs for None."""
        return [self._conditions(each, wanted or Wanted()) for each in self._matches(operation)]

    def newest(
        self,
        limit: int,
        skip: int = 0,
        state: RunState | None = None,
        *,
        operation: str | None = None,
        wanted: Wanted | None = None,
    ) -> "Sequence[Row]":
        """Return the rows of runs, newest first."""
        # Each of these indexes ends in the state, so a query that uses one has to name the states.
        by_index = operation is not None or (wanted is not None and wanted.owner is not None)
        states = [state] if state else list(RunState) if by_index else []
        queries, found = self.of(operation, wanted), list["Row"]()
        # With one query SQLite skips, with several all that could be skipped has to be compared.
        first, more = (skip, 0) if len(queries) == 1 else (0, skip)
        for conditions, values in queries:
            limits = {"limit": more + limit, "skip": first}
            found += self._store.rows(self._store.newest(states, conditions), values | limits)
        return sorted(found, key=id_of, reverse=True)[more : more + limit]

    def walk(self, states: Sequence[RunState], queries: Iterable[Query], *, page: int) -> "Iterator[Row]":
        """Yield the rows of runs in `states` that the queries find, newest first."""
        from heapq import merge

        return merge(*(self._pages(states, *each, page) for each in queries), key=id_of, reverse=True)

    def _pages(
        self, states: Sequence[RunState], conditions: list[str], values: dict[str, object], page: int
    ) -> "Iterator[Row]":
        """Yield rows, newest first, read page by page as the caller iterates."""
        sql = self._store.newest(states, [*conditions, "id < :before"])
        before = _NO_ID
        while found := self._store.rows(sql, values | {"before": before, "limit": page, "skip": 0}):
            yield from found
            before, page = found[-1]["id"], min(2 * page, PAGE)

    def _matches(self, operation: str | None) -> "Sequence[Match | None]":
        if operation is None:
            return [None]
        from stagerun.journal import operation_names

        return operation_names.matches(self._store, operation, self._file_of)

    def _conditions(self, match: "Match | None", wanted: Wanted) -> Query:
        """Return the conditions of a query of runs, and the values of its parameters."""
        conditions, values = list[str](), dict[str, object]()
        owner, tag, since, before = wanted.owner, wanted.tag, wanted.since, wanted.before
        # Most journals have few owners, so the owner's index is used only if the owner has few runs.
        by_owner = owner is not None and (match is None or self._some("owner = ?", owner)[0] <= _FEW)
        if tag is not None:
            conditions.append(self._tagged(tag))
            values["tag"] = json_text.encodable(tag)
        if before is not None:
            conditions.append("id < :until")
            values["until"] = before
        if match is not None:
            column, values["operation"] = match
            conditions.append(f"{self._store.unindexed(column) if by_owner else column} = :operation")
        if owner is not None:
            conditions.append(f"{'owner' if by_owner else self._store.unindexed('owner')} = :owner")
            values["owner"] = owner
        if since is not None:
            # Ids follow the clock only while nobody sets it, so a lower bound for the id alone is not enough.
            conditions.append(f"{self._store.unindexed('created_on')} >= :since")
            values["since"] = since
            count, first = self._some("created_on >= ?", since)
            if count <= _FEW:
                conditions.append("id >= :first")
                values["first"] = first
        return conditions, values

    def _tagged(self, tag: str) -> str:
        """Return the condition for the tag `:tag`: a list of its runs if these are few, else a look at each run."""
        some = f"SELECT 1 FROM tags WHERE tag = ? LIMIT {_FEW + 1}"  # noqa: S608 - a constant
        (row,) = self._store.rows(f"SELECT count(*) AS count FROM ({some}) AS some", (json_text.encodable(tag),))  # noqa: S608
        if row["count"] <= _FEW:
            return "id IN (SELECT run_id FROM tags WHERE tag = :tag)"
        return "EXISTS (SELECT 1 FROM tags WHERE tag = :tag AND run_id = runs.id)"

    def _some(self, condition: str, value: object) -> tuple[int, int | None]:
        """Return the number of runs that meet `condition`, and the lowest id; counting stops just above `_FEW`."""
        some = f"SELECT id FROM runs WHERE {condition} LIMIT {_FEW + 1}"  # noqa: S608 - a condition of this file
        (row,) = self._store.rows(f"SELECT count(*) AS count, min(id) AS first FROM ({some}) AS some", (value,))  # noqa: S608
        return row["count"], row["first"]


def id_of(row: "Row") -> int:
    return int(row["id"])
