"""Places that a program reaches: it joins its two pipes with those of the far process. ssh, srun, kubectl, sudo."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from stagerun.errors import PlaceError, UsageError
from stagerun.programs.children import MARK
from stagerun.programs.process_tree import ProcessTree
from stagerun.programs.request import how_it_ended
from stagerun.remote.line import Line
from stagerun.remote.places.place import AGENT, Ended, Heard, Trust, without


_TAIL: Final = 20  # lines of its errors that are kept
_LINE: Final = 1000  # bytes of such a line that are kept
_PATIENCE: Final = 5.0  # seconds in which a program that has nothing left to do ends
_LAST_WORDS: Final = 2.0  # seconds in which a program says why its line has ended


class Program:
    """A place that a program reaches.

    Args:
        name: what was asked for.
        argv: the program and its arguments.
        trust: as in `Place`.
        asks: True if the program may ask on the terminal, for a password.

    """

    def __init__(self, name: str, argv: Sequence[str], *, trust: Trust = "any", asks: bool = False) -> None:
        self.name = name
        self.argv = list(argv)
        self.shown = shlex.join(argv)
        self.trust = trust
        self._asks = asks

    def open(self, heard: Heard, ended: Ended, hidden: Collection[str]) -> "Started":
        """Start the program."""
        mark = f"{os.environ.get(MARK, '')}/{os.getpid()}-place-"
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                self.argv,
                env=without(hidden) | {MARK: mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A Ctrl-C of the terminal is ours to pass on. Whoever has to ask for a password needs that terminal.
                start_new_session=not self._asks,
                preexec_fn=_be_deaf if self._asks else None,  # noqa: PLW1509 - it imports and locks nothing
            )
        except OSError as error:
            raise PlaceError(f"{self.argv[0]} can't be started: {error.strerror}") from None
        called = "the far process" if self.argv[0] == sys.executable else Path(self.argv[0]).name
        return Started(process, called, ProcessTree(MARK, mark), heard, ended)


class Started:
    """A program that joins a line to a far process."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", called: str, tree: ProcessTree, heard: Heard, ended: Ended
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._called = called
        self._tree = tree
        self._said = deque[str](maxlen=_TAIL)
        self._reading = threading.Thread(target=self._read_errors, name="stagerun-place", daemon=True)
        self._reading.start()
        reading, writing = os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno())
        process.stdin.close()
        process.stdout.close()
        self.line = Line(reading, writing, heard=heard, ended=ended)
        self.line.start()

    def reason(self) -> str:
        self._wait(_LAST_WORDS)
        self._reading.join(_LAST_WORDS)
        code = self._process.returncode
        told = "closed its output" if code is None else how_it_ended(code)
        return "\n".join([f"{self._called} {told}", *(f"  {line}" for line in self._said)])

    def news(self) -> str | None:
        return self._said[-1] if self._said else None

    def lines(self) -> list[str]:
        return []

    def close(self) -> None:
        self.line.close()
        if not self._wait(_PATIENCE):
            self.kill()

    def kill(self) -> None:
        with suppress(OSError):
            self._process.terminate()  # some programs have to tell the other side
        self._wait(_LAST_WORDS / 2)
        with suppress(OSError):
            self._process.kill()
        self._tree.end(hurried=lambda: True)
        self._wait(_LAST_WORDS)
        self.line.close(0.1)

    def _wait(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while line := stream.readline(_LINE):
                if text := line.decode("utf-8", "backslashreplace").strip():
                    self._said.append(text)


def local() -> Program:
    """Return the place that is a process of its own on this machine."""
    return Program("local:", [sys.executable, *AGENT[1:]])


def ssh(name: str, address: str) -> Program:
    """Return the place at the other end of ssh; `address` is `[user@]host[:port]`."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, ""
    if host.startswith("-") or (port and not port.isdigit()):
        raise UsageError(f"{name!r} is not a place", "write it as ssh://[user@]host[:port]")
    at = ["-p", port] if port else []
    argv = ["ssh", "-T", *at, "--", host.replace("[", "").replace("]", ""), shlex.join(AGENT)]
    return Program(name, argv, asks=True)


def slurm(name: str, partition: str) -> Program:
    """Return the place that is a step of a Slurm cluster, in the partition or, if it is empty, in the default one."""
    to = [f"--partition={partition}"] if partition else []
    return Program(name, ["srun", "--ntasks=1", "--job-name=stagerun", *to, "--", *AGENT], trust="none")


def configured(name: str, command: Sequence[str], agent: Sequence[str]) -> Program:
    """Return the place that a configured command reaches; whether it is encrypted is the matter of its author."""
    return Program(name, [*command, *agent])


def _be_deaf() -> None:
    """Let a new process ignore the keys and the end of the terminal that it shares with us."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
