"""What a run is started with besides its operation: a place in a line, a name for one success, tags, a question."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Final

import pytest

from stagerun.states import RunState
from tests import rebuild
from tests.conftest import Done, Project
from tests.processes import GATE, finish, look, open_gate, read_until, rows, running, until
from tests.serving import Command


SHOP: Final = f"""
{GATE}
class Import(LiveOperation):
    stages = ["Load"]
    exclusive = "wait"
    tags = ["shop"]
    gate_name: str = ""
    fail: bool = False

    def run(self, p):
        with p.stage("Load"):
            if self.gate_name:
                gate(self.gate_name)
            assert pathlib.Path("mended").exists() or not self.fail, "no rows"


class First(LiveOperation):
    stages = ["One"]
    tags = ["first"]

    def run(self, p):
        with p.stage("One"):
            pass
        p.chain_to(Then(owner=self.owner))


class Then(LiveOperation):
    stages = ["Two"]
    tags = ["then"]

    def run(self, p):
        with p.stage("Two"):
            assert pathlib.Path("mended").exists(), "not yet"


class Ship(LiveOperation):
    confirm = "Deploy to production?"

    def run(self, p):
        p.log("shipped")


class Free(LiveOperation):
    gate_name: str = ""

    def run(self, p):
        if self.gate_name:
            gate(self.gate_name)
"""


@pytest.fixture
def shop(project: Project) -> Project:
    project.recipe("shop", SHOP)
    return project


def _states(project: Project) -> list[str]:
    return [str(state) for (state,) in rows(project, "SELECT state FROM runs ORDER BY id")]


def _read_until_it_waits(process: Command) -> None:
    while not process.stdout.readline().startswith("waiting for run 1"):
        pass


def test_runs_that_wait_begin_one_after_the_other_in_the_order_in_which_they_came(shop: Project) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running(shop, "run", "shop:Import", "--gate-name", "open", "--owner", "alice"))
        read_until(first, "=== [1/1] Load ===")
        second = stack.enter_context(running(shop, "run", "shop:Import", "--owner", "bob"))
        line = "waiting for run 1 (alice, less than 1 min)"
        read_until(second, line)
        third = stack.enter_context(running(shop, "run", "shop:Import"))
        read_until(third, f"{line} and 1 more")
        until(lambda: look(shop, 2).status)
        shown = shop.stagerun("status", "2").out
        waiting = _states(shop)

        open_gate(shop, "open")
        ends = [finish(each).code for each in (first, second, third)]

    assert re.sub("just now|. s ago", "now", shown) == f"run 2  shop:Import  pending  now  by bob\n  ○ Load\n  {line}\n"
    assert (waiting, ends) == (["running", "pending", "pending"], [0, 0, 0])
    times = rows(shop, "SELECT started_on, finished_on FROM runs ORDER BY id")
    assert sorted(times) == times
    assert all(before[1] <= after[0] for before, after in pairwise(times))  # type: ignore[operator]
    assert [view.status for view in rebuild.views(shop.journal).values()] == [None, None, None]


def test_who_waits_can_be_cancelled_and_leaves_the_line(shop: Project) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running(shop, "run", "shop:Import", "--gate-name", "open"))
        read_until(first, "=== [1/1] Load ===")
        waiting = list[Command]()
        for _ in range(3):
            waiting.append(stack.enter_context(running(shop, "run", "shop:Import")))
            _read_until_it_waits(waiting[-1])
        line, interrupted, last = waiting

        cancelled = shop.stagerun("cancel", "2")
        interrupted.send_signal(signal.SIGINT)
        codes = line.wait(30), interrupted.wait(30)
        open_gate(shop, "open")
        ends = [finish(first).code, finish(last).code]

    assert (cancelled.code, cancelled.out) == (0, "run 2 cancelled\n")
    assert codes == (-signal.SIGTERM, -signal.SIGINT)
    assert ends == [0, 0]
    assert _states(shop) == ["succeeded", "cancelled", "cancelled", "succeeded"]


def test_a_killed_run_does_not_hold_up_the_line(shop: Project) -> None:
    with running(shop, "run", "shop:Import", "--gate-name", "never") as first:
        read_until(first, "=== [1/1] Load ===")
        with running(shop, "run", "shop:Import") as second:
            _read_until_it_waits(second)
            first.kill()

            assert finish(second).code == 0


def test_wait_queues_any_operation_and_a_time_limit_begins_with_the_run(shop: Project) -> None:
    with running(shop, "run", "shop:Free", "--gate-name", "open") as first:
        until(lambda: _states(shop) == ["running"] if shop.journal.exists() else False)
        with running(shop, "run", "shop:Free", "--wait", "--timeout", "1m") as second:
            _read_until_it_waits(second)
            open_gate(shop, "open")

            assert (finish(second).code, finish(first).code) == (0, 0)


def test_a_name_succeeds_once_and_what_failed_under_it_is_resumed(shop: Project) -> None:
    failing = "run", "shop:First", "--once", "nightly"

    done = [shop.stagerun(*failing), shop.stagerun(*failing)]
    (shop.root / "mended").touch()
    done += [shop.stagerun("resume"), shop.stagerun(*failing), shop.stagerun("run", "shop:Free", "--once", "nightly")]
    quiet = shop.stagerun(*failing, "-q")

    assert [each.code for each in done] == [1, 3, 0, 0, 2]
    assert (done[1].out, done[1].err) == (
        "",
        "stagerun: run 2 has the name 'nightly' and did not succeed\n  go on with it: stagerun resume 2\n",
    )
    assert (done[3].out, done[3].err) == ("nothing to run: run 3 has succeeded under the name 'nightly'\n", "")
    assert quiet == Done(0, "", "")
    assert done[4].err == "stagerun: the name 'nightly' belongs to run 1 of shop:First\n  choose another\n"
    assert rows(shop, "SELECT id, once, state FROM runs ORDER BY id") == [
        (1, "nightly", "succeeded"),
        (2, "nightly", "failed"),
        (3, "nightly", "succeeded"),
    ]


def test_a_name_has_not_succeeded_if_the_next_link_of_its_chain_was_pruned(shop: Project) -> None:
    shop.stagerun("run", "shop:First", "--once", "nightly")
    pruned = shop.stagerun("prune", "--state", "failed", "--delete")

    again = shop.stagerun("run", "shop:First", "--once", "nightly")

    assert (pruned.out, again.code, again.out) == ("deleted 1 run\n", 3, "")
    assert again.err == (
        "stagerun: run 1 has the name 'nightly', and run 2, which it chained to, was pruned\n"
        "  nobody knows how that ended: choose another name\n"
    )


def test_a_name_belongs_to_nobody_if_the_first_link_of_its_chain_was_pruned(shop: Project) -> None:
    shop.stagerun("run", "shop:First", "--once", "nightly")
    shop.stagerun("prune", "--state", "succeeded", "--delete", "--keep", "0")

    again = shop.stagerun("run", "shop:First", "--once", "nightly")

    assert (again.code, again.out) == (3, "")
    assert again.err == (
        "stagerun: run 2 of shop:Then has the name 'nightly', and the run before it in its chain was pruned\n"
        "  nobody knows whose name it was: choose another\n"
    )


def test_a_dry_run_asks_the_journal_whose_name_it_is_and_records_nothing(shop: Project) -> None:
    dry = "run", "shop:First", "--dry-run", "--once"

    free = shop.stagerun(*dry, "nightly")
    assert not shop.journal.exists()
    shop.stagerun("run", "shop:Ship", "--yes", "--once", "shipped")
    shop.stagerun("run", "shop:First", "--once", "nightly")
    failed = shop.stagerun(*dry, "nightly")
    foreign = shop.stagerun(*dry, "shipped")
    done = shop.stagerun("run", "shop:Ship", "--dry-run", "--once", "shipped")

    assert (free.code, free.out.partition("\n")[0]) == (0, "would run shop:First as alice")
    assert (failed.code, failed.out, failed.err.partition("\n")[0]) == (
        *(3, ""),
        "stagerun: run 3 has the name 'nightly' and did not succeed",
    )
    assert (foreign.code, foreign.err.partition("\n")[0]) == (
        2,
        "stagerun: the name 'shipped' belongs to run 1 of shop:Ship",
    )
    assert (done.code, done.out) == (0, "nothing to run: run 1 has succeeded under the name 'shipped'\n")
    assert rows(shop, "SELECT count(*) FROM runs") == [(3,)]


def test_a_run_that_waits_for_its_name_begins_or_has_nothing_to_do_once_the_other_is_over(shop: Project) -> None:
    with running(shop, "run", "shop:Free", "--once", "x", "--gate-name", "open") as first:
        until(lambda: _states(shop) == ["running"] if shop.journal.exists() else False)
        waiting = "run", "shop:Free", "--once", "x", "--wait"
        with (
            running(shop, *waiting, "-q") as quiet,
            running(shop, *waiting) as stopped,
            running(shop, *waiting) as second,
        ):
            said = [each.stderr.readline() for each in (stopped, second)]
            stopped.send_signal(signal.SIGTERM)
            code = finish(stopped).code
            open_gate(shop, "open")
            done, silent = finish(second), finish(quiet)
        finish(first)

    assert said == ["stagerun: waiting: run 1 has the name 'x' and is not over\n"] * 2
    assert code == -signal.SIGTERM
    assert silent == Done(0, "", "")
    assert (done.code, done.out) == (0, "nothing to run: run 1 has succeeded under the name 'x'\n")
    assert _states(shop) == ["succeeded"]


def test_an_empty_name_is_refused_because_every_run_would_begin(shop: Project) -> None:
    done = shop.stagerun("run", "shop:Free", "--once", " ")

    assert (done.code, done.out, done.err.partition("\n")[0]) == (2, "", "stagerun: --once needs a name")


def test_of_many_runs_of_one_name_at_once_one_begins(shop: Project) -> None:
    with ExitStack() as stack:
        started = [stack.enter_context(running(shop, "run", "shop:Free", "--once", "x", "--gate-name", "open"))]
        started += [stack.enter_context(running(shop, "run", "shop:Free", "--once", "x")) for _ in range(5)]
        until(lambda: sum(each.poll() is not None for each in started) >= 5)
        open_gate(shop, "open")
        codes = sorted(finish(each).code for each in started)

    assert set(codes) <= {0, 3}
    assert rows(shop, "SELECT count(*), min(state), max(state) FROM runs") == [(1, "succeeded", "succeeded")]


def test_a_name_is_taken_while_its_run_goes_on(shop: Project) -> None:
    with running(shop, "run", "shop:Free", "--once", "x", "--gate-name", "open"):
        until(lambda: _states(shop) == ["running"] if shop.journal.exists() else False)
        refused = shop.stagerun("run", "shop:Free", "--once", "x")

    assert (refused.code, refused.out, refused.err) == (
        3,
        "",
        "stagerun: run 1 has the name 'x' and is not over\n  wait for it: stagerun wait 1, or add --wait\n",
    )


def test_runs_are_found_by_the_tags_of_their_class_and_of_the_command_line(shop: Project) -> None:
    shop.stagerun("run", "shop:First", "--tag", "nightly", "--tag", "b", "--once", "today")
    details = shop.stagerun("status", "1", "-v").out.splitlines()
    (shop.root / "mended").touch()
    shop.stagerun("resume", "--tag", "again")
    shop.stagerun("run", "shop:Free")

    def found(*arguments: str) -> list[str]:
        return re.findall(r"^(\d+) ", shop.stagerun("history", *arguments).out, re.MULTILINE)

    assert [look(shop, run).plan.tags for run in (1, 2, 3, 4)] == [
        ("b", "first", "nightly"),
        ("b", "nightly", "then"),
        ("again", "b", "nightly", "then"),
        (),
    ]
    assert {"  tags: b, first, nightly", "  once: today"} <= set(details)
    assert found("--tag", "nightly") == ["3", "2", "1"]
    assert found("shop:Then", "--tag", "nightly") == ["3", "2"]
    assert found("--tag", "first", "--state", "failed") == []
    assert found("shop:Free") == ["4"]
    shop.stagerun("prune", "--keep", "1", "--delete")
    assert rows(shop, "SELECT * FROM tags") == []


@pytest.fixture
def asked(shop: Project) -> Iterator[Done]:
    yield shop.stagerun("run", "shop:Ship")


def test_a_question_that_nobody_can_answer_is_refused_and_yes_answers_it(shop: Project, asked: Done) -> None:
    answered = shop.stagerun("run", "shop:Ship", "--yes")

    assert (asked.code, asked.out, asked.err) == (
        2,
        "",
        "stagerun: nobody can answer: Deploy to production?\n  to answer with yes: --yes\n",
    )
    assert (answered.code, "shipped\n" in answered.out) == (0, True)
    assert shop.stagerun("run", "shop:Ship", "--dry-run").code == 0
    assert _states(shop) == [RunState.SUCCEEDED]


@pytest.mark.parametrize(("keys", "code", "states"), [(b"n\r", 2, 0), (b"\r", 2, 0), (b"sure\rY\r", 0, 1)], ids=str)
def test_a_person_answers_the_question_on_a_terminal(shop: Project, keys: bytes, code: int, states: int) -> None:
    with shop.terminal("run", "shop:Ship", "--progress", "plain") as terminal:
        terminal.wait_for("Deploy to production? [y/N]:")
        terminal.send(keys)

        assert terminal.wait() == code
    assert terminal.lines.count("answer y or n") == keys.count(b"sure")
    assert len(_states(shop) if shop.journal.exists() else []) == states


@pytest.mark.parametrize("how", ["--no-input", "CI"])
def test_nothing_is_asked_where_it_is_forbidden(shop: Project, how: str) -> None:
    given, environ = (["--no-input"], {}) if how != "CI" else ([], {"CI": "true"})
    with shop.terminal("run", "shop:Ship", *given, environ=environ) as terminal:
        code = terminal.wait()

    assert (code, terminal.lines) == (
        2,
        ["stagerun: nobody can answer: Deploy to production?", "  to answer with yes: --yes"],
    )


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ('exclusive = "queue"', "Op: exclusive must be True, False or \"wait\", not 'queue'"),
        ("tags = 'nightly'", "Op: tags must be a list of names, not 'nightly'"),
        ("tags = ['']", "Op: tags must be a list of names, not ['']"),
        ("confirm = True", "Op: confirm must be a question, not True"),
    ],
)
def test_a_class_attribute_of_another_kind_is_refused(project: Project, attribute: str, message: str) -> None:
    project.recipe("wrong", f"class Op(LiveOperation):\n    {attribute}\n    def run(self, p): ...\n")

    refused = project.stagerun("run", "wrong")

    assert (refused.code, refused.err.splitlines()[0]) == (3, f"stagerun: {message}")
