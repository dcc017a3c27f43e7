"""Where a run can work: the names and addresses of places."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from stagerun.errors import UsageError
from stagerun.remote.places.place import AGENT, Place


HERE: Final = "here"
_FORMS: Final = "here, local:, ssh://[user@]host[:port], slurm://[partition]"


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place in the configuration.

    Attributes:
        command: the program and its arguments, in front of those of the agent.
        agent: what is started there.

    """

    command: tuple[str, ...]
    agent: tuple[str, ...] = AGENT


def find(name: str, places: Mapping[str, Any]) -> Place | None:
    """Return the place of that name or address, None for `here`; `places` are those that are configured.

    UsageError if there is no such place.
    """
    if name == HERE:
        return None
    from stagerun.remote.places import command

    scheme, colon, rest = name.partition(":")
    address = rest.removeprefix("//").rstrip("/")
    match scheme, rest[:2], bool(address):
        case "local", "", _:
            return command.local()
        case "ssh", "//", True:
            return command.ssh(name, address)
        case "slurm", "//", _:
            return command.slurm(name, address)
        case _:
            pass
    if not colon:
        table = _table(name, places)
        return command.configured(name, table.command, table.agent)
    raise UsageError(f"{name!r} is not a place", f"places: {_FORMS}, or a name from the configuration")


def _table(name: str, places: Mapping[str, Any]) -> Table:
    if name not in places:
        from stagerun.text import suggestions

        raise UsageError(f"there is no place {name!r}", suggestions.hint(name, [HERE, "local:", *places], "places"))
    try:
        return msgspec.convert(places[name], Table)
    except msgspec.ValidationError as error:
        why = str(error)[:1].lower() + str(error)[1:]
        raise UsageError(f"[tool.stagerun.places.{name}]: {why}", "it needs a command: a list of words") from None
