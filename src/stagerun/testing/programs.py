"""Programs that a test stands in for: what `p.sh` gets instead of a process."""

import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagerun.machine.interrupts import Interrupts
from stagerun.programs.children import Children
from stagerun.programs.request import Completed, Request, how_it_ended, input_of
from stagerun.programs.running import TAIL, Tell
from stagerun.text import json_text


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

    def play(self, request: Request, tell: Tell, monotonic: Callable[[], float]) -> Completed:
        assert self.returncode is not None
        request.check_limit()
        request.check_folder()
        input_of(request.stdin)
        begun = monotonic()
        if self.does is not None:
            self.does()
        texts = [self.stdout, self.stderr]
        for lines, stream in zip(map(str.splitlines, texts), ("stdout", "stderr"), strict=True):
            if lines:
                tell(lines, stream)
        seconds = monotonic() - begun
        tail = [line for text in texts for line in text.splitlines()][-TAIL:]
        if request.timeout is not None and seconds >= request.timeout:
            raise request.failed(None, f"took longer than {request.timeout:g}s", tail)
        if request.check and self.returncode != 0:
            raise request.failed(self.returncode, how_it_ended(self.returncode), tail)
        captured: tuple[str | None, str | None] = None, None
        if request.capture:
            captured = (self.stdout + self.stderr, None) if request.pty else (self.stdout, self.stderr)
        return Completed(request.shown, self.returncode, seconds, *captured)


class Programs:
    """The programs of a test. They are real until one is stubbed; then every other one is refused unless it is allowed.

    Args:
        record: the file that lists the calls: it outlives a crash.
        monotonic: the clock by which stubs take their time.

    """

    def __init__(self, record: Path, monotonic: Callable[[], float]) -> None:
        self._record = record
        self._monotonic = monotonic
        self._stubs: list[_Stub] = []
        self._before = len(self._recorded())  # by another bench in this folder

    @property
    def calls(self) -> list[str]:
        """Every command that `p.sh` was asked to run so far, as it is shown; also those that crashed runs ran."""
        return self._recorded()[self._before :]

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

    def play(self, request: Request, tell: Tell) -> Completed | None:
        """Note a call, and do what stands in for the program; None if the real one is to run."""
        shown, before = request.shown, self.calls.count(request.shown)
        with self._record.open("a", encoding="utf-8") as file:
            file.write(f"{json_text.dumps(shown)}\n")
        if self._is_refused(shown):
            raise self._refusal(shown)
        first = next((each for each in self._stubs if each.fits(shown)), None)
        if first is None:
            return None
        answers = [each for each in self._stubs if each.command == first.command]
        found = answers[min(before, len(answers) - 1)]
        return None if found.returncode is None else found.play(request, tell, self._monotonic)

    def check(self, calls: Sequence[str]) -> None:
        """Raise NotStubbed if one of the calls was refused, also where a recipe has swallowed that, or a fork."""
        if (refused := next(filter(self._is_refused, calls), None)) is not None:
            raise self._refusal(refused)

    def _is_refused(self, shown: str) -> bool:
        return bool(self._stubs) and not any(each.fits(shown) for each in self._stubs)

    def _refusal(self, shown: str) -> NotStubbed:
        stubbed = ", ".join(repr(each.command) for each in self._stubs)
        return NotStubbed(
            f"p.sh({shown!r}) has no stub; stubbed: {stubbed}. To let it really run: programs.allow({shown!r})"
        )

    def _recorded(self) -> list[str]:
        if not self._record.exists():
            return []
        return [json_text.loads(line, str) for line in self._record.read_text("utf-8").splitlines()]


class StubbedChildren(Children):
    """The programs of one run, each replaced by its stub if it has one."""

    def __init__(self, programs: Programs, interrupts: Interrupts, run: int, hidden: Collection[str]) -> None:
        super().__init__(interrupts, run, hidden)
        self._programs = programs

    def run(self, request: Request, *, tell: Tell, **how: Any) -> Completed:
        return self._programs.play(request, tell) or super().run(request, tell=tell, **how)

    def run_on_terminal(self, request: Request) -> Completed:
        request.check_interactive()
        return self._programs.play(request, lambda lines, stream: None) or super().run_on_terminal(request)


def _shown(command: Command) -> str | re.Pattern[str]:
    return command if isinstance(command, str | re.Pattern) else shlex.join(map(str, command))
