"""One command: what it was asked to do, and what it came to."""

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from stagerun.errors import RecipeError
from stagerun.text.secrets import Secret


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program came to.

    Attributes:
        command: as it was shown.
        returncode: its exit code; that of a signal is negative, as in `subprocess`.
        seconds: how long it took.
        stdout, stderr: what it wrote, if that was captured, else None. With a pseudo-terminal all is in `stdout`.

    """

    command: str
    returncode: int
    seconds: float
    stdout: str | None = None
    stderr: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command: the arguments of `p.sh`."""

    command: str | Sequence[Any]
    cwd: str | os.PathLike[str] | None = None
    env: Mapping[str, Any] | None = None
    check: bool = True
    timeout: float | None = None
    capture: bool = False
    stdin: str | bytes | int | IO[Any] | None = None
    pty: bool = False

    @property
    def shown(self) -> str:
        """The command as it is announced."""
        return self.command if isinstance(self.command, str) else shlex.join(map(_shown, self.command))

    def argv(self) -> list[str]:
        """Return the program and its arguments; RecipeError names the part that is none."""
        if isinstance(self.command, str):
            return ["/bin/sh", "-c", self.command] if os.name == "posix" else [self.command]
        if not isinstance(self.command, list | tuple) or not self.command:
            raise RecipeError(f"p.sh needs a string, or a list of arguments, not {self.command!r}")
        return [_argument(each) for each in self.command]


def input_of(stdin: object) -> tuple[Any, bytes | None]:
    """Return what the program reads from, and what has to be written there."""
    match stdin:
        case None:
            return subprocess.DEVNULL, None
        case str():
            try:
                return subprocess.PIPE, stdin.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                raise RecipeError(f"p.sh: the text for stdin can't be encoded: {error}", "give bytes") from None
        case bytes():
            return subprocess.PIPE, stdin
        case Secret():
            return input_of(stdin.reveal())
        case _:
            return stdin, None


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _argument(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    raise RecipeError(f"p.sh: an argument must be a string or a path, not {value!r}", f'write it as "{value}"')


def _shown(value: object) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
