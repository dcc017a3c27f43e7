"""A run as a test sees it: read from the journal after it has ended, never from the memory of the process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from msgspec import Struct

from stagerun import events
from stagerun.errors import UsageError
from stagerun.journal.reading import Records
from stagerun.reports import documents, plans
from stagerun.resumption import MOST_ATTEMPTS, Kept
from stagerun.states import RunState
from stagerun.view import RunView


class Plan(Struct, frozen=True, kw_only=True):
    """What a resume is going to do.

    Attributes:
        skipped: the steps that are not called again.
        reused: the keys of what is finished: checkpoints, programs, whole loops and maps.
        goes_on: key -> finished items, of loops and maps that have items left.
        dropped: the keys of what is not taken over, because its stage runs again.
        runs_again: the declared stages that are not skipped.
        text: the plan as `stagerun resume` prints it.

    """

    skipped: tuple[str, ...]
    reused: tuple[str, ...]
    goes_on: Mapping[str, int | None]
    dropped: tuple[str, ...]
    runs_again: tuple[str, ...]
    text: str


class Run:
    """A run that has ended, and the chain that it ended.

    Attributes:
        id: its id in the journal.
        state: "succeeded", "failed", "cancelled", "timed_out" or "crashed".
        result: what it passed to `p.result`, or None.
        error: why it did not succeed (`type`, `message`, `stage`, `traceback`), or None.
        exit_code: what `stagerun run` would exit with.
        signal: the signal that cancelled it, or None.
        stages: stage -> "pending", "done", "failed" or "cancelled".
        seconds: how long it took.
        events: what happened, as `--progress json` prints it.
        lines: its log lines.
        output: what `stagerun run` would print into a pipe, for the whole chain.
        chain: the runs from the one that was started to this one.

    """

    def __init__(
        self,
        view: RunView,
        entries: Sequence[events.Entry],
        *,
        output: str,
        before: Sequence["Run"],
        records: Callable[[], AbstractContextManager[Records]],
        now: Callable[[], float],
    ) -> None:
        self.id = view.id
        self.state: RunState = view.state
        self.result = None if view.result_context is None else {**view.result_context}
        self.error = view.error
        self.exit_code = view.exit_code
        self.signal = view.signal
        self.stages = view.stage_states
        self.seconds = view.seconds
        self.events: list[dict[str, Any]] = [each for entry in entries for each in documents.entry(entry, view)]
        self.lines = [line for entry in entries for line in _lines(entry.event)]
        self.output = output
        self.chain: list[Run] = [*before, self]
        self.resumed_from = view.plan.resumed_from
        self._target = view.plan.target
        self._records = records
        self._now = now

    def __repr__(self) -> str:
        """`<run 1 of orders:Import failed in 'Load': ValueError: boom>`."""
        where = why = ""
        if self.error is not None:
            where = f" in {self.error.stage!r}" if self.error.stage else ""
            why = f": {self.error.type}{': ' if self.error.type else ''}{self.error.message}"
        return f"<run {self.id} of {self._target} {self.state}{where}{why}>"

    @property
    def succeeded(self) -> bool:
        return self.state is RunState.SUCCEEDED

    def plan(self, from_stage: str | None = None) -> Plan:
        """Return what a resume of this run would do, or has done; UsageError if the command would refuse it."""
        with self._records() as records:
            resumption = records.resumption(check_resumable(records.find(str(self.id)), from_stage), from_stage)
        told = plans.lines(plans.Plan(resumption=resumption, from_stage=from_stage), self._now())
        return Plan(
            skipped=_keys(resumption.skipped),
            reused=_keys(resumption.reused),
            goes_on={each.key: each.done for each in resumption.goes_on},
            dropped=_keys(resumption.dropped),
            runs_again=resumption.runs_again,
            text="".join(f"{line}\n" for line in told),
        )


def check_resumable(view: RunView, from_stage: str | None) -> RunView:
    """Return the run; UsageError if the command would not resume it."""
    if view.state is RunState.SUCCEEDED and from_stage is None:
        raise UsageError(f"nothing to resume: run {view.id} succeeded", "to run part of it again: from_stage=")
    if view.plan.attempt >= MOST_ATTEMPTS:
        raise UsageError(f"run {view.id} was attempt {view.plan.attempt}: the command resumes it only with --force")
    return view


def _keys(kept: Sequence[Kept]) -> tuple[str, ...]:
    return tuple(each.key for each in kept)


def _lines(event: events.Event) -> Iterator[str]:
    if isinstance(event, events.Log):
        yield from event.lines
