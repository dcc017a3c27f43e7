"""A `p.map` over the executor of a Dask client, whose workers do not have the recipe."""

import signal

import pytest

from stagerun.states import RunState
from tests.conftest import Project
from tests.places.clusters import Where
from tests.places.conftest import Distant, end_of
from tests.processes import logged, until


pytestmark = pytest.mark.parametrize("where", ["dask"], indirect=True, scope="session")
RECIPE = """
import functools, logging, os, sys, time
from pathlib import Path
from distributed import Client
import helper

class Odd(Exception):
    pass

def shout(way, mark, item):
    print(f"took {item}")
    if way == "kill" and item == 3 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), 9)
    if way == "fail" and item == 4:
        raise Odd(f"no {item}")
    if way == "wait":
        Path(mark).touch()
        time.sleep(5)
    logging.getLogger("shop").warning("logged %s", item)
    return helper.double(item)

class Shout(LiveOperation):
    address: str
    way: str
    mark: str

    def run(self, p: Progress):
        with Client(self.address, set_as_default=False) as client:
            before = set(client.nthreads())
            try:
                p.log("begins")
                fn = functools.partial(shout, self.way, self.mark)
                p.result(found=p.map(fn, [1, 1, 2, 3, 4, 5], executor=client.get_executor()))
            finally:
                p.log(f"all there: {set(client.nthreads()) == before}")
"""
HELPER = "def double(item):\n    return 2 * item\n"


@pytest.fixture
def dask(project: Project, where: Where) -> Distant:
    project.recipe("orders", RECIPE)
    project.recipe("helper", HELPER)
    return Distant(project, where)


def _run(dask: Distant, way: str) -> list[str]:
    address = dask.where.name.replace("dask:", "tcp:")
    return ["run", "orders:Shout", f"--address={address}", f"--way={way}", f"--mark={dask.project.root / 'mark'}"]


def test_results_and_what_the_items_print_come_in_the_order_of_the_items(dask: Distant) -> None:
    done = dask.project.stagerun(*_run(dask, ""))

    assert (done.code, done.err) == (0, "")
    said = [line for item in (1, 1, 2, 3, 4, 5) for line in (f"took {item}", f"logged {item}")]
    lines = logged(dask.project, 1)
    assert lines[lines.index("begins") :] == ["begins", *said, "all there: True"]
    assert dask.newest().result_context == {"found": [2, 2, 4, 6, 8, 10]}


def test_the_first_failure_has_its_item_and_the_lines_of_the_recipe_here(dask: Distant) -> None:
    done = dask.project.stagerun(*_run(dask, "fail"))

    file = dask.project.root / "recipes" / "orders.py"
    assert done.code == 1
    assert "Odd: no 4\n" in done.out
    assert f'  File "{file}", line 17, in shout\n    raise Odd(f"no {{item}}")\n' in done.out
    assert "in p.map, with the item 4\n" in done.out
    assert logged(dask.project, 1)[-1] == "all there: True"


def test_a_worker_that_dies_over_an_item_is_replaced_and_the_item_is_tried_again(dask: Distant) -> None:
    done = dask.project.stagerun(*_run(dask, "kill"))

    assert (done.code, dask.newest().result_context) == (0, {"found": [2, 2, 4, 6, 8, 10]})


def test_a_cancel_does_not_wait_for_the_items(dask: Distant) -> None:
    process = dask.project.start(*_run(dask, "wait"))
    until((dask.project.root / "mark").exists)

    process.send_signal(signal.SIGTERM)

    done = end_of(process)
    assert (done.code, dask.newest().state) == (-signal.SIGTERM, RunState.CANCELLED)
    assert "all there: True\nrun 1 cancelled by SIGTERM after" in done.out
