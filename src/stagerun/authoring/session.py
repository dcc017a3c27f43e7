"""The engine behind `p`: one run of one operation, from its first stage to its last line.

A session has no access to the journal or the displays. It gets what is known about the run when it starts, emits
events, and asks its host for the few things that only the host can do.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from stagerun import events
from stagerun.authoring.log_lines import LogLines
from stagerun.authoring.stages import Blocks
from stagerun.authoring.tracking import Loop, Loops
from stagerun.errors import RecipeError
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.states import StageState
from stagerun.text import wording
from stagerun.text.masking import Masker
from stagerun.view import RunView


if TYPE_CHECKING:
    from stagerun.authoring.checkpoints import Checkpoints, Once
    from stagerun.authoring.host import Host
    from stagerun.authoring.item_results import ItemResults
    from stagerun.authoring.keys import Recorder
    from stagerun.authoring.stages import Stage
    from stagerun.programs.children import Children
    from stagerun.programs.request import Completed, Request

_T = TypeVar("_T")


class Session:
    """The state of `p`.

    Attributes:
        lines: writes log lines.
        loops: the loops that are running.
        blocks: the open stages, and the error that cut one short.
        failure: the message of `p.error`, or None.
        next: the operation passed to `p.chain_to`, or None.
        refusal: the first error that means that work was refused, or None; a recipe that swallows it must not be green.
        clock: the source of time.
        results_inside: the keys inside of which `p.result` was called.
        programs: runs the recipe's programs, or None before the first.
        make_programs: makes that; a test replaces it.
        in_own_task: returns True if the current code belongs to the task that runs the operation, in an event loop.

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
        self.refusal: RecipeError | None = None
        self._emit = emit
        self._interrupts = interrupts
        self.clock = clock
        self._masker = masker
        self._host = host
        self._run = view.id
        self._work = view.plan.work
        self.in_own_task: Callable[[], bool] = lambda: True
        self._thread = threading.get_ident()
        self._pid = os.getpid()
        self.programs: Children | None = None
        self.make_programs: Callable[[Interrupts, int, Collection[str]], Children] = _real_programs
        self._recorder: Recorder | None = None
        self._tokens: set[str] = set()
        self.results_inside: set[str] = set()
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

    @property
    def recorder(self) -> "Recorder":
        """What stores something under a key, loaded on first use, by any thread."""
        from stagerun.authoring.keys import Keys, Recorder

        with self._host.lock:
            if self._recorder is None:
                keys = Keys(self._host.recall, stages=self.blocks, masker=self._masker, fail=self.fail)
                self._recorder = Recorder(
                    keys, self.emit, self.lines.write, self.lines.warn, self._masker, refused=self._note_refusal
                )
            return self._recorder

    @cached_property
    def checkpoints(self) -> "Checkpoints":
        """The calls that are made once, loaded on first use."""
        from stagerun.authoring.checkpoints import Checkpoints

        return Checkpoints(self.recorder, check=self.check, sleep=self.clock.sleep)

    def loop(self, items: Iterable[Any], key: str | None, state: dict[str, Any] | None, **about: Any) -> Loop:
        """Return a loop over `items` that has not begun; `about` is its total, label and unit."""
        if key is None:
            return Loop(self.loops, items, **about)
        from stagerun.authoring.resumable_loop import ResumableLoop

        with self.recorder.refusing():
            claim = self.recorder.keys.claim("track", key)
            return ResumableLoop(self.loops, items, claim, self.recorder, state=state, **about)

    def item_results(self, key: str, kind: Any) -> "ItemResults":
        """Return the stored results of a map with that key."""
        from stagerun.authoring.item_results import ItemResults

        with self.recorder.refusing():
            return ItemResults(self.recorder.keys.claim("map", key), kind, self.recorder, self.clock.monotonic)

    def fail(self, message: str) -> None:
        """Make the run end `failed` with this message."""
        self.failure = message
        if self._recorder is not None:
            self._recorder.keys.note_error(message)

    def inside_a_key(self) -> str | None:
        """Return the key of the innermost call or loop that is running, or None."""
        return self._recorder.keys.place().inside if self._recorder is not None else None

    def _note_refusal(self, error: RecipeError) -> None:
        self.refusal = self.refusal or error

    def mark(self, *what: object) -> int | None:
        """Return the fingerprint of what a call is made with."""
        from stagerun.authoring.fingerprints import fingerprint

        return fingerprint(what, self._masker.holds)

    def skip(self, reason: str) -> NoReturn:
        """Leave the innermost block: there is nothing to do in it."""
        self.check_task("skip")
        self.check()
        if self._interrupts.stopping:  # a clean-up: the cancel must get through
            raise self._interrupts.cause()
        if not reason.strip():
            raise RecipeError("p.skip needs a reason", 'say why there is nothing to do: p.skip("no new orders")')
        self.blocks.skip(self.lines.on_one_line(reason))

    def step(self, name: str, make: Callable[[], _T], *, kind: Any, attempts: int, mark: int | None) -> _T:
        """Make a call that is all the work of a stage, unless an earlier run has made it."""
        stage, once = self.claim_step(name, kind, attempts, mark)
        if once.done_in is not None:
            value: _T = self.step_done_before(stage, once)
            return value
        with stage:
            return self.checkpoints.perform(self.placed(once), make)
        return None  # type: ignore[unreachable]  # p.skip

    def claim_step(self, name: str, kind: Any, attempts: int, mark: int | None) -> tuple["Stage", "Once"]:
        """Return the stage of a step and its call."""
        stage = self.blocks.make(name, None, self.mask)
        once = self.claim("step", name, kind, attempts, mark)
        with self.recorder.refusing():
            self.blocks.check_step(name)
        return stage, once

    def step_done_before(self, stage: "Stage", once: "Once") -> Any:
        """Record that an earlier run has done a step, and return what it stored."""
        assert once.done_in is not None
        value = self.recalled(once)
        self.blocks.take_over(stage, once.done_in)
        return value

    def placed(self, once: "Once") -> "Once":
        """Return the call with the place where the recipe is now."""
        return once._replace(claim=once.claim._replace(place=self.recorder.keys.place()))

    def claim(self, call: str, key: str, kind: Any = None, attempts: int = 1, mark: int | None = None) -> "Once":
        """Return a call that is made once under that key."""
        from stagerun.authoring.checkpoints import Once

        with self.recorder.refusing():
            return Once(self.recorder.keys.claim(call, key), call, kind, attempts, mark)

    def recalled(self, once: "Once") -> Any:
        """Return what an earlier run stored of a call."""
        with self.recorder.refusing():
            return once.recalled()

    def checkpoint(self, key: str, make: Callable[[], _T], *, kind: Any, attempts: int, mark: int | None) -> _T:
        """Make a call, unless an earlier run has made it."""
        once = self.claim("checkpoint", key, kind, attempts, mark)
        value: _T = self.checkpoints.perform(once, make) if once.done_in is None else self.recalled(once)
        return value

    def begin_map(
        self, items: Iterable[Any], key: str | None, kind: Any, **about: Any
    ) -> tuple[Loop, "ItemResults | None"]:
        """Begin a map over `items`; return its loop, and its results if it has a key."""
        stored = None if key is None else self.item_results(key, kind)
        loop = self.loop(items, None, None, **about)
        loop.skip(0 if stored is None else len(stored))
        self.check()
        if stored is not None:
            with self.recorder.refusing():
                stored.say(loop.total)
        self.loops.begin(loop)
        return loop, stored

    def emit(self, event: events.Event) -> None:
        """Emit an event; events of a thread or a generator after the end are dropped."""
        if not self._over:
            self._emit(event)

    def check(self) -> None:
        """Raise if the run is to stop."""
        self._interrupts.check()

    def check_record(self, call: str) -> None:
        """Raise if the run is to stop, or if `p.<call>` was called where nothing can be recorded."""
        self.check_process(call)
        self.check()

    def check_process(self, call: str) -> None:
        """Raise RecipeError if `p.<call>` was called in a fork, where nothing can be recorded."""
        if os.getpid() != self._pid:
            raise RecipeError(
                f"p.{call} was called in a forked child of the run, where nothing can be recorded",
                "return the value to the run's own process, or use p.map with processes=True",
            )

    def check_thread(self, call: str) -> None:
        """Raise RecipeError if `p.<call>` was called outside the operation's own thread."""
        if threading.get_ident() != self._thread:
            raise RecipeError(
                f"p.{call} was called from another thread",
                "call it from the thread that runs the operation; p.log, p.status, p.percent and p.sh work anywhere",
            )

    def check_task(self, call: str) -> None:
        """Raise RecipeError if `p.<call>` was called outside the operation's process, thread or, in a loop, task."""
        self.check_process(call)
        self.check_thread(call)
        if not self.in_own_task():
            raise RecipeError(
                f"p.{call} was called in another task than the one that runs the operation",
                "stages, and whatever has a key, belong to async def run itself: await it there",
            )

    def _check_stage(self, name: str) -> None:
        self.check_task("stage")
        self.check()
        if self._interrupts.stopping:  # a clean-up, else `check` had raised
            text = f"stage {name!r} is not entered, because the run is being stopped: clean up without a stage"
            self.lines.write(text, "error")
            raise self._interrupts.cause()

    def mask(self, text: str) -> str:
        return self._masker.mask(text)

    def sample(self) -> None:
        """Report how far the loops are, and what is drawn anew. Called a few times a second, from any thread."""
        self.loops.sample()
        with self._host.lock:
            self.lines.tell_redrawn()

    def status(self, text: str, level: events.Level) -> None:
        """Set the one-line status."""
        self.emit(events.StatusChanged(self.lines.on_one_line(text), level, self.loops.depth))

    def percent(self, percent: float) -> None:
        """Set the progress of the open block."""
        shown = self.blocks.entered, round(percent, 1)
        if shown != self._percent:
            self._percent = shown
            seconds = self.clock.monotonic() - self.blocks.entered_on
            self.emit(events.ProgressMoved(percent=percent, seconds=seconds))

    def inside(self, key: str | None) -> AbstractContextManager[None]:
        """Return a context whose keys are part of the call with that key."""
        return nullcontext() if key is None else self.recorder.keys.inside(key)

    def token(self, key: str) -> str:
        """Return an idempotency key: the same in all attempts, as the text of a UUID."""
        from hashlib import sha256

        if not key:
            raise RecipeError("the key of p.token must not be empty")
        if key in self._tokens:
            self.lines.warn(f'p.token({key!r}) was asked for twice: it is the same text; in a loop: f"{key}-{{n}}"')
        self._tokens.add(key)
        text = sha256(f"{self._work}\n{key}".encode("utf-8", "backslashreplace")).hexdigest()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))

    def guarded(self) -> AbstractContextManager[None]:
        """Return a context that holds signals back."""
        return self._interrupts

    def chain_to(self, operation: object) -> None:
        if self.next is not None:
            raise RecipeError(
                f"the run is already chained to {type(self.next).__name__}", "a run can chain to only one operation"
            )
        if (key := self.inside_a_key()) is not None:
            raise RecipeError(
                f"p.chain_to was called inside of {key!r}: a resumed run that does not do that again would not chain",
                "call it in run, behind that",
            )
        self._host.accept(operation)
        self.next = operation

    def run_program(
        self, request: "Request", *, interactive: bool = False, quiet: bool = False, key: str | None = None
    ) -> "Completed":
        """Run a program to its end, unless an earlier run has run it under that key.

        Unless `quiet`, log the command and its lines.
        """
        if self._over:
            raise RecipeError("p.sh was called after the run was over", "wait for your threads before run returns")
        request.argv()  # raises for a bad command, before it is announced
        announced = "\n".join(wording.announced(request.shown))
        once = None
        if key is not None:
            self.check_process("sh")
            once = self.claim("sh", key, mark=self.mark(request.arguments()))
            if once.done_in is not None:
                with self.recorder.refusing():
                    completed = request.done_before(once.recalled(), once.what)
                if not quiet:
                    how = wording.ended_before(completed.returncode, once.done_in)
                    self.lines.write(f"{announced}\n({how}, not started again)")
                return completed
        if not quiet:
            self.lines.write(announced)
        try:
            completed = self._run_program(request, interactive=interactive, quiet=quiet)
        except Exception:
            if once is not None:
                self.recorder.keys.release(once.claim.key)  # the recipe may try again
            raise
        if once is not None:
            self.checkpoints.store(once, completed.to_json())
        return completed

    def _run_program(self, request: "Request", *, interactive: bool, quiet: bool) -> "Completed":
        programs = self._programs_of_run()
        if interactive:
            with self._host.terminal_lent():
                return programs.run_on_terminal(request)
        hear, redraw = (_unheard, _unheard) if quiet else (self.lines.hear, self.lines.redraw)
        return programs.run(request, tell=hear, redraw=redraw, warn=self.lines.warn, masker=self._masker)

    def end_programs(self) -> None:
        """End the processes that the recipe's programs have left in the background."""
        if self.programs is not None:
            self.programs.end()

    def close(self, state: StageState) -> None:
        """End the loops and blocks that the recipe left open; later events are dropped."""
        self.loops.end_inside(0)
        self.blocks.close(state)
        self._over = True

    def _programs_of_run(self) -> "Children":
        if os.getpid() != self._pid:  # a fork has programs of its own, and the lock may be held for ever there
            return self._new_programs()
        with self._host.lock:
            self.programs = self.programs or self._new_programs()
            return self.programs

    def _new_programs(self) -> "Children":
        return self.make_programs(self._interrupts, self._run, self._host.hidden)


def _real_programs(interrupts: Interrupts, run: int, hidden: Collection[str]) -> "Children":
    from stagerun.programs.children import Children  # most recipes run none

    return Children(interrupts, run, hidden)


def _unheard(said: object, stream: str) -> None:
    """Drop what a quiet program says."""
