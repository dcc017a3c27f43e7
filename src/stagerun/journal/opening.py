"""Opening a journal: only this module knows which database is behind a place."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stagerun.errors import JournalError, UsageError


if TYPE_CHECKING:
    from stagerun.journal.store import Store


_MOST_DAMAGES: Final = 5


def open_journal(
    place: Path,
    *,
    write: bool = False,
    durable: bool = True,
    hurried: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.time,
) -> "Store":
    """Open the journal at `place`.

    Args:
        place: its file.
        write: True to write too; the journal is created or upgraded first if needed.
        durable: True if each commit must survive a power cut, False if surviving the death of the process is enough.
        hurried: returns True when there is little time left to wait for another process.
        now: returns the time in seconds since 1970.

    Raises JournalError for a file that is not a journal, is damaged, newer, or can't be used; it is left untouched.

    """
    from stagerun.journal.sqlite import files
    from stagerun.journal.sqlite.store import SqliteStore

    try:
        connection = files.open_for_writing(place, durable=durable) if write else files.open_for_reading(place)
    except JournalError as error:
        from stagerun.journal import ownership

        raise ownership.denied(place, write=write) or error from None
    return SqliteStore(connection, place, hurried=hurried, now=now)


def has_runs(place: Path) -> bool:
    """Return True if there is a file at `place` that is not empty."""
    try:
        return place.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        from stagerun.journal import ownership

        raise ownership.denied(place) or JournalError(f"journal {place} can't be read: {error.strerror}") from None


def open_existing(place: Path, *, write: bool = False, durable: bool = True) -> "Store":
    """Open the journal at `place` as `open_journal` does; UsageError if no run was ever recorded there."""
    if not has_runs(place):
        why = "is empty" if place.exists() else "does not exist"
        raise UsageError(f"there are no runs yet: {place} {why}", "start one: stagerun run TARGET")
    return open_journal(place, write=write, durable=durable)


def taken_by_root(place: Path) -> tuple[str, str] | None:
    """Return a sentence and the remedy if this is root, and the owner of the folder can't open the journal."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    from stagerun.journal import ownership

    return ownership.taken_from(place)


def examine(place: Path) -> Iterator[str]:
    """Yield each problem of the journal at `place`. It reads the whole of it."""
    from stagerun.journal import ownership
    from stagerun.journal.reading import Records
    from stagerun.journal.sqlite import health

    if (denied := ownership.denied(place, write=True)) is not None:
        yield f"{denied.message}: {denied.hint}".replace(f"journal {place}", "it", 1)
        return
    if (taken := ownership.taken_from(place)) is not None:
        yield ": ".join(taken).replace(f"journal {place}", "it", 1)
    yield from health.examine(place)
    with suppress(JournalError), closing(Records(open_journal(place))) as records:
        for error in records.find_damage(_MOST_DAMAGES):
            yield error.message.removeprefix(f"journal {place}: ")


def notes(place: Path) -> Iterator[str]:
    """Yield what is not a problem of the journal at `place`, but good to know."""
    from stagerun.journal.sqlite import health

    return health.notes(place)


def engine() -> tuple[str, str, str | None]:
    """Return the name of the database, its version, and a known weakness of that version or None."""
    from stagerun.journal.sqlite import health

    return health.engine()
