"""A journal that an older stagerun made: it is upgraded by the first command that writes, and goes on as it was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from stagerun.journal.sqlite import files
from tests import rebuild
from tests.conftest import Project
from tests.journals import make, select
from tests.processes import look


# Made by the first version: run 1 failed in its loop, run 2 resumed it and failed there too, run 3 succeeded.
OLD: Final = Path(__file__).parent / "old" / "journal-1.sql"
SHOP: Final = """
class Import(LiveOperation):
    stages = ["Load", "Process", "Save"]
    limit: int = 5

    def run(self, p):
        with p.stage("Load"):
            rows = p.checkpoint("rows", lambda: list(range(self.limit)))
        with p.stage("Process"):
            done = []
            for row in p.track(rows, key="process"):
                done.append(row)
        with p.stage("Save"):
            p.checkpoint("saved", lambda: True)
        p.result(rows=rows, done=done)
"""
TABLES: Final = ("runs", "stages", "events", "cancel_requests")


def _old(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
    return path


def _rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows, with the columns of the first version alone."""
    with closing(sqlite3.connect(":memory:")) as first:
        first.executescript(OLD.read_text(encoding="utf-8"))
        columns = {table: [name for _, name, *_ in first.execute(f"PRAGMA table_info({table})")] for table in TABLES}
    return {
        table: select(path, f"SELECT {', '.join(names)} FROM {table} ORDER BY 1, 2") for table, names in columns.items()
    }


def test_an_upgraded_journal_has_the_tables_of_a_new_one_and_all_its_rows(tmp_path: Path) -> None:
    old = _old(tmp_path / "old.db")
    make(tmp_path / "new.db")
    before = _rows(old)

    files.open_for_writing(old).close()

    columns = 'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM sqlite_schema m, '
    columns += "pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, c.cid"
    indexes = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY 1"
    assert select(old, columns) == select(tmp_path / "new.db", columns)
    assert select(old, indexes) == select(tmp_path / "new.db", indexes)
    assert _rows(old) == before
    assert rebuild.checkpoints(old) == rebuild.checkpoint_rows(old)
    assert select(old, "SELECT run_id, key, call, stage, done, total FROM checkpoints ORDER BY 1, 2") == [
        (1, "process", "track", "Process", 3, None),
        (1, "rows", "checkpoint", "Load", None, None),
        (2, "process", "track", "Process", 3, None),
        (2, "rows", "checkpoint", "Load", None, None),
        (3, "process", "track", "Process", 2, None),
        (3, "rows", "checkpoint", "Load", None, None),
        (3, "saved", "checkpoint", "Save", None, None),
    ]


@pytest.mark.parametrize("ref", ["1", "2"])
def test_a_run_of_an_old_journal_is_resumed(project: Project, ref: str) -> None:
    project.recipe("shop", SHOP)
    _old(project.journal)

    done = project.stagerun("resume", ref)

    assert (done.code, done.err) == (0, "")
    view = look(project, 4)
    assert (view.plan.resumed_from, view.plan.attempt, view.result_context) == (
        2,
        3,
        {"rows": [0, 1, 2, 3, 4], "done": [3, 4]},
    )


def test_a_run_of_an_old_journal_is_run_anew(project: Project) -> None:
    project.recipe("shop", SHOP)
    _old(project.journal)

    done = project.stagerun("rerun", "3")

    assert (done.code, done.err) == (0, "")
    assert look(project, 4).result_context == {"rows": [0, 1], "done": [0, 1]}


@pytest.mark.parametrize("arguments", [("status",), ("resume", "--dry-run"), ("rerun", "3", "--dry-run")], ids=" ".join)
def test_a_command_that_only_reads_leaves_an_old_journal_as_it_is(project: Project, arguments: tuple[str, ...]) -> None:
    _old(project.journal)

    done = project.stagerun(*arguments)

    assert (done.code, done.out) == (3, "")
    assert done.err == (
        f"stagerun: journal {project.journal} was made by an older stagerun\n"
        "  the next run or resume brings it up to date\n"
    )
    assert select(project.journal, "PRAGMA user_version") == [(1,)]
