"""The types of arguments and options: what they accept, and how a shell completes them."""

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import click

from stagerun import events
from stagerun.commands.surroundings import surroundings_of
from stagerun.errors import UsageError
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.machine import settings
from stagerun.states import RunState
from stagerun.text import moments
from stagerun.view import RunView


LEVELS: Final[tuple[events.Level, ...]] = get_args(events.Level)
_OFFERED: Final = 50  # runs


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


class FileName(click.ParamType[str]):
    """The name of a file as it is written."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        return File().shell_complete(ctx, param, incomplete)


class Span(click.ParamType[float]):
    """A time span in seconds, or as `90s`, `5m`, `1h30m`; above 0."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = moments.span(value) if isinstance(value, str) else float(value)
        if seconds is None or not 0 < seconds < math.inf:
            raise UsageError(f"{param.opts[0] if param else 'it'} can't be {value!r}", moments.SPANS)
        return seconds


class Word(click.ParamType[Any]):
    """One of a few words, for the shell to complete. Whoever uses it knows what is wrong with any other."""

    name = "word"

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        return candidates(incomplete, ((each, "") for each in self._words))


class LongText(Word):
    """A text, or `@` and the name of a file that holds it, which the shell completes."""

    name = "text"

    def __init__(self) -> None:
        super().__init__(())

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        if not incomplete.startswith("@") or incomplete.startswith("@@"):
            return []
        return candidates(incomplete, ((f"@{file}", "") for file in _files(incomplete[1:])))


class State(Word):
    name = "state"

    def __init__(self) -> None:
        super().__init__(list(RunState))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RunState:
        try:
            return RunState(value.lower().replace("-", "_").replace(" ", "_"))
        except ValueError:
            raise UsageError(f"there is no state {value!r}", "states: " + ", ".join(RunState)) from None


class Level(Word):
    name = "level"

    def __init__(self) -> None:
        super().__init__(LEVELS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if (level := str(value).lower()) not in LEVELS:
            raise UsageError(f"there is no level {value!r}", "levels: " + ", ".join(LEVELS))
        return level


def candidates(incomplete: str, offered: Iterable[tuple[str, str]]) -> list[Any]:
    """Return the words that begin with `incomplete`, each with its description, for the shell to complete."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(word, help=about or None) for word, about in offered if word.startswith(incomplete)]


def _files(begin: str) -> list[str]:
    """Return the files whose path begins so; of a single folder what is in it, because a word would end behind it."""
    folder, slash, name = begin.rpartition("/")
    try:
        entries = sorted(Path(folder + slash or ".").iterdir())
    except OSError:
        return []
    begun = [each for each in entries if each.name.startswith(name or each.name.lstrip("."))]
    found = [f"{folder}{slash}{each.name}{'/' if each.is_dir() else ''}" for each in begun]
    return (_files(found[0]) or found) if len(found) == 1 and found[0].endswith("/") else found


class Ref(click.ParamType[str]):
    """A run: its id, `last`, `last~1`, …; completed from the journal."""

    name = "ref"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        path = surroundings_of(ctx).journal
        if not opening.has_runs(path):
            return []
        now, records = time.time(), Records(opening.open_journal(path))
        runs = ((str(view.id), _told(view, now)) for view in records.history(limit=_OFFERED))
        return candidates(incomplete, [*runs, ("last", "the newest run")])


class _Name(click.ParamType[str]):
    """A name that the journal knows."""

    name = "text"

    def known(self, records: Records) -> Iterable[str]:
        raise NotImplementedError

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        path = surroundings_of(ctx).journal
        if not opening.has_runs(path):
            return []
        return candidates(incomplete, ((each, "") for each in self.known(Records(opening.open_journal(path)))))


class Operation(_Name):
    """An operation that has run, by its class, recipe or target."""

    def known(self, records: Records) -> Iterable[str]:
        return sorted(records.operations())


class Tag(_Name):
    def known(self, records: Records) -> Iterable[str]:
        return records.tags()


class Target(click.ParamType[str]):
    """An operation; completed from the source of the recipes, without importing one."""

    name = "target"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from stagerun.authoring import finding

        recipes = finding.recipes(surroundings_of(ctx).project)
        offered = [(each.target, each.help) for recipe in recipes for each in recipe.operations]
        return candidates(incomplete, offered) or File().shell_complete(ctx, param, incomplete)


def _told(view: RunView, now: float) -> str:
    """`orders:Import, failed, 3 min ago`."""
    from stagerun.text import wording

    when = wording.ago(view.started_on or view.created_on, now)
    return f"{view.plan.target}, {wording.state_word(view.state)}, {when}"
