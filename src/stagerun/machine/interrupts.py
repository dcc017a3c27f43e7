"""Signals and time limits that stop a run, and the few places where they have to wait.

Two simple ways do not work. A handler that only sets a flag leaves a sleep running: Python restarts the system call
(PEP 475). A handler that raises wherever the signal lands leaves a commit in doubt: the row may be there although the
code behind it never ran. So there are two kinds of code.

The recipe's code is *exposed*. The handler raises there at once, and a sleep breaks.

Our own code is *guarded*: `with interrupts:` surrounds journal writes and the moves of stages, and nothing that takes
long. Inside a guard the handler only notes what it owes, and the outermost guard raises it when it is left. The runner
holds a guard for its whole life and opens it (`expose`, `cover`) for the time of the recipe.

A raise can be swallowed, by a broad `except BaseException` of the recipe or by Python itself, in `__del__` and in
callbacks. So the request stays, and `check` raises it again at the next call of `p`. While a cancel is already on its
way up the stack, `check` is quiet: clean-up may use `p`.

Signals are counted. The first asks for the stop. The second raises again, which cuts the clean-up short. The third ends
the process at once. When the end of the run is recorded, signals change nothing more: the exit code is the record's.

Time limits use the alarm, which reaches the main thread like a signal. Where there is none, `check` looks at the clock.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType, TracebackType
from typing import Any, Final, cast

from stagerun.errors import Interruption, OperationCancelled, TimeLimitExceeded


_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_LONGEST: Final = 1e8  # seconds; not every system's timer holds more
_ABANDON_AT: Final = 3  # the third signal ends the process at once
_DEATHS: Final = 128  # above it an exit code stands for a signal


def is_limit(seconds: object) -> bool:
    """Return True for what can be a time limit: a finite number of seconds above 0."""
    return type(seconds) in (int, float) and 0 < cast("float", seconds) < math.inf


class Interrupts:
    """What asks the run of this process to stop.

    `with interrupts:` holds it back until the outermost block is left. Only the main thread receives
    signals, so other threads pass through the guard unchanged.

    Attributes:
        signal: the name of the last signal that asked for a cancel, or None.
        expired: the time limit that ran out ("stage 'Load' took longer than 5s"), or None.
        stopping: True once the run was asked to stop, whatever for.
        farewell: called before the process ends in the middle of everything; it may take no lock.

    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.expired: str | None = None
        self.stopping = False
        self.farewell: Callable[[], object] = lambda: None
        self._pid = os.getpid()
        self._deadlines: list[_Limit] = []
        self._count = 0
        self._depth = 0
        self._covered = 0
        self._owed = False
        self._exit_code: int | None = None
        self._keyboard_lent = False
        self._thread = threading.get_ident()
        self._previous: dict[int, Any] = {}
        self._report_thread = threading.excepthook

    def install(self) -> None:
        """Take over the signals. A signal that the parent ignores (nohup) stays ignored; other threads can't."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        if hasattr(signal, "SIGALRM"):
            self._previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._expire)
        threading.excepthook = self._thread_ended

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        self._deadlines.clear()
        self._arm()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        threading.excepthook = self._report_thread

    def request(self, name: str = "SIGTERM") -> None:
        """Ask for a cancel, from any thread: as that signal if signals are ours, else at the next check."""
        if self._previous:
            signal.pthread_kill(self._thread, signal.Signals[name])
        else:
            self.signal, self.stopping = name, True

    def close(self, exit_code: int) -> None:
        """From now on a signal changes nothing: the work is over, and that is what it came to. The first call counts.

        Only impatience is heard: a third signal from now on ends at once what still holds the process.
        """
        if self._exit_code is None:
            self._exit_code, self._owed, self._count = exit_code, False, 0

    def check(self) -> None:
        """Raise what stops the run, if anything does, except while that is being handled already."""
        if self._deadlines and not self._can_alarm():
            self._look_at_the_clock()
        if self.stopping and not _is_unwinding():
            self._owed = False
            raise self._interruption()

    def limit(self, seconds: float | None, what: str) -> AbstractContextManager[None]:
        """Return a context that may take so many seconds and no more; None is no limit.

        Code that blocks is interrupted too, by an alarm, which only the main thread can have.
        """
        return nullcontext() if seconds is None else _Limit(self, seconds, f"{what} took longer than {seconds:g}s")

    def watch(self, deadline: "_Limit") -> None:
        """Interrupt the code when `deadline` is over."""
        self._deadlines.append(deadline)
        self._arm()

    def forget(self, deadline: "_Limit") -> None:
        if deadline in self._deadlines:
            self._deadlines.remove(deadline)
        self._arm()

    @contextmanager
    def keyboard_lent(self) -> Iterator[None]:
        """Leave Ctrl-C to a program that has the terminal: the terminal sends it to both."""
        self._keyboard_lent = True
        try:
            yield
        finally:
            self._keyboard_lent = False

    def _thread_ended(self, ended: threading.ExceptHookArgs) -> None:
        # A recipe's own thread that the stop has ended did what was asked of it.
        if not issubclass(ended.exc_type, Interruption):
            self._report_thread(ended)

    @property
    def hurried(self) -> bool:
        """True once the run was asked twice to stop: what cleans up has no time any more."""
        return self._count > 1

    def __enter__(self) -> None:
        if threading.get_ident() == self._thread:
            self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.get_ident() != self._thread:
            return
        self._depth -= 1
        if self._owed and self._depth == 0 and kind is None:
            self._owed = False
            raise self._interruption()

    def expose(self) -> None:
        """Let signals through in the middle of a guarded block, until `cover`."""
        self._covered, self._depth = self._depth, 0
        if self._owed:
            self._owed = False
            raise self._interruption()

    def cover(self) -> None:
        """Hold signals back again; calling it twice does no harm."""
        self._depth = self._covered

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._die(number)
        if self._keyboard_lent and number == signal.SIGINT:
            return
        self._count += 1
        if self._exit_code is None:
            self.signal, self.stopping = signal.Signals(number).name, True
        if self._count >= _ABANDON_AT:
            self.farewell()
            self._abandon(number)
        if self._exit_code is None:
            self._raise_or_owe()

    def _abandon(self, number: int) -> None:
        """End the process as the run has ended, by the signal if it has not."""
        if self._exit_code is None:
            self._die(number)
        elif self._exit_code > _DEATHS:
            self._die(self._exit_code - _DEATHS)
        else:
            os._exit(self._exit_code)

    def _die(self, number: int) -> None:
        """End this process by the signal, as if nobody had taken it over."""
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(_DEATHS + number)  # where the first process of a container ignores it

    def _expire(self, number: int, frame: FrameType | None) -> None:
        expired = self._look_at_the_clock()
        self._arm()
        if expired:
            self._raise_or_owe()

    def _look_at_the_clock(self) -> bool:
        """Return True if a limit has just run out."""
        now = time.monotonic()
        over = [limit.told for limit in self._deadlines if limit.moment <= now]
        self._deadlines = [limit for limit in self._deadlines if limit.moment > now]
        if not over or self._exit_code is not None or self.stopping:
            return False
        self.expired, self.stopping = over[0], True
        return True

    def _can_alarm(self) -> bool:
        return hasattr(signal, "setitimer") and signal.SIGALRM in self._previous

    def _arm(self) -> None:
        """Set the alarm to the next deadline, or to none."""
        if self._can_alarm():
            first = min((limit.moment for limit in self._deadlines), default=None)
            # A timer of 0 would be none at all.
            left = 0 if first is None else min(_LONGEST, max(1e-6, first - time.monotonic()))
            signal.setitimer(signal.ITIMER_REAL, left)

    def _raise_or_owe(self) -> None:
        if self._depth:
            self._owed = True
            return
        raise self._interruption()

    def _interruption(self) -> Interruption:
        return TimeLimitExceeded(self.expired) if self.signal is None else OperationCancelled(self.signal)


class _Limit:
    """A time limit, as a context manager.

    A class, because a generator would set `__traceback__` on what passes through it, which some errors refuse.

    Attributes:
        moment: when it runs out, by the monotonic clock.
        told: what is said then.

    """

    def __init__(self, interrupts: Interrupts, seconds: float, told: str) -> None:
        self.moment = math.inf
        self.told = told
        self._interrupts = interrupts
        self._seconds = seconds

    def __enter__(self) -> None:
        self.moment = time.monotonic() + self._seconds
        self._interrupts.watch(self)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupts.forget(self)


def _is_unwinding() -> bool:
    error = sys.exception()
    while error is not None:
        if isinstance(error, Interruption):
            return True
        error = error.__context__
    return False
