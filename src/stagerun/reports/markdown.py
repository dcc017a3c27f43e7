"""Runs as Markdown: for the job summary of GitHub, a wiki, a chat."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from stagerun.states import RunState
from stagerun.text import sentences, wording
from stagerun.text.untrusted import disarm_line, neutralise
from stagerun.view import RunView


_FILE_LIMIT: Final = 256 * 1024  # GitHub refuses a file above 1 MiB, and the commands of a step share it
_TRACEBACK_LINES: Final = 40
_LINE_LIMIT: Final = 500
_SIGNS: Final = {
    RunState.PENDING: "⏳",
    RunState.RUNNING: "⏳",
    RunState.SUCCEEDED: "✅",
    RunState.FAILED: "❌",
    RunState.CANCELLED: "🚫",
    RunState.TIMED_OUT: "⌛",
    RunState.CRASHED: "💥",
}


def report(views: Sequence[RunView], now: float) -> str:
    """Return the runs of a chain: their ends, their stages in one table, results, errors, how to resume."""
    return "\n".join(_report(views, now)) + "\n"


def append(file: str, views: Sequence[RunView]) -> None:
    """Append a report of finished runs to `file`; only of the last ones if they don't all fit.

    A file that can't be written is skipped.
    """
    with suppress(OSError):
        path = Path(file)
        room = _FILE_LIMIT - (path.stat().st_size if path.exists() else 0)
        while len((text := report(views, now=0.0)).encode()) > room and len(views) > 1:
            views = views[-(len(views) // 2) :]
        if len(text.encode()) <= room:
            with path.open("a", encoding="utf-8") as stream:
                stream.write("\n" + text)  # a blank line: else the text could continue a table of another writer


def _report(views: Sequence[RunView], now: float) -> Iterator[str]:
    for view in views:
        where = sentences.ended_in(view)
        place = f" in {_code(where)}" if where else ""
        signal = f" by {neutralise(view.signal)}" if view.signal else ""
        word = wording.state_word(view.state)
        join = {RunState.SUCCEEDED: "in", RunState.RUNNING: "for"}.get(view.state, "after")
        took = f" {join} {wording.duration(view.elapsed(now))}" if view.started_on is not None else ""
        yield f"{_SIGNS[view.state]} **run {view.id}** {_code(view.plan.target)} **{word}**{signal}{place}{took}"
        yield ""
    yield from _table(views, now)
    for view in views:
        yield from _rest(view)


def _table(views: Sequence[RunView], now: float) -> Iterator[str]:
    rows = [(view, stage) for view in views for stage in view.stages]
    if not rows:
        return
    yield from ("| run | stage | state | took |", "|--:|---|---|--:|")
    for view, stage in rows:
        took = wording.duration(stage.elapsed(now)) if stage.visits else ""
        if stage.from_run is not None:
            took = f"from run {stage.from_run}"
        state = "never entered" if stage.name in view.not_entered else stage.state
        if stage.skipped is not None:
            state = f"skipped: {_code(stage.skipped)}"
        yield f"| {view.id} | {_code(stage.name)} | {wording.SYMBOLS[stage.state]} {state} | {took} |"
    yield ""


def _rest(view: RunView) -> Iterator[str]:
    error, result = list(sentences.error(view)), list(sentences.result(view))
    for what, told in (("Error", error[-_TRACEBACK_LINES:]), ("Result", result[:_TRACEBACK_LINES])):
        if told:
            yield from (f"{what} of run {view.id}:", "", *_fenced(told), "")
    if sentences.resume_hint(view):
        command = sentences.resume_command(view)
        yield from (f"Resume with: {_code(command) if '`' in command else f'`{command}`'}", "")


def _fenced(told: Iterable[str]) -> Iterator[str]:
    """Put lines into a code fence that none of them can close."""
    told = [disarm_line(line[:_LINE_LIMIT]) for line in told]
    longest = max((len(run) for line in told for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}text", *told, fence)


def _code(text: str) -> str:
    """Return a name in which no Markdown works: as code, with every special character as an entity."""
    return "<code>" + re.sub(r"[^\w -]|_", lambda match: f"&#{ord(match[0])};", neutralise(text)) + "</code>"
