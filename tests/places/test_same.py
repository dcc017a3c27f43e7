"""A run at a place is the run that it would have been here."""

import re
from typing import Any

import pytest

from tests import rebuild
from tests.conftest import Done, Project, timeless
from tests.journals import reading
from tests.places.clusters import Where
from tests.places.conftest import Distant
from tests.processes import rows


RECIPE = """
import logging, sys, warnings
import helper

class Whole(LiveOperation):
    stages = ["Load", "Fit", "Save"]
    size: int = 3

    def run(self, p: Progress):
        with p.stage("Load"):
            rows = p.checkpoint("rows", lambda: list(range(self.size)))
            print("printed", rows)
            print("to stderr", file=sys.stderr)
        with p.stage("Fit"):
            fitted = p.map(helper.double, rows, key="fitted")
            for row in p.track(fitted, key="rows seen", state=(seen := {"sum": 0})):
                seen["sum"] += row
            p.step("Between", helper.double, 21)
        with p.stage("Save"):
            logging.getLogger("shop").warning("logged \\udcff")
            warnings.warn("careful")
            p.sh("echo said; echo complained >&2")
            p.status("saving")
        p.result(sum=seen["sum"])
        p.chain_to(Tail(size=self.size + 1, owner=self.owner))

    def on_success(self):
        logging.getLogger("shop").warning("told of %s", self.state)

class Tail(LiveOperation):
    stages = ["Send"]
    size: int

    def run(self, p: Progress):
        with p.stage("Send"):
            p.log(f"sent {self.size}")
        p.error("nobody took it")

    def on_failure(self):
        print("told of", self.state, self.traceback)

class Fails(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress):
        with p.stage("Load"):
            helper.fail()

class Exits(LiveOperation):
    def run(self, p: Progress):
        with p.stage("Elsewhere"):
            sys.exit(7)
"""
HELPER = """
def double(row):
    return 2 * row

def fail():
    raise ValueError("boom")
"""
OF_THE_PROCESS = {"id", "host", "pid", "place", "worker", "chained_from", "chained_to", "root"}


def _told(done: Done) -> tuple[int, list[str], str]:
    """Return how a run ended and its lines but for the first, without times and the numbers of runs."""
    lines = re.sub(r"\b(run|resume) \d+", r"\1 N", timeless(done.out)).splitlines()
    said = [line for line in lines[1:] if not line.startswith("waiting for ")]  # on a slow machine
    return done.code, [line.removesuffix(" · on PLACE") for line in said], done.err


def _status(project: Project, run: int) -> dict[str, Any]:
    told = Distant(project, Where("", {})).status(str(run))
    hidden = {name for name in told if name.endswith(("_on", "seconds")) or name in OF_THE_PROCESS}
    return {name: value for name, value in told.items() if name not in hidden}


def _kinds(project: Project, run: int) -> list[object]:
    """Return the kinds of a run's events in order; how many pulses stand together is a matter of time."""
    sql = "SELECT kind FROM events WHERE run_id = ? AND kind NOT IN ('progress', 'status') ORDER BY seq"
    kinds = [kind for (kind,) in rows(project, sql, run)]
    return [kind for place, kind in enumerate(kinds) if kind != "log" or kinds[place - 1] != kind]


@pytest.mark.parametrize("operation", ["Whole", "Fails", pytest.param("Exits", marks=pytest.mark.soak)])
def test_a_run_says_records_and_ends_as_it_does_here(shop: Project, where: Where, operation: str) -> None:
    shop.recipe("orders", RECIPE)
    shop.recipe("helper", HELPER)
    here = shop.stagerun("run", f"orders:{operation}")
    first = Distant(shop, where).newest().id

    there = Distant(shop, where).stagerun("run", f"orders:{operation}")

    last = Distant(shop, where).newest().id
    links = 2 if operation == "Whole" else 1
    assert last == first + links
    assert there.out.splitlines()[0].endswith(f" · on {where.name}")
    there.out = there.out.replace(f" · on {where.name}", " · on PLACE").replace(f" --on {where.name}\n", "\n")
    assert _told(there) == _told(here)
    ran_here, ran_there = range(first - links + 1, first + 1), range(first + 1, last + 1)
    assert [_status(shop, run) for run in ran_there] == [_status(shop, run) for run in ran_here]
    assert [_kinds(shop, run) for run in ran_there] == [_kinds(shop, run) for run in ran_here]
    with reading(shop.journal) as records:
        views = {run: records.find(str(run)) for run in ran_there}
    rebuilt = rebuild.views(shop.journal)
    assert {run: rebuilt[run] for run in ran_there} == views
    assert rebuild.checkpoints(shop.journal) == rebuild.checkpoint_rows(shop.journal)
    told = [Distant(shop, where).status(str(run)) for run in ran_there]
    assert {each["place"] for each in told} == {where.name}
    assert all(each["worker"]["pid"] not in (each["pid"], 0) for each in told)
