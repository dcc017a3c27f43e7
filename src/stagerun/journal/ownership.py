"""Whose the files of a journal are: what root leaves in the folders of others, and how they get at it again."""

import os
from pathlib import Path

from stagerun.errors import JournalError


def taken_from(place: Path) -> tuple[str, str] | None:
    """Return a sentence and the remedy if the owner of the journal's folder can't open the journal, else None."""
    *ours, home = (place, *_folders(place))
    whose = _owner(home)
    stranger = next((owner for owner in map(_owner, ours) if owner not in (whose, None)), None)
    if not whose or stranger is None:  # root can open any
        return None
    return f"journal {place} belongs to {_name(stranger)}, and its folder to {_name(whose)}", _remedy(place, whose)


def denied(place: Path, *, write: bool = False) -> JournalError | None:
    """Return the error that names the owner of the journal, if another owner is why it can't be opened, else None."""
    if not hasattr(os, "getuid"):
        return None
    mode = os.R_OK | (os.W_OK if write else 0)
    *ours, home = (place, *_folders(place))
    shut = next((each for each in ours if _owner(each) is not None and not os.access(each, mode)), None)
    owner, me = None if shut is None else _owner(shut), os.getuid()
    if owner is None or owner == me:
        return None
    told = f"journal {place} belongs to {_name(owner)}, and {_name(me)} can't {'write' if write else 'read'} it"
    mine = _owner(home) == me
    return JournalError(told, _remedy(place, me) if mine else f"ask {_name(owner)}, or name another with --journal")


def _folders(place: Path) -> list[Path]:
    """Return the journal's own folder, if it has one, and the folder that it was made in."""
    return [place.parent, place.parent.parent] if place.parent.name == ".stagerun" else [place.parent]


def _remedy(place: Path, user: int) -> str:
    import shlex

    files = f"-R {_name(user, short=True)} {shlex.quote(str(place.parent))}"
    if place.parent.name != ".stagerun":
        files = f"{_name(user, short=True)} {shlex.quote(str(place))}*"
    return f"sudo chown {files}"


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _name(user: int, *, short: bool = False) -> str:
    """Return the login name of a user, or the number if there is none."""
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user) if short else f"user {user}"
