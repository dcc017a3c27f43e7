"""`stagerun resume [REF]`: continue a run where it stopped, as a new run that takes over what is finished."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click
from msgspec.structs import replace

from stagerun.authoring import finding
from stagerun.authoring.operation import LiveOperation
from stagerun.authoring.params import Parameter
from stagerun.commands import parameters
from stagerun.commands.execution import RunSettings, execute, run_options
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option, option
from stagerun.commands.printing import print_lines
from stagerun.commands.records import open_records
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Ref
from stagerun.errors import HeldError, UsageError
from stagerun.journal.reading import Records
from stagerun.journal.rules import Resumption
from stagerun.states import TERMINAL, RunState
from stagerun.text import sentences, wording
from stagerun.text.masking import MASK
from stagerun.text.secrets import Secret
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView


MOST_ATTEMPTS: Final = 20


@click.command("resume", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), required=False)
@option("--from", "from_stage", metavar="STAGE", help="Run this stage and the later ones again.")
@option("--set", "set_", metavar="NAME=VALUE", multiple=True, help="Change a parameter.")
@option("--set-file", "files", metavar="NAME=PATH", multiple=True, help="Read a parameter from a file.")
@option("--force", is_flag=True, help=f"Resume even after {MOST_ATTEMPTS} attempts.")
@option("--dry-run", is_flag=True, help="Show the plan; start nothing.")
@run_options
@operation_option
@journal_option
@help_option
@pass_surroundings
def command(
    here: Surroundings,
    settings: RunSettings,
    *,
    ref: str | None,
    from_stage: str | None,
    set_: tuple[str, ...],
    files: tuple[str, ...],
    force: bool,
    dry_run: bool,
    operation: str | None,
) -> int:
    """Continue a run where it stopped.

    REF is a run's id, last, last~1, …; without it the newest run that did not succeed. It starts a new run, which
    takes over finished stages and stored checkpoints.
    """
    records = open_records(here)
    on_stderr = settings.display.owns_stdout
    view = _place(records, ref, operation, again=from_stage is not None, err=on_stderr)
    if view is None:
        return 0
    if view.plan.attempt >= MOST_ATTEMPTS and not force:
        raise UsageError(
            f"run {view.id} was attempt {view.plan.attempt}: something is wrong that resuming does not fix",
            "to try once more: --force",
        )
    resumption = records.resumption(view, from_stage)
    found = _found(view, here.project.recipes)
    instance = found.make(owner=view.owner, **_parameters(found.operation, view, set_, files))
    announced = list(_announcement(resumption, from_stage, found, (*set_, *files)))
    # An output that can't be written must not stop the run.
    with suppress(OSError):
        print_lines(here, announced, err=on_stderr)
    records.close()
    if dry_run:
        return 0
    try:
        return execute(here, found, instance, settings, resumption)
    except HeldError as error:
        holder = open_records(here).successor(view)
        raise (_held(holder) if holder else error) from None


def _place(records: Records, ref: str | None, operation: str | None, *, again: bool, err: bool) -> RunView | None:
    """Return the run to resume, or None if there is nothing to do."""
    if ref is None:
        newest = records.newest_resumable(operation)
        if newest is None:
            click.echo("nothing to resume: no run has failed, crashed or been cancelled", err=err)
            return None
        return newest
    named = records.find(ref, operation)
    view = records.place_to_resume(named, along_chain=not again)
    if view.state not in TERMINAL:
        raise _held(view)
    if view.state is RunState.SUCCEEDED and not again:
        what = f"run {named.id}" if view is named else f"run {named.id} was resumed, and run {view.id}"
        click.echo(f"nothing to resume: {what} succeeded; to run part of it again: --from STAGE", err=err)
        return None
    return view


def _held(view: RunView) -> HeldError:
    started = wording.ago(view.created_on, time.time())
    return HeldError(
        f"run {view.id} is still running (process {view.process.pid} on {view.process.host}, started {started})",
        f"wait for it: stagerun wait {view.id}, or stop it: stagerun cancel {view.id}",
    )


def _found(view: RunView, folder: Path) -> finding.Found:
    """Load the operation from the file that it came from; if that is gone, by its target."""
    if "." in view.plan.recipe and not view.plan.recipe.endswith(".py"):
        with suppress(UsageError):
            return finding.load(view.plan.target, folder)
    if view.plan.source is not None and Path(view.plan.source).is_file():
        found = finding.load(f"{view.plan.source}:{view.plan.operation}", folder)
        return replace(found, target=view.plan.target, recipe=view.plan.recipe)
    return finding.load(view.plan.target, folder)


def _parameters(
    operation: type[LiveOperation], view: RunView, set_: tuple[str, ...], files: tuple[str, ...]
) -> dict[str, Any]:
    """Return the parameters of the run with the changes; secrets were never stored and must be given again."""
    values = {name: value for name, value in view.plan.params.items() if name in operation.parameters}
    changed = dict(_changed(operation, set_, files))
    for name, parameter in operation.parameters.items():
        if parameter.secret:
            values.pop(name, None)
            if name not in changed and (secret := _secret(parameter, view)) is not None:
                values[name] = secret
        elif name not in changed and values.get(name) == MASK:
            raise UsageError(
                f"the parameter {name!r} held a secret and was not stored",
                f"give it again: --set-file {name}=PATH",
            )
    return values | changed


def _changed(
    operation: type[LiveOperation], set_: tuple[str, ...], files: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    """Yield the values that `--set` and `--set-file` give."""
    for way, given in (("--set", set_), ("--set-file", files)):
        for change in given:
            name, equals, value = change.partition("=")
            if not equals:
                raise UsageError(f"{way} can't be {change!r}", f"give it as {way} name=value")
            name = name.strip().replace("-", "_")
            parameter = operation.parameters.get(name)
            if way == "--set-file":
                value = parameters.read_value(name, value)
            elif parameter and parameter.secret:
                raise parameters.not_on_command_line(parameter, f"--set-file {name}=PATH")
            yield name, value.split(",") if parameter and parameter.many else value


def _secret(parameter: Parameter, view: RunView) -> Secret | None:
    return parameters.secret_value(
        parameter,
        needed=parameter.required or view.plan.params.get(parameter.name) is not None,
        by_file=f"--set-file {parameter.name}=PATH",
        why=": it is never stored",
    )


def _announcement(
    resumption: Resumption, from_stage: str | None, found: finding.Found, changes: tuple[str, ...]
) -> Iterator[str]:
    view = resumption.view
    place = sentences.ended_in(view)
    where = f" in {neutralise(place)}" if place else ""
    when = wording.ago(view.finished_on or view.created_on, time.time())
    yield f"resuming run {view.id}: {neutralise(view.plan.target)}, {wording.state_word(view.state)}{where} {when}"
    if resumption.done_before:
        yield f"  done before: {_names(resumption.done_before)}"
    if from_stage is not None:
        yield f"  again from: {neutralise(from_stage)}"
    if resumption.inherited:
        yield f"  checkpoints reused: {_names(tuple(resumption.inherited))}"
    if resumption.dropped:
        yield f"  checkpoints dropped: {_names(resumption.dropped)}"
    if changes:
        yield f"  parameters changed: {_names(tuple(each.partition('=')[0] for each in changes))}"
    if view.plan.source_hash is not None and found.source_hash() not in (None, view.plan.source_hash):
        yield f"  warning: {neutralise(view.plan.source or '')} has changed since"


def _names(names: tuple[str, ...]) -> str:
    """Return the names; only the first ones if there are many."""
    shown = ", ".join(map(neutralise, names[:8]))
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8:,} more"
