"""A signal at a chosen line of our own code: `python -m tests.interrupting STEP FOLDER SEED`.

Each run is a fork of this process. A trace function counts the lines, calls and returns of the package from the moment
the signals are taken over, and sends SIGTERM at one of them: at one of the first STEP, then STEP further each time,
until a run ends before its moment comes.
"""

import json
import os
import signal
import sqlite3
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import sqlite_utils  # noqa: F401 - so that no fork has to

import stagerun
from stagerun import cli


OURS = str(Path(stagerun.__file__).parent)
RECIPE = """
from stagerun import LiveOperation


class First(LiveOperation):
    stages = ["One", "Two"]

    def run(self, p):
        with p.stage("One"):
            print("printed")
            p.checkpoint("rows", list, "ab")
        with p.stage("Two"):
            for _ in p.track([1, 2], key="loop"):
                p.log("a line")
        p.result(count=2)
        p.chain_to(Second(owner=self.owner))


class Second(LiveOperation):
    stages = ["Three"]

    def run(self, p):
        with p.stage("Three"):
            pass
"""


def interrupted(moment: int, journal: Path, errors: Path) -> None:
    """Run the recipe in this process and end it; send the signal at `moment`, and say where that was."""
    seen, begun = 0, False

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal seen, begun
        code = frame.f_code
        if not code.co_filename.startswith(OURS):
            return None
        begun = begun or code.co_name == "install"
        if begun:
            seen += 1
            if seen == moment:
                sys.settrace(None)
                (errors.with_name("where")).write_text(f"{Path(code.co_filename).name}:{frame.f_lineno}")
                os.kill(os.getpid(), signal.SIGTERM)
                return None
        return trace

    os.dup2(os.open(errors, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        sys.settrace(trace)
        code = cli.main(["run", "--journal", str(journal), "chain:First"])
        sys.settrace(None)
    except BaseException:
        sys.settrace(None)
        traceback.print_exc()
        code = 99
    os._exit(code)


def wrong(code: int, journal: Path, errors: Path) -> str | None:
    """Return what does not fit together after a run, None if all does."""
    with sqlite3.connect(journal) as connection:
        rows = connection.execute("SELECT state, stage_states FROM runs ORDER BY id").fetchall()
    connection.close()
    told = errors.read_text()
    states = [state for state, _ in rows]
    fits = {0: "succeeded", -signal.SIGTERM: "cancelled"}
    if "Traceback" in told:
        return told
    if states and states[-1] != fits.get(code):
        return f"exit {code}, runs {states}"
    if not states and code != -signal.SIGTERM:
        return f"exit {code} without a run"
    return f"left active: {rows}" if any('"active"' in stages for _, stages in rows) else None


def main(step: int, folder: Path, seed: int) -> dict[str, object]:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "chain.py").write_text(RECIPE)
    os.chdir(folder)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    found, moment, cancelled = list[str](), 1 + seed % step, 0
    while True:
        place = folder / str(moment)
        place.mkdir()
        journal, errors = place / "journal.db", place / "errors"
        if (child := os.fork()) == 0:
            interrupted(moment, journal, errors)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if not (place / "where").exists():
            return {"moments": moment // step, "cancelled": cancelled, "wrong": found}
        cancelled += code == -signal.SIGTERM
        if (what := wrong(code, journal, errors)) is not None:
            found.append(f"{(place / 'where').read_text()}: {what}")
        moment += step


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
