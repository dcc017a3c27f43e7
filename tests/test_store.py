"""The databases that can hold a journal, each held against the one contract."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from stagerun import LiveOperation, Progress, events
from stagerun.authoring.finding import Found
from stagerun.engine.emitter import Emitter
from stagerun.engine.runner import Runner
from stagerun.errors import UsageError
from stagerun.journal.opening import open_journal
from stagerun.journal.reading import Records
from stagerun.journal.sqlite import files
from stagerun.journal.sqlite.store import SqliteStore
from stagerun.journal.store import Store
from stagerun.journal.writing import Journal
from stagerun.machine.interrupts import Interrupts
from stagerun.machine.settings import journal_file
from stagerun.text.masking import Masker
from tests.conftest import HandClock, Project
from tests.store_contract import StoreContract


_T = TypeVar("_T")


class TestSqlite(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Iterator[Callable[[], Store]]:
        opened = list[Store]()

        def open_it() -> Store:
            opened.append(open_journal(tmp_path / "journal.db", write=True))
            return opened[-1]

        yield open_it
        for store in opened:
            store.close()


class Twice(SqliteStore):
    """A database that loses its connection in each commit once, and does what was written again."""

    def commit(self, write: Callable[[], _T], *, wait: bool = True) -> _T:
        def again() -> _T:
            self.connection.execute("SAVEPOINT lost")
            write()
            self.connection.execute("ROLLBACK TO lost")
            return write()

        return super().commit(again, wait=wait)


class Ship(LiveOperation):
    stages = ["Pack"]

    def run(self, p: Progress) -> None:
        with p.stage("Pack"):
            for item in p.track(range(3), key="items"):
                p.log(f"item {item}")
            p.result(rows=p.checkpoint("rows", lambda: [1, 2]))
        p.chain_to(Arrive(owner=self.owner))


class Arrive(LiveOperation):
    def run(self, p: Progress) -> None:
        p.status("there")


def _without_chance(event: events.Event) -> events.Event:
    return replace(event, work="") if isinstance(event, events.RunCreated) else event


def test_what_is_written_again_after_a_lost_connection_is_there_once(tmp_path: Path) -> None:
    def written(kind: type[SqliteStore], path: Path) -> list[tuple[int, int, str, object]]:
        store, clock = kind(files.open_for_writing(path), path), HandClock().as_clock()
        interrupts, masker, records = Interrupts(), Masker(), Records(store)
        emitter = Emitter(Journal(store), [], clock, interrupts, masker)
        runner = Runner(outlet=emitter, memory=records, interrupts=interrupts, masker=masker, clock=clock)
        found = Found(operation=Ship, target="demo:Ship", recipe="demo", source=None)
        with closing(store):
            runner.run(found, Ship(owner="alice"))
            return [
                (each.run, each.seq, each.event.kind, _without_chance(each.event))
                for run in (1, 2)
                for each in records.entries(run)
            ]

    assert written(Twice, tmp_path / "twice.db") == written(SqliteStore, tmp_path / "once.db")


@pytest.mark.parametrize("place", ["postgresql://alice:hush@db/runs", "sqlite:///runs.db"])
def test_an_address_of_a_database_is_no_file(place: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        journal_file(place, tmp_path)

    scheme = place.partition(":")[0]
    assert raised.value.message == f"a journal is a file, it can't be kept at {scheme}://"


def test_a_database_is_refused_in_words_wherever_it_is_named_and_no_folder_is_made(project: Project) -> None:
    place = "postgresql://alice:hush@db/runs"
    told = "stagerun: a journal is a file, it can't be kept at postgresql://\n  use a path such as runs/journal.db\n"

    by_option = project.stagerun("history", "--journal", place)
    by_variable = project.stagerun("status", environ={"STAGERUN_JOURNAL": place})
    (project.root / "pyproject.toml").write_text(f"[tool.stagerun]\njournal = '{place}'\n")
    by_setting = project.stagerun("history")

    assert [(each.code, each.out, each.err) for each in (by_option, by_variable, by_setting)] == [(2, "", told)] * 3
    assert sorted(path.name for path in project.root.iterdir()) == ["pyproject.toml", "recipes"]
