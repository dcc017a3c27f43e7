"""The pytest plugin: the fixture `stagerun`, and an option to accept new golden texts.

Every pytest of an environment with stagerun imports this file, so nothing else of stagerun is loaded before the fixture
is used.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest


if TYPE_CHECKING:
    from collections.abc import Generator

    from stagerun.testing.bench import Bench

_UPDATE: Final = "--stagerun-update-golden"
_WRITTEN: Final = "stagerun golden"
_BENCH: Final = pytest.StashKey["Bench"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stagerun", "stagerun: tests of recipes")
    group.addoption(_UPDATE, action="store_true", help="Write what runs print into the golden files of the tests.")


@pytest.fixture
def stagerun(request: pytest.FixtureRequest, tmp_path: Path) -> "Bench":
    """Run operations in `tmp_path`, on a journal of their own, with a clock that the test moves."""
    from stagerun.testing.bench import Bench

    request.node.stash[_BENCH] = bench = Bench(tmp_path)
    bench.golden = request.path.parent / "golden"
    bench.update_golden = request.config.getoption(_UPDATE)
    return bench


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> "Generator[None, None, None]":
    """Fail a test that has ordered something to go wrong, and has run nothing after that."""
    yield
    if (bench := item.stash.get(_BENCH, None)) is not None:
        bench.check_reached()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> "Generator[None, pytest.TestReport, pytest.TestReport]":
    """Show what the runs of a failed test have printed."""
    bench = item.stash.get(_BENCH, None)
    if bench is not None and call.when == "call":
        item.user_properties += [(_WRITTEN, str(file)) for file in bench.written]
        if call.excinfo is not None:
            for run in bench.runs:
                item.add_report_section("call", f"output of run {run.chain[0].id}", run.output)
    return (yield)


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Name the golden files that were written."""
    reports = [report for group in terminalreporter.stats.values() for report in group]
    properties = [each for report in reports for each in getattr(report, "user_properties", ())]
    if written := sorted({str(file) for name, file in properties if name == _WRITTEN}):
        terminalreporter.section("golden texts written, to be read before they are committed")
        for file in written:
            terminalreporter.write_line(file)
