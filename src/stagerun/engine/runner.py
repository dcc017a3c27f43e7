"""Running an operation and its chain, in this thread. The runner prints nothing and knows no display.

`create` records a run; `perform` works on the outlet's current run, and on those it chains to. Both use an
`Outlet` and a `Memory`, so a run can be created by one process and performed by another.
"""

import os
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from stagerun import events, exit_codes
from stagerun.authoring import awaiting, finding
from stagerun.authoring.capture import Capture
from stagerun.authoring.operation import LiveOperation, tags_of
from stagerun.authoring.progress import Progress
from stagerun.authoring.session import Session
from stagerun.authoring.stages import state_after
from stagerun.engine.endings import ending
from stagerun.engine.ticker import Ticker
from stagerun.errors import HeldError, RecipeError
from stagerun.machine import identity
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.machine.settings import Origin
from stagerun.states import RunState
from stagerun.text import json_text, wording
from stagerun.text.masking import SHORTEST, Masker
from stagerun.view import RunView


if TYPE_CHECKING:
    from stagerun.engine.outlet import Memory, Outlet
    from stagerun.resumption import Resumption

_SLOW_IMPORT: Final = 0.5  # seconds; a shorter import needs no explanation

_UNKNOWN: Final = Origin("", "")

# The method of an operation that is called after the end.
_HOOKS: Final = {
    RunState.SUCCEEDED: "on_success",
    RunState.FAILED: "on_failure",
    RunState.TIMED_OUT: "on_failure",
    RunState.CANCELLED: "on_cancel",
}

_Link = tuple[finding.Found, LiveOperation]


class Terms(Struct, frozen=True, kw_only=True):
    """What a run and those that it chains to are started with, besides their operation.

    Attributes:
        tags: what they can be found by, besides the tags of their operations.
        once: a name under which only one run may succeed, with its chain and its resumes; None for any number.
        wait: True to queue behind an earlier run of the same operation.

    """

    tags: tuple[str, ...] = ()
    once: str | None = None
    wait: bool = False


NO_TERMS: Final = Terms()


class Runner:
    """Runs an operation, then each one that it chains to, all in this thread.

    Args:
        outlet: takes every event.
        memory: what is stored from earlier runs.
        interrupts: the signals and time limits that stop the run.
        masker: masks secrets; the runner adds those of each operation.
        clock: the source of time.
        origin: where the process was started.
        terms: what the run is started with, besides its operation.
        log_level: the least level that `logging` lets through if nobody has configured it.
        place: where the recipe works, or None in this process.

    """

    def __init__(
        self,
        *,
        outlet: "Outlet",
        memory: "Memory",
        interrupts: Interrupts,
        masker: Masker,
        clock: Clock | None = None,
        origin: Origin = _UNKNOWN,
        terms: Terms = NO_TERMS,
        log_level: events.Level | None = None,
        place: str | None = None,
    ) -> None:
        self._outlet = outlet
        self._memory = memory
        self._interrupts = interrupts
        self._masker = masker
        self._clock = clock or Clock()
        self._origin = origin
        self._terms = terms
        self._log_level = log_level
        self._place = place
        self._session: Session | None = None
        self._ticker = Ticker(outlet, interrupts, self._clock, lambda: self._session)
        self._pid = os.getpid()

    def run(
        self,
        found: finding.Found,
        operation: LiveOperation,
        *,
        resumption: "Resumption | None" = None,
        timeout: float | None = None,
        created: Callable[[int], None] = lambda _: None,
    ) -> RunView:
        """Record a run of `operation` and perform it and what it chains to; return the last run as it ended.

        A failure of the recipe is recorded, not raised. Raises JournalError if a fact can't be recorded, HeldError
        if another run excludes this one.

        Args:
            found: where the operation comes from.
            operation: what to run.
            resumption: what it takes over from an earlier run.
            timeout: seconds that the whole chain may take.
            created: called with the first run's id before its first stage.

        """
        with self._interrupts:
            created(self.create(found, operation, resumption).id)
            return self.perform(found, operation, timeout=timeout)

    def create(self, found: finding.Found, operation: LiveOperation, resumption: "Resumption | None" = None) -> RunView:
        """Record a run of `operation`, which becomes the outlet's current run."""
        self._masker.learn(operation.secret_values().values())
        with self._interrupts:
            plan = self._plan(found, operation, chained_from=None, resumption=resumption)
            self._outlet.record_crashes(self._memory.unrecorded_crashes())
            return self._outlet.create(plan, exclusive=self._refuses(operation))

    def perform(self, found: finding.Found, operation: LiveOperation, *, timeout: float | None = None) -> RunView:
        """Work on the current run and on those it chains to; return the last one as it ended."""
        self._masker.learn(operation.secret_values().values())
        with self._interrupts, self._ticker.ticking():
            self.wait_for_turn(operation)
            with self._interrupts.limit(timeout, "the run"):
                link: _Link | None = (found, operation)
                while link is not None:
                    link = self._run_one(*link)
                    if link is not None:
                        self.wait_for_turn(link[1])
        self._outlet.close()
        return self._view()

    def _run_one(self, found: finding.Found, operation: LiveOperation) -> _Link | None:
        """Run one link and record its end; return the next link, which is recorded with it."""
        begun = self._clock.monotonic()
        self._reflect(operation)
        session: Session | None = None
        error: BaseException | None = None
        if self._interrupts.signal is None:  # a time limit can only end what has started
            self._outlet.emit(events.RunStarted())
            self._tell_of_slow_import(found)
            self._warn_of_short_secrets(operation)
            self._reflect(operation)
            session = self._begin(operation)
            error = self._execute(operation, session)
        if self._outlet.failure is not None:
            if session is not None:
                session.end_programs()
            raise self._outlet.failure
        end = self._ending(error, session, begun)
        if session is not None and end.state is not RunState.SUCCEEDED:
            session.end_programs()
            end = self._ending(error, session, begun)  # a signal may have come meanwhile
        self._outlet.settle()
        if end.state is RunState.SUCCEEDED and error is None and session is not None and session.next is not None:
            following = finding.locate(type(session.next), found), session.next
            try:
                with self._outlet.lock:  # the ticker writes through the same connection
                    self._outlet.record_crashes(self._memory.unrecorded_crashes())
                    plan = self._plan(*following, chained_from=operation.id, resumption=None)
                    operation.reflect(self._outlet.hand_over(end, plan, exclusive=self._refuses(session.next)))
            except HeldError as held:
                failure = events.Failure(type="", message=held.message)
                end = replace(end, state=RunState.FAILED, exit_code=exit_codes.NOT_STARTED, error=failure)
            else:
                self._call_hook(operation, None)
                return following
        self._outlet.emit(end)
        self._reflect(operation)
        self._call_hook(operation, end.exit_code)
        return None

    def _refuses(self, operation: LiveOperation) -> bool:
        """Return True if an earlier run of this operation excludes it."""
        return operation.exclusive is True and not self._terms.wait

    def wait_for_turn(self, operation: LiveOperation) -> None:
        """Wait until no earlier run of the operation is ahead of the current one, if it is to wait."""
        if operation.exclusive == "wait" or self._terms.wait:
            from stagerun.engine import queue

            queue.wait_in_line(self._outlet, self._memory, self._interrupts, self._clock)

    def _call_hook(self, operation: LiveOperation, exit_code: int | None) -> None:
        name = _HOOKS[operation.state]
        if getattr(type(operation), name) is getattr(LiveOperation, name):
            return  # its author wrote none
        from stagerun.engine import hooks

        hook = hooks.Hook(
            operation,
            name,
            outlet=self._outlet,
            masker=self._masker,
            log_level=self._log_level,
            exit_code=exit_code,
        )
        signal = hook.call()
        if signal is not None:
            self._interrupts.request(signal)  # what the run chains to does not begin

    def _begin(self, operation: LiveOperation) -> Session:
        run = self._view().id

        def emit(event: events.Event) -> None:
            self._outlet.emit(event, run)
            if isinstance(event, events.Fact):
                self._reflect(operation)

        return Session(
            view=self._view(),
            emit=emit,
            interrupts=self._interrupts,
            clock=self._clock,
            masker=self._masker,
            host=_Host(self._outlet, self._memory, self._masker, operation),
        )

    def _execute(self, operation: LiveOperation, session: Session) -> BaseException | None:
        """Run the recipe; return what it raised, or None. No stage stays open."""
        self._session = session
        error: BaseException | None = None
        try:
            captured = Capture(
                session.lines.write,
                self._masker,
                self._log_level,
                session.lines.redraw,
                self._outlet.terminal_lent,
            )
            session.blocks.settle = captured.settle
            with captured, self._interrupts.limit(operation.timeout, "the run"):
                try:
                    returned = self._call(operation, session)
                    if returned is not None:
                        from stagerun.authoring import results

                        results.record_returned(session, returned)
                finally:
                    self._interrupts.cover()
        except BaseException as raised:
            self._interrupts.cover()
            error = raised
        if os.getpid() != self._pid:
            from stagerun.engine import forks

            forks.leave(error, self._masker.mask)
        self._session = None
        if self._outlet.failure is None:
            session.close(state_after(error))
        return error

    def _call(self, operation: LiveOperation, session: Session) -> object:
        """Call the recipe's `run`, with signals let in, and return what it returns."""
        if awaiting.is_coroutine_function(operation.run):
            from stagerun.authoring import coroutines

            return coroutines.run(operation.run, session, self._interrupts)
        self._interrupts.expose()
        return operation.run(Progress(session))

    def _ending(self, error: BaseException | None, session: Session | None, begun: float) -> events.RunFinished:
        return ending(
            error,
            session,
            self._interrupts,
            seconds=self._clock.monotonic() - begun,
            source=self._view().plan.source,
            mask=self._masker.mask,
        )

    def _view(self) -> RunView:
        view = self._outlet.view
        assert view is not None
        return view

    def _tell_of_slow_import(self, found: finding.Found) -> None:
        if found.import_seconds > _SLOW_IMPORT:
            self._outlet.emit(events.Log(wording.slow_import(found.recipe, found.import_seconds)))

    def _warn_of_short_secrets(self, operation: LiveOperation) -> None:
        for name, value in operation.secret_values().items():
            if any(0 < len(line.strip()) < SHORTEST for line in value.splitlines()):
                what = "a line of" if "\n" in value.strip() else ""
                text = f"secret {name!r} has {what} fewer than {SHORTEST} characters: it is not masked"
                self._outlet.emit(events.Log(" ".join(text.split()), "warning"))

    def _plan(
        self,
        found: finding.Found,
        operation: LiveOperation,
        *,
        chained_from: int | None,
        resumption: "Resumption | None",
    ) -> events.RunCreated:
        process = identity.current_process()
        before = resumption.view if resumption else None
        tags = {*tags_of(type(operation)), *self._terms.tags, *(before.plan.tags if before else ())}
        return events.RunCreated(
            target=found.target,
            recipe=found.recipe,
            operation=type(operation).__name__,
            source=str(found.source) if found.source else None,
            source_hash=found.source_hash(),
            params={name: _encodable(value) for name, value in operation.params().items()},
            stages=tuple(operation.stages),
            owner=json_text.encodable(operation.owner),
            host=process.host,
            boot_id=process.boot_id,
            pid_namespace=process.pid_namespace,
            pid=process.pid,
            process_started=process.started,
            chained_from=before.plan.chained_from if before else chained_from,
            resumed_from=before.id if before else None,
            root=before.root if before else None,
            attempt=before.plan.attempt + 1 if before else 1,
            expected=self._memory.expected(found.target),
            done_before=resumption.done_before if resumption else (),
            inherited=resumption.inherited if resumption else {},
            project=json_text.encodable(self._origin.project),
            folder=before.plan.folder if before else json_text.encodable(self._origin.folder),
            work=(before.plan.work if before else "") or os.urandom(16).hex(),
            tags=tuple(sorted(map(json_text.encodable, tags))),
            once=before.plan.once if before else self._view().plan.once if chained_from else self._terms.once,
            place=self._place,
        )

    def _reflect(self, operation: LiveOperation) -> None:
        operation.reflect(self._outlet.view)
        operation.cancel_requested = self._interrupts.stopping


class _Host:
    """The host of a session in the runner's own process."""

    def __init__(self, outlet: "Outlet", memory: "Memory", masker: Masker, operation: LiveOperation) -> None:
        self.lock = outlet.lock
        self.hidden: Collection[str] = {each.variable for each in operation.parameters.values() if each.secret}
        self._outlet = outlet
        self._memory = memory
        self._masker = masker

    def recall(self, key: str) -> list[events.Recalled]:
        view = self._outlet.view
        if view is None or view.plan.resumed_from is None:
            return []
        with self.lock:
            return self._memory.recall(view.id, key)

    def accept(self, operation: object) -> None:
        if not isinstance(operation, LiveOperation):
            raise RecipeError(
                f"p.chain_to needs an operation, not {operation!r}",
                "make one: p.chain_to(Publish(owner=self.owner))",
            )
        self._masker.learn(operation.checked().secret_values().values())

    def terminal_lent(self) -> AbstractContextManager[None]:
        return self._outlet.terminal_lent()


def _encodable(value: object) -> object:
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return json_text.encodable(value) if isinstance(value, str) else value
