"""Where a run can work: the names and addresses of places."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from stagerun.errors import UsageError
from stagerun.remote.places.place import AGENT, Place


HERE: Final = "here"
_FORM_OF_A_TABLE: Final = (
    'command = ["program", "argument"] and agent, or dask = "tls://host:port", ca, cert, key, resources'
)
_FORMS: Final = "here, local:, ssh://[user@]host[:port], slurm://[partition], dask://[host:port], tls+dask://host:port"


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place in the configuration: a command, or the scheduler of a Dask cluster.

    Attributes:
        command: the program and its arguments, in front of those of the agent.
        agent: what is started there.
        dask: the address of the scheduler, `tcp://host:port` or `tls://host:port`.
        ca, cert, key: the files of its certificates, relative to the project.
        resources: what a worker has to have, name -> amount.
        trusted: True if secrets may go there although the way is not encrypted.

    """

    command: tuple[str, ...] = ()
    agent: tuple[str, ...] = AGENT
    dask: str = ""
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    resources: dict[str, float] = {}
    trusted: bool = False


def find(name: str, places: Mapping[str, Any], root: Path) -> Place | None:
    """Return the place of that name or address, None for `here`; UsageError if there is none.

    Args:
        name: the name or address.
        places: the places that are configured.
        root: the folder that their files are relative to.

    """
    if name == HERE:
        return None
    scheme, colon, rest = name.partition(":")
    if not colon:
        return _configured(name, _table(name, places), root)
    from stagerun.remote.places import command

    address = rest.removeprefix("//").rstrip("/")
    match scheme, rest[:2], bool(address):
        case "local", "", _:
            return command.local()
        case "ssh", "//", True:
            return command.ssh(name, address)
        case "slurm", "//", _:
            return command.slurm(name, address)
        case ("dask", "//", _) | ("tls+dask", "//", True):
            from stagerun.remote.places import dask

            return dask.Cluster(name, dask.address(name, "tls" if scheme == "tls+dask" else "tcp", address))
        case _:
            raise UsageError(f"{name!r} is not a place", f"places: {_FORMS}, or a name from the configuration")


def _configured(name: str, table: Table, root: Path) -> Place:
    if table.command:
        from stagerun.remote.places import command

        return command.configured(name, table.command, table.agent)
    from stagerun.remote.places import dask

    scheme, _, rest = table.dask.partition("://")
    given = {"tls_ca_file": table.ca, "tls_client_cert": table.cert, "tls_client_key": table.key}
    files = {option: str(root / file) for option, file in given.items() if file is not None}
    address = dask.address(name, scheme, rest)
    return dask.Cluster(name, address, files=files, resources=table.resources, trusted=table.trusted)


def _table(name: str, places: Mapping[str, Any]) -> Table:
    if name not in places:
        from stagerun.text import suggestions

        raise UsageError(f"there is no place {name!r}", suggestions.hint(name, [HERE, "local:", *places], "places"))
    where = f"[tool.stagerun.places.{name}]"
    try:
        table = msgspec.convert(places[name], Table)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {str(error)[:1].lower()}{str(error)[1:]}", _FORM_OF_A_TABLE) from None
    if bool(table.command) is bool(table.dask):
        raise UsageError(f"{where}: it needs either a command or a Dask scheduler", _FORM_OF_A_TABLE)
    return table
