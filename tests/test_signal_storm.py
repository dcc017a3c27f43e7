"""Signals that arrive inside journal code leave no doubt about what was written."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_two_thousand_signals_leave_no_ambiguous_write_and_no_open_transaction(tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.storm", "2000", str(tmp_path), str(seed)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report.pop("inside") > 500
    assert report == {"rounds": 2000, "raised": 2000, "ambiguous": 0, "open": 0}
