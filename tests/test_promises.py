"""Sentences of the documentation that a program or a person relies on."""

import gc
import json
from enum import Enum

import pytest

from stagerun import LiveOperation, Progress, events
from tests.conftest import Bench, Project


def test_the_last_json_line_is_the_end_of_the_run_also_when_a_loop_was_cut_short(project: Project) -> None:
    project.recipe(
        "orders",
        "class Import(LiveOperation):\n"
        "    def run(self, p):\n"
        "        rows = p.track(range(3))\n"
        "        for row in rows:\n"
        "            if row == 2:\n"
        "                raise ValueError('boom')\n",
    )

    lines = project.stagerun("run", "orders", "--progress", "json").out.splitlines()

    last = json.loads(lines[-1])
    assert (last["event"], last.get("state"), last.get("exit_code")) == ("run_finished", "failed", 1)


def test_a_loop_that_an_error_cut_short_belongs_to_its_stage(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                rows = p.track(range(3))
                for row in rows:
                    if row == 2:
                        raise ValueError("boom")

    bench.run(Import())
    gc.collect()

    kinds = [type(event) for event in bench.seen.events]
    assert [kind for kind in kinds if kind is not events.ProgressMoved][-2:] == [events.StageLeft, events.RunFinished]
    assert events.ProgressMoved not in kinds[kinds.index(events.StageLeft) :]


@pytest.mark.parametrize("command", [("status",), ("history",), ("show", "orders")])
def test_force_color_colours_a_report_without_a_terminal(project: Project, command: tuple[str, ...]) -> None:
    project.recipe("orders", "class Import(LiveOperation):\n    def run(self, p): ...\n")
    project.stagerun("run", "orders")

    assert "\x1b[" in project.stagerun(*command, environ={"FORCE_COLOR": "1"}).out
    assert "\x1b" not in project.stagerun(*command).out


def test_a_member_of_an_enum_of_numbers_may_be_a_default_and_a_value() -> None:
    class Level(Enum):
        LOW = 1
        HIGH = 2

    class Import(LiveOperation):
        level: Level = Level.LOW

    assert (Import().level, Import(level=Level.HIGH).level, Import(level="2").level) == (
        Level.LOW,
        Level.HIGH,
        Level.HIGH,
    )


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_a_number_that_json_cant_hold_is_refused_in_one_sentence(project: Project, text: str) -> None:
    project.recipe("orders", "class Import(LiveOperation):\n    ratio: float\n    def run(self, p): ...\n")

    done = project.stagerun("run", "orders", "--ratio", text)

    assert (done.code, done.out, done.err.startswith("stagerun: parameter 'ratio' can't be")) == (2, "", True)


def test_an_operation_knows_that_it_is_running_before_its_first_stage(bench: Bench) -> None:
    known: list[object] = []

    class Import(LiveOperation):
        def run(self, p: Progress) -> None:
            known.append((self.state, self.started_on is not None))

    bench.run(Import())

    assert known == [("running", True)]


@pytest.mark.parametrize(
    ("words", "completed"), [("stagerun run or", "plain,orders:Import"), ("stagerun status 1", "plain,1")]
)
def test_targets_and_run_ids_are_completed(project: Project, words: str, completed: str) -> None:
    project.recipe("orders", "class Import(LiveOperation):\n    def run(self, p): ...\n")
    project.stagerun("run", "orders")
    environ = {"_STAGERUN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}

    done = project.stagerun(environ=environ)

    assert (done.out.splitlines(), done.err) == ([completed], "")


def test_the_records_of_a_logging_that_run_imports_keep_their_level(project: Project) -> None:
    project.recipe(
        "orders",
        "class Import(LiveOperation):\n"
        "    def run(self, p):\n"
        "        import logging\n"
        "        logging.getLogger('shop').info('hello')\n"
        "        logging.getLogger('shop').warning('careful')\n",
    )
    project.stagerun("run", "orders")

    lines = json.loads(project.stagerun("logs", "--json").out)

    assert [(line["level"], line["stream"], line["line"]) for line in lines] == [
        ("info", "shop", "hello"),
        ("warning", "shop", "careful"),
    ]


def test_a_listing_is_sorted_by_target(project: Project) -> None:
    project.recipe(
        "orders",
        "class Last(LiveOperation):\n    def run(self, p): ...\n"
        "class First(LiveOperation):\n    def run(self, p): ...\n",
    )

    listed = json.loads(project.stagerun("list", "--json").out)

    assert [each["target"] for each in listed] == ["orders:First", "orders:Last"]


def test_the_hint_of_a_broken_rule_reaches_the_author(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load", "Save"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"), p.stage("Save"):
                pass

    bench.run(Import())

    assert "stages are flat: leave one first" in bench.text
