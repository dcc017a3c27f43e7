"""The setting `notify`: whom to tell how a run ended. It is checked here; `stagerun.notify` does the telling."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from stagerun.errors import UsageError


ENDS: Final = ("succeeded", "failed", "cancelled", "timed_out")
BODIES: Final = ("status", "text")
_KEYS: Final = ("url", "command", "on", "headers", "send")
_VARIABLE: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_ADDRESS: Final = re.compile(r"(https?://[^/\s?#@]+([/?#]\S*)?|env:[A-Za-z_]\S*)")
_NUMBER: Final = r"0*(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_PORT: Final = re.compile(rf"https?://(?:\[[^\]]*\]|[^:/?#]*)(?::{_NUMBER})?(?:[/?#].*)?", re.ASCII | re.DOTALL)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SENSITIVE: Final = re.compile(r"auth|cookie|key|password|secret|token", re.IGNORECASE)
_HOW: Final = 'write an address ("https://..."), a command (["./tell.sh"]), or a table with url or command'


class Notice(Struct, frozen=True, kw_only=True):
    """One that is told.

    Attributes:
        url: the address that gets a POST request, or "".
        command: the command that is run, or ().
        on: the ends that it is told of.
        headers: of the request.
        send: what the request holds: "status", the document of `status --json`; or "text", one sentence.

    `url` and the headers may name environment variables as `env:NAME`.
    """

    url: str = ""
    command: tuple[str, ...] = ()
    on: tuple[str, ...] = ENDS
    headers: Mapping[str, str] = {}
    send: str = "status"

    @property
    def name(self) -> str:
        """What it is called in a message: of an address only the host, because the rest may be a secret."""
        if self.command:
            return self.command[0]
        return "/".join(self.url.split("/", 3)[:3]) if "://" in self.url else self.url


def filled(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with each `env:NAME` as the value of that variable; KeyError names one that is not set."""
    return _VARIABLE.sub(lambda match: environ[match[1]].strip(), text)


def values(notice: Notice, environ: Mapping[str, str]) -> list[str]:
    """Return the values of the variables that a notice names."""
    texts = (notice.url, *notice.headers.values())
    return [environ[name] for text in texts for name in _VARIABLE.findall(text)]


def read(value: object, where: str) -> list[Notice]:
    """Return those that a setting names; UsageError if it makes no sense. `where` says where it stands."""
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return [_notice(each, where) for each in value]
    return [_notice(value, where)] if value != [] else []


def _notice(value: object, where: str) -> Notice:
    match value:
        case str():
            return Notice(url=_url(value, where))
        case list():
            return Notice(command=_command(value, where))
        case dict():
            return _from_table(value, where)
        case _:
            raise UsageError(f"{where} can't be {value!r}", _HOW)


def _from_table(table: Mapping[str, Any], where: str) -> Notice:
    for key in table:
        if key not in _KEYS:
            raise UsageError(f"{where} has no key {key!r}", "keys: " + ", ".join(_KEYS))
    if ("url" in table) == ("command" in table):
        raise UsageError(f"{where}: a table has either url or command", _HOW)
    on = _ends(table["on"], where) if "on" in table else ENDS
    if "command" in table:
        for key in ("headers", "send"):
            if key in table:
                raise UsageError(f"{where}: {key} belongs to url, not to command")
        return Notice(command=_command(table["command"], where), on=on)
    send = table.get("send", BODIES[0])
    if send not in BODIES:
        raise UsageError(f"{where}: send can't be {send!r}", "one of " + ", ".join(BODIES))
    return Notice(url=_url(table["url"], where), on=on, headers=_headers(table.get("headers", {}), where), send=send)


def _url(url: object, where: str) -> str:
    if not isinstance(url, str) or not _ADDRESS.fullmatch(url):
        hint = (
            'a command is a list, in [tool.stagerun]: ["./tell.sh"]'
            if isinstance(url, str) and "://" not in url
            else None
        )
        what = "not an address that begins with http:// or https://, or with env:NAME"
        if isinstance(url, str) and "@" in url.partition("://")[2].partition("/")[0]:
            raise UsageError(f"{where}: a url can't hold a password", "use headers, with the value in env:NAME")
        raise UsageError(f"{where}: {url!r} is {what}", hint)
    if not _PORT.fullmatch(url) and "env:" not in url:
        host = "/".join(re.split(r"[/?#]", url, maxsplit=3)[:3])  # the rest may be a secret
        raise UsageError(f"{where}: {host} has no port that exists", "ports are numbers from 1 to 65535")
    return url


def _command(command: object, where: str) -> tuple[str, ...]:
    if not isinstance(command, list) or not command or not all(isinstance(each, str) for each in command):
        raise UsageError(f"{where}: a command is a list of strings, not {command!r}", 'for example ["./tell.sh"]')
    return tuple(command)


def _ends(on: object, where: str) -> tuple[str, ...]:
    if not isinstance(on, list) or not on:
        raise UsageError(f"{where}: on must be a list of states, not {on!r}", "states: " + ", ".join(ENDS))
    for state in on:
        if state == "crashed":
            raise UsageError(f"{where}: nobody can be told of a crash, because the process is gone by then")
        if state not in ENDS:
            raise UsageError(f"{where}: on can't hold {state!r}", "states: " + ", ".join(ENDS))
    return tuple(on)


def _headers(headers: object, where: str) -> Mapping[str, str]:
    if not isinstance(headers, dict):
        raise UsageError(f"{where}: headers must be a table, not {headers!r}")
    for name, value in _pairs(headers.items(), where):
        if _SENSITIVE.search(name) and not _VARIABLE.search(value):
            raise UsageError(
                f"{where}: the header {name} must not stand in a file that others read",
                f'put it into an environment variable, and write {name} = "env:NAME"',
            )
    return headers


def _pairs(headers: Iterable[tuple[str, object]], where: str) -> Iterable[tuple[str, str]]:
    for name, value in headers:
        if not _HEADER.fullmatch(name):
            raise UsageError(f"{where}: a header can't be called {name!r}")
        if not isinstance(value, str) or not value.isprintable():
            raise UsageError(f"{where}: the header {name} must be a text of one line, not {value!r}")
        yield name, value
