"""`stagerun logs` with the stages and the end of a run, and with its last lines only."""

import json

import pytest

from tests.conftest import Project, new_project, timeless
from tests.processes import GATE, finish, open_gate, read_until, running, until


RECIPE = (
    GATE
    + """
class Import(LiveOperation):
    stages = ["Load", "Save"]
    end: str = ""

    def run(self, p: Progress):
        with p.stage("Load"):
            p.log("one\\ntwo")
            with p.stage("check ##[group] \\x1b[2J"):
                p.log("::error::three ##vso[x]")
        with p.stage("Save"):
            if self.end == "fail":
                raise ValueError("boom \\x1b[2J ##[error]")
            if self.end == "die":
                p.log("dying")
                p.result()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.end == "wait":
                p.log("waiting")
                gate("go")
                p.log("went on")
        p.result(count=3)
        if self.end == "chain":
            p.chain_to(Import())
"""
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with four runs: one succeeded, one failed, one crashed, and a chain of two."""
    project = new_project(tmp_path_factory.mktemp("ended"))
    project.recipe("orders", RECIPE)
    for end in ("", "fail", "die", "chain"):
        project.stagerun("run", "orders", "--end", end)
    return project


def _logs(project: Project, *arguments: str, **environ: str) -> list[str]:
    done = project.stagerun("logs", *arguments, environ=environ)
    assert (done.code, done.err) == (0, "")
    return timeless(done.out).splitlines()


OPENING = [
    "=== [1/2] Load ===",
    "one",
    "two",
    "=== check ##[group] \\x1b[2J ===",
    "::error::three ##vso[x]",
    "--- check ##[group] \\x1b[2J: done in 0.0s",
    "--- [1/2] Load: done in 0.0s",
    "=== [2/2] Save ===",
]


def test_logs_with_stages_hold_what_plain_text_holds_without_progress(ended: Project) -> None:
    file = ended.root / "recipes" / "orders.py"
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "raise" in text)

    assert _logs(ended, "1", "--stages") == [
        *("run 1 · orders:Import · started by alice", *OPENING),
        *("--- [2/2] Save: done in 0.0s", "count=3", "run 1 succeeded in 0.0s"),
    ]
    assert _logs(ended, "2", "--stages") == [
        *("run 2 · orders:Import · started by alice", *OPENING, "--- [2/2] Save: failed after 0.0s"),
        *("Traceback (most recent call last):", f'  File "{file}", line {line}, in run'),
        '    raise ValueError("boom \\x1b[2J ##[error]")',
        "ValueError: boom \\x1b[2J ##[error]",
        *("run 2 failed in [2/2] Save after 0.0s", "resume with: stagerun resume 2"),
    ]


def test_logs_with_stages_of_a_crash_end_with_what_is_known_of_it(ended: Project) -> None:
    assert _logs(ended, "3", "--stages") == [
        *("run 3 · orders:Import · started by alice", *OPENING, "dying"),
        *("error: the process ended without a word", "run 3 crashed in [2/2] Save after 0.0s"),
        "resume with: stagerun resume 3",
    ]


def test_logs_with_stages_that_follow_go_on_along_the_chain(ended: Project) -> None:
    assert _logs(ended, "4", "--stages", "--follow") == [
        *("run 4 · orders:Import · started by alice", *OPENING),
        *("--- [2/2] Save: done in 0.0s", "count=3", "run 4 succeeded in 0.0s"),
        *("run 5 · orders:Import · chained from run 4", *OPENING),
        *("--- [2/2] Save: done in 0.0s", "count=3", "run 5 succeeded in 0.0s"),
    ]


def test_no_line_of_logs_with_stages_is_a_command_to_a_ci_system(ended: Project) -> None:
    told = _logs(ended, "2", "--stages", STAGERUN_CI="github")

    assert [line for line in told if line.startswith("::") or "##[" in line or "##vso" in line] == []
    assert "=== check ##\\[group] \\x1b[2J ===" in told
    assert "ValueError: boom \\x1b[2J ##\\[error]" in told


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 1000])
def test_the_tail_of_logs_is_their_last_lines(ended: Project, count: int) -> None:
    whole = {options: _logs(ended, "2", *options) for options in ((), ("--stages",), ("--timestamps",))}

    assert {options: _logs(ended, "2", *options, "--tail", str(count)) for options in whole} == {
        options: lines[len(lines) - min(count, len(lines)) :] for options, lines in whole.items()
    }


def test_the_tail_of_logs_as_json_is_their_last_lines(ended: Project) -> None:
    whole = json.loads(ended.stagerun("logs", "2", "--json").out)

    assert json.loads(ended.stagerun("logs", "2", "--json", "--tail", "2").out) == whole[-2:]
    assert json.loads(ended.stagerun("logs", "2", "--json", "--tail", "0").out) == []


def test_the_tail_of_logs_that_follow_is_where_they_begin(project: Project) -> None:
    project.recipe("orders", RECIPE)
    with running(project, "run", "orders", "--end", "wait") as run:
        until(lambda: "waiting" in project.stagerun("logs").out)
        with running(project, "logs", "--tail", "2", "--follow", "--stages") as logs:
            told = read_until(logs, "waiting")
            open_gate(project, "go")
            finish(run)
            rest, _ = logs.communicate(timeout=30)

    assert timeless(told + rest).splitlines() == [
        *("=== [2/2] Save ===", "waiting", "went on", "--- [2/2] Save: done in 0.0s"),
        *("count=3", "run 1 succeeded in 0.0s"),
    ]


def test_stages_as_json_are_refused_with_the_command_that_has_them(ended: Project) -> None:
    done = ended.stagerun("logs", "1", "--stages", "--json")

    assert (done.code, done.out, done.err) == (
        *(2, ""),
        "stagerun: --stages is for people\n  for programs: stagerun watch REF --progress json\n",
    )
