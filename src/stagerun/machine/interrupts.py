"""Signals and time limits that stop a run, and the few places where they have to wait.

Two simple ways do not work. A handler that only sets a flag leaves a sleep running: Python restarts the system call
(PEP 475). A handler that raises wherever the signal arrives leaves a commit in doubt: the row may exist although the
code after the commit never ran. So there are two kinds of code.

The recipe's code is *exposed*. There the handler raises at once, which interrupts a sleep.

Our own code is *guarded*: `with interrupts:` surrounds journal writes and stage transitions, and nothing that takes
long. Inside a guard the handler only notes that it owes an exception, and the outermost guard raises it on exit. The
runner holds a guard for its whole life and opens it (`expose`, `cover`) while the recipe runs.

The exception can be swallowed, by a broad `except BaseException` of the recipe or by Python itself, in `__del__` and in
callbacks. So the request stays, and `check` raises it again at the next call of `p`. While a cancel already unwinds
the stack, `check` does not raise: clean-up may use `p`.

Signals are counted. The first asks the run to stop. The second raises again, which cuts the clean-up short. The third
ends the process at once. After the end of the run is recorded, no signal changes the exit code: it is the recorded one.

Time limits use an alarm, which reaches the main thread like a signal. Without alarms, `check` looks at the clock.
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
from typing import Any, Final, Protocol, cast

from stagerun.errors import Interruption, OperationCancelled, TimeLimitExceeded
from stagerun.exit_codes import SIGNALLED


_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_LONGEST: Final = 1e8  # seconds; some systems' timers can't hold more
_AGAIN: Final = 0.2  # seconds between two looks at a receiver that has not taken a request
_ABANDON_AT: Final = 3  # the third signal ends the process at once


def is_limit(seconds: object) -> bool:
    """Return True if `seconds` can be a time limit: a finite number above 0."""
    return type(seconds) in (int, float) and 0 < cast("float", seconds) < math.inf


class Receiver(Protocol):
    """What takes a request to stop instead of the code that a signal has interrupted: an event loop.

    Attributes:
        unwinds: the exception by which a request unwinds the recipe.
        is_waiting: True if it has not yet taken a request.

    """

    @property
    def unwinds(self) -> type[BaseException]: ...

    @property
    def is_waiting(self) -> bool: ...

    def notify(self) -> None:
        """Take a request as soon as possible. Called in any thread and in signal handlers; it raises nothing."""

    def is_due(self, *, blocked: bool) -> bool:
        """Return True if the current code has to raise `unwinds`: at a call of `p`, or where a signal came."""


class Interrupts:
    """The requests to stop the run of this process.

    `with interrupts:` defers them until the outermost block is left. Only the main thread receives signals, so the
    guard has no effect in other threads.

    Attributes:
        signal: the name of the last signal that asked for a cancel, or None.
        expired: the time limit that ran out ("stage 'Load' took longer than 5s"), or None.
        stopping: True once the run was asked to stop, for any reason.
        farewell: called before the third signal ends the process; it must not take a lock.
        receiver: takes the requests, or None if they are raised in the recipe's thread.

    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.expired: str | None = None
        self.stopping = False
        self.farewell: Callable[[], object] = lambda: None
        self.receiver: Receiver | None = None
        self._pid = os.getpid()
        self._deadlines: list[_Limit] = []
        self._count = 0
        self._depth = 0
        self._covered: int | None = None
        self._owed = False
        self._kicked = False
        self._exit_code: int | None = None
        self._keyboard_lent = False
        self._thread = threading.get_ident()
        self._previous: dict[int, Any] = {}
        self._report_thread = threading.excepthook

    def install(self) -> None:
        """Take over the signals, in the main thread only. A signal that the parent ignores (nohup) stays ignored."""
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
        """Restore the previous signal handlers."""
        self._deadlines.clear()
        self._arm()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        threading.excepthook = self._report_thread

    def request(self, name: str = "SIGTERM") -> None:
        """Ask for a cancel, from any thread: by that signal if we handle signals, else at the next check."""
        number = getattr(signal, name, None)
        if number in self._previous and hasattr(signal, "pthread_kill"):
            signal.pthread_kill(self._thread, number)
            return
        self.signal, self.stopping, self._count = name, True, max(1, self._count)
        if self.receiver is not None:
            self.receiver.notify()
        if self._can_alarm():  # nobody handles that signal, but the alarm breaks a sleep as well
            self._kicked = True
            signal.pthread_kill(self._thread, signal.SIGALRM)

    def close(self, exit_code: int) -> None:
        """Note that the run is over, with this exit code: signals no longer change it. Only the first call counts.

        The third signal after this call ends the process at once.
        """
        if self._exit_code is None:
            self._exit_code, self._owed, self._count = exit_code, False, 0

    def check(self) -> None:
        """Raise the interruption if the run was asked to stop, unless one is being handled already."""
        if self._deadlines and not self._can_alarm():
            self._look_at_the_clock()
        if self.receiver is not None and threading.get_ident() == self._thread:
            if self.stopping and self.receiver.is_due(blocked=False):
                raise self.receiver.unwinds(str(self.interruption()))
        elif self.stopping and not _is_unwinding():
            self._owed = False
            raise self.interruption()

    def limit(self, seconds: float | None, what: str) -> AbstractContextManager[None]:
        """Return a context manager that limits its block to that many seconds; None is no limit.

        Blocking code is interrupted too, by an alarm, which only the main thread can have.
        """
        return nullcontext() if seconds is None else _Limit(self, seconds, f"{what} took longer than {seconds:g}s")

    def watch(self, deadline: "_Limit") -> None:
        """Interrupt the code when `deadline` has passed."""
        self._deadlines.append(deadline)
        self._arm()

    def forget(self, deadline: "_Limit") -> None:
        if deadline in self._deadlines:
            self._deadlines.remove(deadline)
        self._arm()

    @contextmanager
    def keyboard_lent(self) -> Iterator[None]:
        """Ignore Ctrl-C while a program has the terminal, because the terminal sends it to both."""
        self._keyboard_lent = True
        try:
            yield
        finally:
            self._keyboard_lent = False

    def _thread_ended(self, ended: threading.ExceptHookArgs) -> None:
        # A recipe's thread that ends by an interruption did what it was asked to do.
        if not issubclass(ended.exc_type, Interruption):
            self._report_thread(ended)

    @property
    def hurried(self) -> bool:
        """True once the run was asked twice to stop: clean-up has little time left."""
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
            raise self.interruption()

    def expose(self) -> None:
        """Let the handler raise inside a guarded block, until `cover`."""
        self._covered, self._depth = self._depth, 0
        if self._owed:
            self._owed = False
            raise self.interruption()

    def cover(self) -> None:
        """Defer signals again; a second call has no effect."""
        if self._covered is not None:
            self._depth, self._covered = self._covered, None

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
            if self.receiver is not None:
                self.receiver.notify()
            self._raise_or_owe()

    def _abandon(self, number: int) -> None:
        """End the process as the run ended, or by the signal if it has not ended."""
        if self._exit_code is None:
            self._die(number)
        elif self._exit_code > SIGNALLED:
            self._die(self._exit_code - SIGNALLED)
        else:
            os._exit(self._exit_code)

    def _die(self, number: int) -> None:
        """End this process by the signal, as if it had no handler."""
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(SIGNALLED + number)  # the first process of a container ignores the signal

    def _expire(self, number: int, frame: FrameType | None) -> None:
        kicked, self._kicked = self._kicked, False
        expired = self._look_at_the_clock()
        if expired and self.receiver is not None:
            self.receiver.notify()
        if expired or kicked or self.receiver is not None:
            self._raise_or_owe()
        self._arm()

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
        """Set the alarm for the next deadline, or switch it off."""
        if self._can_alarm():
            now = time.monotonic()
            # The recipe may block its event loop: the handler looks again.
            again = [now + _AGAIN] if self.receiver is not None and self.receiver.is_waiting else []
            first = min([*(limit.moment for limit in self._deadlines), *again], default=None)
            # A timer of 0 would switch the alarm off.
            left = 0 if first is None else min(_LONGEST, max(1e-6, first - now))
            signal.setitimer(signal.ITIMER_REAL, left)

    def _raise_or_owe(self) -> None:
        if self.receiver is not None:
            self._arm()
            if self._exit_code is None and not self._depth and self.receiver.is_due(blocked=True):
                raise self.receiver.unwinds(str(self.interruption()))
            return
        if self._depth:
            self._owed = True
            return
        raise self.interruption()

    def interruption(self) -> Interruption:
        """Return the exception of a request."""
        return TimeLimitExceeded(self.expired) if self.signal is None else OperationCancelled(self.signal)

    def meant_by(self, error: BaseException | None) -> BaseException | None:
        """Return the interruption for an error by which an event loop unwinds the recipe, else the error itself."""
        if self.stopping and self.receiver is not None and isinstance(error, self.receiver.unwinds):
            return self.interruption()
        return error


class _Limit:
    """A time limit, as a context manager.

    A class, because a generator would set `__traceback__` on exceptions that pass through it, which some refuse.

    Attributes:
        moment: when it runs out, by the monotonic clock.
        told: the message of the exception that is raised then.

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
