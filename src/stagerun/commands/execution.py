"""Running an operation from a command: its display, journal, signals and exit code."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec import Struct

from stagerun import exit_codes
from stagerun.authoring import finding
from stagerun.authoring.operation import LiveOperation, question_of
from stagerun.commands.display import DisplaySettings, choose_display, display_options
from stagerun.commands.options import option
from stagerun.commands.printing import say
from stagerun.commands.surroundings import Surroundings, surroundings_of
from stagerun.commands.types import File, Span
from stagerun.engine.emitter import Emitter
from stagerun.engine.runner import Runner, Terms
from stagerun.errors import NameHeld, UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.journal.writing import Journal
from stagerun.machine import ci
from stagerun.machine import settings as project_settings
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.render.output import Output
from stagerun.sinks import Sink
from stagerun.states import TERMINAL
from stagerun.text.secrets import Secret
from stagerun.view import RunView


if TYPE_CHECKING:
    from stagerun.journal.store import Store
    from stagerun.notify.teller import Teller
    from stagerun.remote.places.place import Place
    from stagerun.remote.supervisor import Supervisor
    from stagerun.resumption import Resumption


_LOOK: Final = 0.25  # seconds between two looks at the run that is waited for


class RunSettings(Struct, frozen=True):
    """The options that all commands share that run an operation.

    Attributes:
        display: how the run is shown.
        timeout: seconds that the whole chain may take, None for no limit.
        run_id_file: the file that gets the first run's id before it starts, or None.
        tags: what the run can be found by.
        wait: True to queue behind an earlier run of the operation, and behind the run that has the name.
        yes: True if the question of the operation is answered already.
        on: the place that it works at, None for this process.

    """

    display: DisplaySettings
    timeout: float | None
    run_id_file: Path | None
    tags: tuple[str, ...]
    wait: bool
    yes: bool
    on: str | None


def _forbid_questions(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        surroundings_of(ctx).may_ask = False


_OPTIONS: Final = (
    option("--timeout", type=Span(), metavar="TIME", help="Stop the run after so many seconds, or 90s, 5m, 1h30m."),
    option("--run-id-file", type=File(), help="Write the run's id to this file before it starts."),
    # A recipe may have a parameter called tags.
    option("--tag", "_tags", metavar="NAME", multiple=True, help="A name to find the run by; may be repeated."),
    option("--wait", is_flag=True, help="Queue behind an earlier run of the same operation."),
    option("-y", "--yes", is_flag=True, help="Answer the operation's question with yes."),
    option(
        "--no-input",
        is_flag=True,
        is_eager=True,
        callback=_forbid_questions,
        expose_value=False,
        help="Ask nothing: what is missing is an error.",
    ),
    option("--on", metavar="PLACE", help="Where it works: here, local:, ssh://HOST, slurm://, dask://HOST, or a name."),
)


def run_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a command that runs an operation; `function` gets a RunSettings as its first argument."""

    @wraps(function)
    def with_settings(display: DisplaySettings, /, **options: Any) -> int:
        own = {name: options.pop(name) for name in ("timeout", "run_id_file", "wait", "yes", "on")}
        return function(RunSettings(display, tags=options.pop("_tags"), **own), **options)

    for each in reversed(_OPTIONS):
        with_settings = each(with_settings)
    return display_options(with_settings)


def made(here: Surroundings, found: finding.Found, owner: str | None, values: Mapping[str, Any]) -> LiveOperation:
    """Return the operation. Its secrets are masked from here on, also in the error if it can't be created."""
    known = found.operation.parameters
    secret = [value for name, value in values.items() if name in known and known[name].secret]
    here.masker.learn(value.reveal() if isinstance(value, Secret) else str(value) for value in secret)
    return found.make(owner=owner, **values)


def execute(
    here: Surroundings,
    found: finding.Found,
    operation: LiveOperation,
    settings: RunSettings,
    *,
    resumption: "Resumption | None" = None,
    once: str | None = None,
) -> exit_codes.OwnCode:
    """Run `operation` and its chain, in this process or at a place; return the exit code."""
    place = None if settings.on is None else _place(here, settings.on, operation)
    _confirm(here, operation, settings)
    interrupts, output = Interrupts(), Output(sys.stdout)
    interrupts.farewell, output.given_up = output.leave, interrupts.look
    masker = here.masker
    display = choose_display(here, output, settings.display, masker)
    _write_id(settings.run_id_file, None)
    tellers = _tellers(here)
    store, clock = _opened(here, interrupts, found.source), Clock()
    memory = Records(store)
    emitter = Emitter(Journal(store), [display, *tellers], clock, interrupts, masker)
    runner = _runner(
        here,
        place,
        emitter,
        memory=memory,
        interrupts=interrupts,
        clock=clock,
        origin=project_settings.origin(here.project, Path.cwd()),
        terms=Terms(tags=settings.tags, once=once, wait=settings.wait),
        log_level=settings.display.log_level,
    )
    if here.system in ci.SIGNALS_THE_SHELL:
        from stagerun.machine.parents import die_with_parent

        die_with_parent()
    with interrupts:
        # The handlers stay installed: a signal that arrives after the end must change nothing.
        interrupts.install()
        try:
            run = partial(
                runner.run,
                found,
                operation,
                resumption=resumption,
                timeout=settings.timeout,
                created=lambda run: _write_id(settings.run_id_file, run),
            )
            quiet = settings.display.quiet
            view = _once_free(here, run, memory, interrupts, clock, quiet=quiet) if settings.wait and once else run()
        finally:
            interrupts.close(exit_codes.NOT_STARTED)
            _close(display, tellers)
            store.close()
    if view is None:
        return exit_codes.OwnCode(exit_codes.OF_SIGNAL[interrupts.signal or "SIGINT"])
    _tell_failures(here, emitter, tellers, view.id)
    assert view.exit_code is not None
    return exit_codes.OwnCode(view.exit_code)


def _confirm(here: Surroundings, operation: LiveOperation, settings: RunSettings) -> None:
    if (question := question_of(type(operation))) is not None and not settings.yes:
        from stagerun.commands import questions

        questions.confirm(here, question)


def _once_free(
    here: Surroundings,
    run: Callable[[], RunView],
    memory: Records,
    interrupts: Interrupts,
    clock: Clock,
    *,
    quiet: bool,
) -> RunView | None:
    """Return what `run` returns once no other run has its name; None if this one was asked to stop before."""
    while True:
        try:
            return run()
        except NameHeld as error:
            if not quiet:
                say(here, f"waiting: {error.message}")
            while (holder := memory.get(error.run)) is not None and holder.state not in TERMINAL:
                if interrupts.stopping:
                    return None
                clock.sleep(_LOOK)


def _opened(here: Surroundings, interrupts: Interrupts, source: Path | None) -> "Store":
    """Open the journal for writing, and warn of what may go wrong with it."""
    path = here.journal
    if not here.project.found and path == here.project.journal and not opening.has_runs(path):
        _warn_of_new_journal(here, source)
    store = opening.open_journal(path, write=True, durable=here.project.durable, hurried=interrupts.look)
    if not store.concurrent:
        say(
            here, f"warning: journal {path} is on a network file system", "only one process at a time can use it safely"
        )
    if (taken := opening.taken_by_root(path)) is not None:
        say(here, f"warning: {taken[0]}, who can't open it", taken[1])
    return store


def _close(display: Sink, tellers: "Sequence[Teller]") -> None:
    display.close()
    for teller in tellers:
        with suppress(Exception):  # what it could not tell is in its failures
            teller.close()


def _warn_of_new_journal(here: Surroundings, source: Path | None) -> None:
    """Say where the run is recorded if the recipe lies in a project, and this folder, which gets a journal, in none."""
    with suppress(UsageError):
        there = project_settings.find(source.absolute().parent) if source is not None else here.project
        if there.found:
            say(
                here,
                f"warning: recorded in a new journal of this folder, not in the recipe's project {there.root}",
                f"to record it there: start it in that folder, or --journal {there.journal}",
            )


def _tell_failures(here: Surroundings, emitter: Emitter, tellers: "Sequence[Teller]", run: int) -> None:
    for broken, error in emitter.broken_sinks:
        told = here.masker.mask(f"the {type(broken).__name__} display failed: {error!r}")
        say(here, told, f"see 'stagerun status {run}'")
    for teller in tellers:
        for line in teller.failures:
            say(here, line)


def _place(here: Surroundings, name: str, operation: LiveOperation) -> "Place | None":
    from stagerun.commands.places import place_for

    return place_for(here, name, operation)


def _runner(here: Surroundings, place: "Place | None", emitter: Emitter, **more: Any) -> "Runner | Supervisor":
    if place is None:
        return Runner(outlet=emitter, masker=here.masker, **more)
    from stagerun.remote.supervisor import Supervisor

    return Supervisor(place=place, project=here.project, emitter=emitter, masker=here.masker, **more)


def _tellers(here: Surroundings) -> "list[Teller]":
    """Return those who tell others of a run; nothing is loaded for it if nobody does."""
    settings = here.project.settings
    if not ({"notify", "otel"} & settings.keys() or {"STAGERUN_NOTIFY", "STAGERUN_OTEL"} & os.environ.keys()):
        return []
    from stagerun import notify

    return notify.chosen(settings, os.environ, folder=here.project.root, masker=here.masker)


def _write_id(file: Path | None, run: int | None) -> None:
    """Write the id; if it is None, check that the file can be written."""
    if file is not None:
        try:
            file.write_text("" if run is None else f"{run}\n")
        except OSError as error:
            raise UsageError(f"the run id can't be written to {file}: {error.strerror}") from None
