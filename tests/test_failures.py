"""What a person reads of a run that did not succeed: each fact once, and where in the recipe it happened."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from stagerun import LiveOperation, Progress, Secret, testing
from stagerun.machine.ci import System
from stagerun.render import dialect_of
from stagerun.render.output import Output
from stagerun.render.plain import Plain
from stagerun.render.quiet import Quiet
from stagerun.sinks import Sink
from tests.conftest import Bench, Project, timeless


def _failing(bench: Bench, body: Callable[[Progress], Any], *sinks: Sink, **fields: Any) -> str:
    """Run `body` in a stage; return the file and line at which the run failed, as a person is told."""

    class Build(LiveOperation):
        stages = ["Make"]
        token: Secret = Secret("")

        def run(self, p: Progress) -> None:
            with p.stage("Make"):
                body(p)

    view = bench.run(Build(owner="alice", **fields), *sinks)
    assert view.error is not None
    return f"({view.error.file}, line {view.error.line})"


def _between(text: str) -> str:
    """Return what stands between the header of the stage and the end of the run."""
    return text.partition("=== [1/1] Make ===\n")[2].partition("run 1 failed")[0]


# --- a program that fails


def test_a_program_that_failed_is_shown_once_with_its_lines_exit_code_and_place_in_the_recipe(bench: Bench) -> None:
    place = _failing(bench, lambda p: p.sh("echo compiling; echo broken >&2; exit 2"))

    assert _between(timeless(bench.text)) == (
        "$ echo compiling; echo broken >&2; exit 2\n"
        "compiling\n"
        "broken\n"
        "--- [1/1] Make: failed after 0.0s\n"
        f"error: the program ended with exit code 2 {place}\n"
    )
    assert f"line {_failing.__code__.co_firstlineno}" not in place


@pytest.mark.parametrize(
    ("command", "options", "told"),
    [
        (["false"], {}, "the program ended with exit code 1"),
        ("kill -9 $$", {}, "the program was killed by SIGKILL"),
        (["sleep", "60"], {"timeout": 0.1}, "the program took longer than 0.1s"),
        (["/nowhere/make", "all"], {}, "the program can't start: No such file or directory"),
        ("exit 3", {"quiet": True}, "`exit 3` ended with exit code 3"),
        ("echo hidden; exit 3", {"quiet": True}, "`echo hidden; exit 3` ended with exit code 3"),
    ],
    ids=["silent", "killed", "too slow", "not there", "quiet and silent", "quiet"],
)
def test_how_a_program_failed_is_said_in_one_line(
    bench: Bench, command: Any, options: dict[str, Any], told: str
) -> None:
    place = _failing(bench, lambda p: p.sh(command, **options))

    assert f"\nerror: {told} {place}\n" in bench.text
    assert "Traceback" not in bench.text


def test_the_lines_of_a_program_are_said_again_if_they_do_not_stand_right_above(bench: Bench) -> None:
    def body(p: Progress) -> None:
        try:
            p.sh("echo broken; exit 2")
        finally:
            p.log("tidied")

    place = _failing(bench, body)

    assert _between(timeless(bench.text)) == (
        "$ echo broken; exit 2\n"
        "broken\n"
        "tidied\n"
        "--- [1/1] Make: failed after 0.0s\n"
        f"error: `echo broken; exit 2` ended with exit code 2 {place}\n"
        "  broken\n"
    )


def test_a_command_far_above_is_named_again_and_its_last_lines_are_not(bench: Bench) -> None:
    place = _failing(bench, lambda p: p.sh("seq 100; exit 2"))

    assert _between(timeless(bench.text)).splitlines()[-3:] == [
        "100",
        "--- [1/1] Make: failed after 0.0s",
        f"error: `seq 100; exit 2` ended with exit code 2 {place}",
    ]


@pytest.mark.parametrize("system", ["github", "azure", "teamcity"])
def test_lines_in_a_fold_that_is_closed_are_said_again_below_it_and_not_in_the_annotation(
    bench: Bench, system: str
) -> None:
    file = bench.folder / "ci.log"
    with file.open("w") as stream:
        display = Plain(Output(stream), dialect=dialect_of(System(system), {}))
        place = _failing(bench, lambda p: p.sh("echo broken; exit 2"), display)

    lines = file.read_text().splitlines()
    at = lines.index(f"│ error: `echo broken; exit 2` ended with exit code 2 {place}")
    assert lines[at + 1] == "│   broken"
    assert "`echo broken" in lines[at + 2]
    assert [line for line in lines[at + 2 :] if "  broken" in line] == []


@pytest.mark.parametrize("system", ["gitlab", "buildkite"])
def test_lines_in_a_fold_that_stays_open_are_not_said_again(bench: Bench, system: str) -> None:
    file = bench.folder / "ci.log"
    with file.open("w") as stream:
        display = Plain(Output(stream), dialect=dialect_of(System(system), {}))
        place = _failing(bench, lambda p: p.sh("echo broken; exit 2"), display)

    text = file.read_text()
    assert f"│ error: the program ended with exit code 2 {place}\n" in text
    assert text.count("broken\n") == 1


def test_the_quiet_display_which_has_shown_nothing_says_all_of_it(bench: Bench) -> None:
    file = bench.folder / "quiet.log"
    with file.open("w") as stream:
        place = _failing(bench, lambda p: p.sh("echo broken; exit 2"), Quiet(Output(stream)))

    assert timeless(file.read_text()) == (
        f"error: `echo broken; exit 2` ended with exit code 2 {place}\n"
        "  broken\n"
        "run 1 failed in [1/1] Make after 0.0s\n"
    )


def test_the_item_of_a_map_whose_program_failed_is_named(bench: Bench) -> None:
    place = _failing(bench, lambda p: p.map(lambda name: p.sh(["false"]), ["a.txt"], workers=1))

    assert _between(timeless(bench.text)).splitlines()[-2:] == [
        f"error: the program ended with exit code 1 {place}",
        "in p.map, with the item 'a.txt'",
    ]


def test_an_error_that_a_failed_program_caused_or_hid_keeps_its_traceback(bench: Bench) -> None:
    def body(p: Progress) -> None:
        try:
            int("no price")
        except ValueError:
            p.sh("exit 2", quiet=True)

    _failing(bench, body)

    told = _between(bench.text)
    assert "with base 10: 'no price'\n\nDuring handling of the above exception, another exception occurred:\n" in told
    assert told.splitlines()[-1] == "stagerun.errors.ChildFailed: `exit 2` ended with exit code 2"


SCRIPT = """
    set -e
    # make it
    if true; then
        exit 2
    fi
"""


def test_a_command_of_several_lines_is_announced_as_a_shell_would_without_its_indentation(bench: Bench) -> None:
    place = _failing(bench, lambda p: p.sh(SCRIPT))

    assert _between(timeless(bench.text)) == (
        "$ set -e\n"
        "> # make it\n"
        "> if true; then\n"
        ">     exit 2\n"
        "> fi\n"
        "--- [1/1] Make: failed after 0.0s\n"
        f"error: the program ended with exit code 2 {place}\n"
    )


def test_an_error_names_a_command_of_several_lines_by_the_first_that_does_something(bench: Bench) -> None:
    place = _failing(bench, lambda p: p.sh(SCRIPT, quiet=True))

    assert f"\nerror: `if true; then ...` ended with exit code 2 {place}\n" in bench.text


def test_a_secret_of_several_lines_in_a_command_is_masked_before_the_command_is_broken_up(bench: Bench) -> None:
    secret = "first-half\nab\nlast-half"

    _failing(bench, lambda p: p.sh(f"echo '{secret}'; exit 2"), token=Secret(secret))

    told = bench.text + bench.journal.read_bytes().decode("latin-1")
    assert "$ echo '***'; exit 2\n" in bench.text
    assert [part for part in ("first-half", "\nab\n", "> ab", "last-half") if part in told] == []


def test_each_attempt_of_a_program_is_told_in_one_line_and_no_frame_of_the_retries_is_shown(bench: Bench) -> None:
    def make(p: Progress) -> None:
        p.sh("echo broken; exit 2")

    place = _failing(bench, lambda p: p.checkpoint("made", lambda: make(p), attempts=2))

    assert re.sub(r"again in [12]\.\ds", "again in 1.0s", _between(bench.text)).splitlines() == [
        *("$ echo broken; exit 2", "broken"),
        (
            "warning: checkpoint 'made': attempt 1 of 2 failed (`echo broken; exit 2` ended with exit code 2), "
            "trying again in 1.0s"
        ),
        *("$ echo broken; exit 2", "broken"),
        f"--- [1/1] Make: failed after {bench.clock.now:.1f}s",
        f"error: the program ended with exit code 2 {place}",
    ]
    error = bench.records().find("1").error
    assert error is not None
    assert error.traceback is not None
    assert {line.split('"')[1] for line in error.traceback.splitlines() if line.startswith("  File")} == {__file__}


# --- a limit of time


def test_a_limit_tells_the_line_of_the_recipe_at_which_it_struck(project: Project) -> None:
    file = project.recipe(
        "slow",
        """
import subprocess

class Slow(LiveOperation):
    timeout = 0.3

    def run(self, p: Progress):
        wait()


def wait():
    subprocess.run(["sleep", "60"])  # here
""",
    )
    line = file.read_text().splitlines().index('    subprocess.run(["sleep", "60"])  # here') + 1

    done = project.stagerun("run", "slow")

    assert timeless(done.out).splitlines()[1:-1] == [
        f"error: the run took longer than 0.3s ({file}, line {line})".replace("0.3s", "0.0s"),
        "run 1 timed out after 0.0s",
    ]
    view = project.records().find("1")
    assert view.error is not None
    assert view.error.traceback is not None
    shown = [text.strip() for text in view.error.traceback.splitlines() if text.startswith("    ")]
    assert [text for text in shown if text.strip("~^")][:2] == [  # Python 3.13 marks the call below its line
        "wait()",
        'subprocess.run(["sleep", "60"])  # here',
    ]


def test_a_limit_that_is_swallowed_and_raised_again_struck_where_it_struck_first(project: Project) -> None:
    file = project.recipe(
        "slow",
        """
import time

class Slow(LiveOperation):
    timeout = 0.3

    def run(self, p: Progress):
        try:
            time.sleep(60)
        except BaseException:
            raise ValueError("the clean-up failed")
""",
    )

    done = project.stagerun("run", "slow")

    line = file.read_text().splitlines().index("            time.sleep(60)") + 1
    assert f"error: the run took longer than 0.3s ({file}, line {line})\n" in done.out
    error = project.records().find("1").error
    assert error is not None
    assert (error.type, error.message) == ("", "the run took longer than 0.3s")
    assert error.traceback is not None
    assert error.traceback.endswith("ValueError: the clean-up failed")


# --- how far it came


LOOP = """
import os, signal

class Work(LiveOperation):
    stages = ["Count", "After"]
    end: str
    label: str | None = None
    timeout = 30

    def run(self, p: Progress):
        with p.stage("Count"):
            for row in p.track(range(1000), unit="row", label=self.label):
                if row == 64:
                    {"cancel": self.cancel, "fail": self.fail}[self.end](p)

    def cancel(self, p):
        os.kill(os.getpid(), signal.SIGINT)
        p.check_cancelled()

    def fail(self, p):
        raise ValueError("boom")
"""


class Work(LiveOperation):
    stages = ["Count", "After"]

    def run(self, p: Progress) -> None:
        with p.stage("Count"):
            for _ in p.track(range(1000), unit="row"):
                pass


@pytest.mark.parametrize(
    ("order", "sign", "state", "position"),
    [
        (
            lambda kit: kit.cancel_at(item=64),
            *("⊘ Count  0.0s", "cancelled by SIGINT", "6% (64/1,000 rows) in 0.0s"),
        ),
        (
            lambda kit: kit.fail_at(item=64, error=ValueError("boom")),
            *("✗ Count  0.0s  ValueError: boom", "failed", "6% (64/1,000 rows) in 0.0s"),
        ),
        (
            lambda kit: kit.crash_at(item=64),
            *("✗ Count  0.0s  the process ended without a word", "crashed", "6% (64/1,000 rows)"),
        ),
    ],
    ids=["cancel", "fail", "crash"],
)
def test_status_keeps_the_last_position_of_a_loop_that_was_broken_off(
    project: Project, order: Callable[[testing.Bench], None], sign: str, state: str, position: str
) -> None:
    kit = testing.Bench(project.root)
    order(kit)
    kit.run(Work(owner="alice"))

    told = timeless(project.stagerun("status").out).splitlines()

    assert told == [
        f"run 1  test_failures:Work  {state} after 0.0s  just now  by alice",
        f"  {sign}",
        "  ○ After",
        f"  Count: {position}",
        "resume with: stagerun resume 1",
    ]


def test_the_last_frame_on_a_terminal_keeps_the_last_position(project: Project) -> None:
    project.recipe("work", LOOP)

    with project.terminal("run", "work", "--end", "cancel", "--label", "pages") as terminal:
        assert terminal.wait() == -2

        assert [timeless(line) for line in terminal.lines] == [
            "⊘ [1/2] Count: cancelled after 0.0s",
            "run 1 · work:Work · started by alice",
            "⊘ Count 0.0s   ○ After",
            "Count, pages: 6% (64/1,000 rows) in 0.0s",
            "run 1 cancelled by SIGINT in [1/2] Count after 0.0s",
            "resume with: stagerun resume 1",
        ]


def test_what_was_counted_in_a_stage_that_is_done_is_no_position_of_a_later_failure(project: Project) -> None:
    project.recipe(
        "work",
        """
class Work(LiveOperation):
    stages = ["Count"]

    def run(self, p: Progress):
        with p.stage("Count"):
            for row in p.track(range(10)):
                if row == 3:
                    break
        raise ValueError("boom")
""",
    )
    project.stagerun("run", "work")

    assert timeless(project.stagerun("status").out) == (
        "run 1  work:Work  failed after 0.0s  just now  by alice\n"
        "  ✓ Count  0.0s\n"
        "  ValueError: boom\n"
        "resume with: stagerun resume 1\n"
    )


def test_the_position_of_a_loop_outside_any_stage_is_kept_under_the_name_of_the_operation(project: Project) -> None:
    project.recipe(
        "work",
        """
class Work(LiveOperation):
    def run(self, p: Progress):
        for row in p.track(range(10)):
            if row == 3:
                raise ValueError("boom")
""",
    )
    project.stagerun("run", "work")

    assert "\n  Work: 30% (3/10 items) in 0.0s\n" in timeless(project.stagerun("status").out)


# --- status -v


def test_status_in_full_holds_parameters_start_and_traceback(project: Project) -> None:
    file = project.recipe("work", LOOP)
    project.stagerun("run", "work", "--end", "fail", "--label", "a\x1b[2Jb")
    source = file.read_text().splitlines()
    call, boom = (
        next(number for number, line in enumerate(source, 1) if text in line) for text in ("self.fail}", "raise Val")
    )

    told = timeless(project.stagerun("status", "-v").out)
    told = re.sub(r"^ +[~^]+$\n", "", told, flags=re.MULTILINE)  # Python versions mark the place in a line differently
    assert re.sub(r"started: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\n", "started: THEN\n", told) == (
        "run 1  work:Work  failed after 0.0s  just now  by alice\n"
        "  ✗ Count  0.0s  ValueError: boom\n"
        "  ○ After\n"
        "  Count, a\\x1b[2Jb: 6% (64/1,000 rows) in 0.0s\n"
        "  parameters:\n"
        "    end=fail\n"
        "    label=a\\x1b[2Jb\n"
        "  started: THEN\n"
        f"  folder: {project.root}\n"
        "  Traceback (most recent call last):\n"
        f'    File "{file}", line {call}, in run\n'
        f"      {source[call - 1].strip()}\n"
        f'    File "{file}", line {boom}, in fail\n'
        '      raise ValueError("boom")\n'
        "  ValueError: boom\n"
        "resume with: stagerun resume 1\n"
    )


def test_status_in_full_of_an_error_without_a_traceback_holds_all_of_its_message(project: Project) -> None:
    project.recipe(
        "told",
        """
class Told(LiveOperation):
    def run(self, p: Progress):
        p.error("3 rows are bad\\nsee \\x1b[31mthe log")
""",
    )
    project.stagerun("run", "told")

    assert project.stagerun("status", "-v").out.splitlines()[-3:] == [
        "  error: 3 rows are bad",
        "  see \\x1b[31mthe log",
        "resume with: stagerun resume 1",
    ]


def test_status_in_full_of_a_program_that_failed_holds_its_last_lines_and_every_line_of_the_recipe(
    project: Project,
) -> None:
    file = project.recipe(
        "build",
        """
class Build(LiveOperation):
    stages = ["Make"]

    def run(self, p: Progress):
        with p.stage("Make"):
            make(p)


def make(p):
    p.sh("echo broken; exit 2")
""",
    )
    done = project.stagerun("run", "build")

    assert f"error: the program ended with exit code 2 ({file}, line 12)\n" in done.out
    status = project.stagerun("status").out.splitlines()
    assert status[1].endswith("  `echo broken; exit 2` ended with exit code 2 (build.py, line 12)")
    told = [text for text in project.stagerun("status", "-v").out.splitlines() if text.strip("~^ ")]
    assert told[-8:-1] == [
        "  Traceback (most recent call last):",
        f'    File "{file}", line 8, in run',
        "      make(p)",
        f'    File "{file}", line 12, in make',
        '      p.sh("echo broken; exit 2")',
        "  stagerun.errors.ChildFailed: `echo broken; exit 2` ended with exit code 2",
        "    broken",
    ]
