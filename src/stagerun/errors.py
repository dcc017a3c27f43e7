"""The tree of errors, split by who has to act. Nothing here knows exit codes or how an error is shown.

StagerunError                 a message, and a hint that says what to do
├── UsageError                the command names something that does not exist: the caller acts
├── RecipeError               the recipe breaks a rule or can't be loaded: its author acts
├── ChildFailed               a program that a recipe ran did not succeed: the recipe catches it, or fails
├── HeldError                 another run excludes this one: wait for it, or cancel it
│   └── DoneBefore            a run has succeeded under the name of this one: nothing is to be done
├── PlaceError                a place can't be used for a run: its owner acts
└── JournalError              the journal can't be used or can't store a fact: the machine's owner acts
    ├── JournalBusy           another process holds it for the moment
    ├── RunLost               another process has recorded the end of the run: its own process can only stop
    └── RunDamaged            what is recorded of one run makes no sense; the other runs can be read
ItemsFailed                   an ExceptionGroup: items of a map failed that was to try them all
IllegalTransition             a move that `states` doesn't allow: a bug, or a recipe that enters a cancelled stage again
StageSkipped                  a BaseException: a recipe leaves a block because there is nothing to do in it
Interruption                  a BaseException: a run is being stopped from outside
├── OperationCancelled        a cancel that unwinds a recipe
└── TimeLimitExceeded         a time limit that unwinds a recipe
"""

from collections.abc import Sequence


class StagerunError(Exception):
    """An error that a person can act on.

    Attributes:
        message: what is wrong, naming the thing.
        hint: what to do about it, or None.
        traceback: what Python prints of the error behind it, or None.

    """

    def __init__(self, message: str, hint: str | None = None, *, traceback: str | None = None) -> None:
        super().__init__(f"{message}\n{traceback}" if traceback else message)
        self.message = message
        self.hint = hint
        self.traceback = traceback
        if hint:
            self.add_note(f"  {hint}")  # a traceback shows it too


class UsageError(StagerunError):
    """A run, operation, parameter or state that does not exist, or a value that does not fit."""


class RecipeError(StagerunError):
    """A recipe that can't be loaded, or that breaks a rule of the authoring API."""


class ChildFailed(StagerunError):
    """A program that a recipe ran could not start, failed, or took too long.

    Attributes:
        command: the command as it was shown.
        returncode: its exit code, negative for a signal; None if it took too long.
        outcome: how it ended, in words: "ended with exit code 2".
        tail: the last lines of its output.

    """

    def __init__(self, command: str, returncode: int | None, outcome: str, tail: Sequence[str] = ()) -> None:
        super().__init__("\n".join([f"`{_on_one_line(command)}` {outcome}", *(f"  {line}" for line in tail)]))
        self.command = command
        self.returncode = returncode
        self.outcome = outcome
        self.tail = tuple(tail)


class ItemsFailed(ExceptionGroup[Exception]):
    """Some items of `p.map(keep_going=True)` failed; it holds their exceptions, in the order of the items.

    Attributes:
        results: the results in the order of the items, None for each that failed.
        failed: position of each failed item -> its exception.

    """

    results: list[object]
    failed: dict[int, Exception]

    def __new__(cls, message: str, failed: dict[int, Exception], results: list[object]) -> "ItemsFailed":  # noqa: PYI034 - `typing` takes long to import
        group = super().__new__(cls, message, list(failed.values()))
        group.results, group.failed = results, failed
        return group

    def derive(self, excs: Sequence[Exception], /) -> "ItemsFailed":  # type: ignore[override]
        failed = {at: error for at, error in self.failed.items() if error in excs}
        return ItemsFailed(self.message, failed, self.results)


class HeldError(StagerunError):
    """Another run excludes this one."""


class NameHeld(HeldError):
    """A run that is not over has the name of this one.

    Attributes:
        run: that run.

    """

    def __init__(self, run: int, name: str) -> None:
        super().__init__(
            f"run {run} has the name {name!r} and is not over", f"wait for it: stagerun wait {run}, or add --wait"
        )
        self.run = run


class DoneBefore(HeldError):
    """A run has succeeded under the name of this one."""


class PlaceError(StagerunError):
    """The place that a run was to work at can't be used, or not for this run."""


class JournalError(StagerunError):
    """The journal is foreign, damaged or newer, or it can't store what must be recorded."""


class IllegalTransition(RuntimeError):
    """A state move that no table allows."""


class JournalBusy(JournalError):
    """Another process holds the journal for the moment."""


class RunLost(JournalError):
    """Another process believed this run dead and recorded its end; nothing more can be recorded of it."""


class RunDamaged(JournalError):
    """What the journal holds about one run makes no sense; its other runs can be read."""


class StageSkipped(BaseException):
    """There is nothing to do in a block; its `with` takes this as its end.

    It derives from BaseException because a broad `except Exception` in a recipe must not swallow it.
    """


class Interruption(BaseException):
    """The run is being stopped from outside.

    It derives from BaseException because a broad `except Exception` in a recipe must not swallow it.
    """


class OperationCancelled(Interruption):
    """The run was asked to stop.

    Attributes:
        signal: the name of the signal that asked for it ("SIGINT"), or None.

    """

    def __init__(self, signal: str | None = None) -> None:
        super().__init__(f"cancelled by {signal}" if signal else "cancelled")
        self.signal = signal


class TimeLimitExceeded(Interruption):
    """A stage or the run took longer than it may."""


def _on_one_line(command: str) -> str:
    """Return a script as the first of its lines that tells it from others, and `...`."""
    lines = [line.strip() for line in command.split("\n") if line.strip()]
    if len(lines) < 2:
        return command.strip() or command
    return next((line for line in lines if not line.startswith(("#", "set "))), lines[0]) + " ..."
