"""What takes minutes: `make soak`. A thousand deaths at random moments, and faults of the disk at every write."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import killing
from tests.conftest import REPOSITORY


pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


def test_a_thousand_deaths_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", "random", str(tmp_path), "1000", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )

    report = json.loads(done.stdout)
    assert report["violations"] == []
    assert report["deaths"] >= 1000
    assert report["ends"] >= 50


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("place", ["", killing.ON_NETWORK], ids=["local", "network"])
@pytest.mark.parametrize("then", ["", "+"], ids=["once", "from then on"])
@pytest.mark.parametrize(
    "fault", ["pwrite64:error=ENOSPC", "pwrite64:error=EIO", "fdatasync:error=EIO", "pwrite64:signal=SIGKILL"]
)
def test_a_fault_of_the_disk_at_any_write_is_reported_and_loses_nothing(
    fault: str, then: str, place: str, tmp_path: Path
) -> None:
    fired, moment = 0, 0
    while True:
        moment += 1
        folder = tmp_path / str(moment)
        folder.mkdir()
        path, effects = folder / "journal.db", folder / "effects"
        killing.in_a_process(path, effects, mode=f"prepare{place}")
        trace = folder / "trace"
        code = killing.in_a_process(
            path,
            effects,
            before=[
                *("strace", "-f", "-qq", "-o", str(trace), "-e", "trace=pwrite64,fdatasync"),
                *("-e", f"inject={fault}:when={moment}{then}"),
            ],
            mode=f"life{place}",
        )
        if "INJECTED" not in trace.read_text() and "SIGKILL" not in trace.read_text():
            assert code == 0
            break
        fired += 1
        # A fault may hit log lines, which are not worth stopping for; it may never be passed over in silence.
        assert code in (0, 3, -9, 137), f"{fault} at {moment}: exit {code}"
        killing.effects = killing.Effects(effects)
        assert killing.violations(path) == [], f"{fault} at {moment}"
        assert killing.in_a_process(path, effects, mode=f"life{place}") == 0
        assert killing.after_resume(path) == [], f"{fault} at {moment}, resumed"
        shutil.rmtree(folder)
    assert fired > 5
