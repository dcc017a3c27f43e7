"""A journal from elsewhere, which may hold anything: what any command says of it, and that nothing in it acts."""

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagerun.journal.reading import Records
from stagerun.journal.sqlite import files
from stagerun.journal.sqlite.store import SqliteStore
from stagerun.journal.store import Values
from tests.ci_parsers import PARSERS, controls
from tests.conftest import Done, Project, new_project
from tests.hostile import LINES
from tests.journals import change, select


RECIPE = """
import os

class First(LiveOperation):
    stages = ["Load", "Save"]
    source: str = "a"

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("one")
            p.log("two", level="warning")
            p.status("half", level="error")
            for _ in p.track(range(3), label="rows", key="loop"):
                pass
            p.checkpoint("stored", lambda: {"a": [1, 2.5, None]})
            p.map(str, range(3), key="strings")
        with p.stage("Save"), p.stage("beside"):
            p.percent(50)
        p.result({"count": 3, "names": ["x", "y"]})
        p.chain_to(Second(owner=self.owner))

class Second(LiveOperation):
    stages = ["Prepare", "Try"]

    def run(self, p: Progress) -> None:
        p.step("Prepare", int, "5")
        with p.stage("Try"):
            raise ValueError("boom")

class Third(LiveOperation):
    stages = ["Stop", "Never"]

    def run(self, p: Progress) -> None:
        with p.stage("Stop"):
            p.check_cancelled()
            raise OperationCancelled("SIGTERM")

class Fourth(LiveOperation):
    stages = ["Die"]

    def run(self, p: Progress) -> None:
        with p.stage("Die"):
            p.checkpoint("kept", lambda: 1)
            p.log("last words")
            p.status("dying")
            p.percent(20)
            p.checkpoint("kept too", lambda: 2)
            os._exit(9)
"""
RUNS: Final = 5
READING: Final = (
    *(("status", str(run)) for run in range(1, RUNS + 1)),
    ("status",),
    ("status", "1", "--json"),
    ("history",),
    ("history", "--json"),
    ("history", "--state", "crashed"),
    ("logs", "1"),
    ("logs", "1", "--timestamps"),
    ("logs", "1", "--tail", "2"),
    ("logs", "1", "--stages", "--follow"),
    ("logs", "5", "--stages"),
    ("status", "2", "--verbose"),
    ("resume", "2", "--dry-run", "--json"),
    ("logs", "1", "--json"),
    ("logs", "1", "--follow"),
    ("logs", "5", "--follow"),
    *(("watch", str(run)) for run in range(1, RUNS + 1)),
    ("watch", "1", "--progress", "json"),
    ("watch", "1", "--progress", "quiet"),
    *(("wait", str(run)) for run in range(1, RUNS + 1)),
    *(("export", "1", "--format", kind) for kind in ("junit", "markdown", "trace")),
    ("export", "5", "--format", "trace"),
    *(("resume", str(run), "--dry-run") for run in range(1, RUNS + 1)),
    ("resume", "--dry-run"),
    ("list",),
    ("show", "h:First"),
    ("doctor",),
)
WRITING: Final = (
    ("prune", "--keep", "1"),
    ("prune", "--before", "0s", "--state", "failed"),
    ("cancel", "5"),
    ("run", "h:Second"),
)


CODES: Final = (0, 1, 2, 3, 124, 129, 130, 143)


@dataclass(frozen=True)
class Place:
    """A column of a row, or what is at `path` in the JSON that it holds."""

    table: str
    key: tuple[object, ...]
    column: str
    path: tuple[str | int, ...] = ()


KEYS: Final = {
    "runs": ("id",),
    "stages": ("run_id", "position"),
    "events": ("run_id", "seq"),
    "checkpoints": ("run_id", "key", "part"),
    "cancel_requests": ("run_id",),
}


def _paths(value: object) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to each part of a JSON value."""
    yield ()
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from ((name, *path) for path in _paths(part))


def _places(journal: Path) -> list[Place]:
    found = []
    with closing(sqlite3.connect(journal)) as connection:
        connection.row_factory = sqlite3.Row
        for table, keys in KEYS.items():
            for row in connection.execute(f"SELECT * FROM {table}"):
                key = tuple(row[name] for name in keys)
                for column in row.keys():  # noqa: SIM118 - a row is not a mapping
                    found.append(Place(table, key, column))
                    if isinstance(row[column], str) and row[column][:1] in ("{", "["):
                        paths = _paths(json.loads(row[column]))
                        found += [Place(table, key, column, path) for path in paths if path]
    return found


class Raw(str):
    """JSON text that stands where a value would, whatever it is."""

    __slots__ = ()


class Undecodable(str):
    """Text that is stored with a byte in it that no UTF-8 has."""

    __slots__ = ()


GONE: Final = object()  # the row or the part of the JSON is not there

NUMBERS: Final = (*range(-1, RUNS + 2), 255, 256, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.5, -1.5, 1e15, 1e300, 9e999)
WORDS: Final = (
    "",
    "0",
    "running",
    "pending",
    "succeeded",
    "crashed",
    "active",
    "done",
    "log",
    "run_finished",
    "SIGTERM",
)
BROKEN: Final = ("{", "[]", "{}", "null", "5", '"', "[" * 100_000, '{"a":NaN}', '{"a":1e999,"b":"\\ud800"}', "\x00")
VALUES: Final = (
    st.sampled_from([None, GONE, True, b"\xff\x00", [], {}, *NUMBERS, *WORDS, *BROKEN])
    | st.sampled_from(LINES)
    | st.sampled_from([*map(Raw, ("NaN", "1e999", "-1e999", "1" * 5000, "[" * 5000 + "]" * 5000)), Undecodable("a")])
)


def _put(journal: Path, place: Place, value: Any) -> None:
    where = " AND ".join(f"{name} = ?" for name in KEYS[place.table])
    if value is GONE and not place.path:
        change(journal, f"DELETE FROM {place.table} WHERE {where}", *place.key)
        return
    if place.path:
        ((text,),) = select(journal, f"SELECT {place.column} FROM {place.table} WHERE {where}", *place.key) or [("{}",)]
        value = _with(text, place.path, value)
    elif isinstance(value, list | dict):
        value = json.dumps(value)
    mark = "CAST(? AS TEXT)" if isinstance(value, Undecodable) else "?"
    stored = str(value).encode() + b"\xff" if isinstance(value, Undecodable) else value
    with suppress(sqlite3.IntegrityError):  # even such a table takes only a number for an id
        change(journal, f"UPDATE OR IGNORE {place.table} SET {place.column} = {mark} WHERE {where}", stored, *place.key)


def _with(text: object, path: Sequence[str | int], value: Any) -> str:
    """Return the JSON `text` with `value` at `path`; as it is if there is no such place any more."""
    try:
        whole = part = json.loads(str(text))
        for step in path[:-1]:
            part = part[step]
        if value is GONE:
            del part[path[-1]]
        elif isinstance(value, Raw):
            part[path[-1]] = "RAW"
        else:
            part[path[-1]] = value.decode("latin-1") if isinstance(value, bytes) else value
    except (ValueError, LookupError, TypeError):
        return str(text)
    changed = json.dumps(whole)
    return changed.replace('"RAW"', value) if isinstance(value, Raw) else changed


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A chain of two, a resume of its failure, a cancelled run and a crashed one, in tables that take anything."""
    project = new_project(tmp_path_factory.mktemp("elsewhere"))
    project.recipe("h", RECIPE)
    codes = [
        project.stagerun(*arguments).code
        for arguments in (("run", "h:First"), ("resume", "2"), ("run", "h:Third"), ("run", "h:Fourth"))
    ]
    assert codes == [1, 1, -15, 9]
    with closing(sqlite3.connect(project.journal)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        loose = "replace(replace(replace(sql, ' STRICT, ', ' '), ' STRICT', ''), ' NOT NULL', '')"
        connection.execute(f"UPDATE sqlite_schema SET sql = {loose} WHERE type = 'table'")
        connection.execute("INSERT INTO cancel_requests VALUES (1, 1.0, 'alice')")
        connection.execute("UPDATE runs SET seen_on = seen_on - 3600")
    return project


def _done(project: Project, commands: Sequence[tuple[str, ...]]) -> dict[str, Done]:
    """Return how the commands end, which run at the same time."""
    environ = {"CI": "true", "NO_COLOR": "1"}
    started = {" ".join(command): project.start(*command, environ=environ) for command in commands}
    done = {}
    for name, command in started.items():
        with command:
            out, err = command.communicate(timeout=30)
        done[name] = Done(command.wait(), out, err)
    return done


def _wrong(command: str, done: Done) -> list[str]:
    found = ["a traceback"] if "Traceback (" in done.err else []
    for told in (done.out, done.err):
        found += [f"control {each!r}" for each in controls(told, colour=False)]
        found += [f"{system}: {each}" for system, parse in PARSERS.items() for each in parse(told.encode())]
    if command.startswith(("watch", "run")):
        found = [each for each in found if not each.startswith("buildkite: Command(name='---'")]  # the end of a stage
    return found if done.code in CODES else [*found, f"exit code {done.code}"]


def test_a_journal_that_is_only_elsewhere_can_be_read_by_all(elsewhere: Project, tmp_path: Path) -> None:
    project = elsewhere.copied(tmp_path)

    done = _done(project, READING) | _done(project, WRITING)

    assert {name: each.err for name, each in done.items() if each.code == 3} == {}
    assert {name: wrong for name, each in done.items() if (wrong := _wrong(name, each))} == {}


@pytest.fixture
def changed(elsewhere: Project, tmp_path: Path) -> Project:
    return elsewhere.copied(tmp_path)


def _told(project: Project, *arguments: str) -> Done:
    return project.stagerun(*arguments, environ={"NO_COLOR": "1"})


@pytest.mark.parametrize("link", ["chained_to = 1, chained_from = 1", "chained_to = 2, chained_from = 2"])
@pytest.mark.parametrize(
    "command",
    ["status 1", "logs -f 1", "watch 1", "wait 1", "resume 1 --dry-run", "export 1 --format junit", "history"],
)
def test_a_chain_that_leads_back_to_itself_ends_where_it_began(changed: Project, command: str, link: str) -> None:
    change(changed.journal, f"UPDATE runs SET {link} WHERE id = 1")
    change(changed.journal, "UPDATE runs SET chained_to = 1, chained_from = 1, resumed_from = 3 WHERE id = 2")
    data = "json_set(data, '$.chained_to', 1)"
    change(changed.journal, f"UPDATE events SET data = {data} WHERE kind = 'run_finished' AND run_id < 3")

    done = _told(changed, *command.split())

    assert (done.code in (0, 1), done.err) == (True, "")


SIGNAL: Final = "SIG\x1b]0;owned\x07"


@pytest.mark.parametrize(
    ("change_", "command", "why"),
    [
        ("runs SET state = 'flying' WHERE id = 3", "status 3", "runs.state: invalid enum value 'flying'"),
        ("runs SET params = '{' WHERE id = 3", "status 3", "runs.params: it is not JSON"),
        ("runs SET created_on = 1e300 WHERE id = 3", "status 3", "runs.created_on: expected `float` <= 253402214400.0"),
        ("runs SET created_on = 'x' WHERE id = 3", "status 3", "runs.created_on: expected `float`, got `str`"),
        ("runs SET pid = -1 WHERE id = 3", "status 3", "runs.pid: expected `int` >= 0"),
        ("runs SET current_stage = 7 WHERE id = 3", "status 3", "runs.current_stage: there is no stage 7"),
        ("stages SET name = 'Other' WHERE run_id = 3", "status 3", "stages: they are not those of the run"),
        (
            'runs SET progress = \'{"done": "x"}\' WHERE id = 3',
            "status 3",
            "runs.progress: expected `int | null`, got `str` - at `$.done`",
        ),
        (
            f"runs SET signal = '{SIGNAL}' WHERE id = 4",
            "status 4",
            "runs.signal: expected `str` matching regex '^SIG[A-Z0-9]{2,12}$'",
        ),
        (
            f"events SET data = json_set(data, '$.signal', '{SIGNAL}') WHERE run_id = 4 AND kind = 'run_finished'",
            "watch 4",
            "event 5: events.data: expected `str` matching regex '^SIG[A-Z0-9]{2,12}$' - at `$.signal`",
        ),
        (
            "events SET data = json_set(data, '$.level', '##vso[task.complete]') WHERE kind = 'log' AND run_id = 1",
            "logs 1",
            "event 4: events.data: invalid enum value '##vso[task.complete]' - at `$.level`",
        ),
        (
            "events SET data = json_set(data, '$.index', 9) WHERE kind = 'stage_entered' AND run_id = 3",
            "watch 3",
            "event 4: run 3 has no stage at position 9",
        ),
        ("events SET kind = 'x' WHERE kind = 'run_created' AND run_id = 3", "watch 3", None),
        (
            "runs SET exit_code = 0 WHERE id = 3",
            "wait 3",
            "runs.exit_code: a run that is failed can't have the exit code 0",
        ),
        (
            "checkpoints SET call = 'x' WHERE run_id = 3",
            "resume 3 --dry-run",
            "checkpoints.call: invalid enum value 'x'",
        ),
        ("runs SET exit_code = 256 WHERE id = 3", "wait 3", "runs.exit_code: expected `int` <= 255"),
    ],
)
def test_nonsense_is_one_sentence_with_the_file_the_run_and_the_column(
    changed: Project, change_: str, command: str, why: str | None
) -> None:
    change(changed.journal, f"UPDATE {change_}")

    done = _told(changed, *command.split())

    run = command.split()[1]
    why = why or "event 2: a run can't begin with run_started"
    told = f"stagerun: journal {changed.journal}: run {run} can't be read: {why}\n  other runs can: stagerun history\n"
    assert (done.code, done.err) == (3, told)


def test_a_history_shows_the_runs_that_can_be_read_and_says_which_can_not(changed: Project) -> None:
    whole = _told(changed, "history", "--json")
    change(changed.journal, "UPDATE runs SET state = 'flying' WHERE id = 2")
    change(changed.journal, "UPDATE runs SET owner = NULL WHERE id = 4")

    done = _told(changed, "history", "--json")

    assert json.loads(done.out) == [run for run in json.loads(whole.out) if run["id"] not in (2, 4)]
    assert (done.code, done.err.splitlines()) == (
        3,
        [
            f"stagerun: journal {changed.journal}: run 4 can't be read: runs.owner: expected `str`, got `null`",
            f"stagerun: journal {changed.journal}: run 2 can't be read: runs.state: invalid enum value 'flying'",
        ],
    )


def test_the_doctor_names_the_runs_that_can_not_be_read(changed: Project) -> None:
    change(changed.journal, "UPDATE runs SET state = 'flying' WHERE id = 2")

    done = _told(changed, "doctor", "--json")

    text = f"{changed.journal}: run 2 can't be read: runs.state: invalid enum value 'flying'"
    bad = [each["text"] for each in json.loads(done.out) if each["grade"] == "bad"]
    assert (done.code, bad) == (1, [text])


@pytest.mark.parametrize("command", ["status 1", "export 1 --format markdown"])
def test_a_chain_is_shown_as_far_as_it_can_be_read(changed: Project, command: str) -> None:
    change(changed.journal, "UPDATE runs SET state = 'flying' WHERE id = 2")

    done = _told(changed, *command.split())

    assert ("run 1" in done.out, "run 2" in done.out, "run 2 can't be read" in done.err, done.code) == (
        *(True, False, True),
        3,
    )


@pytest.mark.parametrize("command", ["watch 1", "watch 1 --progress json"])
def test_events_of_a_kind_that_a_newer_stagerun_knows_are_left_out(changed: Project, command: str) -> None:
    before = _told(changed, *command.split())
    # After the start of each run, by numbers that nothing else has.
    change(changed.journal, "UPDATE events SET seq = seq * 1000")
    change(changed.journal, "UPDATE checkpoints SET event_seq = event_seq * 1000")
    newer = "SELECT run_id, seq + 1, time, 'stage_dreamt', '{' FROM events WHERE kind = 'run_started'"
    change(changed.journal, f"INSERT INTO events {newer}")

    after = _told(changed, *command.split())
    assert Done(after.code, re.sub(r'("seq":\d+)000', r"\1", after.out), after.err) == before


@pytest.mark.parametrize("command", ["wait 3", "logs 3 -f", "watch 3"])
def test_a_run_whose_end_is_missing_among_its_events_is_not_waited_for(changed: Project, command: str) -> None:
    change(changed.journal, "DELETE FROM events WHERE run_id = 3 AND kind = 'run_finished'")

    done = _told(changed, *command.split())

    assert (done.code, done.err.splitlines()[0]) == (
        3,
        f"stagerun: journal {changed.journal}: run 3 can't be read: events: the one that ends it is missing",
    )


def test_a_damaged_run_that_seems_to_go_on_keeps_nobody_from_starting_another(changed: Project) -> None:
    change(changed.journal, "UPDATE runs SET params = '{' WHERE id = 5")
    (changed.root / "recipes" / "g.py").write_text(
        "from stagerun import LiveOperation\nclass G(LiveOperation):\n    def run(self, p): p.log('here')\n"
    )

    done = _told(changed, "run", "g")
    pruned = _told(changed, "prune", "--keep", "0", "--delete")

    assert (done.code, done.err, pruned.code) == (0, "", 0)
    assert select(changed.journal, "SELECT id FROM runs WHERE id IN (5, 6)") == [(5,)]


def test_a_run_that_is_pruned_while_it_is_read_is_not_taken_for_damaged(changed: Project) -> None:
    class Pruned(SqliteStore):
        """A journal in which another process deletes run 3 between two reads of it."""

        def rows(self, sql: str, values: Values = ()) -> list[sqlite3.Row]:
            if "FROM stages" in sql:
                for table, column in (("runs", "id"), ("stages", "run_id")):
                    change(changed.journal, f"DELETE FROM {table} WHERE {column} = 3")
            return super().rows(sql, values)

    with closing(Records(Pruned(files.open_for_reading(changed.journal), changed.journal))) as records:
        runs = records.history(limit=10)

    assert ([run.id for run in runs], records.damaged) == ([5, 4, 2, 1], [])


def test_bytes_that_are_no_utf_8_are_replaced(changed: Project) -> None:
    change(changed.journal, "UPDATE runs SET owner = CAST(x'61ff62' AS TEXT) WHERE id = 3")

    done = _told(changed, "history", "--json")

    assert (done.code, done.err) == (0, "")
    assert [run["owner"] for run in json.loads(done.out)] == ["alice", "alice", "a\ufffdb", "alice", "alice"]


def test_a_view_in_the_place_of_a_table_is_not_asked(changed: Project) -> None:
    endless = "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT * FROM n"
    change(changed.journal, "DROP TABLE runs")
    change(changed.journal, f"CREATE VIEW runs AS {endless}")

    assert _told(changed, "history") == Done(
        3,
        "",
        f"stagerun: journal {changed.journal}: it is damaged: a table is missing\n"
        "  move it aside, or name another file with --journal\n",
    )


def _try(elsewhere: Project, folder: Path, data: st.DataObject) -> None:
    place, value = data.draw(st.sampled_from(_places(elsewhere.journal))), data.draw(VALUES)
    commands = data.draw(st.lists(st.sampled_from((*READING, *WRITING)), min_size=6, max_size=6, unique=True))
    shutil.rmtree(folder / "project", ignore_errors=True)
    project = elsewhere.copied(folder)
    _put(project.journal, place, value)

    done = _done(project, commands)

    wrong = {name: (found, each.err[-2000:]) for name, each in done.items() if (found := _wrong(name, each))}
    assert wrong == {}, f"{place} = {value!r:.200}"


CHECKS: Final = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)


@settings(max_examples=25, suppress_health_check=CHECKS)
@given(data=st.data())
def test_whatever_a_journal_holds_no_command_falls_over_it_and_nothing_in_it_acts(
    elsewhere: Project, tmp_path: Path, data: st.DataObject
) -> None:
    _try(elsewhere, tmp_path, data)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@settings(max_examples=3000, suppress_health_check=CHECKS)
@given(data=st.data())
def test_of_thousands_of_nonsense_journals_none_makes_a_command_fall_over(
    elsewhere: Project, tmp_path: Path, data: st.DataObject
) -> None:
    _try(elsewhere, tmp_path, data)
