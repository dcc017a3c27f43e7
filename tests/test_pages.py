"""What the pages of the documentation tell to do, done: each page in a project of its own, block by block."""

import difflib
import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.blocks import DOCS, PAGES, blocks, page_name
from tests.conftest import REPOSITORY
from tests.pages import reader


# Pages whose blocks other tests execute, because they need more than a folder.
ELSEWHERE: Final = {
    "testing.md": "test_testing.py",
    "tutorial.md": "test_tutorial.py",
}
# Programs without which a page can't be followed.
NEEDED: Final = {
    "commands.md": "sqlite3",
    "journal.md": "sqlite3",
    "how-to/from-make.md": "make",
    "how-to/releases.md": "git",
}
# How many blocks of a page are not executed; each says why.
NOT_RUN: Final = {
    "how-to/from-airflow.md": 1,
    "how-to/from-django-liveops.md": 2,
    "how-to/from-nox.md": 1,
    "how-to/from-prefect.md": 1,
}


@pytest.mark.parametrize("page", [page for page in PAGES if page_name(page) not in ELSEWHERE], ids=page_name)
def test_whoever_does_what_a_page_says_sees_what_it_shows(page: Path) -> None:
    program = NEEDED.get(page_name(page))
    if program and not shutil.which(program):
        pytest.skip(f"there is no {program}")
    _follow(page)


@pytest.mark.soak
def test_whoever_has_a_dask_cluster_sees_what_the_page_on_places_shows() -> None:
    _follow(DOCS / "places.md", patient=True)


def _follow(page: Path, *, patient: bool = False) -> None:
    with reader(patient=patient) as somebody:
        for block in blocks(page):
            somebody.read(block)

    assert not [*difflib.unified_diff(_lines(somebody.shown), _lines(somebody.seen), "shown", "seen", n=1, lineterm="")]


def _lines(sessions: list[str]) -> list[str]:
    return "\n".join(sessions).splitlines()


def test_no_block_is_left_out_but_those_that_say_why() -> None:
    left_out = {page_name(page): sum(not block.is_run for block in blocks(page)) for page in PAGES}

    assert {page: count for page, count in left_out.items() if count} == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_fence_of_a_page_begins_or_ends_a_block_that_is_read(page: Path) -> None:
    fences = re.findall(r"^[^\w`]*```", page.read_text("utf-8"), re.MULTILINE)

    assert len(fences) == 2 * sum(block.is_shown for block in blocks(page))


def test_a_page_that_is_executed_elsewhere_is_read_by_that_test() -> None:
    read = {page: page in (REPOSITORY / "tests" / test).read_text("utf-8") for page, test in ELSEWHERE.items()}

    assert all(read.values()), read
