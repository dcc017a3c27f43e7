"""The journal's file: how it is made, and what is refused without touching it."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from sqlite_utils import Database

from stagerun.errors import JournalError
from stagerun.journal.sqlite import files, schema
from tests.conftest import Done, Project
from tests.journals import reading


ONE: Final = """
class One(LiveOperation):
    stages = ["Only"]

    def run(self, p: Progress) -> None:
        with p.stage("Only"):
            p.log("here")
"""


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _contents(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder`, without what any reader of a WAL file leaves: -shm and an empty -wal."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if not file.name.endswith("-shm") and not (file.name.endswith("-wal") and file.stat().st_size == 0)
    }


def _journal(path: Path) -> Path:
    """Make a journal with one event in it, of a run that never was."""
    connection = files.open_for_writing(path)
    connection.execute("INSERT INTO events VALUES (0, 1, 0.0, 'log', '{}')")
    connection.close()
    return path


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
def test_folder_and_files_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / ".stagerun" / "journal.db"

    connection = files.open_for_writing(path)
    connection.execute("INSERT INTO events VALUES (0, 1, 0.0, 'log', '{}')")

    assert _mode(path.parent) == 0o700
    assert {file.name: _mode(file) for file in path.parent.iterdir() if file.name != ".gitignore"} == {
        "journal.db": 0o600,
        "journal.db-wal": 0o600,
        "journal.db-shm": 0o600,
    }
    connection.close()


def test_the_folder_tells_git_to_ignore_all_of_it(project: Project) -> None:
    project.recipe("recipe", ONE)

    assert project.stagerun("run", "recipe:One").code == 0

    assert {file.name: file.read_text() for file in project.journal.parent.iterdir() if file.suffix != ".db"} == {
        ".gitignore": "*\n"
    }


def test_a_gitignore_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".stagerun").mkdir()
    (tmp_path / ".stagerun" / ".gitignore").write_text("journal.db*\n")

    files.open_for_writing(tmp_path / ".stagerun" / "journal.db").close()

    assert (tmp_path / ".stagerun" / ".gitignore").read_text() == "journal.db*\n"


def test_a_journal_of_another_name_puts_no_gitignore_beside_it(tmp_path: Path) -> None:
    _journal(tmp_path / "data" / "runs.db")

    assert [file.name for file in (tmp_path / "data").iterdir()] == ["runs.db"]


def test_the_header_says_that_the_file_is_a_journal_its_version_and_wal(tmp_path: Path) -> None:
    header = _journal(tmp_path / "journal.db").read_bytes()[:100]

    assert header[68:72] == b"stgr"
    assert int.from_bytes(header[60:64]) == schema.VERSION
    assert header[18:20] == b"\x02\x02"


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)], ids=["full", "normal"])
def test_a_connection_for_writing_syncs_each_commit_unless_told_otherwise(
    tmp_path: Path, durable: bool, synchronous: int
) -> None:
    connection = files.open_for_writing(tmp_path / "journal.db", durable=durable)

    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    assert (mode, *connection.execute("PRAGMA synchronous").fetchone()) == ("wal", synchronous)
    connection.close()


@pytest.mark.parametrize(
    ("setting", "synchronous"), [("", 2), ('durability = "full"', 2), ('durability = "normal"', 1)]
)
def test_the_configuration_decides_how_durable_a_run_is(project: Project, setting: str, synchronous: int) -> None:
    (project.root / "pyproject.toml").write_text(f"[tool.stagerun]\n{setting}\n")
    project.recipe(
        "recipe",
        """
import gc
import sqlite3

class Ask(LiveOperation):
    def run(self, p: Progress) -> None:
        (connection,) = (each for each in gc.get_objects() if isinstance(each, sqlite3.Connection))
        p.result(synchronous=connection.execute("PRAGMA synchronous").fetchone()[0])
""",
    )

    assert project.stagerun("run", "recipe:Ask").code == 0

    assert project.records().find("last").result_context == {"synchronous": synchronous}


def test_a_connection_for_reading_cannot_write(tmp_path: Path) -> None:
    connection = files.open_for_reading(_journal(tmp_path / "journal.db"))

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM events")

    connection.close()


def test_sqlite_utils_opens_the_journal_while_a_run_has_it_open_and_lists_its_tables(tmp_path: Path) -> None:
    connection = files.open_for_writing(tmp_path / "journal.db")

    tables = Database(tmp_path / "journal.db", execute_plugins=False).table_names()

    assert set(tables) - {"sqlite_sequence"} == {
        *("runs", "stages", "events", "checkpoints", "cancel_requests", "tags", "_sqlite_migrations")
    }
    connection.close()


def test_an_empty_file_becomes_a_journal(project: Project) -> None:
    project.recipe("recipe", ONE)
    project.journal.parent.mkdir()
    project.journal.touch()

    assert project.stagerun("run", "recipe:One").code == 0

    assert project.records().find("last").finished_successfully


def test_an_empty_file_is_a_history_without_runs(project: Project) -> None:
    project.journal.parent.mkdir()
    project.journal.touch()

    assert project.stagerun("history", "--json") == Done(0, "[]\n", "")


def test_a_symlink_to_a_journal_is_that_journal(project: Project, tmp_path: Path) -> None:
    project.recipe("recipe", ONE)
    there = _journal(tmp_path / "there.db")
    project.journal.parent.mkdir()
    project.journal.symlink_to(there)

    done = project.stagerun("run", "recipe:One")

    assert (done.code, done.err) == (0, "")
    assert project.journal.is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["project", "there.db"]


def test_a_symlink_to_nothing_creates_nothing_where_it_points(project: Project, tmp_path: Path) -> None:
    project.recipe("recipe", ONE)
    project.journal.parent.mkdir()
    project.journal.symlink_to(tmp_path / "elsewhere.db")

    done = project.stagerun("run", "recipe:One")

    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"stagerun: journal {project.journal} can't be created: ")
    assert project.journal.is_symlink()
    assert [file.name for file in tmp_path.iterdir()] == ["project"]


def _text(path: Path) -> None:
    path.write_text("Dear diary,\n" * 500)


def _one_byte(path: Path) -> None:
    path.write_text("x")


def _random(path: Path) -> None:
    path.write_bytes(b"\x00\xff\x9c\x17" * 4096)


def _foreign(path: Path) -> None:
    with Database(path, execute_plugins=False) as database:
        database.table("orders").insert({"id": 1})
    database.close()


def _foreign_with_its_own_id(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 252006674")  # Fossil
    connection.close()


def _foreign_with_our_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA user_version = 1; CREATE TABLE runs (id INTEGER PRIMARY KEY)")
    connection.close()


def _foreign_left_open(path: Path) -> None:
    """A database whose program was killed: its newest commits are still in the write-ahead log."""
    code = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE orders (id); INSERT INTO orders VALUES (1)")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code, path], check=True)


def _foreign_half_written(path: Path) -> None:
    """A database whose program was killed in the middle of a transaction that it had begun to write."""
    _half_written(path, "CREATE TABLE orders (text)", "INSERT INTO orders VALUES (zeroblob(4000))")


def _half_written(path: Path, *statements: str) -> None:
    """Leave a rollback journal beside the file: the first statements are committed, the last is being written."""
    code = """
import os, sqlite3, sys
path, *statements, last = sys.argv[1:]
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("PRAGMA journal_mode = TRUNCATE")
for statement in statements:
    connection.execute(statement)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
for number in range(500):
    connection.execute(last)
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code, path, *statements], check=True)
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0


def _newer(path: Path) -> None:
    connection = sqlite3.connect(_journal(path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def _cut_in_the_header(path: Path) -> None:
    os.truncate(_journal(path), 50)


def _cut_after_a_page(path: Path) -> None:
    os.truncate(_journal(path), 4096)


def _cut_in_a_page(path: Path) -> None:
    os.truncate(_journal(path), 10_000)


NOT_OURS = "is an SQLite file of another program; it was left as it is"
NO_JOURNAL = "it is not a journal"
DAMAGED = "it is damaged"
REFUSED = [
    (_text, NO_JOURNAL),
    (_one_byte, NO_JOURNAL),
    (_random, NO_JOURNAL),
    (_foreign, NOT_OURS),
    (_foreign_with_its_own_id, NOT_OURS),
    (_foreign_with_our_version, NOT_OURS),
    (_foreign_left_open, NOT_OURS),
    (_foreign_half_written, NOT_OURS),
    (_newer, f"was made by a newer stagerun (version 99, this one knows {schema.VERSION})"),
    (_cut_in_the_header, DAMAGED),
    (_cut_after_a_page, DAMAGED),
    (_cut_in_a_page, DAMAGED),
]


@pytest.mark.parametrize(("make", "why"), REFUSED, ids=[make.__name__.strip("_") for make, _ in REFUSED])
@pytest.mark.parametrize("command", [("run", "recipe:One"), ("status",)], ids=" ".join)
def test_a_file_that_is_no_journal_of_ours_is_refused_with_its_path_and_a_hint_and_left_as_it_is(
    project: Project, command: tuple[str, ...], make: Callable[[Path], None], why: str
) -> None:
    project.recipe("recipe", ONE)
    project.journal.parent.mkdir()
    (project.journal.parent / ".gitignore").write_text("*\n")
    make(project.journal)
    before = _contents(project.journal.parent)

    done = project.stagerun(*command)

    problem, hint, end = done.err.split("\n")
    assert (done.code, done.out, end) == (3, "", "")
    assert problem.startswith("stagerun: ")
    assert str(project.journal) in problem
    assert problem.endswith(why)
    assert hint.endswith("name another file with --journal")
    assert _contents(project.journal.parent) == before


@pytest.mark.parametrize("command", [("run", "recipe:One"), ("status",)], ids=" ".join)
def test_a_folder_is_no_journal(project: Project, command: tuple[str, ...]) -> None:
    project.recipe("recipe", ONE)
    folder = project.root / "journal.db"
    folder.mkdir()

    done = project.stagerun(*command, "--journal", str(folder))

    assert (done.code, done.out) == (3, "")
    assert str(folder) in done.err
    assert "Traceback" not in done.err
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(project: Project) -> None:
    project.recipe("recipe", ONE)
    (project.root / "data").write_text("a file")

    done = project.stagerun("run", "recipe:One", "--journal", "data/journal.db")

    assert (done.code, done.out) == (3, "")
    assert "data/journal.db" in done.err
    assert "Traceback" not in done.err


def test_a_damaged_page_is_journal_trouble_and_never_a_traceback(project: Project) -> None:
    project.recipe("recipe", ONE)
    assert project.stagerun("run", "recipe:One").code == 0
    whole = project.journal.read_bytes()
    codes = dict[int, set[int]]()
    traces = list[str]()
    for start in range(0, len(whole), 4096):
        project.journal.write_bytes(whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :])
        for command in (("status",), ("logs", "1")):
            done = project.stagerun(*command)
            codes.setdefault(start, set()).add(done.code)
            traces += [done.err] if "Traceback" in done.err else []

    assert traces == []
    assert set().union(*codes.values()) == {0, 3}
    assert codes[0] == {3}


WRITE: Final = "INSERT INTO events VALUES (1, random(), 0.0, 'log', hex(zeroblob(2000)))"


@pytest.mark.parametrize("command", [("status",), ("history",), ("logs",), ("run", "recipe:One")], ids=" ".join)
def test_what_a_killed_process_left_half_written_is_undone_by_whoever_opens_the_journal_next(
    project: Project, command: tuple[str, ...]
) -> None:
    project.recipe("recipe", ONE)
    assert project.stagerun("run", "recipe:One").code == 0
    whole = project.stagerun("logs", "1", "--json")
    _half_written(project.journal, WRITE)

    done = project.stagerun(*command)

    assert (done.code, done.err) == (0, "")
    assert project.stagerun("logs", "1", "--json") == whole
    assert {file.name for file in project.journal.parent.iterdir()} <= {
        *("journal.db", "journal.db-wal", "journal.db-shm", "journal.db-journal", ".gitignore")
    }


def test_a_reader_that_is_open_survives_the_death_of_a_writer_without_a_write_ahead_log(tmp_path: Path) -> None:
    path = _journal(tmp_path / "journal.db")
    _half_written(path, WRITE)
    with reading(path) as records:
        before = records.version()
        _half_written(path, "DELETE FROM events", WRITE)

        assert records.history(limit=1) == []
        assert records.version() != before
        assert list(records.entries(0)) == []


_CREATOR: Final = """
import sys
from pathlib import Path
from stagerun.journal.sqlite import files
from stagerun.errors import JournalError
for line in sys.stdin:
    try:
        connection = files.open_for_writing(Path(line.rstrip()))
        connection.execute("SELECT * FROM runs").fetchall()
        connection.close()
        print("made", flush=True)
    except JournalError as error:
        print(error.message, flush=True)
"""


def test_processes_that_create_the_same_journal_at_once_all_get_it(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _CREATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for _ in range(4)
    ]
    answers = set[str]()
    for number in range(20):
        (tmp_path / str(number)).mkdir()
        folder = (tmp_path / str(number), tmp_path / str(number) / ".stagerun")[number % 2]
        for process in started:
            assert process.stdin is not None
            process.stdin.write(f"{folder / 'journal.db'}\n")
        for process in started:
            assert process.stdout is not None
            answers.add(process.stdout.readline().rstrip())
    for process in started:
        with process:
            process.communicate(timeout=60)

    assert answers == {"made"}


def test_a_file_that_can_not_be_opened_at_all_is_a_journal_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError) as caught:
        files.open_for_reading(tmp_path / "nowhere" / "journal.db")

    assert (
        caught.value.message
        == f"journal {tmp_path / 'nowhere' / 'journal.db'}: it can't be opened (No such file or directory)"
    )
