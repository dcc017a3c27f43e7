"""What the two ends say when they meet: who the far end is, and the work that it gets."""

import platform
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from stagerun import __version__, events
from stagerun.authoring.sources import Module
from stagerun.engine.runner import NO_TERMS, Terms
from stagerun.events import Count, Seconds
from stagerun.machine import identity
from stagerun.view import RunView


_Kind = TypeVar("_Kind")

PROTOCOL: Final = (1, 0)  # another major version is refused; what a newer minor one adds is left out


class Hello(Struct, frozen=True, kw_only=True):
    """The first frame of the far end.

    Attributes:
        protocol: major and minor version.
        stagerun, python: versions.
        host, pid, boot_id: the process (see `identity.Process`).

    """

    protocol: tuple[Count, Count]
    stagerun: str
    python: str
    host: str
    pid: Count
    boot_id: str

    @property
    def worker(self) -> events.Worker:
        return events.Worker(host=self.host, pid=self.pid)

    @property
    def versions(self) -> str:
        """`Python 3.12.4 and stagerun 1.0`."""
        return f"Python {self.python} and stagerun {self.stagerun}"


class Work(Struct, frozen=True, kw_only=True):
    """What the far end is to do.

    Attributes:
        target, recipe: as in `events.RunCreated`.
        module, operation: the class.
        source_hash: SHA-256 of the module's file, or None if it has none.
        modules: the recipe's source; empty if the recipe is an installed package, which must be there with that hash.
        params: parameter -> JSON value, secrets in clear.
        view: the run, which is pending.
        limit: the seconds that the run may take, None for no limit.
        left: how many of them are left.
        terms, log_level: as for a Runner.

    """

    target: str
    recipe: str
    module: str
    operation: str
    source_hash: str | None
    modules: tuple[Module, ...]
    params: Mapping[str, Any]
    view: RunView
    limit: Seconds | None
    left: Seconds | None
    terms: Terms = NO_TERMS
    log_level: events.Level | None = None


def hello() -> Hello:
    """Return what this process says first."""
    process = identity.current_process()
    return Hello(
        protocol=PROTOCOL,
        stagerun=__version__,
        python=platform.python_version(),
        host=process.host,
        pid=process.pid,
        boot_id=process.boot_id,
    )


def mismatch(there: Hello, here: Hello, place: str) -> str | None:
    """Return why the two ends can't work together, or None if they can."""
    same = there.protocol[0] == here.protocol[0] and _minor(there.python) == _minor(here.python)
    return None if same else f"{place} has {there.versions}, and here are {here.versions}"


def convert(value: object, kind: type[_Kind]) -> _Kind:
    """Return JSON values as a `kind`; ValueError says what does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
