"""How this project talks to SQLite: opening, waiting for locks, transactions, and errors in plain words.

Nothing here knows a table.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from stagerun.errors import JournalBusy, JournalError


# While SQLite waits in C, Python handles no signal; so SQLite waits in short slices, and we repeat them.
_SLICE: Final = 0.25
PATIENCE: Final = 30.0

_T = TypeVar("_T")

_REASONS: Final = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space"),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", "check the disk, or move the journal with --journal"),
    sqlite3.SQLITE_NOTADB: ("it is not a journal", "name another file with --journal"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "move it aside, or name another file with --journal"),
    sqlite3.SQLITE_READONLY: (
        "it can't be written",
        "check its permissions, or name another file with --journal",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "it can't be opened",
        "check its permissions, or name another file with --journal",
    ),
    sqlite3.SQLITE_PERM: ("it can't be opened", "check its permissions, or name another file with --journal"),
    sqlite3.SQLITE_BUSY: (
        f"another process has held it for {PATIENCE:.0f} s",
        "see who has it open: lsof, fuser",
    ),
    sqlite3.SQLITE_LOCKED: (
        f"another process has held it for {PATIENCE:.0f} s",
        "see who has it open: lsof, fuser",
    ),
}


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Open the file, in autocommit mode, usable from any thread (the caller locks)."""
    mode = "ro" if readonly else "rw"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_SLICE,
        isolation_level=None,
        check_same_thread=False,
    )


def patiently(action: Callable[[], _T], patience: Callable[[], float] = lambda: PATIENCE) -> _T:
    """Return what `action` returns, trying again while another process holds the file.

    `patience` returns the seconds to wait, and is called before every retry. When a cancel shortens them, they count
    from that moment: the holder has that long to finish so the cancel can be recorded, and the user to cancel again.
    """
    allowed = patience()
    deadline = time.monotonic() + allowed
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            now, still = time.monotonic(), patience()
            if still < allowed:
                allowed, deadline = still, min(deadline, now + still)
            if not _is_busy(error) or now > deadline:
                raise
            # Some lock conflicts fail at once, without SQLite's wait.
            time.sleep(0.005)


@contextmanager
def transaction(connection: sqlite3.Connection, patience: Callable[[], float] = lambda: PATIENCE) -> Iterator[None]:
    """Commit what the block writes, all or nothing. It takes the write lock at once: no upgrade, no deadlock."""
    patiently(lambda: connection.execute("BEGIN IMMEDIATE"), patience)
    try:
        yield
        patiently(lambda: connection.execute("COMMIT"), patience)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def explained(error: sqlite3.Error, path: Path) -> JournalError:
    """Return what `error` means for the journal at `path`, with a hint."""
    if _is_busy(error):
        return JournalBusy(f"journal {path}: another process holds it", "see which one has it open: lsof, fuser")
    reason, hint = _REASONS.get(_code(error), (str(error), None))
    return JournalError(f"journal {path}: {reason}", hint)


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
