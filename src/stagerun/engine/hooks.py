"""Calling the methods of a recipe for the time after its run: `on_success`, `on_failure`, `on_cancel`.

They are called once the end is recorded, in the thread of the run. A run that is over has no more events, and its
readers wait for none: what a hook prints and logs is shown by the displays of this process and recorded nowhere.
Nothing that a hook does changes the run or its exit code.
"""

import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

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


def call(operation: LiveOperation, name: str, outlet: "Outlet", masker: Masker, *, exit_code: int | None) -> str | None:
    """Call the hook `name`; return the name of the signal that cut it short, or None.

    `exit_code` is that of the whole chain, or None if the chain goes on.
    """
    interrupts = Interrupts(exit_code)
    whose = f"run {operation.id}, {name}"

    def show(event: events.Event) -> None:
        assert isinstance(event, events.Log)
        with interrupts:
            outlet.aside(event)

    def show_marked(event: events.Event) -> None:
        assert isinstance(event, events.Log)
        show(replace(event, text=f"{whose}: {event.text}"))

    error = _perform(operation, name, LogLines(show_marked, masker), masker, interrupts)
    lines = LogLines(show, masker)
    if interrupts.signal is not None:
        lines.warn(f"{whose} was cut short by {interrupts.signal}")
    elif error is not None:
        from stagerun.text import tracebacks, wording

        failure = tracebacks.failure(error, mask=masker.mask)
        lines.write(f"{whose} failed: {wording.error_line(failure)}", "error")
        lines.write(failure.traceback or "")
    return interrupts.signal


def _perform(
    operation: LiveOperation, name: str, lines: LogLines, masker: Masker, interrupts: Interrupts
) -> BaseException | None:
    """Call the hook, with signals let in, and return what it raised."""
    process, error = os.getpid(), None
    with suppress(Interruption), interrupts:
        interrupts.install()
        try:
            with Capture(lines.write, masker):
                try:
                    interrupts.expose()
                    returned = getattr(operation, name)()
                    if isinstance(returned, Coroutine):
                        _await(returned)
                finally:
                    interrupts.cover()
        except BaseException as raised:
            error = raised
        finally:
            interrupts.restore()
        if os.getpid() != process:
            forks.leave(error, masker.mask)
    return error


def _await(coroutine: Coroutine[Any, Any, Any]) -> None:
    import asyncio

    # A signal raises wherever it arrives, also in the loop: it ends then anyway.
    with asyncio.Runner() as runner:
        runner.run(coroutine)
