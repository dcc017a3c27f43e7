"""The plan of a resume is read by people and by programs: these are its golden outputs."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from stagerun import LiveOperation, Progress, Secret
from stagerun.commands import again
from stagerun.reports import plans
from tests.conftest import START, Bench


GOLDEN: Final = Path(__file__).parent / "golden" / "plans"


class Ship(LiveOperation):
    """Every kind of thing that a run can store."""

    stages = ["Lint", "Test", "Build", "Publish", "Announce"]
    limit: int = 3
    note: str = ""
    token: Secret | None = None

    def run(self, p: Progress) -> None:
        p.checkpoint("config", lambda: {"a": 1})
        p.step("Lint", self.lint, p)
        p.step("Test", lambda: None)
        with p.stage("Build"):
            p.sh("true", key="make", quiet=True)
            for page in p.track(range(2000), key="pages"):
                if page < 2:
                    p.checkpoint(f"page-{page}", lambda: None)
        with p.stage("Publish"):
            p.map(str, range(7), key="uploads")
            for file in p.track(iter(range(50)), key="files"):
                for part in p.track(range(40), key=f"parts-{file}"):
                    if (file, part) == (3, 7):
                        raise ValueError("boom")

    def lint(self, p: Progress) -> None:
        p.checkpoint("lint-config", lambda: None)


class Bare(LiveOperation):
    """Nothing is stored."""

    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            pass
        with p.stage("Save"):
            raise ValueError("boom")


class Flat(LiveOperation):
    """There are no stages."""

    def run(self, p: Progress) -> None:
        p.checkpoint("a\x1b[31m\nb", lambda: None)
        raise ValueError("boom")


class Many(LiveOperation):
    """There is more than a line can show."""

    stages = [f"Stage {number}" for number in range(1, 13)]

    def run(self, p: Progress) -> None:
        for number in range(1, 11):
            p.step(f"Stage {number}", lambda: None)
        for number in range(1, 101):
            p.checkpoint(f"part-{number}", lambda: None)
        raise ValueError("boom")


class Failing(LiveOperation):
    """A map that is half done."""

    stages = ["Fetch"]

    def run(self, p: Progress) -> None:
        with p.stage("Fetch"):
            p.map(self.fetch, range(7), 1, key="urls", keep_going=True)

    def fetch(self, url: int) -> int:
        if url % 3 == 1:
            raise ValueError("away")
        return url


@dataclass
class Case:
    """What runs, and what the resume is asked for."""

    operation: Callable[[], LiveOperation]
    again: Callable[[], LiveOperation] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    from_stage: str | None = None


def _ship(**fields: Any) -> Callable[[], LiveOperation]:
    return lambda: Ship(owner="alice", **fields)


CASES: Final = {
    "nothing-stored": Case(Bare),
    "everything": Case(_ship()),
    "no-stages": Case(Flat),
    "half-a-map": Case(Failing),
    "many": Case(Many),
    "from": Case(_ship(), from_stage="Build"),
    "from-the-first-stage": Case(Many, from_stage="Stage 1"),
    "changed-source": Case(Bare, about={"changed_source": "/home/alice/shop/recipes/shop.py"}),
    "other-folder": Case(Bare, about={"folder": "/home/alice/shop/data"}),
    "changed-parameters": Case(_ship(note="a"), _ship(note="b", limit=4)),
    "secret-given-again": Case(
        _ship(token=Secret("hunter2"), note="is hunter2"), _ship(token=Secret("swordfish"), note="is swordfish")
    ),
    "secret-given-for-the-first-time": Case(_ship(), _ship(token=Secret("hunter2"))),
}


def _plan(bench: Bench, case: Case) -> plans.Plan:
    bench.run(case.operation())
    records = bench.records()
    resumption = records.resumption(records.find("last"), case.from_stage)
    records.close()
    changes = again.changed((case.again or case.operation)(), resumption.view)
    return plans.Plan(resumption=resumption, from_stage=case.from_stage, changes=changes, **case.about)


@pytest.mark.parametrize("name", CASES)
def test_the_plan_says_what_is_skipped_reused_dropped_and_done_again(bench: Bench, name: str) -> None:
    plan = _plan(bench, CASES[name])

    told = "".join(f"{line}\n" for line in plans.lines(plan, START + 200))

    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("STAGERUN_TEST_KEEP"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(told, encoding="utf-8")
    assert told == golden.read_text(encoding="utf-8")


def test_there_is_no_golden_plan_of_which_nothing_is_known() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == {*CASES}


def test_the_document_of_a_plan_says_the_same_to_programs(bench: Bench) -> None:
    plan = replace(_plan(bench, CASES["from"]), folder="/data", changes=("limit",), changed_source="shop.py")

    def kept(key: str, call: str, stage: str | None, done: int | None = None, total: int | None = None) -> Any:
        return {"key": key, "call": call, "stage": stage, "done": done, "total": total, "run": 1}

    assert plans.document(plan) == {
        "run": 1,
        "target": "demo:Ship",
        "state": "failed",
        "from_stage": "Build",
        "folder": "/data",
        "skipped": [kept("Lint", "step", "Lint"), kept("Test", "step", "Test")],
        "reused": [kept("config", "checkpoint", None)],
        "goes_on": [],
        "dropped": [
            kept("make", "sh", "Build"),
            kept("pages", "track", "Build", 2000, 2000),
            kept("uploads", "map", "Publish", 7, 7),
            kept("parts-3", "track", "Publish", 7, 40),
            kept("files", "track", "Publish", 3, 50),
        ],
        "runs_again": ["Build", "Publish", "Announce"],
        "done_before": ["Lint", "Test"],
        "changed": ["limit"],
        "changed_source": "shop.py",
    }
