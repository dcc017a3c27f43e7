"""Process trees: which processes descend from a program that we started, and how all of them are ended.

A process can leave its group (setsid), its parent (a double fork) and its environment. We find it by any of these: the
session it was started in, a mark in its environment, its parent, and on Linux that an orphan becomes our child.
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
_SWEEP: Final = 10.0  # seconds; only a process that the kernel can't end takes so long
_LOOK: Final = 0.05
_KILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)

Wait = Callable[[float], object]


class ProcessTree:
    """The processes that descend from some of our programs.

    Args:
        name, mark: a variable that is in the environment of each of them, and how its value begins.

    """

    def __init__(self, name: str, mark: str) -> None:
        self._name, self.mark = name, mark
        self._since = _ticks()
        self._sessions: set[int] = set()
        self._waited_for: set[int] = set()
        self._known: dict[int, psutil.Process] = {}
        self._dead: set[int] = set()

    def add(self, leader: int) -> None:
        """Add a process that leads a session of its own and that the caller waits for."""
        self._sessions.add(leader)
        self._waited_for.add(leader)

    def remove(self, leader: int) -> None:
        """Note that `leader` has ended. Another process may get its id once its group is empty."""
        self._waited_for.discard(leader)
        try:
            os.killpg(leader, 0)
        except (OSError, AttributeError):
            self._sessions.discard(leader)

    def alive(self, *, orphans: bool = True) -> "list[psutil.Process]":
        """Return the processes that are alive now, and reap the dead ones that no caller waits for.

        Args:
            orphans: True if every orphan that became our child belongs to the tree.

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
        """Return the known processes that are still alive."""
        for pid, process in list(self._known.items()):
            if not _is_alive(process):
                self._known.pop(pid, None)  # another thread may look, too
                self._dead.add(pid)
        self.reap()
        return list(self._known.values())

    def reap(self) -> None:
        """Reap the dead processes that no caller waits for; one whose parent still lives becomes our child later."""
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
            # A child that neither leads its session nor shares ours was not started by us: its parent has died.
            if orphan and session not in (os.getsid(0), process.pid):
                return (start_time(process.pid) or 0.0) >= self._since
        except (OSError, AttributeError):
            pass
        try:
            return bool(process.environ().get(self._name, "").startswith(self.mark))
        except Exception:  # another user's process, or one that has just gone
            return False

    def end(self, wait: Wait = time.sleep, *, orphans: bool = True, hurried: Callable[[], bool] = bool) -> None:
        """End all processes: SIGTERM, and SIGCONT for stopped ones; those alive after GRACE seconds get SIGKILL.

        Args:
            wait: waits for a number of seconds; if it raises, the grace period is over.
            orphans: as in `alive`.
            hurried: returns True to end the grace period early.

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
            self._kill_groups()  # too many files are open to list the processes
            raise
        finally:
            if left != []:
                self._sweep(orphans=orphans)

    def _kill_groups(self) -> None:
        for leader in self._sessions:
            with suppress(OSError, AttributeError):
                os.killpg(leader, signal.SIGKILL)

    def _sweep(self, *, orphans: bool) -> None:
        """Kill all processes, and wait until those that we may kill are gone."""
        deadline = time.monotonic() + _SWEEP
        killed: list[psutil.Process] | None = None
        while killed != [] and time.monotonic() < deadline:
            # Again when they are gone: one of them may have started another at the last moment.
            killed = [each for each in self.alive(orphans=orphans) if _send(each, _KILL)]
            while any(map(_is_alive, killed)) and time.monotonic() < deadline:
                time.sleep(_LOOK / 5)


def _ticks() -> float:
    """Return now in the unit of Linux's process start times (proc_pid_stat(5)); elsewhere we adopt no orphans."""
    if sys.platform != "linux":
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") // 1


def _is_alive(process: "psutil.Process") -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(process: "psutil.Process", number: int | None) -> bool:
    """Send a signal; return False if we can't."""
    import psutil

    if number is None:
        return False
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError):
        return False
    return True
