"""Signals that ask a run to stop, and the few places where they have to wait.

A handler that only sets a flag leaves a sleep running; one that raises anywhere leaves a commit in doubt.
So it raises at once in the recipe's code, and is deferred inside a guard, which is held only around journal
writes and stage transitions. A raise can be swallowed, so the flag stays and `check` raises again.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final

from stagerun.errors import OperationCancelled


_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_ABANDON_AT: Final = 3  # the third signal ends the process at once


class Interrupts:
    """The cancel request of one process.

    `with interrupts:` holds signals back until the outermost block is left. Only the main thread receives
    signals, so other threads pass through the guard unchanged.

    Attributes:
        signal: the name of the last signal that asked for a cancel, or None.

    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self._count = 0
        self._depth = 0
        self._owed = False
        self._over = False
        self._thread = threading.get_ident()
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals. A signal that the parent ignores (nohup) stays ignored; other threads can't."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def request(self, name: str | None = None) -> None:
        """Ask for a cancel without a signal: the next check raises."""
        self.signal = name or "SIGTERM"

    def close(self) -> None:
        """From now on a signal changes nothing: the work is over and its end is recorded."""
        self._over = True

    @property
    def requested(self) -> bool:
        return self.signal is not None

    def check(self) -> None:
        """Raise OperationCancelled if a cancel was asked for, except while one is being handled already."""
        if self.signal is not None and not _is_unwinding():
            self._owed = False
            raise OperationCancelled(self.signal)

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
            raise OperationCancelled(self.signal)

    @contextmanager
    def exposed(self) -> Iterator[None]:
        """Within a guarded block: let signals through again, for the time that recipe code runs."""
        depth, self._depth = self._depth, 0
        try:
            if self._owed:
                self._owed = False
                raise OperationCancelled(self.signal)
            yield
        finally:
            self._depth = depth

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._over:
            return
        self._count += 1
        self.signal = signal.Signals(number).name
        if self._count >= _ABANDON_AT:
            os._exit(128 + number)
        if self._depth:
            self._owed = True
            return
        raise OperationCancelled(self.signal)


def _is_unwinding() -> bool:
    error = sys.exception()
    while error is not None:
        if isinstance(error, OperationCancelled):
            return True
        error = error.__context__
    return False
