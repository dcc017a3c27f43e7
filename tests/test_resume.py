"""`stagerun resume`: a new run that goes on where an old one stopped, by the real command."""

import json
import os
import re
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Done, Project
from tests.processes import until


# The file `end` says how the run ends in its second stage; without it the run succeeds.
IMPORT = """
import os, signal, time
from pathlib import Path

class Import(LiveOperation):
    stages = ["Load", "Process", "Save"]
    limit: int = 3
    source: Path = Path("orders.csv")

    def run(self, p: Progress):
        with p.stage("Load") as load:
            rows = p.checkpoint("rows", self.load, p)
        with p.stage("Process", timeout=0.5 if end() == "timed out" else None) as process:
            for row in p.track(rows, key="done"):
                if end() and row == (0 if end() == "crashed" else 2):
                    self.stop(end())
        with p.stage("Save") as save:
            p.checkpoint("saved", lambda: True)
        p.result(done_before=[stage.name for stage in (load, process, save) if stage.done_before], limit=self.limit)

    def load(self, p):
        p.log("loading")
        return list(range(self.limit))

    def stop(self, how):
        if how == "cancelled":
            os.kill(os.getpid(), signal.SIGINT)
        if how == "crashed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "timed out":
            time.sleep(60)
        raise ValueError("boom")

def end():
    return Path("end").read_text() if Path("end").exists() else ""
"""

CHAIN = """
from pathlib import Path

class First(LiveOperation):
    stages = ["One"]

    def run(self, p):
        with p.stage("One"):
            p.log("first")
        p.chain_to(Second(owner=self.owner, number=7))

class Second(LiveOperation):
    stages = ["Two"]
    number: int

    def run(self, p):
        with p.stage("Two"):
            if Path("end").exists():
                raise ValueError("boom")
        p.result(number=self.number)
"""


WHERE = """
from pathlib import Path

class Where(LiveOperation):
    def run(self, p):
        if Path("end").exists():
            raise ValueError("boom")
        p.result(folder=str(Path.cwd()))
"""

# The stages of Import are blocks, which run again, whatever is stored inside them.
RUNS_AGAIN = "  runs again:  [1/3] Load (was done), [2/3] Process, [3/3] Save, and whatever has no step or key"


def _plan(done: Done) -> list[str]:
    """Return the lines of the plan, with one word for how long ago it was."""
    lines = done.out.splitlines()
    plan = [line for line in lines if line.startswith("resuming run ")]
    plan += [line for line in lines if line.startswith("  ")]
    return [re.sub(r" (?:just now|\d+ (?:s|min) ago)$", " AGO", line) for line in plan]


def _status(project: Project, ref: str = "last") -> dict[str, Any]:
    done = project.stagerun("status", ref, "--json")
    assert done.code == 0, done.err
    status = json.loads(done.out)
    assert isinstance(status, dict)
    return status


def _rows(project: Project, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(project.journal)
    with connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def _runs(project: Project) -> list[tuple[object, ...]]:
    return _rows(project, "SELECT id, state FROM runs ORDER BY id")


def _fail(project: Project, how: str = "failed", *arguments: str) -> Done:
    project.recipe("jobs", IMPORT)
    (project.root / "end").write_text(how)
    return project.stagerun("run", "jobs:Import", *arguments)


def _mend(project: Project) -> None:
    (project.root / "end").unlink()


@pytest.mark.parametrize(
    ("how", "code"), [("failed", 1), ("cancelled", -signal.SIGINT), ("crashed", -signal.SIGKILL), ("timed out", 124)]
)
def test_a_run_that_did_not_succeed_is_resumed_after_its_plan(project: Project, how: str, code: int) -> None:
    assert _fail(project, how).code == code
    _mend(project)

    done = project.stagerun("resume")

    assert (done.code, done.err) == (0, "")
    goes_on = [] if how == "crashed" else ["  goes on:     loop done after 2 of 3"]
    assert _plan(done) == [
        f"resuming run 1: jobs:Import, {how} in [2/3] Process AGO",
        "  reused:      checkpoint rows",
        *goes_on,
        RUNS_AGAIN,
    ]
    assert "loading" not in done.out
    assert "run 2 · jobs:Import · resumed from run 1" in done.out.splitlines()
    status = _status(project)
    assert (status["state"], status["result_context"]) == ("succeeded", {"done_before": ["Load"], "limit": 3})


@pytest.mark.parametrize("how", ["failed", "crashed"])
def test_a_dry_run_prints_the_plan_and_starts_nothing(project: Project, how: str) -> None:
    _fail(project, how)
    before = _rows(project, "SELECT * FROM events"), _rows(project, "SELECT * FROM runs")

    done = project.stagerun("resume", "1", "--dry-run")

    assert (done.code, done.err) == (0, "")
    assert _plan(done)[0] == f"resuming run 1: jobs:Import, {how} in [2/3] Process AGO"
    assert len(_plan(done)) == len(done.out.splitlines())
    assert (_rows(project, "SELECT * FROM events"), _rows(project, "SELECT * FROM runs")) == before


def test_without_ref_only_the_newest_run_is_resumed_and_an_older_one_that_did_not_succeed_is_named(
    project: Project,
) -> None:
    _fail(project)
    _fail(project)
    _mend(project)

    newest = project.stagerun("resume")
    nothing = project.stagerun("resume")
    named = project.stagerun("resume", "1")
    no_more = project.stagerun("resume")

    assert _plan(newest)[0] == "resuming run 2: jobs:Import, failed in [2/3] Process AGO"
    assert (nothing.code, nothing.err) == (0, "")
    assert re.sub(r"(?:just now|\d+ (?:s|min) ago);", "AGO;", nothing.out).splitlines() == [
        "nothing to resume: run 3 succeeded; to run part of it again: --from STAGE",
        "the newest run that did not succeed: jobs:Import, failed AGO; stagerun resume 1",
    ]
    assert _plan(named)[0] == "resuming run 1: jobs:Import, failed in [2/3] Process AGO"
    assert no_more.out == "nothing to resume: run 4 succeeded; to run part of it again: --from STAGE\n"
    assert _runs(project) == [(1, "failed"), (2, "failed"), (3, "succeeded"), (4, "succeeded")]


def test_the_name_of_an_old_attempt_goes_on_from_the_newest(project: Project) -> None:
    _fail(project)
    project.stagerun("resume", "1")
    _mend(project)

    done = project.stagerun("resume", "1")

    assert _plan(done)[0] == "resuming run 2: jobs:Import, failed in [2/3] Process AGO"
    status = _status(project)
    assert {key: status[key] for key in ("id", "resumed_from", "root", "attempt", "state")} == {
        "id": 3,
        "resumed_from": 2,
        "root": 1,
        "attempt": 3,
        "state": "succeeded",
    }


def test_a_first_run_is_the_root_of_its_lineage(project: Project) -> None:
    _fail(project)

    status = _status(project)

    assert {key: status[key] for key in ("resumed_from", "root", "attempt")} == {
        "resumed_from": None,
        "root": 1,
        "attempt": 1,
    }


@pytest.mark.parametrize("ref", ["1", "2"])
def test_a_chain_is_entered_again_at_the_link_that_failed(project: Project, ref: str) -> None:
    project.recipe("chain", CHAIN)
    (project.root / "end").touch()
    assert project.stagerun("run", "chain:First").code == 1
    _mend(project)

    done = project.stagerun("resume", ref)

    assert done.code == 0
    assert _plan(done) == [
        "resuming run 2: chain:Second, failed in [1/1] Two AGO",
        "  nothing was stored: all of it runs again",
    ]
    assert _runs(project) == [(1, "succeeded"), (2, "failed"), (3, "succeeded")]
    status = _status(project)
    keys = ("operation", "params", "chained_from", "resumed_from", "root", "attempt", "result_context")
    assert {key: status[key] for key in keys} == {
        "operation": "Second",
        "params": {"number": 7},
        "chained_from": 1,
        "resumed_from": 2,
        "root": 2,
        "attempt": 2,
        "result_context": {"number": 7},
    }


def test_a_chain_that_was_resumed_to_its_end_leaves_nothing_to_do(project: Project) -> None:
    project.recipe("chain", CHAIN)
    (project.root / "end").touch()
    project.stagerun("run", "chain:First")
    _mend(project)
    project.stagerun("resume", "1")

    done = project.stagerun("resume", "1")

    assert done.code == 0
    assert done.out.startswith("nothing to resume: ")
    assert len(_runs(project)) == 3


def test_from_drops_the_checkpoints_of_that_stage_and_later_ones(project: Project) -> None:
    _fail(project)
    _mend(project)
    project.stagerun("resume")

    done = project.stagerun("resume", "2", "--from", "Process")

    assert done.code == 0
    assert _plan(done) == [
        "resuming run 2: jobs:Import, succeeded AGO",
        "  reused:      checkpoint rows",
        "  dropped:     loop done (all 3), checkpoint saved",
        RUNS_AGAIN,
    ]
    assert _status(project)["result_context"] == {"done_before": ["Load"], "limit": 3}


def test_from_the_first_stage_does_everything_again(project: Project) -> None:
    _fail(project)
    _mend(project)

    done = project.stagerun("resume", "--from", "Load")

    assert _plan(done) == [
        "resuming run 1: jobs:Import, failed in [2/3] Process AGO",
        "  dropped:     checkpoint rows, loop done after 2 of 3",
        "  nothing is taken over: all of it runs again",
    ]
    assert "loading" in done.out.splitlines()
    assert _status(project)["result_context"] == {"done_before": [], "limit": 3}


def test_from_goes_back_to_a_succeeded_run_that_never_failed(project: Project) -> None:
    project.recipe("jobs", IMPORT)
    project.stagerun("run", "jobs:Import")

    done = project.stagerun("resume", "last", "--from", "Save")

    assert done.code == 0
    assert _plan(done) == [
        "resuming run 1: jobs:Import, succeeded AGO",
        "  reused:      checkpoint rows, loop done (all 3)",
        "  dropped:     checkpoint saved",
        RUNS_AGAIN.replace("Process", "Process (was done)"),
    ]
    assert _status(project)["result_context"] == {"done_before": ["Load", "Process"], "limit": 3}


def test_from_an_unknown_stage_names_the_legal_ones(project: Project) -> None:
    _fail(project)

    done = project.stagerun("resume", "--from", "Proccess")

    assert (done.code, done.out) == (2, "")
    assert done.err == "stagerun: jobs:Import has no stage 'Proccess'\n  its stages: Load, Process, Save\n"
    assert len(_runs(project)) == 1


def test_set_changes_a_parameter_for_this_and_the_next_attempts(project: Project) -> None:
    _fail(project, "failed", "--source", "other.csv")
    done = project.stagerun("resume", "--set", "limit=5", "--from", "Load")
    _mend(project)
    project.stagerun("resume")

    assert "  changed:     limit" in done.out.splitlines()
    assert [_status(project, str(run))["params"] for run in (1, 2, 3)] == [
        {"limit": 3, "source": "other.csv"},
        {"limit": 5, "source": "other.csv"},
        {"limit": 5, "source": "other.csv"},
    ]
    assert _status(project)["result_context"] == {"done_before": ["Load"], "limit": 5}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("limmit=3", ["limmit", "limit"]),
        ("limit=many", ["'limit'", "'many'"]),
        ("limit", ["'limit'", "--set name=value"]),
    ],
)
def test_set_refuses_what_does_not_fit(project: Project, setting: str, told: list[str]) -> None:
    _fail(project)

    done = project.stagerun("resume", "--set", setting)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("stagerun: ")
    assert [word for word in told if word not in done.err] == []
    assert len(_runs(project)) == 1


SECRET = """
from pathlib import Path

class Push(LiveOperation):
    token: Secret

    def run(self, p):
        if Path("end").exists():
            raise ValueError("boom")
        p.result(letters=len(self.token.reveal()))
"""


def test_a_secret_is_asked_for_again_from_the_environment(project: Project) -> None:
    project.recipe("jobs", SECRET)
    (project.root / "end").touch()
    project.stagerun("run", "jobs:Push", environ={"STAGERUN_TOKEN": "hunter2"})
    _mend(project)

    without = project.stagerun("resume")
    with_it = project.stagerun("resume", environ={"STAGERUN_TOKEN": "swordfish"})

    assert (without.code, without.out) == (2, "")
    assert without.err == (
        "stagerun: the secret 'token' is missing: it is never stored\n"
        "  set STAGERUN_TOKEN, or give --set-file token=PATH\n"
    )
    assert with_it.code == 0
    status = _status(project)
    assert (status["params"], status["result_context"]) == ({"token": "***"}, {"letters": 9})
    assert b"swordfish" not in b"".join(file.read_bytes() for file in project.journal.parent.iterdir())


def test_a_secret_that_the_run_was_given_is_not_left_out_because_it_has_a_default(project: Project) -> None:
    project.recipe("jobs", SECRET.replace("token: Secret", "token: Secret | None = None"))
    (project.root / "end").touch()
    project.stagerun("run", "jobs:Push", environ={"STAGERUN_TOKEN": "hunter2"})
    _mend(project)

    done = project.stagerun("resume")

    assert done.code == 2
    assert (
        done.err == "stagerun: the secret 'token' is missing: it is never stored\n"
        "  set STAGERUN_TOKEN, or give --set-file token=PATH\n"
    )


def test_a_secret_can_not_be_set_on_the_command_line(project: Project) -> None:
    project.recipe("jobs", SECRET)
    (project.root / "end").touch()
    project.stagerun("run", "jobs:Push", environ={"STAGERUN_TOKEN": "hunter2"})

    done = project.stagerun("resume", "--set", "token=swordfish", environ={"STAGERUN_TOKEN": "hunter2"})

    assert (done.code, done.out) == (2, "")
    assert "'token' is a secret" in done.err
    assert "swordfish" not in done.err
    assert len(_runs(project)) == 1


def test_a_succeeded_run_leaves_nothing_to_do(project: Project) -> None:
    project.recipe("jobs", IMPORT)
    project.stagerun("run", "jobs:Import")

    done = project.stagerun("resume", "1")

    assert (done.code, done.out, done.err) == (
        0,
        "nothing to resume: run 1 succeeded; to run part of it again: --from STAGE\n",
        "",
    )
    assert _runs(project) == [(1, "succeeded")]


def test_a_quiet_resume_prints_no_plan_unless_that_warns_and_says_nothing_if_there_is_nothing_to_do(
    project: Project,
) -> None:
    _fail(project)
    shown = project.stagerun("resume", "--dry-run", "-q")
    again = project.stagerun("resume", "-q")
    _mend(project)
    project.recipe("jobs", IMPORT + "\n# mended\n")
    warned = project.stagerun("resume", "-q")
    nothing = project.stagerun("resume", "-q")

    assert _plan(shown)[0] == "resuming run 1: jobs:Import, failed in [2/3] Process AGO"
    assert (again.out.splitlines()[0], again.err) == ("Traceback (most recent call last):", "")
    assert (_plan(warned)[0], _plan(warned)[-1]) == (
        "resuming run 2: jobs:Import, failed in [2/3] Process AGO",
        f"  warning: {project.root / 'recipes' / 'jobs.py'} has changed since",
    )
    assert nothing == Done(0, "", "")


def test_a_parameter_that_the_recipe_no_longer_has_is_warned_about_by_resume_and_rerun(project: Project) -> None:
    recipe = "class Count(LiveOperation):\n    {}: int = 3\n    def run(self, p):\n        raise ValueError\n"
    project.recipe("count", recipe.format("limit"))
    project.stagerun("run", "count", "--limit", "5")
    project.recipe("count", recipe.format("most"))

    resumed = project.stagerun("resume")
    again = project.stagerun("rerun", "1", "--set", "most=5")

    told = (
        "stagerun: warning: count:Count has no parameter 'limit' any more, so its value in run 1 is not used\n"
        "  if it is called otherwise now: --set NAME=VALUE\n"
    )
    assert (resumed.err, again.err) == (told, told)


def test_a_recipe_that_has_changed_since_is_warned_about(project: Project) -> None:
    _fail(project)
    _mend(project)
    file = project.recipe("jobs", IMPORT + "\n# mended\n")

    done = project.stagerun("resume")

    assert done.code == 0
    assert _plan(done) == [
        "resuming run 1: jobs:Import, failed in [2/3] Process AGO",
        "  reused:      checkpoint rows",
        "  goes on:     loop done after 2 of 3",
        RUNS_AGAIN,
        f"  warning: {file} has changed since",
    ]


def test_after_twenty_attempts_only_force_goes_on(project: Project) -> None:
    _fail(project)
    _rows(project, "UPDATE runs SET attempt = 19")

    twentieth = project.stagerun("resume")
    refused = project.stagerun("resume")
    forced = project.stagerun("resume", "--force")

    assert (twentieth.code, refused.code, forced.code) == (1, 2, 1)
    assert refused.out == ""
    assert refused.err == (
        "stagerun: run 2 was attempt 20: something is wrong that resuming does not fix\n  to try once more: --force\n"
    )
    assert [_status(project, str(run))["attempt"] for run in (1, 2, 3)] == [19, 20, 21]


@pytest.mark.parametrize("how", ["failed", "crashed"])
def test_an_old_run_never_changes_and_says_by_which_run_it_was_resumed(project: Project, how: str) -> None:
    def told() -> list[object]:
        return [
            _status(project, "1") | {"resumed_as": None},
            project.stagerun("logs", "1").out,
            _rows(project, "SELECT * FROM checkpoints WHERE run_id = 1 ORDER BY key"),
            _rows(project, "SELECT * FROM events WHERE run_id = 1 AND kind != 'run_finished' ORDER BY seq"),
        ]

    _fail(project, how)
    before = told()
    project.stagerun("resume", "--set", "limit=4")
    _mend(project)
    project.stagerun("resume", "1")
    project.stagerun("resume", "1", "--from", "Load")

    assert [state for _, state in _runs(project)][2:] == ["succeeded", "succeeded"]
    assert told() == before
    assert _status(project, "1")["resumed_as"] == 2
    shown = [project.stagerun("status", run).out.splitlines()[-1] for run in ("1", "2", "3")]
    assert shown == [
        f"resumed as run 2, which {how}",
        "resumed as run 3, which succeeded",
        "resumed as run 4, which succeeded",
    ]


def test_of_two_resumes_at_once_the_second_names_the_first(project: Project) -> None:
    (project.root / "end").touch()
    project.recipe(
        "jobs",
        "import time\n"
        "from pathlib import Path\n"
        "class Slow(LiveOperation):\n"
        "    def run(self, p):\n"
        "        if Path('end').exists():\n"
        "            raise ValueError('boom')\n"
        "        Path('begun').touch()\n"
        "        while not Path('go').exists():\n"
        "            time.sleep(0.01)\n",
    )
    project.stagerun("run", "jobs:Slow")
    _mend(project)

    with project.start("resume", "1") as first:
        until((project.root / "begun").exists)
        second = project.stagerun("resume", "1")
        (project.root / "go").touch()
        first.communicate(timeout=60)

    assert (first.returncode, second.code, second.out) == (0, 3, "")
    assert second.err.startswith(f"stagerun: run 2 is still running (process {first.pid} on ")
    assert _runs(project) == [(1, "failed"), (2, "succeeded")]


@pytest.mark.parametrize("started", [".", "data/deep"], ids=["in the root", "below it"])
@pytest.mark.parametrize("asked", [".", "other"], ids=["from the root", "from below"])
def test_a_resumed_run_works_in_the_folder_that_the_first_one_was_started_in(
    project: Project, started: str, asked: str
) -> None:
    project.recipe("jobs", WHERE)
    for each in (started, asked):
        (project.root / each).mkdir(parents=True, exist_ok=True)
    (project.root / started / "end").touch()
    Project(project.root / started, project.environ).stagerun("run", "jobs:Where")
    (project.root / started / "end").unlink()

    done = Project(project.root / asked, project.environ).stagerun("resume")

    assert (done.code, done.err) == (0, "")
    assert _status(project)["result_context"] == {"folder": str((project.root / started).resolve())}
    told = [line for line in _plan(done) if line.startswith("  in folder:")]
    assert told == ([] if started == asked else [f"  in folder:   {(project.root / started).resolve()}"])


def test_a_run_is_resumed_from_any_folder_with_its_journal(project: Project, tmp_path: Path) -> None:
    _fail(project)
    _mend(project)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    done = Project(elsewhere, project.environ).stagerun("resume", "--journal", str(project.journal))

    assert (done.code, done.err) == (0, "")
    assert _status(project)["target"] == "jobs:Import"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("journal", [(), ("--journal", "{}/runs.db")], ids=["its own journal", "a journal elsewhere"])
def test_a_project_that_was_moved_is_resumed_where_it_is_now(
    project: Project, tmp_path: Path, journal: tuple[str, ...]
) -> None:
    named = [each.format(tmp_path) for each in journal]
    project.recipe("jobs", WHERE)
    (project.root / "data").mkdir()
    (project.root / "data" / "end").touch()
    Project(project.root / "data", project.environ).stagerun("run", "jobs:Where", *named)
    moved = Project(project.root.rename(tmp_path / "moved"), project.environ)
    (moved.root / "data" / "end").unlink()

    done = moved.stagerun("resume", *named)
    status = moved.stagerun("status", "--json", *named)

    assert (done.code, done.err) == (0, "")
    told = json.loads(status.out)
    assert (told["result_context"], told["project"], told["folder"]) == (
        {"folder": str(moved.root / "data")},
        str(moved.root),
        "data",
    )


def test_a_run_whose_folder_is_gone_is_not_resumed(project: Project) -> None:
    project.recipe("jobs", WHERE)
    (project.root / "data").mkdir()
    (project.root / "data" / "end").touch()
    Project(project.root / "data", project.environ).stagerun("run", "jobs:Where")
    shutil.rmtree(project.root / "data")

    done = project.stagerun("resume")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"stagerun: run 1 was started in {project.root / 'data'}, which can't be entered: No such file or directory\n"
        "  bring the folder back, or start anew with 'stagerun run'\n"
    )
    assert _runs(project) == [(1, "failed")]


def test_a_run_of_a_recipe_file_is_resumed_from_another_folder(project: Project) -> None:
    file = project.recipe("jobs", IMPORT)
    tools = project.root / "tools"
    tools.mkdir()
    file.rename(tools / "jobs.py")
    (project.root / "end").write_text("failed")
    project.stagerun("run", "tools/jobs.py:Import")
    _mend(project)

    done = Project(tools, project.environ).stagerun("resume")

    assert (done.code, done.err) == (0, "")
    assert _plan(done)[0] == "resuming run 1: tools/jobs.py:Import, failed in [2/3] Process AGO"
    assert [(_status(project, run)["target"], _status(project, run)["recipe"]) for run in ("1", "2")] == [
        ("tools/jobs.py:Import", "tools/jobs.py")
    ] * 2


def test_a_run_of_a_module_in_a_package_is_resumed_with_its_relative_imports(project: Project) -> None:
    package = project.root / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sizes.py").write_text("NUMBER = 7\n")
    (package / "jobs.py").write_text(
        "from pathlib import Path\n"
        "from stagerun import LiveOperation\n"
        "from .sizes import NUMBER\n"
        "class Count(LiveOperation):\n"
        "    def run(self, p):\n"
        "        if Path('end').exists():\n"
        "            raise ValueError('boom')\n"
        "        p.result(number=NUMBER)\n"
    )
    (project.root / "end").touch()
    assert project.stagerun("run", "shop.jobs:Count").code == 1
    _mend(project)

    done = project.stagerun("resume")

    assert (done.code, done.err) == (0, "")
    assert _status(project)["result_context"] == {"number": 7}


def test_in_json_mode_stdout_is_json_and_the_plan_goes_to_stderr(project: Project) -> None:
    _fail(project)
    _mend(project)

    done = project.stagerun("resume", "--progress", "json")

    told = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert (told[0]["event"], told[0]["run"], told[0]["resumed_from"]) == ("run_created", 2, 1)
    assert (told[-1]["event"], told[-1]["state"], told[-1]["exit_code"]) == ("run_finished", "succeeded", 0)
    assert _plan(Done(done.code, done.err, "")) == [
        "resuming run 1: jobs:Import, failed in [2/3] Process AGO",
        "  reused:      checkpoint rows",
        "  goes on:     loop done after 2 of 3",
        RUNS_AGAIN,
    ]


@pytest.mark.parametrize("arguments", [("resume", "1"), ("resume",)])
def test_in_json_mode_nothing_to_do_writes_no_text_to_stdout(project: Project, arguments: tuple[str, ...]) -> None:
    project.recipe("jobs", IMPORT)
    project.stagerun("run", "jobs:Import")

    done = project.stagerun(*arguments, "--progress", "json")

    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("nothing to resume: ")


def test_a_resume_without_any_journal_is_a_usage_error(project: Project) -> None:
    done = project.stagerun("resume")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"stagerun: there are no runs yet: {os.fspath(project.journal)} does not exist\n"
        "  start one: stagerun run TARGET\n"
    )


def test_the_plan_of_a_dry_run_is_given_to_programs_as_json(project: Project) -> None:
    _fail(project)

    done = project.stagerun("resume", "--dry-run", "--json", "--set", "limit=4")

    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    rows = {"key": "rows", "call": "checkpoint", "stage": "Load", "done": None, "total": None, "run": 1}
    loop = {"key": "done", "call": "track", "stage": "Process", "done": 2, "total": 3, "run": 1}
    assert json.loads(done.out) == {
        "run": 1,
        "target": "jobs:Import",
        "state": "failed",
        "from_stage": None,
        "folder": None,
        "skipped": [],
        "reused": [rows],
        "goes_on": [loop],
        "dropped": [],
        "runs_again": ["Load", "Process", "Save"],
        "done_before": ["Load"],
        "changed": ["limit"],
        "changed_source": None,
    }
    assert len(_runs(project)) == 1


def test_json_of_a_resume_is_for_its_plan_alone(project: Project) -> None:
    _fail(project)

    done = project.stagerun("resume", "--json")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "stagerun: --json is for the plan\n  add --dry-run; for the events of the run: --progress json\n"
    )
    assert len(_runs(project)) == 1


SLOW = """
import time
from pathlib import Path

class Slow(LiveOperation):
    def run(self, p):
        Path("begun").touch()
        while not Path("go").exists():
            time.sleep(0.01)
"""


def test_without_ref_a_newest_run_that_goes_on_is_named_and_no_older_one_is_resumed(project: Project) -> None:
    _fail(project)
    project.recipe("slow", SLOW)

    with project.start("run", "slow") as running:
        until((project.root / "begun").exists)
        done = project.stagerun("resume")
        (project.root / "go").touch()
        running.communicate(timeout=60)

    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"stagerun: run 2 is still running (process {running.pid} on ")
    assert done.err.endswith("  wait for it: stagerun wait 2, or stop it: stagerun cancel 2\n")
    assert _runs(project) == [(1, "failed"), (2, "succeeded")]


def test_a_parameter_that_held_a_secret_is_given_again_and_not_called_changed(project: Project) -> None:
    project.recipe("jobs", SECRET.replace("token: Secret", "token: Secret\n    url: str"))
    (project.root / "end").touch()
    environ = {"STAGERUN_TOKEN": "hunter2"}
    project.stagerun("run", "jobs:Push", "--url", "https://u:hunter2@host", environ=environ)
    _mend(project)
    (project.root / "url").write_text("https://u:hunter2@host")

    without = project.stagerun("resume", environ=environ)
    with_it = project.stagerun("resume", "--set-file", "url=url", environ=environ)

    assert (without.code, without.err) == (
        2,
        "stagerun: the parameter 'url' held a secret and was not stored\n  give it again: --set-file url=PATH\n",
    )
    assert (with_it.code, with_it.err) == (0, "")
    assert [line for line in _plan(with_it) if "changed" in line] == []


TOKEN = """
from pathlib import Path

class Pay(LiveOperation):
    amount: int = 3

    def run(self, p):
        p.checkpoint("paid", lambda: p.log("paying"))
        if Path("end").exists():
            raise ValueError("boom")
        p.result(token=p.token("pay"), amount=self.amount, folder=Path.cwd().name)
"""


def test_a_run_is_run_anew_with_its_parameters_in_its_folder_and_takes_nothing_over(project: Project) -> None:
    project.recipe("jobs", TOKEN)
    (project.root / "data").mkdir()
    (project.root / "data" / "end").touch()
    below = Project(project.root / "data", project.environ)
    below.stagerun("run", "jobs:Pay", "--amount", "7")
    (project.root / "data" / "end").unlink()
    below.stagerun("resume")

    again = project.stagerun("rerun", "1")
    changed = project.stagerun("rerun", "last", "--set", "amount=8")

    assert [(each.code, each.err, "paying" in each.out.splitlines()) for each in (again, changed)] == [
        (0, "", True)
    ] * 2
    told = [_status(project, run) for run in ("2", "3", "4")]
    results = [each["result_context"] for each in told]
    assert [(each["amount"], each["folder"]) for each in results] == [(7, "data"), (7, "data"), (8, "data")]
    assert len({each["token"] for each in results}) == 3
    keys = ("resumed_from", "resumed_as", "root", "attempt")
    assert [[each[key] for key in keys] for each in told] == [[1, None, 1, 2], [None, None, 3, 1], [None, None, 4, 1]]


def test_a_dry_run_of_a_rerun_starts_nothing(project: Project) -> None:
    project.recipe("jobs", TOKEN)
    project.stagerun("run", "jobs:Pay", "--amount", "7")

    done = project.stagerun("rerun", "last", "--dry-run")

    assert (done.code, done.err) == (0, "")
    assert "amount" in done.out
    assert "7" in done.out
    assert len(_runs(project)) == 1


STEP = """
from pathlib import Path

class Ship(LiveOperation):
    stages = ["Build", "Publish"]

    def run(self, p):
        p.step("Build", lambda: p.log("building"))
        with p.stage("Publish"):
            if Path("end").exists():
                raise ValueError("boom")
"""


def _fail_behind_a_step(project: Project) -> None:
    project.recipe("jobs", STEP)
    (project.root / "end").touch()
    project.stagerun("run", "jobs:Ship")
    _mend(project)


def test_a_resumed_step_is_shown_as_the_work_of_the_run_that_did_it(project: Project) -> None:
    _fail_behind_a_step(project)

    done = project.stagerun("resume")

    assert _plan(done) == [
        "resuming run 1: jobs:Ship, failed in [2/2] Publish AGO",
        "  skipped:     [1/2] Build",
        "  runs again:  [2/2] Publish, and whatever has no step or key",
    ]
    assert "--- [1/2] Build: done, from run 1" in done.out.splitlines()
    assert "building" not in done.out
    shown = project.stagerun("status").out.splitlines()
    assert "  ✓ Build    from run 1" in shown
    status = _status(project)
    assert (status["taken_over"], status["stage_states"], [*status["stage_seconds"]]) == (
        {"Build": 1},
        {"Build": "done", "Publish": "done"},
        ["Publish"],
    )


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("junit", "<system-out>from run 1</system-out>"),
        ("markdown", "| 2 | <code>Build</code> | ✓ done | from run 1 |"),
        ("trace", '"args":{"state":"done","from_run":1}'),
    ],
)
def test_a_resumed_step_is_exported_as_the_work_of_the_run_that_did_it(project: Project, kind: str, told: str) -> None:
    _fail_behind_a_step(project)
    project.stagerun("resume")

    assert told in project.stagerun("export", "2", "--format", kind).out
    assert "from" not in project.stagerun("export", "1", "--format", kind).out.replace("resumed_from", "")


def test_on_a_terminal_a_resumed_step_is_done_by_the_run_that_did_it(project: Project) -> None:
    _fail_behind_a_step(project)

    with project.terminal("resume") as terminal:
        code = terminal.wait()
        shown = [line.strip() for line in terminal.lines]

    assert code == 0
    assert "✓ [1/2] Build: done, from run 1" in shown or "✓ Build from run 1   ✓ Publish 0.0s" in shown, shown
