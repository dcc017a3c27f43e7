"""`stagerun run TARGET`: run an operation in this process."""

import os
import sys
from collections.abc import Callable, Iterable
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import click

from stagerun.authoring import finding, params
from stagerun.authoring.operation import LiveOperation
from stagerun.commands import common, execution
from stagerun.commands.types import Target
from stagerun.errors import UsageError
from stagerun.machine.ci import System
from stagerun.reports import operations
from stagerun.text.masking import Masker
from stagerun.text.secrets import Secret
from stagerun.text.untrusted import neutralise


_LOADED: Final = "stagerun.run.loaded"
_METAVARS: Final = {"str": "TEXT", "int": "INTEGER", "secret": "PATH"}


class _RunCommand(click.Command):
    """A command whose options depend on its argument: the target's parameters become options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        folder = common.project_of(ctx).recipes
        target = _target_in(args, super().get_params(ctx), folder)
        if target is not None:
            ctx.meta[_LOADED] = finding.load(target, folder)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities or target is None:
                raise
            names = [operations.option(each) for each in ctx.meta[_LOADED].operation.parameters.values()]
            raise UsageError(
                f"{target} has no parameter {error.option_name}", "its parameters: " + ", ".join(names)
            ) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        found = ctx.meta.get(_LOADED)
        own = super().get_params(ctx)
        if found is None:
            return own
        options = [each for parameter in found.operation.parameters.values() for each in _options(parameter)]
        return [*options, *own]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = ctx.meta.get(_LOADED)
        if found is None:
            super().format_help_text(ctx, formatter)
        else:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(f"{found.target}: {cleandoc(found.operation.__doc__ or '')}")


@click.command("run", cls=_RunCommand, epilog=common.ENVIRONMENT)
@click.argument("target", type=Target())
@execution.options
@common.option("--owner", help="Who runs it.  [default: you, or whom the CI names]")
@common.option("--dry-run", is_flag=True, help="Show stages and parameters; start nothing.")
@common.journal_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    target: str,
    progress: str,
    timestamps: bool,
    ci: System,
    owner: str | None,
    timeout: float | None,
    run_id_file: Path | None,
    dry_run: bool,
    journal: Path | None,
    **given: Any,
) -> int:
    """Run an operation.

    TARGET is recipe:Operation for a module in the recipes folder, path/to/file.py:Operation, or
    package.module:Operation; a recipe with one operation needs no name. The operation's parameters are options:
    see them with 'stagerun run TARGET --help'.
    """
    found: finding.Found = ctx.meta[_LOADED]
    operation = found.make(owner=owner, **_given(found.operation, given))
    if dry_run:
        _print_plan(ctx, found, operation, journal)
        return 0
    return execution.execute(
        ctx,
        found,
        operation,
        progress=progress,
        timestamps=timestamps,
        system=ci,
        journal=journal,
        timeout=timeout,
        run_id_file=run_id_file,
    )


def _print_plan(ctx: click.Context, found: finding.Found, operation: LiveOperation, journal: Path | None) -> None:
    expected = common.expected(ctx, journal, found.target)
    masker = Masker()
    masker.learn(operation.secret_values().values())
    told = [f"would run {neutralise(found.target)} as {neutralise(masker.mask(operation.owner))}"]
    told += operations.plan(operation.stages, expected)
    values = operation.params()
    if values:
        told.append("parameters:")
    told += [f"  {name}={neutralise(masker.mask(str(value)))}" for name, value in values.items()]
    common.print_lines(told)


def _target_in(args: list[str], own: Iterable[click.Parameter], folder: Path) -> str | None:
    """Return the argument that is the target: its options, which say what takes a value, are not known before."""
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
            # Behind an option of the recipe's own it may be that option's value.
            unknown = before.startswith("--") and "=" not in before and before not in known
            (doubtful if unknown else candidates).append(argument)
        before = argument
    ranked = [*candidates, *doubtful]
    there = [each for each in ranked if finding.is_there(each, folder)]
    likely = [each for each in ranked if finding.looks_like_target(each)]
    both = [each for each in there if each in likely]
    return next(iter([*both, *there, *likely, *ranked]), None)


def _options(parameter: params.Parameter) -> list[click.Option]:
    """Return the options that set `parameter`. Conversion is left to the parameter itself."""
    variable = f"STAGERUN_{parameter.name.upper()}"
    about = parameter.help
    if parameter.secret:
        return _secret_options(parameter, variable)
    flag = parameter.type is bool and not parameter.many
    kind = "|".join(map(str, parameter.choices)) if parameter.choices else parameter.type_name.removeprefix("list of ")
    default = None if parameter.required else parameter.to_json(parameter.default)
    if default not in (None, [], ()):
        about += f"  [default: {default}]"
    if parameter.rules:
        about += f"  [{parameter.rules}]"
    return [
        click.Option(
            [operations.option(parameter), parameter.name],
            type=click.BOOL if flag else click.STRING,
            is_flag=flag or None,
            multiple=parameter.many,
            required=parameter.required,
            default=None,
            metavar=None if flag else f"[{kind}]" if parameter.choices else _METAVARS.get(kind, kind.upper()),
            help=about.strip(),
            envvar=variable,
        )
    ]


def _secret_options(parameter: params.Parameter, variable: str) -> list[click.Option]:
    """A secret comes from a file or the environment: a command line can be read by every user of the machine."""

    def refuse(ctx: click.Context, option: click.Parameter, value: object) -> None:
        if value is not None:
            raise UsageError(
                f"{parameter.name!r} is a secret and can't be given on the command line",
                f"set {variable}, or give --{option.opts[0].lstrip('-')}-file PATH",
            )

    dashed = parameter.name.replace("_", "-")
    return [
        click.Option(
            [f"--{dashed}-file", parameter.name],
            metavar="PATH",
            help=f"{parameter.help}  [or as {variable}]".strip(),
            callback=_read_secret(parameter, variable),
        ),
        click.Option(
            [f"--{dashed}", f"{parameter.name}_refused"],
            hidden=True,
            callback=refuse,
            expose_value=False,
            is_eager=True,
        ),
    ]


def _read_secret(
    parameter: params.Parameter, variable: str
) -> Callable[[click.Context, click.Parameter, str | None], Secret | None]:
    def read(ctx: click.Context, option: click.Parameter, value: str | None) -> Secret | None:
        if value is not None:
            return Secret(common.read_parameter(parameter.name, value))
        if variable in os.environ:
            return Secret(os.environ[variable])
        if not parameter.required or ctx.resilient_parsing:
            return None
        if sys.stdin is not None and sys.stdin.isatty():
            return Secret(click.prompt(parameter.name, hide_input=True, err=True))
        raise UsageError(
            f"the secret {parameter.name!r} is missing",
            f"set {variable}, or give --{option.opts[0].lstrip('-')} PATH",
        )

    return read


def _given(operation: type[LiveOperation], values: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that were given; an option that was left out is None, or () if it can be repeated."""
    return {name: values[name] for name in operation.parameters if values.get(name) not in (None, ())}
