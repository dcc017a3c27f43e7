"""States, times and counts as words, shared by everything that shows a run to a person."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from stagerun import events
from stagerun.states import RunState, StageState
from stagerun.text import json_text


SYMBOLS: Final[Mapping[StageState, str]] = {
    StageState.PENDING: "○",
    StageState.ACTIVE: "●",
    StageState.DONE: "✓",
    StageState.CANCELLED: "⊘",
    StageState.FAILED: "✗",
}
ASCII_SYMBOLS: Final[Mapping[StageState, str]] = {
    StageState.PENDING: ".",
    StageState.ACTIVE: "*",
    StageState.DONE: "+",
    StageState.CANCELLED: "-",
    StageState.FAILED: "x",
}
COLOURS: Final[Mapping[RunState | StageState, str]] = {
    RunState.PENDING: "bright_black",
    RunState.RUNNING: "cyan",
    RunState.SUCCEEDED: "green",
    RunState.FAILED: "red",
    RunState.CANCELLED: "yellow",
    RunState.TIMED_OUT: "red",
    RunState.CRASHED: "red",
    StageState.PENDING: "bright_black",
    StageState.ACTIVE: "cyan",
    StageState.DONE: "green",
    StageState.CANCELLED: "yellow",
    StageState.FAILED: "red",
}

_SHORTEST_WORD: Final = 3  # letters; it, ms and px are none
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """`0.8s`, `1m 04s`, `2h 05m`."""
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // _HOUR}h {whole % _HOUR // 60:02}m"


def ended_before(returncode: int, run: int) -> str:
    """`done in run 12`, `ended with exit code 1 in run 12`."""
    return f"done in run {run}" if returncode == 0 else f"ended with exit code {returncode} in run {run}"


def slow_import(recipe: str, seconds: float) -> str:
    return f"importing recipe {recipe} took {duration(seconds)}"


def clean_up(signal: str | None, place: tuple[str, int] | None, *, hurried: bool) -> str:
    """Return `stopping for SIGINT: clean-up is still running in orders.py, line 12; a second Ctrl-C cuts it short`."""
    where = f" in {place[0]}, line {place[1]}" if place else ""
    interrupt = "a second Ctrl-C" if signal else "Ctrl-C"
    hint = "" if hurried else f"; {interrupt} cuts it short"
    return f"stopping for {signal or 'the time limit'}: clean-up is still running{where}{hint}"


def lost_signal(name: str, handler: object) -> str:
    """Return `SIGTERM is now handled by asyncio.Loop.stop, not by stagerun; 'stagerun cancel' still stops this run`."""
    import signal

    if handler is signal.SIG_DFL:
        return f"{name} now ends this process at once, without clean-up: its handler was reset"
    if handler is signal.SIG_IGN:
        now = "ignored"
    else:
        names = getattr(handler, "__module__", None), getattr(handler, "__qualname__", type(handler).__qualname__)
        now = f"handled by {'.'.join(str(each) for each in names if each)}, not by stagerun"
    return f"{name} is now {now}; 'stagerun cancel' still stops this run"


def time_left(seconds: float) -> str:
    """`12s`, `1m 04s`: an estimate, so without tenths."""
    return f"{max(1, round(seconds))}s" if round(seconds) < _MINUTE else duration(round(seconds))


def roughly(seconds: float) -> str:
    """`40s`, `3m 20s`, `12m`, `2h 05m`: an estimate of something long."""
    if round(seconds) >= _HOUR or round(seconds) < 10 * _MINUTE:
        return time_left(seconds)
    return f"{round(seconds / _MINUTE)}m"


def age(seconds: float) -> str:
    """`less than 1 min`, `3 min`, `2 h`, `12 days`: how long something has been going on."""
    if seconds < _MINUTE:
        return "less than 1 min"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min"
    return f"{int(seconds // _HOUR)} h" if seconds < 2 * _DAY else f"{int(seconds // _DAY)} days"


def ago(then: float, now: float) -> str:
    """`just now`, `2 min ago`, `3 h ago`, `yesterday`, `12 days ago`, then the date."""
    seconds = now - then
    if seconds < 5:
        return "just now"
    if seconds < _MINUTE:
        return f"{int(seconds)} s ago"
    if seconds < _HOUR:
        return f"{int(seconds // 60)} min ago"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h ago"
    if seconds < 2 * _DAY:
        return "yesterday"
    if seconds < 30 * _DAY:
        return f"{int(seconds // _DAY)} days ago"
    return time.strftime("%Y-%m-%d", time.localtime(then))


def local_time(moment: float) -> str:
    """`2026-11-22 09:00:26 +0100`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(moment))


def timestamp(moment: float) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    whole, milliseconds = divmod(round(moment * 1000), 1000)
    return f"{_to_the_second(whole)}.{milliseconds:03}Z"


@lru_cache(maxsize=8)  # thousands of lines share a second
def _to_the_second(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


def state_word(state: RunState | StageState) -> str:
    """`timed_out` becomes `timed out`; every other state is its own word."""
    return state.replace("_", " ")


def count(number: int, unit: str) -> str:
    """`1 row`, `10,000 rows`."""
    return f"{number:,} {plural(number, unit)}"


def plural(number: int, unit: str) -> str:
    """Return `unit` in the number's form; one that is no English word, or is in the plural already, stays as it is."""
    if number == 1 or len(unit) < _SHORTEST_WORD or not (unit.isascii() and unit.replace(" ", "").isalpha()):
        return unit
    if not unit.islower() or (unit.endswith("s") and not unit.endswith(("ss", "us", "as"))):
        return unit
    if unit.endswith(("s", "x", "z", "ch", "sh")) and not unit.endswith("epoch"):
        return unit + "es"
    if unit.endswith("y") and unit[-2:-1] not in "aeiou":
        return unit[:-1] + "ies"
    return unit + "s"


def with_article(name: str) -> str:
    """Return a name with the article that goes by its sound: `a str`, `an int64`, `a uint8`, `an HTTPError`."""
    spelled = len(name) > 1 and name[:2].isupper()
    vowel = name[:1] in "AEFHILMNORSX" if spelled else name[:1].lower() in "aeiou"
    if name.lower().startswith(("uint", "uni", "use")):
        vowel = False
    return f"an {name}" if vowel or name.startswith("nd") else f"a {name}"


def cut_line(line: str, more: int = 0, *, limit: int = events.LINE_LIMIT) -> str:
    """Return a line as it is recorded; `more` characters of it were dropped before."""
    missing = max(0, len(line) - limit) + more
    return f"{line[:limit]} [... {missing:,} characters cut]" if missing else line


def stage_tag(name: str, index: int | None, total: int) -> str:
    """`[2/3] Process` for a declared stage, the bare name for any other block."""
    return name if index is None else f"[{index + 1}/{total}] {name}"


def counted(progress: events.ProgressMoved, separator: str = ", ") -> str:
    """`4,000/10,000 rows`, `epoch 3/5, 13/60 batches`, `4,000 rows` without a total, "" if nothing is counted."""
    return separator.join(filter(None, [*map(_turn, progress.around), _counted(progress)]))


def _turn(loop: events.Counted) -> str:
    """`epoch 3/5`: the item of an outer loop that is being worked on."""
    name = loop.label if loop.label and loop.unit == "item" else loop.unit
    at = (loop.done or 0) + 1
    return f"{name} {at:,}" if loop.total is None else f"{name} {min(at, loop.total):,}/{loop.total:,}"


def _counted(loop: events.Counted) -> str:
    if loop.done is None:
        return ""
    return count(loop.done, loop.unit) if loop.total is None else f"{loop.done:,}/{count(loop.total, loop.unit)}"


def percentage(progress: events.ProgressMoved) -> str:
    """`54%` of all loops together; never `100%` before the end, "" if it is unknown."""
    percent = progress.share
    if percent is None:
        return ""
    return f"{percent if percent == 100 and not progress.around else min(99, round(percent)):.0f}%"


def rate(loop: events.Counted) -> float | None:
    """Items per second so far, or None while it is unknown."""
    if loop.done is None or loop.done <= loop.skipped or loop.seconds <= 0:
        return None
    return (loop.done - loop.skipped) / loop.seconds


def pace(loop: events.Counted) -> str:
    """`410/s`, `0.4/s`, `2.0/min`, "" while it is unknown."""
    items = rate(loop)
    if items is None:
        return ""
    if items >= 9.95:
        return f"{items:,.0f}/s"
    return f"{items:.1f}/s" if items >= 0.1 else f"{items * 60:.1f}/min"


def remaining(progress: events.ProgressMoved) -> float | None:
    """Seconds that a loop and all loops around it still take at the pace so far, or None if that is unknown."""
    outermost = progress.around[0] if progress.around else progress
    percent = progress.share
    if percent is None or outermost.seconds <= 0:
        return None
    before = 100.0 * outermost.skipped / outermost.total if outermost.total else 0.0
    return outermost.seconds * (100 - percent) / (percent - before) if percent > before else None


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """`name=value` for each entry; a value that is not a string is written as JSON."""
    return [f"{name}={value if isinstance(value, str) else json_text.dumps(value)}" for name, value in result.items()]


def error_line(error: events.Failure) -> str:
    """`ValueError: boom`, the way Python ends a traceback; of a program that failed only the message."""
    if error.program is not None:
        return error.message
    return f"{error.type}: {error.message}" if error.type and error.message else error.type or error.message


def announced(command: str) -> list[str]:
    """Return a command as a shell shows it: `$ make`, and `> ` before each further line, without common indentation."""
    if "\n" not in command:
        return [f"$ {command}"]
    from textwrap import dedent

    first, *rest = dedent(command).strip("\n").rstrip().split("\n")
    return [f"$ {first}", *(f"> {line}".rstrip() for line in rest)]
