"""The tree of errors, split by who has to act. Nothing here knows exit codes or how an error is shown.

StagerunError                 a message, and a hint that says the way out
├── UsageError                the command names something that is not there: the caller acts
├── RecipeError               the recipe breaks a rule or can't be loaded: its author acts
└── JournalError              the journal can't be used or can't take a fact: the machine's owner acts
IllegalTransition             a move that the tables in `states` don't hold: a bug in stagerun, never caught
OperationCancelled            on BaseException: a cancel on its way through a recipe
"""


class StagerunError(Exception):
    """Something a person can act on.

    Attributes:
        message: what is wrong, naming the thing.
        hint: the way out, or None.

    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(StagerunError):
    """A run, operation, parameter or state that does not exist, or a value that does not fit."""


class RecipeError(StagerunError):
    """A recipe that can't be loaded, or that breaks a rule of the authoring API."""


class JournalError(StagerunError):
    """The journal is foreign, damaged or newer, or it can't take what must be recorded."""


class IllegalTransition(RuntimeError):
    """A state move that is in no table."""


class OperationCancelled(BaseException):
    """The run was asked to stop.

    It derives from BaseException so that a broad `except Exception` in a recipe can't eat a cancel.

    Attributes:
        signal: the name of the signal that asked for it ("SIGINT"), or None.

    """

    def __init__(self, signal: str | None = None) -> None:
        super().__init__(f"cancelled by {signal}" if signal else "cancelled")
        self.signal = signal
