"""The pages of one run: its page, its lines, its search, its files, and what its buttons do."""

import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Final

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from stagerun import __version__, events
from stagerun.journal.pages import Wanted
from stagerun.reports import documents
from stagerun.reports.html import rendering
from stagerun.reports.html.model import in_folds
from stagerun.states import TERMINAL
from stagerun.text import json_text, sentences
from stagerun.web import run_pages
from stagerun.web.feed import Feed
from stagerun.web.run_pages import Reader
from stagerun.web.site import Site, find, number


LINES_AT_ONCE: Final = 500  # lines that one request loads
HITS_AT_ONCE: Final = 100  # lines that one search names
_LEVELS: Final[dict[str, tuple[str, ...]]] = {
    "": (),
    "error": ("error", "critical"),
    "warning": ("warning", "error", "critical"),
}
_FRAMELESS: Final = "frame-ancestors 'none'"  # a policy inside a document can't say it
_AT_ONCE: Final = 2000  # lines of the raw text that are sent together


class Runs:
    """The handlers; each opens the journal for itself, in a thread of its own."""

    def __init__(self, site: Site, feed: Feed) -> None:
        self._site = site
        self._feed = feed

    def show(self, request: Request) -> Response:
        run, line = request.path_params["run"], number(request.query_params, "line")
        with self._site.reading() as reader:
            view = find(reader, run)
            with self._site.outline(reader, run) as outline:
                page = run_pages.page(reader, view, outline, time.time(), line)
                return self._site.page("run.html", p=page)

    def newest(self, request: Request) -> Response:
        with self._site.reading() as reader:
            found = reader.records.history(limit=1)
        return RedirectResponse(f"/runs/{found[0].id}" if found else "/", 303)

    def document(self, request: Request) -> Response:
        with self._site.reading() as reader:
            view = find(reader, request.path_params["run"])
            successor = reader.records.successor(view)
            found = documents.run(view, successor.id if successor else None)
        return Response(json_text.dumps(found), media_type="application/json")

    def lines(self, request: Request) -> Response:
        """Return the lists of lines `first` to `last`, which lie in one fold; at most so many, nearest to `near`."""
        run = request.path_params["run"]
        first, last, near = (number(request.query_params, name) for name in ("first", "last", "near"))
        if first is None or last is None or first > last:
            raise HTTPException(400, "first and last say which lines")
        with self._site.reading() as reader:
            find(reader, run)
            with self._site.outline(reader, run) as outline:
                first, last = _window(max(1, first), min(last, outline.lines), near)
                found = reader.pages.lines(run, outline, first, last)
                parts = [rendering.listed(own) for _, own in in_folds(outline, found)]
        return HTMLResponse("".join(parts))

    def search(self, request: Request) -> Response:
        """Return how many lines match and the numbers of the first, or of those next to line `after` or `before`."""
        query = request.query_params
        if (level := query.get("level", "")) not in _LEVELS:
            raise HTTPException(400, f"there is no level {level!r}: give error or warning")
        wanted = Wanted(query.get("q", "")[:1000], _LEVELS[level])
        after, before = number(query, "after"), number(query, "before")
        with self._site.reading() as reader:
            run, pages = find(reader, request.path_params["run"]).id, reader.pages
            if after is None and before is None:
                hits = pages.search(run, wanted, HITS_AT_ONCE)
                return JSONResponse({"total": hits.total, "lines": list(hits.lines)})
            with self._site.outline(reader, run) as outline:
                if after is not None:
                    lines = pages.hits_after(run, outline, wanted, after, HITS_AT_ONCE)
                else:
                    lines = pages.hits_before(run, outline, wanted, before or 0, HITS_AT_ONCE)
        return JSONResponse({"lines": lines})

    def text(self, request: Request) -> Response:
        """Return the log as `stagerun logs` prints it, all of it or one fold."""
        run, fold = request.path_params["run"], number(request.query_params, "fold")
        with self._site.reading() as reader:
            view = find(reader, run)
            if fold is not None:
                return PlainTextResponse(self._text_of_fold(reader, run, fold))
        headers = {}
        if request.query_params.get("download"):
            headers["content-disposition"] = f'attachment; filename="run-{view.id}.log"'
        return StreamingResponse(self._whole_text(run), headers=headers, media_type="text/plain; charset=utf-8")

    def report(self, request: Request) -> Response:
        with self._site.reading() as reader:
            now = time.time()
            pages, omitted = run_pages.report_pages(reader, find(reader, request.path_params["run"]), now)
        text = rendering.report(pages, now, version=__version__, omitted=omitted)
        return HTMLResponse(text, headers={"content-security-policy": f"{rendering.report_policy()}; {_FRAMELESS}"})

    async def events(self, request: Request) -> Response:
        """Return the events of a run as server-sent events, past and future ones, until it is over."""
        run = request.path_params["run"]
        # A reader that has lost the connection says where it was in the header, and still has its first address.
        after = number(request.headers, "last-event-id") or number(request.query_params, "after") or 0

        def exists() -> None:
            with self._site.reading() as reader:
                find(reader, run)

        await anyio.to_thread.run_sync(exists)
        return StreamingResponse(self._events(run, after), media_type="text/event-stream")

    def cancel(self, request: Request) -> Response:
        with self._site.reading() as reader:
            view = find(reader, request.path_params["run"])
        if view.state not in TERMINAL:
            self._site.actions.cancel(view.id)
        return RedirectResponse(f"/runs/{view.id}", 303)

    def _text_of_fold(self, reader: Reader, run: int, number: int) -> str:
        with self._site.outline(reader, run) as outline:
            fold = next((each for each in outline.folds if each.number == number), None)
            if fold is None:
                raise HTTPException(404, f"run {run} has no fold {number}")
            own = reader.pages.lines(run, outline, fold.first, fold.last) if fold.lines else []
        return "".join(f"{_plain(line.level, line.text)}\n" for line in own)

    def _whole_text(self, run: int) -> Iterator[str]:
        told = list[str]()
        with self._site.reading() as reader:
            for line in reader.pages.all_lines(run):
                told.append(f"{_plain(line.level, line.text)}\n")
                if len(told) >= _AT_ONCE:
                    yield "".join(told)
                    told.clear()
        yield "".join(told)

    async def _events(self, run: int, after: int) -> AsyncIterator[str]:
        audience = self._feed.watch(run)
        try:
            while True:
                changed = audience.changed
                told, after, over = await anyio.to_thread.run_sync(self._told_since, run, after)
                if told:
                    yield told
                if over:
                    return
                if told:
                    continue
                with anyio.move_on_after(15) as waiting:
                    await changed.wait()
                if waiting.cancelled_caught:
                    yield ": still here\n\n"  # a proxy or a reader that is gone is noticed
        finally:
            self._feed.leave(run)

    def _told_since(self, run: int, after: int) -> tuple[str, int, bool]:
        """Return the events after `after`, at most so many, the number to go on from, and whether that was all."""
        with self._site.reading() as reader:
            found = list(islice(reader.records.entries(run, after=after), _AT_ONCE))
            view = reader.records.get(run)  # read last: a run that is over has no more events
        if view is None:
            return "", after, True
        if found:
            newest = found[-1]
            after = newest.seq + (len(newest.event.lines) - 1 if isinstance(newest.event, events.Log) else 0)
        told = "".join(_server_sent(each) for entry in found for each in documents.entry(entry, view))
        return told, after, view.state in TERMINAL and len(found) < _AT_ONCE


def _server_sent(document: dict[str, object]) -> str:
    return f"id: {document['seq']}\nevent: {document['event']}\ndata: {json_text.dumps(document)}\n\n"


def _plain(level: events.Level, text: str) -> str:
    return sentences.logged(events.Log(text, level))[0]


def _window(first: int, last: int, near: int | None) -> tuple[int, int]:
    """Return at most LINES_AT_ONCE of the lines, around `near`, or the last of them."""
    if last - first < LINES_AT_ONCE:
        return first, last
    if near is None:
        return last - LINES_AT_ONCE + 1, last
    begin = min(max(first, near - LINES_AT_ONCE // 2), last - LINES_AT_ONCE + 1)
    return begin, begin + LINES_AT_ONCE - 1
