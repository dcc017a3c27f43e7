"""How a process is tied to its parent and its children, where the system supports it (Linux, prctl(2))."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from stagerun.exit_codes import SIGNALLED


_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_LINUX: Final = sys.platform == "linux"


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    with suppress(AttributeError, ValueError):  # no such signal, or not the main thread
        # Our parent may have ignored SIGCHLD; we need to know how children end.
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if _LINUX:
        _prctl()(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def dies_with(parent: int, number: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """Return what a new process calls before exec to get a signal if `parent` dies; None where that is impossible."""
    if not _LINUX:
        return None
    prctl = _prctl()  # looked up now: between fork and exec, a child of a threaded process must not import

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(SIGNALLED + number)

    return prepare


def die_with_parent() -> None:
    """Ask for SIGTERM when the parent of this process dies, unless the signal could come too early."""
    # If the parent has threads, the signal comes when the thread that started us ends.
    if _LINUX and _threads_of(os.getppid()) == 1:
        _prctl()(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


@cache
def _prctl() -> Callable[..., int]:
    import ctypes

    function: Callable[..., int] = ctypes.CDLL(None).prctl
    return function


def _threads_of(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0
