"""Signals and time limits that stop a run, and the few places where they have to wait.

Two simple ways do not work. A handler that only sets a flag leaves a sleep running: Python restarts the system call
(PEP 475). A handler that raises wherever the signal arrives leaves a commit in doubt: the row may exist although the
code after the commit never ran. So there are two kinds of code.

The recipe's code is *exposed*. There the handler raises at once, which interrupts a sleep.

Our own code is *guarded*: `with interrupts:` surrounds journal writes and stage transitions, and nothing that takes
long. Inside a guard the handler raises nothing, and the outermost guard raises on exit. The runner holds a guard for
its whole life and opens it (`expose`, `cover`) while the recipe runs.

A request to stop is more than its exception. It stays in `stopping`, which every call of `p` and every item of a loop
looks at, so neither of these loses it:

- The exception is swallowed, by a broad `except BaseException` of the recipe or by Python itself, in `__del__` and in
  callbacks. `check` raises it again. Only while it unwinds the stack `check` does not raise: clean-up may use `p`.
- A library has replaced a handler. A cancel then comes through the journal, and the ticker's thread passes it on
  (`request`). It also looks at the time limits (`look`). There is no alarm, because a process has only one.

Another thread can't raise in the main thread. It sets `stopping` and sends the main thread SIGURG, whose handler raises
like that of any other signal. Hardly any library uses SIGURG, and it does nothing in a process without a handler. If
its handler is lost too, the request waits for the next call of `p`. We do not use `PyThreadState_SetAsyncExc`: such an
exception breaks no sleep, and it does not wait for the end of a guard.

A signal can come when Python has looked for signals and has not yet begun the system call of a sleep. Its handler would
run after the sleep. So Python writes the number of each signal into a pipe (`set_wakeup_fd`) as it comes. The ticker's
thread reads the pipe, and breaks the sleep by SIGURG (`break_sleep`).

On some instructions of a loop Python skips the `finally` around it (`machine.backward_jumps`). There the handler waits
for the next instruction.

An exception would break an event loop that a handler has interrupted. There a `Receiver` takes the requests.

Signals are counted. The first asks the run to stop. The second raises again, which cuts the clean-up short. The third
ends the process at once. After the end of the run is recorded, no signal changes the exit code: it is the recorded one.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Protocol, cast

from stagerun.errors import Interruption, OperationCancelled, TimeLimitExceeded
from stagerun.exit_codes import SIGNALLED
from stagerun.machine import backward_jumps


_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_WAKE: Final = getattr(signal, "SIGURG", None)
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

    Args:
        outcome: the exit code with which the third signal ends the process, None to die of that signal.
        monotonic: the clock of the time limits, in seconds.

    Attributes:
        signal: the name of the last signal that asked for a cancel, or None.
        expired: the time limit that ran out ("stage 'Load' took longer than 5s"), or None.
        stopping: True once the run was asked to stop, for any reason.
        farewell: called before the third signal ends the process; it must not take a lock.
        receiver: takes the requests, or None if they are raised in the recipe's thread.

    """

    def __init__(self, outcome: int | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
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
        self._raised = False
        self._raise_again = False
        self._exit_code: int | None = None
        self._outcome = outcome
        self._keyboard_lent = False
        self._thread = threading.get_ident()
        self._previous: dict[int, Any] = {}
        self._arrivals: tuple[int, int] | None = None  # the ends of the pipe into which Python writes signals
        self._report_thread = threading.excepthook

    def install(self) -> None:
        """Take over the signals, in the main thread only. A signal that the parent ignores (nohup) stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        if _WAKE is not None:
            self._previous[_WAKE] = signal.signal(_WAKE, self._woken)
            self._note_arrivals()
        threading.excepthook = self._thread_ended

    def restore(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self._arrivals is not None:
            if (others := signal.set_wakeup_fd(-1)) != self._arrivals[1]:
                signal.set_wakeup_fd(others)
            self._close_arrivals(self._arrivals)
        threading.excepthook = self._report_thread

    def replaced(self) -> dict[str, Any]:
        """Return the signals that no longer reach us, name -> the handler that others have installed."""
        handlers = {number: signal.getsignal(number) for number in self._previous if number != _WAKE}
        return {signal.Signals(number).name: each for number, each in handlers.items() if each != self._handle}

    def request(self, name: str = "SIGTERM") -> None:
        """Ask for a cancel, from any thread, as if that signal had arrived."""
        if not self.stopping and self._exit_code is None:
            self.signal = name
            self._stop()

    def look(self) -> bool:
        """Return True if the run was asked to stop, or if a time limit has run out. Any thread may look."""
        if self._deadlines and not self.stopping and self._exit_code is None:
            now = self._monotonic()
            over = [limit.told for limit in self._deadlines.copy() if limit.moment <= now]
            if over:
                self.expired = over[0]
                self._stop()
        if self.stopping and not self._has_arrived():
            self._wake()  # again: a signal that comes just before a sleep begins does not break it
        return self.stopping

    def break_sleep(self) -> None:
        """Break a sleep that began when a signal had come, and its handler had not run. The ticker calls this."""
        if self._arrivals is not None:
            with suppress(BlockingIOError):
                if {*os.read(self._arrivals[0], 1024)} - {_WAKE}:
                    self._wake()

    def close(self, exit_code: int) -> None:
        """Note that the run is over, with this exit code: signals no longer change it. Only the first call counts.

        The third signal after this call ends the process at once.
        """
        if self._exit_code is None:
            self._exit_code, self._outcome, self._count = exit_code, exit_code, 0

    def check(self) -> None:
        """Raise the interruption if the run was asked to stop, unless one is being handled already."""
        if (self.stopping or self._deadlines) and self.look():
            if threading.get_ident() != self._thread:
                if unwinding() is None:
                    raise self.interruption()
            elif unwinding() is None if self.receiver is None else self.receiver.is_due(blocked=False):
                self._raise()

    def limit(self, seconds: float | None, what: str, left: float | None = None) -> AbstractContextManager[None]:
        """Return a context manager that limits its block to that many seconds; None is no limit.

        Some of the seconds may have passed already, so that only `left` are left.
        """
        if seconds is None:
            return nullcontext()
        told = f"{what} took longer than {seconds:g}s"
        return _Limit(self._deadlines, seconds if left is None else left, told, self._monotonic)

    @contextmanager
    def keyboard_lent(self) -> Iterator[None]:
        """Ignore Ctrl-C while a program has the terminal, because the terminal sends it to both."""
        self._keyboard_lent = True
        try:
            yield
        finally:
            self._keyboard_lent = False

    def _note_arrivals(self) -> None:
        """Let Python write each signal into a pipe, unless it writes for somebody else."""
        ends = os.pipe()
        for end in ends:
            os.set_blocking(end, False)
        if (others := signal.set_wakeup_fd(ends[1], warn_on_full_buffer=False)) == -1:
            self._arrivals = ends
        else:
            signal.set_wakeup_fd(others)
            self._close_arrivals(ends)

    def _close_arrivals(self, ends: tuple[int, int]) -> None:
        self._arrivals = None
        for end in ends:
            os.close(end)

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
        if self.stopping and self._depth == 0 and kind is None and self._is_due():
            self._raise()

    def expose(self) -> None:
        """Let the handler raise inside a guarded block, until `cover`."""
        self._covered, self._depth = self._depth, 0
        if self._is_due():
            self._raise()

    def cover(self) -> None:
        """Defer signals again; a second call has no effect."""
        if self._covered is not None:
            self._depth, self._covered = self._covered, None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            self._die(number)
        if self._keyboard_lent and number == signal.SIGINT:
            return
        waiting = self.stopping and not self._has_arrived()
        asked = self.signal is not None and not waiting and self._exit_code is None
        self._count = 1 + max(self._count, asked)  # a request of another thread counts like a signal
        if self._exit_code is None:
            self.signal, self.stopping = signal.Signals(number).name, True
        if self._count >= _ABANDON_AT:
            self.farewell()
            self._abandon(number)
        self._raise_again = self._raised or unwinding() is not None
        if self.receiver is not None and not (waiting and self._count == 1):
            self.receiver.notify()
        self._deliver(frame)

    def _woken(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self._deliver(frame)

    def _stop(self) -> None:
        self.stopping = True
        if (receiver := self.receiver) is not None:
            receiver.notify()
        self._wake()

    def _wake(self) -> None:
        """Bring the recipe's thread to a handler, if it is the main thread."""
        if _WAKE is not None and signal.getsignal(_WAKE) == self._woken:
            signal.pthread_kill(self._thread, _WAKE)

    def _deliver(self, frame: FrameType | None) -> None:
        """Raise what is due in `frame`, which a handler has interrupted, unless our own code is guarded."""
        if not self._depth and self._is_due(blocked=True) and not backward_jumps.wait(frame, self._raise):
            self._raise()

    def _is_due(self, *, blocked: bool = False) -> bool:
        """Return True if the recipe's thread has yet to raise a request; with `blocked` where a signal came."""
        if not self.stopping or self._exit_code is not None:
            return False
        if self.receiver is not None:
            return blocked and self.receiver.is_due(blocked=True)
        return self._raise_again or (not self._raised and unwinding() is None)

    def _has_arrived(self) -> bool:
        return self._raised if self.receiver is None else not self.receiver.is_waiting

    def _raise(self) -> NoReturn:
        self._raised, self._raise_again = True, False
        told = self.interruption()
        raise told if self.receiver is None else self.receiver.unwinds(str(told))

    def _abandon(self, number: int) -> None:
        """End the process as the run ended, or by the signal if it has not ended."""
        if self._outcome is None:
            self._die(number)
        elif self._outcome > SIGNALLED:
            self._die(self._outcome - SIGNALLED)
        else:
            os._exit(self._outcome)

    def _die(self, number: int) -> None:
        """End this process by the signal, as if it had no handler."""
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(SIGNALLED + number)  # the first process of a container ignores the signal

    def interruption(self) -> Interruption:
        """Return the exception of a request."""
        return TimeLimitExceeded(self.expired) if self.signal is None else OperationCancelled(self.signal)

    def cause(self) -> BaseException:
        """Return the exception by which a request unwinds the recipe now."""
        if self.receiver is None:
            return unwinding() or self.interruption()
        return unwinding(self.receiver.unwinds) or self.receiver.unwinds(str(self.interruption()))

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

    def __init__(self, running: "list[_Limit]", seconds: float, told: str, monotonic: Callable[[], float]) -> None:
        self.moment = math.inf
        self.told = told
        self._running = running
        self._seconds = seconds
        self._monotonic = monotonic

    def __enter__(self) -> None:
        self.moment = self._monotonic() + self._seconds
        self._running.append(self)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.remove(self)


def unwinding(kind: type[BaseException] = Interruption) -> BaseException | None:
    """Return the interruption that this thread is handling, in a `finally` or `except` block, or None."""
    error = sys.exception()
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    return error
