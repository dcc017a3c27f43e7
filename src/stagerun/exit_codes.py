"""Every exit code, defined once. A recipe's `SystemExit(n)` passes through, clamped to LARGEST_OF_A_RECIPE."""

from collections.abc import Mapping
from typing import Final

from stagerun.errors import HeldError, JournalError, PlaceError, RecipeError, StagerunError, UsageError


SUCCEEDED: Final = 0
FAILED: Final = 1  # also a crashed run, a cancel that did not succeed, and a doctor that found a problem
USAGE: Final = 2
NOT_STARTED: Final = 3  # the run could not start, or the journal can't be used
TIMED_OUT: Final = 124  # as timeout(1)
LARGEST_OF_A_RECIPE: Final = 125  # shells give higher codes their own meanings
SIGNALLED: Final = 128  # plus the number of the signal, as shells count it
OF_SIGNAL: Final[Mapping[str, int]] = {"SIGHUP": 129, "SIGINT": 130, "SIGTERM": 143}
OF_ERROR: Final[Mapping[type[StagerunError], int]] = {
    UsageError: USAGE,
    RecipeError: NOT_STARTED,
    HeldError: NOT_STARTED,
    PlaceError: NOT_STARTED,
    JournalError: NOT_STARTED,
}


class OwnCode(int):
    """The exit code of this process's own work. If it stands for a signal, the process dies of that signal.

    A command that only reports the end of another process exits with the number instead.
    """


INTERRUPTED: Final = OwnCode(OF_SIGNAL["SIGINT"])  # a command stopped by Ctrl-C


def of_error(error: StagerunError) -> int:
    """Return the exit code of a command that ends with `error`."""
    return next((code for kind, code in OF_ERROR.items() if isinstance(error, kind)), NOT_STARTED)
