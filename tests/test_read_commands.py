"""The commands that only read: status, history, logs, list and show, as text and as JSON."""

import errno
import json
import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from stagerun.reports.report import Report
from stagerun.text.paint import Paint
from tests.conftest import Project, new_project, timeless
from tests.processes import until


# The contract: every run is told with these keys, in this order.
KEYS = [
    *("id", "target", "recipe", "operation", "state", "owner", "params", "stages", "current_stage", "stage_states"),
    *("taken_over", "stage_seconds", "skipped", "not_entered", "percent", "loops", "status_text", "result_context"),
    *("error", "created_on", "started_on", "finished_on", "finished_successfully", "seconds", "exit_code", "signal"),
    *("chained_from", "chained_to", "resumed_from", "resumed_as", "root", "attempt", "tags", "once", "project"),
    *("folder", "host", "pid", "place", "worker"),
]
FORTY = {"done": None, "total": None, "percent": 40.0, "label": None, "unit": "item", "skipped": 0, "seconds": 0.0}
PENDING: dict[str, Any] = {
    "id": 1,
    "target": "orders:Import",
    "recipe": "orders",
    "operation": "Import",
    "owner": "alice",
    "params": {},
    "stages": ["Load", "Process", "Save"],
    "taken_over": {},
    "skipped": {},
    "not_entered": [],
    "percent": None,
    "loops": [],
    "status_text": None,
    "result_context": None,
    "error": None,
    "created_on": "TIME",
    "started_on": "TIME",
    "finished_on": "TIME",
    "seconds": "SECONDS",
    "signal": None,
    "chained_from": None,
    "chained_to": None,
    "resumed_from": None,
    "resumed_as": None,
    "root": 1,
    "attempt": 1,
    "tags": [],
    "once": None,
    "project": "PROJECT",
    "folder": ".",
    "host": "HOST",
    "pid": "PID",
    "place": None,
    "worker": None,
}

IMPORT = """
import os, signal, time
from pathlib import Path

class Import(LiveOperation):
    '''Load the orders, clean them, save them.

    In three stages.
    '''
    stages = ["Load", "Process", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("read 3 rows")
        with p.stage("Process"):
            {process}
        with p.stage("Save"):
            pass
        p.result(count=3)
"""
WAIT = 'p.percent(40); p.status("cleaning"); p.log("half way"); Path("ready").touch(); time.sleep(600)'


def _json(project: Project, *arguments: str) -> Any:
    done = project.stagerun(*arguments, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    return json.loads(done.out)


def _told(project: Project, *arguments: str) -> dict[str, Any]:
    """Return a run's document with what differs between two runs replaced by the name of its kind."""
    document: dict[str, Any] = _json(project, "status", *arguments)
    assert list(document) == KEYS
    for name in ("created_on", "started_on", "finished_on"):
        if document[name] is not None:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document[name])
            document[name] = "TIME"
    document["loops"] = [loop | {"seconds": 0.0} for loop in document["loops"]]
    assert all(seconds >= 0 for seconds in document["stage_seconds"].values())
    document["stage_seconds"] = list(document["stage_seconds"])
    if document["seconds"] is not None:
        assert document["seconds"] >= 0
        document["seconds"] = "SECONDS"
    assert isinstance(document["host"], str)
    assert isinstance(document["pid"], int)
    assert document["project"] == str(project.root)
    return document | {"host": "HOST", "pid": "PID", "project": "PROJECT"}


@contextmanager
def _working(project: Project) -> Iterator[Callable[[signal.Signals], None]]:
    """Start orders:Import, which stops in its second stage; yield how to end it by a signal."""
    project.recipe("orders", IMPORT.format(process=WAIT))
    with project.start("run", "orders:Import") as process:

        def end(number: signal.Signals) -> None:
            process.send_signal(number)
            process.communicate(timeout=60)
            assert process.returncode == -number

        def is_journaled() -> bool:
            records = project.records()
            return any(getattr(entry.event, "text", "") == "half way" for entry in records.entries(1))

        try:
            until((project.root / "ready").exists)
            until(is_journaled)
            yield end
        finally:
            process.kill()
            process.communicate(timeout=60)


def test_status_of_a_succeeded_run(project: Project) -> None:
    project.recipe("orders", IMPORT.format(process="pass"))
    project.stagerun("run", "orders:Import")

    done = project.stagerun("status")

    assert (done.code, done.err) == (0, "")
    assert timeless(done.out) == (
        "run 1  orders:Import  succeeded in 0.0s  just now  by alice\n"
        "  ✓ Load     0.0s\n"
        "  ✓ Process  0.0s\n"
        "  ✓ Save     0.0s\n"
        "  count=3\n"
    )
    assert _told(project) == PENDING | {
        "state": "succeeded",
        "current_stage": 2,
        "stage_states": {"Load": "done", "Process": "done", "Save": "done"},
        "stage_seconds": ["Load", "Process", "Save"],
        "result_context": {"count": 3},
        "finished_successfully": True,
        "exit_code": 0,
    }


def test_status_of_a_failed_run(project: Project) -> None:
    file = project.recipe("orders", IMPORT.format(process='raise ValueError("boom\\nat noon")'))
    project.stagerun("run", "orders:Import")
    line = file.read_text().splitlines().index('            raise ValueError("boom\\nat noon")') + 1

    done = project.stagerun("status")

    assert (done.code, done.err) == (0, "")
    assert timeless(done.out) == (
        "run 1  orders:Import  failed after 0.0s  just now  by alice\n"
        "  ✓ Load     0.0s\n"
        "  ✗ Process  0.0s  ValueError: boom\n"
        "  ○ Save\n"
        "resume with: stagerun resume 1\n"
    )
    assert _told(project) == PENDING | {
        "state": "failed",
        "current_stage": 1,
        "stage_states": {"Load": "done", "Process": "failed", "Save": "pending"},
        "stage_seconds": ["Load", "Process"],
        "error": {
            "type": "ValueError",
            "message": "boom\nat noon",
            "stage": "Process",
            "traceback": "Traceback (most recent call last):\n"
            f'  File "{file.resolve()}", line {line}, in run\n'
            '    raise ValueError("boom\\nat noon")\n'
            "ValueError: boom\nat noon",
        },
        "finished_successfully": False,
        "exit_code": 1,
    }


def test_status_of_a_run_that_failed_outside_any_stage(project: Project) -> None:
    project.recipe("orders", "class Import(LiveOperation):\n    def run(self, p): p.error('no rows')\n")
    project.stagerun("run", "orders:Import")

    assert timeless(project.stagerun("status").out) == (
        "run 1  orders:Import  failed after 0.0s  just now  by alice\n  no rows\nresume with: stagerun resume 1\n"
    )
    assert _told(project)["error"] == {"type": "", "message": "no rows", "stage": None, "traceback": None}


def test_status_of_a_running_run(project: Project) -> None:
    with _working(project):
        done = project.stagerun("status")
        told = _told(project)

    assert (done.code, done.err) == (0, "")
    assert re.sub(r", about .* left", "", timeless(done.out)) == (
        "run 1  orders:Import  running for 0.0s  by alice\n"
        "  ✓ Load     0.0s\n"
        "  ● Process  0.0s\n"
        "  ○ Save\n"
        "  Process: 40%\n"
        "  Process: cleaning\n"
    )
    assert told == PENDING | {
        "state": "running",
        "current_stage": 1,
        "stage_states": {"Load": "done", "Process": "active", "Save": "pending"},
        "stage_seconds": ["Load", "Process"],
        "percent": 40,
        "loops": [FORTY],
        "status_text": "cleaning",
        "finished_on": None,
        "finished_successfully": False,
        "seconds": None,
        "exit_code": None,
    }


def test_status_of_a_cancelled_run(project: Project) -> None:
    with _working(project) as end:
        end(signal.SIGTERM)

    done = project.stagerun("status")

    assert (done.code, done.err) == (0, "")
    assert timeless(done.out) == (
        "run 1  orders:Import  cancelled by SIGTERM after 0.0s  just now  by alice\n"
        "  ✓ Load     0.0s\n"
        "  ⊘ Process  0.0s\n"
        "  ○ Save\n"
        "  Process: 40%\n"
        "resume with: stagerun resume 1\n"
    )
    assert _told(project) == PENDING | {
        "state": "cancelled",
        "current_stage": 1,
        "stage_states": {"Load": "done", "Process": "cancelled", "Save": "pending"},
        "stage_seconds": ["Load", "Process"],
        "percent": 40,
        "loops": [FORTY],
        "status_text": "cleaning",
        "finished_successfully": False,
        "exit_code": 143,
        "signal": "SIGTERM",
    }


def test_status_of_a_crashed_run_keeps_the_stage_it_died_in_and_its_last_line(project: Project) -> None:
    with _working(project) as end:
        end(signal.SIGKILL)

    done = project.stagerun("status")

    assert (done.code, done.err) == (0, "")
    assert timeless(done.out) == (
        "run 1  orders:Import  crashed after 0.0s  just now  by alice\n"
        "  ✓ Load     0.0s\n"
        "  ✗ Process  0.0s  the process ended without a word\n"
        "  ○ Save\n"
        "  Process: 40%\n"
        "  last line: half way\n"
        "resume with: stagerun resume 1\n"
    )
    assert _told(project) == PENDING | {
        "state": "crashed",
        "current_stage": 1,
        "stage_states": {"Load": "done", "Process": "failed", "Save": "pending"},
        "stage_seconds": ["Load", "Process"],
        "percent": 40,
        "loops": [FORTY],
        "status_text": "cleaning",
        "error": {"type": "", "message": "the process ended without a word", "stage": "Process", "traceback": None},
        "finished_successfully": False,
        "exit_code": 1,
    }


CHAIN = """
class First(LiveOperation):
    stages = ["One"]

    def run(self, p: Progress) -> None:
        with p.stage("One"):
            p.chain_to(Second(owner=self.owner))

class Second(LiveOperation):
    stages = ["Two"]

    def run(self, p: Progress) -> None:
        with p.stage("Two"):
            p.chain_to(Third(owner=self.owner))

class Third(LiveOperation):
    stages = ["Three"]

    def run(self, p: Progress) -> None:
        with p.stage("Three"):
            raise SystemExit(4)
"""


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("chained"))
    project.recipe("chain", CHAIN)
    project.stagerun("run", "chain:First", "--owner", "bob")
    return project


@pytest.mark.parametrize("link", ["1", "2", "3", "last"])
def test_status_of_any_link_shows_the_whole_chain(chained: Project, link: str) -> None:
    assert timeless(chained.stagerun("status", link).out) == (
        "run 1  chain:First  succeeded in 0.0s  just now  by bob\n"
        "  ✓ One  0.0s\n"
        "run 2  chain:Second  succeeded in 0.0s  just now  by bob  chained from run 1\n"
        "  ✓ Two  0.0s\n"
        "run 3  chain:Third  failed after 0.0s  just now  by bob  chained from run 2\n"
        "  ✗ Three  0.0s  SystemExit: 4\n"
        "resume with: stagerun resume 3\n"
    )


def test_status_as_json_links_each_run_to_the_one_before_and_after(chained: Project) -> None:
    links = [_json(chained, "status", link) for link in "123"]

    assert [(each["id"], each["chained_from"], each["chained_to"]) for each in links] == [
        (1, None, 2),
        (2, 1, 3),
        (3, 2, None),
    ]


def test_what_is_read_needs_no_recipe_any_more(project: Project) -> None:
    file = project.recipe("orders", IMPORT.format(process="pass"))
    project.stagerun("run", "orders:Import")
    before = [project.stagerun(*command.split()).out for command in ("status --json", "history --json", "logs")]

    file.write_text("raise SystemExit(1)")

    assert before == [project.stagerun(*each.split()).out for each in ("status --json", "history --json", "logs")]


TWO = """
class Good(LiveOperation):
    stages = ["Only"]

    def run(self, p: Progress) -> None:
        with p.stage("Only"):
            p.log("good")

class Bad(LiveOperation):
    stages = ["First", "Second"]

    def run(self, p: Progress) -> None:
        with p.stage("First"):
            pass
        raise ValueError("bad")
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Four runs: 1 Good by alice, 2 Bad by alice, 3 Good by bob, 4 other's Good by bob."""
    project = new_project(tmp_path_factory.mktemp("runs"))
    project.recipe("orders", TWO)
    project.recipe("other", TWO)
    project.stagerun("run", "orders:Good")
    project.stagerun("run", "orders:Bad")
    project.stagerun("run", "orders:Good", "--owner", "bob")
    project.stagerun("run", "other:Good", "--owner", "bob")
    return project


def test_history_is_a_table_newest_first(runs: Project) -> None:
    done = runs.stagerun("history")

    assert (done.code, done.err) == (0, "")
    assert timeless(done.out) == (
        "id  target       state      stages  when      took  owner\n"
        "4   other:Good   succeeded  1/1     just now  0.0s  bob\n"
        "3   orders:Good  succeeded  1/1     just now  0.0s  bob\n"
        "2   orders:Bad   failed     1/2     just now  0.0s  alice\n"
        "1   orders:Good  succeeded  1/1     just now  0.0s  alice\n"
    )


def test_history_leaves_out_columns_that_a_terminal_has_no_room_for(runs: Project) -> None:
    with closing(runs.records()) as records:
        view = records.history(limit=1)[0]
    report = Report(now=view.created_on, paint=Paint(colour=False, unicode=True))

    heads = [next(report.history([view], width)).split() for width in (None, 56, 55, 49, 41, 35, 10)]

    assert heads == [
        ["id", "target", "state", "stages", "when", "took", "owner"],
        ["id", "target", "state", "stages", "when", "took", "owner"],
        ["id", "target", "state", "stages", "when", "took"],
        ["id", "target", "state", "stages", "when", "took"],
        ["id", "target", "state", "when", "took"],
        ["id", "target", "state", "when"],
        ["id", "target", "state"],
    ]


def test_history_as_json_holds_the_documents_of_status(runs: Project) -> None:
    assert _json(runs, "history") == [_json(runs, "status", ref) for ref in "4321"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("--state failed", [2]),
        ("--state succeeded", [4, 3, 1]),
        ("--state SUCCEEDED --owner alice", [1]),
        ("--state crashed", []),
        ("--state timed-out", []),
        ("--operation Good", [4, 3, 1]),
        ("--operation orders:Good", [3, 1]),
        ("--owner bob", [4, 3]),
        ("--owner nobody", []),
        ("--owner bob --operation orders:Good", [3]),
        ("--limit 2", [4, 3]),
        ("--limit 1 --operation orders:Good --owner alice", [1]),
        ("--since 1h", [4, 3, 2, 1]),
        ("--since 2026-01-01", [4, 3, 2, 1]),
        ("--since 9999-01-01", []),
        ("--since 9998-12-31T10:00:00Z", []),
    ],
)
def test_history_keeps_only_what_its_filters_name(runs: Project, arguments: str, found: list[int]) -> None:
    assert [each["id"] for each in _json(runs, "history", *arguments.split())] == found


def test_the_filters_of_history_can_stand_in_the_environment(runs: Project) -> None:
    done = runs.stagerun("history", "--json", environ={"STAGERUN_OWNER": "bob", "STAGERUN_LIMIT": "1"})

    assert [each["id"] for each in json.loads(done.out)] == [4]


def test_json_can_be_asked_for_in_the_environment_like_every_option(runs: Project) -> None:
    done = runs.stagerun("history", "--limit", "1", environ={"STAGERUN_JSON": "1"})

    assert [each["id"] for each in json.loads(done.out)] == [4]


def test_history_shows_15_runs_unless_told_otherwise(project: Project) -> None:
    project.recipe(
        "links",
        """
class Link(LiveOperation):
    left: int

    def run(self, p: Progress) -> None:
        if self.left:
            p.chain_to(Link(left=self.left - 1))
""",
    )
    project.stagerun("run", "links", "--left", "16")

    assert [each["id"] for each in _json(project, "history")] == list(range(17, 2, -1))
    assert len(_json(project, "history", "--limit", "100")) == 17


def test_history_of_a_crash_tells_it_and_finds_it_by_its_state(project: Project) -> None:
    with _working(project) as end:
        assert [each["id"] for each in _json(project, "history", "--state", "running")] == [1]
        end(signal.SIGKILL)

    assert [each["state"] for each in _json(project, "history")] == ["crashed"]
    assert [each["id"] for each in _json(project, "history", "--state", "crashed")] == [1]
    assert _json(project, "history", "--state", "running") == []


@pytest.mark.parametrize("command", ["history", "list"])
def test_where_nothing_is_there_json_is_an_empty_list_and_text_says_so_on_stderr(
    project: Project, command: str
) -> None:
    text = project.stagerun(command)

    assert _json(project, command) == []
    assert (text.code, text.out) == (0, "")
    assert text.err.startswith("no ")
    assert not (project.root / ".stagerun").exists()


@pytest.mark.parametrize("command", ["status", "status --json", "logs", "logs --json", "status 1"])
def test_a_run_asked_for_before_there_is_any_is_a_usage_error_that_says_how_to_start_one(
    project: Project, command: str
) -> None:
    done = project.stagerun(*command.split())

    assert (done.code, done.out, done.err) == (
        2,
        "",
        f"stagerun: there are no runs yet: {project.journal} does not exist\n  start one: stagerun run TARGET\n",
    )
    assert not (project.root / ".stagerun").exists()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("", 4),
        ("last", 4),
        ("last~0", 4),
        ("last~1", 3),
        ("last~3", 1),
        ("2", 2),
        ("002", 2),
        ("--operation Bad", 2),
        ("last --operation Bad", 2),
        ("last~1 --operation Good", 3),
        ("--operation orders:Good last~1", 1),
    ],
)
def test_a_ref_names_a_run(runs: Project, arguments: str, found: int) -> None:
    assert _json(runs, "status", *arguments.split())["id"] == found


@pytest.mark.parametrize(
    ("ref", "message", "hint"),
    [
        ("9", "there is no run 9 in {journal}", "the newest is 4"),
        ("0", "there is no run 0 in {journal}", "the newest is 4"),
        ("9" * 30, f"there is no run {'9' * 30} in {{journal}}", "the newest is 4"),
        ("last~4", "there is no run last~4", "see 'stagerun history'"),
        ("first", "'first' is not a run", "name a run by its id, or as last, last~1, last~2"),
        ("last~x", "'last~x' is not a run", "name a run by its id, or as last, last~1, last~2"),
        ("1~1", "'1~1' is not a run", "name a run by its id, or as last, last~1, last~2"),
        ("²", "'²' is not a run", "name a run by its id, or as last, last~1, last~2"),
    ],
)
def test_a_ref_that_names_no_run_is_a_usage_error(runs: Project, ref: str, message: str, hint: str) -> None:
    done = runs.stagerun("status", ref)

    assert (done.code, done.out, done.err) == (2, "", f"stagerun: {message.format(journal=runs.journal)}\n  {hint}\n")


LINES = """
import logging, sys, warnings

class Talk(LiveOperation):
    stages = ["Only"]

    def run(self, p: Progress) -> None:
        with p.stage("Only"):
            p.log("from p")
            print("printed")
            print("to stderr", file=sys.stderr)
            logging.getLogger("shop").error("logged")
            p.log("two\\nlines", level="warning")
            print("\\x1b[2Junsafe\\u202e [red]plain[/red]")
            print("no line end", end="")
"""


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("talked"))
    project.recipe("talk", LINES)
    project.stagerun("run", "talk")
    return project


def test_logs_are_the_lines_of_a_run_in_their_order(talked: Project) -> None:
    done = talked.stagerun("logs", "1")

    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "from p\n"
        "printed\n"
        "to stderr\n"
        "error: logged\n"
        "warning: two\n"
        "warning: lines\n"
        "\\x1b[2Junsafe\\u202e [red]plain[/red]\n"
        "no line end\n"
    )


def test_logs_with_timestamps_have_the_time_before_each_line(talked: Project) -> None:
    done = talked.stagerun("logs", "--timestamps")

    lines = done.out.splitlines()
    stamps = [line.partition(" ")[0] for line in lines]
    assert [line.partition(" ")[2] for line in lines] == talked.stagerun("logs").out.splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp) for stamp in stamps)
    assert stamps == sorted(stamps)


def test_logs_as_json_hold_place_time_text_level_and_stream(talked: Project) -> None:
    told = _json(talked, "logs")

    assert [list(each) for each in told] == [["seq", "time", "line", "level", "stream"]] * 8
    assert [(each["line"], each["level"], each["stream"]) for each in told] == [
        ("from p", "info", None),
        ("printed", "info", "stdout"),
        ("to stderr", "info", "stderr"),
        ("logged", "error", "shop"),
        ("two", "warning", None),
        ("lines", "warning", None),
        ("\x1b[2Junsafe\u202e [red]plain[/red]", "info", "stdout"),
        ("no line end", "info", "stdout"),
    ]
    numbers = [each["seq"] for each in told]
    assert numbers == sorted(set(numbers))


def test_logs_of_a_silent_run_are_nothing(runs: Project) -> None:
    done = runs.stagerun("logs", "2")

    assert (done.code, done.out, done.err) == (0, "", "")
    assert _json(runs, "logs", "2") == []


def test_logs_are_those_of_the_run_that_is_named(runs: Project) -> None:
    assert runs.stagerun("logs", "--operation", "Good").out == "good\n"
    assert runs.stagerun("logs", "last~2").out == ""


LISTED = """
from typing import Annotated
from msgspec import Meta

raise SystemExit("a listing imports nothing")

class Zebra(LiveOperation):
    def run(self, p): ...

class Import(LiveOperation):
    '''Load the orders, clean them, save them.

    In three stages.
    '''
    stages = ["Load", "Save"]
    rows: Annotated[int, Meta(ge=1), "how many"] = 5
    def run(self, p): ...

class _Private(LiveOperation):
    def run(self, p): ...

class NoOperation:
    def run(self, p): ...
"""


def test_list_shows_what_each_operation_does_names_a_file_that_is_broken_and_imports_nothing(project: Project) -> None:
    project.recipe("orders", LISTED)
    project.recipe("_hidden", LISTED)
    broken = project.recipe("broken", "def f(:")

    done = project.stagerun("list")

    assert (done.code, done.err) == (0, f"stagerun: {broken}, line 2: invalid syntax\n")
    assert done.out == "orders\n  orders:Import  Load the orders, clean them, save them.\n  orders:Zebra\n"


def test_list_tells_how_the_last_run_ended_and_how_long_one_takes(runs: Project) -> None:
    assert timeless(runs.stagerun("list").out) == (
        "orders\n  orders:Bad   failed just now\n  orders:Good  succeeded just now  usually 0.0s\n"
        "other\n  other:Bad\n  other:Good   succeeded just now  usually 0.0s\n"
    )


@pytest.fixture
def acme(project: Project) -> Project:
    """A project in whose environment a package is installed that has recipes."""
    site = project.root / "site"
    (site / "acme" / "jobs").mkdir(parents=True)
    (site / "acme" / "__init__.py").write_text("print('imported')\n")
    (site / "acme" / "jobs" / "__init__.py").touch()
    code = "from stagerun import LiveOperation\n"
    code += "".join(f"class {name}(LiveOperation):\n    def run(self, p): ...\n" for name in ("Purge", "Sweep"))
    (site / "acme" / "jobs" / "clean.py").write_text(f'"""Cleaning up."""\n{code}')
    (site / "acme-1.0.dist-info").mkdir()
    (site / "acme-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (site / "acme-1.0.dist-info" / "entry_points.txt").write_text(
        "[stagerun.recipes]\ncleaning = acme.jobs.clean\nsweep = acme.jobs.clean:Sweep\ngone = acme.no\n"
    )
    project.environ["PYTHONPATH"] = str(site)
    return project


def test_recipes_of_an_installed_package_are_listed_without_importing_it_and_are_run_by_their_names(
    acme: Project,
) -> None:
    listed = acme.stagerun("list")
    ran = [acme.stagerun("run", target) for target in ("cleaning:Purge", "sweep", "cleanin")]

    assert (listed.code, listed.err) == (0, "")
    assert listed.out == (
        "cleaning  Cleaning up.  (package acme)\n  cleaning:Purge\n  cleaning:Sweep\n"
        "sweep  Cleaning up.  (package acme)\n  sweep:Sweep\n"
    )
    assert [each.code for each in ran] == [0, 0, 2]
    assert [each["target"] for each in _json(acme, "history")] == ["sweep:Sweep", "cleaning:Purge"]
    assert ran[2].err == "stagerun: there is no recipe 'cleanin'\n  did you mean 'cleaning'?\n"


def test_list_as_json_tells_target_help_stages_and_place(project: Project) -> None:
    file = project.recipe("orders", LISTED)

    assert _json(project, "list") == [
        {
            "target": "orders:Import",
            "recipe": "orders",
            "title": "",
            "package": None,
            "help": "Load the orders, clean them, save them.",
            "stages": ["Load", "Save"],
            "parameters": [
                {"name": "rows", "type": "int", "required": False, "default": 5, "choices": [], "help": "how many"}
                | {"bounds": {"ge": 1}, "item_bounds": {}}
            ],
            "source": str(file),
            "line": 11,
            "last": None,
            "usual_seconds": None,
        },
        {"target": "orders:Zebra", "recipe": "orders", "title": "", "package": None, "help": "", "stages": []}
        | {"parameters": [], "source": str(file), "line": 8, "last": None, "usual_seconds": None},
    ]


SHOWN = """
from pathlib import Path
from typing import Annotated, Literal

class Import(LiveOperation):
    '''Load the orders, clean them, save them.

    In two stages.
    '''
    stages = ["Load", "Save"]
    source: Annotated[Path, "the file with the orders"]
    limit: int = 1000
    clean: bool = True
    speed: Literal["fast", "safe"] = "safe"
    tags: list[str] = ()
    api_key: Secret | None = None

    def run(self, p: Progress) -> None:
        for name in self.stages:
            with p.stage(name):
                pass
"""


def test_show_tells_parameters_stages_and_usual_durations(project: Project) -> None:
    file = project.recipe("orders", SHOWN)
    before = project.stagerun("show", "orders")
    project.stagerun("run", "orders", "--source", "a.csv")

    after = project.stagerun("show", "orders:Import")

    assert (before.code, before.err, after.code, after.err) == (0, "", 0, "")
    assert timeless(after.out) == (
        "orders:Import\n"
        "  Load the orders, clean them, save them.\n"
        "\n"
        "  In two stages.\n"
        "stages:\n"
        "  1. Load  usually 0.0s\n"
        "  2. Save  usually 0.0s\n"
        "parameters:\n"
        "  --source            path         the file with the orders; required\n"
        "  --limit             int          default 1000\n"
        "  --clean/--no-clean  bool         default True\n"
        "  --speed             literal      one of fast, safe; default safe\n"
        "  --tags              list of str\n"
        "  --api-key-file      secret\n"
        f"source: {file.resolve()}\n"
    )
    assert before.out == timeless(after.out).replace("  usually 0.0s", "")


def test_show_as_json_tells_the_same(project: Project) -> None:
    file = project.recipe("orders", SHOWN)
    project.stagerun("run", "orders", "--source", "a.csv")

    told = _json(project, "show", "orders")

    expected = told.pop("expected_seconds")
    assert list(expected) == ["Load", "Save"]
    assert all(seconds >= 0 for seconds in expected.values())
    assert [(each.pop("bounds"), each.pop("item_bounds")) for each in told["parameters"]] == [({}, {})] * 6
    assert told == {
        "target": "orders:Import",
        "help": "Load the orders, clean them, save them.\n\nIn two stages.",
        "stages": ["Load", "Save"],
        "parameters": [
            {
                "name": "source",
                "type": "path",
                "required": True,
                "default": None,
                "choices": [],
                "help": "the file with the orders",
            },
            {"name": "limit", "type": "int", "required": False, "default": 1000, "choices": [], "help": ""},
            {"name": "clean", "type": "bool", "required": False, "default": True, "choices": [], "help": ""},
            {
                "name": "speed",
                "type": "literal",
                "required": False,
                "default": "safe",
                "choices": ["fast", "safe"],
                "help": "",
            },
            {"name": "tags", "type": "list of str", "required": False, "default": [], "choices": [], "help": ""},
            {"name": "api_key", "type": "secret", "required": False, "default": None, "choices": [], "help": ""},
        ],
        "source": str(file.resolve()),
    }


BOUNDED = """
from typing import Annotated
from msgspec import Meta

class Bounded(LiveOperation):
    workers: Annotated[int, Meta(ge=1, lt=65), "how many at once"] = 4
    pages: Annotated[list[Annotated[int, Meta(multiple_of=2)]], Meta(min_length=1)]

    def run(self, p: Progress) -> None:
        p.log("never")
"""


def test_show_tells_the_bounds_of_a_parameter(project: Project) -> None:
    project.recipe("bounded", BOUNDED)

    shown = project.stagerun("show", "bounded").out.splitlines()
    told = {each["name"]: each for each in _json(project, "show", "bounded")["parameters"]}
    helped = " ".join(project.stagerun("run", "bounded", "--help").out.split())

    assert shown[1:4] == [
        "parameters:",
        "  --workers  int          how many at once; must be at least 1 and be less than 65; default 4",
        "  --pages    list of int  must have at least 1 item; each must be a multiple of 2; required",
    ]
    assert (told["workers"]["bounds"], told["workers"]["item_bounds"]) == ({"ge": 1, "lt": 65}, {})
    assert (told["pages"]["bounds"], told["pages"]["item_bounds"]) == ({"min_length": 1}, {"multiple_of": 2})
    assert "how many at once [default: 4] [must be at least 1 and be less than 65]" in helped


def test_a_value_out_of_bounds_is_refused_wherever_it_comes_from(project: Project) -> None:
    project.recipe("bounded", BOUNDED)
    line = "stagerun: parameter 'workers' can't be 0: it must be at least 1\n"

    argument = project.stagerun("run", "bounded", "--pages", "2", "--workers", "0")
    variable = project.stagerun("run", "bounded", "--pages", "2", environ={"STAGERUN_WORKERS": "0"})
    item = project.stagerun("run", "bounded", "--pages", "2", "--pages", "3")

    assert [(each.code, each.out, each.err) for each in (argument, variable, item)] == [
        (2, "", line),
        (2, "", line),
        (2, "", "stagerun: parameter 'pages' can't be 3: it must be a multiple of 2\n"),
    ]
    assert not project.journal.exists()


def test_a_read_command_does_not_change_the_journal(runs: Project) -> None:
    def rows() -> list[Any]:
        connection = sqlite3.connect(runs.journal)
        try:
            return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("runs", "stages", "events")]
        finally:
            connection.close()

    before = rows()

    for command in ("status", "history", "logs", "list", "show orders:Good"):
        assert runs.stagerun(*command.split()).code == 0

    assert rows() == before


@pytest.mark.parametrize("command", ["status", "history", "logs 1", "list", "show orders:Good"])
def test_a_read_command_whose_output_can_not_be_written_says_so_without_a_traceback(
    runs: Project, command: str
) -> None:
    done = runs.stagerun(*command.split(), full=True)

    assert (done.code, done.err) == (1, f"stagerun: {os.strerror(errno.ENOSPC)}\n")
