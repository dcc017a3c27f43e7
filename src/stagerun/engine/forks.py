"""Forks that return from a recipe's code: they own neither the run nor the journal, and only leave."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from stagerun.engine.endings import exit_code


def leave(error: BaseException | None, mask: Callable[[str], str]) -> NoReturn:
    """Exit a fork that returned from the recipe: only its parent may end the run."""
    if isinstance(error, Exception):
        from stagerun.text import tracebacks

        with suppress(Exception):
            sys.stderr.write(f"{tracebacks.failure(error, mask=mask).traceback}\n")
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(exit_code(error.code) if isinstance(error, SystemExit) else int(error is not None))
