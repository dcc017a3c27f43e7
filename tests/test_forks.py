"""What a forked child of a recipe may do with `p`: nothing that would have to be recorded."""

from stagerun.states import RunState
from tests.conftest import Project
from tests.processes import logged, look, rows


FORKS = """
import os, pathlib

CALLS = {
    "stage": lambda p: p.stage("Save").__enter__(),
    "step": lambda p: p.step("Save", made),
    "checkpoint": lambda p: p.checkpoint("value", made),
    "track": lambda p: list(p.track([1], key="loop")),
    "batches": lambda p: list(p.batches([1], 1, key="batches")),
    "map": lambda p: p.map(made, [1], key="map"),
    "sh": lambda p: p.sh("touch made", key="program"),
    "result": lambda p: p.result(count=1),
    "error": lambda p: p.error("never"),
    "chain_to": lambda p: p.chain_to(Next()),
}

def made(*given):
    pathlib.Path("made").touch()

def in_a_fork(act):
    if (child := os.fork()) == 0:
        try:
            act()
            print("it was done", flush=True)
        except Exception as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)

class Next(LiveOperation):
    def run(self, p):
        made()

class Forks(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p):
        with p.stage("Load"):
            for call in CALLS.values():
                in_a_fork(lambda: call(p))
"""


def test_each_call_that_would_record_something_is_refused_in_a_fork(project: Project) -> None:
    project.recipe("forks", FORKS)

    done = project.stagerun("run", "forks:Forks", "--progress", "quiet")

    calls = ["stage", "step", "checkpoint", "track", "batches", "map", "sh", "result", "error", "chain_to"]
    refused = "p.{} was called in a forked child of the run, where nothing can be recorded"
    assert done.out.splitlines() == [refused.format(call) for call in calls]
    assert not (project.root / "made").exists()
    view = look(project, 1)
    assert (view.state, view.stage_states, done.code) == (RunState.SUCCEEDED, {"Load": "done", "Save": "pending"}, 0)
    assert rows(project, "SELECT count(*) FROM checkpoints") == [(0,)]


HARMLESS = """
import os

class Forks(LiveOperation):
    def run(self, p):
        if (child := os.fork()) == 0:
            p.status("working")
            p.percent(50)
            p.log("not recorded")
            p.check_cancelled()
            for number in p.track([1, 2]):
                print(number)
            print(p.map(abs, [-3]))
            os._exit(0)
        p.log(f"the fork ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
"""


def test_what_need_not_be_recorded_works_in_a_fork(project: Project) -> None:
    project.recipe("forks", HARMLESS)

    done = project.stagerun("run", "forks", "--progress", "quiet")

    assert (done.code, done.out.splitlines(), done.err) == (0, ["1", "2", "[3]"], "")
    assert logged(project, 1) == ["the fork ended with 0"]


FAILING = """
import os

class Forks(LiveOperation):
    token: Secret

    def run(self, p):
        if (child := os.fork()) == 0:
            raise ValueError(f"no {self.token.reveal()}")
        p.log(f"the fork ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
"""


def test_a_fork_that_fails_shows_its_traceback_and_ends(project: Project) -> None:
    project.recipe("forks", FAILING)

    done = project.stagerun("run", "forks", "--progress", "quiet", environ={"STAGERUN_TOKEN": "hunter22"})

    assert (done.code, done.out, done.err.splitlines()[-1]) == (0, "", "ValueError: no ***")
    assert logged(project, 1) == ["the fork ended with 1"]
