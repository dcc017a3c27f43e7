"""The writing half of the journal: events in, projections kept in step, in one transaction each.

Only the process that owns a run writes that run's rows. Facts are committed by `transaction`; pulses wait in a
queue and go along with the next fact, or with `flush`.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from stagerun import events
from stagerun.errors import HeldError, JournalError
from stagerun.journal import rows
from stagerun.journal.sqlite import database
from stagerun.states import TERMINAL, RunState
from stagerun.view import RunView, begin


_DELETED_AT_A_TIME: Final = 100
HURRIED_PATIENCE: Final = 2.0
_BARE_WEIGHT: Final = 128  # characters that an event counts for besides its text
_AT_ONCE: Final = 0.01  # seconds; log lines that came within it share a row, and its time
_INSERT_EVENT: Final = "INSERT INTO events (run_id, seq, time, kind, data) VALUES (?, ?, ?, ?, ?)"
_INSERT_STAGE: Final = (
    "INSERT INTO stages (run_id, position, name, state, seconds, entered_on, visits) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_CHECKPOINT: Final = (
    "INSERT OR REPLACE INTO checkpoints (run_id, key, stage, event_run_id, event_seq) VALUES (?, ?, ?, ?, ?)"
)
_INHERIT_CHECKPOINT: Final = (
    "INSERT INTO checkpoints SELECT ?, key, stage, event_run_id, event_seq FROM checkpoints "
    "WHERE run_id = ? AND key = ?"
)
_UPDATE_STAGE: Final = (
    "UPDATE stages SET state = :state, seconds = :seconds, entered_on = :entered_on, visits = :visits "
    "WHERE run_id = :run_id AND position = :position"
)


class Journal:
    """One process's connection for writing. The caller makes sure that one thread at a time is in here.

    While another process holds the file it waits, but not for long once `hurried` says so.

    Attributes:
        queued: what waits to be written, in characters, and some for each event besides; 0 if nothing does.

    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, hurried: Callable[[], bool] = lambda: False
    ) -> None:
        self._connection = connection
        self._path = path
        self._hurried = hurried
        self._file = _file_id(path)
        self._log_path = path.with_name(f"{path.name}-wal")
        self._log: tuple[int, int] | None = None
        self.queued = 0
        self._queue: list[events.Entry] = []
        self._queued_view: RunView | None = None
        self._data_version: int | None = None

    def queue(self, entry: events.Entry, view: RunView) -> None:
        """Keep a pulse for the next transaction; `view` is what is known after it."""
        queue = self._queue
        if len(queue) > 1 and _replaces(entry.event, queue[-1].event, queue[-2].event):
            queue[-1] = entry
        else:
            queue.append(entry)
            self.queued += _weight(entry)
        self._queued_view = view

    def flush(self, *, wait: bool = True) -> None:
        """Write what is queued. Raises JournalError, and keeps the queue, if that can't be done."""
        if self._queue:
            with self.transaction(wait=wait):
                pass

    def drop_queue(self) -> int:
        """Forget what is queued and return how many log lines that were."""
        dropped = sum(len(entry.event.lines) for entry in self._queue if isinstance(entry.event, events.Log))
        self._queue.clear()
        self.queued = 0
        return dropped

    @contextmanager
    def transaction(self, *, wait: bool = True) -> Iterator[None]:
        """Write the queue and then what the block adds, all or nothing.

        Raises JournalError if that can't be done, JournalBusy if another process holds the file for too long.
        """
        if _file_id(self._path) != self._file or (self._log and _file_id(self._log_path) != self._log):
            raise JournalError(
                f"journal {self._path} was removed or replaced while the run was writing to it",
                "what was recorded before is in the old file, if it still exists",
            )
        try:
            with database.transaction(self._connection, lambda: self._patience(wait=wait)):
                # Swapped out first: writing it may run code that queues more.
                queue, self._queue, self.queued = self._queue, [], 0
                try:
                    if queue:
                        self._write(queue)
                    yield
                except BaseException:
                    self._queue[:0] = queue
                    self.queued = sum(map(_weight, self._queue))
                    raise
        except sqlite3.Error as error:
            raise database.explained(error, self._path) from error
        if self._log is None:
            # SQLite goes on writing into a write-ahead log that somebody has deleted, and says nothing.
            self._log = _file_id(self._log_path)

    def create(self, entry: events.Entry, *, exclusive: bool = False) -> RunView:
        """Inside a transaction: add a run and return its view. The entry's run id is not used: the journal gives it.

        Raises HeldError if another run goes on from the same one, or if `exclusive` and one of the same target runs.
        """
        plan = entry.event
        assert isinstance(plan, events.RunCreated)
        if exclusive:
            self._refuse_second(plan)
        view = begin(entry)
        values = rows.of_plan(view) | rows.of_state(view, entry.time)
        try:
            run = self._connection.execute(_insert_run(*values), tuple(values.values())).lastrowid
        except sqlite3.IntegrityError:
            raise HeldError(f"run {plan.resumed_from} has been resumed by another process just now") from None
        assert run is not None
        entry = entry._replace(run=run)
        view = begin(entry)
        # Only now is it known: a first run is the root of its own lineage.
        self._connection.execute("UPDATE runs SET root = ? WHERE id = ?", (view.root, run))
        stages = [rows.of_stage(run, position, each) for position, each in enumerate(view.stages)]
        self._connection.executemany(_INSERT_STAGE, [tuple(each.values()) for each in stages])
        self._connection.executemany(
            _INHERIT_CHECKPOINT, [(run, plan.resumed_from, events.encodable(key)) for key in plan.inherited]
        )
        self._connection.execute(_INSERT_EVENT, rows.of_event(entry))
        return view

    def append(self, entries: Sequence[events.Entry], view: RunView, old: RunState) -> None:
        """Inside a transaction: add events and bring the projections to `view`. `old` is the run's state before."""
        self._update(view, entries[-1].time, old)
        positions = set()
        for entry in entries:
            self._connection.execute(_INSERT_EVENT, rows.of_event(entry))
            match entry.event:
                case events.StageEntered(index=int(position)) | events.StageLeft(index=int(position)):
                    positions.add(position)
                case events.CheckpointStored() | events.PositionReached():
                    self._connection.execute(_INSERT_CHECKPOINT, tuple(rows.of_stored(entry).values()))
                case events.RunFinished(state=RunState.CRASHED):
                    positions.update(range(len(view.stages)))
                case _:
                    pass
        for position in positions:
            self._connection.execute(_UPDATE_STAGE, rows.of_stage(view.id, position, view.stages[position]))

    def bury(self, view: RunView) -> None:
        """Record the end of a run whose process is gone: `view` is the run as it was found, crashed."""
        with self.transaction():
            (state,) = self._connection.execute("SELECT state FROM runs WHERE id = ?", (view.id,)).fetchone()
            (seq,) = self._connection.execute("SELECT max(seq) FROM events WHERE run_id = ?", (view.id,)).fetchone()
            end = view.end
            assert end is not None
            if RunState(state) not in TERMINAL:
                entry = events.Entry(view.id, seq + 1, view.finished_on or 0.0, end)
                self.append([entry], view, RunState(state))

    def delete(self, runs: Sequence[int]) -> None:
        """Delete runs and all that is recorded of them, a few at a time, so that nobody has to wait for long."""
        for start in range(0, len(runs), _DELETED_AT_A_TIME):
            some = [(run,) for run in runs[start : start + _DELETED_AT_A_TIME]]
            with self.transaction():
                for table in ("events", "stages", "checkpoints", "cancel_requests"):
                    self._connection.executemany(f"DELETE FROM {table} WHERE run_id = ?", some)  # noqa: S608
                self._connection.executemany("DELETE FROM runs WHERE id = ?", some)

    def vacuum(self) -> None:
        """Give the space of deleted runs back to the disk."""
        try:
            database.patiently(lambda: self._connection.execute("VACUUM"))
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise database.explained(error, self._path) from error

    def beat(self, view: RunView, now: float) -> None:
        """Give a sign of life, unless another process holds the file just now."""
        with self.transaction(wait=False):
            self._connection.execute(
                "UPDATE runs SET seen_on = ? WHERE id = ? AND state = ?", (now, view.id, view.state)
            )

    def request_cancel(self, run: int, now: float, person: str) -> None:
        """Ask the owner of a run to stop it."""
        with self.transaction():
            self._connection.execute(
                "INSERT OR IGNORE INTO cancel_requests VALUES (?, ?, ?)", (run, now, events.encodable(person))
            )

    def cancel_requested(self, run: int) -> bool:
        """Return True if another process has asked for a cancel. Cheap while nobody else writes."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version == self._data_version:
            return False
        self._data_version = version
        row = self._connection.execute("SELECT 1 FROM cancel_requests WHERE run_id = ?", (run,)).fetchone()
        return row is not None

    def close(self) -> None:
        self._connection.close()

    def _refuse_second(self, plan: events.RunCreated) -> None:
        row = self._connection.execute(
            "SELECT id, pid, host FROM runs WHERE operation = ? AND (target = ? OR source = ?) "
            "AND state IN ('pending', 'running')",
            (plan.operation, plan.target, plan.source),
        ).fetchone()
        if row is not None:
            run, pid, host = row
            raise HeldError(
                f"{plan.target} is exclusive, and run {run} is going on (process {pid} on {host})",
                f"wait for it: stagerun wait {run}",
            )

    def _patience(self, *, wait: bool) -> float:
        if not wait:
            return 0.0
        return HURRIED_PATIENCE if self._hurried() else database.PATIENCE

    def _write(self, queue: list[events.Entry]) -> None:
        view = self._queued_view
        assert view is not None
        self._update(view, queue[-1].time, view.state)
        self._connection.executemany(_INSERT_EVENT, map(rows.of_event, _joined(queue)))

    def _update(self, view: RunView, seen_on: float, old: RunState) -> None:
        values = rows.of_state(view, seen_on)
        if view.state is old:
            del values["state"]  # SQLite would write its place in each index anew
        cursor = self._connection.execute(_update_run(*values), (*values.values(), view.id, old))
        if cursor.rowcount != 1:
            raise JournalError(
                f"run {view.id} is not this process's any more: another one has recorded its end",
                f"see 'stagerun status {view.id}'",
            )


def _weight(entry: events.Entry) -> int:
    return _BARE_WEIGHT + (len(entry.event.text) if isinstance(entry.event, events.Log) else 0)


def _replaces(event: events.Event, last: events.Event, before: events.Event) -> bool:
    """Return True if `event` makes `last` superfluous: of a burst only the first and the newest matter."""
    if isinstance(last, events.Log) or (isinstance(last, events.ProgressMoved) and last.ended):
        return False
    return type(event) is type(last) is type(before)


def _joined(queue: Iterable[events.Entry]) -> Iterator[events.Entry]:
    """Yield the entries, log lines of one kind that came at once as one: a row costs more than a line."""
    first: events.Entry | None = None
    kind, until, texts = None, 0.0, list[str]()
    for entry in queue:
        event = entry.event
        if isinstance(event, events.Log):
            if (event.level, event.stream) == kind and entry.time < until:
                texts.append(event.text)
                continue
            kind, until, following = (event.level, event.stream), entry.time + _AT_ONCE, [event.text]
        else:
            kind, following = None, []
        if first is not None:
            yield _with_lines(first, texts)
        first, texts = entry, following
    if first is not None:
        yield _with_lines(first, texts)


def _with_lines(entry: events.Entry, texts: Sequence[str]) -> events.Entry:
    event = entry.event
    if isinstance(event, events.Log) and len(texts) > 1:
        return entry._replace(event=events.Log("\n".join(texts), event.level, event.stream))
    return entry


@cache
def _insert_run(*columns: str) -> str:
    return f"INSERT INTO runs ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


@cache
def _update_run(*columns: str) -> str:
    # The old state in the condition: whoever lost a run, or has ended it, can't write to it any more.
    return f"UPDATE runs SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ? AND state = ?"  # noqa: S608


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
