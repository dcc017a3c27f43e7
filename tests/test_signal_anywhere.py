"""A signal at any line of our own code ends the run with a true record and the right exit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.parametrize("step", [2000, pytest.param(23, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_a_signal_at_any_moment_of_a_run_is_recorded_and_never_leaves_a_traceback(
    tmp_path: Path, step: int, seed: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.interrupting", str(step), str(tmp_path), str(seed)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    assert report["moments"] >= 5400 // step
    assert report["cancelled"] >= 4800 // step
