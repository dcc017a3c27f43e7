"""Stages whose work was not done: named in a run that succeeded, and an error if the recipe forgot its `with`."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from stagerun import LiveOperation, Progress
from stagerun.errors import RecipeError
from stagerun.machine.ci import System
from stagerun.render import dialect_of
from stagerun.render.output import Output
from stagerun.render.plain import Plain
from stagerun.states import RunState
from tests.conftest import Bench, Project, timeless


def _operation(body: Callable[[Progress], object]) -> LiveOperation:
    class Import(LiveOperation):
        stages = ["Load", "Process", "Save"]

        def run(self, p: Progress) -> None:
            body(p)

    return Import(owner="alice")


def _line_of(text: str) -> int:
    """Return the line of this file that holds `text` at its end."""
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(text))


# --- p.stage without with


def test_a_stage_without_with_makes_the_run_fail_at_the_line_of_the_call(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.result(count=3)
        p.stage("Load")  # forgotten

    view = bench.run(_operation(body))

    assert view.error is not None
    assert (view.state, view.exit_code, view.stage_states["Load"]) == (RunState.FAILED, 1, "pending")
    assert (view.error.file, view.error.line) == (__file__, _line_of("# forgotten"))
    assert bench.text == (
        "run 1 · demo:Import · started by alice\n"
        "error: stage 'Load' was never entered: p.stage does nothing without `with` "
        f"({__file__}, line {view.error.line})\n"
        "count=3\n"
        "run 1 failed after 0.0s\n"
        "resume with: stagerun resume 1\n"
    )


def test_the_next_stage_finds_the_one_that_nobody_can_enter_any_more(bench: Bench) -> None:
    reached = []

    def body(p: Progress) -> None:
        p.stage("Load")  # dropped
        with pytest.raises(RecipeError) as refused, p.stage("Process"):
            reached.append("Process")
        assert (refused.value.message, refused.value.hint) == (
            "stage 'Load' was never entered: p.stage does nothing without `with`",
            f"it was made in {__file__}, line {_line_of('# dropped')}",
        )

    assert bench.run(_operation(body)).state is RunState.FAILED
    assert reached == []


@pytest.mark.parametrize("end", ["return", "exit"])
def test_a_stage_that_is_kept_and_never_entered_makes_the_run_fail(bench: Bench, end: str) -> None:
    kept = []

    def body(p: Progress) -> None:
        kept.append(p.stage("Load"))
        with p.stage("Process"):
            pass
        if end == "exit":
            raise SystemExit(0)

    view = bench.run(_operation(body))

    assert (view.state, view.exit_code) == (RunState.FAILED, 1)


def test_stages_may_be_made_first_and_entered_later_in_any_order_and_way(bench: Bench) -> None:
    def body(p: Progress) -> None:
        load, process = p.stage("Load"), p.stage("Process")
        with ExitStack() as stack:
            stack.enter_context(process)
        with load, pytest.raises(RecipeError, match="was entered inside"), p.stage("Save"):
            pass

    assert bench.run(_operation(body)).state is RunState.SUCCEEDED


def test_what_made_a_run_fail_is_told_before_a_stage_that_was_not_entered(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.stage("Load")
        p.error("no rows")

    error = bench.run(_operation(body)).error

    assert error is not None
    assert error.message == "no rows"


# --- stages that a run left out


PART = """
class Import(LiveOperation):
    stages = ["Load", "Process", "Save"]
    end: str = ""

    def run(self, p: Progress):
        with p.stage("Process"):
            if self.end:
                raise ValueError(self.end)
"""


def test_a_run_that_succeeded_names_the_stages_it_never_entered(project: Project) -> None:
    project.recipe("part", PART)

    done = project.stagerun("run", "part")

    assert timeless(done.out).splitlines()[-2:] == [
        "run 1 succeeded in 0.0s",
        "never entered: [1/3] Load, [3/3] Save",
    ]
    assert timeless(project.stagerun("status").out) == (
        "run 1  part:Import  succeeded in 0.0s  just now  by alice\n"
        "  ○ Load     never entered\n"
        "  ✓ Process  0.0s\n"
        "  ○ Save     never entered\n"
    )
    assert json.loads(project.stagerun("status", "--json").out)["not_entered"] == ["Load", "Save"]
    assert timeless(project.stagerun("export", "--format", "markdown").out).splitlines()[4:7] == [
        "| 1 | <code>Load</code> | ○ never entered |  |",
        "| 1 | <code>Process</code> | ✓ done | 0.0s |",
        "| 1 | <code>Save</code> | ○ never entered |  |",
    ]
    assert project.stagerun("export", "--format", "junit").out.count('<skipped message="never entered" />') == 2
    last = project.stagerun("run", "part", "--progress", "json").out.splitlines()[-1]
    assert json.loads(last)["not_entered"] == ["Load", "Save"]


def test_a_run_that_failed_names_no_stage_it_did_not_come_to(project: Project) -> None:
    project.recipe("part", PART)

    done = project.stagerun("run", "part", "--end", "boom")

    told = done.out + project.stagerun("status").out + project.stagerun("export", "--format", "junit").out
    assert "never entered" not in told
    assert json.loads(project.stagerun("status", "--json").out)["not_entered"] == []


def test_the_last_frame_on_a_terminal_names_the_stages_too(project: Project) -> None:
    project.recipe("part", PART)

    with project.terminal("run", "part") as terminal:
        assert terminal.wait() == 0

        assert [timeless(line) for line in terminal.lines] == [
            "✓ [2/3] Process: done in 0.0s",
            "run 1 · part:Import · started by alice",
            "○ Load   ✓ Process 0.0s   ○ Save",
            "run 1 succeeded in 0.0s",
            "never entered: [1/3] Load, [3/3] Save",
        ]


@pytest.mark.parametrize(("system", "sign"), [("github", ""), ("gitlab", ""), ("buildkite", "+++ ")])
def test_in_ci_the_stages_are_named_where_no_fold_hides_them(bench: Bench, system: str, sign: str) -> None:
    file = bench.folder / "ci.log"
    with file.open("w") as stream:
        bench.run(_operation(lambda p: None), Plain(Output(stream), dialect=dialect_of(System(system), {})))

    assert file.read_text().splitlines()[-2:] == [
        f"{sign}run 1 succeeded in 0.0s",
        "never entered: [1/3] Load, [2/3] Process, [3/3] Save",
    ]


def test_a_run_that_hands_over_names_its_stages_as_well(bench: Bench) -> None:
    bench.run(_operation(lambda p: p.chain_to(_operation(lambda p: None))))

    assert [line for line in bench.text.splitlines() if line.startswith("never")] == [
        "never entered: [1/3] Load, [2/3] Process, [3/3] Save"
    ] * 2
