"""Crashes that are real: the work is done in a fork, which is killed by SIGKILL."""

import os
import pickle
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


def do_in_fork(work: Callable[[], object]) -> None:
    """Call `work` in a fork of this process, which may be killed. What it raises is raised here."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of threads, which pytest plugins may have
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _work_and_leave(work, writing)
    os.close(writing)
    try:
        os.waitpid(pid, 0)
        with os.fdopen(reading, "rb") as told:
            raised = told.read()
    except BaseException:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise
    if raised:
        raise pickle.loads(raised)  # noqa: S301 - our own fork wrote it


def _work_and_leave(work: Callable[[], object], told: int) -> NoReturn:
    try:
        work()
    except BaseException as error:
        try:
            raised = pickle.dumps(error)
        except Exception:
            raised = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
        with os.fdopen(told, "wb") as stream:
            stream.write(raised)
    os._exit(0)
