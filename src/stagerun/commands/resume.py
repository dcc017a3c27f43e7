"""`stagerun resume [REF]`: continue a run where it stopped, as a new run that takes over what is finished."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from stagerun.commands import again
from stagerun.commands.execution import RunSettings, execute, run_options
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, operation_option, option
from stagerun.commands.printing import print_json, print_lines
from stagerun.commands.records import open_records
from stagerun.commands.surroundings import Surroundings, pass_surroundings, surroundings_of
from stagerun.commands.types import Ref, candidates
from stagerun.errors import HeldError, UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.reports import plans
from stagerun.resumption import MOST_ATTEMPTS
from stagerun.states import TERMINAL, RunState
from stagerun.text import sentences, wording
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView


class _Stage(click.ParamType[str]):
    """A stage of the run that is resumed, for the shell to complete."""

    name = "stage"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        if not opening.has_runs(surroundings_of(ctx).journal):
            return []
        # While the option has no value yet, click leaves the arguments unparsed.
        ref = ctx.params.get("ref") or next(iter(ctx.args), "last")
        view = open_records(surroundings_of(ctx)).find(ref, ctx.params.get("operation"))
        return candidates(incomplete, ((stage.name, stage.state) for stage in view.stages))


@click.command("resume", epilog=ENVIRONMENT)
@click.argument("ref", type=Ref(), required=False)
@option("--from", "from_stage", type=_Stage(), metavar="STAGE", help="Run this stage and the later ones again.")
@again.set_option
@again.set_file_option
@option("--force", is_flag=True, help=f"Resume even after {MOST_ATTEMPTS} attempts.")
@option("--dry-run", is_flag=True, help="Show the plan; start nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print the plan as JSON.")
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
    as_json: bool,
    operation: str | None,
) -> int:
    """Continue a run where it stopped.

    REF is a run's id, last, last~1, …; without it the newest run. It starts a new run, which takes over what is
    stored: steps, and whatever has a key.
    """
    if as_json and not dry_run:
        raise UsageError("--json is for the plan", "add --dry-run; for the events of the run: --progress json")
    records = open_records(here, upgrade=not dry_run)
    tell = partial(print_lines, here, err=settings.display.owns_stdout)
    # cron mails whatever is printed. A plan is shown all the same if that is all that was asked for, or if it warns.
    quiet = settings.display.quiet and not dry_run
    view = _place(records, ref, operation, from_stage=from_stage, tell=tell if not quiet else lambda _: None)
    if view is None:
        return 0
    if view.plan.attempt >= MOST_ATTEMPTS and not force:
        raise UsageError(
            f"run {view.id} was attempt {view.plan.attempt}: something is wrong that resuming does not fix",
            "to try once more: --force",
        )
    resumption = records.resumption(view, from_stage)
    texts, typed_in = again.texts(files), Path.cwd()
    again.enter_folder(here, view)
    found = again.find(view, here.project)
    instance = again.make(here, found, view, set_, texts)
    plan = plans.Plan(
        resumption=resumption,
        from_stage=from_stage,
        changes=again.changed(instance, view),
        folder=None if typed_in == Path.cwd() else str(Path.cwd()),
        changed_source=view.plan.source if _has_changed(view, found.source_hash()) else None,
    )
    if as_json:
        print_json(plans.document(plan))
    elif not quiet or plan.warnings:
        # An output that can't be written must not stop the run.
        with suppress(OSError):
            tell(plans.lines(plan, time.time()))
    records.close()
    if dry_run:
        if settings.on is not None and not as_json:
            from stagerun.commands.places import preview

            print_lines(here, preview(here, settings.on, found, instance))
        return 0
    try:
        return execute(here, found, instance, settings, resumption=resumption)
    except HeldError as error:
        holder = open_records(here).successor(view)
        raise (_held(holder) if holder else error) from None


def _place(
    records: Records,
    ref: str | None,
    operation: str | None,
    *,
    from_stage: str | None,
    tell: Callable[[list[str]], object],
) -> RunView | None:
    """Return the run to resume, or None, and tell why, if there is nothing to do."""
    if ref is None and not records.history(limit=1, operation=operation):
        tell(["nothing to resume: there is no run yet"])
        return None
    named = records.find(ref or "last", operation)
    view = records.place_to_resume(named, along_chain=from_stage is None)
    if view.state not in TERMINAL:
        raise _held(view)
    if view.state is RunState.SUCCEEDED and from_stage is None:
        what = f"run {named.id}" if view is named else f"run {named.id} was resumed, and run {view.id}"
        told = [f"nothing to resume: {what} succeeded; to run part of it again: --from STAGE"]
        if ref is None and (other := records.newest_resumable(operation)) is not None:
            when = wording.ago(other.finished_on or other.created_on, time.time())
            which = f"{neutralise(other.plan.target)}, {wording.state_word(other.state)} {when}"
            told.append(f"the newest run that did not succeed: {which}; {sentences.resume_command(other)}")
        tell(told)
        return None
    return view


def _has_changed(view: RunView, source_hash: str | None) -> bool:
    return view.plan.source_hash is not None and source_hash not in (None, view.plan.source_hash)


def _held(view: RunView) -> HeldError:
    started = wording.ago(view.created_on, time.time())
    return HeldError(
        f"run {view.id} is still running (process {view.process.pid} on {view.process.host}, started {started})",
        f"wait for it: stagerun wait {view.id}, or stop it: stagerun cancel {view.id}",
    )
