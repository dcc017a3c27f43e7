"""A server and a browser for tests: the real command on a free port, and Chromium where there is one."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Project


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
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start it, on the same port as before."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stagerun", "serve", "--port", str(self.port)],
            cwd=self.project.root,
            env=self.project.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
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
def served(project: Project) -> Iterator[Served]:
    server = Served(project)
    server.start()
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

    @cached_property
    def context(self) -> "BrowserContext":
        return self.new_context()

    def new_context(self, **options: object) -> "BrowserContext":
        context = self.browser.new_context(**options)  # type: ignore[arg-type]
        context.on("page", self._listen)
        page = context.new_page()
        page.goto(f"{self.server.address}/?token={self.server.token}")
        page.close()
        return context

    def open(self, path: str, context: "BrowserContext | None" = None) -> "Page":
        page = (context or self.context).new_page()
        page.goto(self.server.address + path)
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
        yield browser
        browser.close()
