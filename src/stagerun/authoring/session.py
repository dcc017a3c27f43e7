"""The engine behind `p`: one run of one operation, from its first stage to its last line.

A session has no access to the journal or the displays. It gets what is known about the run when it starts, emits
events, and asks its host for the few things that only the host can do.
"""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stagerun import events
from stagerun.authoring.log_lines import LogLines
from stagerun.authoring.stages import Blocks
from stagerun.authoring.tracking import Loops
from stagerun.errors import RecipeError
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.states import StageState
from stagerun.text import wording
from stagerun.text.masking import Masker
from stagerun.view import RunView


if TYPE_CHECKING:
    from stagerun.authoring.checkpoints import Checkpoints
    from stagerun.authoring.host import Host
    from stagerun.programs.children import Children
    from stagerun.programs.request import Completed, Request


class Session:
    """The state of `p`.

    Attributes:
        lines: writes log lines.
        loops: the loops that are running.
        blocks: the open stages, and the error that cut one short.
        failure: the message of `p.error`, or None.
        next: the operation passed to `p.chain_to`, or None.

    """

    def __init__(
        self,
        *,
        view: RunView,
        emit: Callable[[events.Event], None],
        interrupts: Interrupts,
        clock: Clock,
        masker: Masker,
        host: "Host",
    ) -> None:
        self.failure: str | None = None
        self.next: Any = None
        self._emit = emit
        self._interrupts = interrupts
        self._clock = clock
        self._masker = masker
        self._host = host
        self._run = view.id
        self._thread = threading.get_ident()
        self._pid = os.getpid()
        self._programs: Children | None = None
        self._percent: tuple[int, float] | None = None
        self._over = False
        self.lines = LogLines(self.emit, masker)
        self.loops = Loops(emit=self.emit, lock=host.lock, interrupts=interrupts, monotonic=clock.monotonic)
        self.blocks = Blocks(
            {name: position for position, name in enumerate(view.plan.stages)},
            view.plan.done_before,
            emit=self.emit,
            warn=self.lines.warn,
            check=self._check_stage,
            interrupts=interrupts,
            monotonic=clock.monotonic,
            loops=self.loops,
        )

    @cached_property
    def checkpoints(self) -> "Checkpoints":
        """The checkpoints, loaded on first use."""
        from stagerun.authoring.checkpoints import Checkpoints

        return Checkpoints(
            self._host.recall,
            emit=self.emit,
            warn=self.lines.warn,
            masker=self._masker,
            check=self.check,
            sleep=self._clock.sleep,
        )

    def emit(self, event: events.Event) -> None:
        """Emit an event; events of a thread or a generator after the end are dropped."""
        if not self._over:
            self._emit(event)

    def check(self) -> None:
        """Raise if the run is to stop."""
        self._interrupts.check()

    def check_thread(self, call: str) -> None:
        """Raise RecipeError if `p.<call>` was called outside the operation's own thread."""
        if threading.get_ident() != self._thread:
            raise RecipeError(
                f"p.{call} was called from another thread",
                "call it from the thread that runs the operation; p.log, p.status, p.percent and p.sh work anywhere",
            )

    def _check_stage(self) -> None:
        self.check_thread("stage")
        self.check()

    def mask(self, text: str) -> str:
        return self._masker.mask(text)

    def percent(self, percent: float) -> None:
        """Set the progress of the open block."""
        shown = self.blocks.entered, round(percent, 1)
        if shown != self._percent:
            self._percent = shown
            seconds = self._clock.monotonic() - self.blocks.entered_on
            self.emit(events.ProgressMoved(percent=percent, seconds=seconds))

    def guarded(self) -> AbstractContextManager[None]:
        """Return a context that holds signals back."""
        return self._interrupts

    def chain_to(self, operation: object) -> None:
        if self.next is not None:
            raise RecipeError(
                f"the run is already chained to {type(self.next).__name__}", "a run can chain to only one operation"
            )
        self._host.accept(operation)
        self.next = operation

    def run_program(self, request: "Request", *, interactive: bool, quiet: bool) -> "Completed":
        """Run a program to its end; unless `quiet`, log the command and its lines."""
        if self._over:
            raise RecipeError("p.sh was called after the run was over", "wait for your threads before run returns")
        request.argv()  # raises for a bad command, before it is announced
        if not quiet:
            # Masked as it is: the parts of a secret of several lines would not be found between the marks.
            self.lines.write("\n".join(wording.announced(self.mask(request.shown))))
        programs = self._programs_of_run()
        if interactive:
            with self._host.terminal_lent():
                return programs.run_on_terminal(request)
        hear = _unheard if quiet else self.lines.hear
        return programs.run(request, tell=hear, warn=self.lines.warn, cut=self.lines.cut)

    def end_programs(self) -> None:
        """End the processes that the recipe's programs have left in the background."""
        if self._programs is not None:
            self._programs.end()

    def close(self, state: StageState) -> None:
        """End the loops and blocks that the recipe left open; later events are dropped."""
        self.loops.end_inside(0)
        self.blocks.close(state)
        self._over = True

    def _programs_of_run(self) -> "Children":
        from stagerun.programs.children import Children

        if os.getpid() != self._pid:  # a fork has programs of its own, and the lock may be held for ever there
            return Children(self._interrupts, self._run, self._host.hidden)
        with self._host.lock:
            self._programs = self._programs or Children(self._interrupts, self._run, self._host.hidden)
            return self._programs


def _unheard(lines: list[str], stream: str) -> None:
    """Drop the lines of a quiet program."""
