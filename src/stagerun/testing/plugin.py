"""The pytest plugin: the fixture `stagerun`, and an option to accept new golden texts.

Every pytest of an environment with stagerun imports this file, so nothing else of stagerun is loaded before the fixture
is used.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest


if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from stagerun.testing.bench import Bench

_UPDATE: Final = "--stagerun-update-golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stagerun", "stagerun: tests of recipes")
    group.addoption(_UPDATE, action="store_true", help="Write what runs print into the golden files of the tests.")


@pytest.fixture
def stagerun(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Bench]":
    """Run operations in `tmp_path`, on a journal of their own, with a clock that the test moves."""
    from stagerun.testing.bench import Bench

    with Bench(tmp_path) as bench:
        bench.golden = request.path.parent / "golden"
        bench.update_golden = request.config.getoption(_UPDATE)
        yield bench


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> "Generator[None, pytest.TestReport, pytest.TestReport]":
    """Show what the runs of a failed test have printed."""
    bench: Bench | None = getattr(item, "funcargs", {}).get("stagerun")
    if bench is not None and call.when == "call" and call.excinfo is not None:
        for run in bench.runs:
            item.add_report_section("call", f"output of run {run.chain[0].id}", run.output)
    return (yield)
