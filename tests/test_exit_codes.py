"""The exit code of `stagerun run`, and how a process that a signal cancels goes."""

import signal
import subprocess
import sys

import pytest

from stagerun import LiveOperation, Progress
from stagerun.states import RunState, StageState
from stagerun.view import RunView
from tests.conftest import STAGERUN, Bench, Done, Project, timeless
from tests.processes import until


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def _last(project: Project) -> RunView:
    return project.records().find("last")


def _logged(project: Project) -> list[str]:
    return project.stagerun("logs").out.splitlines()


def test_0_is_for_a_run_that_succeeded(project: Project) -> None:
    project.recipe("jobs", "class Good(LiveOperation):\n    def run(self, p): pass\n")

    done = project.stagerun("run", "jobs")

    assert (done.code, _last(project).state, _last(project).exit_code) == (0, RunState.SUCCEEDED, 0)


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('boom')",
        "p.error('no rows')",
        "p.error('no rows'); raise SystemExit(0)",
        "raise BaseException('deep')",
    ],
)
def test_1_is_for_a_run_that_failed(project: Project, body: str) -> None:
    project.recipe("jobs", f"class Bad(LiveOperation):\n    def run(self, p): {body}\n")

    done = project.stagerun("run", "jobs")

    assert (done.code, done.err) == (1, "")
    assert (_last(project).state, _last(project).exit_code) == (RunState.FAILED, 1)


@pytest.mark.parametrize("arguments", [("run",), ("run", "nowhere:Op"), ("run", "jobs", "--wrong"), ("walk",), ()])
def test_2_is_for_a_wrong_command_line(project: Project, arguments: tuple[str, ...]) -> None:
    project.recipe("jobs", "class Good(LiveOperation):\n    def run(self, p): pass\n")

    done = project.stagerun(*arguments)

    assert (done.code, done.out) == (2, "")
    assert not project.journal.exists()


def test_3_is_for_a_recipe_that_can_not_be_imported(project: Project) -> None:
    project.recipe("jobs", "raise ValueError\n")

    assert project.stagerun("run", "jobs").code == 3
    assert not project.journal.exists()


@pytest.mark.parametrize("command", ["run jobs", "status", "history", "logs"])
def test_3_is_for_a_journal_that_is_no_journal(project: Project, command: str) -> None:
    project.recipe("jobs", "class Good(LiveOperation):\n    def run(self, p): pass\n")
    file = project.root / "notes.txt"
    file.write_text("these are notes, no journal\n" * 100)

    done = project.stagerun(*command.split(), "--journal", "notes.txt")

    message, hint = done.err.splitlines()
    assert (done.code, done.out) == (3, "")
    assert message.startswith("stagerun: journal ")
    assert "notes.txt" in message
    assert hint.startswith("  ")
    assert file.read_text() == "these are notes, no journal\n" * 100


@pytest.mark.parametrize(
    ("argument", "outside", "inside"),
    [
        (0, 0, 1),
        (None, 0, 1),
        (False, 0, 1),
        (1, 1, 1),
        (7, 7, 7),
        (125, 125, 125),
        (126, 125, 125),
        (256, 125, 125),
        (-1, 1, 1),
        ("a text", 1, 1),
        ((1, 2), 1, 1),
    ],
)
def test_system_exit_passes_through_inside_1_to_125_and_0_stays_only_if_no_stage_was_cut_short(
    bench: Bench, argument: object, outside: int, inside: int
) -> None:
    class Outside(LiveOperation):
        stages = ["Work"]

        def run(self, p: Progress) -> None:
            with p.stage("Work"):
                pass
            raise SystemExit(argument)

    class Inside(LiveOperation):
        stages = ["Work"]

        def run(self, p: Progress) -> None:
            with p.stage("Work"):
                raise SystemExit(argument)

    outer, inner = bench.run(Outside()), bench.run(Inside())

    assert (outer.exit_code, outer.state) == (outside, RunState.FAILED if outside else RunState.SUCCEEDED)
    assert outer.stage_states == {"Work": StageState.DONE}
    assert (inner.exit_code, inner.state) == (inside, RunState.FAILED)
    assert inner.stage_states == {"Work": StageState.FAILED}


def test_the_text_of_a_system_exit_is_told(project: Project) -> None:
    project.recipe("jobs", "class Stop(LiveOperation):\n    def run(self, p): raise SystemExit('no rows today')\n")

    done = project.stagerun("run", "jobs", "--progress", "quiet")

    assert "SystemExit: no rows today" in done.out.splitlines()


CHAIN = """
import sys

class First(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Second())

class Second(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Third())
        {end}

class Third(LiveOperation):
    def run(self, p: Progress) -> None:
        raise SystemExit(9)
"""


@pytest.mark.parametrize(
    ("end", "code", "ran"),
    [
        ("pass", 9, ["First", "Second", "Third"]),
        ("raise SystemExit(7)", 7, ["First", "Second"]),
        ("raise ValueError", 1, ["First", "Second"]),
        ("p.error('no')", 1, ["First", "Second"]),
    ],
)
def test_the_first_link_of_a_chain_that_does_not_succeed_decides_and_is_the_last(
    project: Project, end: str, code: int, ran: list[str]
) -> None:
    project.recipe("chain", CHAIN.format(end=end))

    done = project.stagerun("run", "chain:First")

    assert done.code == code
    assert [view.plan.operation for view in reversed(project.records().history(limit=9))] == ran


def test_a_run_that_exits_with_0_after_chain_to_has_not_returned_and_chains_nothing(project: Project) -> None:
    project.recipe("chain", CHAIN.format(end="sys.exit(0)"))

    done = project.stagerun("run", "chain:First")

    assert done.code == 0
    assert [view.plan.operation for view in reversed(project.records().history(limit=9))] == ["First", "Second"]


OP = """
import time
from itertools import count
from pathlib import Path

class Op(LiveOperation):
    stages = ["Before", "Work", "After"]

    def run(self, p: Progress) -> None:
        with p.stage("Before"):
            pass
        with p.stage("Work"):
            {work}
        with p.stage("After"):
            pass
"""
CLEANED_UP = """
            finally:
                p.log("cleaned up")"""
SLEEP = OP.format(
    work="""try:
                Path("ready").touch()
                time.sleep(600)"""
    + CLEANED_UP
)
TRACK = OP.format(
    work="""try:
                for n in p.track(count()):
                    if n == 1000:
                        Path("ready").touch()"""
    + CLEANED_UP
)
SWALLOW = OP.format(
    work="""try:
                Path("ready").touch()
                time.sleep(600)
            except BaseException:
                p.log("cleaned up")
            p.log("never reached")"""
)


# Python 3.13 leaves the jump back of a loop out of the `try` around it: a signal there skips the `finally`.
MAY_SKIP_FINALLY = sys.version_info[:2] == (3, 13)


def _signalled(project: Project, number: signal.Signals) -> Done:
    """Run jobs:Op, send it the signal once it has made the file `ready`, and return how it went."""
    with project.start("run", "jobs:Op") as process:
        until((project.root / "ready").exists)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return Done(process.wait(), out, err)


@pytest.mark.parametrize(
    ("source", "number"),
    [(SLEEP, signal.SIGINT), (SLEEP, signal.SIGTERM), (TRACK, signal.SIGTERM), (SWALLOW, signal.SIGHUP)],
    ids=["sleeping-int", "sleeping-term", "tracking-term", "swallowing-hup"],
)
def test_a_signal_cancels_the_run_and_the_process_dies_of_it(
    project: Project, source: str, number: signal.Signals
) -> None:
    project.recipe("jobs", source)

    done = _signalled(project, number)

    view = _last(project)
    assert (done.code, done.err) == (-number, "")
    assert (view.state, view.signal, view.exit_code, view.error) == (
        RunState.CANCELLED,
        number.name,
        128 + number,
        None,
    )
    assert view.stage_states == {"Before": StageState.DONE, "Work": StageState.CANCELLED, "After": StageState.PENDING}
    logged = _logged(project)
    assert logged == ["cleaned up"] or (source is TRACK and MAY_SKIP_FINALLY and logged == [])
    shown = [line for line in timeless(done.out).splitlines() if not line.startswith("Work: ")]
    assert shown == [
        "run 1 · jobs:Op · started by alice",
        "=== [1/3] Before ===",
        "--- [1/3] Before: done in 0.0s",
        "=== [2/3] Work ===",
        *logged,
        "--- [2/3] Work: cancelled after 0.0s",
        f"run 1 cancelled by {number.name} in [2/3] Work after 0.0s",
        "resume with: stagerun resume 1",
    ]


def test_a_cancel_that_a_recipe_swallows_to_its_very_end_is_still_a_cancel(project: Project) -> None:
    project.recipe(
        "jobs",
        """
import time
from pathlib import Path

class Op(LiveOperation):
    def run(self, p: Progress) -> None:
        try:
            Path("ready").touch()
            time.sleep(600)
        except BaseException:
            pass
""",
    )

    done = _signalled(project, signal.SIGTERM)

    assert done.code == -signal.SIGTERM
    assert (_last(project).state, _last(project).signal) == (RunState.CANCELLED, "SIGTERM")


def test_an_error_during_the_clean_up_of_a_cancel_is_told_and_the_run_is_cancelled(project: Project) -> None:
    project.recipe("jobs", SLEEP.replace('p.log("cleaned up")', 'raise ValueError("clean-up broke")'))

    done = _signalled(project, signal.SIGTERM)

    view = _last(project)
    assert done.code == -signal.SIGTERM
    assert (view.state, view.signal) == (RunState.CANCELLED, "SIGTERM")
    assert StageState.ACTIVE not in view.stage_states.values()
    assert view.error is not None
    assert (view.error.type, view.error.message) == ("ValueError", "clean-up broke")
    assert "ValueError: clean-up broke" in done.out.splitlines()


def test_a_keyboard_interrupt_of_the_recipe_itself_is_a_cancel_by_sigint(project: Project) -> None:
    project.recipe("jobs", "class Op(LiveOperation):\n    def run(self, p): raise KeyboardInterrupt\n")

    done = project.stagerun("run", "jobs")

    assert (done.code, done.err) == (-signal.SIGINT, "")
    assert (_last(project).state, _last(project).signal, _last(project).exit_code) == (
        RunState.CANCELLED,
        "SIGINT",
        130,
    )


def test_a_chain_that_a_signal_stops_goes_no_further(project: Project) -> None:
    project.recipe(
        "jobs",
        SLEEP.replace("class Op", "class Slow")
        + """
class Op(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Slow())
""",
    )

    done = _signalled(project, signal.SIGINT)

    assert done.code == -signal.SIGINT
    assert [(view.plan.operation, view.state) for view in project.records().history(limit=9)] == [
        ("Slow", RunState.CANCELLED),
        ("Op", RunState.SUCCEEDED),
    ]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_recipe_is_imported_leaves_no_run_and_no_traceback(
    project: Project, number: signal.Signals
) -> None:
    project.recipe("jobs", 'import time\nfrom pathlib import Path\nPath("ready").touch()\ntime.sleep(600)\n')

    done = _signalled(project, number)

    assert (done.code, done.out, done.err.strip()) == (-number, "", "")
    assert not project.journal.exists()


LATE = """
import os, signal

class Late(LiveOperation):
    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "state" and value == "succeeded":
            for _ in range({times}):
                os.kill(os.getpid(), signal.SIGTERM)

class Op(Late):
    def run(self, p: Progress) -> None:
        {body}

class Next(LiveOperation):
    def run(self, p: Progress) -> None:
        p.log("never reached")
"""


@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_after_the_end_changes_nothing(project: Project, times: int) -> None:
    project.recipe("jobs", LATE.format(body="pass", times=times))

    done = project.stagerun("run", "jobs:Op")

    assert (done.code, timeless(done.out), done.err) == (
        0,
        "run 1 · jobs:Op · started by alice\nrun 1 succeeded in 0.0s\n",
        "",
    )
    assert _last(project).state is RunState.SUCCEEDED


# What a recipe leaves behind runs after the end is recorded: in a thread, when Python ends, when its modules go.
LEFT_BEHIND = """
import atexit, os, signal, threading, time

def send(times=1, kill=os.kill, me=os.getpid(), number=signal.SIGTERM):
    for _ in range(times):
        kill(me, number)

def after_the_end():
    threading.main_thread().join()
    send()

class Rest:
    def __del__(self, send=send):
        send()

class Op(LiveOperation):
    def run(self, p: Progress) -> None:
        {left}
        raise SystemExit({code})
"""


@pytest.mark.parametrize(
    ("left", "code"),
    [("threading.Thread(target=after_the_end).start()", 0), ("atexit.register(send, 2)", 7), ("Op.rest = Rest()", 0)],
    ids=["thread", "atexit", "module"],
)
def test_a_signal_while_python_ends_does_not_change_the_exit_code(project: Project, left: str, code: int) -> None:
    project.recipe("jobs", LEFT_BEHIND.format(left=left, code=code))

    done = project.stagerun("run", "jobs:Op", "--progress", "quiet", fresh=True)

    assert (done.code, done.err) == (code, "")


def test_a_third_signal_after_the_end_breaks_off_what_is_left_and_does_not_change_the_exit_code(
    project: Project,
) -> None:
    project.recipe(
        "jobs", LEFT_BEHIND.format(left="atexit.register(time.sleep, 600); atexit.register(send, 3)", code=7)
    )

    done = project.stagerun("run", "jobs:Op", "--progress", "quiet", fresh=True)

    assert (done.code, done.err) == (7, "")


def test_a_signal_between_two_links_cancels_the_second_before_it_starts(project: Project) -> None:
    project.recipe("jobs", LATE.format(body="p.chain_to(Next())", times=1))

    done = project.stagerun("run", "jobs:Op")

    second, first = project.records().history(limit=9)
    assert (done.code, done.err) == (-signal.SIGTERM, "")
    assert first.state is RunState.SUCCEEDED
    assert (second.state, second.signal, second.exit_code) == (RunState.CANCELLED, "SIGTERM", 143)
    assert second.started_on is None


def test_signals_that_the_parent_ignores_stay_ignored(project: Project) -> None:
    project.recipe(
        "jobs",
        """
import time
from pathlib import Path

class Op(LiveOperation):
    def run(self, p: Progress) -> None:
        Path("ready").touch()
        while not Path("go").exists():
            time.sleep(0.01)
        p.check_cancelled()
""",
    )
    names = " ".join(number.name.removeprefix("SIG") for number in SIGNALS)
    ignoring = f'trap \'\' {names}; exec "$0" "$@"'
    command = ["sh", "-c", ignoring, str(STAGERUN), "run", "jobs:Op", "--progress", "quiet"]

    with subprocess.Popen(
        command,
        cwd=project.root,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        until((project.root / "ready").exists)
        for number in SIGNALS:
            process.send_signal(number)
        (project.root / "go").touch()
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, b"", b"")
    assert _last(project).state is RunState.SUCCEEDED


def test_a_shell_sees_128_and_the_signals_number(project: Project) -> None:
    project.recipe(
        "jobs",
        "import os, signal\nclass Op(LiveOperation):\n    def run(self, p): os.kill(os.getpid(), signal.SIGTERM)\n",
    )

    done = subprocess.run(
        ["sh", "-c", '"$0" run jobs:Op >/dev/null; echo $?', str(STAGERUN)],
        cwd=project.root,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "143\n"


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("raise SystemExit(7)", 7)])
def test_an_output_that_can_not_be_written_changes_neither_the_run_nor_its_exit_code(
    project: Project, body: str, code: int
) -> None:
    project.recipe(
        "jobs", f"class Op(LiveOperation):\n    def run(self, p):\n        p.log('x' * 99)\n        {body}\n"
    )

    done = project.stagerun("run", "jobs", full=True)

    assert (done.code, done.err) == (code, "")
    assert _last(project).exit_code == code


def test_a_reader_that_goes_away_changes_neither_the_run_nor_its_exit_code(project: Project) -> None:
    project.recipe(
        "jobs",
        """
import time
from pathlib import Path

class Op(LiveOperation):
    def run(self, p: Progress) -> None:
        Path("ready").touch()
        while not Path("go").exists():
            time.sleep(0.01)
        for n in range(1000):
            p.log("a line")
""",
    )

    with project.start("run", "jobs") as process:
        until((project.root / "ready").exists)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        (project.root / "go").touch()
        code = process.wait(timeout=60)
        err = process.stderr.read()

    assert (code, err) == (0, "")
    assert len(_logged(project)) == 1000
