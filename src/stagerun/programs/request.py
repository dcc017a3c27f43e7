"""One command: the request and the result."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, Final

from stagerun.errors import ChildFailed, RecipeError
from stagerun.machine.interrupts import is_limit
from stagerun.text.secrets import Secret


_HERE_DOCUMENT: Final = re.compile(r"(?<!<)<<(?!<)(-?)\s*[\\'\"]?(\w+)")


@dataclass(frozen=True, slots=True)
class Completed:
    """The result of a program.

    Attributes:
        command: the command as it was shown.
        returncode: its exit code, negative for a signal, as in `subprocess`.
        seconds: how long it took.
        stdout, stderr: its output if it was captured, else None. With a pseudo-terminal all of it is in `stdout`.

    """

    command: str
    returncode: int
    seconds: float
    stdout: str | None = None
    stderr: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


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
    mask: Callable[[str], str] = str

    @property
    def shown(self) -> str:
        """The command as it is shown. Each argument is masked before it is quoted: afterwards it is another text."""
        if isinstance(self.command, str):
            return self.mask(self.command)
        return shlex.join(self.mask(_shown(each)) for each in self.command)

    def arguments(self) -> object:
        """Return what tells it from other commands, without secrets."""
        folder = () if self.cwd is None else (os.fspath(self.cwd),)
        text = (self.mask(self.stdin),) if isinstance(self.stdin, str) else ()
        data = (self.stdin,) if isinstance(self.stdin, bytes) else ()
        return (self.shown, *folder, *text, *data) if folder or text or data else self.shown

    def failed(self, returncode: int | None, how: str, tail: Iterable[str] = ()) -> ChildFailed:
        """Return the error for a program that did not succeed; `tail` is the last lines of its output."""
        lines = self.mask("\n".join(tail)).split("\n")
        return ChildFailed(self.shown, returncode, self.mask(how), lines if lines != [""] else ())

    def argv(self) -> list[str]:
        """Return the program and its arguments; a RecipeError names the argument that is not valid."""
        if isinstance(self.command, str):
            _check_here_documents(self.command)
            return ["/bin/sh", "-ec", "--", self.command] if os.name == "posix" else [self.command]
        if not isinstance(self.command, list | tuple) or not self.command:
            raise RecipeError(f"p.sh needs a string, or a list of arguments, not {self.command!r}")
        return [_argument(each) for each in self.command]

    def check_limit(self) -> None:
        """Raise RecipeError for a time limit that is none."""
        if self.timeout is not None and not is_limit(self.timeout):
            raise RecipeError(f"p.sh: timeout must be a number of seconds above 0, not {self.timeout!r}")

    def check_folder(self) -> None:
        """Raise ChildFailed if there is no folder to start it in."""
        if self.cwd is not None and not os.path.isdir(self.cwd):  # noqa: PTH112 - importing pathlib takes long
            code = 126 if os.path.exists(self.cwd) else 127  # noqa: PTH110
            raise self.failed(code, f"can't start: there is no folder {os.fspath(self.cwd)}")

    def check_interactive(self) -> None:
        """Raise RecipeError if it asks for what a program that has the terminal can't have."""
        if self.capture or self.pty or self.timeout is not None or self.stdin is not None:
            raise RecipeError("p.sh: interactive=True excludes capture, pty, stdin and timeout", "leave them out")

    def done_before(self, stored: Mapping[str, Any], what: str) -> Completed:
        """Return what an earlier run stored of this command.

        Raises RecipeError if that lacks the output that is asked for now, ChildFailed if it has failed and must not.
        """
        completed = Completed(**stored)
        if self.capture and completed.stdout is None:
            raise RecipeError(f"{what} was stored without its output", "to run it again: --from STAGE")
        if self.check and completed.returncode != 0:
            raise self.failed(completed.returncode, how_it_ended(completed.returncode))
        return completed


def input_of(stdin: object) -> tuple[Any, bytes | None]:
    """Return the program's stdin as `Popen` takes it, and the bytes to write to it, or None."""
    match stdin:
        case None:
            return subprocess.DEVNULL, None
        case str():
            try:
                return subprocess.PIPE, stdin.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                raise RecipeError(f"p.sh: the text for stdin can't be encoded: {error}", "pass bytes") from None
        case bytes():
            return subprocess.PIPE, stdin
        case Secret():
            return input_of(stdin.reveal())
        case _:
            _check_open_file(stdin)
            return stdin, None


def _check_open_file(stdin: object) -> None:
    try:
        is_file = isinstance(stdin, int) or isinstance(stdin.fileno(), int)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # an `io.StringIO` has no descriptor
        is_file = False
    if not is_file:
        raise RecipeError(f"p.sh: stdin must be text, bytes or an open file, not {stdin!r}")


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _check_here_documents(script: str) -> None:
    """Raise RecipeError for a here-document whose end is indented: the shell takes all that follows for its text."""
    lines = script.split("\n")
    for number, line in enumerate(lines):
        for tabs, word in _HERE_DOCUMENT.findall(line):
            rest = [each.lstrip("\t") if tabs else each for each in lines[number + 1 :]]
            if word not in rest and word in (each.strip() for each in rest):
                raise RecipeError(
                    f"p.sh: the end of a here-document has to stand at the beginning of its line: {word}",
                    "use textwrap.dedent, or stdin=",
                )


def _argument(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    raise RecipeError(f"p.sh: an argument must be a string or a path, not {value!r}", f'write it as "{value}"')


def _shown(value: object) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
