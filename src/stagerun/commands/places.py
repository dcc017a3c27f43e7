"""The place that a command names with `--on`: found, looked at beforehand, and visited."""

import time
from collections.abc import Iterator
from typing import Final

from stagerun.authoring import sources
from stagerun.authoring.finding import Found
from stagerun.authoring.operation import LiveOperation
from stagerun.commands.surroundings import Surroundings
from stagerun.errors import PlaceError
from stagerun.remote import messages, places
from stagerun.remote.line import Ended, Inbox
from stagerun.remote.messages import Hello
from stagerun.remote.places.place import Place
from stagerun.text import wording


_PATIENCE: Final = 60.0  # seconds in which a far process answers a visit


def place_for(here: Surroundings, name: str, operation: LiveOperation) -> Place | None:
    """Return the place of that name, None for this process; PlaceError if it may not have the operation's secrets."""
    place = find(here, name)
    hidden = operation.secret_values()
    if place is not None and place.trust == "none" and hidden:
        raise PlaceError(
            f"{name} is not encrypted, and {type(operation).__name__} has a secret: {', '.join(hidden)}",
            "if you trust the way, say so in [tool.stagerun.places]: a command, or dask and trusted = true",
        )
    return place


def find(here: Surroundings, name: str) -> Place | None:
    """Return the place of that name, None for this process."""
    return places.find(name, here.project.settings.get("places", {}), here.project.root)


def preview(here: Surroundings, name: str, found: Found, operation: LiveOperation) -> Iterator[str]:
    """Yield where an operation would work and what would be sent there. Nothing is connected to."""
    place = place_for(here, name, operation)
    if place is None:
        return
    yield f"on {place.name}: {place.shown}"
    modules = sources.collect(found, here.project)
    for each in modules:
        yield f"  sends {each.file}, {len(each.source):,} bytes"
    if not modules:
        yield f"  sends nothing: {found.operation.__module__} has to be there"


def visit(place: Place) -> tuple[Hello, float]:
    """Open a place; return what it says first and after how many seconds. PlaceError if it says nothing."""
    inbox, begun = Inbox(), time.monotonic()
    opened = place.open(inbox.put, inbox.end, ())
    try:
        while time.monotonic() - begun < _PATIENCE:
            match inbox.get(1.0):
                case Ended():
                    raise PlaceError(opened.reason(), opened.line.greeting.decode("utf-8", "backslashreplace"))
                case ["hello", hello]:
                    return messages.convert(hello, Hello), time.monotonic() - begun
                case _:
                    pass
        raise PlaceError(f"nothing was heard for {_PATIENCE:g} s", opened.news())
    except ValueError as error:
        raise PlaceError(f"it broke the protocol: {error}") from None
    finally:
        opened.kill()


def told(place: Place) -> tuple[bool, str]:
    """Return whether runs can work at a place, and what is to be said of it."""
    try:
        there, seconds = visit(place)
    except PlaceError as error:
        what, *said = [line.strip() for line in f"{error.message}\n{error.hint or ''}".splitlines() if line.strip()]
        return False, f"{place.name}: " + ": ".join(filter(None, [what, "; ".join(said)]))
    if (why := messages.mismatch(there, messages.hello(), place.name)) is not None:
        return False, why
    return True, f"{place.name} has {there.versions} on {there.host}, answered in {wording.duration(seconds)}"
