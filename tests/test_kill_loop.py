"""A run killed at every moment at which it writes: nothing that was told is lost, and a resume goes through."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[1]


def _killing(*arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


@pytest.mark.parametrize("fixture", ["stages", "loop", "chain"])
def test_a_kill_at_any_write_loses_nothing_that_was_acknowledged(fixture: str, tmp_path: Path) -> None:
    report = _killing(fixture, str(tmp_path))

    assert report["violations"] == []
    assert isinstance(report["points"], int)
    assert report["points"] > 60


def test_kills_at_random_moments_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    report = _killing("random", str(tmp_path), "50", "7")

    assert report["violations"] == []
    assert isinstance(report["deaths"], int)
    assert report["deaths"] >= 50
    assert isinstance(report["ends"], int)
    assert report["ends"] > 3
