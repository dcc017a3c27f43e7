"""The token of the server: kept in a file of its owner, so that open pages return after a restart."""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from stagerun.errors import UsageError


_SHORTEST: Final = 32
_NAME: Final = "web-token"


def place(folder: Path) -> Path:
    """Return the file of the token in a project's `.stagerun`."""
    return folder / _NAME


def token(folder: Path, *, new: bool = False) -> str:
    """Return the token that is kept in `folder`; make one if there is none, others could read it, or `new`."""
    file = place(folder)
    try:
        kept = None if new else _kept(file)
        return kept or _make(file)
    except OSError as error:
        raise UsageError(f"the token can't be kept in {file}: {error.strerror}", "check its permissions") from None


def _kept(file: Path) -> str | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor) as stream:
        status = os.fstat(descriptor)
        text = stream.read(1024).strip()
    others = stat.S_IMODE(status.st_mode) & 0o077
    foreign = hasattr(os, "getuid") and status.st_uid != os.getuid()
    fits = len(text) >= _SHORTEST and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    return text if fits and not others and not foreign else None


def _make(file: Path) -> str:
    folder = file.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    made = secrets.token_urlsafe(32)
    draft = file.with_name(f"{_NAME}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
        stream.write(made + "\n")
    draft.replace(file)
    return made
