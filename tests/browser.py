"""A server and a browser for tests: the real command on a free port, and Chromium where there is one."""

import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Project
from tests.processes import until
from tests.serving import Command


if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-default-apps", "--disable-extensions", "--disable-sync", "--no-first-run"),
)


@dataclass
class Served:
    """The command `stagerun serve`, running in a project."""

    project: Project
    port: int = 0
    process: Command | None = None

    def start(self, *options: str, **environ: str) -> None:
        """Start it, on the same port as before."""
        self.process = self.project.start("serve", "--port", str(self.port), *options, environ=environ)
        told = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", told)
        assert found is not None, told + self.process.communicate()[1]
        self.port = int(found[1])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def stop(self) -> str:
        """End it as Ctrl-C does, and return what it said on stderr."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=20)[1]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.project.root / ".stagerun" / "web-token").read_text().strip()


@contextmanager
def served(project: Project, *options: str, **environ: str) -> Iterator[Served]:
    server = Served(project)
    server.start(*options, **environ)
    try:
        yield server
    finally:
        server.kill()


@dataclass
class Browsing:
    """One browser that has entered a server; everything it complains about is in `complaints`."""

    browser: "Browser"
    server: Served
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def new_context(self, **options: object) -> "BrowserContext":
        """Return a profile that has entered; without motion, which costs much where software draws."""
        context = self.browser.new_context(**{"reduced_motion": "reduce", **options})  # type: ignore[arg-type]
        context.on("page", self._listen)
        name = f"stagerun-{self.server.port}"
        context.add_cookies([{"name": name, "value": self.server.token, "url": self.server.address}])
        return context

    def open(self, path: str, context: "BrowserContext | None" = None) -> "Page":
        page = (context or self.new_context()).new_page()
        page.goto(self.server.address + path)
        return page

    def open_live(self, path: str, context: "BrowserContext | None" = None) -> "Page":
        """Open a page, and wait until it is told what changes."""
        page = self.open(path, context)
        page.wait_for_selector("#link.live")
        page.evaluate("window.marker = 1")
        return page

    def _listen(self, page: "Page") -> None:
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event => console.error('policy: ' + event.violatedDirective))"
        )
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", self._dismiss)
        page.on("console", self._hear)
        page.on("request", lambda request: self.requests.append(request.url))

    def _dismiss(self, dialog: "Dialog") -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _hear(self, said: "ConsoleMessage") -> None:
        if said.type == "error":
            self.complaints.append(said.text)


@contextmanager
def chromium() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        browser.new_page().close()  # what it starts for its first page belongs to no test
        yield browser
        browser.close()


@contextmanager
def browsing_of(browser: "Browser", server: Served) -> Iterator[Browsing]:
    """Yield a browser in which nothing may go wrong and nothing may be asked of another server."""
    found = Browsing(browser, server)
    try:
        yield found
    finally:
        for context in browser.contexts:
            context.close()
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith((server.address, "ws://", "data:"))] == []


def wait(page: "Page", expression: str) -> None:
    # The page may not evaluate a text, but the browser's own protocol may.
    until(lambda: page.evaluate(expression))


def lines_of(page: "Page") -> list[int]:
    """Return the numbers of the lines in the log."""
    told: list[int] = page.eval_on_selector_all("#op-log li", "all => all.map(each => Number(each.id.slice(1)))")
    return told
