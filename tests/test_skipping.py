"""p.skip: there is nothing to do in a stage, which ends as done and says why, wherever it is shown."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from stagerun import AsyncProgress, LiveOperation, Progress, events
from stagerun.errors import RecipeError
from stagerun.render import frame
from stagerun.reports import documents, junit, markdown, plans, timeline
from stagerun.reports.report import Report
from stagerun.states import RunState, StageState
from stagerun.text.paint import Paint
from stagerun.view import RunView
from tests.conftest import START, Bench, Project
from tests.test_progress import in_thread, operation, raise_


def skip(p: Progress, reason: str = "no new orders") -> None:
    p.skip(reason)


def stages(view: RunView) -> list[tuple[str, StageState, str | None]]:
    return [(stage.name, stage.state, stage.skipped) for stage in view.stages]


def warnings(bench: Bench) -> list[str]:
    return [each.text for each in bench.seen.events if isinstance(each, events.Log) and each.level == "warning"]


def test_the_stage_is_done_for_a_reason_its_rest_is_not_run_and_the_run_goes_on_behind_it(bench: Bench) -> None:
    done: list[str] = []

    def body(p: Progress) -> None:
        with p.stage("Load"):
            try:
                with suppress(Exception):
                    skip(p)
                done.append("rest")
            finally:
                done.append("finally")
        with p.stage("Save"):
            done.append("next")

    view = bench.run(operation(body, "Load", "Save"))

    assert (view.state, stages(view), view.not_entered) == (
        RunState.SUCCEEDED,
        [("Load", StageState.DONE, "no new orders"), ("Save", StageState.DONE, None)],
        (),
    )
    assert done == ["finally", "next"]
    assert bench.records().find("last").stages == view.stages


def test_it_leaves_the_innermost_block(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            with p.stage("Look"):
                skip(p)
            p.log("goes on")

    view = bench.run(operation(body, "Load"))

    assert stages(view) == [("Load", StageState.DONE, None)]
    assert bench.text.split("\n")[2:5] == ["=== Look ===", "--- Look: skipped (no new orders)", "goes on"]


def test_the_last_visit_decides_whether_a_stage_is_skipped(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for name, again in (("Load", False), ("Load", True), ("Save", True), ("Save", False)):
            with p.stage(name):
                if again:
                    skip(p)

    assert stages(bench.run(operation(body, "Load", "Save"))) == [
        ("Load", StageState.DONE, "no new orders"),
        ("Save", StageState.DONE, None),
    ]


def test_code_that_catches_everything_does_the_rest_so_the_stage_is_not_skipped_and_a_warning_says_so(
    bench: Bench,
) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            try:
                skip(p)
            except BaseException:
                p.log("the rest")

    assert stages(bench.run(operation(body, "Load"))) == [("Load", StageState.DONE, None)]
    assert warnings(bench) == ["stage 'Load' is not skipped: its code has caught the exception of p.skip"]


def test_an_error_in_a_clean_up_on_the_way_out_fails_the_stage(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            try:
                skip(p)
            finally:
                raise_(ValueError("boom"))

    view = bench.run(operation(body, "Load"))

    assert (view.state, stages(view)) == (RunState.FAILED, [("Load", StageState.FAILED, None)])
    assert view.error is not None
    assert view.error.type == "ValueError"


def test_a_cancel_that_came_before_is_not_lost(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            try:
                bench.interrupts.request("SIGINT")
                p.check_cancelled()
            finally:
                skip(p)

    view = bench.run(operation(body, "Load"))

    assert (view.state, stages(view)) == (RunState.CANCELLED, [("Load", StageState.CANCELLED, None)])


@contextmanager
def skipping(p: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        skip(p)


def in_a_finally(p: Progress) -> None:
    try:
        raise_(ValueError("boom"))
    finally:
        skip(p)


def in_a_finally_of_an_except(p: Progress) -> None:
    try:
        raise_(KeyError("first"))
    except KeyError:
        in_a_finally(p)


def in_a_with(p: Progress) -> None:
    with skipping(p):
        raise_(ValueError("boom"))


@pytest.mark.parametrize("body", [in_a_finally, in_a_finally_of_an_except, in_a_with])
def test_an_error_that_no_except_has_caught_is_not_lost(bench: Bench, body: Callable[[Progress], None]) -> None:
    def run(p: Progress) -> None:
        with p.stage("Load"):
            body(p)

    view = bench.run(operation(run, "Load"))

    assert (view.state, stages(view)) == (RunState.FAILED, [("Load", StageState.FAILED, None)])
    assert view.error is not None
    assert (view.error.type, view.error.message) == ("ValueError", "boom")


def test_an_error_that_an_except_has_caught_is_a_reason_to_skip(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            try:
                raise_(ValueError("boom"))
            except ValueError:
                try:
                    p.log("there is none")
                finally:
                    skip(p)

    assert stages(bench.run(operation(body, "Load"))) == [("Load", StageState.DONE, "no new orders")]


def test_a_stage_that_is_entered_on_the_way_of_an_error_can_be_skipped(bench: Bench) -> None:
    def body(p: Progress) -> None:
        try:
            raise_(ValueError("boom"))
        finally:
            with p.stage("Load"):
                skip(p)

    view = bench.run(operation(body, "Load"))

    assert (view.state, stages(view)) == (RunState.FAILED, [("Load", StageState.DONE, "no new orders")])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (skip, "p.skip was called outside any stage"),
        (lambda p: p.stage("Load").__enter__() and p.skip(" "), "p.skip needs a reason"),
    ],
)
def test_where_or_how_it_can_not_be_called_it_is_an_error(
    bench: Bench, body: Callable[[Progress], object], message: str
) -> None:
    view = bench.run(operation(body, "Load"))

    assert view.error is not None
    assert (view.state, view.error.message.partition("\n")[0]) == (RunState.FAILED, message)


def test_another_thread_can_not_skip(bench: Bench) -> None:
    met: list[BaseException | None] = []

    def body(p: Progress) -> None:
        with p.stage("Load"):
            met.append(in_thread(lambda: skip(p)))

    assert stages(bench.run(operation(body, "Load"))) == [("Load", StageState.DONE, None)]
    assert [str(error) for error in met] == ["p.skip was called from another thread"]
    assert isinstance(met[0], RecipeError)


def test_a_block_without_with_that_is_skipped_fails_the_run_with_the_reason(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.stage("Load").__enter__()
        skip(p)

    view = bench.run(operation(body, "Load"))

    assert view.error is not None
    assert (view.state, view.error.type, view.error.message) == (RunState.FAILED, "StageSkipped", "no new orders")


def _loaded(p: Progress, work: Callable[[], object]) -> None:
    p.log(f"load gave {p.step('Load', work)!r}")


def test_a_step_that_is_skipped_returns_none_and_a_resumed_run_calls_it_again(bench: Bench) -> None:
    calls: list[str] = []
    fails = [True]

    class Sync(LiveOperation):
        stages = ["Load", "Save"]

        def run(self, p: Progress) -> None:
            def work() -> str:
                calls.append("load")
                if len(calls) == 1:
                    p.checkpoint("inner", skip, p)
                return "rows"

            _loaded(p, work)
            with p.stage("Save"):
                if fails.pop():
                    raise_(ValueError("boom"))

    first = bench.run(Sync(owner="alice"))
    resumption = bench.records().resumption(first)
    plan = list(plans.lines(plans.Plan(resumption=resumption), START))
    fails.append(False)
    second = bench.resume(Sync(owner="alice"))

    assert stages(first)[0] == ("Load", StageState.DONE, "no new orders")
    assert plan[1:] == ["  nothing was stored: all of it runs again"]
    assert stages(second) == [("Load", StageState.DONE, None), ("Save", StageState.DONE, None)]
    assert [line for line in bench.text.split("\n") if line.startswith("load gave")] == [
        "load gave None",
        "load gave 'rows'",
    ]


def test_a_loop_with_a_key_stays_where_it_was(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            for number in p.track(range(5), key="rows"):
                if number == 2:
                    skip(p)

    bench.run(operation(body, "Load"))

    (stored,) = [each for each in bench.seen.events if isinstance(each, events.PositionReached)]
    assert (stored.position, stored.total) == (2, 5)


def test_an_async_run_skips_in_its_own_task_in_a_step_and_in_a_task_group_and_in_no_other_task(bench: Bench) -> None:
    met: list[str] = []

    class Sync(LiveOperation):
        stages = ["Load", "Index", "Group", "Save"]

        async def run(self, p: AsyncProgress) -> None:
            with p.stage("Load"):
                await asyncio.sleep(0)
                skip(p)
            with p.stage("Group"):
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(60))
                    skip(p)
            await p.step("Index", self.index, p)
            with p.stage("Save"):
                task = asyncio.create_task(self.elsewhere(p))
                await task

        async def index(self, p: AsyncProgress) -> None:
            await asyncio.sleep(0)
            p.skip("no new orders")

        async def elsewhere(self, p: AsyncProgress) -> None:
            try:
                p.skip("no new orders")
            except RecipeError as error:
                met.append(error.message)

    view = bench.run(Sync(owner="alice"))

    assert (view.state, stages(view)) == (
        RunState.SUCCEEDED,
        [
            ("Load", StageState.DONE, "no new orders"),
            ("Index", StageState.DONE, "no new orders"),
            ("Group", StageState.DONE, "no new orders"),
            ("Save", StageState.DONE, None),
        ],
    )
    assert met == ["p.skip was called in another task than the one that runs the operation"]


def test_a_skipped_stage_is_shown_with_its_reason_wherever_it_is_shown(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            skip(p, "no \x1b[2Jorders\nsince noon")
        with p.stage("Save"):
            p.checkpoint("rows", lambda: 1)
            raise_(ValueError("boom"))

    bench.run(operation(body, "Load", "Save"))
    view = bench.records().find("last")
    reason, safe = "no \x1b[2Jorders since noon", r"no \x1b[2Jorders since noon"

    assert documents.run(view, None)["skipped"] == {"Load": reason}
    assert bench.text.split("\n")[2] == rf"--- [1/2] Load: skipped ({safe})"
    report = list(Report(now=START, paint=Paint(colour=False, unicode=True)).run(view))
    assert report[1] == rf"  ✓ Load  skipped ({safe})"
    assert rf'<skipped message="{safe}" />' in junit.report([view], START)
    (row,) = [line for line in markdown.report([view], START).split("\n") if "Load" in line]
    assert row.startswith("| 1 | <code>Load</code> | ✓ skipped: <code>no &#92;x1b&#91;2Jorders since noon</code> |")
    plan = list(plans.lines(plans.Plan(resumption=bench.records().resumption(view)), START))
    assert plan[-1] == rf"  runs again:  [1/2] Load (was skipped: {safe}), [2/2] Save, and whatever has no step or key"


def test_work_that_was_done_before_is_told_with_the_skip(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            bench.clock.move(190)
            skip(p, "x" * 500)
        for last in (False, True):
            with p.stage("Save"):
                bench.clock.move(0.25)
                if last:
                    skip(p)
        with p.stage("Tell"):
            skip(p)

    view = bench.run(operation(body, "Load", "Save", "Tell"))

    records, cut = bench.records(), f"{'x' * 200} [... 300 characters cut]"
    report = list(Report(now=START, paint=Paint(colour=False, unicode=True)).run(view))
    track = timeline.track(view, records.entries(view.id), START)
    drawn = timeline.lines([track], now=START, width=40, paint=Paint(colour=False, unicode=True))
    assert report[1:4] == [
        f"  ✓ Load  skipped after 3m 10s ({cut})",
        "  ✓ Save  skipped after 0.5s (no new orders)",
        "  ✓ Tell  skipped (no new orders)",
    ]
    assert bench.text.split("\n")[2:8:2] == [
        f"--- [1/3] Load: skipped after 3m 10s ({cut})",
        "--- [2/3] Save: done in 0.2s",
        "--- [2/3] Save: skipped (no new orders)",
    ]
    assert [line.rstrip("━ ") for line in drawn][1:4] == [
        "  ✓ Load  3m 10s, skipped",
        "  ✓ Save    0.5s, skipped",
        "  ✓ Tell    0.0s, skipped",
    ]
    assert [each["skipped"] for each in timeline.document(track)["stages"]] == [
        "x" * 500,
        "no new orders",
        "no new orders",
    ]
    assert (
        frame.finished(view, 120, unicode=True)[1].plain
        == "✓ Load skipped after 3m 10s   ✓ Save skipped after 0.5s   ✓ Tell skipped"
    )


def test_a_secret_in_a_reason_is_masked_everywhere(project: Project) -> None:
    project.recipe(
        "demo",
        """
class Import(LiveOperation):
    stages = ["Load"]
    token: Secret

    def run(self, p: Progress):
        with p.stage("Load"):
            p.skip(f"the token is {self.token.reveal()}")
""",
    )

    done = project.stagerun("run", "demo:Import", environ={"STAGERUN_TOKEN": "sword-fish"})

    assert "--- [1/1] Load: skipped (the token is ***)" in done.out
    status = json.loads(project.stagerun("status", "--json").out)
    assert status["skipped"] == {"Load": "the token is ***"}
    assert b"sword-fish" not in project.journal.read_bytes()


def test_a_skipped_visit_says_nothing_of_how_long_a_stage_usually_takes(bench: Bench) -> None:
    nothing = [False, True, True]

    def body(p: Progress) -> None:
        with p.stage("Load"):
            if nothing.pop(0):
                skip(p)
            bench.clock.move(8)

    for _ in range(3):
        bench.run(operation(body, "Load"))

    assert bench.records().expected("demo:Demo") == {"Load": 8.0}
