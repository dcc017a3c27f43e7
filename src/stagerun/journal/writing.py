"""The writing half of the journal: each commit adds events and updates the projections with them.

Only the process that owns a live run writes that run's rows. Facts are written inside `commit`; pulses wait in a queue
and are written with the next commit, or by `flush`.

The fence. Every write to a run names the state that its writer knows, and changes nothing if the run is in another
state. So once a reader has given up a silent run and recorded its crash, an owner that wakes up after all can't write
another row: it gets `RunLost`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from stagerun import events
from stagerun.errors import HeldError, RunLost
from stagerun.journal import rows, rules
from stagerun.states import TERMINAL, RunState
from stagerun.text import json_text
from stagerun.view import RunView, begin


if TYPE_CHECKING:
    from stagerun.journal.store import Store

_T = TypeVar("_T")

_DELETED_AT_A_TIME: Final = 100
_BARE_WEIGHT: Final = 128  # characters that an event counts for, besides its text
_AT_ONCE: Final = 0.01  # seconds; log lines that arrive within it share a row and its time
_REDRAWN_SECONDS: Final = 10.0  # between two rows of lines that are drawn anew
_INSERT_EVENT: Final = "INSERT INTO events (run_id, seq, time, kind, data) VALUES (?, ?, ?, ?, ?)"
_INSERT_STAGE: Final = (
    "INSERT INTO stages (run_id, position, name, state, seconds, entered_on, visits, from_run, skipped) "
    "VALUES (:run_id, :position, :name, :state, :seconds, :entered_on, :visits, :from_run, :skipped)"
)
_UPDATE_STAGE: Final = (
    "UPDATE stages SET state = :state, seconds = :seconds, entered_on = :entered_on, visits = :visits, "
    "from_run = :from_run, skipped = :skipped WHERE run_id = :run_id AND position = :position"
)
_KEPT: Final = "stage", "inside", "item", "done", "total", "stages", "event_run_id", "event_seq"
_STORE: Final = (
    f"INSERT INTO checkpoints (run_id, key, part, call, {', '.join(_KEPT)}) "  # noqa: S608 - names of columns
    f"VALUES (:run_id, :key, :part, :call, {', '.join(f':{name}' for name in _KEPT)}) "
    f"ON CONFLICT (run_id, key, part) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _KEPT)}"
)
_INHERIT: Final = (
    f"INSERT INTO checkpoints (run_id, key, part, call, {', '.join(_KEPT)}) "  # noqa: S608 - names of columns
    f"SELECT ?, key, part, call, {', '.join(_KEPT)} FROM checkpoints WHERE run_id = ? AND key = ?"
)
_REQUEST_CANCEL: Final = (
    "INSERT INTO cancel_requests (run_id, requested_on, requested_by) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
)
_RUNNING: Final = f"SELECT id, pid, host FROM runs WHERE {rules.OPEN_OF_OPERATION}"  # noqa: S608 - a constant
_INSERT_TAG: Final = "INSERT INTO tags (tag, run_id) VALUES (?, ?) ON CONFLICT DO NOTHING"


class Journal:
    """The writer of one process. The caller makes sure that only one thread at a time uses it.

    Attributes:
        queued: characters that wait to be written, plus a constant for each event; 0 if nothing waits.

    """

    def __init__(self, store: "Store") -> None:
        self._store = store
        self.queued = 0
        self._queue: list[events.Entry] = []
        self._queued_view: RunView | None = None
        self._version: int | None = None
        self._redrawn_on = 0.0
        self._has_redrawn = False

    def queue(self, entry: events.Entry, view: RunView) -> None:
        """Keep a pulse for the next commit; `view` is the run after it."""
        if isinstance(entry.event, events.LineRedrawn) and not self._is_worth_a_row(entry.event, entry.time):
            return
        queue = self._queue
        if len(queue) > 1 and _replaces(entry.event, queue[-1].event, queue[-2].event):
            queue[-1] = entry
        else:
            queue.append(entry)
            self.queued += _weight(entry)
        self._queued_view = view

    def _is_worth_a_row(self, redrawn: events.LineRedrawn, time: float) -> bool:
        """Return True if no line that is drawn anew was recorded for a while, or if the recorded one is gone."""
        if not redrawn.line.strip():
            worth, self._has_redrawn = self._has_redrawn, False
            return worth
        if time - self._redrawn_on < _REDRAWN_SECONDS:
            return False
        self._redrawn_on, self._has_redrawn = time, True
        return True

    def flush(self, *, wait: bool = True) -> None:
        """Write the queue. If that fails, keep it and raise JournalError."""
        if self._queue:
            self.commit(lambda: None, wait=wait)

    def drop_queue(self) -> int:
        """Discard the queue and return how many log lines it held."""
        dropped = sum(len(entry.event.lines) for entry in self._queue if isinstance(entry.event, events.Log))
        self._queue.clear()
        self.queued = 0
        return dropped

    def commit(self, write: Callable[[], _T], *, wait: bool = True) -> _T:
        """Write the queue and then what `write` adds, all or nothing; return what `write` returns.

        `write` must only write, because it may be called again. If the commit fails, the queue is kept and JournalError
        is raised: JournalBusy if another process holds the journal for too long, or at all if `wait` is False.
        """
        # Swapped out first: writing it may run code that queues more.
        queue, self._queue, self.queued = self._queue, [], 0

        def write_all() -> _T:
            if queue:
                self._write(queue)
            return write()

        try:
            return self._store.commit(write_all, wait=wait)
        except BaseException:
            self._queue[:0] = queue
            self.queued = sum(map(_weight, self._queue))
            raise

    def create(self, entry: events.Entry, *, exclusive: bool = False) -> RunView:
        """Inside a commit: add a run and return its view. The entry's run id is ignored: the journal assigns one.

        Raises HeldError if another run has resumed the same run, if `exclusive` and the same operation is running, or
        if the newest run of the same name is not over or did not succeed; DoneBefore if that succeeded.
        """
        plan = entry.event
        assert isinstance(plan, events.RunCreated)
        if exclusive:
            self._refuse_second(plan)
        if plan.once is not None and plan.chained_from is None and plan.resumed_from is None:
            self._refuse_again(plan, plan.once)
        view = begin(entry)
        run = self._store.add("runs", rows.of_plan(view) | rows.of_state(view, self._store.now()))
        if run is None:
            raise HeldError(f"another process has just resumed run {plan.resumed_from}")
        entry = entry._replace(run=run)
        view = begin(entry)
        # The id is known only now, and a first run is the root of its own lineage.
        self._store.change("UPDATE runs SET root = ? WHERE id = ?", (view.root, run))
        self._store.many(
            _INSERT_STAGE, [rows.of_stage(run, position, each) for position, each in enumerate(view.stages)]
        )
        self._store.many(_INSERT_TAG, [(json_text.encodable(tag), run) for tag in plan.tags])
        self._store.many(_INHERIT, [(run, plan.resumed_from, json_text.encodable(key)) for key in plan.inherited])
        self._store.change(_INSERT_EVENT, rows.of_event(entry))
        return view

    def append(self, entries: Sequence[events.Entry], view: RunView, old: RunState) -> None:
        """Inside a commit: add events and update the projections to `view`. `old` is the run's state before."""
        self._move(view, old)
        positions = set()
        for entry in entries:
            self._store.change(_INSERT_EVENT, rows.of_event(entry))
            match entry.event:
                case (
                    events.StageEntered(index=int(position))
                    | events.StageLeft(index=int(position))
                    | events.StageTakenOver(index=int(position))
                ):
                    positions.add(position)
                case events.Stored():
                    self._store.change(_STORE, rows.of_stored(entry))
                case events.RunFinished(state=RunState.CRASHED):
                    positions.update(range(len(view.stages)))
                case _:
                    pass
        for position in positions:
            self._store.change(_UPDATE_STAGE, rows.of_stage(view.id, position, view.stages[position]))

    def record_crash(self, view: RunView) -> None:
        """Record the crash of a run whose process is gone, unless its end is recorded; `view` holds the crash."""
        end = view.end
        assert end is not None

        def write() -> None:
            sql = "SELECT state, (SELECT max(seq) FROM events WHERE run_id = id) AS last FROM runs WHERE id = ?"
            for row in self._store.rows(sql, (view.id,)):  # none if it was pruned meanwhile
                seq = rows.next_number(row["last"])
                if row["state"] not in TERMINAL and seq is not None:
                    entry = events.Entry(view.id, seq, view.finished_on or 0.0, end)
                    self.append([entry], view, RunState(row["state"]))

        with suppress(RunLost):  # another process was faster
            self.commit(write)

    def delete(self, runs: Sequence[int]) -> None:
        """Delete runs and everything recorded about them, a few at a time: no other process must wait for long."""
        for start in range(0, len(runs), _DELETED_AT_A_TIME):
            some = [(run,) for run in runs[start : start + _DELETED_AT_A_TIME]]

            def write(some: Sequence[tuple[int]] = some) -> None:
                for table in ("events", "stages", "checkpoints", "cancel_requests", "tags"):
                    self._store.many(f"DELETE FROM {table} WHERE run_id = ?", some)  # noqa: S608
                self._store.many("DELETE FROM runs WHERE id = ?", some)

            self.commit(write)

    def beat(self, view: RunView) -> None:
        """Record a sign of life. JournalBusy if another process holds the journal, RunLost if the run is not ours."""
        sql = "UPDATE runs SET seen_on = ? WHERE id = ? AND state = ?"
        if self.commit(lambda: self._store.change(sql, (self._store.now(), view.id, view.state)), wait=False) != 1:
            raise _lost(view)

    def request_cancel(self, run: int, now: float, person: str) -> None:
        """Ask the owner of a run to stop it."""
        self.commit(lambda: self._store.change(_REQUEST_CANCEL, (run, now, json_text.encodable(person))))

    def cancel_requested(self, view: RunView) -> bool:
        """Return True if another process has asked for a cancel. Cheap while no other process writes.

        RunLost if another process has recorded the run's end.
        """
        version = self._store.version()
        if version == self._version:
            return False
        self._version = version
        if not self._store.rows("SELECT 1 FROM runs WHERE id = ? AND state = ?", (view.id, view.state)):
            raise _lost(view)
        return bool(self._store.rows("SELECT 1 FROM cancel_requests WHERE run_id = ?", (view.id,)))

    def close(self) -> None:
        self._store.close()

    def _refuse_second(self, plan: events.RunCreated) -> None:
        self._store.exclusive(plan.operation)
        for row in self._store.rows(_RUNNING, rules.operation_key(plan)):
            run = row["id"]
            raise HeldError(
                f"{plan.target} is exclusive, and run {run} is still running (process {row['pid']} on {row['host']})",
                f"wait for it: stagerun wait {run}, or queue behind it: --wait",
            )

    def _refuse_again(self, plan: events.RunCreated, name: str) -> None:
        from stagerun.journal import names

        self._store.exclusive(f"once {name}")
        names.refuse_taken(self._store, rules.operation_key(plan), name)

    def _write(self, queue: list[events.Entry]) -> None:
        view = self._queued_view
        assert view is not None
        self._move(view, view.state)
        self._store.many(_INSERT_EVENT, map(rows.of_event, joined(queue)))

    def _move(self, view: RunView, old: RunState) -> None:
        values = rows.of_state(view, self._store.now())
        if view.state is old:
            del values["state"]  # the database would rewrite its entry in each index
        if self._store.change(_update_run(*values), (*values.values(), view.id, old)) != 1:
            raise _lost(view)


def _lost(view: RunView) -> RunLost:
    return RunLost(
        f"run {view.id} no longer belongs to this process: another process has recorded its end",
        f"see 'stagerun status {view.id}'",
    )


def _weight(entry: events.Entry) -> int:
    return _BARE_WEIGHT + (len(entry.event.text) if isinstance(entry.event, events.Log) else 0)


def _replaces(event: events.Event, last: events.Event, before: events.Event) -> bool:
    """Return True if `event` makes `last` superfluous: of a burst only the first and the newest matter."""
    if isinstance(last, events.Log) or (isinstance(last, events.ProgressMoved) and last.ended):
        return False
    return type(event) is type(last) is type(before)


def joined(queue: Iterable[events.Entry]) -> Iterator[events.Entry]:
    """Yield the entries, with log lines of one kind joined if they arrived together: a row costs more than a line."""
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
def _update_run(*columns: str) -> str:
    return f"UPDATE runs SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ? AND state = ?"  # noqa: S608
