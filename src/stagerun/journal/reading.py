"""The reading half of the journal: runs as views, and their events. Nothing here writes.

A run whose process is gone is read as crashed, whatever its row still says.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stagerun import events
from stagerun.errors import RunDamaged, UsageError
from stagerun.journal import rows, rules
from stagerun.journal.queries import PAGE, Queries, Wanted, id_of
from stagerun.journal.rows import Nonsense
from stagerun.states import RESUMABLE, TERMINAL, RunState
from stagerun.text import json_text
from stagerun.view import RunView


if TYPE_CHECKING:
    from stagerun.journal.store import Row, Store, Values
    from stagerun.resumption import Resumption


_STAGE: Final = "name, state, seconds, entered_on, visits, from_run, skipped"
_SAMPLE: Final = 20  # successful runs that the expected durations are computed from


class Records:
    """The contents of the journal.

    A run is named by a REF: its id, `last`, or `last~N` for the Nth before the last.
    An operation is named by its class, or as in `stagerun run`: by the name or the file of its recipe, alone or with
    the class. `file_of` returns the file that the name of a recipe means.
    Every method raises JournalError if the file can't be read, and RunDamaged if what it holds of a run that was asked
    for makes no sense.

    Attributes:
        damaged: why runs were left out that nobody asked for by name.

    """

    def __init__(self, store: "Store", file_of: Callable[[str], Path | None] = lambda _: None) -> None:
        self.damaged: list[RunDamaged] = []
        self._store = store
        self._queries = Queries(store, file_of)

    def find(self, ref: str, operation: str | None = None) -> RunView:
        """Return the run that `ref` names, among those of `operation` if given; UsageError if there is none."""
        name, _, back = ref.partition("~")
        if name == "last" and (not back or (back.isdecimal() and len(back) < 19)):
            found = self._queries.newest(limit=1, skip=int(back or 0), operation=operation)
            if (nth := next(self._truths(found), None)) is not None:
                return nth
            whose = f" of {operation}" if operation else ""
            if not self._queries.newest(limit=1, operation=operation):
                hint = self._near_operation(operation) or "start one: stagerun run TARGET"
                raise UsageError(f"there is no run{whose} yet in {self._store.place}", hint)
            raise UsageError(f"there is no run {ref}{whose}", "see 'stagerun history'")
        if not ref.isdecimal():
            raise UsageError(f"{ref!r} is not a run", "name a run by its id, or as last, last~1, last~2")
        view = self.get(int(ref)) if len(ref) < 19 else None
        if view is None:
            newest = self._queries.newest(limit=1)
            hint = f"the newest is {newest[0]['id']}" if newest else "start one: stagerun run TARGET"
            raise UsageError(f"there is no run {ref} in {self._store.place}", hint)
        return view

    def get(self, run: int | None) -> RunView | None:
        """Return the run with that id, or None."""
        return next(iter(self._views("WHERE id = ?", (run,))), None)

    def history(
        self,
        *,
        limit: int,
        skip: int = 0,
        state: RunState | None = None,
        operation: str | None = None,
        owner: str | None = None,
        tag: str | None = None,
        since: float | None = None,
        before: int | None = None,
    ) -> list[RunView]:
        """Return runs, newest first, without damaged ones, with ids below `before` if given."""
        wanted = Wanted(owner=owner, tag=tag, since=since, before=before)
        if state not in (*rules.OPEN, RunState.CRASHED):
            return list(self._readable(self._queries.newest(limit, skip, state, operation=operation, wanted=wanted)))
        # What a row calls open may have crashed.
        states = [RunState.CRASHED, *rules.OPEN] if state is RunState.CRASHED else [state]
        walked = self._readable(self._queries.walk(states, self._queries.of(operation, wanted), page=limit))
        return list(islice((view for view in walked if view.state is state), skip, skip + limit))

    def chain(self, view: RunView) -> list[RunView]:
        """Return the whole chain that contains `view`, first run first; it ends where a run is damaged."""
        before = self._linked(view, {view.id}, lambda link: link.plan.chained_from)
        after = self._linked(view, {view.id, *(link.id for link in before)}, lambda link: link.chained_to)
        return [*reversed(before), view, *after]

    def entries(
        self, run: int, *, after: int = 0, kinds: Sequence[str] = (), newest: int | None = None
    ) -> Iterator[events.Entry]:
        """Yield a run's events in order: those after number `after`, of `kinds` if given, the `newest` N if given."""
        marks = ", ".join("?" * len(kinds))
        where = f"run_id = ? AND seq > ?{f' AND kind IN ({marks})' if kinds else ''}"
        sql = f"SELECT seq, time, kind, data FROM events WHERE {where} ORDER BY seq"  # noqa: S608 - only marks
        if newest is not None:
            sql = f"SELECT * FROM ({sql} DESC LIMIT {newest:d}) AS newest ORDER BY seq"  # noqa: S608 - only marks
        else:
            sql = f"{sql} LIMIT {PAGE}"
        while found := self._rows(sql, (run, after, *kinds)):
            for row in found:
                try:
                    entry = rows.to_entry(run, row)
                except Nonsense as error:
                    raise self.damage(run, error) from None
                if entry is not None:
                    yield entry
            if newest is not None or len(found) < PAGE:
                return
            after = found[-1]["seq"]

    def expected(self, target: str) -> dict[str, float]:
        """Return stage -> median seconds over the newest successful runs of `target`, 0 for what they all left out."""
        sql = f"""
            SELECT {_STAGE} FROM stages
            WHERE state IN ('done', 'pending') AND from_run IS NULL AND run_id IN (
                SELECT id FROM runs WHERE target = ? AND state = 'succeeded'
                ORDER BY id DESC LIMIT {_SAMPLE}) ORDER BY position"""  # noqa: S608 - a constant
        durations: dict[str, list[float]] = {}
        for row in self._rows(sql, (target,)):
            with suppress(Nonsense):
                stage = rows.to_stage(row)
                known = durations.setdefault(stage.name, [])
                if stage.visits and stage.skipped is None:
                    known.append(stage.seconds)
        return {name: _median(values) if values else 0.0 for name, values in durations.items()}

    def usual(self, operation: str) -> float | None:
        """Return the median seconds of the newest runs that did all of the work themselves and succeeded."""
        succeeded = self.history(limit=_SAMPLE, operation=operation, state=RunState.SUCCEEDED)
        whole = [view.seconds or 0.0 for view in succeeded if view.plan.resumed_from is None]
        return _median(whole) if whole else None

    def recall(self, run: int, key: str) -> list[events.Recalled]:
        """Return what is stored for `run` under `key`, by that run or by those that it continues, in order."""
        sql = """
            SELECT event_run_id, kind, data FROM checkpoints
            JOIN events ON events.run_id = event_run_id AND seq = event_seq
            WHERE checkpoints.run_id = ? AND key = ? ORDER BY part"""
        found = list[events.Recalled]()
        for row in self._rows(sql, (run, json_text.encodable(key))):
            try:
                stored = rows.to_event(row)
            except Nonsense as error:
                raise self.damage(run, error) from None
            if not isinstance(stored, events.CheckpointStored | events.PositionReached | events.ResultsStored):
                raise self.damage(run, Nonsense("checkpoints", f"{key!r} is stored in an event of another kind"))
            found.append(events.Recalled(row["event_run_id"], stored))
        return found

    def unrecorded_crashes(self) -> list[RunView]:
        """Return the runs that are dead but not yet recorded as crashed."""
        found = self._rows("SELECT * FROM runs WHERE state IN ('pending', 'running')")
        return [view for view in self._readable(found) if view.state is RunState.CRASHED]

    def ahead(self, view: RunView) -> list[RunView]:
        """Return the runs of the same operation that were recorded earlier and are not over, oldest first."""
        sql = f"SELECT * FROM runs WHERE {rules.OPEN_OF_OPERATION} AND id < ?"  # noqa: S608 - a constant
        found = sorted(self._rows(sql, (*rules.operation_key(view.plan), view.id)), key=id_of)
        return [each for each in self._readable(found) if each.state not in TERMINAL]

    def newest_resumable(self, operation: str | None = None) -> RunView | None:
        """Return the newest run that did not succeed and was not resumed, or None."""
        queries = self._queries.of(operation)
        for conditions, _ in queries:
            conditions.append("NOT EXISTS (SELECT 1 FROM runs AS later WHERE later.resumed_from = runs.id)")
        walked = self._queries.walk([*sorted(RESUMABLE), *rules.OPEN], queries, page=1)
        return next((view for view in self._truths(walked) if view.state in RESUMABLE), None)

    def successor(self, view: RunView) -> RunView | None:
        """Return the run that resumes `view`, or None; also None if it is damaged."""
        found = self._rows("SELECT * FROM runs WHERE resumed_from = ?", (view.id,))
        return next(self._readable(found), None)

    def resumed_as(self, runs: Sequence[int]) -> dict[int, int]:
        """Return run -> the run that resumes it, for those of `runs` that were resumed."""
        found: dict[int, int] = {}
        for start in range(0, len(runs), PAGE):
            some = runs[start : start + PAGE]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT id, resumed_from FROM runs WHERE resumed_from IN ({marks})"  # noqa: S608 - only marks
            found |= {row["resumed_from"]: row["id"] for row in self._rows(sql, some)}
        return found

    def place_to_resume(self, view: RunView, *, along_chain: bool) -> RunView:
        """Return the run to resume: the newest attempt of `view`, or of the run that its chain stopped at."""
        seen = {view.id}
        while True:
            after = next(iter(self._views("WHERE resumed_from = ?", (view.id,))), None)
            if after is None and along_chain and view.state is RunState.SUCCEEDED:
                after = self.get(view.chained_to)  # None if it was pruned
            if after is None or after.id in seen:
                return view
            view = after
            seen.add(view.id)

    def prunable(self, *, keep: int, before: float | None, state: RunState | None) -> list[int]:
        """Return the ids of the runs that may be deleted, except the newest `keep`: see `rules.prunable`."""
        found = self._rows("SELECT id, root, state, created_on FROM runs ORDER BY id")
        kept = {row["id"] for row in self._rows("SELECT id FROM runs ORDER BY id DESC LIMIT ?", (keep,))}
        return rules.prunable(rows.to_summaries(found), kept, before=before, state=state)

    def resumption(self, view: RunView, from_stage: str | None = None) -> "Resumption":
        """Return what a run that resumes `view` takes over: see `resumption`."""
        from stagerun.resumption import resumption

        sql = "SELECT * FROM checkpoints WHERE run_id = ? ORDER BY event_run_id, event_seq"
        try:
            stored = list(map(rows.to_kept, self._rows(sql, (view.id,))))
        except Nonsense as error:
            raise self.damage(view.id, error) from None
        return resumption(view, stored, from_stage)

    def version(self) -> int:
        """Return a number that changes when another process has written. It is cheap to ask for."""
        return self._store.version()

    def wait(self, version: int, seconds: float) -> bool:
        """Sleep until another process has written since `version`, at most `seconds`; return True if one has."""
        return self._store.wait(version, seconds)

    def close(self) -> None:
        self._store.close()

    def operations(self, targets: Iterable[str] = ()) -> set[str]:
        """Return every name of an operation that has run, or is one of `targets`: classes, recipes and targets."""
        from stagerun.journal import operation_names

        return operation_names.known(self._store, targets)

    def targets(self) -> list[str]:
        """Return every target that has run, in order."""
        return [row["name"] for row in self._rows(self._store.names("target"))]

    def tags(self) -> list[str]:
        """Return every tag that a run has, in order."""
        return [row["name"] for row in self._rows(self._store.names("tag", table="tags"))]

    def _near_operation(self, operation: str | None) -> str | None:
        from stagerun.text import suggestions

        return suggestions.did_you_mean(operation or "", sorted(self.operations()))

    def _views(self, condition: str, values: Sequence[object]) -> list[RunView]:
        found = self._rows(f"SELECT * FROM runs {condition}", values)  # noqa: S608 - conditions of this file
        return list(self._truths(found))

    def _linked(self, view: RunView, seen: set[int], link: Callable[[RunView], int | None]) -> list[RunView]:
        """Return the runs that `link` leads to, one after the other, as long as they are new and not damaged."""
        found = list[RunView]()
        try:
            while (after := self.get(link(view))) is not None and after.id not in seen:
                found.append(view := after)
                seen.add(view.id)
        except RunDamaged as error:
            self.damaged.append(error)
        return found

    def _readable(self, found: "Iterable[Row]") -> Iterator[RunView]:
        """Yield the runs in rows of `runs`, without damaged ones."""
        for row in found:
            try:
                yield from self._truths([row])
            except RunDamaged as error:
                self.damaged.append(error)

    def _truths(self, found: "Iterable[Row]") -> Iterator[RunView]:
        """Yield the runs in rows of `runs`, without those that were pruned meanwhile."""
        return (view for row in found if (view := self._truth(row)) is not None)

    def find_damage(self, most: int) -> list[RunDamaged]:
        """Return why runs can't be read, at most `most` of them. It reads every run, but no events."""
        for _ in self._readable(self._queries.walk([], self._queries.of(None), page=PAGE)):
            if len(self.damaged) >= most:
                break
        return self.damaged[:most]

    def damage(self, run: object, error: Nonsense) -> RunDamaged:
        """Return the error that says what is wrong with a run."""
        return damaged(self._store, run, error)

    def _truth(self, row: "Row") -> RunView | None:
        view = self._view(row)
        if view is None or view.state in TERMINAL or not self._is_dead(view, row):
            return view
        # The run may have ended after its row was read; then its last writes are visible by now.
        for again in self._rows("SELECT * FROM runs WHERE id = ?", (view.id,)):
            view, row = self._view(again), again
        return view if view is None or view.state in TERMINAL else rules.crashed(view, row["seen_on"])

    def _is_dead(self, view: RunView, row: "Row") -> bool:
        return rules.is_dead(view.process, row["seen_on"], self._store.now())

    def _view(self, row: "Row") -> RunView | None:
        sql = f"SELECT {_STAGE} FROM stages WHERE run_id = ? ORDER BY position"  # noqa: S608 - a constant
        try:
            return rows.to_view(row, self._rows(sql, (row["id"],)))
        except Nonsense as error:
            if not self._rows("SELECT id FROM runs WHERE id = ?", (row["id"],)):
                return None
            raise self.damage(row["id"], error) from None

    def _rows(self, sql: str, values: "Values" = ()) -> "Sequence[Row]":
        return self._store.rows(sql, values)


def _median(values: list[float]) -> float:
    values.sort()
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def damaged(store: "Store", run: object, error: Nonsense) -> RunDamaged:
    """Return the error that says what is wrong with a run in `store`."""
    return RunDamaged(f"journal {store.place}: run {run} can't be read: {error}", "other runs can: stagerun history")
