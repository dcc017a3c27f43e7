"""What a recipe does once its run is over: `on_success`, `on_failure`, `on_cancel`."""

import asyncio
import os
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stagerun import LiveOperation, Progress, events
from stagerun.engine import hooks
from stagerun.errors import RecipeError
from stagerun.states import RunState
from tests.conftest import Bench, Project, Seen, timeless
from tests.processes import until


SAID: list[tuple[object, ...]] = []


class Telling(LiveOperation):
    """Notes which hook was called, and what the operation then knew."""

    def on_success(self) -> None:
        self._note("on_success")

    def on_failure(self) -> None:
        self._note("on_failure")

    def on_cancel(self) -> None:
        self._note("on_cancel")

    def _note(self, hook: str) -> None:
        SAID.append((hook, self.id, self.state, self.result_context, self.finished_on is not None))


@pytest.fixture(autouse=True)
def _nothing_is_said_yet() -> None:
    SAID.clear()


def test_each_end_calls_its_hook_when_the_operation_knows_how_it_ended(bench: Bench) -> None:
    class Succeeds(Telling):
        def run(self, p: Progress) -> None:
            p.result(count=3)

    class Fails(Telling):
        def run(self, p: Progress) -> None:
            raise ValueError("boom")

    class TakesTooLong(Telling):
        timeout = 0.01

        def run(self, p: Progress) -> None:
            while True:
                p.check_cancelled()

    class IsCancelled(Telling):
        def run(self, p: Progress) -> None:
            bench.interrupts.request("SIGTERM")
            p.check_cancelled()

    for kind in (Succeeds, Fails, TakesTooLong, IsCancelled):
        bench.interrupts = type(bench.interrupts)()
        bench.run(kind())

    assert SAID == [
        ("on_success", 1, RunState.SUCCEEDED, {"count": 3}, True),
        ("on_failure", 2, RunState.FAILED, None, True),
        ("on_failure", 3, RunState.TIMED_OUT, None, True),
        ("on_cancel", 4, RunState.CANCELLED, None, True),
    ]


def test_a_hook_is_called_after_the_end_is_recorded(bench: Bench) -> None:
    class Looks(LiveOperation):
        def run(self, p: Progress) -> None: ...

        def on_success(self) -> None:
            records = bench.records()
            SAID.append((records.find("last").state,))
            records.close()

    bench.run(Looks())

    assert SAID == [(RunState.SUCCEEDED,)]


def test_each_link_of_a_chain_has_its_own_hook_before_the_next_one_begins(bench: Bench) -> None:
    class Link(Telling):
        left: int = 2

        def run(self, p: Progress) -> None:
            SAID.append(("run", self.id))
            if self.left:
                p.chain_to(Link(left=self.left - 1))

    bench.run(Link())

    assert [said[:2] for said in SAID] == [
        ("run", 1),
        ("on_success", 1),
        ("run", 2),
        ("on_success", 2),
        ("run", 3),
        ("on_success", 3),
    ]


def test_what_a_link_says_after_its_end_stands_above_the_next_link(bench: Bench) -> None:
    class Link(LiveOperation):
        left: int = 1

        def run(self, p: Progress) -> None:
            if self.left:
                p.chain_to(Link(left=0))

        def on_success(self) -> None:
            print("told the team")

    bench.run(Link(owner="alice"))

    assert bench.text.splitlines() == [
        "run 1 · demo:Link · started by alice",
        "run 1 succeeded in 0.0s",
        "run 1, on_success: told the team",
        "run 2 · demo:Link · chained from run 1",
        "run 2 succeeded in 0.0s",
        "run 2, on_success: told the team",
    ]


@dataclass
class Heard(Seen):
    """Keeps what it is told of a run that is over, too."""

    asides: list[events.Log] = field(default_factory=list)

    def afterword(self, log: events.Log) -> None:
        self.asides.append(log)


class Speaks(LiveOperation):
    """Prints, logs and fails in its hook."""

    def run(self, p: Progress) -> None: ...

    def on_success(self) -> None:
        import logging
        import sys

        print("told the team")
        logging.getLogger("mail").warning("the queue is long")
        sys.stderr.write("no newline")
        raise RuntimeError("the mail server hung up")


def test_what_a_hook_says_is_shown_with_its_run_and_its_name_and_recorded_nowhere(bench: Bench) -> None:
    bench.seen = heard = Heard()

    view = bench.run(Speaks())

    assert view.state is RunState.SUCCEEDED
    assert view.exit_code == 0
    shown = [(log.text.partition("\n")[0], log.level, log.stream) for log in heard.asides]
    assert shown == [
        ("run 1, on_success: told the team", "info", "stdout"),
        ("run 1, on_success: the queue is long", "warning", "mail"),
        ("run 1, on_success: no newline", "info", "stderr"),
        ("run 1, on_success failed: RuntimeError: the mail server hung up", "error", None),
        ("Traceback (most recent call last):", "info", None),
    ]
    assert [type(event) for event in heard.events] == [events.RunCreated, events.RunStarted, events.RunFinished]
    records = bench.records()
    assert [type(entry.event) for entry in records.entries(1)][-1] is events.RunFinished
    records.close()


def test_a_hook_that_takes_long_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.seen = heard = Heard()
    monkeypatch.setattr(hooks, "PATIENCE", 0.01)

    class Hangs(LiveOperation):
        def run(self, p: Progress) -> None: ...

        def on_success(self) -> None:
            until(lambda: heard.asides)

    bench.run(Hangs())

    assert [log.text for log in heard.asides] == ["run 1, on_success is still running"]


HOOKS = """
import time

def wait():
    # In short steps: Python does not notice a signal that arrives just before a long one begins.
    for _ in range(600):
        time.sleep(0.1)

class Says(LiveOperation):
    token: Secret = Secret("hunter22")

    def run(self, p: Progress) -> None: ...

    def on_success(self) -> None:
        import logging

        logging.getLogger("mail").debug("connecting")
        print(f"told with {self.token.reveal()}")
        raise ValueError("boom")

class Hangs(LiveOperation):
    def run(self, p: Progress) -> None: ...

    def on_success(self) -> None:
        try:
            print("sending")
            wait()
        finally:
            print("hanging up")

class Stubborn(LiveOperation):
    def run(self, p: Progress) -> None:
        raise ValueError("boom")

    def on_failure(self) -> None:
        while True:
            try:
                print("sending")
                wait()
            except BaseException:
                pass

class Pair(LiveOperation):
    last: bool = False

    def run(self, p: Progress) -> None:
        if not self.last:
            p.chain_to(Pair(last=True))

    def on_success(self) -> None:
        import os

        print("told by", os.getpid())

class First(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Hangs())

    on_success = Hangs.on_success

class Writes(LiveOperation):
    def run(self, p: Progress) -> None:
        with open("ran.txt", "a") as file:
            file.write("ran\\n")

class Forks(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Writes())

    def on_success(self) -> None:
        import os

        if os.fork():
            os.wait()
"""


@pytest.mark.parametrize(
    ("mode", "out", "err"),
    [
        (
            "plain",
            [
                "run 1 · hooks:Says · started by alice",
                "run 1 succeeded in 0.0s",
                "run 1, on_success: told with ***",
                "error: run 1, on_success failed: ValueError: boom",
                "Traceback (most recent call last):",
            ],
            "",
        ),
        ("quiet", ["error: run 1, on_success failed: ValueError: boom"], ""),
        (
            "json",
            None,
            "run 1, on_success: told with ***\nerror: run 1, on_success failed: ValueError: boom\nTraceback",
        ),
    ],
)
def test_each_display_shows_what_a_hook_says_where_it_disturbs_nobody(
    project: Project, mode: str, out: list[str] | None, err: str
) -> None:
    project.recipe("hooks", HOOKS)

    done = project.stagerun("run", "hooks:Says", "--progress", mode)

    assert done.code == 0
    assert done.err.startswith(err)
    if out is None:
        assert '"event":"run_finished"' in done.out.splitlines()[-1]
    else:
        assert timeless(done.out).splitlines()[: len(out)] == out
        assert done.err == ""


def test_a_least_level_of_the_log_holds_for_hooks_too(project: Project) -> None:
    project.recipe("hooks", HOOKS)

    least = {level: project.stagerun("run", "hooks:Says", "--log-level", level).out for level in ("debug", "error")}

    said = {level: [line.partition(": ")[2] for line in out.splitlines()[2:5]] for level, out in least.items()}
    assert said == {
        "debug": ["connecting", "told with ***", "run 1, on_success failed: ValueError: boom"],
        "error": ["run 2, on_success failed: ValueError: boom"],
    }


def _until(project: Project, name: str, signals: list[int], *more: str) -> tuple[int, list[str]]:
    """Run an operation whose hook says `sending`, send the signals, each when it says so again."""
    project.recipe("hooks", HOOKS)
    lines: list[str] = []
    with project.start("run", name, *more) as process:
        for line in process.stdout:
            lines.append(timeless(line).rstrip())
            if line.endswith("sending\n") and signals:
                process.send_signal(signals.pop(0))
        return process.wait(30), lines


@pytest.mark.parametrize("where", [(), ("--on", "local:")], ids=["here", "at a place"])
def test_a_signal_cuts_a_hook_short_and_the_exit_code_stays_that_of_the_run(
    project: Project, where: tuple[str, ...]
) -> None:
    code, lines = _until(project, "hooks:Hangs", [signal.SIGINT], *where)

    assert code == 0
    assert lines[1:] == [
        "run 1 succeeded in 0.0s",
        "run 1, on_success: sending",
        "run 1, on_success: hanging up",
        "warning: run 1, on_success was cut short by SIGINT",
    ]


def test_the_third_signal_ends_a_hook_that_swallows_them_with_the_exit_code_of_the_run(project: Project) -> None:
    code, lines = _until(project, "hooks:Stubborn", [signal.SIGTERM, signal.SIGINT, signal.SIGINT])

    assert code == 1
    assert lines[-3:] == ["run 1, on_failure: sending"] * 3


def test_a_signal_in_the_hook_of_a_link_cancels_the_next_one_before_it_begins(project: Project) -> None:
    code, lines = _until(project, "hooks:First", [signal.SIGTERM])

    assert code == -signal.SIGTERM
    assert lines[1:] == [
        "run 1 succeeded in 0.0s",
        "run 1, on_success: sending",
        "run 1, on_success: hanging up",
        "warning: run 1, on_success was cut short by SIGTERM",
        "run 2 · hooks:Hangs · chained from run 1",
        "run 2 cancelled by SIGTERM after 0.0s",
        "resume with: stagerun resume 2",
    ]


def test_hooks_of_a_run_at_a_place_are_called_there_and_heard_here(project: Project) -> None:
    project.recipe("hooks", HOOKS)

    done = project.stagerun("run", "hooks:Pair", "--on", "local:")

    assert (done.code, done.err) == (0, "")
    first, second = re.findall(r"^run (\d), on_success: told by (\d+)$", done.out, re.MULTILINE)
    assert (first[0], second[0], first[1]) == ("1", "2", second[1])
    assert done.out.splitlines()[-1] == f"run 2, on_success: told by {second[1]}"


def test_a_fork_that_a_hook_leaves_behind_ends_there(project: Project) -> None:
    project.recipe("hooks", HOOKS)

    assert project.stagerun("run", "hooks:Forks").code == 0

    assert (project.root / "ran.txt").read_text() == "ran\n"


def test_a_hook_may_be_a_coroutine_function(bench: Bench) -> None:
    class Awaits(LiveOperation):
        async def run(self, p: Progress) -> None: ...

        async def on_success(self) -> None:
            await asyncio.sleep(0)
            SAID.append(("awaited", self.id))

    bench.run(Awaits())

    assert SAID == [("awaited", 1)]


def test_a_signal_cuts_a_coroutine_short_and_its_clean_up_runs(bench: Bench) -> None:
    class Awaits(LiveOperation):
        def run(self, p: Progress) -> None: ...

        async def on_success(self) -> None:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.sleep(60)
            finally:
                SAID.append(("cleaned up",))

    bench.seen = heard = Heard()
    before = signal.getsignal(signal.SIGTERM)

    view = bench.run(Awaits())

    assert SAID == [("cleaned up",)]
    assert [log.text for log in heard.asides] == ["run 1, on_success was cut short by SIGTERM"]
    assert view.state is RunState.SUCCEEDED
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_terminal_shows_what_a_hook_says_below_the_end_and_draws_no_region_again(project: Project) -> None:
    project.recipe("hooks", HOOKS.replace("range(600)", "range(5)"))

    with project.terminal("run", "hooks:Hangs") as terminal:
        terminal.wait()

    assert b"\x1b[?25l" not in terminal.raw.rpartition(b"succeeded in")[2]
    assert timeless("\n".join(line.rstrip() for line in terminal.lines)).split("\n")[-3:] == [
        "run 1 succeeded in 0.0s",
        "run 1, on_success: sending",
        "run 1, on_success: hanging up",
    ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "def on_success(self, p): ...",
            "on_success (FILE, line N) can't be called with self alone: missing a required argument: 'p'",
        ),
        (
            "def on_failure(): ...",
            "on_failure (FILE, line N) can't be called with self alone: too many positional arguments",
        ),
        ("def on_cancel(self): yield", "on_cancel (FILE, line N) is a generator, and calling it would do nothing"),
        (
            "@staticmethod\n    def on_success(): ...",
            "on_success (FILE, line N) is a static method, which has no self",
        ),
        ("on_failure = 3", "on_failure is not a method, but 3"),
    ],
)
def test_a_hook_that_can_not_be_called_is_refused_when_the_class_is_made(tmp_path: Path, body: str, told: str) -> None:
    code = compile(f"class Odd(LiveOperation):\n    {body}\n", str(tmp_path / "odd.py"), "exec")

    with pytest.raises(RecipeError) as refused:
        exec(code, {"LiveOperation": LiveOperation})

    assert re.sub(r"\(\S+, line \d+\)", "(FILE, line N)", refused.value.message) == f"Odd: {told}"


def test_a_hook_with_arguments_that_may_be_left_out_is_accepted(bench: Bench) -> None:
    class Odd(LiveOperation):
        def run(self, p: Progress) -> None: ...

        def on_success(self, how: str = "by mail") -> None:
            SAID.append((how,))

    bench.run(Odd())

    assert SAID == [("by mail",)]
