"""The journal's file: creating it, opening it, bringing it up to date, and refusing files that are not ours."""

import os
import re
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from stagerun.errors import JournalError
from stagerun.journal.sqlite import database, schema


_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "lustre"}
)
_OCTAL: Final = rb"\\([0-7]{3})"
_MAGIC: Final = b"SQLite format 3\0"
_AFTER_ID: Final = 72
_DRAFT: Final = ".new-"


def open_for_writing(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """Open the journal at `path`, creating or upgrading it first if needed.

    With `durable` each commit survives a power cut, without it only the death of the process.
    Raises JournalError for a file that is foreign, damaged, newer, or can't be written; it is left untouched.
    """
    try:
        _make_folder(path.parent)
        if not _exists(path):
            _create(path)
        status = path.stat()
    except OSError as error:
        raise JournalError(
            f"journal {path} can't be created: {error.strerror}", "name another place with --journal"
        ) from None
    if status.st_nlink > 1:
        _remove_drafts(path)
    if status.st_size:
        # The first look is read-only, because closing a writable connection may write to a foreign file too.
        looking, _ = _opened_for_looking(path)
        looking.close()
    return _opened_for_writing(path, durable=durable)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the journal at `path` read-only. Raises JournalError for a file that is not a current journal."""
    connection, version = _opened_for_looking(path)
    if version < schema.VERSION:
        connection.close()
        raise JournalError(
            f"journal {path} has no runs yet" if version == 0 else f"journal {path} was made by an older stagerun",
            "the next run or resume brings it up to date",
        )
    return connection


def is_on_network(path: Path) -> bool:
    """Return True if `path` is on a network file system, according to the mount table (Linux only)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
        place = os.fsencode(path.resolve())
    except OSError:
        return False
    best, kind = b"", b""
    for mount in mounts:
        # Fields by proc(5): the mount point is the fifth, with spaces as \040; the type follows the dash.
        before, _, after = mount.partition(b" - ")
        point = before.split()[4]
        if b"\\" in point:
            point = re.sub(_OCTAL, lambda match: bytes([int(match[1], 8)]), point)
        if len(point) >= len(best) and (place + b"/").startswith(point.rstrip(b"/") + b"/"):
            best, kind = point, after.split()[0]
    return kind.decode() in _NETWORK


def _opened_for_writing(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        if _version(connection, path) < schema.VERSION:
            with database.transaction(connection):
                if _version(connection, path) < schema.VERSION:  # two processes may be here at once
                    schema.migrate(connection)
        # WAL needs shared memory, which network file systems don't offer (sqlite.org/wal.html).
        mode = "TRUNCATE" if is_on_network(path) else "WAL"
        database.patiently(lambda: connection.execute(f"PRAGMA journal_mode = {mode}"))
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        # On macOS a plain fsync is not a barrier (sqlite.org/pragma.html#pragma_fullfsync).
        connection.execute("PRAGMA fullfsync = 1")
    except sqlite3.Error as error:
        connection.close()
        raise database.explained(error, path) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _opened_for_looking(path: Path, *, immutable: bool = False) -> tuple[sqlite3.Connection, int]:
    """Return a read-only connection to the journal at `path`, and the journal's version."""
    connection = _connect(path, readonly=True, immutable=immutable)
    try:
        return connection, _version(connection, path)
    except sqlite3.Error as error:
        connection.close()
        if immutable or not database.lacks_shared_memory(error, path):
            raise database.explained(error, path) from None
    except BaseException:
        connection.close()
        raise
    if database.has_log(path):
        raise JournalError(
            f"journal {path}: a killed process left its newest changes in {path.name}-wal, which can't be read in a "
            "folder that can't be written",
            "copy both files into a folder of yours, and name the copy with --journal",
        )
    return _opened_for_looking(path, immutable=True)


def _connect(path: Path, *, readonly: bool = False, immutable: bool = False) -> sqlite3.Connection:
    try:
        with path.open("rb") as file:
            start = file.read(_AFTER_ID)
    except OSError as error:
        raise JournalError(f"journal {path}: it can't be opened ({error.strerror})", "check its permissions") from None
    if start and not start.startswith(_MAGIC):
        # SQLite treats a file of one byte as empty.
        raise JournalError(f"journal {path}: it is not a journal", "name another file with --journal")
    if start and start[-4:] != schema.APPLICATION_ID.to_bytes(4) and path.with_name(f"{path.name}-journal").exists():
        raise _foreign(path)  # a look could make SQLite undo what its program has left half written
    try:
        connection = database.connect(path, readonly=readonly, immutable=immutable)
    except sqlite3.Error as error:
        raise database.explained(error, path) from None
    # The file may come from anywhere: let its schema run no functions (sqlite.org/security.html).
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _make_folder(folder: Path) -> None:
    """Make the folder, for the user alone, unless it exists; let Git ignore it if it is `.stagerun`."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.name == ".stagerun":
        ignore = folder / ".gitignore"
        if not ignore.exists() or not ignore.stat().st_size:  # empty if its maker was killed
            ignore.write_text("*\n")


def _exists(path: Path) -> bool:
    """Return True if there is a file at `path`; JournalError for anything else that is there."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
    if not regular:
        raise JournalError(f"journal {path} is not a file", "name another one with --journal")
    return True


def _create(path: Path) -> None:
    """Make a journal beside `path`, then name it `path`: nobody ever finds half of one there.

    Where that can't be done an empty file is made, to be filled in place; SQLite then recovers half of one.
    """
    draft = path.with_name(f"{path.name}{_DRAFT}{os.urandom(8).hex()}")
    try:
        with suppress(OSError, JournalError):
            _make_file(draft)
            _opened_for_writing(draft).close()
            os.link(draft, path)  # unlike a rename, it never replaces the journal of a process that was faster
    finally:
        _remove_drafts(path)
    with suppress(FileExistsError):
        _make_file(path)


def _make_file(path: Path) -> None:
    """Make an empty file that only the user can read."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600))


def _remove_drafts(path: Path) -> None:
    """Remove what was made beside the journal: by this process, by killed ones, and by those that are slower.

    A slower one loses nothing: it finds the journal, or makes an empty file.
    """
    for each in path.parent.iterdir():
        if each.name.startswith(f"{path.name}{_DRAFT}"):
            with suppress(OSError):
                each.unlink()


def _foreign(path: Path) -> JournalError:
    return JournalError(
        f"{path} is an SQLite file of another program; it was left as it is", "name another file with --journal"
    )


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's version, 0 for an empty file; JournalError for a file that is not our journal."""
    # One statement: between two, another process could create the tables.
    look = f"""
        SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
        (SELECT count(*) FROM sqlite_schema),
        (SELECT group_concat(name) FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name IN {schema.TABLES})
        """  # noqa: S608 - names of tables
    application, version, objects, tables = database.read(lambda: connection.execute(look).fetchone(), path)
    if not isinstance(version, int) or (application != schema.APPLICATION_ID and (objects or version or application)):
        raise _foreign(path)
    if version > schema.VERSION:
        raise JournalError(
            f"journal {path} was made by a newer stagerun (version {version}, this one knows {schema.VERSION})",
            "upgrade stagerun, or name another file with --journal",
        )
    needed = schema.TABLES if version == schema.VERSION else schema.FIRST_TABLES
    if version and not set(needed) <= set((tables or "").split(",")):
        # A view in the place of a table could compute anything, for as long as it likes.
        raise JournalError(
            f"journal {path}: it is damaged: a table is missing", "move it aside, or name another file with --journal"
        )
    return version
