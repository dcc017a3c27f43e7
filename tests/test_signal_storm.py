"""Signals that arrive inside journal code leave no doubt about what was written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.parametrize("rounds", [500, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_signals_inside_journal_code_leave_no_ambiguous_write_and_no_open_transaction(
    tmp_path: Path, rounds: int, seed: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.storm", str(rounds), str(tmp_path), str(seed)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report.pop("inside") > rounds // 4
    assert report == {"rounds": rounds, "raised": rounds, "ambiguous": 0, "open": 0}
