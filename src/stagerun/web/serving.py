"""Running the server: its socket, its settings, and its end."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn

from stagerun.errors import UsageError
from stagerun.web.guard import App


MESSAGE_LIMIT: Final = 16 * 1024  # bytes of a message from a page; ours say nothing at all
_PONG: Final = 20.0  # seconds without an answer after which a page is gone


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; UsageError if the address can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except (UnicodeError, TypeError):  # of an encoding that fails
        raise UsageError(f"can't listen on {host}: it is not the name of a machine") from None
    except OSError as error:
        hint = "choose another with --port; 0 takes any that is free"
        reason = (error.strerror or str(error)).partition(" (while")[0]  # the rest is the address once more
        raise UsageError(f"can't listen on {host} port {port}: {reason}", hint) from None


def serve(app: App, listening: socket.socket, started: Callable[[], None]) -> None:
    """Serve until a signal; call `started` when requests are answered."""
    logging.basicConfig(format="stagerun: %(message)s", level=logging.WARNING)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=MESSAGE_LIMIT,
        ws_per_message_deflate=False,
        ws_ping_interval=_PONG,
        ws_ping_timeout=_PONG,
        timeout_graceful_shutdown=1,
        lifespan="on",
    )
    with suppress(KeyboardInterrupt):  # the usual end; uvicorn has closed everything by then
        _Server(config, started).run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()
