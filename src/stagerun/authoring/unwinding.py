"""Whether an error that is being handled has been caught, or is only passing through a `finally` or a `with`."""

import ast
import inspect
import linecache
from collections.abc import Iterator


def passes_through(error: BaseException) -> bool:
    """Return True if `error` only passes through the caller, or through a function that called it.

    False if an `except` has caught it, and if the source of that function can't be read.
    """
    trace = error.__traceback__
    frame = inspect.currentframe()
    while frame is not None and trace is not None and frame is not trace.tb_frame:
        frame = frame.f_back
    if frame is None or trace is None:
        return False
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals)))
    except (SyntaxError, ValueError):
        return False
    met = [each for each in _clauses(tree, trace.tb_lineno) if each[0] <= frame.f_lineno <= each[1]]
    return bool(tree.body) and (not met or not max(met)[2])


def _clauses(tree: ast.Module, raised_in: int) -> Iterator[tuple[int, int, bool]]:
    """Yield the first and last line of each clause that an error of that line gets to, and whether it catches it."""
    for each in ast.walk(tree):
        if not isinstance(each, ast.Try | ast.TryStar):
            continue
        if each.body[0].lineno <= raised_in <= (each.body[-1].end_lineno or 0):
            for handler in each.handlers:
                yield handler.lineno, handler.end_lineno or 0, True
        if each.finalbody and each.lineno <= raised_in < each.finalbody[0].lineno:
            yield each.finalbody[0].lineno, each.finalbody[-1].end_lineno or 0, False
