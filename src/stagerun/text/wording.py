"""States, times and counts as words, shared by everything that shows a run to a person."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from stagerun import events
from stagerun.states import RunState, StageState


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
    """`less than 1 min`, `3 min`, `2 h`, `12 days`."""
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
    if number == 1:
        return unit
    if unit.endswith(("s", "x", "z", "ch", "sh")) and not unit.endswith("epoch"):
        return unit + "es"
    if unit.endswith("y") and unit[-2:-1] not in "aeiou":
        return unit[:-1] + "ies"
    return unit + "s"


def cut_line(line: str, more: int = 0, *, limit: int = events.LINE_LIMIT) -> str:
    """Return a line as it is recorded; `more` characters of it were dropped before."""
    missing = max(0, len(line) - limit) + more
    return f"{line[:limit]} [... {missing:,} characters cut]" if missing else line


def stage_tag(name: str, index: int | None, total: int) -> str:
    """`[2/3] Process` for a declared stage, the bare name for any other block."""
    return name if index is None else f"[{index + 1}/{total}] {name}"


def counted(progress: events.ProgressMoved) -> str:
    """`4,000/10,000 rows`, `4,000 rows` if the total is unknown, "" if nothing is counted."""
    if progress.done is None:
        return ""
    if progress.total is None:
        return count(progress.done, progress.unit)
    return f"{progress.done:,}/{count(progress.total, progress.unit)}"


def rate(progress: events.ProgressMoved) -> float | None:
    """Items per second so far, or None while it is unknown."""
    if progress.done is None or progress.done <= progress.skipped or progress.seconds <= 0:
        return None
    return (progress.done - progress.skipped) / progress.seconds


def percentage(progress: events.ProgressMoved) -> str:
    """`54%`; never `100%` before the end, "" if it is unknown."""
    if progress.percent is None:
        return ""
    return f"{progress.percent if progress.percent == 100 else min(99, round(progress.percent)):.0f}%"


def pace(progress: events.ProgressMoved) -> str:
    """`410/s`, `0.4/s`, `2.0/min`, "" while it is unknown."""
    items = rate(progress)
    if items is None:
        return ""
    if items >= 9.95:
        return f"{items:,.0f}/s"
    return f"{items:.1f}/s" if items >= 0.1 else f"{items * 60:.1f}/min"


def remaining(progress: events.ProgressMoved) -> float | None:
    """Seconds left at the pace so far, or None if that is unknown."""
    items = rate(progress)
    if progress.done is not None and progress.total is not None:
        return max(0, progress.total - progress.done) / items if items else None
    if progress.percent is None or progress.percent <= 0 or progress.seconds <= 0:
        return None
    return progress.seconds * (100 - progress.percent) / progress.percent


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """`name=value` for each entry; a value that is not a string is written as JSON."""
    return [f"{name}={value if isinstance(value, str) else events.dumps(value)}" for name, value in result.items()]


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
