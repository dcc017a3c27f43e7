"""Programs that a test stands in for: what `p.sh` gets instead of a process."""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagerun import events
from stagerun.programs.children import Children
from stagerun.programs.request import Completed, Request, how_it_ended
from stagerun.programs.running import TAIL, Tell


Command = str | Sequence[Any] | re.Pattern[str]


class NotStubbed(AssertionError):
    """A recipe ran a program that is not stubbed, although others are."""


@dataclass(frozen=True)
class _Stub:
    """What a program does; None as its `returncode` lets the real one run."""

    command: str | re.Pattern[str]
    stdout: str = ""
    stderr: str = ""
    returncode: int | None = None
    does: Callable[[], object] | None = None

    def fits(self, shown: str) -> bool:
        if isinstance(self.command, str):
            return self.command == shown
        return self.command.fullmatch(shown) is not None

    def play(self, request: Request, tell: Tell) -> Completed:
        assert self.returncode is not None
        if self.does is not None:
            self.does()
        texts = [self.stdout, self.stderr]
        for lines, stream in zip(map(str.splitlines, texts), ("stdout", "stderr"), strict=True):
            if lines:
                tell(lines, stream)
        if request.check and self.returncode != 0:
            tail = [line for text in texts for line in text.splitlines()][-TAIL:]
            raise request.failed(self.returncode, how_it_ended(self.returncode), tail)
        if not request.capture:
            return Completed(request.shown, self.returncode, 0.0)
        if request.pty:
            return Completed(request.shown, self.returncode, 0.0, self.stdout + self.stderr)
        return Completed(request.shown, self.returncode, 0.0, self.stdout, self.stderr)


class Programs:
    """The programs of a test. They are real until one is stubbed; then every other one is refused unless it is allowed.

    Args:
        record: the file that lists the calls: it outlives a crash.

    """

    def __init__(self, record: Path) -> None:
        self._record = record
        self._stubs: list[_Stub] = []
        self.refusal: NotStubbed | None = None

    @property
    def calls(self) -> list[str]:
        """Every command that `p.sh` was asked to run so far, as it is shown; also those that crashed runs ran."""
        if not self._record.exists():
            return []
        return [events.loads(line, str) for line in self._record.read_text("utf-8").splitlines()]

    def stub(
        self,
        command: Command,
        *,
        stdout: str = "",
        stderr: str = "",
        returncode: int = 0,
        does: Callable[[], object] | None = None,
    ) -> None:
        """Stand in for a program.

        A second stub of the same command is for its second call, and so on; the last one stays. If several patterns
        match, the first one counts.

        Args:
            command: as the recipe passes it to `p.sh`, or a pattern that the whole command has to match.
            stdout: what it writes.
            stderr: what it writes to its error stream.
            returncode: its exit code, negative for a signal.
            does: called when it runs, to do what it does besides, such as making a file.

        """
        self._stubs.append(_Stub(_shown(command), stdout, stderr, returncode, does))

    def allow(self, command: Command) -> None:
        """Let a program really run, although others are stubbed."""
        self._stubs.append(_Stub(_shown(command)))

    def answer(self, shown: str) -> _Stub | None:
        """Note a call, and return what stands in for the program; None for the real one."""
        before = self.calls.count(shown)
        with self._record.open("a", encoding="utf-8") as file:
            file.write(f"{events.dumps(shown)}\n")
        first = next((each for each in self._stubs if each.fits(shown)), None)
        if self._stubs and first is None:
            stubbed = ", ".join(repr(each.command) for each in self._stubs)
            self.refusal = NotStubbed(
                f"p.sh({shown!r}) has no stub; stubbed: {stubbed}. To let it really run: programs.allow({shown!r})"
            )
            raise self.refusal
        if first is None:
            return None
        answers = [each for each in self._stubs if each.command == first.command]
        found = answers[min(before, len(answers) - 1)]
        return None if found.returncode is None else found


class StubbedChildren(Children):
    """The programs of one run, each replaced by its stub if it has one."""

    programs: Programs

    def run(self, request: Request, *, tell: Tell, **how: Any) -> Completed:
        if (stub := self.programs.answer(request.shown)) is not None:
            return stub.play(request, tell)
        return super().run(request, tell=tell, **how)

    def run_on_terminal(self, request: Request) -> Completed:
        if (stub := self.programs.answer(request.shown)) is not None:
            return stub.play(request, lambda lines, stream: None)
        return super().run_on_terminal(request)


def _shown(command: Command) -> str | re.Pattern[str]:
    return command if isinstance(command, str | re.Pattern) else shlex.join(map(str, command))
