"""Who may talk to the server: every rule about hosts, origins, tokens and sizes, and the headers of every answer.

A browser sends our cookie along with whatever any page tells it to ask for, so the cookie alone proves nothing:
the host stops names that were rebound to this machine, the origin stops sockets and forms of other pages.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from hmac import compare_digest
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct


Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
BODY_LIMIT: Final = 1024 * 1024  # bytes of a form
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PUBLIC: Final = ("/static/", "/icon/")  # the same for everybody, and needed to show a refusal

_ONWARD: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={0}">'
    '<title>stagerun</title><p><a href="{0}">Go on</a></p></html>'
)


class Access(Struct, frozen=True, kw_only=True):
    """Who may come in.

    Attributes:
        token: the secret that a browser has to know.
        port: the port that the server listens on.
        hosts: the names that it may be called by, in lower case.
        any_address: True if it may also be called by an IP address, which can't be rebound.

    """

    token: str
    port: int
    hosts: frozenset[str] = LOOPBACK
    any_address: bool = False

    @property
    def cookie(self) -> str:
        """The name of the cookie: browsers share cookies between the ports of a host."""
        return f"stagerun-{self.port}"


class Refusal(Struct, frozen=True):
    """Why a request is refused.

    Attributes:
        status: of HTTP.
        reason: a key of the page that says what to do.

    """

    status: int
    reason: str


class Guard:
    """Lets a request through to `app`, or refuses it.

    Args:
        app: what it guards.
        access: who may come in.
        page: makes the page of a refusal, for the path that was asked for.

    """

    def __init__(self, app: App, access: Access, page: Callable[[Refusal, str], str]) -> None:
        self._app = app
        self._access = access
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _Headers(scope["headers"])
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refusal is not None:
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        send = _with_headers(send, headers.only("host") or "")
        if refusal is None and (entered := self._entering(scope)) is not None:
            await _let_in(send, entered, self._set_cookie(), linked=headers.only("sec-fetch-site") == "cross-site")
        elif refusal is not None:
            path = scope["path"]
            if "text/html" in (headers.only("accept") or ""):
                await _answer(send, refusal.status, self._page(refusal, path), [])
            else:
                await _answer(send, refusal.status, f"refused: {refusal.reason}\n", [], kind="text/plain")
        else:
            await self._app(scope, _bounded(receive), send)

    def _refusal(self, scope: Scope, headers: "_Headers") -> Refusal | None:
        """Return why the request is refused, or None."""
        host = headers.only("host")
        if host is None or not self._is_ours(host):
            return Refusal(400, "host")
        socket = scope["type"] == "websocket"
        changing = not socket and scope["method"] in _CHANGING
        if not socket and _comes_from_elsewhere(scope["method"], headers):
            return Refusal(403, "elsewhere")
        if (socket or changing) and (headers.only("origin") or "").lower() != f"http://{host.lower()}":
            return Refusal(403, "elsewhere")
        if changing and int(headers.only("content-length") or 0) > BODY_LIMIT:
            return Refusal(413, "size")
        if scope["path"].startswith(_PUBLIC) or self._is_known(scope, headers):
            return None
        return Refusal(403, "token")

    def _is_ours(self, host: str) -> bool:
        name, colon, port = host.lower().rpartition(":")
        if not colon or "]" in port:
            name, port = host.lower(), "80"
        if port != str(self._access.port):
            return False
        return name in self._access.hosts or (self._access.any_address and _is_address(name))

    def _is_known(self, scope: Scope, headers: "_Headers") -> bool:
        given = [each for each in (_cookie(headers, self._access.cookie), _bearer(headers)) if each]
        if scope["type"] == "http":
            given += [value for name, value in _query(scope) if name == "token"]
        return any(compare_digest(each.encode(), self._access.token.encode()) for each in given)

    def _entering(self, scope: Scope) -> str | None:
        """Return the address without the token that it came with: nobody should see it in the address bar."""
        query = _query(scope)
        if not any(name == "token" for name, _ in query) or scope["method"] != "GET":
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        path = "/" + (scope.get("raw_path") or scope["path"].encode()).decode("ascii", "replace").lstrip("/\\")
        return f"{path}?{rest}".rstrip("?")

    def _set_cookie(self) -> bytes:
        return (
            f"{self._access.cookie}={self._access.token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000".encode()
        )


class _Headers:
    """Headers by name, in which a name that comes twice has no value."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in headers:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def only(self, name: str) -> str | None:
        values = self._values.get(name, [])
        return values[0] if len(values) == 1 else None

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])


def _comes_from_elsewhere(method: str, headers: _Headers) -> bool:
    """Return True if another page made the browser ask; following a link to a whole page is allowed."""
    site = headers.only("sec-fetch-site")
    if site in (None, "same-origin", "none"):
        return False
    to_a_page = headers.only("sec-fetch-mode") == "navigate" and headers.only("sec-fetch-dest") == "document"
    return not (to_a_page and method in ("GET", "HEAD"))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _cookie(headers: _Headers, name: str) -> str | None:
    for each in headers.all("cookie"):
        try:
            found = SimpleCookie(each).get(name)
        except CookieError:
            continue
        if found is not None:
            return found.value
    return None


def _bearer(headers: _Headers) -> str | None:
    kind, _, value = (headers.only("authorization") or "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=None)


def policy(host: str) -> str:
    """Return the content security policy of a page; some browsers don't take `self` for the socket."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' ws://{host}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types stagerun"
    )


def _with_headers(send: Send, host: str) -> Send:
    """Return a `send` that adds our headers to every answer; a page may bring a policy of its own."""
    safe_host = host if all(each.isalnum() or each in ".:[]-" for each in host) else ""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            given = {name.lower() for name, _ in headers}
            ours = {
                b"content-security-policy": policy(safe_host).encode(),
                b"x-content-type-options": b"nosniff",
                # Not no-referrer: with it, browsers send the origin of our own forms as null.
                b"referrer-policy": b"same-origin",
                b"cross-origin-resource-policy": b"same-origin",
                b"cross-origin-opener-policy": b"same-origin",
                b"cache-control": b"no-store",
            }
            message = {**message, "headers": headers + [pair for pair in ours.items() if pair[0] not in given]}
        await send(message)

    return wrapped


def _bounded(receive: Receive) -> Receive:
    """Return a `receive` that ends a body that is too long, also one that did not say how long it is."""
    seen = 0

    async def wrapped() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > BODY_LIMIT:
                return {"type": "http.disconnect"}
        return message

    return wrapped


async def _let_in(send: Send, address: str, cookie: bytes, *, linked: bool) -> None:
    """Give a browser its cookie, and lead it on.

    Where another site began this, or a file that `--open` wrote, the cookie would be kept back from a redirect too;
    it is sent when a page of ours leads on.
    """
    if linked:
        await _answer(send, 200, _ONWARD.format(escape(address)), [(b"set-cookie", cookie)])
    else:
        await _answer(send, 303, "", [(b"location", address.encode()), (b"set-cookie", cookie)])


async def _answer(
    send: Send, status: int, body: str, headers: list[tuple[bytes, bytes]], kind: str = "text/html"
) -> None:
    headers = [*headers, (b"content-type", f"{kind}; charset=utf-8".encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
