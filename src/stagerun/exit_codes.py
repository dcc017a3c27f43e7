"""Every exit code, once. What a recipe gives to SystemExit passes through, clamped to LARGEST_OF_A_RECIPE."""

from collections.abc import Mapping
from typing import Final

from stagerun.errors import HeldError, JournalError, RecipeError, StagerunError, UsageError


SUCCEEDED: Final = 0
FAILED: Final = 1  # also a crashed run, a cancel that did not succeed, and a doctor who found something
USAGE: Final = 2
NOT_STARTED: Final = 3  # it could not start, or the journal can't be used
TIMED_OUT: Final = 124  # as timeout(1)
LARGEST_OF_A_RECIPE: Final = 125  # above it shells have their own meanings
# 128 + the number of the signal, as shells count it.
OF_SIGNAL: Final[Mapping[str, int]] = {"SIGHUP": 129, "SIGINT": 130, "SIGTERM": 143}
OF_ERROR: Final[Mapping[type[StagerunError], int]] = {
    UsageError: USAGE,
    RecipeError: NOT_STARTED,
    HeldError: NOT_STARTED,
    JournalError: NOT_STARTED,
}


class OwnCode(int):
    """The exit code of what this process did itself: it dies of the signal that the code stands for, if of one.

    A command that only tells of another process's end exits with the same number.
    """


INTERRUPTED: Final = OwnCode(OF_SIGNAL["SIGINT"])  # a command by Ctrl-C


def of_error(error: StagerunError) -> int:
    """Return the exit code of a command that ends with `error`."""
    return next(code for kind, code in OF_ERROR.items() if isinstance(error, kind))
