"""How a run is shown live: the options, the settings made from them, and the display for these."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import click
from click.core import ParameterSource
from msgspec import Struct

from stagerun import events, render
from stagerun.commands.options import option
from stagerun.commands.printing import may_colour
from stagerun.commands.surroundings import Surroundings, surroundings_of
from stagerun.commands.types import LEVELS, Level, Word
from stagerun.errors import UsageError
from stagerun.machine import ci
from stagerun.render.output import Output, reserve_stdout
from stagerun.sinks import Sink
from stagerun.text.masking import Masker
from stagerun.view import RunView


JSON: Final = "json"
QUIET: Final = "quiet"


class DisplaySettings(Struct, frozen=True):
    """The values of `--progress`, `--timestamps` and `--log-level`; None shows every line that is recorded."""

    progress: str
    timestamps: bool
    log_level: events.Level | None = None

    @property
    def owns_stdout(self) -> bool:
        """True if only the display may write to stdout."""
        return self.progress == JSON

    @property
    def quiet(self) -> bool:
        """True if only results and what is wrong may be printed."""
        return self.progress == QUIET


def _set_system(ctx: click.Context, parameter: click.Parameter, value: str) -> None:
    if value != ci.AUTO:
        surroundings_of(ctx).system = ci.by_name(value)


_progress: Final = option(
    "--progress",
    default="auto",
    type=Word(render.MODES),
    metavar="MODE",
    show_default=True,
    help="How to show the run: auto, tty, plain, json, quiet.",
)
# Without a long name a recipe may have parameters called quiet and verbose.
_quiet: Final = click.option("-q", "_quiet", is_flag=True, help="The same as --progress quiet.")
_log_level: Final = option(
    "--log-level",
    type=Level(),
    metavar="LEVEL",
    help="Show only log lines from this level on: " + ", ".join(LEVELS) + ".",
)
_verbose: Final = click.option("-v", "_verbose", is_flag=True, help="The same as --log-level debug.")
_timestamps: Final = option("--timestamps", is_flag=True, help="Put the time before each plain line.")
_system: Final = option(
    "--ci",
    callback=_set_system,
    expose_value=False,
    default=ci.AUTO,
    type=Word([ci.AUTO, *ci.System]),
    is_eager=True,
    metavar="NAME",
    show_default=True,
    help="The CI system that reads the lines: auto, " + ", ".join(ci.System) + ".",
)


def display_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a display; `function` gets a DisplaySettings as its first argument."""

    @wraps(function)
    def with_settings(
        *, progress: str, timestamps: bool, log_level: events.Level | None, _quiet: bool, _verbose: bool, **options: Any
    ) -> int:
        if _quiet and progress != QUIET:
            if click.get_current_context().get_parameter_source("progress") is ParameterSource.COMMANDLINE:
                raise UsageError(f"-q and --progress {progress} contradict each other", "give one of them")
            progress = QUIET
        level = log_level or ("debug" if _verbose else None)
        return function(DisplaySettings(progress, timestamps, level), **options)

    return _progress(_quiet(_log_level(_verbose(_timestamps(_system(with_settings))))))


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
    return display if settings.log_level is None else _From(settings.log_level, display)


class _From(Sink):
    """A display without the log lines below a level."""

    def __init__(self, level: events.Level, display: Sink) -> None:
        self._hidden = frozenset(LEVELS[: LEVELS.index(level)])
        self._display = display

    def update(self, entry: events.Entry, view: RunView) -> None:
        if not (isinstance(entry.event, events.Log) and entry.event.level in self._hidden):
            self._display.update(entry, view)

    def afterword(self, log: events.Log) -> None:
        if log.level not in self._hidden:
            self._display.afterword(log)

    def refresh(self, now: float) -> None:
        self._display.refresh(now)

    def suspend(self) -> None:
        self._display.suspend()

    def resume(self) -> None:
        self._display.resume()

    def close(self) -> None:
        self._display.close()
