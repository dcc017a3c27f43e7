"""What `stagerun doctor` says of a machine, a journal and a recipes folder, well and unwell."""

import json
import os
import platform
import sqlite3
from contextlib import closing

import pytest

from stagerun import __version__
from stagerun.commands import doctor
from stagerun.commands.doctor import Finding
from stagerun.journal.sqlite import schema
from tests.conftest import Project
from tests.processes import GATE, open_gate, read_until, rows, running


QUICK = "class Quick(LiveOperation):\n    def run(self, p):\n        p.log('done')\n"


def _findings(project: Project, what: str, *arguments: str) -> tuple[int, list[tuple[str, str]]]:
    """Return the exit code, and the grade and text of all findings of one kind."""
    done = project.stagerun("doctor", "--json", *arguments)
    assert done.err == ""
    found = json.loads(done.out)
    assert {frozenset(each) for each in found} == {frozenset({"grade", "what", "text"})}
    return done.code, [(each["grade"], each["text"]) for each in found if each["what"] == what]


def _with_a_run(project: Project) -> None:
    project.recipe("quick", QUICK)
    assert project.stagerun("run", "quick").code == 0


def test_a_healthy_project_gets_one_line_for_each_thing_and_exit_0(project: Project) -> None:
    _with_a_run(project)

    done = project.stagerun("doctor")

    lines = done.out.splitlines()
    size = project.journal.stat().st_size
    assert (done.code, done.err) == (0, "")
    assert lines[0] == (f"ok    stagerun  {__version__} on Python {platform.python_version()}, {platform.system()}")
    assert lines[1].startswith(("ok    SQLite    ", "note  SQLite    "))
    assert lines[2:] == [
        f"ok    recipes   {project.root / 'recipes'}, 1 file",
        f"ok    journal   {project.journal}, {size:,} bytes",
        "ok    output    no terminal: runs print plain text; not in CI",
    ]


@pytest.mark.parametrize(
    ("version", "grade"),
    [
        ((3, 40, 1), "note"),
        ((3, 44, 5), "note"),
        ((3, 44, 6), "ok"),
        ((3, 45, 3), "note"),
        ((3, 50, 6), "note"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "note"),
        ((3, 51, 3), "ok"),
        ((3, 52, 0), "ok"),
    ],
)
def test_an_sqlite_that_can_damage_a_journal_gets_a_note(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], grade: str
) -> None:
    text = ".".join(map(str, version))
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    monkeypatch.setattr(sqlite3, "sqlite_version", text)

    (finding,) = [each for each in doctor._machine() if each.what == "SQLite"]

    warning = f"{text}: before 3.51.3 a very rare race can damage a journal that two processes write"
    assert finding == Finding(grade, "SQLite", text if grade == "ok" else warning)  # type: ignore[arg-type]


def test_a_project_without_a_recipes_folder_gets_a_note(project: Project) -> None:
    (project.root / ".stagerun").mkdir()
    (project.root / "recipes").rmdir()

    assert _findings(project, "recipes") == (0, [("note", f"there is no folder {project.root / 'recipes'}")])


def test_a_recipe_that_is_no_python_is_bad_and_its_line_named(project: Project) -> None:
    file = project.root / "recipes" / "broken.py"
    file.write_text("x = 1\ndef f(:\n")

    assert _findings(project, "recipe") == (1, [("bad", f"{file}, line 2: invalid syntax")])


def test_a_recipe_that_can_not_be_decoded_is_bad(project: Project) -> None:
    file = project.root / "recipes" / "binary.py"
    file.write_bytes(b"x = '\xff\xfe'\n")

    code, ((grade, text),) = _findings(project, "recipe")

    assert (code, grade, text.startswith(str(file))) == (1, "bad", True)


def test_a_recipe_named_as_a_module_of_python_gets_a_note(project: Project) -> None:
    file = project.recipe("json", QUICK)

    text = f"{file} has the name of a standard library module; imports find that one"
    assert _findings(project, "recipe") == (0, [("note", text)])


def test_no_recipe_is_imported(project: Project) -> None:
    project.recipe("eager", f"import pathlib\npathlib.Path('imported').touch()\n{QUICK}")

    assert _findings(project, "recipe") == (0, [])
    assert not (project.root / "imported").exists()


def test_a_journal_that_is_not_there_yet_is_fine_and_is_not_made(project: Project) -> None:
    assert _findings(project, "journal") == (0, [("ok", f"{project.journal}, not created yet")])
    assert not project.journal.parent.exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_journal_that_can_not_be_made_is_bad(project: Project) -> None:
    folder = project.root / "locked"
    folder.mkdir(mode=0o500)

    code, found = _findings(project, "journal", "--journal", str(folder / "journal.db"))

    text = f"{folder / 'journal.db'} can't be created: {folder} is read-only"
    assert (code, found) == (1, [("bad", text)])


def test_a_journal_below_a_file_can_not_be_made_and_is_bad(project: Project) -> None:
    (project.root / "file").touch()

    code, found = _findings(project, "journal", "--journal", str(project.root / "file" / "journal.db"))

    assert (code, [grade for grade, _ in found]) == (1, ["bad"])


def test_a_journal_that_is_a_folder_is_bad(project: Project) -> None:
    project.journal.mkdir(parents=True)

    code, found = _findings(project, "journal")

    assert (code, found[0][0]) == (1, "bad")


def test_a_file_that_is_no_database_is_bad_and_left_as_it_is(project: Project) -> None:
    project.journal.parent.mkdir()
    project.journal.write_text("a shopping list, and long enough to be read as a header\n" * 100)
    project.journal.chmod(0o600)
    before = project.journal.read_bytes()

    code, ((grade, text),) = _findings(project, "journal")

    assert (code, grade, text.count(str(project.journal))) == (1, "bad", 1)
    assert text.endswith(f"{project.journal}: it is not a journal")
    assert project.journal.read_bytes() == before


def test_a_database_of_another_program_is_bad_and_left_as_it_is(project: Project) -> None:
    project.journal.parent.mkdir()
    with closing(sqlite3.connect(project.journal)) as connection:
        connection.execute("CREATE TABLE theirs (id)")
    before = project.journal.read_bytes()

    code, found = _findings(project, "journal")

    text = f"{project.journal} is an SQLite file of another program; it was left as it is"
    assert (code, [grade for grade, _ in found]) == (1, ["bad"])
    assert text in found[0][1]
    assert project.journal.read_bytes() == before


def test_a_journal_of_a_newer_stagerun_is_bad(project: Project) -> None:
    _with_a_run(project)
    with closing(sqlite3.connect(project.journal)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")

    code, found = _findings(project, "journal")

    assert (code, [grade for grade, _ in found]) == (1, ["bad"])
    assert "was made by a newer stagerun" in found[0][1]


def test_a_file_that_holds_nothing_yet_is_fine_because_the_next_run_fills_it(project: Project) -> None:
    project.journal.parent.mkdir()
    project.journal.touch(0o600)

    code, found = _findings(project, "journal")
    _with_a_run(project)

    assert (code, [grade for grade, _ in found]) == (0, ["ok"])


def test_a_damaged_journal_is_bad(project: Project) -> None:
    _with_a_run(project)
    with closing(sqlite3.connect(project.journal)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with project.journal.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)

    code, found = _findings(project, "journal")

    assert (code, {grade for grade, _ in found}) == (1, {"bad"})
    assert found[0][1].startswith(f"{project.journal}: it is damaged: ")


def test_a_journal_that_others_may_read_is_bad_and_the_way_out_named(project: Project) -> None:
    _with_a_run(project)
    project.journal.chmod(0o644)

    text = f"{project.journal}: other users may read or write it (mode 644): chmod 600 {project.journal}"
    assert _findings(project, "journal") == (1, [("bad", text)])


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_journal_that_can_not_be_written_is_bad(project: Project) -> None:
    _with_a_run(project)
    project.journal.chmod(0o400)

    code, found = _findings(project, "journal")

    assert code == 1
    assert ("bad", f"{project.journal} can't be written") in found


def test_a_write_ahead_log_that_has_grown_large_gets_a_note(project: Project) -> None:
    _with_a_run(project)
    size = 64 * 1024 * 1024 + 1
    log = project.journal.with_name("journal.db-wal")
    log.touch(0o600)
    os.truncate(log, size)

    code, found = _findings(project, "journal")

    assert code == 0
    assert found[1:] == [("note", f"{log} has {size:,} bytes: a reader has kept it open for a long time")]


def test_doctor_looks_at_a_journal_that_a_run_is_writing(project: Project) -> None:
    project.recipe(
        "talker",
        GATE + "\nclass Talker(LiveOperation):\n    def run(self, p):\n        p.log('ready')\n        gate('go')\n",
    )

    with running(project, "run", "talker") as run:
        read_until(run, "ready")
        code, found = _findings(project, "journal")
        open_gate(project, "go")
        ended = run.wait(60)

    assert (code, [grade for grade, _ in found], ended) == (0, ["ok"], 0)
    assert rows(project, "SELECT state FROM runs") == [("succeeded",)]


def test_the_journal_that_an_option_names_is_the_one_looked_at(project: Project) -> None:
    other = project.root / "other.db"

    assert _findings(project, "journal", "--journal", str(other)) == (0, [("ok", f"{other}, not created yet")])


def test_a_ci_machine_is_recognised(project: Project) -> None:
    done = project.stagerun("doctor", environ={"CI": "true"})

    assert done.out.splitlines()[-1] == "ok    output    no terminal: runs print plain text; in CI (other)"


def test_the_text_names_the_same_findings_as_the_json(project: Project) -> None:
    (project.root / "recipes" / "broken.py").write_text("def f(:\n")

    text = project.stagerun("doctor")
    document = json.loads(project.stagerun("doctor", "--json").out)

    width = max(len(each["what"]) for each in document)
    assert text.code == 1
    assert text.out.splitlines() == [f"{each['grade']:4}  {each['what']:{width}}  {each['text']}" for each in document]


def test_a_hostile_file_name_can_not_write_to_the_terminal(project: Project) -> None:
    (project.root / "recipes" / "a\x1b[31m\nb.py").write_text("def f(:\n")

    done = project.stagerun("doctor")

    assert done.code == 1
    assert "\x1b" not in done.out
    assert all(line.startswith(("ok    ", "note  ", "bad   ")) for line in done.out.splitlines())
