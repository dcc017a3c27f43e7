"""Errors of a recipe as its author wants to see them: with the recipe's frames, without ours."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from stagerun.errors import ChildFailed
from stagerun.events import Failure, Program


TEXT_LIMIT: Final = 64 * 1024

_UNPRINTABLE: Final = "<an error that can't be printed>"
_IMPORTLIB: Final = str(Path(importlib.__file__).parent) + os.sep
_FUTURES: Final = str(Path(importlib.__file__).parents[1] / "concurrent" / "futures") + os.sep
_OURS: Final = str(Path(__file__).parents[1]) + os.sep


def failure(
    error: BaseException,
    stage: str | None = None,
    *,
    source: str | None = None,
    mask: Callable[[str], str] | None = None,
) -> Failure:
    """Return what is recorded of `error`. It never raises, even if the error can't be printed.

    Args:
        error: the exception.
        stage: the stage in which it was raised, or None.
        source: the recipe's file; the failure's file and line are there if the error passed through it.
        mask: masks the secrets in a text before it is cut; without it nothing is cut.

    """
    try:
        printed = traceback.TracebackException.from_exception(error)
        _keep_recipe_frames(printed)
        text = "".join(printed.format()).rstrip("\n")
    except BaseException:
        return Failure(type=type(error).__qualname__, message=_UNPRINTABLE, stage=stage)
    frames = [frame for frame in printed.stack if frame.filename == source] or printed.stack
    innermost = frames[-1] if frames else None
    return Failure(
        type=type(error).__qualname__,
        message=_bounded(_message(error), mask),
        stage=stage,
        traceback=_bounded(text, mask),
        file=innermost.filename if innermost else getattr(printed, "filename", None),
        line=innermost.lineno if innermost else _line(printed),
        program=_program(error, mask or str),
    )


def interrupted(
    error: BaseException, by: type[BaseException], *, source: str | None, mask: Callable[[str], str]
) -> Failure:
    """Return the failure of `error`, with the file and line at which an interruption of type `by` led to it."""
    whole = failure(error, source=source, mask=mask)
    first = [each for each in _story(error) if isinstance(each, by)][-1:]  # the recipe may have swallowed one before
    struck = failure(first[0], source=source, mask=mask) if first else whole
    return replace(whole, file=struck.file, line=struck.line)


def places(error: BaseException) -> list[tuple[str, int]]:
    """Return the file and line of each recipe frame that the error passed through, outermost first."""
    frames = traceback.walk_tb(error.__traceback__)
    passed = [(frame.f_code.co_filename, line) for frame, line in frames]
    return [(file, line) for file, line in passed if not _is_machinery(file)]


def _program(error: BaseException, mask: Callable[[str], str]) -> Program | None:
    """Return the program that failed; None if the error has another story than that."""
    if not isinstance(error, ChildFailed) or len(list(_story(error))) > 1:
        return None
    tail = mask("\n".join(error.tail)).split("\n") if error.tail else ()
    notes = tuple(mask(note) for note in getattr(error, "__notes__", ()) if isinstance(note, str))
    return Program(command=mask(error.command), outcome=error.outcome, tail=tuple(tail), notes=notes)


def _story(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, then the one that it followed from or interrupted, and so on, as Python prints them."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _keep_recipe_frames(printed: traceback.TracebackException) -> None:
    for each in _all(printed):
        each.stack = traceback.StackSummary.from_list(
            [frame for frame in each.stack if not _is_machinery(frame.filename)]
        )


def _all(printed: traceback.TracebackException) -> list[traceback.TracebackException]:
    """Return the error with its causes, its contexts and the members of groups."""
    found, waiting = list[traceback.TracebackException](), [printed]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += [other for other in (each.__cause__, each.__context__, *(each.exceptions or ())) if other]
    return found


def _is_machinery(filename: str) -> bool:
    retrying = getattr(sys.modules.get("tenacity"), "__file__", None)  # imported only for a second attempt
    return filename == retrying or filename.startswith((_OURS, _IMPORTLIB, _FUTURES, "<frozen importlib"))


def _message(error: BaseException) -> str:
    """Return the error's message without its class."""
    try:
        return str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:
        return _UNPRINTABLE


def _line(printed: traceback.TracebackException) -> int | None:
    line = getattr(printed, "lineno", None)
    return int(line) if line else None


def _bounded(text: str, mask: Callable[[str], str] | None) -> str:
    if mask is None:
        return text
    text = mask(text)
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters cut]\n{text[-half:]}"
