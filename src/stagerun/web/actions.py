"""What the page does, it lets a child process do: `stagerun` commands in sessions of their own, which outlive it."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct


_PATIENCE: Final = 30.0  # seconds to wait for a child's first word; a recipe may import much
_LOOK: Final = 0.02
# What would change what a child does if the server's own environment had it; parameters come through it on purpose.
_OPTIONS: Final = (
    *("PROGRESS", "TIMESTAMPS", "CI", "RUN_ID_FILE", "JOURNAL", "DRY_RUN", "FROM", "SET", "SET_FILE", "FORCE"),
    *("TAG", "WAIT", "YES", "NO_INPUT", "ON", "ONCE", "LOG_LEVEL"),
    *("OPERATION", "TIMEOUT", "OWNER", "OUTPUT", "HOST", "PORT", "OPEN", "NEW_TOKEN", "JSON"),
)


class Outcome(Struct, frozen=True):
    """What became of a child.

    Attributes:
        run: the id of the run that it began, or None.
        error: what it said when it began none, or "" if it has not said anything yet.

    """

    run: int | None
    error: str = ""


class Said(Struct, frozen=True):
    """What a child said that has ended."""

    code: int
    out: str
    err: str


class Actions:
    """Starts child processes.

    Args:
        folder: the folder that they work in.
        journal: the journal that they use.

    """

    def __init__(self, folder: Path, journal: Path) -> None:
        self._folder = folder
        self._journal = journal

    def begin(self, arguments: Sequence[str], secrets: Mapping[str, str] | None = None) -> Outcome:
        """Start `run`, `rerun` or `resume` with what follows; return the id of the run as soon as it has one.

        Args:
            arguments: of stagerun.
            secrets: variables of the environment; a command line could be read by every user of the machine.

        """
        scratch = tempfile.TemporaryDirectory(prefix="stagerun-")
        run_id, errors = Path(scratch.name, "run"), Path(scratch.name, "errors")
        command, *rest = arguments
        options = ["--progress", "quiet", "--ci", "none", "--run-id-file", str(run_id)]
        with errors.open("wb") as stream:
            child = self._start([command, *options, *self._journal_option(), *rest], secrets or {}, stream.fileno())
        ended = threading.Event()

        def reap() -> None:
            child.wait()
            ended.set()
            started.wait(_PATIENCE)
            scratch.cleanup()

        started = threading.Event()
        threading.Thread(target=reap, name="stagerun-reaper", daemon=True).start()
        try:
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline:
                over = ended.is_set()
                if text := _text(run_id).strip():
                    return Outcome(int(text))
                if over:
                    return Outcome(None, _text(errors).strip() or f"stagerun {command} ended without a run")
                ended.wait(_LOOK)
            return Outcome(None)
        finally:
            started.set()

    def cancel(self, run: int) -> None:
        """Ask a run to end; it returns at once."""
        child = self._start(["cancel", *self._journal_option(), str(run)], {}, subprocess.DEVNULL)
        threading.Thread(target=child.wait, name="stagerun-reaper", daemon=True).start()

    def ask(self, *arguments: str, secrets: Mapping[str, str] | None = None) -> Said:
        """Run a command that begins nothing, and return what it says."""
        command, *rest = arguments
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                [*_US, command, *self._journal_option(), *rest],
                cwd=self._folder,
                env=_environ(secrets or {}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Said(1, "", f"stagerun: {command} has not answered for {_PATIENCE:.0f} s")
        return Said(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def _start(self, arguments: Sequence[str], secrets: Mapping[str, str], errors: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - our own command
            [*_US, *arguments],
            cwd=self._folder,
            env=_environ(secrets),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )

    def _journal_option(self) -> list[str]:
        return ["--journal", str(self._journal)]


# -P: a folder in the project that is called stagerun must not be taken for us.
_US: Final = (sys.executable, "-P", "-m", "stagerun")


def _environ(secrets: Mapping[str, str]) -> dict[str, str]:
    dropped = {f"STAGERUN_{name}" for name in _OPTIONS}
    return {name: value for name, value in os.environ.items() if name not in dropped} | dict(secrets)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
