"""The reading half of the journal: runs as views, and their events. Nothing here writes.

A run whose process is gone is read as crashed, whatever its row still says.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec import Struct

from stagerun import events, exit_codes
from stagerun.errors import UsageError
from stagerun.journal import rows
from stagerun.journal.sqlite import database
from stagerun.states import RESUMABLE, TERMINAL, RunState, StageState
from stagerun.view import RunView, fold


_SAMPLE: Final = 20  # successful runs that a usual duration is taken from
_LONGEST_LOOK: Final = 0.5
_PAGE: Final = 1000  # rows read at a time, so that a long log needs no memory
_FEW: Final = 10_000  # runs that can be looked at one by one without anybody noticing
_NO_ID: Final = 2**63 - 1  # more than any run's
_OPEN: Final = (RunState.PENDING, RunState.RUNNING)
HEARTBEAT: Final = 5.0  # seconds between two signs of life of a run that is silent
SILENCE: Final = 60.0  # a run on another host that gave no sign of life for so long is dead


class Resumption(Struct, frozen=True, kw_only=True):
    """How a run goes on from another one.

    Attributes:
        view: the run that is being resumed.
        done_before: stages that it, or the runs before it, have finished.
        inherited: checkpoint key -> (run, seq) of the event with its value.
        dropped: checkpoint keys that are not taken over.

    """

    view: RunView
    done_before: tuple[str, ...]
    inherited: Mapping[str, tuple[int, int]]
    dropped: tuple[str, ...]


class Records:
    """What the journal tells.

    A run is named by a REF: its id, `last`, or `last~N` for the Nth before the last.
    Every method raises JournalError if the file can't be read.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._path = path
        self._now = now

    def find(self, ref: str, operation: str | None = None) -> RunView:
        """Return the run that `ref` names, among those of `operation` if given; UsageError if there is none."""
        name, _, back = ref.partition("~")
        if name == "last" and (not back or (back.isdecimal() and len(back) < 19)):
            found = self.history(limit=1, skip=int(back or 0), operation=operation)
            if found:
                return found[0]
            whose = f" of {operation}" if operation else ""
            if not self.history(limit=1, operation=operation):
                hint = self._near_operation(operation) or "start one: stagerun run TARGET"
                raise UsageError(f"there is no run{whose} yet in {self._path}", hint)
            raise UsageError(f"there is no run {ref}{whose}", "see 'stagerun history'")
        if not ref.isdecimal():
            raise UsageError(f"{ref!r} is no run", "name a run by its id, or as last, last~1, last~2")
        found = self._views("WHERE id = ?", (int(ref),)) if len(ref) < 19 else []
        if not found:
            newest = self.history(limit=1)
            hint = f"the newest is {newest[0].id}" if newest else "start one: stagerun run TARGET"
            raise UsageError(f"there is no run {ref} in {self._path}", hint)
        return found[0]

    def history(
        self,
        *,
        limit: int,
        skip: int = 0,
        state: RunState | None = None,
        operation: str | None = None,
        owner: str | None = None,
        since: float | None = None,
    ) -> list[RunView]:
        """Return runs, newest first. `operation` is a class name or a whole target."""
        conditions, values = self._conditions(operation=operation, owner=owner, since=since)
        if state in _OPEN:
            rows = self._walk([state], conditions, values, page=limit)
            return [
                self._view(row) for row in islice((row for row in rows if not self._is_dead(row)), skip, skip + limit)
            ]
        if state is RunState.CRASHED:
            rows = self._walk([RunState.CRASHED, *_OPEN], conditions, values, page=limit)
            crashed = (view for view in map(self._truth, rows) if view.state is RunState.CRASHED)
            return list(islice(crashed, skip, skip + limit))
        # Each index ends in the state: where there is one to be used, a state has to be named.
        by_index = operation is not None or owner is not None
        states = [state] if state else list(RunState) if by_index else []
        found = self._rows(_newest(states, conditions), values | {"limit": limit, "skip": skip})
        return [self._truth(row) for row in found]

    def chain(self, view: RunView) -> list[RunView]:
        """Return the whole chain that `view` is a link of, first link first."""
        links = [view]
        while found := self._views("WHERE id = ?", (links[0].plan.chained_from,)):
            links[:0] = found
        while found := self._views("WHERE id = ?", (links[-1].chained_to,)):
            links += found
        return links

    def entries(
        self, run: int, *, after: int = 0, kinds: Sequence[str] = (), newest: int | None = None
    ) -> Iterator[events.Entry]:
        """Yield a run's events in order: those behind `after`, of `kinds` if given, only the `newest` N if given."""
        marks = ", ".join("?" * len(kinds))
        where = f"run_id = ? AND seq > ?{f' AND kind IN ({marks})' if kinds else ''}"
        sql = f"SELECT seq, time, kind, data FROM events WHERE {where} ORDER BY seq"  # noqa: S608 - only marks
        if newest is not None:
            sql = f"SELECT * FROM ({sql} DESC LIMIT {newest:d}) ORDER BY seq"  # noqa: S608 - only marks
        else:
            sql = f"{sql} LIMIT {_PAGE}"
        while found := self._rows(sql, (run, after, *kinds)):
            for row in found:
                yield rows.to_entry(run, row)
            if newest is not None or len(found) < _PAGE:
                return
            after = found[-1]["seq"]

    def expected(self, target: str) -> dict[str, float]:
        """Return stage -> median seconds over the newest successful runs of `target`; {} when there are none."""
        sql = f"""
            SELECT name, seconds FROM stages WHERE state = 'done' AND run_id IN (
                SELECT id FROM runs WHERE target = ? AND state = 'succeeded'
                ORDER BY id DESC LIMIT {_SAMPLE}) ORDER BY position"""  # noqa: S608 - a constant
        durations: dict[str, list[float]] = {}
        for name, seconds in self._rows(sql, (target,)):
            durations.setdefault(name, []).append(seconds)
        return {name: _median(values) for name, values in durations.items()}

    def checkpoint(self, run: int, key: str) -> events.CheckpointStored | events.PositionReached | None:
        """Return what is stored for `run` under `key`, in that run or in one that it goes on from."""
        sql = """
            SELECT kind, data FROM checkpoints JOIN events ON events.run_id = event_run_id AND seq = event_seq
            WHERE checkpoints.run_id = ? AND key = ?"""
        for row in self._rows(sql, (run, events.encodable(key))):
            stored = rows.to_event(row)
            assert isinstance(stored, events.CheckpointStored | events.PositionReached)
            return stored
        return None

    def unrecorded_crashes(self) -> list[RunView]:
        """Return the runs that are dead, and that nobody has recorded as crashed yet."""
        rows = self._rows("SELECT * FROM runs WHERE state IN ('pending', 'running')", ())
        views = [self._truth(row) for row in rows if self._is_dead(row)]
        return [view for view in views if view.state is RunState.CRASHED]

    def newest_resumable(self, operation: str | None = None) -> RunView | None:
        """Return the newest run that did not succeed and that no run has gone on from."""
        conditions, values = self._conditions(operation=operation)
        conditions.append("NOT EXISTS (SELECT 1 FROM runs AS later WHERE later.resumed_from = runs.id)")
        rows = self._walk([*sorted(RESUMABLE), *_OPEN], conditions, values, page=1)
        return next((view for view in map(self._truth, rows) if view.state in RESUMABLE), None)

    def successor(self, view: RunView) -> RunView | None:
        """Return the run that goes on from `view`, None if there is none."""
        found = self._views("WHERE resumed_from = ?", (view.id,))
        return found[0] if found else None

    def place_to_resume(self, view: RunView, *, along_chain: bool) -> RunView:
        """Return the run to go on from: the newest attempt, of `view` or of the link that its chain stopped at."""
        while True:
            if (after := self.successor(view)) is not None:
                view = after
            elif along_chain and view.state is RunState.SUCCEEDED and view.chained_to is not None:
                following = self._views("WHERE id = ?", (view.chained_to,))
                if not following:
                    return view  # pruned
                view = following[0]
            else:
                return view

    def prunable(self, *, keep: int, before: float | None, state: RunState | None) -> list[int]:
        """Return the ids of the runs that may go: over, behind the newest `keep`, begun `before`, ended in `state`.

        A lineage of resumes goes as a whole. One that can still be resumed stays, unless `state` asks for it.
        """
        lineages: dict[int, list[sqlite3.Row]] = {}
        for row in self._rows("SELECT id, root, state, created_on FROM runs ORDER BY id", ()):
            lineages.setdefault(row["root"], []).append(row)
        kept = {row["id"] for row in self._rows("SELECT id FROM runs ORDER BY id DESC LIMIT ?", (keep,))}
        runs = list[int]()
        for lineage in lineages.values():
            end = RunState(lineage[-1]["state"])
            if end not in TERMINAL or (state is None and end in RESUMABLE) or (state is not None and end is not state):
                continue
            if before is not None and lineage[-1]["created_on"] >= before:
                continue
            ids = [row["id"] for row in lineage]
            if kept.isdisjoint(ids):
                runs += ids
        return sorted(runs)

    def resumption(self, view: RunView, from_stage: str | None = None) -> Resumption:
        """Return what a run that goes on from `view` takes over: nothing made in `from_stage` or after it."""
        names = [stage.name for stage in view.stages]
        if from_stage is not None and from_stage not in names:
            hint = f"its stages: {', '.join(names) or 'none'}"
            raise UsageError(f"{view.plan.target} has no stage {from_stage!r}", hint)
        again = set(names[names.index(from_stage) :] if from_stage else [])
        done = {*view.plan.done_before, *(stage.name for stage in view.stages if stage.state is StageState.DONE)}
        sql = "SELECT * FROM checkpoints WHERE run_id = ? ORDER BY event_run_id, event_seq"
        rows = self._rows(sql, (view.id,))
        return Resumption(
            view=view,
            done_before=tuple(name for name in names if name in done - again),
            inherited={
                row["key"]: (row["event_run_id"], row["event_seq"]) for row in rows if row["stage"] not in again
            },
            dropped=tuple(row["key"] for row in rows if row["stage"] in again),
        )

    def data_version(self) -> int:
        """Return a number that changes when another process has written; it costs next to nothing to ask."""
        ((version,),) = self._rows("PRAGMA data_version", ())
        return int(version)

    def until_changed(self, version: int, wait: Callable[[], None]) -> None:
        """Come back when somebody has written since `data_version` gave `version`; `wait` is called in between.

        It comes back after a while all the same: a process that is dead writes nothing.
        """
        deadline = time.monotonic() + _LONGEST_LOOK
        while self.data_version() == version and time.monotonic() < deadline:
            wait()

    def follow(self, run: int, *, wait: Callable[[], None], kinds: Sequence[str] = ()) -> Iterator[events.Entry]:
        """Yield a run's events, those to come too, on along its chain, until the last link is over.

        `wait` is called when there is nothing new; a run that crashes ends with an event of its own.
        """
        seq = 0
        wanted = {*kinds, events.RunFinished.kind} if kinds else set[str]()
        while True:
            version = self.data_version()
            for entry in self.entries(run, after=seq, kinds=tuple(wanted)):
                seq = entry.seq
                if not kinds or entry.event.kind in kinds:
                    yield entry
                if isinstance(entry.event, events.RunFinished):
                    if entry.event.chained_to is None:
                        return
                    run, seq = entry.event.chained_to, 0
                    break
            else:
                if not self._views("WHERE id = ?", (run,)):
                    return  # pruned
                view = self.find(str(run))
                if view.state is RunState.CRASHED and view.end is not None:
                    if not kinds or events.RunFinished.kind in kinds:
                        yield events.Entry(run, seq + 1, view.finished_on or 0.0, view.end)
                    return
                self.until_changed(version, wait)

    def close(self) -> None:
        self._connection.close()

    def _near_operation(self, operation: str | None) -> str | None:
        from difflib import get_close_matches

        column = "target" if operation and ":" in operation else "operation"
        # One look into the index for each name: DISTINCT would read the whole of it.
        sql = f"""
            WITH RECURSIVE known (name) AS (
                SELECT min({column}) FROM runs UNION ALL
                SELECT (SELECT min({column}) FROM runs WHERE {column} > name) FROM known WHERE name IS NOT NULL)
            SELECT name FROM known WHERE name IS NOT NULL"""  # noqa: S608 - one of two columns
        known = [row["name"] for row in self._rows(sql, ())]
        near = get_close_matches(operation or "", known, 1)
        return f"did you mean {near[0]!r}?" if near else None

    def _conditions(
        self, *, operation: str | None = None, owner: str | None = None, since: float | None = None
    ) -> tuple[list[str], dict[str, object]]:
        """Return what a query of runs asks for, and the values of its parameters."""
        conditions, values = list[str](), dict[str, object]()
        # A plus keeps an index out. Of two the owner's is taken only if it is short: most journals have few owners.
        by_owner = owner is not None and (operation is None or self._some("owner = ?", owner)[0] <= _FEW)
        if operation is not None:
            column = "target" if ":" in operation else "operation"
            conditions.append(f"{'+' if by_owner else ''}{column} = :operation")
            values["operation"] = operation
        if owner is not None:
            conditions.append(f"{'' if by_owner else '+'}owner = :owner")
            values["owner"] = owner
        if since is not None:
            # Ids follow the clock only as long as nobody sets it, so that they alone can't tell.
            conditions.append("+created_on >= :since")
            values["since"] = since
            count, first = self._some("created_on >= ?", since)
            if count <= _FEW:
                conditions.append("id >= :first")
                values["first"] = first
        return conditions, values

    def _some(self, condition: str, value: object) -> tuple[int, int | None]:
        """Return the number of runs that meet `condition`, and the lowest id; more than `_FEW` are not looked at."""
        some = f"SELECT id FROM runs WHERE {condition} LIMIT {_FEW + 1}"  # noqa: S608 - a condition of this file
        ((count, first),) = self._rows(f"SELECT count(*), min(id) FROM ({some})", (value,))  # noqa: S608
        return count, first

    def _walk(
        self, states: Sequence[RunState], conditions: Sequence[str], values: dict[str, object], *, page: int
    ) -> Iterator[sqlite3.Row]:
        """Yield the rows of runs in `states`, newest first, reading no further than somebody asks for them."""
        sql = _newest(states, [*conditions, "id < :before"])
        before = _NO_ID
        while rows := self._rows(sql, values | {"before": before, "limit": page, "skip": 0}):
            yield from rows
            before, page = rows[-1]["id"], min(2 * page, _PAGE)

    def _views(self, condition: str, values: Sequence[object]) -> list[RunView]:
        rows = self._rows(f"SELECT * FROM runs {condition}", values)  # noqa: S608 - conditions of this file
        return [self._truth(row) for row in rows]

    def _truth(self, row: sqlite3.Row) -> RunView:
        view = self._view(row)
        if view.state in TERMINAL or not self._is_dead(row):
            return view
        # It may have ended between the two looks; what it wrote before it went is there by now.
        (row,) = self._rows("SELECT * FROM runs WHERE id = ?", (view.id,))
        view, seen_on = self._view(row), row["seen_on"]
        if view.state in TERMINAL:
            return view
        end = events.RunFinished(
            state=RunState.CRASHED,
            seconds=max(0.0, seen_on - (view.started_on or seen_on)),
            exit_code=exit_codes.FAILED,
            error=events.Failure(
                type="",
                message="the process ended without a word",
                stage=view.active.name if view.active else None,
            ),
        )
        return fold(view, events.Entry(view.id, 0, seen_on, end))

    def _is_dead(self, row: sqlite3.Row) -> bool:
        gone = rows.to_process(row).is_gone()
        return self._now() - row["seen_on"] > SILENCE if gone is None else gone

    def _view(self, row: rows.Row) -> RunView:
        sql = "SELECT name, state, seconds, entered_on, visits FROM stages WHERE run_id = ? ORDER BY position"
        return rows.to_view(row, self._rows(sql, (row["id"],)))

    def _rows(self, sql: str, values: Sequence[object] | Mapping[str, object]) -> list[sqlite3.Row]:
        def read() -> list[sqlite3.Row]:
            cursor = self._connection.execute(sql, values)
            cursor.row_factory = sqlite3.Row
            return cursor.fetchall()

        try:
            return database.patiently(read)
        except sqlite3.Error as error:
            raise database.explained(error, self._path) from None


def _newest(states: Sequence[RunState], conditions: list[str]) -> str:
    """Return a query of the newest runs in one of `states`, or in any if there are none: `limit` after `skip`.

    SQLite merges the states, each of which its index has in order; of `state IN (…)` it would sort every row.
    """
    wanted = [[f"state = '{state}'", *conditions] for state in states] or [conditions or ["TRUE"]]
    merged = " UNION ALL ".join(f"SELECT id FROM runs WHERE {' AND '.join(each)}" for each in wanted)  # noqa: S608
    newest = f"{merged} ORDER BY id DESC LIMIT :limit OFFSET :skip"
    return f"SELECT * FROM runs WHERE id IN ({newest}) ORDER BY id DESC"  # noqa: S608 - conditions of this file


def _median(values: list[float]) -> float:
    values.sort()
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
