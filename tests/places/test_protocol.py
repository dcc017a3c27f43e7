"""A far end is not believed: what it may not say ends the run, and nothing of it is recorded."""

import json
import subprocess
import sys
from typing import Final

import pytest

from stagerun.remote import supervisor
from stagerun.states import RunState
from tests.conftest import Done, Project
from tests.journals import reading
from tests.places import far_ends
from tests.places.clusters import Where
from tests.places.conftest import Distant
from tests.processes import rows


RECIPE: Final = """
class Train(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        raise AssertionError("it works elsewhere")
"""


@pytest.fixture
def odd(project: Project) -> Distant:
    """A project with a place at which a far end of the test answers."""
    project.recipe("orders", RECIPE)
    return Distant(project, Where("odd", {}))


def _run(odd: Distant, way: str) -> Done:
    _place(odd, way)
    return odd.stagerun("run", "orders")


def _place(odd: Distant, way: str) -> None:
    """Let the far end behave that way; its command names the project, so that it can be told from those of others."""
    command = json.dumps([sys.executable, far_ends.__file__, way, str(odd.project.root)])
    (odd.project.root / "pyproject.toml").write_text(f"[tool.stagerun.places.odd]\ncommand = {command}\n")


def _kinds(odd: Distant) -> list[object]:
    return [kind for (kind,) in rows(odd.project, "SELECT kind FROM events ORDER BY run_id, seq")]


def _nobody_is_left(odd: Distant) -> bool:
    command = ["pgrep", "-f", f"{far_ends.__file__} .*{odd.project.root}"]
    listed = subprocess.run(command, check=False, capture_output=True)
    return listed.returncode == 1


@pytest.mark.parametrize("way", far_ends.WAYS)
def test_a_far_end_that_breaks_the_rules_is_killed_and_nothing_that_it_said_is_recorded(odd: Distant, way: str) -> None:
    done = _run(odd, way)

    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines()[1].startswith("error: the far process broke the protocol: ")
    assert odd.newest().state is RunState.CRASHED
    assert _kinds(odd) == ["run_created", "run_started", "run_finished"]
    assert _nobody_is_left(odd)


@pytest.mark.parametrize("way", far_ends.ENDS)
def test_times_of_there_lie_between_the_last_one_and_now_and_nothing_is_heard_after_the_end(
    odd: Distant, way: str
) -> None:
    done = _run(odd, way)

    view = odd.newest()
    assert (done.code, view.state) == (0, RunState.SUCCEEDED)
    assert "not heard" not in done.out
    with reading(odd.project.journal) as records:
        times = [entry.time for entry in records.entries(view.id)]
    assert times == sorted(times)
    assert view.finished_on is not None
    assert view.created_on <= times[-1] <= view.finished_on


@pytest.mark.parametrize(("way", "versions"), [("other Python", "Python 2.7.18"), ("other protocol", "stagerun 0")])
def test_a_far_end_of_other_versions_is_refused_with_both(odd: Distant, way: str, versions: str) -> None:
    done = _run(odd, way)

    error = odd.newest().error
    assert error is not None
    assert (done.code, odd.newest().state) == (3, RunState.FAILED)
    assert error.message.startswith("odd has Python ")
    assert versions in error.message.partition(", and here are ")[0]
    assert f"Python {far_ends.HELLO['python']}" in error.message.partition(", and here are ")[2]


def test_what_a_shell_says_before_the_far_end_comes_is_passed_over(odd: Distant) -> None:
    assert _run(odd, "greeting").code == 0


def test_a_program_that_ends_before_the_far_end_comes_says_why(odd: Distant) -> None:
    done = _run(odd, "dead")

    assert (done.code, odd.newest().state) == (3, RunState.FAILED)
    assert done.out.splitlines()[1:3] == [
        "error: the far process ended with exit code 5",
        "  there: no such machine",
    ]


def test_a_greeting_without_a_far_end_behind_it_is_shown(
    odd: Distant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "GREETING", 0.1)

    code = _in_process(odd, "only a greeting", monkeypatch)

    assert code == 3
    error = odd.newest().error
    assert error is not None
    assert error.message == "the far process did not come, but somebody said:\n  Welcome to the machine"


def test_silence_is_a_crash(odd: Distant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(supervisor, "SILENCE", 0.3)

    code = _in_process(odd, "silent", monkeypatch)

    assert code == 1
    assert odd.newest().state is RunState.CRASHED
    error = odd.newest().error
    assert error is not None
    assert error.message == "nothing was heard of the far process for 0.3 s"
    assert _nobody_is_left(odd)


def _in_process(odd: Distant, way: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run in the tests' own process, whose patience can be changed."""
    from stagerun import cli

    _place(odd, way)
    monkeypatch.chdir(odd.project.root)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
        monkeypatch.setattr(sys, f"__{name}__", getattr(sys, name))
    return cli.main(["run", "orders", "--on", "odd", "--ci", "none"])
