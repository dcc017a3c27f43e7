"""The terminal that a display draws on: keys are not echoed meanwhile, and Ctrl-Z finds it as it was.

Nothing here draws. Echo is looked at before every frame, because a shell sets it anew whenever it gets the terminal.
After SIGKILL nobody is left who could turn it on again; bash, zsh and fish do that for a job that was killed.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final


_STOP: Final = getattr(signal, "SIGTSTP", None)
_ECHO: Final = 3  # where `tcgetattr` has the local modes


class Terminal:
    """One terminal.

    Ctrl-Z can't stop the process at once, because the display has to leave first. So the signal only notes the wish,
    and the display calls `stop`. The real stop is the signal's own action, which the kernel leaves out where no shell
    could continue the process. Only the main thread can set that action, so another thread wakes it.

    Attributes:
        stop_wanted: True if Ctrl-Z was pressed and the display still has to leave.
        stopping: True between `stop` and the moment when the process goes on.

    """

    def __init__(self, descriptor: int) -> None:
        self.stop_wanted = False
        self.stopping = False
        self._descriptor = descriptor
        self._silenced = False
        self._pid = os.getpid()
        self._thread = threading.get_ident()
        self._handles = False
        in_main = threading.current_thread() is threading.main_thread()
        if _STOP is not None and in_main and signal.getsignal(_STOP) is signal.SIG_DFL:
            signal.signal(_STOP, self._asked)
            self._handles = True

    def take(self) -> bool:
        """Turn echo off. Return False if another job has the terminal now: then nothing is to be drawn."""
        if not self._is_ours():
            return False
        self._set_echo(on=False)
        return True

    def give_back(self) -> None:
        """Turn echo on again if `take` has turned it off. May be called from a signal handler."""
        if self._silenced and self._is_ours():
            self._set_echo(on=True)
        self._silenced = False

    def stop(self) -> None:
        """Stop this process, as Ctrl-Z does; the display has left and given the terminal back."""
        self.stop_wanted, self.stopping = False, True
        if threading.get_ident() == self._thread:
            self._stop()
        elif _STOP is not None:
            signal.pthread_kill(self._thread, _STOP)

    def close(self) -> None:
        """Give the terminal and the signal back, in the thread that made this object."""
        self.give_back()
        if self._handles and _STOP is not None and signal.getsignal(_STOP) == self._asked:
            signal.signal(_STOP, signal.SIG_DFL)
        self._handles = False

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.stopping or os.getpid() != self._pid:  # a fork draws nothing
            self._stop()
        else:
            self.stop_wanted = True

    def _stop(self) -> None:
        assert _STOP is not None
        handler = signal.signal(_STOP, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), _STOP)  # goes on here after SIGCONT
        signal.signal(_STOP, handler)
        self.stopping = False

    def _is_ours(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except (AttributeError, OSError):  # not our controlling terminal: no job of a shell can have it
            return True

    def _set_echo(self, *, on: bool) -> None:
        try:
            import termios
        except ImportError:
            return
        with suppress(termios.error, OSError), _not_stopped():
            modes: list[Any] = termios.tcgetattr(self._descriptor)
            echoes = bool(modes[_ECHO] & termios.ECHO)
            if echoes is not on:
                modes[_ECHO] ^= termios.ECHO
                termios.tcsetattr(self._descriptor, termios.TCSANOW, modes)
                self._silenced = not on


@contextmanager
def _not_stopped() -> Iterator[None]:
    """Let this thread set the modes of a terminal that a shell has taken away a moment ago."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
