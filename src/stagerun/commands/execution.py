"""Running an operation from a command: the display, the journal, the signals, and what comes of it."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from stagerun import exit_codes, render
from stagerun.authoring import finding
from stagerun.authoring.operation import LiveOperation
from stagerun.commands import common
from stagerun.commands.say import say
from stagerun.engine.emitter import Emitter
from stagerun.engine.runner import Runner
from stagerun.errors import UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.journal.rules import Resumption
from stagerun.journal.writing import Journal
from stagerun.machine import ci
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts, is_limit
from stagerun.render import dialect_of
from stagerun.render.output import Output, reserve_stdout
from stagerun.sinks import Sink
from stagerun.text.masking import Masker


_Function = TypeVar("_Function", bound=Callable[..., Any])
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def display_options(function: _Function) -> _Function:
    """Declare how a run is shown."""
    mode = common.option(
        "--progress",
        default="auto",
        metavar="MODE",
        show_default=True,
        help="How to show it: auto, tty, plain, json, quiet.",
    )
    times = common.option("--timestamps", is_flag=True, help="Put the time before each plain line.")
    system = common.option(
        "--ci",
        callback=_system,
        default=ci.AUTO,
        metavar="NAME",
        show_default=True,
        help="The CI system that reads the lines: auto, " + ", ".join(ci.System) + ".",
    )
    return mode(times(system(function)))


def _system(ctx: click.Context, option: click.Parameter, value: str) -> ci.System:
    if value == ci.AUTO:
        return ci.detect(os.environ)
    os.environ["STAGERUN_CI"] = system = ci.by_name(value)  # whatever this process prints asks there
    return system


def _limit(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not is_limit(value):
        raise UsageError(f"--timeout can't be {value:g}", "give a number of seconds above 0")
    return value


def options(function: _Function) -> _Function:
    """Declare the options of every command that runs an operation: those of `execute`."""
    limit = common.option(
        "--timeout", type=click.FLOAT, callback=_limit, metavar="SECONDS", help="End it after so many seconds."
    )
    file = common.option(
        "--run-id-file", type=click.Path(path_type=Path), help="Write the run's id to this file before it starts."
    )
    return display_options(limit(file(function)))


def choose_display(
    output: Output, *, progress: str, timestamps: bool, system: ci.System, masker: Masker | None = None
) -> Sink:
    """Return the display that writes to `output`."""
    display = render.choose(
        progress,
        output,
        dialect=dialect_of(system, os.environ, unicode=output.unicode),
        # A pseudo-terminal of a CI system must not be redrawn either.
        live=output.isatty() and os.environ.get("TERM", "dumb") != "dumb" and system is ci.System.NONE,
        colour=common.may_colour(output, system),
        timestamps=timestamps,
        masker=masker or Masker(),
    )
    if progress == "json":
        reserve_stdout()
    return display


def execute(
    ctx: click.Context,
    found: finding.Found,
    operation: LiveOperation,
    *,
    progress: str,
    timestamps: bool,
    system: ci.System,
    journal: Path | None,
    timeout: float | None,
    run_id_file: Path | None,
    resumption: Resumption | None = None,
) -> int:
    """Run `operation` and its chain in this process; return the exit code."""
    interrupts, output = Interrupts(), Output(sys.stdout)
    interrupts.farewell, output.given_up = output.leave, lambda: interrupts.stopping
    masker = Masker()
    display = choose_display(output, progress=progress, timestamps=timestamps, system=system, masker=masker)
    _write_id(run_id_file, None)
    path = common.journal_file(ctx, journal)
    durable = common.project_of(ctx).durable
    store = opening.open_journal(path, write=True, durable=durable, hurried=lambda: interrupts.stopping)
    if opening.is_on_network(path):
        say(f"warning: journal {path} lies on a network file system", "one process at a time can use it safely")
    clock = Clock()
    emitter = Emitter(Journal(store), [display], clock, interrupts, masker)
    runner = Runner(outlet=emitter, memory=Records(store), interrupts=interrupts, masker=masker, clock=clock)
    _die_with_parent(system)
    with interrupts:
        # The handlers stay: a signal that arrives after the end must change nothing.
        interrupts.install()
        try:
            view = runner.run(
                found,
                operation,
                resumption=resumption,
                timeout=timeout,
                created=lambda run: _write_id(run_id_file, run),
            )
        finally:
            interrupts.close(exit_codes.NOT_STARTED)
            display.close()
            store.close()
    for broken, error in emitter.broken_sinks:
        say(masker.mask(f"the {type(broken).__name__} display broke: {error!r}"), f"see 'stagerun status {view.id}'")
    assert view.exit_code is not None
    return view.exit_code


def _write_id(file: Path | None, run: int | None) -> None:
    """Write the id, or, while there is none yet, see that the file can be written."""
    if file is not None:
        try:
            file.write_text("" if run is None else f"{run}\n")
        except OSError as error:
            raise UsageError(f"the run id can't be written to {file}: {error.strerror}") from None


def _die_with_parent(system: ci.System) -> None:
    """Ask the kernel for SIGTERM when the shell above dies, where only that shell is signalled."""
    # With `exec` the parent is the system itself, and the signal would come when the thread that started us ends.
    if sys.platform == "linux" and system in ci.SIGNALS_THE_SHELL and _threads_of(os.getppid()) == 1:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _threads_of(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0
