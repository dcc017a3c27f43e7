"""`stagerun cancel REF`: stop a run of another process, and wait until it has stopped."""

import os
import signal
import time
from typing import Final

import click

from stagerun import exit_codes
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option, option
from stagerun.commands.printing import print_line, say
from stagerun.commands.records import records_in
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.journal import opening
from stagerun.journal.following import until_changed
from stagerun.journal.reading import Records
from stagerun.journal.writing import Journal
from stagerun.machine import identity
from stagerun.states import TERMINAL, RunState
from stagerun.text import wording
from stagerun.view import RunView


DEADLINE: Final = 10.0  # seconds that a run has for its clean-up


@click.command("cancel", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref())
@option("--force", is_flag=True, help=f"Kill it if it has not stopped after {DEADLINE:.0f} s.")
@operation_option
@journal_option
@help_option
@pass_surroundings
def command(here: Surroundings, *, ref: str, force: bool, operation: str | None) -> int:
    """Stop a run: its clean-up runs, then it ends as cancelled.

    REF is a run's id, last, last~1, …
    """
    store = opening.open_existing(here.journal, write=True, durable=here.project.durable)
    writing, records = Journal(store), records_in(here, store)
    view = records.find(ref, operation)
    if view.state in TERMINAL:
        if view.state is RunState.CRASHED:
            writing.record_crash(view)
        print_line(here, f"run {view.id} is already over: {wording.state_word(view.state)}")
        return 0
    # The signal first: else the run could stop because of the journal, and take the signal for a second request.
    _signal(view, signal.SIGTERM)
    writing.request_cancel(view.id, time.time(), identity.person())
    if _wait(records, view.id, DEADLINE):
        return _tell(here, records, writing, view.id)
    if not force:
        say(
            here,
            f"run {view.id} has not stopped after {DEADLINE:.0f} s",
            f"to kill it: stagerun cancel --force {view.id}",
        )
        return exit_codes.FAILED
    if not _signal(view, signal.SIGKILL):
        say(
            here,
            f"run {view.id} can't be killed from here",
            f"it runs as process {view.process.pid} on {view.process.host}",
        )
        return exit_codes.FAILED
    _wait(records, view.id, DEADLINE)
    return _tell(here, records, writing, view.id)


def _signal(view: RunView, number: int) -> bool:
    """Send a signal to the run's process if it is alive on this machine; return True if it was sent."""
    if view.process.is_gone() is not False:
        return False
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(view.process.pid, number)
            return True
        descriptor = os.pidfd_open(view.process.pid)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        # The descriptor always means the same process; check that it is the run's.
        if view.process.is_gone() is False:
            signal.pidfd_send_signal(descriptor, number)
            return True
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(descriptor)
    return False


def _wait(records: Records, run: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        version = records.version()
        if records.find(str(run)).state in TERMINAL:
            return True
        if time.monotonic() > deadline:
            return False
        until_changed(records, version)


def _tell(here: Surroundings, records: Records, writing: Journal, run: int) -> int:
    view = records.find(str(run))
    if view.state is RunState.CRASHED:
        writing.record_crash(view)
    print_line(here, f"run {run} {wording.state_word(view.state)}")
    return 0
