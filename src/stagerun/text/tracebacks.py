"""Errors of a recipe as its author wants to see them: the recipe's frames, none of ours."""

import importlib
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stagerun.events import Failure


TEXT_LIMIT: Final = 64 * 1024

_UNPRINTABLE: Final = "<an error that can't be printed>"
_IMPORTLIB: Final = str(Path(importlib.__file__).parent) + os.sep
_FUTURES: Final = str(Path(importlib.__file__).parents[1] / "concurrent" / "futures") + os.sep
_OURS: Final = str(Path(__file__).parents[1]) + os.sep


def failure(
    error: BaseException, stage: str | None = None, *, source: str | None = None, mask: Callable[[str], str] = str
) -> Failure:
    """Return what is recorded of `error`. It never raises, also when the error can't be printed.

    Args:
        error: what was raised.
        stage: where.
        source: the recipe's file: the failure is placed there if it passed through it.
        mask: takes the secrets out of a text, before it is cut.

    """
    try:
        told = traceback.TracebackException.from_exception(error)
        _keep_recipe_frames(told)
        text = "".join(told.format()).rstrip("\n")
    except BaseException:
        return Failure(type=type(error).__qualname__, message=_UNPRINTABLE, stage=stage)
    frames = [frame for frame in told.stack if frame.filename == source] or told.stack
    innermost = frames[-1] if frames else None
    return Failure(
        type=type(error).__qualname__,
        message=_bounded(mask(_message(error))),
        stage=stage,
        traceback=_bounded(mask(text)),
        file=innermost.filename if innermost else getattr(told, "filename", None),
        line=innermost.lineno if innermost else _line(told),
    )


def places(error: BaseException) -> list[tuple[str, int]]:
    """Return file and line of each frame of a recipe that the error passed through, the outermost first."""
    frames = traceback.walk_tb(error.__traceback__)
    passed = [(frame.f_code.co_filename, line) for frame, line in frames]
    return [(file, line) for file, line in passed if not _is_machinery(file)]


def _keep_recipe_frames(told: traceback.TracebackException) -> None:
    for frames in _all(told):
        frames.stack = traceback.StackSummary.from_list(
            [frame for frame in frames.stack if not _is_machinery(frame.filename)]
        )


def _all(told: traceback.TracebackException) -> list[traceback.TracebackException]:
    """Return the error and those it came from, and those it groups."""
    found, waiting = list[traceback.TracebackException](), [told]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += [other for other in (each.__cause__, each.__context__, *(each.exceptions or ())) if other]
    return found


def _is_machinery(filename: str) -> bool:
    return filename.startswith((_OURS, _IMPORTLIB, _FUTURES, "<frozen importlib"))


def _message(error: BaseException) -> str:
    """Return the error's own words, without its class."""
    try:
        return str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:
        return _UNPRINTABLE


def _line(told: traceback.TracebackException) -> int | None:
    line = getattr(told, "lineno", None)
    return int(line) if line else None


def _bounded(text: str) -> str:
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters cut]\n{text[-half:]}"
