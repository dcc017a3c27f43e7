"""The options that commands share. Each can also be set in the environment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from stagerun.commands.surroundings import surroundings_of
from stagerun.commands.types import JournalFile, Operation


_Function = TypeVar("_Function", bound=Callable[..., Any])

ENVIRONMENT: Final = "Every option can also be set as STAGERUN_<OPTION>."


def option(*names: str, **settings: Any) -> Callable[[_Function], _Function]:
    """Declare an option that can also be set as STAGERUN_<OPTION>."""
    longest = max((name for name in names if name.startswith("--")), key=len).partition("/")[0]
    variable = "STAGERUN_" + longest.lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, **settings)


def _set_journal(ctx: click.Context, option: click.Parameter, value: Path | None) -> None:
    if value is not None:
        surroundings_of(ctx).journal = value


journal_option: Final = option(
    "--journal",
    type=JournalFile(),
    callback=_set_journal,
    expose_value=False,
    help="The journal's file.",
)
json_option: Final = option("--json", "as_json", is_flag=True, help="Print JSON.")
operation_option: Final = option("--operation", type=Operation(), metavar="NAME", help="Only runs of this operation.")
