"""What is around a command: made once for a process, handed to every command and to the border of the errors."""

import os
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final

import click

from stagerun.errors import UsageError


if TYPE_CHECKING:
    from pathlib import Path

    from stagerun.machine.ci import System
    from stagerun.machine.settings import Project


class Surroundings:
    """The project, the journal, and the CI system that reads what this process prints.

    Each is looked up when somebody asks for it, and stays as it was found or as an option has set it.
    """

    @cached_property
    def project(self) -> "Project":
        from pathlib import Path

        from stagerun.machine import settings

        try:
            here = Path.cwd()
        except FileNotFoundError:
            raise UsageError("the current folder does not exist any more", "change to another one") from None
        return settings.find(here)

    @cached_property
    def journal(self) -> "Path":
        return self.project.journal

    @cached_property
    def system(self) -> "System":
        from stagerun.machine import ci

        return ci.detect(os.environ)

    @property
    def guard(self) -> Callable[[str], str]:
        """What makes a line harmless that may be another's, where the CI system would obey it."""
        return _guard_of(self.system)


@cache
def _guard_of(system: "System") -> Callable[[str], str]:
    from stagerun.render import dialect_of

    return dialect_of(system, {}).guard


# For commands: their first argument. Whoever has only the context asks `surroundings_of`.
pass_surroundings: Final = click.make_pass_decorator(Surroundings, ensure=True)


def surroundings_of(ctx: click.Context) -> Surroundings:
    return ctx.ensure_object(Surroundings)
