"""A run killed at every moment at which it writes: nothing that was told is lost, and a resume goes through."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
