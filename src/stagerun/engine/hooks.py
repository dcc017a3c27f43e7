"""Calling the methods of a recipe for the time after its run: `on_success`, `on_failure`, `on_cancel`.

They are called once the end is recorded, in the thread of the run. A run that is over has no more events, and its
readers wait for none: what a hook prints and logs is shown by the displays of this process and recorded nowhere.
Nothing that a hook does changes the run or its exit code.
"""

import os
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from stagerun import events
from stagerun.authoring.capture import Capture
from stagerun.authoring.log_lines import LogLines
from stagerun.authoring.operation import LiveOperation
from stagerun.engine import forks
from stagerun.errors import Interruption
from stagerun.machine.interrupts import Interrupts
from stagerun.text.masking import Masker


if TYPE_CHECKING:
    from stagerun.engine.outlet import Outlet


PATIENCE: Final = 5.0  # seconds until a line says which hook is waited for


class Hook:
    """One method of an operation, to be called now that its run is over.

    Args:
        operation: the operation, which knows how its run ended.
        name: the name of the method.
        outlet: shows what it says.
        masker: the secrets of the run.
        log_level: the least level that `logging` lets through if nobody has configured it.
        exit_code: that of the whole chain, or None if the chain goes on.

    """

    def __init__(
        self,
        operation: LiveOperation,
        name: str,
        *,
        outlet: "Outlet",
        masker: Masker,
        log_level: events.Level | None,
        exit_code: int | None,
    ) -> None:
        self._operation = operation
        self._name = name
        self._whose = f"run {operation.id}, {name}"
        self._outlet = outlet
        self._masker = masker
        self._log_level = log_level
        self._interrupts = Interrupts(exit_code)

    def call(self) -> str | None:
        """Call it; return the name of the signal that cut it short, or None."""
        error = self._perform()
        lines = LogLines(self._show, self._masker)
        if self._interrupts.signal is not None:
            lines.warn(f"{self._whose} was cut short by {self._interrupts.signal}")
        elif error is not None:
            from stagerun.text import tracebacks, wording

            failure = tracebacks.failure(error, mask=self._masker.mask)
            lines.write(f"{self._whose} failed: {wording.error_line(failure)}", "error")
            lines.write(failure.traceback or "")
        return self._interrupts.signal

    def _perform(self) -> BaseException | None:
        """Call the method, with signals let in, and return what it raised."""
        process, error = os.getpid(), None
        watch = threading.Timer(PATIENCE, self._tell_that_it_goes_on)
        watch.daemon = True
        watch.start()
        lines = LogLines(self._show_marked, self._masker)
        with suppress(Interruption), self._interrupts:
            self._interrupts.install()
            try:
                with Capture(lines.write, self._masker, self._log_level):
                    try:
                        self._interrupts.expose()
                        returned = getattr(self._operation, self._name)()
                        if isinstance(returned, Coroutine):
                            _await(returned)
                    finally:
                        self._interrupts.cover()
            except BaseException as raised:
                error = raised
            finally:
                self._interrupts.restore()
                watch.cancel()
            if os.getpid() != process:
                forks.leave(error, self._masker.mask)
        return error

    def _tell_that_it_goes_on(self) -> None:
        LogLines(self._show, self._masker).write(f"{self._whose} is still running")

    def _show_marked(self, event: events.Event) -> None:
        assert isinstance(event, events.Log)
        self._show(replace(event, text=f"{self._whose}: {event.text}"))

    def _show(self, event: events.Event) -> None:
        assert isinstance(event, events.Log)
        with self._interrupts:
            self._outlet.aside(event)


def _await(coroutine: Coroutine[Any, Any, Any]) -> None:
    import asyncio

    # A signal raises wherever it arrives, also in the loop: it ends then anyway.
    with asyncio.Runner() as runner:
        runner.run(coroutine)
