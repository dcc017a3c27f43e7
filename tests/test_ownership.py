"""Journals that root leaves in the folders of others: who is told, and what they are told."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import Project, plain_environ


pytestmark = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can write into everybody's folders"
)

ALICE: Final = 12345
BOB: Final = 12346
QUICK: Final = """
import os
from pathlib import Path

class Quick(LiveOperation):
    def run(self, p: Progress) -> None:
        if Path("kill").exists():
            os.kill(os.getpid(), 9)
"""


def _give(folder: Path, user: int) -> None:
    for each in (folder, *folder.rglob("*")):
        os.chown(each, user, user)


@pytest.fixture
def alices() -> Iterator[Project]:
    """A project in a folder of alice, which any user can enter."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    root.chmod(0o755)
    (root / "recipes").mkdir()
    project = Project(root, plain_environ())
    project.recipe("quick", QUICK)
    _give(root, ALICE)
    yield project
    shutil.rmtree(root)


def _findings(project: Project, user: int | None = None, *arguments: str) -> list[str]:
    """Return the problems that doctor finds in the journal."""
    found = json.loads(project.stagerun("doctor", "--json", *arguments, user=user).out)
    return [each["text"] for each in found if each["what"] == "journal" and each["grade"] == "bad"]


def test_root_is_warned_each_time_it_writes_a_journal_that_the_owner_of_the_folder_can_not_open(
    alices: Project,
) -> None:
    warning = (
        f"stagerun: warning: journal {alices.journal} belongs to root, and its folder to user {ALICE}, "
        f"who can't open it\n  sudo chown -R {ALICE} {alices.root}/.stagerun\n"
    )

    for _ in range(2):
        done = alices.stagerun("run", "quick")
        assert (done.code, done.err) == (0, warning)


def test_the_owner_of_the_folder_is_told_whose_the_journal_is_and_the_remedy_works(alices: Project) -> None:
    alices.stagerun("run", "quick")
    remedy = f"sudo chown -R {ALICE} {alices.root}/.stagerun"

    told = [
        alices.stagerun(*command, user=ALICE)
        for command in (["status"], ["history"], ["run", "quick"], ["cancel", "1"])
    ]
    found = [_findings(alices, ALICE), _findings(alices)]
    _give(alices.journal.parent, ALICE)
    after = [alices.stagerun("status", user=ALICE), alices.stagerun("run", "quick", user=ALICE)]

    what = f"belongs to root, and user {ALICE} can't"
    read, write = (f"stagerun: journal {alices.journal} {what} {verb} it\n  {remedy}\n" for verb in ("read", "write"))
    assert [(done.code, done.out, done.err) for done in told] == [
        (3, "", read),
        (3, "", read),
        (3, "", write),
        (3, "", read),
    ]
    assert found == [
        [f"journal {alices.journal} {what} read it: {remedy}"],
        [f"{alices.journal}: it belongs to root, and its folder to user {ALICE}: {remedy}"],
    ]
    assert [(done.code, done.err) for done in after] == [(0, ""), (0, "")]
    assert _findings(alices, ALICE) == []


def test_a_journal_that_an_option_names_has_the_remedy_for_its_files_alone(alices: Project) -> None:
    place = alices.root / "my runs.db"

    warned = alices.stagerun("run", "quick", "--journal", str(place))
    told = alices.stagerun("status", "--journal", str(place), user=ALICE)

    remedy, what = f"sudo chown {ALICE} '{place}'*", f"belongs to root, and user {ALICE} can't"
    assert warned.err.endswith(f"  {remedy}\n")
    assert told.err == f"stagerun: journal {place} {what} read it\n  {remedy}\n"
    assert _findings(alices, ALICE, "--journal", str(place)) == [f"{place}: it {what} write it: {remedy}"]


@pytest.mark.parametrize("killed", [False, True])
def test_root_writes_the_journal_of_the_owner_without_a_word_because_it_stays_theirs(
    alices: Project, *, killed: bool
) -> None:
    alices.stagerun("run", "quick", user=ALICE)
    if killed:
        (alices.root / "kill").touch()

    by_root = alices.stagerun("run", "quick")

    (alices.root / "kill").unlink(missing_ok=True)
    assert (by_root.code, by_root.err) == (-signal.SIGKILL if killed else 0, "")
    assert (_findings(alices), _findings(alices, ALICE)) == ([], [])
    assert alices.stagerun("run", "quick", user=ALICE).code == 0


def test_a_stranger_is_told_to_ask_and_not_to_take_the_journal(alices: Project) -> None:
    alices.stagerun("run", "quick", user=ALICE)

    done = alices.stagerun("status", user=BOB)

    what = f"journal {alices.journal} belongs to user {ALICE}, and user {BOB} can't read it"
    assert (done.code, done.err) == (3, f"stagerun: {what}\n  ask user {ALICE}, or name another with --journal\n")


def test_an_owner_who_has_locked_the_journal_is_not_told_to_take_it(alices: Project) -> None:
    alices.stagerun("run", "quick", user=ALICE)
    alices.journal.chmod(0)

    done = alices.stagerun("status", user=ALICE)

    assert done.code == 3
    assert "belongs to" not in done.err


def test_a_folder_of_root_may_hold_a_journal_of_anybody(alices: Project) -> None:
    alices.stagerun("run", "quick", user=ALICE)
    os.chown(alices.root, 0, 0)

    assert (_findings(alices), alices.stagerun("run", "quick").err) == ([], "")
