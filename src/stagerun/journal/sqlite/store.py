"""The journal in an SQLite file: the contract of `journal.store`, with the statements that only SQLite uses."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from stagerun.errors import JournalError
from stagerun.journal.sqlite import database


if TYPE_CHECKING:
    from stagerun.journal.store import Values

HURRIED_PATIENCE: Final = 2.0  # seconds that a run waits for another process while it is being stopped
_POLL: Final = 0.05

_T = TypeVar("_T")


class SqliteStore:
    """A journal in a file.

    Args:
        connection: from `files.open_for_writing` or `files.open_for_reading`.
        path: the file.
        now: returns the time in seconds since 1970.
        hurried: returns True when there is little time left to wait for another process.

    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        now: Callable[[], float] = time.time,
        hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self.connection = connection
        self.now = now
        self._path = path
        self._hurried = hurried
        self._file = _file_id(path)
        self._log_path = path.with_name(f"{path.name}-wal")
        self._log: tuple[int, int] | None = None

    @property
    def place(self) -> str:
        return str(self._path)

    @property
    def concurrent(self) -> bool:
        ((mode,),) = self.rows("PRAGMA journal_mode")
        return bool(mode == "wal")  # not on a network file system

    def commit(self, write: Callable[[], _T], *, wait: bool = True) -> _T:
        self._refuse_another_file()
        try:
            with database.transaction(self.connection, lambda: self._patience(wait=wait)):
                written = write()
        except sqlite3.Error as error:
            raise database.explained(error, self._path) from error
        if self._log is None:
            # SQLite keeps writing to a deleted write-ahead log without an error, so we compare the file ourselves.
            self._log = _file_id(self._log_path)
        return written

    def rows(self, sql: str, values: "Values" = ()) -> list[sqlite3.Row]:
        def read() -> list[sqlite3.Row]:
            cursor = self.connection.execute(sql, values)
            cursor.row_factory = sqlite3.Row
            return cursor.fetchall()

        try:
            return database.read(read, self._path, lambda: self._patience(wait=True))
        except sqlite3.Error as error:
            if database.is_undecodable(error) and self.connection.text_factory is str:
                self.connection.text_factory = database.decoded
                return self.rows(sql, values)
            raise database.explained(error, self._path) from None

    def change(self, sql: str, values: "Values" = ()) -> int:
        return self.connection.execute(sql, values).rowcount

    def add(self, table: str, values: Mapping[str, object]) -> int | None:
        cursor = self.connection.execute(_insert(table, *values), tuple(values.values()))
        return cursor.lastrowid if cursor.rowcount == 1 else None

    def many(self, sql: str, rows: "Iterable[Values]") -> None:
        self.connection.executemany(sql, rows)

    def newest(self, states: Sequence[str], conditions: Sequence[str]) -> str:
        # SQLite merges the states, each in the order of its index; with `state IN (…)` it would sort every row.
        wanted = [[f"state = '{state}'", *conditions] for state in states] or [[*conditions] or ["TRUE"]]
        merged = " UNION ALL ".join(f"SELECT id FROM runs WHERE {' AND '.join(each)}" for each in wanted)  # noqa: S608
        newest = f"{merged} ORDER BY id DESC LIMIT :limit OFFSET :skip"
        return f"SELECT * FROM runs WHERE id IN ({newest}) ORDER BY id DESC"  # noqa: S608 - conditions of the journal

    def names(self, column: str, *, table: str = "runs") -> str:
        # One index lookup per name: DISTINCT would read the whole index.
        return f"""
            WITH RECURSIVE known (name) AS (
                SELECT min({column}) FROM {table} UNION ALL
                SELECT (SELECT min({column}) FROM {table} WHERE {column} > name) FROM known WHERE name IS NOT NULL)
            SELECT name FROM known WHERE name IS NOT NULL"""  # noqa: S608 - a column of the journal

    def unindexed(self, column: str) -> str:
        return f"+{column}"  # (sqlite.org/optoverview.html, 5)

    def version(self) -> int:
        ((version,),) = self.rows("PRAGMA data_version")
        return int(version)

    def wait(self, version: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.version() == version:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_POLL, left))
        return True

    def announce(self, run: int) -> None:
        """Do nothing: SQLite can't wake other processes, so they poll."""

    def exclusive(self, name: str) -> None:
        """Do nothing: a write transaction of SQLite excludes every other one."""

    def vacuum(self) -> None:
        try:
            database.patiently(lambda: self.connection.execute("VACUUM"))
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise database.explained(error, self._path) from error

    def size(self) -> int:
        return self._path.stat().st_size

    def close(self) -> None:
        self.connection.close()

    def _patience(self, *, wait: bool) -> float:
        if not wait:
            return 0.0
        return HURRIED_PATIENCE if self._hurried() else database.PATIENCE

    def _refuse_another_file(self) -> None:
        if _file_id(self._path) != self._file or (self._log and _file_id(self._log_path) != self._log):
            raise JournalError(
                f"journal {self._path} was removed or replaced while the run was writing to it",
                "what was recorded before is in the old file, if it still exists",
            )


@cache
def _insert(table: str, *columns: str) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
