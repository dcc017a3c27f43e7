"""Process trees: who descends from a program that we started, and how all of them are ended.

A process can leave its group (setsid), its parent (a double fork) and its environment. What is left to know it by: the
session it was started in, a mark in its environment, its parent, and that on Linux an orphan becomes our child.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from stagerun.machine.identity import start_time


if TYPE_CHECKING:
    import psutil

GRACE: Final = 5.0
_SWEEP: Final = 1.0
_LOOK: Final = 0.05

Wait = Callable[[float], object]


class ProcessTree:
    """The processes that descend from some of our programs.

    Args:
        name, mark: what the environment of each of them holds; the value begins with `mark`.

    """

    def __init__(self, name: str, mark: str) -> None:
        self._name, self.mark = name, mark
        self._since = _ticks()
        self._sessions: set[int] = set()
        self._waited_for: set[int] = set()
        self._known: dict[int, psutil.Process] = {}
        self._dead: set[int] = set()

    def add(self, leader: int) -> None:
        """Take up a process that leads a session of its own, and whose end somebody waits for."""
        self._sessions.add(leader)
        self._waited_for.add(leader)

    def remove(self, leader: int) -> None:
        """Note that `leader` is over. Its number may be given to another process once nobody is left of its group."""
        self._waited_for.discard(leader)
        try:
            os.killpg(leader, 0)
        except (OSError, AttributeError):
            self._sessions.discard(leader)

    def alive(self, *, orphans: bool = True) -> "list[psutil.Process]":
        """Return those that are alive now; the dead that nobody waits for are reaped.

        Args:
            orphans: True if every child that became ours by its parent's death belongs to them.

        """
        import psutil

        all_ = {process.pid: process for process in psutil.process_iter(["ppid", "status"])}
        me, parents = os.getpid(), {pid: process.info["ppid"] for pid, process in all_.items()}
        for pid, process in all_.items():
            if pid not in (me, *self._known) and self._is_ours(process, orphan=orphans and parents[pid] == me):
                self._known[pid] = process
        grown = True
        while grown:
            young = [pid for pid, parent in parents.items() if parent in self._known and pid not in self._known]
            self._known.update({pid: all_[pid] for pid in young})
            grown = bool(young)
        return self.still_alive()

    def still_alive(self) -> "list[psutil.Process]":
        """Return those of the known ones that are alive."""
        for pid, process in list(self._known.items()):
            if not _is_alive(process):
                self._known.pop(pid, None)  # another thread may look, too
                self._dead.add(pid)
        self.reap()
        return list(self._known.values())

    def reap(self) -> None:
        """Let the dead go that nobody waits for; one whose own parent lives still becomes ours later."""
        if not hasattr(os, "waitpid") or sys.platform == "win32":
            return
        for pid in self._dead - self._waited_for:
            with suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
        for leader in self._sessions - self._waited_for:
            with suppress(OSError):
                while os.waitpid(-leader, os.WNOHANG)[0]:
                    pass

    def _is_ours(self, process: "psutil.Process", *, orphan: bool) -> bool:
        try:
            session = os.getsid(process.pid)
            if session in self._sessions:
                return True
            # A child that does not lead its session, nor shares ours, was not started by us: its parent has died.
            if orphan and session not in (os.getsid(0), process.pid):
                return (start_time(process.pid) or 0.0) >= self._since
        except (OSError, AttributeError):
            pass
        try:
            return bool(process.environ().get(self._name, "").startswith(self.mark))
        except Exception:  # another user's process, or one that has just gone
            return False

    def end(self, wait: Wait = time.sleep, *, orphans: bool = True, hurried: Callable[[], bool] = bool) -> None:
        """End all of them: SIGTERM, and SIGCONT for those that are stopped; after GRACE seconds SIGKILL.

        Args:
            wait: spends so many seconds; when it raises, the grace is over.
            orphans: as in `alive`.
            hurried: True when the grace is over before its time.

        """
        left: list[psutil.Process] | None = None
        try:
            left = self.alive(orphans=orphans)
            for process in left:
                _send(process, signal.SIGTERM)
                _send(process, getattr(signal, "SIGCONT", None))
            deadline = time.monotonic() + GRACE
            while self.still_alive() and time.monotonic() < deadline and not hurried():
                wait(_LOOK)
        except OSError:
            self._kill_groups()  # too many files are open to look who there is
            raise
        finally:
            if left != []:
                self._sweep(orphans=orphans)

    def _kill_groups(self) -> None:
        for leader in self._sessions:
            with suppress(OSError, AttributeError):
                os.killpg(leader, signal.SIGKILL)

    def _sweep(self, *, orphans: bool) -> None:
        deadline = time.monotonic() + _SWEEP
        while (left := self.alive(orphans=orphans)) and time.monotonic() < deadline:
            for process in left:
                _send(process, getattr(signal, "SIGKILL", signal.SIGTERM))
            time.sleep(_LOOK / 5)


def _ticks() -> float:
    """Return now as Linux notes the start of processes (proc_pid_stat(5)); elsewhere no orphan becomes ours."""
    if sys.platform != "linux":
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") // 1


def _is_alive(process: "psutil.Process") -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(process: "psutil.Process", number: int | None) -> None:
    import psutil

    if number is not None:
        with suppress(psutil.Error, OSError):
            process.send_signal(number)
