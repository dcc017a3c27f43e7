"""What all that tell others of a run have in common."""

from stagerun.sinks import Sink


class Teller(Sink):
    """A sink that tells others of a run. Its methods return at once, only `close` may take a few seconds.

    Attributes:
        failures: what could not be told and why, each in one line.

    """

    def __init__(self) -> None:
        self.failures: list[str] = []


class NotTold(Exception):
    """Somebody could not be told; the message says why."""


def words(error: object) -> str:
    """Return an error of the network for people."""
    if isinstance(error, TimeoutError):
        return "there was no answer"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
