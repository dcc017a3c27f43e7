"""A signal at any line of our own code ends the run with a true record and the right exit."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_a_signal_at_any_moment_of_a_run_is_recorded_and_never_leaves_a_traceback(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.interrupting", "97", str(tmp_path)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    assert report["moments"] > 60
    assert report["cancelled"] > 50
