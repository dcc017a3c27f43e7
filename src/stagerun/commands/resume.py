"""`stagerun resume [REF]`: go on where a run stopped, as a new run that takes over what is finished."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click
from msgspec.structs import replace

from stagerun.authoring import finding, params
from stagerun.authoring.operation import LiveOperation
from stagerun.commands import common, execution
from stagerun.commands.types import Ref
from stagerun.errors import HeldError, UsageError
from stagerun.journal.reading import Records
from stagerun.journal.rules import Resumption
from stagerun.machine.ci import System
from stagerun.states import TERMINAL, RunState
from stagerun.text import sentences, wording
from stagerun.text.masking import MASK
from stagerun.text.secrets import Secret
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView


MOST_ATTEMPTS: Final = 20


@click.command("resume", epilog=common.ENVIRONMENT)
@click.argument("ref", type=Ref(), required=False)
@common.option("--from", "from_stage", metavar="STAGE", help="Do this stage and the later ones again.")
@common.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Change a parameter.")
@common.option("--set-file", "files", metavar="NAME=PATH", multiple=True, help="Read a parameter from a file.")
@common.option("--force", is_flag=True, help=f"Resume also after {MOST_ATTEMPTS} attempts.")
@common.option("--dry-run", is_flag=True, help="Show the plan; start nothing.")
@execution.options
@common.operation_option
@common.journal_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    ref: str | None,
    from_stage: str | None,
    settings: tuple[str, ...],
    files: tuple[str, ...],
    force: bool,
    dry_run: bool,
    progress: str,
    timestamps: bool,
    ci: System,
    timeout: float | None,
    run_id_file: Path | None,
    operation: str | None,
    journal: Path | None,
) -> int:
    """Go on where a run stopped.

    REF is a run's id, last, last~1, …; without it the newest run that did not succeed. It starts a new run: stages
    that were finished and checkpoints that were stored are not lost.
    """
    records = common.open_records(ctx, journal)
    view = _place(records, ref, operation, again=from_stage is not None, err=progress == "json")
    if view is None:
        return 0
    if view.plan.attempt >= MOST_ATTEMPTS and not force:
        raise UsageError(
            f"run {view.id} was attempt {view.plan.attempt}: something is wrong that a resume does not mend",
            "to try once more: --force",
        )
    resumption = records.resumption(view, from_stage)
    found = _found(view, common.project_of(ctx).recipes)
    instance = found.make(owner=view.owner, **_values(found.operation, view, settings, files))
    plan = list(_plan(resumption, from_stage, found, (*settings, *files)))
    # A plan that nobody can read must not stop what it announces.
    with suppress(OSError):
        common.print_lines(plan, err=progress == "json")
    records.close()
    if dry_run:
        return 0
    try:
        return execution.execute(
            ctx,
            found,
            instance,
            progress=progress,
            timestamps=timestamps,
            system=ci,
            journal=journal,
            timeout=timeout,
            run_id_file=run_id_file,
            resumption=resumption,
        )
    except HeldError as error:
        holder = common.open_records(ctx, journal).successor(view)
        raise (_held(holder) if holder else error) from None


def _place(records: Records, ref: str | None, operation: str | None, *, again: bool, err: bool) -> RunView | None:
    """Return the run to go on from, None if there is nothing to do."""
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
        click.echo(f"nothing to resume: {what} succeeded; to do a part of it again: --from STAGE", err=err)
        return None
    return view


def _held(view: RunView) -> HeldError:
    begun = wording.ago(view.created_on, time.time())
    return HeldError(
        f"run {view.id} is going on (process {view.process.pid} on {view.process.host}, begun {begun})",
        f"wait for it: stagerun wait {view.id}, or stop it: stagerun cancel {view.id}",
    )


def _found(view: RunView, folder: Path) -> finding.Found:
    """Load the operation from the file that it came from; where that is gone, by its target."""
    if "." in view.plan.recipe and not view.plan.recipe.endswith(".py"):
        with suppress(UsageError):
            return finding.load(view.plan.target, folder)
    if view.plan.source is not None and Path(view.plan.source).is_file():
        found = finding.load(f"{view.plan.source}:{view.plan.operation}", folder)
        return replace(found, target=view.plan.target, recipe=view.plan.recipe)
    return finding.load(view.plan.target, folder)


def _values(
    operation: type[LiveOperation], view: RunView, settings: tuple[str, ...], files: tuple[str, ...]
) -> dict[str, Any]:
    """Return the parameters of the run with the changes; secrets were never written down and are asked for again."""
    values = {name: value for name, value in view.plan.params.items() if name in operation.parameters}
    changed = dict(_changed(operation, settings, files))
    for name, parameter in operation.parameters.items():
        if parameter.secret:
            values.pop(name, None)
            if name not in changed and (secret := _secret(parameter, given=view.plan.params.get(name) is not None)):
                values[name] = secret
        elif name not in changed and values.get(name) == MASK:
            raise UsageError(
                f"the parameter {name!r} held a secret and was not written down",
                f"give it again: --set-file {name}=PATH",
            )
    return values | changed


def _changed(
    operation: type[LiveOperation], settings: tuple[str, ...], files: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    """Yield what `--set` and `--set-file` say."""
    for option, given in (("--set", settings), ("--set-file", files)):
        for setting in given:
            name, equals, value = setting.partition("=")
            if not equals:
                raise UsageError(f"{option} can't be {setting!r}", f"give it as {option} name=value")
            name = name.strip().replace("-", "_")
            parameter = operation.parameters.get(name)
            if option == "--set-file":
                value = common.read_parameter(name, value)
            elif parameter and parameter.secret:
                raise UsageError(
                    f"{name!r} is a secret and can't be given on the command line",
                    f"set STAGERUN_{name.upper()}, or give --set-file {name}=PATH",
                )
            yield name, value.split(",") if parameter and parameter.many else value


def _secret(parameter: params.Parameter, *, given: bool) -> Secret | None:
    variable = f"STAGERUN_{parameter.name.upper()}"
    if variable in os.environ:
        return Secret(os.environ[variable])
    if not parameter.required and not given:
        return None
    if sys.stdin is not None and sys.stdin.isatty():
        return Secret(click.prompt(parameter.name, hide_input=True, err=True))
    raise UsageError(
        f"the secret {parameter.name!r} is missing: it is never written down",
        f"set {variable}, or give --set-file {parameter.name}=PATH",
    )


def _plan(
    resumption: Resumption, from_stage: str | None, found: finding.Found, settings: tuple[str, ...]
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
    if settings:
        yield f"  parameters changed: {_names(tuple(each.partition('=')[0] for each in settings))}"
    if view.plan.source_hash is not None and found.source_hash() not in (None, view.plan.source_hash):
        yield f"  warning: {neutralise(view.plan.source or '')} has changed since"


def _names(names: tuple[str, ...]) -> str:
    """Return the names, of many only the first ones."""
    shown = ", ".join(map(neutralise, names[:8]))
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8:,} more"
