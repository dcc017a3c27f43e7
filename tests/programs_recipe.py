"""The recipe of the resume model: a program given as data, which tells everything that it asks for and does.

A program is a list of operations, each a list that begins with its kind. `tests/test_resume_model.py` makes them. Each
line of the file EFFECTS is one thing that happened: `ask KEY`, `begin KEY`, `end KEY`, `have KEY`.

FAULT is `kind:number`: what happens in this process at that moment. Every line is a moment.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from stagerun import LiveOperation, Progress


_T = TypeVar("_T")

_told = 0
_LOCK = threading.Lock()


def tell(line: str) -> None:
    """Write a line, and let happen what is to happen at this moment."""
    global _told  # noqa: PLW0603 - each process counts its own
    with _LOCK:
        _write(line)
        _told += 1
        kind, _, number = os.environ.get("FAULT", "").partition(":")
        if not number or _told != int(number):
            return
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        _write(f"fault {line}")
    if kind == "fail":
        raise RuntimeError("a fault")
    os.kill(os.getpid(), signal.SIGTERM)
    if threading.current_thread() is threading.main_thread():
        time.sleep(30)


def _write(line: str) -> None:
    descriptor = os.open(os.environ["EFFECTS"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def value_of(name: str) -> int:
    """Return a number that depends on the name alone."""
    return sum(map(ord, name))


def work(name: str) -> int:
    tell(f"begin {name}")
    result = value_of(name)
    tell(f"end {name}")
    return result


class Program(LiveOperation):
    """Performs a program, and those that it chains to."""

    stages = [f"S{link}{number}" for link in range(2) for number in range(4)]

    programs: list[str]

    def run(self, p: Progress) -> None:
        program, *rest = self.programs
        total = self.perform_all(p, json.loads(program), "")
        p.result({"total": total})
        if rest:
            p.chain_to(Program(programs=rest))

    def perform_all(self, p: Progress, operations: list[list[Any]], suffix: str) -> int:
        return sum(int(getattr(self, f"do_{kind}")(p, suffix, *rest)) for kind, *rest in operations)

    def asked(self, key: str, call: Callable[[], _T]) -> _T:
        tell(f"ask {key}")
        result = call()
        tell(f"have {key}")
        return result

    def do_effect(self, p: Progress, suffix: str, name: str) -> int:
        return work(name + suffix)

    def do_stage(self, p: Progress, suffix: str, name: str, inner: list[list[Any]]) -> int:
        with p.stage(name):
            return self.perform_all(p, inner, suffix)

    def do_block(self, p: Progress, suffix: str, name: str, inner: list[list[Any]]) -> int:
        with p.stage(name):
            return self.perform_all(p, inner, suffix)

    def do_step(self, p: Progress, suffix: str, name: str, inner: list[list[Any]]) -> int:
        return self.asked(name, lambda: p.step(name, self.inside, p, name, inner, suffix))

    def do_checkpoint(self, p: Progress, suffix: str, key: str, inner: list[list[Any]]) -> int:
        key += suffix
        return self.asked(key, lambda: p.checkpoint(key, self.inside, p, key, inner, suffix))

    def inside(self, p: Progress, key: str, inner: list[list[Any]], suffix: str) -> int:
        tell(f"begin {key}")
        result = value_of(key) + self.perform_all(p, inner, suffix)
        tell(f"end {key}")
        return result

    def do_sh(self, p: Progress, suffix: str, key: str) -> int:
        key += suffix
        script = f"echo begin {key} >> $EFFECTS; printf {value_of(key)}; echo end {key} >> $EFFECTS"
        return int(self.asked(key, lambda: p.sh(script, key=key, capture=True)).stdout or 0)

    def do_loop(self, p: Progress, suffix: str, key: str, size: int, inner: list[list[Any]]) -> int:
        key += suffix
        totals: dict[str, Any] = {"sum": 0, "parts": []} if size % 2 else {"sum": 0}

        def loop() -> int:
            for item in p.track(range(size), key=key, state=totals):
                name = f"{key}-{item}"
                tell(f"begin {name}")
                totals["sum"] += value_of(name) + self.perform_all(p, inner, f"{suffix}-{item}")
                if size % 2:
                    totals["parts"].append(item)
                tell(f"end {name}")
            assert totals.get("parts", []) == (list(range(size)) if size % 2 else [])
            return int(totals["sum"])

        return self.asked(key, loop)

    def do_batches(self, p: Progress, suffix: str, key: str, size: int, inner: list[list[Any]]) -> int:
        key += suffix
        totals = {"sum": 0}

        def loop() -> int:
            for batch in p.batches(range(size), 2, key=key, state=totals):
                for item in batch:
                    tell(f"begin {key}-{item}")
                    totals["sum"] += value_of(f"{key}-{item}")
                    tell(f"end {key}-{item}")
            return int(totals["sum"])

        return self.asked(key, loop)

    def do_map(self, p: Progress, suffix: str, key: str, size: int) -> int:
        key += suffix
        return sum(self.asked(key, lambda: p.map(work, [f"{key}-{item}" for item in range(size)], workers=2, key=key)))
