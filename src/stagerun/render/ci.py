"""The dialects of the CI systems: folds, annotations, summaries.

Sources of the formats: docs.github.com (workflow commands), docs.gitlab.com (custom collapsible sections),
learn.microsoft.com (logging commands), buildkite.com/docs (managing log output), jetbrains.com/help/teamcity (service
messages).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Final

from stagerun import events
from stagerun.machine import ci
from stagerun.render.dialect import Command, Dialect, Other
from stagerun.states import RunState, StageState
from stagerun.text import sentences, wording
from stagerun.text.masking import SHORTEST
from stagerun.text.untrusted import disarm, disarm_line, neutralise
from stagerun.view import RunView


_MESSAGE_LIMIT: Final = 4000  # GitHub and TeamCity truncate longer messages
_IDENTITY_LIMIT: Final = 60


class _Folding(Other):
    """The five systems that fold. Output of a recipe gets a gutter: no line of it can begin with a command."""

    coloured = True

    def __init__(self, environ: Mapping[str, str], *, unicode: bool) -> None:
        super().__init__()
        self._environ = environ
        self._gutter = "│ " if unicode else "| "

    def recipe(self, text: str) -> str:
        return self._gutter + disarm(text)


class Github(_Folding):
    hides = True

    def __init__(self, environ: Mapping[str, str], *, unicode: bool) -> None:
        super().__init__(environ, unicode=unicode)
        self._runs: list[RunView] = []

    def register(self, secrets: Iterable[str]) -> Iterator[str]:
        for secret in secrets:
            yield Command(f"::add-mask::{_github(secret)}")

    def entered(self, view: RunView, title: str, now: float) -> Iterator[str]:
        yield Command(f"::group::{_github(disarm(title))}")
        self.fold_end = "::endgroup::"

    def ended(self, view: RunView, told: Iterable[str], text: str) -> Iterator[str]:
        yield from super().ended(view, told, text)
        # A chain may have thousands of runs; the summary shows the last ones.
        self._runs = [*self._runs[-99:], view]

    def closed(self) -> Iterator[str]:
        yield from super().closed()
        file = self._environ.get("GITHUB_STEP_SUMMARY")
        if file and self._runs:
            from stagerun.reports.markdown import append

            append(file, self._runs)
            self._runs = []

    def _annotated(self, view: RunView) -> Iterator[str]:
        properties = {}
        if place := _place(view, ci.System.GITHUB, self._environ):
            properties = {"file": place[0], "line": place[1]}
        properties["title"] = _cause(view)
        told = ",".join(f"{name}={_github(value, ':,')}" for name, value in properties.items())
        yield Command(f"::error {told}::{_github(_message(view))}")


class Gitlab(_Folding):
    def __init__(self, environ: Mapping[str, str], *, unicode: bool) -> None:
        super().__init__(environ, unicode=unicode)
        self._blocks = count(1)
        self._section = ""

    def entered(self, view: RunView, title: str, now: float) -> Iterator[str]:
        # A job may hold several runs, and two sections with the same name fold together.
        self._section = f"stagerun_{view.id}{next(self._blocks):03}"
        yield Command(f"\x1b[0Ksection_start:{now:.0f}:{self._section}\r\x1b[0K{disarm(title)}")
        self._mark(now)

    def left(self, view: RunView, event: events.StageLeft, outcome: str, now: float) -> Iterator[str]:
        self._mark(now)
        yield from super().left(view, event, outcome, now)

    def _mark(self, now: float) -> None:
        self.fold_end = f"\x1b[0Ksection_end:{now:.0f}:{self._section}\r\x1b[0K"


class Azure(_Folding):
    hides = True

    def register(self, secrets: Iterable[str]) -> Iterator[str]:
        for secret in secrets:
            for line in secret.splitlines():
                if len(line) >= SHORTEST:
                    yield Command(f"##vso[task.setsecret]{_azure(line)}")

    def entered(self, view: RunView, title: str, now: float) -> Iterator[str]:
        yield Command(f"##[group]{disarm(title)}")
        self.fold_end = "##[endgroup]"

    def moved(self, view: RunView) -> Iterator[str]:
        if view.stages and view.active:
            tag = disarm(sentences.tag(view, view.active.name, view.current_stage))
            share = (view.current_stage + (view.percent or 0) / 100) / len(view.stages)
            yield Command(f"##vso[task.setprogress value={share * 100:.0f}]{_azure(tag)}")

    def _annotated(self, view: RunView) -> Iterator[str]:
        properties = {"type": "error"}
        if place := _place(view, ci.System.AZURE, self._environ):
            properties |= {"sourcepath": place[0], "linenumber": place[1]}
        told = ";".join(f"{name}={_azure(value)}" for name, value in properties.items())
        yield Command(f"##vso[task.logissue {told}]{_azure(f'{_cause(view)}: {_message(view)}')}")


class Buildkite(_Folding):
    """Groups have no end: each runs to the next header."""

    def opening(self, text: str) -> Iterator[str]:
        yield Command(f"~~~ {disarm(text)}")

    def entered(self, view: RunView, title: str, now: float) -> Iterator[str]:
        yield Command(f"--- {disarm(title)}")

    def left(self, view: RunView, event: events.StageLeft, outcome: str, now: float) -> Iterator[str]:
        yield from self.left_inside(outcome)
        if event.state is not StageState.DONE:
            yield Command("^^^ +++")

    def left_inside(self, outcome: str) -> Iterator[str]:
        yield disarm_line(outcome)  # the other dialects' `---` would begin a group

    def ended(self, view: RunView, told: Iterable[str], text: str) -> Iterator[str]:
        sign = "---" if view.state is RunState.SUCCEEDED and not view.not_entered else "+++"
        yield Command(f"{sign} {disarm(text)}")
        yield from map(self.recipe, told)


class Teamcity(_Folding):
    hides = True

    def entered(self, view: RunView, title: str, now: float) -> Iterator[str]:
        title = disarm(title)
        yield Command(f"##teamcity[progressMessage {_quoted(title)}]")
        yield _teamcity("blockOpened", name=title)
        self.fold_end = _teamcity("blockClosed", name=title)

    def left(self, view: RunView, event: events.StageLeft, outcome: str, now: float) -> Iterator[str]:
        yield from super().left(view, event, outcome, now)
        key = disarm(neutralise(f"{view.plan.target} {event.stage} (ms)"))
        yield _teamcity("buildStatisticValue", key=key, value=f"{event.seconds * 1000:.0f}")

    def _annotated(self, view: RunView) -> Iterator[str]:
        place = sentences.ended_in(view) or "run"
        identity = disarm(neutralise(f"{view.plan.target}, {place}"))
        yield _teamcity(
            "buildProblem", description=f"{_cause(view)}: {_message(view)}", identity=identity[-_IDENTITY_LIMIT:]
        )


FOLDING: Final[Mapping[ci.System, Callable[..., Dialect]]] = {
    ci.System.GITHUB: Github,
    ci.System.GITLAB: Gitlab,
    ci.System.AZURE: Azure,
    ci.System.BUILDKITE: Buildkite,
    ci.System.TEAMCITY: Teamcity,
}


def _cause(view: RunView) -> str:
    return disarm(sentences.cause(view))


def _message(view: RunView) -> str:
    text = wording.error_line(view.error) if view.error else wording.state_word(view.state)
    if view.error and view.error.program:
        text = text.partition("\n")[0]  # its last lines stand right above
    if len(text) > _MESSAGE_LIMIT:
        text = text[: _MESSAGE_LIMIT - 1] + "…"
    return "\n".join(disarm(neutralise(line)) for line in text.split("\n"))


def _place(view: RunView, system: ci.System, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return file and line of the error in the form that the system links, or None outside the checkout."""
    if view.error is None or view.error.file is None or view.error.line is None:
        return None
    file = ci.in_workspace(view.error.file, system, environ)
    return None if file is None else (disarm(neutralise(file)), str(view.error.line))


def _github(text: str, also: str = "") -> str:
    """Escape the data of a command; with `also`, further characters, for the value of a property."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for character in also:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _azure(text: str) -> str:
    text = text.replace("%", "%AZP25")
    for character, escape in ((";", "%3B"), ("\r", "%0D"), ("\n", "%0A"), ("]", "%5D")):
        text = text.replace(character, escape)
    return text


def _teamcity(message: str, **values: str) -> Command:
    return Command(f"##teamcity[{message} {' '.join(f'{name}={_quoted(each)}' for name, each in values.items())}]")


def _quoted(text: str) -> str:
    text = text.replace("|", "||")
    for character, escape in (("'", "|'"), ("\n", "|n"), ("\r", "|r"), ("[", "|["), ("]", "|]")):
        text = text.replace(character, escape)
    return f"'{text}'"
