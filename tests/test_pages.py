"""What the pages of the documentation tell to do, done: each page in a project of its own, block by block."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import REPOSITORY, Project
from tests.pages import PAGES, Reader, blocks, page_name


# Pages whose blocks other tests execute, because they need more than a folder.
ELSEWHERE: Final = {
    "testing.md": "test_testing.py",
    "tutorial.md": "test_tutorial.py",
}
# Programs without which a page can't be followed.
NEEDED: Final = {"journal.md": "sqlite3", "how-to/from-make.md": "make", "how-to/releases.md": "git"}
# How many blocks of a page are not executed; each says why.
NOT_RUN: Final = {
    "authoring.md": 4,
    "ci.md": 1,
    "commands.md": 5,
    "json.md": 1,
    "journal.md": 2,
    "notify.md": 2,
    "output.md": 3,
    "places.md": 5,
    "web.md": 4,
    "how-to/from-airflow.md": 1,
    "how-to/from-django-liveops.md": 2,
    "how-to/from-nox.md": 1,
    "how-to/from-prefect.md": 1,
    "how-to/imports.md": 1,
    "how-to/training-loops.md": 1,
}


@pytest.mark.parametrize("page", [page for page in PAGES if page_name(page) not in ELSEWHERE], ids=page_name)
def test_whoever_does_what_a_page_says_sees_what_it_shows(project: Project, page: Path) -> None:
    program = NEEDED.get(page_name(page))
    if program and not shutil.which(program):
        pytest.skip(f"there is no {program}")
    reader = Reader(project)

    for block in blocks(page):
        reader.read(block)

    assert "\n".join(reader.seen) == "\n".join(reader.shown)


def test_no_block_is_left_out_but_those_that_say_why() -> None:
    left_out = {page_name(page): sum(block.not_run is not None for block in blocks(page)) for page in PAGES}

    assert {page: count for page, count in left_out.items() if count} == NOT_RUN


def test_a_page_that_is_executed_elsewhere_is_read_by_that_test() -> None:
    read = {page: page in (REPOSITORY / "tests" / test).read_text("utf-8") for page, test in ELSEWHERE.items()}

    assert all(read.values()), read
