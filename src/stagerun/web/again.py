"""The pages that run an earlier run again: a resume, which shows its plan first, and a rerun."""

import json
from collections.abc import Iterator
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from stagerun.reports import command_line, plans
from stagerun.reports.html.model import parameters
from stagerun.view import RunView
from stagerun.web import forms
from stagerun.web.forms import Field, Operations
from stagerun.web.site import Site, find, led_on, typed


class Again:
    """The handlers."""

    def __init__(self, site: Site, operations: Operations) -> None:
        self._site = site
        self._operations = operations

    def plan(self, request: Request) -> Response:
        """Show what a resume would skip and do again."""
        view = self._view(request)
        return self._resume_page(view, self._secrets(view), request.query_params.get("from", ""))

    async def resume(self, request: Request) -> Response:
        return await anyio.to_thread.run_sync(self._resume, request, await typed(request))

    def ask(self, request: Request) -> Response:
        """Show the parameters of a run, and ask for its secrets."""
        view = self._view(request)
        return self._rerun_page(view, self._secrets(view))

    async def rerun(self, request: Request) -> Response:
        return await anyio.to_thread.run_sync(self._rerun, request, await typed(request))

    def _resume(self, request: Request, form: dict[str, str]) -> Response:
        view, stage = self._view(request), form.get("from", "")
        filled = self._secrets(view, form)
        options = [*_options(view, stage), *forms.answer(form)]
        outcome = self._site.actions.begin(["resume", *options, str(view.id)], forms.secrets(filled))
        return led_on(outcome) or self._resume_page(view, filled, stage, forms.blame(filled, outcome.error))

    def _rerun(self, request: Request, form: dict[str, str]) -> Response:
        view = self._view(request)
        filled = self._secrets(view, form)
        options = [*command_line.where(view), *forms.answer(form)]
        outcome = self._site.actions.begin(["rerun", *options, str(view.id)], forms.secrets(filled))
        return led_on(outcome) or self._rerun_page(view, filled, forms.blame(filled, outcome.error))

    def _resume_page(
        self, view: RunView, filled: list[Field], stage: str, refused: forms.Refused | None = None
    ) -> Response:
        # A plan needs the values of secrets only to make the operation; it never shows them.
        stand_ins = {f"STAGERUN_{field.name.upper()}": field.value or "unknown" for field in filled}
        options = ["--dry-run", "--json", *_options(view, stage)]
        said = self._site.actions.ask("resume", *options, str(view.id), secrets=stand_ins)
        document = json.loads(said.out) if said.code == 0 and said.out.startswith("{") else None
        if document is None and refused is None:
            refused = forms.Refused(forms.without_name(said.err or said.out))
        told = list(_rows(document)) if document else []
        return self._site.page(
            "resume.html",
            _status(filled, refused),
            view=view,
            told=told,
            fields=filled,
            stage=stage,
            refused=refused,
            plan=document,
        )

    def _rerun_page(self, view: RunView, filled: list[Field], refused: forms.Refused | None = None) -> Response:
        told = parameters(view)
        return self._site.page(
            "rerun.html", _status(filled, refused), view=view, told=told, fields=filled, refused=refused
        )

    def _view(self, request: Request) -> RunView:
        with self._site.reading() as reader:
            return find(reader, request.path_params["run"])

    def _secrets(self, view: RunView, form: dict[str, str] | None = None) -> list[Field]:
        """Return fields for the secrets of a run, with what was typed: they were never stored."""
        operation = self._operations.get(view.plan.target)
        found = [each for each in forms.fields(operation.parameters, {}) if each.widget == "secret"]
        for field in found:
            field.value = (form or {}).get(field.name, "")
        return found


def _options(view: RunView, stage: str) -> list[str]:
    """Return where a resume works, and the stage that it begins with."""
    return [*command_line.where(view), *([f"--from={stage}"] if stage else [])]


def _status(filled: list[Field], refused: forms.Refused | None) -> int:
    return 422 if refused or any(field.error for field in filled) else 200


def _rows(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a name and what stands beside it for each part of a plan."""
    stages: list[str] = plan["runs_again"]
    again = [f"{name} (was done)" if name in plan["done_before"] else name for name in stages]
    again.append("and whatever has no step or key")
    if not (plan["skipped"] or plan["reused"] or plan["goes_on"]):
        again = [f"all of it: nothing {'is taken over' if plan['dropped'] else 'was stored'}"]
    parts = (
        ("skipped", [each["key"] for each in plan["skipped"]]),
        ("reused", [_kept(each) for each in plan["reused"]]),
        ("goes on", [_kept(each) for each in plan["goes_on"]]),
        ("dropped", [_kept(each) for each in plan["dropped"]]),
        ("runs again", again),
        ("in folder", [plan["folder"]] if plan["folder"] else []),
        ("warning", [f"{plan['changed_source']} has changed since"] if plan["changed_source"] else []),
    )
    for name, told in parts:
        if told:
            yield name, ", ".join(told)


def _kept(kept: dict[str, Any]) -> str:
    return plans.named(kept["call"], kept["key"], kept["done"], kept["total"])
