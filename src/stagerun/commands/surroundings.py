"""The surroundings of a command, created once per process and shared by all commands and the error handling."""

import os
import sys
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final

import click

from stagerun.errors import UsageError


if TYPE_CHECKING:
    from pathlib import Path

    from stagerun.machine.ci import System
    from stagerun.machine.settings import Project
    from stagerun.text.masking import Masker


class Surroundings:
    """The project, the journal, and the CI system that reads what this process prints.

    Each is looked up on first use, unless an option has set it, and then stays the same.
    """

    @cached_property
    def project(self) -> "Project":
        from pathlib import Path

        from stagerun.machine import settings

        try:
            here = Path.cwd()
        except FileNotFoundError:
            raise UsageError("the current folder no longer exists", "change to another one") from None
        return settings.find(here)

    @cached_property
    def from_env_file(self) -> list[str]:
        """The variables of the environment that the project's env_file has set, by the first look at this."""
        if self.project.env_file is None:
            return []
        from stagerun.machine import env_file

        return env_file.load(self.project.env_file, os.environ)

    @cached_property
    def journal(self) -> "Path":
        return self.project.journal

    @cached_property
    def system(self) -> "System":
        from stagerun.machine import ci

        return ci.detect(os.environ)

    @cached_property
    def may_ask(self) -> bool:
        """True if a person can answer questions: never in CI, and never without a terminal."""
        from stagerun.machine.ci import System

        terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
        return terminal and self.system is System.NONE

    @cached_property
    def masker(self) -> "Masker":
        """The secrets that no output of this process may show."""
        from stagerun.text.masking import Masker

        return Masker()

    def safe(self, line: str) -> str:
        """Return a line of any origin as it may be shown: its secrets masked, and nothing in it acts."""
        if "masker" in vars(self):
            line = self.masker.mask(line)
        if not (line.isascii() and line.isprintable()):  # else there is nothing to load for
            from stagerun.text.untrusted import neutralise

            line = neutralise(line)
        return self.guard(line)

    def complete(self, text: str) -> int:
        """Return how much of an unfinished text is safe to show: the rest may be the beginning of a secret."""
        return self.masker.complete(text) if "masker" in vars(self) else len(text)

    @property
    def guard(self) -> Callable[[str], str]:
        """Return the function that keeps an untrusted line from acting as a command of the CI system."""
        return _guard_of(self.system)


@cache
def _guard_of(system: "System") -> Callable[[str], str]:
    from stagerun.machine.ci import System

    if system is System.NONE:
        return str  # without loading a display
    from stagerun.render import dialect_of

    return dialect_of(system, {}).guard


# Passes it to a command as the first argument; code that has only the context calls `surroundings_of`.
pass_surroundings: Final = click.make_pass_decorator(Surroundings, ensure=True)


def surroundings_of(ctx: click.Context) -> Surroundings:
    return ctx.ensure_object(Surroundings)
