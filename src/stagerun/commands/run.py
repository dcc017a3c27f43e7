"""`stagerun run TARGET`: run an operation in this process."""

from collections.abc import Iterable
from contextlib import closing
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Final

import click

from stagerun import exit_codes
from stagerun.authoring import finding
from stagerun.authoring.operation import LiveOperation
from stagerun.commands.execution import RunSettings, execute, made, run_options
from stagerun.commands.help import help_option
from stagerun.commands.options import ENVIRONMENT, journal_option, option
from stagerun.commands.printing import print_line, print_lines
from stagerun.commands.surroundings import Surroundings, pass_surroundings, surroundings_of
from stagerun.commands.types import Target
from stagerun.errors import DoneBefore, UsageError
from stagerun.machine.settings import Project
from stagerun.text.untrusted import neutralise


if TYPE_CHECKING:
    from stagerun.authoring.params import Parameter

_LOADED: Final = "stagerun.run.loaded"
_DECLARED: Final = "stagerun.run.declared"


class _RunCommand(click.Command):
    """A command whose options depend on its argument: the target's parameters become options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        project = surroundings_of(ctx).project
        target = _target_in(args, super().get_params(ctx), project)
        if target is not None and ctx.resilient_parsing:
            ctx.meta[_DECLARED] = _from_source(target, project)
        elif target is not None:
            ctx.meta[_LOADED] = finding.load(target, project)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if target is None:
                raise
            operation = ctx.meta[_LOADED].operation
            name = error.option_name.lstrip("-").replace("-", "_")
            value = None if hasattr(LiveOperation, name) else getattr(operation, name, None)
            if isinstance(value, bool | int | float | str):
                hint = f"{name} has no type in the class; write {name}: {type(value).__name__} = {value!r}"
                raise UsageError(f"{target} has no parameter {error.option_name}", hint) from None
            if error.possibilities:
                raise
            names = [each.option for each in operation.parameters.values()]
            hint = f"its parameters: {', '.join(names) or 'none'}"
            raise UsageError(f"{target} has no parameter {error.option_name}", hint) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        found = ctx.meta.get(_LOADED)
        own = super().get_params(ctx)
        declared = ctx.meta.get(_DECLARED, ()) if found is None else found.operation.parameters.values()
        if not declared:
            return own
        from stagerun.commands import parameters

        return [*(each for parameter in declared for each in parameters.options(parameter)), *own]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = ctx.meta.get(_LOADED)
        if found is None:
            super().format_help_text(ctx, formatter)
        else:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(f"{found.target}: {cleandoc(found.operation.__doc__ or '')}")


@click.command("run", cls=_RunCommand, epilog=ENVIRONMENT)
@click.argument("target", type=Target())
@run_options
@option("--once", metavar="NAME", help="Run only if no run of this name has succeeded.")
@option("--owner", help="Who runs it.  [default: you, or the CI's actor]")
@option("--dry-run", is_flag=True, help="Show stages and parameters; start nothing.")
@journal_option
@help_option
@pass_surroundings
@click.pass_context
def command(
    ctx: click.Context,
    here: Surroundings,
    settings: RunSettings,
    /,
    *,
    target: str,
    once: str | None,
    owner: str | None,
    dry_run: bool,
    **given: Any,
) -> int:
    """Run an operation.

    TARGET is recipe:Operation for a module in the recipes folder, path/to/file.py:Operation, or
    package.module:Operation; the name may be left out if the recipe has one operation. The operation's parameters
    are options: see them with 'stagerun run TARGET --help'.
    """
    if once is not None and not once.strip():
        raise UsageError("--once needs a name", "without one nothing keeps a second run from succeeding")
    found: finding.Found = ctx.meta[_LOADED]
    operation = made(here, found, owner, _given(found.operation, given))
    try:
        if dry_run:
            if once is not None:
                _refuse_taken(here, found, once)
            print_dry_run(here, found, operation, settings.on)
            return exit_codes.SUCCEEDED
        return execute(here, found, operation, settings, once=once)
    except DoneBefore as error:
        if dry_run or not settings.display.quiet:
            print_line(here, error.message, err=settings.display.owns_stdout)
        return exit_codes.SUCCEEDED


def _refuse_taken(here: Surroundings, found: finding.Found, name: str) -> None:
    """Refuse a run whose name is taken, as the journal would if it began now."""
    from stagerun.journal import names, opening
    from stagerun.journal.reading import Records

    if opening.has_runs(here.journal):
        with closing(opening.open_existing(here.journal)) as store:
            crashed = {view.id for view in Records(store).unrecorded_crashes()}
            source = str(found.source) if found.source else None
            names.refuse_taken(store, (found.operation.__name__, found.target, source), name, crashed)


def print_dry_run(here: Surroundings, found: finding.Found, operation: LiveOperation, on: str | None) -> None:
    from stagerun.commands.records import usual_seconds
    from stagerun.reports import operations

    expected = usual_seconds(here, found.target)
    mask = here.masker.mask
    told = [f"would run {neutralise(found.target)} as {neutralise(mask(operation.owner))}"]
    told += operations.plan(operation.stages, expected)
    values = operation.params()
    if values:
        told.append("parameters:")
    told += [f"  {name}={neutralise(mask(str(value)))}" for name, value in values.items()]
    if on is not None:
        from stagerun.commands.places import preview

        told += preview(here, on, found, operation)
    print_lines(here, told)


def _target_in(args: list[str], own: Iterable[click.Parameter], project: Project) -> str | None:
    """Return the argument that is most likely the target: its own options are not known before it is loaded."""
    options = [each for each in own if isinstance(each, click.Option)]
    known = {name for each in options for name in (*each.opts, *each.secondary_opts)}
    takes_value = {name for each in options if not each.is_flag for name in each.opts}
    candidates, doubtful = list[str](), list[str]()
    before = ""
    for position, argument in enumerate(args):
        if argument == "--":
            candidates += args[position + 1 :]
            break
        if not argument.startswith("-") and before not in takes_value:
            # After an unknown option it may be that option's value.
            unknown = before.startswith("--") and "=" not in before and before not in known
            (doubtful if unknown else candidates).append(argument)
        before = argument
    ranked = [*candidates, *doubtful]
    there = [each for each in ranked if finding.file_of(each.partition(":")[0], project)]
    likely = [each for each in ranked if finding.looks_like_target(each)]
    both = [each for each in there if each in likely]
    return next(iter([*both, *there, *likely, *ranked]), None)


def _from_source(target: str, project: Project) -> "list[Parameter]":
    """Return the parameters of an operation for a shell to complete, without importing its recipe."""
    from stagerun.authoring import source

    listed = finding.listed(target, project)
    return source.parameters(listed) if listed else []


def _given(operation: type[LiveOperation], values: dict[str, Any]) -> dict[str, Any]:
    """Return the given parameters; the value of an omitted option is None, or () if it can be repeated."""
    return {name: values[name] for name in operation.parameters if values.get(name) not in (None, ())}
