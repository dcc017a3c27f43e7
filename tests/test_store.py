"""The databases that can hold a journal, each held against the one contract."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagerun.errors import UsageError
from stagerun.journal.opening import open_journal
from stagerun.journal.store import Store
from stagerun.machine.settings import journal_file
from tests.conftest import Project
from tests.store_contract import StoreContract


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
