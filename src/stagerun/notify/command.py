"""Telling a command: it gets the document on standard input, and is killed with its process group at the deadline."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from stagerun.notify.teller import NotTold
from stagerun.programs.request import how_it_ended


_TAIL: Final = 4096  # bytes of the output in which its last line is looked for


def run(command: Sequence[str], document: bytes, *, environ: Mapping[str, str], folder: Path, deadline: float) -> None:
    """Run the command until `deadline`, by the monotonic clock; NotTold says why it did not succeed."""
    # Files, because a pipe keeps us waiting for whatever the command leaves in the background.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
        given.write(document)
        given.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 - the project's own command
                command,
                stdin=given,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(environ),
                process_group=0,
            )
        except OSError as error:
            raise NotTold(f"it could not be started: {error.strerror}") from None
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise TimeoutError from None
        if code:
            raise NotTold(": ".join(filter(None, (f"it {how_it_ended(code)}", _last_line(output)))))


def _last_line(output: BinaryIO) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL))
    lines = output.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
