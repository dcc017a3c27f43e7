"""The types of arguments and options: what they accept, and how a shell completes them."""

import time
from pathlib import Path
from typing import Any

import click

from stagerun.commands.surroundings import surroundings_of
from stagerun.errors import UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.machine import settings
from stagerun.states import RunState
from stagerun.text import moments


class File(click.ParamType[Path]):
    """A file's absolute path. Unlike the type of click it asks for no translations, which takes longer than a stage."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(value).absolute()  # a recipe, or a resume, changes the current folder

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


class JournalFile(File):
    """The file of a journal, absolute."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return value if isinstance(value, Path) else settings.journal_file(value, Path.cwd())


class Moment(click.ParamType[float]):
    """A date or time in ISO 8601, or how long ago (`90m`, `2h`, `7d`), as seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        moment = moments.parsed(value, time.time())
        if moment is None:
            raise UsageError(f"{param.opts[0] if param else 'it'} can't be {value!r}", moments.LEGAL)
        return moment


class State(click.ParamType[RunState]):
    name = "state"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RunState:
        try:
            return RunState(value.lower().replace("-", "_").replace(" ", "_"))
        except ValueError:
            raise UsageError(f"there is no state {value!r}", "states: " + ", ".join(RunState)) from None


class Ref(click.ParamType[str]):
    """A run: its id, `last`, `last~1`, …; completed from the journal."""

    name = "ref"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        path = surroundings_of(ctx).journal
        if not opening.has_runs(path):
            return []
        records = Records(opening.open_journal(path))
        return [
            CompletionItem(str(view.id), help=f"{view.plan.target} {view.state}")
            for view in records.history(limit=50)
            if str(view.id).startswith(incomplete)
        ]


class Target(click.ParamType[str]):
    """An operation; completed from the source of the recipes, without importing one."""

    name = "target"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from stagerun.authoring import finding

        listed = finding.listing(surroundings_of(ctx).project.recipes)
        return [CompletionItem(each.target, help=each.help) for each in listed if each.target.startswith(incomplete)]
