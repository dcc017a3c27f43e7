"""The start page, and the forms that begin a run."""

import time
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

import anyio.to_thread
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stagerun.authoring.finding import Listed
from stagerun.errors import StagerunError
from stagerun.journal.pages import Ended
from stagerun.reports.html import rendering
from stagerun.states import RunState
from stagerun.text import moments, suggestions
from stagerun.view import RunView
from stagerun.web import forms
from stagerun.web.forms import Field, Operation, Operations
from stagerun.web.run_pages import Reader
from stagerun.web.site import Site, find, led_on, number, typed


PAGE: Final = 25  # runs of the history on one page
_BARS: Final = 24  # runs whose durations a card shows
_RUNNING: Final = 24  # runs that go on, shown as cards


class Card(Struct, frozen=True):
    """One operation of the project.

    Attributes:
        operation: as found in the recipe.
        ended: its last runs.
        usual: the seconds that it usually takes, or None.

    """

    operation: Listed
    ended: Sequence[Ended]
    usual: float | None

    @property
    def longest(self) -> float:
        return max((each.seconds for each in self.ended), default=0.0) or 1.0


class History(Struct, frozen=True, kw_only=True):
    """A page of the history.

    Attributes:
        views: its runs, newest first.
        filters: what was asked for: state, operation, owner, tag, since.
        wrong: the part of the address that can't be used -> why. Then there are no runs.
        older, newest: the addresses of the next page and of the first, or None.

    """

    views: Sequence[RunView]
    filters: dict[str, str]
    wrong: dict[str, str]
    older: str | None
    newest: str | None


class Start:
    """The handlers."""

    def __init__(self, site: Site, operations: Operations) -> None:
        self._site = site
        self._operations = operations

    def show(self, request: Request) -> Response:
        now = time.time()
        listed, problem = self._operations.listed()
        try:
            with self._site.reading() as reader:
                running = going(reader)
                cards = [_card(reader, each) for each in listed]
                history = _history(reader, request.query_params, listed, now)
        except StagerunError as error:
            if self._site.journal.exists() and self._site.journal.stat().st_size:
                raise
            running, cards = [], [Card(each, (), None) for each in listed]
            history, problem = None, problem or ("" if listed else error.hint or "")
        return self._site.page(
            "start.html",
            400 if history and history.wrong else 200,
            running=running,
            cards=cards,
            history=history,
            now=now,
            problem=problem,
            states=list(RunState),
        )

    def form(self, request: Request) -> Response:
        """Show the form of an operation, empty or filled as in the run that `like` names."""
        operation = self._get(request)
        like = number(request.query_params, "like")
        values, newest = {}, None
        try:
            with self._site.reading() as reader:
                newest = next(iter(reader.records.history(limit=1, operation=operation.target)), None)
                if like is not None:
                    values = dict(find(reader, like).plan.params)
        except StagerunError:
            pass  # no run yet
        return self._form(operation, forms.fields(operation.parameters, values), like=like, newest=newest)

    async def begin(self, request: Request) -> Response:
        form = await typed(request)
        return await anyio.to_thread.run_sync(self._begin, request, form)

    def _begin(self, request: Request, form: dict[str, str]) -> Response:
        operation = self._get(request)
        filled, refused = forms.typed(operation.parameters, form), None
        if not forms.missing(filled):
            options = [*forms.arguments(filled), *forms.answer(form)]
            outcome = self._site.actions.begin(["run", *options, "--", operation.target], forms.secrets(filled))
            if (answer := led_on(outcome)) is not None:
                return answer
            refused = forms.blame(filled, outcome.error)
        self._blame_all(operation, filled)
        return self._form(operation, filled, status=422, refused=refused)

    def _blame_all(self, operation: Operation, filled: list[Field]) -> None:
        """Find all that is wrong: a run names the first parameter that it refuses, so those are left out one by one."""
        while any(field.error for field in filled):
            found = forms.arguments(forms.without_errors(filled))
            said = self._site.actions.ask(
                *("run", "--dry-run", *found, "--", operation.target), secrets=forms.secrets(filled)
            )
            if said.code == 0 or not forms.blame_more(filled, said.err):
                return

    def _form(
        self,
        operation: Operation,
        filled: list[Field],
        *,
        status: int = 200,
        refused: forms.Refused | None = None,
        like: int | None = None,
        newest: RunView | None = None,
    ) -> Response:
        return self._site.page(
            "form.html",
            status,
            operation=operation,
            fields=filled,
            refused=refused,
            like=like,
            newest=newest,
        )

    def _get(self, request: Request) -> Operation:
        """Return the operation that is asked for: one of the recipes folder, or one that has run before.

        Any other target could name any file of this machine, and to show an operation its file is imported.
        """
        target = request.path_params["target"]
        if self._operations.source(target) is None and not self._has_run(target):
            raise HTTPException(
                404, f"there is no operation {target} in {self._site.recipes.name}/, and it has never run"
            )
        return self._operations.get(target)

    def _has_run(self, target: str) -> bool:
        try:
            with self._site.reading() as reader:
                return ":" in target and bool(reader.records.history(limit=1, operation=target))
        except StagerunError:
            return False


def going(reader: Reader) -> list[RunView]:
    """Return the runs that go on, newest first."""
    found = [*reader.records.history(limit=_RUNNING, state=RunState.RUNNING)]
    found += reader.records.history(limit=_RUNNING, state=RunState.PENDING)
    return sorted(found, key=lambda view: -view.id)[:_RUNNING]


def overview(reader: Reader) -> str:
    """Return the message that replaces the cards of the runs that go on."""
    return rendering.running(going(reader), time.time())


def _card(reader: Reader, operation: Listed) -> Card:
    ended = reader.pages.last_ended(operation.target, _BARS)
    return Card(operation, ended, reader.records.usual(operation.target))


def _history(reader: Reader, query: Mapping[str, str], listed: Sequence[Listed], now: float) -> History:
    filters = {name: query.get(name, "").strip() for name in ("state", "operation", "owner", "tag", "since")}
    kept = {name: value for name, value in filters.items() if value}
    wrong, views, before = dict[str, str](), list[RunView](), None
    state, since, operation = kept.get("state"), kept.get("since"), kept.get("operation")
    began = moments.parsed(since, now) if since else None
    if state and state not in list(RunState):
        wrong["state"] = f"there is no state {state!r}"
    if since and began is None:
        wrong["since"] = f"since can't be {since!r}: {moments.LEGAL}"
    try:
        before = number(query, "before")
    except HTTPException as error:
        wrong["before"] = error.detail
    if not wrong:
        views = reader.records.history(
            limit=PAGE + 1,
            state=RunState(state) if state else None,
            operation=operation,
            owner=kept.get("owner"),
            tag=kept.get("tag"),
            since=began,
            before=before,
        )
    if operation and not views and (unknown := _unknown(reader, operation, listed)):
        wrong["operation"] = unknown
    older = {**kept, "before": str(views[PAGE - 1].id)} if len(views) > PAGE else None
    return History(
        views=views[:PAGE],
        filters=filters,
        wrong=wrong,
        older=f"/?{urlencode(older)}#history" if older else None,
        newest=f"/?{urlencode(kept)}#history" if query.get("before") else None,
    )


def _unknown(reader: Reader, operation: str, listed: Sequence[Listed]) -> str:
    """Return the sentence that no operation has that name, "" if one has."""
    known = reader.records.operations(each.target for each in listed)
    if operation in known:
        return ""
    near = suggestions.did_you_mean(operation, sorted(known))
    return f"there is no operation {operation!r}{f': {near}' if near else ''}"
