"""How a run is shown live: the options, the settings made from them, and the display for these."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import click
from msgspec import Struct

from stagerun import render
from stagerun.commands.options import option
from stagerun.commands.printing import may_colour
from stagerun.commands.surroundings import Surroundings, surroundings_of
from stagerun.machine import ci
from stagerun.render.output import Output, reserve_stdout
from stagerun.sinks import Sink
from stagerun.text.masking import Masker


JSON: Final = "json"


class DisplaySettings(Struct, frozen=True):
    """The values of `--progress` and `--timestamps`."""

    progress: str
    timestamps: bool

    @property
    def owns_stdout(self) -> bool:
        """True if only the display may write to stdout."""
        return self.progress == JSON


def _set_system(ctx: click.Context, parameter: click.Parameter, value: str) -> None:
    if value != ci.AUTO:
        surroundings_of(ctx).system = ci.by_name(value)


_progress: Final = option(
    "--progress",
    default="auto",
    metavar="MODE",
    show_default=True,
    help="How to show the run: auto, tty, plain, json, quiet.",
)
_timestamps: Final = option("--timestamps", is_flag=True, help="Put the time before each plain line.")
_system: Final = option(
    "--ci",
    callback=_set_system,
    expose_value=False,
    default=ci.AUTO,
    metavar="NAME",
    show_default=True,
    help="The CI system that reads the lines: auto, " + ", ".join(ci.System) + ".",
)


def display_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a display; `function` gets a DisplaySettings as its first argument."""

    @wraps(function)
    def with_settings(*, progress: str, timestamps: bool, **options: Any) -> int:
        return function(DisplaySettings(progress, timestamps), **options)

    return _progress(_timestamps(_system(with_settings)))


def choose_display(here: Surroundings, output: Output, settings: DisplaySettings, masker: Masker | None = None) -> Sink:
    """Return the display that writes to `output`."""
    display = render.choose(
        settings.progress,
        output,
        dialect=render.dialect_of(here.system, os.environ, unicode=output.unicode),
        # A CI system's pseudo-terminal must not be redrawn, either.
        live=output.isatty() and os.environ.get("TERM", "dumb") != "dumb" and here.system is ci.System.NONE,
        colour=may_colour(output, here.system),
        timestamps=settings.timestamps,
        masker=masker or Masker(),
    )
    if settings.owns_stdout:
        reserve_stdout()
    return display
