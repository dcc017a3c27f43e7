"""Real processes under the eye of a test: started, read line by line, held at a gate, and never left behind."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from stagerun.view import RunView
from tests.conftest import Done, Project
from tests.journals import reading, select
from tests.serving import Command


# What recipes of these tests start with: a gate holds a run until the test creates the file.
GATE = """
import os, pathlib, signal, time

def gate(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.01)
"""


def open_gate(project: Project, name: str) -> None:
    (project.root / name).touch()


@contextmanager
def running(
    project: Project, *arguments: str, environ: Mapping[str, str] | None = None, fresh: bool = False
) -> Iterator[Command]:
    """Start the command; kill it when the block is left and it still runs."""
    process = project.start(*arguments, environ=environ, fresh=fresh)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: Command, line: str) -> str:
    """Return what the process prints up to and with `line`."""
    assert process.stdout is not None
    text = ""
    while not text.endswith(f"{line}\n"):
        more = process.stdout.readline()
        assert more, f"{line!r} was never printed, but:\n{text}"
        text += more
    return text


def finish(process: Command) -> Done:
    """Return the rest of what the process prints and how it ends."""
    assert process.stdout is not None
    assert process.stderr is not None
    out = process.stdout.read()
    err = process.stderr.read()
    return Done(process.wait(60), out, err)


def shell_code(code: int) -> int:
    """Return an exit code as shells count it: 128 + n for a death by signal n."""
    return code if code >= 0 else 128 - code


def until(condition: Callable[[], object]) -> None:
    """Come back when the condition holds; fail if it never does."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)


def look(project: Project, run: int) -> RunView:
    with reading(project.journal) as records:
        return records.find(str(run))


def rows(project: Project, sql: str, *values: object) -> list[tuple[object, ...]]:
    return select(project.journal, sql, *values)


def everything(project: Project) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all tables of the journal."""
    tables = ("runs", "stages", "events", "checkpoints", "cancel_requests", "tags")
    return {table: rows(project, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}


def logged(project: Project, run: int) -> list[object]:
    """Return the log lines of a run that are in the journal by now."""
    sql = "SELECT json_extract(data, '$.text') FROM events WHERE run_id = ? AND kind = 'log' ORDER BY seq"
    return [line for (text,) in rows(project, sql, run) for line in str(text).split("\n")]
