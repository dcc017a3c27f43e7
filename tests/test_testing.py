"""The test kit: what a test orders happens at the place it names, and leaves what the real thing leaves."""

import asyncio
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from stagerun import LiveOperation, Progress, Secret
from stagerun.errors import HeldError, UsageError
from stagerun.testing import Bench, NotReached, NotStubbed, Run
from tests.conftest import REPOSITORY, plain_environ


class Ship(LiveOperation):
    stages = ["Build", "Pages", "Publish"]

    count: int = 10

    def run(self, p: Progress) -> None:
        size = p.step("Build", lambda: 7)
        with p.stage("Pages"):
            for page in p.track(range(self.count), unit="page", key="pages"):
                _note(page)
        with p.stage("Publish"):
            p.sh("make publish", key="publish")
            p.sh(["make", "the news"])
        p.result(size=size)
        p.chain_to(Tell(owner=self.owner))


class Tell(LiveOperation):
    stages = ["Tell"]

    def run(self, p: Progress) -> None:
        with p.stage("Tell"):
            p.log("told the world")


def _note(what: object) -> None:
    """Note in the run's folder that something was done."""
    with Path("done.txt").open("a") as file:
        file.write(f"{what} ")


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path / "kit") as bench:
        bench.programs.stub("make publish", stdout="published\n")
        bench.programs.stub(["make", "the news"])
        yield bench


def _done(kit: Bench) -> list[int]:
    file = kit.folder / "done.txt"
    return [int(each) for each in file.read_text().split()] if file.exists() else []


ALL = list(range(10))
PUBLISHED = ["make publish", "make 'the news'"]


def test_a_run_tells_what_became_of_it(kit: Bench) -> None:
    run = kit.run(Ship(owner="alice", count=2))

    first = run.chain[0]
    assert (run.state, run.succeeded, run.result, run.error, run.exit_code) == ("succeeded", True, None, None, 0)
    assert [each.id for each in run.chain] == [1, 2]
    assert (first.result, first.seconds) == ({"size": 7}, 0.0)
    assert first.stages == {"Build": "done", "Pages": "done", "Publish": "done"}
    assert first.lines == ["$ make publish", "published", "$ make 'the news'"]
    assert [each["event"] for each in run.events] == [
        *("run_created", "run_started", "stage_entered", "log", "stage_left", "run_finished")
    ]
    assert run.output == (
        "run 1 · test_testing:Ship · started by alice\n"
        "=== [1/3] Build ===\n"
        "--- [1/3] Build: done in 0.0s\n"
        "=== [2/3] Pages ===\n"
        "Pages: 100% (2/2 pages) in 0.0s\n"
        "--- [2/3] Pages: done in 0.0s\n"
        "=== [3/3] Publish ===\n"
        "$ make publish\n"
        "published\n"
        "$ make 'the news'\n"
        "--- [3/3] Publish: done in 0.0s\n"
        "size=7\n"
        "run 1 succeeded in 0.0s\n"
        "run 2 · test_testing:Tell · chained from run 1\n"
        "=== [1/1] Tell ===\n"
        "told the world\n"
        "--- [1/1] Tell: done in 0.0s\n"
        "run 2 succeeded in 0.0s\n"
    )
    assert _done(kit) == [0, 1]


# What is ordered -> the end of the run, the stages that were not done, what goes on, and what is done and called twice.
ORDERS: dict[str, tuple[dict[str, Any], str, dict[str, str], dict[str, int], list[int]]] = {
    "fail in a stage": ({"fail": ("Publish", {})}, "failed", {"Publish": "failed"}, {}, []),
    "fail in a step": ({"fail": ("Build", {})}, "failed", {"Build": "failed"}, {}, []),
    "fail at an item": ({"fail": ("Pages", {"item": 3})}, "failed", {"Pages": "failed"}, {"pages": 3}, []),
    "fail after the last item": ({"fail": (None, {"item": 10})}, "failed", {"Pages": "failed"}, {}, []),
    "cancel in a stage": ({"cancel": ("Publish", {})}, "cancelled", {"Publish": "cancelled"}, {}, []),
    "cancel at an item": ({"cancel": ("Pages", {"item": 3})}, "cancelled", {"Pages": "cancelled"}, {"pages": 3}, []),
    "cancel at a line": ({"cancel": (None, {"line": "blish"})}, "cancelled", {"Publish": "cancelled"}, {}, []),
    "crash in a stage": ({"crash": ("Pages", {})}, "crashed", {"Pages": "failed"}, {}, []),
    "crash at an item": ({"crash": ("Pages", {"item": 3})}, "crashed", {"Pages": "failed"}, {"pages": 3}, []),
    "crash in a loop": (
        {"crash": (None, {"key": "pages", "item": 5, "lost": 2})},
        *("crashed", {"Pages": "failed"}, {"pages": 3}, [3, 4]),
    ),
    "crash when it is stored": ({"crash": (None, {"key": "publish"})}, "crashed", {"Publish": "failed"}, {}, []),
}


def _order(kit: Bench, orders: dict[str, tuple[str | None, dict[str, Any]]]) -> None:
    for kind, (stage, place) in orders.items():
        getattr(kit, f"{kind}_at")(stage, **place)


@pytest.mark.parametrize("name", ORDERS)
def test_what_is_ordered_happens_at_its_place_and_a_resume_does_the_rest(kit: Bench, name: str) -> None:
    orders, state, broken, goes_on, twice = ORDERS[name]
    _order(kit, orders)

    stopped = kit.run(Ship())
    plan = stopped.plan()
    resumed = kit.resume()

    later = Ship.stages[Ship.stages.index(next(iter(broken))) + 1 :]
    earlier = Ship.stages[: Ship.stages.index(next(iter(broken)))]
    assert stopped.state == state
    assert stopped.stages == {**dict.fromkeys(earlier, "done"), **broken, **dict.fromkeys(later, "pending")}
    assert plan.goes_on == goes_on
    assert (resumed.succeeded, resumed.chain[0].resumed_from) == (True, stopped.id)
    assert resumed.chain[0].result == {"size": 7}
    assert sorted(_done(kit)) == sorted(ALL + twice)
    assert kit.programs.calls == PUBLISHED


@pytest.mark.parametrize("kind", ["fail", "crash"])
def test_what_is_lost_before_it_is_stored_is_done_again(kit: Bench, kind: str) -> None:
    _order(kit, {kind: (None, {"key": "publish", "before": True})})

    stopped = kit.run(Ship())
    resumed = kit.resume()

    assert (stopped.succeeded, resumed.succeeded) == (False, True)
    assert kit.programs.calls == ["make publish", *PUBLISHED]


def test_a_crash_leaves_what_a_kill_leaves(kit: Bench) -> None:
    kit.crash_at("Publish")

    run = kit.run(Ship())

    assert run.events[-1]["event"] == "stage_entered"
    assert (run.exit_code, run.signal, run.seconds) == (1, None, 0.0)
    assert run.error is not None
    assert (run.error.message, run.error.stage) == ("the process ended without a word", "Publish")
    assert run.output.endswith("=== [3/3] Publish ===\n")


def test_a_crash_keeps_the_lines_before_it(kit: Bench) -> None:
    kit.crash_at(line="trying")

    assert kit.run(Quiet()).lines == ["trying"]


def _chained(log: str) -> LiveOperation:
    class Later(LiveOperation):
        stages = ["Enter"]
        token: Secret

        def run(self, p: Progress) -> None:
            with p.stage("Enter"):
                p.log(f"{log} {len(self.token.reveal())}")

    class First(LiveOperation):
        def run(self, p: Progress) -> None:
            p.chain_to(Later(token=Secret("geheim-geheim")))

    return First()


def test_a_crash_in_a_later_link_of_a_chain_is_resumed_in_that_link_with_its_secret_given_again(kit: Bench) -> None:
    kit.run(_chained("old"))
    kit.crash_at("Enter")

    crashed = kit.run(_chained("new"))
    with pytest.raises(UsageError, match="Later needs a value for 'token'"):
        kit.resume()
    resumed = kit.resume(changes={"token": Secret("neu-neu-neu")})

    assert [each.state for each in crashed.chain] == ["succeeded", "crashed"]
    assert (resumed.succeeded, resumed.lines, resumed.resumed_from) == (True, ["new 11"], crashed.id)


def test_a_resumed_link_keeps_its_target(kit: Bench) -> None:
    far = type("Far", (LiveOperation,), {"__module__": "json.decoder", "run": lambda self, p: p.log("far")})

    class Near(LiveOperation):
        def run(self, p: Progress) -> None:
            p.chain_to(far())

    kit.fail_at(line="far")

    targets = [run.events[0]["target"] for run in (kit.run(Near()), kit.resume())]

    assert targets == ["json.decoder:Far", "json.decoder:Far"]


def test_a_crash_in_a_map_keeps_the_results_that_were_stored(kit: Bench) -> None:
    class Double(LiveOperation):
        def run(self, p: Progress) -> None:
            def double(number: int) -> int:
                _note(number)
                return 2 * number

            p.result(doubled=p.map(double, range(50), workers=1, key="doubled"))

    kit.crash_at(key="doubled", item=4)

    kept = kit.run(Double()).plan().goes_on["doubled"]
    before = len(_done(kit))
    resumed = kit.resume()

    assert kept is not None
    assert 4 <= kept <= before < 50
    assert kit.clock.now == 0.5  # as the killed process has moved its own
    assert (resumed.result, len(_done(kit)) - before) == ({"doubled": [2 * each for each in range(50)]}, 50 - kept)


class Wait(LiveOperation):
    stages = ["Ask", "Count", "Save"]

    async def run(self, p: Any) -> None:
        async def ask() -> int:
            await asyncio.sleep(0)
            return 3

        asked = await p.step("Ask", ask)
        with p.stage("Count"):
            for number in p.track(range(asked), key="numbers"):
                await asyncio.sleep(0)
                _note(number)
        with p.stage("Save"):
            await asyncio.sleep(0)
        p.result(asked=asked)


@pytest.mark.parametrize("kind", ["fail", "cancel", "crash"])
@pytest.mark.parametrize("place", [("Ask", {}), ("Count", {"item": 2}), ("Save", {}), (None, {"key": "Ask"})], ids=str)
def test_the_same_holds_in_an_event_loop(kit: Bench, kind: str, place: tuple[str | None, dict[str, Any]]) -> None:
    _order(kit, {kind: place})

    stopped = kit.run(Wait())
    resumed = kit.resume()

    assert stopped.state == {"fail": "failed", "cancel": "cancelled", "crash": "crashed"}[kind]
    assert (resumed.succeeded, resumed.result, _done(kit)) == (True, {"asked": 3}, [0, 1, 2])


def test_the_error_that_is_ordered_is_raised_where_the_recipe_can_catch_it(kit: Bench) -> None:
    class Careful(LiveOperation):
        stages = ["Try"]

        def run(self, p: Progress) -> None:
            for _ in range(3):
                try:
                    with p.stage("Try"):
                        p.log("worked")
                        return
                except OSError as error:
                    p.log(f"caught {error}")

    kit.fail_at("Try", error=OSError("no disk"))
    kit.fail_at("Try", error=OSError)

    run = kit.run(Careful())

    assert (run.state, run.lines) == ("succeeded", ["caught no disk", "caught ", "worked"])


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (lambda kit: kit.fail_at("Publihs"), r"fail_at\('Publihs'\) was not reached: .*; did you mean 'Publish'\?"),
        (
            lambda kit: kit.crash_at("Pages", item=11),
            r"crash_at\('Pages', item=11\) was not reached: <run 2 of ",
        ),
        (
            lambda kit: kit.crash_at(key="publihs"),
            r"crash_at\(key='publihs'\) was not reached: .*; did you mean 'publish'\?",
        ),
        (
            lambda kit: kit.cancel_at(key="no", before=True),
            r"cancel_at\(key='no', before=True\) was not reached: <[^;]*$",
        ),
    ],
)
def test_a_place_that_is_not_reached_fails_the_test(kit: Bench, order: Any, told: str) -> None:
    order(kit)

    with pytest.raises(NotReached, match=told):
        kit.run(Ship())


class Quiet(LiveOperation):
    """Writes lines and calls `p` no more."""

    stages = ["Try"]
    how: str = "thread"

    def run(self, p: Progress) -> None:
        try:
            with p.stage("Try"):
                p.log("trying")
        except ArithmeticError:
            p.log("tried")
        if self.how == "thread":
            thread = threading.Thread(target=p.log, args=("ready",))
            thread.start()
            thread.join()
        elif self.how == "fork":
            if not (pid := os.fork()):
                p.log("ready")
                os._exit(0)
            os.waitpid(pid, 0)
        else:
            print("ready", end="")  # it is a line of the run when the recipe is over


def test_a_failure_at_the_last_line_of_a_recipe_fails_it(kit: Bench) -> None:
    kit.fail_at(line="ready")

    assert kit.run(Quiet()).state == "failed"


# How the recipe ends, and what is ordered -> what was not reached.
MISSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "after the end": ("end", {"fail": (None, {"line": "ready"})}, "fail_at(line='ready')"),
    "in a fork": ("fork", {"crash": (None, {"line": "ready"})}, "crash_at(line='ready')"),
    "besides a crash": ("thread", {"crash": ("Try", {}), "fail": ("Misspelt", {})}, "fail_at('Misspelt')"),
    "a crash after a failure": (
        "thread",
        {"fail": ("Try", {"error": ArithmeticError}), "crash": ("Misspelt", {})},
        "crash_at('Misspelt')",
    ),
}


@pytest.mark.parametrize("name", MISSED)
def test_what_did_not_happen_in_the_run_is_named(kit: Bench, name: str) -> None:
    how, orders, missed = MISSED[name]
    _order(kit, orders)

    with pytest.raises(NotReached, match=re.escape(f"{missed} was not reached: <run 1 of test_testing:Quiet ")):
        kit.run(Quiet(how=how))


def test_what_no_run_came_for_was_not_reached() -> None:
    with pytest.raises(NotReached, match="is for the next run, and there was none"), Bench() as kit:
        kit.run(Tell())
        kit.fail_at("Tell")


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (lambda kit: kit.fail_at(), "fail_at needs a place: a stage, item=, key= or line="),
        (lambda kit: kit.fail_at("Build", before=True), "before=True needs a key, and no item"),
        (lambda kit: kit.fail_at(line="x", item=1), "line= can't be combined with item= or key="),
        (lambda kit: kit.crash_at(item=1, lost=2), "lost=2 is more than the items that are finished"),
        (lambda kit: kit.cancel_at("Build", signal="SIGKILL"), "signal can't be 'SIGKILL'"),
    ],
)
def test_a_place_that_can_not_be_is_refused(kit: Bench, order: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        order(kit)


def test_a_resume_takes_the_parameters_of_the_journal_and_the_secrets_of_the_test(kit: Bench) -> None:
    class Login(LiveOperation):
        stages = ["Enter"]
        token: Secret
        tries: int = 1

        def run(self, p: Progress) -> None:
            with p.stage("Enter"):
                p.result(size=len(self.token.reveal()), tries=self.tries, owner=self.owner)

    kit.fail_at("Enter")
    kit.run(Login(token=Secret("geheim-geheim"), tries=2, owner="bob"))

    assert kit.resume().result == {"size": 13, "tries": 2, "owner": "bob"}
    assert kit.rerun(changes={"tries": 3}).result == {"size": 13, "tries": 3, "owner": "bob"}
    assert kit.resume(from_stage="Enter", changes={"token": Secret("neu-neu-neu")}).result == {
        "size": 11,
        "tries": 3,
        "owner": "bob",
    }


def test_a_resume_can_run_the_corrected_recipe(kit: Bench) -> None:
    class Fixed(Ship):
        def run(self, p: Progress) -> None:
            p.result(size=p.step("Build", lambda: 8))

    kit.fail_at("Pages")
    kit.run(Ship())

    assert kit.resume(Fixed()).result == {"size": 7}


def test_what_the_command_refuses_is_raised(kit: Bench) -> None:
    with pytest.raises(UsageError, match=r"run needs an operation, not <class .*\n  make one: run\(Tell\(\.\.\.\)\)"):
        kit.run(Tell)  # type: ignore[arg-type]

    class Broken(LiveOperation):
        token: Secret
        url: str = ""

        def run(self, p: Progress) -> None:
            raise OSError

    done = kit.run(Tell())
    with pytest.raises(UsageError, match="nothing to resume: run 1 succeeded"):
        done.plan()
    with pytest.raises(UsageError, match="nothing to resume: run 1 succeeded"):
        kit.resume()

    kit.run(Broken(token=Secret("geheim-geheim"), url="geheim-geheim"))
    with pytest.raises(UsageError, match="the parameter 'url' held a secret and was not stored"):
        kit.resume()

    for _ in range(19):
        kit.resume(changes={"url": "geheim-geheim"})
    with pytest.raises(UsageError, match="run 21 was attempt 20: the command resumes it only with --force"):
        kit.resume(changes={"url": "geheim-geheim"})


def test_a_run_keeps_its_plan_when_it_was_resumed(kit: Bench) -> None:
    kit.fail_at("Pages")
    failed = kit.run(Ship())
    plan = failed.plan()
    kit.resume()

    assert failed.plan() == plan


def test_a_run_leaves_the_process_as_a_command_would_find_it(kit: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Settle(LiveOperation):
        def run(self, p: Progress) -> None:
            logging.getLogger("settle").info("%s, %s", Path.cwd() == kit.folder, os.environ.pop("OLD", None))
            os.environ["NEW"] = "set"
            os.chdir("/")
            logging.basicConfig(level="DEBUG", force=True)
            raise OSError

    monkeypatch.setenv("OLD", "there")
    before = dict(os.environ), Path.cwd(), logging.getLogger().level, logging.getLogger().handlers.copy()

    lines = [kit.run(Settle()).lines, kit.resume().lines]

    assert lines == [["True, there"]] * 2
    assert (dict(os.environ), Path.cwd(), logging.getLogger().level, logging.getLogger().handlers) == before


def test_a_run_in_an_event_loop_is_refused_and_a_thread_is_none(kit: Bench) -> None:
    async def test() -> Run:
        with pytest.raises(RuntimeError, match=r"in an async test: await asyncio\.to_thread"):
            kit.run(Wait())
        kit.cancel_at("Count", item=2)
        return await asyncio.to_thread(kit.run, Wait())

    assert asyncio.run(test()).state == "cancelled"


def test_the_clock_of_a_test_does_not_run_backwards(kit: Bench) -> None:
    with pytest.raises(ValueError, match="does not run backwards"):
        kit.clock.move(-1)


def test_a_run_that_is_refused_in_the_fork_is_refused_here_and_what_was_ordered_waits_for_the_next(kit: Bench) -> None:
    class Alone(LiveOperation):
        stages = ["Nest"]
        exclusive = True

        def run(self, p: Progress) -> None:
            with p.stage("Nest"):
                kit.crash_at("Nest")
                with pytest.raises(HeldError, match="is exclusive, and run 1 is still running"):
                    kit.run(Alone())

    assert kit.run(Alone()).succeeded
    assert kit.run(Alone()).state == "crashed"


def test_a_program_without_a_stub_fails_the_test_also_if_the_recipe_swallows_it(kit: Bench) -> None:
    class Bold(LiveOperation):
        def run(self, p: Progress) -> None:
            try:
                p.sh("touch everything")
            except BaseException:
                p.log("whatever")

    with pytest.raises(NotStubbed, match=r"p\.sh\('touch everything'\) has no stub; stubbed: 'make publish'"):
        kit.run(Bold())
    assert not (kit.folder / "everything").exists()


def _in_fork(p: Progress) -> None:
    if not (pid := os.fork()):
        try:
            p.sh("touch everything")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _before_crash(p: Progress) -> None:
    with suppress(NotStubbed):
        p.sh("touch everything")
    p.log("crash")


@pytest.mark.parametrize("how", [_in_fork, _before_crash])
def test_a_program_without_a_stub_fails_the_test_also_from_a_process_that_is_gone(
    kit: Bench, how: Callable[[Progress], None]
) -> None:
    class Bold(LiveOperation):
        def run(self, p: Progress) -> None:
            how(p)

    if how is _before_crash:
        kit.crash_at(line="crash")

    with pytest.raises(NotStubbed, match="touch everything"):
        kit.run(Bold())
    assert not (kit.folder / "everything").exists()


# What a recipe passes to p.sh -> what is wrong with it, with a program that takes 5 s.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "limit": ({"timeout": -1}, "p.sh: timeout must be a number of seconds above 0, not -1"),
    "time": ({"timeout": 5}, "`make publish` took longer than 5s\n  published"),
    "folder": ({"cwd": "nowhere"}, "`make publish` can't start: there is no folder nowhere"),
    "input": ({"stdin": {}}, "p.sh: stdin must be text, bytes or an open file, not {}"),
    "terminal": ({"interactive": True, "capture": True}, "p.sh: interactive=True excludes capture"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_stub_refuses_what_the_program_would(kit: Bench, name: str) -> None:
    arguments, told = WRONG[name]

    class Make(LiveOperation):
        def run(self, p: Progress) -> None:
            p.sh("make publish", **arguments)

    with Bench() as bench:
        bench.programs.stub("make publish", stdout="published\n", does=lambda: bench.clock.move(5))
        run = bench.run(Make())

    assert run.error is not None
    assert run.error.message.startswith(told)


def test_a_second_bench_in_a_folder_begins_with_its_own_first_call(kit: Bench) -> None:
    class Make(LiveOperation):
        def run(self, p: Progress) -> None:
            p.sh("make publish")

    kit.run(Make())
    other = Bench(kit.folder)
    other.programs.stub("make publish", stdout="first\n")
    other.programs.stub("make publish", stdout="second\n")

    assert (other.run(Make()).lines[-1], other.programs.calls) == ("first", ["make publish"])


def test_stubs_answer_as_programs_do(tmp_path: Path) -> None:
    class Talk(LiveOperation):
        def run(self, p: Progress) -> None:
            heard = p.sh("git describe", capture=True)
            failed = p.sh("git push", check=False)
            real = p.sh("echo real", capture=True)
            p.result(heard=[heard.stdout, heard.stderr], failed=[failed.returncode, failed.stdout], real=real.stdout)
            p.sh("git push")

    kit = Bench(tmp_path)
    kit.programs.stub(re.compile("git desc.*"), stdout="v1\n", stderr="old\n")
    kit.programs.stub("git push", returncode=-9)
    kit.programs.stub("git push", stderr="denied\n", returncode=1)
    kit.programs.allow(["echo", "real"])

    run = kit.run(Talk())

    assert run.result == {"heard": ["v1\n", "old\n"], "failed": [-9, None], "real": "real\n"}
    assert run.error is not None
    assert run.error.message == "`git push` ended with exit code 1\n  denied"
    assert run.lines == ["$ git describe", "v1", "old", "$ git push", "$ echo real", "real", "$ git push", "denied"]


def test_nothing_sleeps_while_stagerun_waits(kit: Bench) -> None:
    failures = {"checkpoint": 2, "map": 2, "async": 2, "tasks": 2}

    def flaky(name: str) -> str:
        failures[name] -= 1
        if failures[name] >= 0:
            raise OSError(name)
        return name

    async def flaky_async(name: str) -> str:
        return flaky(name)

    class Plain(LiveOperation):
        def run(self, p: Progress) -> None:
            p.result(got=[p.checkpoint("a", flaky, "checkpoint", attempts=3), *p.map(flaky, ["map"], attempts=3)])

    class Loop(LiveOperation):
        async def run(self, p: Any) -> None:
            got = await p.checkpoint("a", flaky_async, "async", attempts=3)
            p.result(got=[got, *await p.map(flaky_async, ["tasks"], attempts=3)])

    assert kit.run(Plain()).result == {"got": ["checkpoint", "map"]}
    assert kit.run(Loop()).result == {"got": ["async", "tasks"]}
    assert kit.clock.now == pytest.approx(sum(kit.clock.sleeps))
    assert kit.clock.now > 12


@pytest.mark.parametrize("timeout", [None, 25])
def test_time_limits_go_by_the_clock_of_the_test(kit: Bench, timeout: int | None) -> None:
    class Slow(LiveOperation):
        stages = ["Work"]

        def run(self, p: Progress) -> None:
            with p.stage("Work", timeout=30):
                for _ in p.track(range(100)):
                    kit.clock.move(10)

    run = kit.run(Slow(), timeout=timeout)

    assert (run.state, run.exit_code, run.seconds) == ("timed_out", 124, 30)
    assert run.error is not None
    assert run.error.message == ("the run took longer than 25s" if timeout else "stage 'Work' took longer than 30s")


def test_usual_durations_come_from_the_clock_of_the_test(kit: Bench) -> None:
    class Bake(LiveOperation):
        stages = ["Bake"]

        def run(self, p: Progress) -> None:
            with p.stage("Bake"):
                kit.clock.move(90)

    kit.run(Bake())

    assert kit.run(Bake()).events[0]["expected"] == {"Bake": 90}


def test_no_question_is_asked_and_the_methods_for_the_time_after_a_run_are_called(kit: Bench) -> None:
    class Drop(LiveOperation):
        confirm = "Drop the database?"
        stages = ["Drop"]

        def run(self, p: Progress) -> None:
            with p.stage("Drop"):
                _note(0)

        def on_success(self) -> None:
            _note(1)

        def on_failure(self) -> None:
            _note(2)

    kit.run(Drop())
    kit.fail_at("Drop")
    kit.run(Drop())

    assert _done(kit) == [0, 1, 2]


def test_a_run_shows_why_it_failed(kit: Bench) -> None:
    kit.fail_at("Build", error=ValueError("boom"))

    assert repr(kit.run(Ship())) == "<run 1 of test_testing:Ship failed in 'Build': ValueError: boom>"
    assert repr(kit.run(Tell())) == "<run 2 of test_testing:Tell succeeded>"


def test_a_bench_of_its_own_folder_takes_it_away() -> None:
    with Bench() as kit:
        kit.run(Tell())
        assert kit.journal.is_file()

    assert not kit.folder.exists()


def test_a_golden_text_is_compared_without_what_differs_on_another_machine(kit: Bench, tmp_path: Path) -> None:
    class Look(LiveOperation):
        def run(self, p: Progress) -> None:
            kit.clock.move(75)
            p.log(f"in {Path.cwd()}, 3 min ago")

    kit.golden, kit.update_golden = tmp_path / "golden", True
    kit.assert_golden(kit.run(Look(owner="alice")), "look.txt")
    kit.update_golden = False
    kit.assert_golden(kit.run(Look(owner="bob")).output.replace("run 2", "run 1"), "look.txt")

    assert kit.written == [tmp_path / "golden" / "look.txt"]
    assert (tmp_path / "golden" / "look.txt").read_text() == (
        "run 1 · test_testing:Look · started by someone\nin FOLDER, just now\nrun 1 succeeded in 0.0s\n"
    )
    with pytest.raises(AssertionError, match=r"(?s)-in FOLDER, just now\n\+other\n.*pytest --stagerun-update-golden"):
        kit.assert_golden(kit.run(Look()).output.replace("run 3", "run 1").replace("in /", "other\n"), "look.txt")
    with pytest.raises(AssertionError, match=r"there is no .*none\.txt; to write it: pytest"):
        kit.assert_golden("text", "none.txt")


def test_a_golden_text_holds_no_secret_and_no_path_of_this_machine(kit: Bench, tmp_path: Path) -> None:
    class Leak(LiveOperation):
        token: Secret

        def run(self, p: Progress) -> None:
            raise OSError(self.token.reveal())

    (tmp_path / "tests").mkdir()
    (tmp_path / "recipes").mkdir()
    kit.golden, kit.update_golden = tmp_path / "tests" / "golden", True
    run = kit.run(Leak(token=Secret("geheim-geheim")))
    kit.assert_golden(f"geheim-geheim in {tmp_path}/recipes/leak.py and {kit.folder}/report.txt", "own.txt")

    assert run.output.count("***") == 1
    assert (kit.golden / "own.txt").read_text() == "*** in recipes/leak.py and FOLDER/report.txt"


PAGE = (REPOSITORY / "docs" / "testing.md").read_text(encoding="utf-8")


def _pytest(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=plain_environ(), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the recipes, the tests and the settings of the page."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("recipes", "tests"):
        (folder / name).mkdir()
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)):
        recipe = re.search(r"^class (\w+)\(LiveOperation\)", block, re.MULTILINE)
        if recipe:
            name = {"Mirror": "mirror", "Report": "reports"}[recipe[1]]
            (folder / "recipes" / f"{name}.py").write_text(block)
        elif "def test_" in block:
            (folder / "tests" / f"test_{number}.py").write_text(block)
        else:
            (folder / "tests" / "test_script.py").write_text(block)
    (folder / "tests" / "test_idle.py").write_text("def test_idle(stagerun):\n    stagerun.fail_at('Fetch')\n")
    (settings,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (folder / "pyproject.toml").write_text(settings)
    return folder


def test_the_tests_on_the_page_pass_in_a_project_of_their_own(shop: Path) -> None:
    written = len(re.findall(r"^def test_", PAGE, re.MULTILINE))

    missing = _pytest(shop)
    updated = _pytest(shop, "--stagerun-update-golden", "-k", "prints")

    assert f"2 failed, {written - 1} passed" in missing.stdout
    assert "fail_at('Fetch') was not reached: it is for the next run, and there was none" in missing.stdout
    assert "there is no " in missing.stdout
    assert "Captured output of run 1 call" in missing.stdout
    assert "--- [2/3] Fetch: done in 0.0s\n" in missing.stdout
    assert "1 passed" in updated.stdout, updated.stdout
    assert re.search(r"golden texts written.*\n.*tests/golden/mirror\.txt\n", updated.stdout)
    golden = (shop / "tests" / "golden" / "mirror.txt").read_text()
    assert golden.startswith("run 1 · mirror:Mirror · started by someone\n")


def _first_column(heading: str) -> list[str]:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)(?:\(\))?` \|", section, re.MULTILINE)


def test_the_page_names_all_that_a_run_and_a_plan_tell_and_nothing_else(kit: Bench) -> None:
    kit.fail_at("Tell")
    run = kit.run(Tell())

    def public(thing: object) -> set[str]:
        return {name for name in dir(thing) if not name.startswith("_")}

    assert {*_first_column("What a run tells")} == public(run)
    assert {*_first_column("The plan of a resume")} == public(run.plan())
    assert isinstance(run, Run)


def test_the_plugin_loads_nothing_of_stagerun_before_the_fixture_is_used() -> None:
    (plugin,) = [each for each in entry_points(group="pytest11") if each.name == "stagerun"]
    code = f"import {plugin.value}, sys; print(*sorted(name for name in sys.modules if name.startswith('stagerun')))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded.split() == ["stagerun", "stagerun.testing", "stagerun.testing.plugin"]
