"""The sockets of open pages: each sends what its audience has, at its own pace."""

from typing import Final

import anyio
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket, WebSocketDisconnect

from stagerun.web.channels import Audience
from stagerun.web.feed import Feed
from stagerun.web.site import number


MOST: Final = 2000  # sockets at a time
_DONE, _NONSENSE, _FULL = 1000, 1008, 1013


class Sockets:
    """The handlers."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._open = 0

    async def run(self, socket: WebSocket) -> None:
        """Tell a page about one run, until it is over or goes on in another."""
        try:
            after = number(socket.query_params, "after")
        except HTTPException:
            await socket.close(_NONSENSE)
            return
        await self._serve(socket, socket.path_params["run"], after)

    async def overview(self, socket: WebSocket) -> None:
        """Tell a start page which runs go on."""
        await self._serve(socket, 0, 0)

    async def _serve(self, socket: WebSocket, run: int, after: int | None) -> None:
        await socket.accept()
        if self._open >= MOST:
            await socket.close(_FULL)
            return
        self._open += 1
        audience = self._feed.watch(run)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, socket, tasks.cancel_scope)
                await _tell(socket, audience, after)
                tasks.cancel_scope.cancel()
        except* WebSocketDisconnect:
            pass
        finally:
            self._feed.leave(run)
            self._open -= 1


async def _tell(socket: WebSocket, audience: Audience, after: int | None) -> None:
    while audience.moment is None:
        await audience.changed.wait()
    told, sent = audience.snapshot(after), audience.number
    while True:
        if told:
            await _send(socket, told)
        moment, changed = audience.moment, audience.changed
        if sent == audience.number:
            if moment.closing:
                break
            await changed.wait()
        missed = audience.after(sent)
        told, sent = audience.snapshot(0) if missed is None else missed, audience.number
    for message in moment.closing:
        await _send(socket, message)
    await socket.close(_DONE)


async def _send(socket: WebSocket, message: str) -> None:
    try:
        await socket.send_text(message)
    except RuntimeError:
        # The page went away between two messages; uvicorn has no other word for that.
        raise WebSocketDisconnect from None


async def _until_gone(socket: WebSocket, scope: anyio.CancelScope) -> None:
    """Notice that a page has gone; what it says is ignored."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel()
