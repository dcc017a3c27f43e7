"""The ways in which tests open a journal and run something on it, each once."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from stagerun.engine.emitter import Emitter
from stagerun.engine.runner import Runner
from stagerun.journal.reading import Records
from stagerun.journal.sqlite import database, files
from stagerun.journal.sqlite.store import SqliteStore
from stagerun.journal.writing import Journal
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.sinks import Sink
from stagerun.testing import workbench
from stagerun.text.masking import Masker


class Opened:
    """A journal open for writing, made if it is not there; `through` may put something around its connection."""

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = True,
        now: Callable[[], float] = time.time,
        through: Callable[[sqlite3.Connection], sqlite3.Connection] = lambda connection: connection,
    ) -> None:
        self.connection = files.open_for_writing(path, durable=durable)
        self.journal = Journal(SqliteStore(through(self.connection), path, now=now))
        self.records = Records(SqliteStore(self.connection, path, now=now))

    def transaction(self) -> AbstractContextManager[None]:
        """Write all that the block writes at once."""
        return database.transaction(self.connection)

    def runner(self, *sinks: Sink, interrupts: Interrupts | None = None, clock: Clock | None = None) -> Runner:
        return workbench.runner(
            self.journal,
            self.records,
            sinks,
            interrupts=interrupts or Interrupts(),
            clock=clock or Clock(),
            masker=Masker(),
        )

    def emitter(self, *, clock: Clock | None = None, interrupts: Interrupts | None = None) -> Emitter:
        return Emitter(self.journal, [], clock or Clock(), interrupts or Interrupts(), Masker())

    def close(self) -> None:
        self.connection.close()


def records_of(path: Path, *, now: Callable[[], float] = time.time) -> Records:
    return Records(SqliteStore(files.open_for_reading(path), path, now=now))


@contextmanager
def reading(path: Path, *, now: Callable[[], float] = time.time) -> Iterator[Records]:
    with closing(records_of(path, now=now)) as records:
        yield records


@contextmanager
def writing(path: Path) -> Iterator[Opened]:
    with closing(Opened(path)) as opened:
        yield opened


def make(path: Path) -> None:
    """Make a journal without a run."""
    Opened(path).close()


def select(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, values).fetchall()


def change(path: Path, sql: str, *values: object) -> None:
    """Change the tables behind the back of stagerun."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql, values)
