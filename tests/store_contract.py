"""What every database that holds a journal has to do: a test class derives from StoreContract and opens one."""

import threading
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from stagerun import events
from stagerun.errors import HeldError, JournalBusy, RunLost
from stagerun.journal.reading import Records
from stagerun.journal.store import Store
from stagerun.journal.writing import Journal
from stagerun.machine.identity import current_process
from stagerun.states import RunState
from stagerun.view import RunView, fold


PROCESS = current_process()
PLAN = events.RunCreated(
    target="shop:Import",
    recipe="shop",
    operation="Import",
    stages=("Load", "Save"),
    owner="alice",
    host=PROCESS.host,
    boot_id=PROCESS.boot_id,
    pid_namespace=PROCESS.pid_namespace,
    pid=PROCESS.pid,
    process_started=PROCESS.started,
)
STARTED = events.RunStarted()
FAILED = events.RunFinished(state=RunState.FAILED, seconds=1.0, exit_code=1)
AWKWARD = 'a NUL \\u0000, "quotes", %s, ?, :name, Ünïcode, \U0001f600 and a\nline end'
KEYS = "INSERT INTO checkpoints (run_id, key, part, call, event_run_id, event_seq) VALUES (?, ?, 0, 'step', 1, 1)"


def added(store: Store, plan: events.RunCreated = PLAN, *happened: events.Event, exclusive: bool = False) -> RunView:
    """Record a run and what happened in it, as its owner does."""
    journal = Journal(store)
    view = journal.commit(lambda: journal.create(events.Entry(0, 1, 100.0, plan), exclusive=exclusive))
    for seq, event in enumerate(happened, 2):
        entry = events.Entry(view.id, seq, 100.0 + seq, event)
        old, view = view, fold(view, entry)

        def write(entry: events.Entry = entry, view: RunView = view, old: RunView = old) -> None:
            journal.append([entry], view, old.state)

        journal.commit(write)
    return view


class StoreContract:
    @pytest.fixture
    def open_store(self) -> Iterator[Callable[[], Store]]:
        """Return a function that opens the one journal of this test, each time as another process would."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: Callable[[], Store]) -> Store:
        return open_store()

    @pytest.fixture
    def other(self, store: Store, open_store: Callable[[], Store]) -> Store:
        """Another process's."""
        return open_store()

    def test_a_commit_returns_what_was_returned_and_others_see_what_was_written(
        self, store: Store, other: Store
    ) -> None:
        def write() -> str:
            store.many(KEYS, [(1, "a"), (1, "b")])
            return "done"

        assert store.commit(write) == "done"
        assert [row["key"] for row in other.rows("SELECT key FROM checkpoints ORDER BY key")] == ["a", "b"]

    def test_a_commit_that_raises_leaves_nothing_and_the_next_one_works(self, store: Store, other: Store) -> None:
        def write() -> None:
            store.many(KEYS, [(1, "a")])
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.commit(write)
        store.commit(lambda: store.many(KEYS, [(1, "b")]))

        assert [row["key"] for row in other.rows("SELECT key FROM checkpoints")] == ["b"]

    def test_a_change_counts_the_rows_that_it_changed(self, store: Store) -> None:
        store.commit(lambda: store.many(KEYS, [(1, "a"), (1, "b"), (2, "a")]))

        counts = store.commit(
            lambda: [
                store.change("UPDATE checkpoints SET stage = :stage WHERE run_id = :run", {"stage": "Load", "run": run})
                for run in (1, 2, 3)
            ]
        )

        assert counts == [2, 1, 0]

    def test_text_numbers_and_nothing_come_back_as_they_were(self, store: Store) -> None:
        insert = "INSERT INTO events (run_id, seq, time, kind, data) VALUES (?, ?, ?, ?, ?)"
        store.commit(lambda: store.many(insert, [(2**53 + 1, 2**62, 1800000000.123456, "log", AWKWARD)]))

        (row,) = store.rows("SELECT * FROM events")
        assert [row[name] for name in ("run_id", "seq", "time", "kind", "data")] == [
            *(2**53 + 1, 2**62, 1800000000.123456, "log"),
            AWKWARD,
        ]

    def test_ids_rise_and_none_is_given_twice(self, store: Store) -> None:
        first, second = added(store).id, added(store).id
        Journal(store).delete([second])

        assert first < second < added(store).id

    def test_of_two_runs_that_go_on_from_one_the_second_is_refused(self, store: Store) -> None:
        run = added(store, PLAN, STARTED, FAILED).id
        added(store, replace(PLAN, resumed_from=run, root=run, attempt=2))

        with pytest.raises(HeldError):
            added(store, replace(PLAN, resumed_from=run, root=run, attempt=2))
        assert store.commit(lambda: store.add("runs", {"resumed_from": run} | self._columns(store, run))) is None

    def _columns(self, store: Store, run: int) -> dict[str, object]:
        (row,) = store.rows("SELECT * FROM runs WHERE id = ?", (run,))
        needed = """target recipe operation state owner params stages current_stage stage_states created_on root attempt
            expected done_before host boot_id pid_namespace pid process_started seen_on"""
        return {name: row[name] for name in needed.split()}

    def test_the_newest_runs_come_first_of_some_states_or_of_all(self, store: Store) -> None:
        for happened in ([], [STARTED], [STARTED, FAILED], [], [STARTED, FAILED]):
            added(store, PLAN, *happened)

        def found(states: list[str], limit: int, skip: int) -> list[int]:
            query = store.newest(states, ["owner = :owner"])
            return [row["id"] for row in store.rows(query, {"owner": "alice", "limit": limit, "skip": skip})]

        assert found([], 9, 0) == [5, 4, 3, 2, 1]
        assert found([], 2, 1) == [4, 3]
        assert found(["failed", "running"], 9, 0) == [5, 3, 2]
        assert found(["crashed"], 9, 0) == []

    def test_the_names_of_a_column_are_told_once_each(self, store: Store) -> None:
        for name in ("Ship", "Import", "Ship", "Export"):
            added(store, replace(PLAN, operation=name))

        assert sorted(row["name"] for row in store.rows(store.names("operation"))) == ["Export", "Import", "Ship"]

    def test_a_column_without_its_index_is_the_same_column(self, store: Store) -> None:
        added(store)

        (row,) = store.rows(f"SELECT {store.unindexed('owner')} AS owner FROM runs")
        assert row["owner"] == "alice"

    def test_the_version_moves_when_another_process_has_written_and_only_then(self, store: Store, other: Store) -> None:
        before = store.version()
        asked_again = store.version()
        other.commit(lambda: other.many(KEYS, [(1, "a")]))

        assert (asked_again == before, store.version() == before) == (True, False)

    def test_who_waits_is_told_whether_somebody_has_written(self, store: Store, other: Store) -> None:
        version = store.version()
        in_vain = store.wait(version, 0.0)
        writer = threading.Timer(0.05, lambda: other.commit(lambda: other.many(KEYS, [(1, "a")])))
        writer.start()
        woken = store.wait(version, 30.0)
        writer.join()
        other.announce(1)

        assert (in_vain, woken) == (False, True)

    def test_who_does_not_wait_is_refused_while_another_process_writes(self, store: Store, other: Store) -> None:
        def write() -> None:
            other.many(KEYS, [(1, "a")])
            with pytest.raises(JournalBusy):
                store.commit(lambda: store.many(KEYS, [(2, "b")]), wait=False)

        other.commit(write)

        assert [row["key"] for row in store.rows("SELECT key FROM checkpoints")] == ["a"]

    def test_of_two_exclusive_runs_at_once_one_begins(self, open_store: Callable[[], Store]) -> None:
        stores, begun, held = [open_store() for _ in range(8)], list[int](), list[str]()
        barrier = threading.Barrier(len(stores))

        def begin(store: Store) -> None:
            barrier.wait()
            try:
                begun.append(added(store, exclusive=True).id)
            except HeldError as error:
                held.append(error.message)

        threads = [threading.Thread(target=begin, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (len(begun), len(held)) == (1, 7)

    def test_a_run_that_another_process_has_ended_takes_nothing_any_more(self, store: Store, other: Store) -> None:
        view = added(store, PLAN, STARTED)
        finished = fold(view, events.Entry(view.id, 3, 200.0, FAILED))
        Journal(other).commit(
            lambda: Journal(other).append([events.Entry(view.id, 3, 200.0, FAILED)], finished, view.state)
        )
        journal = Journal(store)
        line = events.Entry(view.id, 4, 201.0, events.Log("still here"))
        entered = events.Entry(view.id, 4, 201.0, events.StageEntered(stage="Load", index=0))

        with pytest.raises(RunLost):
            journal.commit(lambda: journal.append([entered], fold(view, entered), view.state))
        with pytest.raises(RunLost):
            journal.beat(view)
        with pytest.raises(RunLost):
            journal.cancel_requested(view)
        journal.queue(line, view)
        with pytest.raises(RunLost):
            journal.flush()
        assert [entry.seq for entry in Records(other).entries(view.id)] == [1, 2, 3]
        assert Records(other).find("last") == finished

    def test_space_is_given_back_and_the_place_has_a_name(self, store: Store) -> None:
        store.commit(lambda: store.many(KEYS, [(1, f"{number} {'x' * 1000}") for number in range(2000)]))
        store.commit(lambda: store.change("DELETE FROM checkpoints"))
        before = store.size()
        store.vacuum()

        assert store.size() < before
        assert store.place
