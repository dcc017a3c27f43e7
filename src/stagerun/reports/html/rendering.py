"""The templates, and the functions that fill them."""

import base64
import time
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stagerun.outline import Fold, LogLine
from stagerun.reports.html import model
from stagerun.reports.html.colours import coloured
from stagerun.reports.html.model import Page
from stagerun.text import json_text, sentences, wording
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView


HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
REGIONS: Final = ("stages", "progress", "status", "result", "actions")
LEVELS: Final = ("warning", "error", "critical")


def container(page: Page, swap: str | None = None) -> str:
    """Return a run's whole container, the element `main`."""
    return str(_regions().container(page, swap))


def regions(page: Page) -> dict[str, str]:
    """Return each region that replaces itself in a live message, by its id; the log is not one of them."""
    macros = _regions()
    return {f"op-{name}": str(getattr(macros, name)(page, "true")) for name in REGIONS}


def said(page: Page) -> str:
    """Return the message that changes what a screen reader says."""
    return f'<p id="op-said" hx-swap-oob="innerHTML">{_escaped(page.spoken)}</p>'


def log(page: Page) -> str:
    """Return the region of the log."""
    return str(_regions().log(page, "true"))


def new_fold(fold: Fold, page: Page) -> str:
    """Return the message that puts a fold without its lines at the end of the log."""
    part = model.Part(fold, model.shown_state(fold, page.view), shown=True, pieces=())
    return f'<div id="f{fold.number}" hx-swap-oob="beforeend:#op-log">{_regions().fold(part, page)}</div>'


def fold_head(fold: Fold, page: Page) -> str:
    """Return the message that replaces the head of a fold."""
    return str(_regions().head(fold, model.shown_state(fold, page.view), page, "true"))


def fold_count(fold: Fold) -> str:
    """Return the message that replaces the count of a fold's lines."""
    count = _regions().lines_of(fold)
    return f'<span id="fold-{fold.number}-count" data-end="{fold.last}" hx-swap-oob="innerHTML">{count}</span>'


def log_line(line: LogLine) -> str:
    return str(_regions().line(line))


def block(fold: int, first: int, last: int, lines: Sequence[str]) -> str:
    """Return the message that puts rendered lines at the end of a fold."""
    ends = f'data-first="{first}" data-last="{last}"'
    items = "\n".join(lines)
    return f'<div id="b{first}" hx-swap-oob="beforeend:#fold-{fold}" {ends}><ol class="lines" {ends}>{items}</ol></div>'


def listed(lines: Sequence[LogLine]) -> str:
    """Return the lists of some lines of one fold."""
    macros = _regions()
    return "".join(str(macros.listed(each)) for each in model.blocks(lines))


def running(views: Sequence[RunView], now: float) -> str:
    """Return the message that replaces the cards of the runs that go on."""
    return str(_templates().get_template("running.html").module.running(views, now, swap="true"))  # type: ignore[attr-defined]


def document(template: str, **context: Any) -> str:
    """Return a whole page."""
    return _templates().get_template(template).render(context)


def report(pages: Sequence[Page], now: float, *, version: str, omitted: int = 0) -> str:
    """Return runs as one file that needs no other and has no script."""
    return document(
        "report.html",
        pages=pages,
        now=now,
        omitted=omitted,
        version=version,
        policy=report_policy(),
        style=Markup(_style()),  # noqa: S704 - our own file
    )


def report_policy() -> str:
    """Return the content security policy that allows a report its own style and nothing else."""
    digest = base64.b64encode(sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def icon(look: str, colour: str) -> str:
    """Return the picture of a tab: the sign of a state, or our own for none."""
    shapes = {
        "done": '<path d="M4.5 8.3l2.4 2.4 4.6-5"/>',
        "failed": '<path d="M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6"/>',
        "cancelled": '<path d="M4.6 8h6.8"/>',
        "active": '<circle cx="8" cy="8" r="2.6" fill="#fff"/>',
        "pending": '<circle cx="8" cy="8" r="4"/>',
        "none": '<path d="M4 5.2h4M6 8h4M8 10.8h4"/>',
    }
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="8" fill="{colour}"/>'
        f'<g fill="none" stroke="#fff" stroke-width="1.9" stroke-linecap="round">{shapes[look]}</g></svg>'
    )


def asset(name: str) -> str:
    """Return the address of a static file; it changes with the file, so that a browser may keep it for long."""
    return f"/static/{name}?v={_fingerprint(name)}"


@cache
def _fingerprint(name: str) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]


@cache
def _style() -> str:
    return (STATIC / "page.css").read_text("utf-8")


def _harmless(value: Any) -> Any:
    """Escape control characters in everything that a template writes, line by line."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(neutralise, value.split("\n")))
    return value


def _escaped(text: str) -> Markup:
    return Markup.escape(_harmless(text))


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= _FILTERS
    templates.globals["asset"] = asset
    return templates


@cache
def _regions() -> Any:
    return _templates().get_template("regions.html").module


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _time_of_day(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03}"


def _local(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _ending(view: RunView) -> str:
    """`Failed in [2/3] Process after 2.0s`."""
    told = sentences.ending(view).removeprefix(f"run {view.id} ")
    return told[:1].upper() + told[1:]


def _level(level: str) -> str:
    return level if level in LEVELS else "other"


_FILTERS: Final[Mapping[str, Any]] = {
    "duration": wording.duration,
    "left": wording.time_left,
    "ago": wording.ago,
    "iso": wording.timestamp,
    "word": wording.state_word,
    "count": wording.count,
    "counted": wording.counted,
    "percentage": wording.percentage,
    "pace": wording.pace,
    "remaining": wording.remaining,
    "error_line": wording.error_line,
    "ending": _ending,
    "look": model.LOOKS.__getitem__,
    "coloured": coloured,
    "num": "{:,}".format,
    "number": _number,
    "time_of_day": _time_of_day,
    "local": _local,
    "level": _level,
    "file_name": lambda path: PurePath(path).name,
    "json": json_text.dumps,
}
