"""What the handlers of requests share: the project, the journal, outlines that are kept, pages and errors."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stagerun.outline import Outline
from stagerun.reports.html import rendering
from stagerun.view import RunView
from stagerun.web import run_pages
from stagerun.web.actions import Actions, Outcome
from stagerun.web.guard import Refusal
from stagerun.web.run_pages import Reader


_KEPT: Final = 8  # outlines of logs: reading one again from its beginning may take a second
_FORM: Final = "application/x-www-form-urlencoded"
_LARGEST: Final = 2**63 - 1


class Site:
    """One project and its journal.

    Args:
        root: the folder of the project.
        recipes: the folder of its recipes.
        journal: the journal's file.

    """

    def __init__(self, root: Path, recipes: Path, journal: Path) -> None:
        self.root = root
        self.recipes = recipes
        self.journal = journal
        self.actions = Actions(root, journal)
        self._outlines: OrderedDict[int, tuple[threading.Lock, Outline]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Open the journal while the block runs. Every request opens its own: it may wait in a thread of its own."""
        with run_pages.reading(self.journal) as reader:
            yield reader

    @contextmanager
    def outline(self, reader: Reader, run: int) -> Iterator[Outline]:
        """Yield the outline of a run's log as it is now; it stays the same while the block runs."""
        with self._lock:
            if run not in self._outlines:
                self._outlines[run] = threading.Lock(), Outline()
            self._outlines.move_to_end(run)
            lock, outline = self._outlines[run]
            while len(self._outlines) > _KEPT:
                self._outlines.popitem(last=False)
        with lock:
            reader.pages.extend(run, outline)
            yield outline

    def page(self, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        return HTMLResponse(rendering.document(template, project=self.root.name, **context), status)

    def refused(self, refusal: Refusal, path: str) -> str:
        """Return the page that says why something is refused, and what to do."""
        return rendering.document("refusal.html", project=self.root.name, reason=refusal.reason, path=path)


def find(reader: Reader, run: int) -> RunView:
    """Return a run, or answer that there is none."""
    view = reader.records.get(run) if run <= _LARGEST else None
    if view is None:
        raise HTTPException(404, f"there is no run {run}")
    return view


async def typed(request: Request) -> dict[str, str]:
    """Return the fields of a form that was sent."""
    body = await request.body()
    if not request.headers.get("content-type", _FORM).startswith(_FORM):
        raise HTTPException(415, f"a form is sent as {_FORM}")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def led_on(outcome: Outcome) -> Response | None:
    """Return the answer that leads to the run that was begun, or None if none was."""
    if outcome.run is None and outcome.error:
        return None
    # A child that has not said anything yet is still importing its recipe: its run will be among those that go on.
    return RedirectResponse("/" if outcome.run is None else f"/runs/{outcome.run}", 303)


def number(query: Mapping[str, str], name: str) -> int | None:
    """Return the number that a query gives, or None for none; answer that nonsense is no number."""
    if not (text := query.get(name)):
        return None
    if not text.isdecimal() or len(text) > 18:
        raise HTTPException(400, f"{name} can't be {text!r}: give a number")
    return int(text)
