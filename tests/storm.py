"""Signals at random moments inside journal code: `python -m tests.storm ROUNDS FOLDER SEED`.

After each one the process's own view of the run must be the journal's, and no transaction may be open.
"""

import json
import random
import signal
import sys
import threading
import time
from pathlib import Path

from stagerun import events
from stagerun.errors import OperationCancelled
from stagerun.machine.interrupts import Interrupts
from tests.journals import Opened, records_of


def main(rounds: int, folder: Path, seed: int) -> dict[str, int]:
    path = folder / "journal.db"
    opened = Opened(path)
    reader = records_of(path)
    interrupts = Interrupts()
    interrupts.install()
    emitter = opened.emitter(interrupts=interrupts)
    plan = events.RunCreated(target="demo:Storm", recipe="demo", operation="Storm", stages=(), owner="demo")
    run = emitter.create(plan, exclusive=False).id
    emitter.emit(events.RunStarted())
    chance, report = random.Random(seed), {"rounds": rounds, "raised": 0, "inside": 0, "ambiguous": 0, "open": 0}
    for number in range(rounds):
        interrupts._count = 0
        before = emitter.view
        sender = threading.Thread(target=_send, args=(chance.random() * 0.002, threading.get_ident()))
        try:
            sender.start()
            while sender.is_alive():
                emitter.emit(events.ResultSet(result={"number": number}))
                emitter.emit(events.Log("a line"))
            time.sleep(1)
        except OperationCancelled:
            report["raised"] += 1
        _join(sender)
        report["inside"] += emitter.view is not before
        report["open"] += opened.connection.in_transaction
        assert emitter.view is not None
        report["ambiguous"] += reader.find(str(run)).result_context != emitter.view.result_context
    interrupts.close()
    interrupts.restore()
    return report


def _send(seconds: float, thread: int) -> None:
    time.sleep(seconds)
    signal.pthread_kill(thread, signal.SIGINT)


def _join(sender: threading.Thread) -> None:
    while sender.is_alive():
        try:
            sender.join()
        except OperationCancelled:
            continue


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
