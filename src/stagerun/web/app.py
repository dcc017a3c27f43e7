"""The routes, and how errors become pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute

from stagerun.errors import JournalError, StagerunError
from stagerun.reports.html import rendering
from stagerun.web import start
from stagerun.web.again import Again
from stagerun.web.feed import Feed
from stagerun.web.forms import Operations
from stagerun.web.guard import Access, App, Guard
from stagerun.web.runs import Runs
from stagerun.web.site import Site
from stagerun.web.sockets import Sockets


_KINDS: Final = {"page.css": "text/css", "page.js": "text/javascript"}
_COLOURS: Final = {
    "done": "#1f7a44",
    "active": "#2160c4",
    "failed": "#b3261e",
    "cancelled": "#8a5a00",
    "pending": "#73767d",
    "none": "#2160c4",
}


def create(site: Site, access: Access) -> App:
    """Return the whole application, guarded."""
    feed = Feed(site.journal, start.overview)
    operations = Operations(site.actions, site.recipes)
    runs, begin, again, sockets = (
        Runs(site, feed),
        start.Start(site, operations),
        Again(site, operations),
        Sockets(feed),
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        feed.start()
        yield
        feed.close()

    def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, StagerunError)
        status = 503 if isinstance(error, JournalError) else 404
        return site.page("error.html", status, title=_sentence(error.message), hint=error.hint)

    def http_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return site.page("error.html", error.status_code, title=_sentence(error.detail), hint=None)

    app = Starlette(
        routes=[
            Route("/", begin.show),
            Route("/alive", lambda request: Response(status_code=204)),
            Route("/runs/last", runs.newest),
            Route("/runs/{run:int}.json", runs.document),
            Route("/runs/{run:int}", runs.show),
            Route("/runs/{run:int}/lines", runs.lines),
            Route("/runs/{run:int}/search", runs.search),
            Route("/runs/{run:int}/log.txt", runs.text),
            Route("/runs/{run:int}/report.html", runs.report),
            Route("/runs/{run:int}/events", runs.events),
            Route("/runs/{run:int}/cancel", runs.cancel, methods=["POST"]),
            Route("/runs/{run:int}/resume", again.plan),
            Route("/runs/{run:int}/resume", again.resume, methods=["POST"]),
            Route("/runs/{run:int}/rerun", again.ask),
            Route("/runs/{run:int}/rerun", again.rerun, methods=["POST"]),
            Route("/operations/{target:path}", begin.form),
            Route("/operations/{target:path}", begin.begin, methods=["POST"]),
            Route("/static/{name}", _static),
            Route("/icon/{look}.svg", _icon),
            WebSocketRoute("/runs/{run:int}/live", sockets.run),
            WebSocketRoute("/live", sockets.overview),
        ],
        lifespan=lifespan,
        exception_handlers={StagerunError: problem, HTTPException: http_problem},
    )
    return Guard(app, access, site.refused)


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _KINDS:
        raise HTTPException(404, f"there is no file {name}")
    # The address changes with the file.
    kept = {"cache-control": "private, max-age=31536000, immutable"} if request.query_params.get("v") else None
    return FileResponse(rendering.STATIC / name, media_type=_KINDS[name], headers=kept)


def _icon(request: Request) -> Response:
    look = request.path_params["look"]
    if look not in _COLOURS:
        raise HTTPException(404, "there is no such icon")
    return Response(rendering.icon(look, _COLOURS[look]), media_type="image/svg+xml")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
