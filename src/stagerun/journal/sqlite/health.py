"""The health of a journal in an SQLite file, and of SQLite itself: what `doctor` asks."""

import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stagerun.errors import JournalError
from stagerun.journal.sqlite import files


_LARGE_WAL: Final = 64 * 1024 * 1024
# The first SQLite version, and those of older branches, without the "WAL-reset" race (sqlite.org/wal.html).
_WAL_RESET_MENDED: Final = (3, 51, 3)
_WAL_RESET_MENDED_ALSO: Final = {(3, 44): 6, (3, 50): 7}


def engine() -> tuple[str, str, str | None]:
    """Return the name of the database, its version, and a known weakness of that version or None."""
    version = sqlite3.sqlite_version_info
    mended = version >= _WAL_RESET_MENDED or version[2] >= _WAL_RESET_MENDED_ALSO.get(version[:2], sys.maxsize)
    weakness = "before 3.51.3 a very rare race can damage a journal that two processes write"
    return "SQLite", sqlite3.sqlite_version, None if mended else weakness


def notes(path: Path) -> Iterator[str]:
    """Yield what is not a problem of the journal at `path`, but good to know."""
    if files.is_on_network(path):
        yield "it is on a network file system: only one process at a time can use it safely"
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size > _LARGE_WAL:
        yield f"{log} has {log.stat().st_size:,} bytes: a reader has kept it open for a long time"


def examine(path: Path) -> Iterator[str]:
    """Yield each problem of the journal at `path`. It reads the whole file."""
    try:
        connection = files.open_for_reading(path)
    except JournalError as error:
        yield error.message.removeprefix(f"journal {path}: ")
        return
    try:
        for (problem,) in connection.execute("PRAGMA quick_check(5)"):
            if problem != "ok":
                yield f"it is damaged: {problem}"
    except sqlite3.Error as error:
        yield f"it is damaged: {error}"
    finally:
        connection.close()
    status = path.stat()
    if status.st_mode & 0o077:
        yield f"other users may read or write it (mode {stat.S_IMODE(status.st_mode):o}): chmod 600 {path}"
