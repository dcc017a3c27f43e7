"""A run killed at every moment at which it writes: nothing that was told is lost, and a resume goes through."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import killing
from tests.conftest import REPOSITORY, a_share


pytestmark = pytest.mark.timeout(300)


def _killing(*arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


@a_share(of=20)
def test_a_kill_at_any_write_loses_nothing_that_was_acknowledged(tmp_path: Path, step: int, seed: int) -> None:
    report = _killing("points", str(tmp_path), str(step), str(seed))

    deaths = report.pop("deaths")
    assert report == {"violations": []}
    assert isinstance(deaths, dict)
    assert {fixture: count > 60 // step for fixture, count in deaths.items()} == dict.fromkeys(
        ("stages", "loop", "chain"), True
    )


def test_kills_at_random_moments_lose_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    report = _killing("random", str(tmp_path), "10", str(seed))

    assert report["violations"] == []
    assert isinstance(report["deaths"], int)
    assert report["deaths"] >= 10
    assert isinstance(report["ends"], int)
    assert report["ends"] > 0


# What changes a folder or a file; a name that this machine's kernel does not know is passed over.
CHANGES = "?mkdir,?mkdirat,write,pwrite64,fsync,fdatasync,?ftruncate,?link,?linkat,?unlink,?unlinkat"
WAYS = {"local": ("", ""), "network": (killing.ON_NETWORK, ""), "without links": ("", "?link,?linkat:error=EPERM")}


def _made(folder: Path, way: str, *inject: str) -> tuple[int, list[str]]:
    """Make a journal in `folder`, in a process with these faults; return its exit code and the calls that it made."""
    place, fault = WAYS[way]
    trace = folder.parent.with_suffix(".trace")
    faults = [each for inject in (fault, *inject) if inject for each in ("-e", f"inject={inject}")]
    code = killing.in_a_process(
        folder / "journal.db",
        folder,
        before=["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={CHANGES}", *faults],
        mode=f"prepare{place}",
    )
    return code, re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("way", WAYS)
@a_share(of=40)
def test_a_kill_at_any_moment_of_its_making_leaves_a_journal_that_can_be_read_and_written(
    tmp_path: Path, step: int, seed: int, way: str
) -> None:
    code, calls = _made(tmp_path / "whole" / ".stagerun", way)
    assert (code, len(calls) > 20) == (0, True)
    points = [(call, calls[: place + 1].count(call)) for place, call in enumerate(calls)]

    wrong = []
    for number, (call, count) in enumerate(points[seed % min(step, len(points)) :: step]):
        folder = tmp_path / str(number) / ".stagerun"
        code, _ = _made(folder, way, f"{call}:signal=SIGKILL:when={count}")
        found = [] if code == -signal.SIGKILL else [f"it ended with {code}"]
        wrong += [f"{call} {count}: {text}" for text in (*found, *killing.after_making(folder))]
    assert wrong == []
