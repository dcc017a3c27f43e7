"""The page of guarantees names tests that are there, and what no other file holds is held here."""

import ast
import re
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.journals import Opened


TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text(encoding="utf-8")


def _tests_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", PAGE)

    assert [f"{file}::{name}" for file, name in named if name not in _tests_in(file)] == []


def test_each_promise_on_the_page_names_what_holds_it() -> None:
    promises, _ = PAGE.split("\n## Promises\n")[1].split("\n## What is not promised\n")
    sections = dict(re.findall(r"^### (.+)\n([^#]+)", promises, re.MULTILINE))

    assert len(sections) == promises.count("### ") > 0
    assert [
        promise for promise, text in sections.items() if not re.search(r"^- `test_\w+\.py::", text, re.MULTILINE)
    ] == []


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)], ids=["full", "normal"])
def test_a_commit_survives_a_power_cut_unless_the_configuration_says_otherwise(
    tmp_path: Path, durable: bool, synchronous: int
) -> None:
    with closing(Opened(tmp_path / "journal.db", durable=durable)) as opened:
        found = [
            opened.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "fullfsync")
        ]

    assert found == ["wal", synchronous, 1]


FAILING = """
from pathlib import Path


class Go(LiveOperation):
    stages = ["Go"]

    def run(self, p: Progress) -> None:
        with p.stage("Go"):
            if not Path("mended").exists():
                raise ValueError("boom")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_that_can_not_be_written_stops_no_resume(project: Project) -> None:
    project.recipe("go", FAILING)
    assert project.stagerun("run", "go").code == 1
    (project.root / "mended").touch()

    done = project.stagerun("resume", full=True)

    newest = project.records().find("last")
    assert (newest.plan.resumed_from, newest.state, done.code, done.err) == (1, "succeeded", 0, "")
