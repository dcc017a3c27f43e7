"""Far ends that break the rules: `python far_ends.py WAY` says hello as the agent does, gets work, and misbehaves."""

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable


HELLO: dict[str, object] = {
    "protocol": [1, 0],
    "stagerun": "0",
    "python": platform.python_version(),
    "host": "there",
    "pid": os.getpid(),
    "boot_id": "",
}
LEFT = {"stage": "Load", "index": 0, "state": "done", "seconds": 1.0}
PLAN = {"target": "a", "recipe": "a", "operation": "A", "stages": [], "owner": "x"}
STARTED = [0.0, "run_started", {}]


def say(*frame: object) -> None:
    sys.stdout.write(json.dumps(frame) + "\n")
    sys.stdout.flush()


def log(text: str, moment: float = 0.1) -> list[object]:
    return [moment, "log", {"text": text}]


def ended(**fields: object) -> list[object]:
    return [0.2, "run_finished", {"state": "succeeded", "seconds": 0.1, "exit_code": 0} | fields]


def raw(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def endlessly() -> None:
    raw(b'["events", 2, "')
    while True:
        raw(b"x" * 1024 * 1024)


WAYS: dict[str, Callable[[], None]] = {
    "illegal move": lambda: say(
        "events", 2, [[0.1, "stage_left", {"stage": "Load", "index": 0, "state": "done", "seconds": 1.0}]]
    ),
    "wrong stage": lambda: say("events", 2, [[0.1, "stage_entered", {"stage": "Other", "index": 0}]]),
    "number left out": lambda: say("events", 3, [log("x")]),
    "number twice": lambda: say("events", 1, [log("x")]),
    "unknown event": lambda: say("events", 2, [[0.1, "stage_dreamt", {}]]),
    "run created": lambda: say(
        "events",
        2,
        [[0.1, "run_created", {"target": "a", "recipe": "a", "operation": "A", "stages": [], "owner": "x"}]],
    ),
    "wrong field": lambda: say("events", 2, [[0.1, "log", {"text": 5}]]),
    "crashed": lambda: say("events", 2, [ended(state="crashed", exit_code=1)]),
    "green failure": lambda: say("events", 2, [ended(exit_code=5)]),
    "chained to any run": lambda: say("events", 2, [ended(chained_to=1)]),
    "recall of another run": lambda: say("recall", 77, "key"),
    "chain of a failure": lambda: say("over", ended(state="failed", exit_code=1)[2], {}, False),
    "second hello": lambda: say("hello", HELLO),
    "unknown frame": lambda: say("dream", 1),
    "no array": lambda: raw(b'{"events": 2}\n'),
    "no UTF-8": lambda: raw(b'["events", 2, [[0.1, "log", {"text": "\xff\xfe"}]]]\n'),
    "deep": lambda: raw(b"[" * 100_000 + b"\n"),
    "endless line": endlessly,
}
ENDS: dict[str, Callable[[], None]] = {
    "future": lambda: say("events", 3, [log("from the future", 1e9), ended()]),
    "past": lambda: say("events", 3, [log("from the past", -1e9), ended()]),
    "after the end": lambda: say("events", 3, [ended(), log("not heard")]),
}
HELLOS: dict[str, dict[str, object]] = {
    "other Python": HELLO | {"python": "2.7.18"},
    "other protocol": HELLO | {"protocol": [2, 0]},
}

if __name__ == "__main__":
    way = sys.argv[1]
    if way == "greeting":
        raw(b"Welcome to the machine\nLast login: never, and \xff no line end")
        raw(b"\n")
    elif way == "only a greeting":
        raw(b"Welcome to the machine\n")
        time.sleep(600)
    elif way == "dead":
        sys.stderr.write("there: no such machine\n")
        sys.exit(5)
    say("hello", HELLOS.get(way, HELLO))
    for line in sys.stdin:
        if line.startswith('["work"'):
            break
    if way == "silent":
        os.kill(os.getpid(), signal.SIGSTOP)
    say("events", 1, [STARTED])
    if way == "greeting":
        say("events", 2, [ended()])
    else:
        {**WAYS, **ENDS}[way]()
    if way in WAYS:
        time.sleep(600)
