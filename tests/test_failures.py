"""What a person reads of a run that did not succeed: each fact once, and where in the recipe it happened."""

from collections.abc import Callable
from typing import Any

import pytest

from stagerun import LiveOperation, Progress, Secret
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

    told = bench.text + bench.path.read_bytes().decode("latin-1")
    assert "$ echo '***'; exit 2\n" in bench.text
    assert [part for part in ("first-half", "\nab\n", "> ab", "last-half") if part in told] == []


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
    assert [text.strip() for text in view.error.traceback.splitlines() if text.startswith("    ")][:2] == [
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
