"""What bounds a run: limits of time, and operations that exclude a second run of their own."""

import os
import signal

import pytest

from stagerun import LiveOperation, Progress
from stagerun.errors import RecipeError
from stagerun.states import RunState, StageState
from tests.conftest import Bench, Project, timeless
from tests.processes import GATE, finish, logged, look, open_gate, read_until, rows, running
from tests.serving import Command


def _slow(*, body: str, setting: str = "", stage: str = 'p.stage("Load")') -> str:
    return f"""{GATE}
class Slow(LiveOperation):
    stages = ["Load", "Save"]
    {setting}

    def run(self, p):
        with {stage}:
            {body}
"""


def _text(project: Project, message: str, struck: str) -> str:
    """Return what a run is told of that a limit ended in the first line of the recipe with `struck`."""
    recipe = project.root / "recipes" / "slow.py"
    line = next(number for number, line in enumerate(recipe.read_text().splitlines(), 1) if struck in line)
    return (
        "run 1 · slow:Slow · started by alice\n"
        "=== [1/2] Load ===\n"
        "--- [1/2] Load: failed after 0.0s\n"
        f"error: {message} ({recipe}, line {line})\n"
        "run 1 timed out in [1/2] Load after 0.0s\n"
        "resume with: stagerun resume 1\n"
    )


def _assert_timed_out(project: Project, message: str) -> None:
    view = look(project, 1)
    assert view.error is not None
    assert (view.state, view.exit_code, view.signal) == (RunState.TIMED_OUT, 124, None)
    assert view.stage_states == {"Load": StageState.FAILED, "Save": StageState.PENDING}
    assert (view.error.message, view.error.stage) == (message, "Load")


SLEEP, BUSY_LOOP = "time.sleep(600)", "while True: pass"
OF_THE_STAGE = 'p.stage("Load", timeout=0.25)'
RUN_TOO_LONG, STAGE_TOO_LONG = "the run took longer than 0.25s", "stage 'Load' took longer than 0.25s"


@pytest.mark.parametrize(
    ("source", "options", "environ", "message"),
    [
        (_slow(body=SLEEP, setting="timeout = 0.25"), [], {}, RUN_TOO_LONG),
        (_slow(body=BUSY_LOOP, setting="timeout = 0.25"), [], {}, RUN_TOO_LONG),
        (_slow(body=SLEEP, stage=OF_THE_STAGE), [], {}, STAGE_TOO_LONG),
        (_slow(body=BUSY_LOOP, stage=OF_THE_STAGE), [], {}, STAGE_TOO_LONG),
        (_slow(body=SLEEP), ["--timeout", "0.25"], {}, RUN_TOO_LONG),
        (_slow(body=SLEEP), [], {"STAGERUN_TIMEOUT": "0.25"}, RUN_TOO_LONG),
    ],
    ids=[
        *("the operation in a sleep", "the operation in a loop", "the stage in a sleep", "the stage in a loop"),
        *("the command line", "the environment"),
    ],
)
def test_a_limit_wherever_it_is_set_ends_its_run_as_timed_out(
    project: Project, source: str, options: list[str], environ: dict[str, str], message: str
) -> None:
    project.recipe("slow", source)

    done = project.stagerun("run", "slow", *options, environ=environ)

    assert (done.code, timeless(done.out), done.err) == (124, _text(project, message, source.splitlines()[-1]), "")
    _assert_timed_out(project, message)


NO_ALARM = "signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.setitimer(signal.ITIMER_REAL, 0)"
NO_SIGNAL = "[signal.signal(number, signal.SIG_IGN) for number in {*range(1, 32)} - {9, 17, 19}]"


@pytest.mark.parametrize(
    "body",
    [
        f"{NO_ALARM}; time.sleep(600)",
        f"{NO_ALARM}\n            while True: pass",
        f"{NO_SIGNAL}\n            while True: p.log('more'); time.sleep(0.1)",
        f"{NO_SIGNAL}\n            for _ in p.track(range(10**6)): time.sleep(0.01)",
        f"{NO_SIGNAL}\n            p.map(lambda _: time.sleep(0.1), range(10**6), workers=2)",
        f"{NO_SIGNAL}\n            p.sh(['sleep', '600'])",
    ],
    ids=[
        "no alarm, in a sleep",
        "no alarm, in a loop",
        *(f"no signal, in {call}" for call in ("log", "track", "map", "sh")),
    ],
)
def test_a_library_that_takes_the_alarm_or_all_signals_does_not_switch_a_limit_off(project: Project, body: str) -> None:
    project.recipe("slow", _slow(body=body, setting="timeout = 0.25"))

    done = project.stagerun("run", "slow", "--progress", "quiet")

    assert (done.code, done.err) == (124, "")
    _assert_timed_out(project, RUN_TOO_LONG)


def test_a_limit_leaves_the_alarm_to_the_recipe(project: Project) -> None:
    body = """rung = []
            signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with p.stage("more", timeout=60):
                pass
            while not rung:
                time.sleep(0.01)"""
    project.recipe("slow", _slow(body=body, setting="timeout = 60"))

    done = project.stagerun("run", "slow")

    assert (done.code, look(project, 1).state) == (0, RunState.SUCCEEDED)


def test_the_limit_of_the_command_line_holds_for_a_whole_chain(project: Project) -> None:
    project.recipe(
        "links",
        GATE
        + """
class First(LiveOperation):
    def run(self, p):
        p.chain_to(Second())


class Second(LiveOperation):
    def run(self, p):
        gate("never")
""",
    )

    done = project.stagerun("run", "links:First", "--timeout", "0.75")

    assert (done.code, done.err) == (124, "")
    assert [look(project, run).state for run in (1, 2)] == [RunState.SUCCEEDED, RunState.TIMED_OUT]


def test_a_limit_that_was_swallowed_is_raised_again_by_the_next_call(project: Project) -> None:
    project.recipe(
        "slow",
        GATE
        + """
class Slow(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p):
        with p.stage("Load", timeout=0.25):
            try:
                gate("never")
            except BaseException:
                pass
            pathlib.Path("swallowed").touch()
            p.log("went on")
            pathlib.Path("went on").touch()
""",
    )

    done = project.stagerun("run", "slow")

    assert (project.root / "swallowed").exists()
    assert not (project.root / "went on").exists()
    message = "stage 'Load' took longer than 0.25s"
    assert (done.code, timeless(done.out), done.err) == (124, _text(project, message, "went on"), "")
    _assert_timed_out(project, message)


def test_clean_up_runs_when_a_limit_is_reached(project: Project) -> None:
    project.recipe(
        "slow",
        GATE
        + """
class Slow(LiveOperation):
    timeout = 0.25

    def run(self, p):
        try:
            gate("never")
        finally:
            time.sleep(0.5)
            p.log("tidied")
""",
    )

    done = project.stagerun("run", "slow")

    assert done.code == 124
    assert logged(project, 1) == ["tidied"]


def test_limits_that_are_not_reached_change_nothing(project: Project) -> None:
    body = """
class Quick(LiveOperation):
    stages = ["Load", "Save"]
    {setting}

    def run(self, p):
        with p.stage("Load"{limit}):
            p.log("loaded")
        with p.stage("Save"):
            p.log("saved")
"""
    project.recipe("quick", body.format(setting="", limit=""))
    free = project.stagerun("run", "quick")
    project.recipe("quick", body.format(setting="timeout = 60", limit=", timeout=50"))
    limited = project.stagerun("run", "quick", "--timeout", "70")

    assert (free.code, limited.code, limited.err) == (0, 0, "")
    assert timeless(limited.out) == timeless(free.out).replace("run 1", "run 2")


def test_the_limit_of_a_stage_ends_with_the_stage(project: Project) -> None:
    project.recipe(
        "quick",
        GATE
        + """
class Quick(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p):
        with p.stage("Load", timeout=0.5):
            pass
        with p.stage("Save"):
            time.sleep(0.8)
""",
    )

    done = project.stagerun("run", "quick")

    assert (done.code, look(project, 1).state) == (0, RunState.SUCCEEDED)


def test_the_shorter_limit_ends_the_run_and_is_named(project: Project) -> None:
    project.recipe("slow", _slow(body="time.sleep(600)", setting="timeout = 60", stage='p.stage("Load", timeout=0.25)'))

    done = project.stagerun("run", "slow", "--timeout", "50")

    assert (done.code, timeless(done.out)) == (124, _text(project, STAGE_TOO_LONG, SLEEP))


BAD_LIMITS = {
    "zero": 0,
    "negative": -1,
    "text": "5",
    "not a number": float("nan"),
    "infinite": float("inf"),
    "a truth value": True,
}


@pytest.mark.parametrize("limit", BAD_LIMITS.values(), ids=BAD_LIMITS)
def test_a_limit_that_is_no_number_of_seconds_is_refused_when_the_class_is_made(limit: object) -> None:
    with pytest.raises(RecipeError) as refused:
        type("Slow", (LiveOperation,), {"timeout": limit})

    assert refused.value.message == f"Slow: timeout must be a number of seconds above 0, not {limit!r}"


@pytest.mark.parametrize("limit", BAD_LIMITS.values(), ids=BAD_LIMITS)
def test_a_limit_that_is_no_number_of_seconds_is_refused_before_the_stage_is_entered(
    bench: Bench, limit: float
) -> None:
    class Slow(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            with p.stage("Load", timeout=limit):
                pass

    view = bench.run(Slow())

    assert view.error is not None
    assert (view.state, view.error.type) == (RunState.FAILED, "RecipeError")
    assert view.stage_states == {"Load": StageState.PENDING}


@pytest.mark.parametrize("limit", ["0", "-1", "soon", "", "nan", "inf"])
def test_a_limit_that_is_no_number_of_seconds_is_refused_on_the_command_line(project: Project, limit: str) -> None:
    project.recipe("slow", _slow(body="pass"))

    done = project.stagerun("run", "slow", f"--timeout={limit}")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"stagerun: --timeout can't be {limit!r}\n")
    assert not project.journal.exists()


def test_a_limit_of_ages_is_never_reached(project: Project) -> None:
    project.recipe("slow", _slow(body="pass", setting="timeout = 1e300", stage='p.stage("Load", timeout=1e300)'))

    done = project.stagerun("run", "slow", "--timeout", "1e300")

    assert (done.code, done.err) == (0, "")
    assert look(project, 1).state is RunState.SUCCEEDED


SOLO = (
    GATE
    + """
class Solo(LiveOperation):
    exclusive = True

    def run(self, p):
        p.log("ready")
        gate("go")


class Other(LiveOperation):
    exclusive = True

    def run(self, p):
        p.log("other")


class Before(LiveOperation):
    stages = ["Wait"]

    def run(self, p):
        with p.stage("Wait"):
            p.log("waiting")
            gate("chain")
        p.chain_to(Solo())
"""
)


def _held_by(holder: Command) -> str:
    return f"solo:Solo is exclusive, and run 1 is still running (process {holder.pid} on {os.uname().nodename})"


def test_a_second_run_of_an_exclusive_operation_is_refused_and_the_holder_named(project: Project) -> None:
    project.recipe("solo", SOLO)

    with running(project, "run", "solo:Solo") as holder:
        read_until(holder, "ready")
        second = project.stagerun("run", "solo:Solo")
        other = project.stagerun("run", "solo:Other")
        open_gate(project, "go")
        held = finish(holder)

    assert (second.code, second.out, second.err) == (
        3,
        "",
        f"stagerun: {_held_by(holder)}\n  wait for it: stagerun wait 1, or queue behind it: --wait\n",
    )
    assert (held.code, other.code) == (0, 0)
    assert rows(project, "SELECT id, operation, state FROM runs ORDER BY id") == [
        (1, "Solo", "succeeded"),
        (2, "Other", "succeeded"),
    ]


def test_an_exclusive_operation_is_the_same_one_however_its_recipe_is_named(project: Project) -> None:
    file = project.recipe("solo", SOLO)

    with running(project, "run", "solo:Solo") as holder:
        read_until(holder, "ready")
        with running(project, "run", f"{file.relative_to(project.root)}:Solo", "--timeout", "2") as second:
            code = second.wait(60)

    assert code == 3


def test_an_exclusive_operation_runs_again_when_the_holder_has_ended(project: Project) -> None:
    project.recipe("solo", SOLO)
    open_gate(project, "go")

    codes = [project.stagerun("run", "solo:Solo").code for _ in range(2)]

    assert codes == [0, 0]


def test_an_exclusive_operation_runs_again_when_the_holder_was_killed(project: Project) -> None:
    project.recipe("solo", SOLO)

    with running(project, "run", "solo:Solo") as holder:
        read_until(holder, "ready")
        holder.kill()
        holder.wait()
    open_gate(project, "go")
    second = project.stagerun("run", "solo:Solo")

    assert (second.code, second.err) == (0, "")
    assert [look(project, run).state for run in (1, 2)] == [RunState.CRASHED, RunState.SUCCEEDED]


def test_a_chain_that_leads_to_an_operation_which_is_held_fails_with_3_and_names_the_holder(project: Project) -> None:
    project.recipe("solo", SOLO)

    with running(project, "run", "solo:Solo") as holder:
        read_until(holder, "ready")
        open_gate(project, "chain")
        chain = project.stagerun("run", "solo:Before")

    assert (chain.code, chain.err) == (3, "")
    assert timeless(chain.out) == (
        "run 2 · solo:Before · started by alice\n"
        "=== [1/1] Wait ===\n"
        "waiting\n"
        "--- [1/1] Wait: done in 0.0s\n"
        f"error: {_held_by(holder)}\n"
        "run 2 failed after 0.0s\n"
        "resume with: stagerun resume 2\n"
    )
    assert rows(project, "SELECT count(*) FROM runs") == [(2,)]
    assert (look(project, 2).exit_code, look(project, 2).chained_to) == (3, None)


@pytest.mark.parametrize("death", [signal.SIGTERM, signal.SIGKILL], ids=["cancelled", "killed"])
def test_a_chain_goes_on_to_an_exclusive_operation_whose_holder_is_gone_by_then(
    project: Project, death: signal.Signals
) -> None:
    project.recipe("solo", SOLO)

    with running(project, "run", "solo:Solo") as holder:
        read_until(holder, "ready")
        with running(project, "run", "solo:Before") as chain:
            read_until(chain, "waiting")
            holder.send_signal(death)
            holder.wait()
            open_gate(project, "go")
            open_gate(project, "chain")
            ended = finish(chain)

    assert (ended.code, ended.err) == (0, "")
    assert look(project, 2).chained_to == 3
    assert look(project, 3).state is RunState.SUCCEEDED


def test_a_dry_run_of_an_operation_that_is_held_is_not_refused(project: Project) -> None:
    project.recipe("solo", SOLO)

    with running(project, "run", "solo:Solo") as holder:
        read_until(holder, "ready")
        plan = project.stagerun("run", "solo:Solo", "--dry-run")

    assert (plan.code, plan.err) == (0, "")
