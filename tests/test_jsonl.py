"""The JSON lines: what programs read."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from stagerun import LiveOperation, Progress, Secret
from stagerun.machine import identity
from stagerun.render.jsonl import JsonLines
from stagerun.render.output import Output
from tests.conftest import Bench, Project


def told(bench: Bench, operation: LiveOperation) -> list[dict[str, Any]]:
    """Run the operation and return the lines that it came to."""
    file = bench.folder / "lines.json"
    with file.open("w", encoding="utf-8") as stream:
        bench.run(operation, JsonLines(Output(stream)))
    text = file.read_text(encoding="utf-8")
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    return [line | {"work": "WORK"} if "work" in line else line for line in lines]


def opening(operation: str, **fields: Any) -> dict[str, Any]:
    process = identity.current_process()
    return {
        "event": "run_created",
        "target": f"demo:{operation}",
        "recipe": "demo",
        "operation": operation,
        "stages": [],
        "owner": "alice",
        "source": None,
        "source_hash": None,
        "params": {},
        "host": process.host,
        "boot_id": process.boot_id,
        "pid_namespace": process.pid_namespace,
        "pid": os.getpid(),
        "process_started": process.started,
        "chained_from": None,
        "resumed_from": None,
        "root": None,
        "attempt": 1,
        "expected": {},
        "done_before": [],
        "inherited": {},
        "project": "",
        "folder": "",
        "work": "WORK",
        "place": None,
        "tags": [],
        "once": None,
    } | fields


def ending(state: str, seconds: float, exit_code: int, **fields: Any) -> dict[str, Any]:
    return {
        "event": "run_finished",
        "state": state,
        "seconds": seconds,
        "exit_code": exit_code,
        "signal": None,
        "error": None,
        "chained_to": None,
        "not_entered": [],
    } | fields


def entered(stage: str, index: int | None) -> dict[str, Any]:
    return {"event": "stage_entered", "stage": stage, "index": index}


def left(stage: str, index: int | None, state: str, seconds: float) -> dict[str, Any]:
    about = {"stage": stage, "index": index, "state": state, "seconds": seconds, "skipped": None}
    return {"event": "stage_left"} | about


def at(seq: int, time: str, run: int, event: dict[str, Any]) -> dict[str, Any]:
    return {"seq": seq, "time": f"2027-01-15T08:00:{time}Z", "run": run} | event


def test_a_successful_run_is_told_event_by_event(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load"]
        source: str
        token: Secret

        def run(self, p: Progress) -> None:
            bench.clock.move(0.5)
            with p.stage("Load"):
                p.status("reading")
                p.log("careful", level="warning")
                print("printed")
                for row in p.track(range(4), label="rows", unit="row"):
                    bench.clock.move(0.25)
                    if row == 2:
                        p._session.loops.sample()
            with p.stage("Warm down"):
                p.percent(50)
            p.result({"count": 4})

    lines = told(bench, Import(owner="alice", source="a.csv", token=Secret("hush")))

    progress = {
        "event": "progress",
        "done": 2,
        "total": 4,
        "percent": 50.0,
        "label": "rows",
        "unit": "row",
        "skipped": 0,
        "seconds": 0.75,
        "depth": 0,
        "ended": False,
        "around": [],
    }
    plan = opening("Import", stages=["Load"], params={"source": "a.csv", "token": "***"})
    assert lines == [
        at(1, "00.000", 1, plan),
        at(2, "00.000", 1, {"event": "run_started"}),
        at(3, "00.500", 1, entered("Load", 0)),
        at(4, "00.500", 1, {"event": "status", "text": "reading", "level": "info", "depth": 0}),
        at(5, "00.500", 1, {"event": "log", "line": "careful", "level": "warning", "stream": None}),
        at(6, "00.500", 1, {"event": "log", "line": "printed", "level": "info", "stream": "stdout"}),
        at(7, "01.250", 1, progress),
        at(8, "01.500", 1, progress | {"done": 4, "percent": 100.0, "seconds": 1.0, "ended": True}),
        at(9, "01.500", 1, left("Load", 0, "done", 1.0)),
        at(10, "01.500", 1, entered("Warm down", None)),
        at(
            11,
            "01.500",
            1,
            progress | {"done": None, "total": None, "label": None, "unit": "item", "seconds": 0.0},
        ),
        at(12, "01.500", 1, left("Warm down", None, "done", 0.0)),
        at(13, "01.500", 1, {"event": "result_set", "result": {"count": 4}}),
        at(14, "01.500", 1, ending("succeeded", 1.5, 0)),
    ]


def test_a_failure_ends_with_the_error_and_the_exit_code(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                bench.clock.move(2)
                raise ValueError("boom")

    lines = told(bench, Import(owner="alice"))

    number = Import.run.__code__.co_firstlineno + 3
    error = {
        "type": "ValueError",
        "message": "boom",
        "stage": "Load",
        "traceback": (
            "Traceback (most recent call last):\n"
            f'  File "{__file__}", line {number}, in run\n'
            '    raise ValueError("boom")\n'
            "ValueError: boom"
        ),
        "file": __file__,
        "line": number,
        "program": None,
    }
    assert lines == [
        at(1, "00.000", 1, opening("Import", stages=["Load"])),
        at(2, "00.000", 1, {"event": "run_started"}),
        at(3, "00.000", 1, entered("Load", 0)),
        at(4, "02.000", 1, left("Load", 0, "failed", 2.0)),
        at(5, "02.000", 1, ending("failed", 2.0, 1, error=error)),
    ]


def test_a_cancel_ends_with_the_signal_and_its_exit_code(bench: Bench) -> None:
    class Import(LiveOperation):
        stages = ["Load"]

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                bench.interrupts.request("SIGHUP")
                p.check_cancelled()

    lines = told(bench, Import(owner="alice"))

    assert lines[3:] == [
        at(4, "00.000", 1, left("Load", 0, "cancelled", 0.0)),
        at(5, "00.000", 1, ending("cancelled", 0.0, 129, signal="SIGHUP")),
    ]


class Import(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Publish(owner=self.owner))


class Publish(LiveOperation):
    def run(self, p: Progress) -> None:
        p.error("no room")


def test_a_chain_is_one_stream_in_which_the_numbers_go_on(bench: Bench) -> None:
    lines = told(bench, Import(owner="alice"))

    source_hash = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    nowhere = {"stage": None, "traceback": None, "file": None, "line": None, "program": None}
    error = {"type": "", "message": "no room"} | nowhere
    assert lines == [
        at(1, "00.000", 1, opening("Import")),
        at(2, "00.000", 1, {"event": "run_started"}),
        at(3, "00.000", 1, ending("succeeded", 0.0, 0, chained_to=2)),
        at(4, "00.000", 2, opening("Publish", chained_from=1, source=__file__, source_hash=source_hash)),
        at(5, "00.000", 2, {"event": "run_started"}),
        at(6, "00.000", 2, ending("failed", 0.0, 1, error=error)),
    ]


HOSTILE = '"\\ \x1b[31m \x07 \x00 \x9b \u202e \u2028 \ufeff \U000e0041  é 日 😀'


def test_text_that_is_not_ours_stays_escaped_and_keeps_its_meaning(bench: Bench) -> None:
    class Hostile(LiveOperation):
        stages = [HOSTILE]

        def run(self, p: Progress) -> None:
            with p.stage(HOSTILE):
                p.log(HOSTILE)
                p.status(HOSTILE)
            p.result({HOSTILE: HOSTILE})
            p.error(HOSTILE)

    lines = told(bench, Hostile(owner=HOSTILE))

    text = (bench.folder / "lines.json").read_text(encoding="utf-8")
    assert {character for character in text if not character.isprintable()} == {"\n"}
    assert [lines[0]["owner"], lines[0]["stages"]] == [HOSTILE, [HOSTILE]]
    assert [(line["event"], *line.values())[5] for line in lines[2:6]] == [HOSTILE] * 4
    assert lines[6]["result"] == {HOSTILE: HOSTILE}
    assert lines[-1]["error"]["message"] == HOSTILE


NOISY = """
import logging
import os
import subprocess
import sys

class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        with p.stage("Load"):
            print("caf\\u00e9 \\u65e5 \\U0001f600")
            print("to stderr", file=sys.stderr)
            logging.getLogger("lib").warning("a record")
            subprocess.run(["echo", "from a child"], check=True)
            os.write(1, b"to the descriptor\\n")
        p.chain_to(Publish(owner=self.owner))

class Publish(LiveOperation):
    def run(self, p: Progress):
        raise SystemExit(7)
"""


@pytest.mark.parametrize("environ", [{}, {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}], ids=["utf-8", "cp1252"])
def test_stdout_holds_nothing_but_json_whatever_a_recipe_writes_and_the_terminal_knows(
    project: Project, environ: dict[str, str]
) -> None:
    project.recipe("demo", NOISY)

    done = project.stagerun("run", "demo:Import", "--progress", "json", environ=environ)

    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(line["line"], line["level"], line["stream"]) for line in lines if line["event"] == "log"] == [
        ("café 日 😀", "info", "stdout"),
        ("to stderr", "info", "stderr"),
        ("a record", "warning", "lib"),
    ]
    assert done.err == "from a child\nto the descriptor\n"
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert (lines[-1]["state"], lines[-1]["exit_code"], done.code) == ("failed", 7, 7)
