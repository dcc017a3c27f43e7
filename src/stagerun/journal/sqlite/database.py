"""How this project talks to SQLite: opening, waiting for locks, recovery, transactions, and errors in plain words.

Nothing here knows a table.
"""

import os
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

_HALF_WRITTEN: Final = (
    "a killed process left a change half written, and without permission to write it can't be undone",
    "read it once as a user who may write the file and its folder",
)
_REASONS: Final = {
    sqlite3.SQLITE_READONLY_ROLLBACK: _HALF_WRITTEN,
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


def connect(path: Path, *, readonly: bool = False, immutable: bool = False) -> sqlite3.Connection:
    """Open the file, in autocommit mode, usable from any thread (the caller locks).

    With `immutable` SQLite neither locks it nor looks for files beside it: it must not change while it is open.
    """
    mode = "ro&immutable=1" if immutable else "ro" if readonly else "rw"
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


def read(action: Callable[[], _T], path: Path, patience: Callable[[], float] = lambda: PATIENCE) -> _T:
    """Return what `action` reads from `path`; if a killed process left a change half written there, undo it first."""
    try:
        return patiently(action, patience)
    except sqlite3.OperationalError as error:
        if _whole_code(error) != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        _roll_back(path, error)
    return patiently(action, patience)


def _roll_back(path: Path, needed: sqlite3.OperationalError) -> None:
    """Apply the rollback journal beside the file; raise `needed` if that is not allowed."""
    connection = connect(path)
    try:
        # SQLite does it before it reads anything, if it may write.
        patiently(lambda: connection.execute("SELECT count(*) FROM sqlite_schema").fetchone())
    except sqlite3.OperationalError as error:
        raise needed if _code(error) != sqlite3.SQLITE_BUSY else error from None
    finally:
        connection.close()


def lacks_shared_memory(error: sqlite3.Error, path: Path) -> bool:
    """Return True if `path` can't be read because its folder can't be written: a log has its index in a file there."""
    codes = (sqlite3.SQLITE_READONLY_DIRECTORY, sqlite3.SQLITE_CANTOPEN)
    return _whole_code(error) in codes and not os.access(path.parent, os.W_OK)


def has_log(path: Path) -> bool:
    """Return True if the newest changes are in the write-ahead log beside the file. Without one nobody writes to it."""
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


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
    reason, hint = _REASONS.get(_whole_code(error)) or _REASONS.get(_code(error)) or (str(error), None)
    return JournalError(f"journal {path}: {reason}", hint)


def is_undecodable(error: sqlite3.Error) -> bool:
    """Return True if a text that was read is not UTF-8: that error is of Python's module and has no code."""
    return isinstance(error, sqlite3.OperationalError) and _whole_code(error) == 0


def decoded(text: bytes) -> str:
    """Return text with each byte that is not UTF-8 replaced: a `text_factory`, slower than SQLite's own."""
    return text.decode("utf-8", "replace")


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    return _whole_code(error) & 0xFF


def _whole_code(error: sqlite3.Error) -> int:
    """Return the extended code (sqlite.org/rescode.html), 0 for an error of Python's module."""
    return getattr(error, "sqlite_errorcode", 0)
