"""The documentation as a site: built without a warning, complete, and readable on a phone."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.browser import chromium, needs_chromium
from tests.conftest import REPOSITORY, plain_environ


PHONE: Final[Any] = {"width": 390, "height": 844}
DOCS: Final = REPOSITORY / "docs"
PAGES: Final = sorted(str(file.relative_to(DOCS)) for file in [*DOCS.glob("*.md"), *DOCS.glob("how-to/*.md")])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(REPOSITORY / "zensical.toml", folder)
    shutil.copytree(REPOSITORY / "docs", folder / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=folder, env=plain_environ(), capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


def _named(navigation: Any) -> Iterator[str]:
    for each in navigation if isinstance(navigation, list) else navigation.values():
        yield from [each] if isinstance(each, str) else _named(each)


def test_every_page_stands_in_the_navigation_once_and_on_the_first_page() -> None:
    settings = tomllib.loads((REPOSITORY / "zensical.toml").read_text("utf-8"))
    first = (REPOSITORY / "docs" / "index.md").read_text("utf-8")

    assert sorted(_named(settings["project"]["nav"])) == PAGES
    assert sorted(["index.md", *re.findall(r"\]\(([\w/-]+\.md)\)", first)]) == PAGES


@needs_chromium
@pytest.mark.soak
def test_no_page_of_the_site_is_wider_than_a_phone_or_asks_another_host_for_anything(site: Path) -> None:
    files = sorted(site.rglob("index.html"))
    wide, complaints, asked = dict[str, int](), list[str](), set[str]()

    with chromium() as browser:
        page = browser.new_page(viewport=PHONE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.partition(":")[0]))
        for file in files:
            page.goto(file.as_uri())
            width = page.evaluate("document.scrollingElement.scrollWidth")
            if width > PHONE["width"]:
                wide[str(file.parent.relative_to(site))] = width

    assert len(files) == len([*(REPOSITORY / "docs").rglob("*.md")])
    assert (wide, complaints, asked) == ({}, [], {"file"})


@needs_chromium
@pytest.mark.soak
def test_the_copy_button_of_a_block_copies_its_commands_without_prompts_and_output(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto((site / "tutorial" / "index.html").as_uri())
        buttons = page.locator(".language-console button[data-clipboard-target]")
        buttons.first.wait_for(state="attached")
        for place in range(buttons.count()):
            buttons.nth(place).dispatch_event("click")
        copied = buttons.evaluate_all("all => all.map(each => each.dataset.clipboardText)")

    shown = re.findall(r"^```console\n(.*?)^```", (DOCS / "tutorial.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert copied == ["\n".join(re.findall(r"^\$ (.*)", text, re.MULTILINE)) for text in shown]
