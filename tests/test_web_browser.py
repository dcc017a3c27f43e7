"""The page in a real browser: live along a chain, followed, searched, started and stopped, and nothing hostile acts.

One browser and one server serve all tests of this file; each test has its own runs and its own gates.
"""

import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stagerun import events
from stagerun.reports.html import rendering
from stagerun.states import RunState
from stagerun.text import json_text
from tests.browser import Browsing, Served, browsing_of, chromium, lines_of, needs_chromium, served, wait
from tests.conftest import Project, new_project
from tests.journals import Opened
from tests.processes import logged, look, rows, running, until
from tests.serving import Command


if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

SHOP = """
import os, pathlib, time
from typing import Annotated

def gate(name):
    folder = os.environ.get("GATES")  # a run of no test in particular stops at none
    while folder and not pathlib.Path(folder, name).exists():
        time.sleep(0.01)

class First(LiveOperation):
    '''The first of a chain.'''
    stages = ["Load", "Save"]
    limit: Annotated[int, "how many"] = 3

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            for number in range(self.limit):
                p.log(f"order {number}")
            gate("save")
        with p.stage("Save"):
            for number in p.track(range(4), unit="order"):
                p.log(f"saved {number}")
                gate(f"item{number}")
            gate("chain")
        p.chain_to(Second(owner=self.owner))

class Second(LiveOperation):
    stages = ["Check"]

    def run(self, p: Progress) -> None:
        with p.stage("Check"):
            p.log("checking")
            gate("third")
        p.chain_to(Third(owner=self.owner))

class Third(LiveOperation):
    stages = ["Tell"]

    def run(self, p: Progress) -> None:
        with p.stage("Tell"):
            p.log("telling")
            gate("end")
        p.result(told=3)

class Talk(LiveOperation):
    stages = ["Talk"]

    def run(self, p: Progress) -> None:
        with p.stage("Talk"):
            for number in range(1, 301):
                p.log(f"line number {number}")
            gate("more")
            for number in range(301, 341):
                p.log(f"line number {number}")
            gate("end")

class Mended(LiveOperation):
    stages = ["Build", "Publish"]
    mark: str = "never"

    def run(self, p: Progress) -> None:
        p.step("Build", lambda: 1)
        with p.stage("Publish"):
            p.log("publishing")
            if not pathlib.Path(self.mark).exists():
                raise ConnectionError("403 Forbidden")

class Long(LiveOperation):
    stages = ["S0", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9"]

    def run(self, p: Progress) -> None: ...

class Hostile(LiveOperation):
    '''<script>alert(0)</script>'''
    stages = ['"><img src=http://127.0.0.1:1/x onerror=alert(1)>', "<svg onload=alert(2)>"]
    note: str = "' autofocus onfocus='alert(3)"

    def run(self, p: Progress) -> None:
        gate("go")
        with p.stage(self.stages[0]):
            for text in ("<img src=x onerror=alert(4)>", "<script>alert(5)</script>", "</ol></div><iframe src=//x>"):
                p.log(text)
            p.log('<div id="op-stages" hx-swap-oob="true">gone</div>')
            p.log('{"liveop_chain": {"from": 1, "to": 99, "after": 0}}')
            p.status("<script>alert(6)</script>")
            for _ in p.track(range(2), label="<img src=x onerror=alert(7)>", unit="<b>"):
                pass
        p.result({"<img src=x onerror=alert(8)>": "<script>alert(9)</script>"})
        raise ValueError("<img src=x onerror=alert(10)>")
"""


@dataclass
class Shop:
    """The project, and the gates of one test.

    Attributes:
        project: with the runs that `prepared` names, and those of other tests.
        gates: the folder whose files open the gates of this test's runs.
        process: the command that runs now.

    """

    project: Project
    gates: Path
    process: Command | None = None

    def open(self, *names: str) -> None:
        for name in names:
            (self.gates / name).touch()

    @contextmanager
    def running(self, operation: str, lines: int = 0) -> Iterator[int]:
        """Start an operation; yield its run when it has said so many lines."""
        file = self.gates / "run-id"
        file.unlink(missing_ok=True)
        command = ["run", f"shop:{operation}", "--run-id-file", str(file)]
        with running(self.project, *command, environ={"GATES": str(self.gates)}) as self.process:
            until(lambda: file.exists() and file.read_text().strip())
            run = int(file.read_text())
            until(lambda: len(logged(self.project, run)) >= lines)
            yield run


# The runs of `prepared`.
FAILED, CHAINED, LONG, RESUMED = 1, (2, 3, 4), 5, 7
ITEMS = ("item0", "item1", "item2", "item3")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a run that failed, a chain of three, and a run of 1,000,000 lines."""
    project = new_project(tmp_path_factory.mktemp("prepared"))
    project.recipe("shop", SHOP)
    for name in ("Mended", "First", "Long", "Mended"):
        project.stagerun("run", f"shop:{name}")
    project.stagerun("resume", "last")
    with closing(Opened(project.journal)) as opened, opened.transaction():
        sql = f"INSERT INTO events VALUES ({LONG}, ?, 0, ?, ?)"
        opened.connection.execute("DELETE FROM events WHERE run_id = ? AND kind = 'run_finished'", (LONG,))
        opened.connection.executemany(sql, _long_log())
    return project


def _long_log() -> Iterator[tuple[int, str, str]]:
    """Yield number, kind and data of the events that ten stages of 100,000 lines would have left."""
    seq = 3
    for stage in range(10):
        yield seq, "stage_entered", json_text.dumps(events.StageEntered(stage=f"S{stage}", index=stage))
        for row in range(1000):
            first = stage * 100_000 + row * 100 + 1
            text = "\n".join(f"line {number} of a million" for number in range(first, first + 100))
            yield seq + 1 + row * 100, "log", json_text.dumps(events.Log(text))
        seq += 100_001
        left = {"stage": f"S{stage}", "index": stage, "state": "done", "seconds": 1.0}
        yield seq, "stage_left", json_text.dumps(left)
        seq += 1


@pytest.fixture(scope="module")
def server(prepared: Project) -> Iterator[Served]:
    with served(prepared) as started:
        yield started


@pytest.fixture
def shop(prepared: Project, tmp_path: Path) -> Shop:
    gates = tmp_path / "gates"
    gates.mkdir()
    return Shop(prepared, gates)


@pytest.fixture
def browsing(browser: "Browser", server: Served) -> Iterator[Browsing]:
    with browsing_of(browser, server) as found:
        yield found


# Live


def test_a_page_walks_a_chain_of_three_with_all_that_changes_and_never_loads_anew(
    shop: Shop, browsing: Browsing
) -> None:
    with shop.running("First", lines=3) as run:
        page = browsing.open_live(f"/runs/{run}")
        page.wait_for_selector(".step.active >> text=Load")
        shop.open("save")
        page.wait_for_selector(".step.done >> text=Load")
        shop.open("item0", "item1")
        page.wait_for_selector("text=2/4 orders")
        told = {
            "lines": lines_of(page),
            "percent": page.locator("#op-progress progress").get_attribute("value"),
            "title": page.title(),
            "spoken": page.locator("#op-said").inner_text(),
            "icon": page.locator("#icon").get_attribute("href"),
        }
        before = page.locator(".step.active .clock").inner_text()
        wait(page, f"document.querySelector('.step.active .clock').textContent !== '{before}'")
        shop.open(*ITEMS, "chain")
        page.wait_for_selector("text=checking")
        second = (page.url, page.locator("#op-progress progress").get_attribute("value"))
        shop.open("third")
        page.wait_for_selector("text=telling")
        shop.open("end")
        page.wait_for_selector("text=Succeeded in")

    assert told == {
        "lines": [1, 2, 3, 4, 5, 6],
        "percent": "50",
        "title": f"● Save · shop:First #{run}",
        "spoken": "stage 2 of 2: Save",
        "icon": "/icon/active.svg",
    }
    assert second == (f"{browsing.server.address}/runs/{run + 1}", "0")
    assert page.url == f"{browsing.server.address}/runs/{run + 2}"
    assert page.evaluate("window.marker") == 1
    assert page.title() == f"✓ succeeded · shop:Third #{run + 2}"
    assert page.locator("#icon").get_attribute("href") == "/icon/done.svg"
    crumbs = page.locator(".crumbs li").all_text_contents()
    assert crumbs == [f"{name}, succeeded" for name in ("First", "Second", "Third")]
    assert page.locator("main.op").count() == 1
    assert page.locator("#link").is_hidden()


def test_a_page_returns_by_itself_when_the_server_was_killed_during_a_chain(shop: Shop, browser: "Browser") -> None:
    shop.open("save", *ITEMS)
    with (
        served(shop.project) as server,
        shop.running("First", lines=3) as run,
        browsing_of(browser, server) as browsing,
    ):
        page = browsing.open_live(f"/runs/{run}")
        server.kill()
        page.wait_for_selector("#link.lost")
        shop.open("chain")
        until(lambda: rows(shop.project, "SELECT 1 FROM runs WHERE id = ?", run + 1))
        server.start()
        page.wait_for_selector("text=checking", timeout=60_000)
        assert page.url.endswith(f"/runs/{run + 1}")
        shop.open("third")
        page.wait_for_selector("text=telling")
        assert page.evaluate("window.marker") == 1
        browsing.complaints.clear()  # the browser tells that the server was away


def test_a_page_whose_token_was_replaced_says_what_to_do(browser: "Browser", tmp_path: Path) -> None:
    project = new_project(tmp_path)
    with served(project) as server, browsing_of(browser, server) as browsing:
        page = browsing.open_live("/")
        server.kill()
        server.start("--new-token")
        page.wait_for_selector("#link.over", timeout=60_000)
        assert "open the address that stagerun serve printed" in page.locator("#link").inner_text()
        browsing.complaints.clear()


def test_two_browsers_see_the_same(shop: Shop, browsing: Browsing) -> None:
    with shop.running("First", lines=3) as run:
        pages = [browsing.open_live(f"/runs/{run}"), browsing.open_live(f"/runs/{run}")]
        shop.open("save", *ITEMS)
        for page in pages:
            page.wait_for_selector("text=saved 3")
        regions = [page.locator("#op-stages").inner_html() for page in pages]

        assert lines_of(pages[0]) == lines_of(pages[1]) == list(range(1, 8))
        assert regions[0].count("done") == regions[1].count("done")


def test_the_start_page_shows_what_runs_and_takes_it_away_when_it_is_over(shop: Shop, browsing: Browsing) -> None:
    page = browsing.open_live("/")
    with shop.running("Second") as run:
        card = f"#running [data-run='{run}']"
        page.wait_for_selector(f"{card} >> text=shop:Second", timeout=60_000)
        wait(page, rf"/^\d+\.\ds$/.test(document.querySelector(`{card} .clock`)?.textContent)")
        shop.open("third", "end")
        wait(page, f"!document.querySelector(`{card}`)")
        page.wait_for_selector(f"#history tr:has(a[href='/runs/{run}']) >> text=succeeded")
        assert page.evaluate("window.marker") == 1


def test_the_log_follows_until_the_reader_scrolls_up_and_then_nothing_moves(shop: Shop, browsing: Browsing) -> None:
    with shop.running("Talk", lines=300) as run:
        page = browsing.open_live(f"/runs/{run}")
        at_end = "log => log.scrollTop + log.clientHeight > log.scrollHeight - 50"
        wait(page, f"({at_end})(document.querySelector('#op-log'))")
        page.hover("#op-log")
        page.mouse.wheel(0, -900)
        page.wait_for_selector("#follow:visible")
        place = page.eval_on_selector("#op-log", "log => log.scrollTop")
        shop.open("more")
        page.wait_for_selector("text=40 lines more")
        assert page.eval_on_selector("#op-log", "log => log.scrollTop") == place
        assert lines_of(page)[-1] == 300
        page.click("#follow")
        page.wait_for_selector("#L340")
        assert page.locator("#follow").is_hidden()
        assert lines_of(page) == list(range(1, 341))
        page.keyboard.press("f")
        assert page.locator("#follow").is_visible()


def test_focus_and_open_folds_survive_a_swap(shop: Shop, browsing: Browsing) -> None:
    with shop.running("First", lines=3) as run:
        page = browsing.open_live(f"/runs/{run}")
        page.click("#sure summary")
        page.click("#fold-1-head")
        page.focus("#op-stages a")
        shop.open("save")
        page.wait_for_selector(".step.done >> text=Load")
        assert page.evaluate("document.activeElement.textContent") == "Load"
        assert page.locator("#sure").get_attribute("open") is not None
        assert page.locator("#fold-1").get_attribute("open") is None


NOTIFICATIONS = """
window.told = [];
window.Notification = class {
  static requestPermission() { told.push("asked"); return Promise.resolve("granted"); }
  constructor(title) { told.push(title); }
};
"""


def test_a_notification_is_asked_for_by_its_button_alone_and_comes_at_the_end_of_the_chain(
    shop: Shop, browsing: Browsing
) -> None:
    context = browsing.new_context()
    context.add_init_script(NOTIFICATIONS)
    with shop.running("Second") as run:
        page = browsing.open_live(f"/runs/{run}", context)
        assert page.evaluate("told") == []
        page.click("#notify")
        page.click("#times")
        page.wait_for_selector("#notify[aria-pressed=true]")
        assert page.evaluate("told") == ["asked"]
        shop.open("third")
        page.wait_for_selector("text=telling")
        assert page.evaluate("told") == ["asked"]
        assert page.locator("#L1 time").is_visible()
        shop.open("end")
        wait(page, "told.length > 1")

    assert page.evaluate("told") == ["asked", f"✓ succeeded · shop:Third #{run + 1}"]
    assert page.locator("#notify").is_hidden()


# Acting


def test_a_run_is_cancelled_from_its_page(shop: Shop, browsing: Browsing) -> None:
    with shop.running("First", lines=3) as run:
        page = browsing.open_live(f"/runs/{run}")
        page.click("#op-actions summary")
        page.click("text=Stop this run")
        page.wait_for_selector(".pill.cancelled")
        assert shop.process is not None
        shop.process.communicate(timeout=60)

    assert look(shop.project, run).state is RunState.CANCELLED
    page.wait_for_selector("text=Resume…")
    assert page.locator("#sure").count() == 0


def test_a_run_that_failed_is_resumed_from_its_page_after_its_plan_was_shown(shop: Shop, browsing: Browsing) -> None:
    mark = str(shop.gates / "mended")
    shop.project.stagerun("run", "shop:Mended", "--mark", mark, "--run-id-file", str(shop.gates / "run-id"))
    run = int((shop.gates / "run-id").read_text())
    page = browsing.open(f"/runs/{run}")
    assert page.locator("#op-error").inner_text() == "ConnectionError: 403 Forbidden"
    assert page.eval_on_selector_all(".fold[open] .name", "all => all.map(each => each.textContent)") == ["Publish"]
    shop.open("mended")
    page.click("text=Resume…")
    assert "Build" in page.locator(".plan").inner_text()
    page.click("button:has-text('Resume')")
    page.wait_for_selector("text=Succeeded in")

    assert page.url.endswith(f"/runs/{run + 1}")
    assert f"from run {run}" in page.locator("#op-stages").inner_text()


def test_a_form_keeps_its_values_and_shows_errors_beside_fields_until_it_starts_a_run(
    shop: Shop, browsing: Browsing
) -> None:
    page = browsing.open("/")
    page.click("article:has-text('shop:First') >> text=Start…")
    page.fill("#field-limit", "many")
    page.click("button:has-text('Start')")
    assert "can't be 'many'" in page.locator("#wrong-limit").inner_text()
    assert page.input_value("#field-limit") == "many"
    page.fill("#field-limit", "5")
    page.click("button:has-text('Start')")
    page.wait_for_selector("text=Succeeded in")

    run = int(page.url.rpartition("/")[2])
    begun = {look(shop.project, each).plan.operation: each for each in range(run - 2, run + 1)}
    assert look(shop.project, begun["First"]).plan.params == {"limit": 5}
    browsing.complaints.clear()  # the browser tells of the answer 422


def test_a_run_outlives_the_server_that_started_it(shop: Shop, browser: "Browser") -> None:
    with served(shop.project, GATES=str(shop.gates)) as server, browsing_of(browser, server) as browsing:
        page = browsing.open("/operations/shop:Third")
        page.click("button:has-text('Start')")
        page.wait_for_selector("text=telling")
        run = int(page.url.rpartition("/")[2])
        page.close()
        server.stop()
        shop.open("end")

        until(lambda: rows(shop.project, "SELECT 1 FROM runs WHERE id = ? AND state = 'succeeded'", run))


def test_a_browser_that_serve_opens_enters_without_a_token_on_a_command_line(
    shop: Shop, browser: "Browser", tmp_path: Path
) -> None:
    opener = tmp_path / "opener"
    opener.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/draft; mv {tmp_path}/draft {tmp_path}/opened\n')
    opener.chmod(0o755)
    with served(shop.project, "--open", BROWSER=str(opener)) as server, browsing_of(browser, server) as browsing:
        until((tmp_path / "opened").exists)
        address = (tmp_path / "opened").read_text().strip()
        page = browser.new_context().new_page()
        page.goto(address)
        page.wait_for_selector("h2 >> text=Operations")

        assert server.token not in address
        assert page.url == f"{server.address}/"
        browsing.complaints.clear()


# A long log


def test_a_link_into_the_middle_of_a_million_lines_leads_there(browsing: Browsing) -> None:
    page = browsing.open(f"/runs/{LONG}#L500123")
    page.wait_for_selector("#L500123.hit", timeout=60_000)

    assert page.locator("#L500123 span").text_content() == "line 500123 of a million"
    in_sight = "(box => box.top > 0 && box.bottom < innerHeight)"
    wait(page, f"{in_sight}(document.querySelector('#L500123').getBoundingClientRect())")
    assert len(lines_of(page)) <= 2000
    gaps = page.eval_on_selector_all(
        ".gap", "all => all.reduce((sum, gap) => sum + 1 + Number(gap.dataset.last) - Number(gap.dataset.first), 0)"
    )
    assert gaps + len(lines_of(page)) == 1_000_000
    page.evaluate("location.hash = '#L7'")
    page.wait_for_selector("#L7.hit")
    assert len(lines_of(page)) <= 2000


def test_a_search_counts_all_hits_and_goes_from_one_to_the_next(browsing: Browsing) -> None:
    page = browsing.open(f"/runs/{LONG}")
    page.keyboard.press("/")
    page.fill("#q:focus", "LINE 77712")
    page.wait_for_selector("text=11 found", timeout=60_000)
    page.keyboard.press("Enter")
    page.wait_for_selector("#L77712.hit")
    assert page.locator("#hits").inner_text() == "1 of 11"
    page.keyboard.press("Enter")
    page.wait_for_selector("#L777120.hit")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector("#L77712.hit")
    assert page.locator(".hit").count() == 1
    page.fill("#q", "of a million")
    back, on = "Shift+Enter", "Enter"
    for key, line in ((on, 1), (back, 1_000_000), (on, 1)):
        page.keyboard.press(key)
        page.wait_for_selector(f"#L{line}.hit")
    page.evaluate("for (let times = 0; times < 100; times++) document.querySelector('#hit-on').click()")
    page.wait_for_selector("#L101.hit")
    assert page.locator("#hits").inner_text() == "101 of 1,000,000"
    page.keyboard.press(back)
    page.wait_for_selector("#L100.hit")


def test_a_gap_loads_the_lines_that_follow(browsing: Browsing) -> None:
    page = browsing.open(f"/runs/{LONG}?line=300")
    gap = page.locator(".gap").first
    assert lines_of(page)[0] == 100
    gap.click()
    page.wait_for_selector("#L1")
    assert lines_of(page)[:500] == list(range(1, 501))


def test_all_is_done_by_keyboard_and_the_keys_are_listed(browsing: Browsing) -> None:
    page = browsing.open(f"/runs/{LONG}")
    focused = []
    for key in ("j", "j", "k"):
        page.keyboard.press(key)
        focused.append(page.evaluate("document.activeElement.id"))
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()
    page.keyboard.press("/")
    focused.append(page.evaluate("document.activeElement.id"))

    assert focused == ["fold-1-head", "fold-2-head", "fold-1-head", "q"]


def test_the_log_of_a_stage_and_the_command_are_copied(browsing: Browsing) -> None:
    context = browsing.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = browsing.open(f"/runs/{FAILED}", context)

    def copied(selector: str) -> str:
        page.evaluate("navigator.clipboard.writeText('')")
        page.click(selector)
        wait(page, "navigator.clipboard.readText()")
        text: str = page.evaluate("navigator.clipboard.readText()")
        return text

    assert copied("[data-copy='#op-error']") == "ConnectionError: 403 Forbidden"
    assert copied("[data-copy-lines='2']") == "publishing\n"
    page.click("#fold-1-head")
    assert [page.locator(f"#fold-{number} > .copy").is_visible() for number in (1, 2)] == [False, True]  # 1 is empty
    page.click("text=Details")
    assert copied("[data-copy='#op-command']") == "stagerun run shop:Mended --mark=never"


# Nothing hostile acts


def test_nothing_that_a_hostile_recipe_says_acts(shop: Shop, browsing: Browsing) -> None:
    with shop.running("Hostile") as run:
        page, start = browsing.open_live(f"/runs/{run}"), browsing.open_live("/")
        shop.open("go")
        assert shop.process is not None
        shop.process.communicate(timeout=60)
        page.wait_for_selector("#op-error")
        wait(start, f"!document.querySelector(`#running [data-run='{run}']`)")
    other = browsing.open("/")
    for path in (f"/runs/{run}", f"/runs/{run}/resume", f"/operations/shop:Hostile?like={run}"):
        other.goto(browsing.server.address + path)
        wait(other, "document.documentElement.matches('.scripted')")
    other.goto(f"{browsing.server.address}/runs/{run}/report.html")

    assert page.url.endswith(f"/runs/{run}")
    assert page.locator("#op-stages li").count() == 2
    assert '<div id="op-stages" hx-swap-oob="true">gone</div>' in page.locator("#op-log").inner_text()


ATTACK = """
<!doctype html><title>elsewhere</title><body><script>
window.found = {};
const note = (name, value) => { window.found[name] = value; };
const target = "TARGET";
const socket = new WebSocket(target.replace("http", "ws") + "/runs/RUN/live");
socket.onopen = () => note("socket", "open"); socket.onerror = () => note("socket", "refused");
const told = {credentials: "include"}, sent = {...told, method: "POST", mode: "no-cors"};
fetch(target + "/runs/RUN.json", told).then(() => note("fetch", "read"), () => note("fetch", "refused"));
fetch(target + "/runs/RUN/cancel", sent).then(() => note("post", "sent"), () => note("post", "kept back"));
const frame = document.createElement("iframe"); frame.src = target + "/runs/RUN"; document.body.append(frame);
frame.onload = () => note("frame", "loaded");
const form = document.createElement("form"); form.method = "post"; form.target = "other";
form.action = target + "/runs/RUN/cancel"; document.body.append(form);
const other = document.createElement("iframe"); other.name = "other"; document.body.append(other);
other.onload = () => note("form", "answered"); form.submit();
const script = document.createElement("script"); script.src = target + "/runs/RUN.json";
script.onload = () => note("script", "read"); script.onerror = () => note("script", "refused");
document.body.append(script);
</script>
"""


def test_a_page_of_another_origin_reads_nothing_and_stops_nothing(
    shop: Shop, browsing: Browsing, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with shop.running("Third", lines=1) as run, _serving(elsewhere) as address:
        attack = ATTACK.replace("TARGET", browsing.server.address).replace("RUN", str(run))
        (elsewhere / "index.html").write_text(attack)
        page = browsing.new_context().new_page()
        page.goto(address)
        wait(page, "['socket', 'fetch', 'post', 'frame', 'form', 'script'].every(name => name in window.found)")
        found = page.evaluate("window.found")
        texts = [frame.content() for frame in page.frames[1:]]
        assert look(shop.project, run).state is RunState.RUNNING

    assert (found["socket"], found["fetch"], found["script"]) == ("refused", "refused", "refused")
    assert len(texts) == 2
    assert not any("shop:Third" in text for text in texts)
    assert rows(shop.project, "SELECT * FROM cancel_requests WHERE run_id = ?", run) == []
    browsing.complaints.clear()
    browsing.requests.clear()


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; yield the address."""
    handler = partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_address[1]}/"
        site.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *told: object) -> None: ...


# For everybody


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A function that returns a file of an npm package; the test is skipped where there is no npm or no network."""
    folder = tmp_path_factory.mktemp("npm")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
    names = ("axe-core@4", "htmx.org@2.0.11", "htmx-ext-ws@2.0.4")
    done = subprocess.run([*command, *names], check=False, capture_output=True, timeout=120)
    if done.returncode != 0:
        pytest.skip("npm can't fetch packages")
    return lambda file: (folder / "node_modules" / file).read_text()


def test_every_page_fits_a_phone_and_axe_finds_nothing_in_light_or_dark(
    shop: Shop, browsing: Browsing, packages: Callable[[str], str]
) -> None:
    axe, context = packages("axe-core/axe.min.js"), browsing.new_context(bypass_csp=True)
    found, page = {}, context.new_page()
    with shop.running("First", lines=3) as run:
        shop.open("save")
        first, last = CHAINED[0], CHAINED[-1]
        paths = ["/", "/?since=nonsense", f"/runs/{FAILED}", f"/runs/{last}", f"/runs/{run}"]
        paths += [f"/runs/{RESUMED}", f"/runs/{LONG}?line=20"]
        paths += [f"/runs/{FAILED}/resume", f"/runs/{FAILED}/rerun", "/operations/shop:First", "/runs/999999"]
        for path in (*paths, f"/runs/{first}/report.html", "wrong", "refused"):
            page.goto(browsing.server.address + (path if path.startswith("/") else "/operations/shop:First"))
            if path == "wrong":
                page.fill("#field-limit", "many")
                page.click("button:has-text('Start')")
                page.wait_for_selector("#wrong-limit")
            if path == "refused":
                context.clear_cookies()
                page.reload()
            found[path] = _faults(page, axe)

    assert {path: told for path, told in found.items() if told} == {}
    assert "not known here" in page.content()
    browsing.complaints.clear()  # the browser tells of 403, 404 and 422


def _faults(page: "Page", axe: str) -> list[object]:
    """Return what is wrong with a page on a desk, by daylight and at night, and how much wider it is than a phone."""
    page.evaluate(axe)
    found = []
    few = "{exclude: [['.lines li:nth-child(n+9)']]}"  # one line of a log is like the next
    all_rules, colours = "{resultTypes: ['violations']}", "{resultTypes: ['violations'], runOnly: ['color-contrast']}"
    for scheme, rules in (("light", all_rules), ("dark", colours)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        told = page.evaluate(f"axe.run({few}, {rules}).then(told => told.violations)")
        found += [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in told]
    page.set_viewport_size({"width": 390, "height": 844})
    wider = page.evaluate("document.documentElement.scrollWidth") - 390
    page.set_viewport_size({"width": 1280, "height": 720})
    return found + ([("wider than a phone", wider)] if wider else [])


def test_who_wants_no_motion_gets_none(shop: Shop, browsing: Browsing) -> None:
    moving = {}
    with shop.running("First", lines=3) as run:
        for motion in ("no-preference", "reduce"):
            page = browsing.open_live(f"/runs/{run}", browsing.new_context(reduced_motion=motion))
            moving[motion] = page.evaluate("document.getAnimations().length > 0")
            page.close()

    assert moving == {"no-preference": True, "reduce": False}


def test_a_printed_page_has_the_whole_log_that_is_loaded_in_black_on_white_and_no_buttons(browsing: Browsing) -> None:
    page = browsing.open(f"/runs/{LONG}?line=20", browsing.new_context(color_scheme="dark"))
    page.emulate_media(media="print")
    shown = "each => [...document.querySelectorAll(each)].filter(one => one.checkVisibility()).length"

    assert page.evaluate(shown, ".bar, .button, .copy, .tools, #follow") == 0
    for name, value in (("color", "rgb(29, 31, 35)"), ("background-color", "rgb(255, 255, 255)")):
        assert page.eval_on_selector("#op-log", f"log => getComputedStyle(log)['{name}']") == value
    assert page.evaluate("document.documentElement.scrollHeight") > 220 * 15


def test_without_a_script_a_page_is_whole_and_its_forms_work(shop: Shop, browsing: Browsing) -> None:
    mark = str(shop.gates / "mended")
    shop.project.stagerun("run", "shop:Mended", "--mark", mark, "--run-id-file", str(shop.gates / "run-id"))
    run = int((shop.gates / "run-id").read_text())
    shop.open("mended")
    page = browsing.open(f"/runs/{run}", browsing.new_context(java_script_enabled=False))

    assert "ConnectionError: 403 Forbidden" in page.locator("#op-error").inner_text()
    assert "publishing" in page.locator("#op-log").inner_text()
    assert page.locator("#times").is_hidden()
    page.click("text=Resume…")
    page.click("button:has-text('Resume')")
    assert page.url.endswith(f"/runs/{run + 1}")
    page.goto(f"{browsing.server.address}/runs/{LONG}")
    page.fill("#line", "500123")
    page.click("button:has-text('Go')")
    assert page.locator("#L500123").is_visible()
    with shop.running("Third") as waiting:
        page.goto(f"{browsing.server.address}/runs/{waiting}")
        page.click("#op-actions summary")
        page.click("text=Stop this run")
        page.wait_for_selector(".pill.cancelled")  # it loads anew by itself


# The wire is that of htmx


HOST = """
<div id="place" hx-ext="ws" ws-connect="/runs/RUN/live"><main id="op-RUN">REGIONS<p id="op-said"></p></main></div>
"""
GLUE = """
document.body.addEventListener("htmx:wsAfterMessage", event => {
  if (!event.detail.message.startsWith("{")) return;
  const chain = JSON.parse(event.detail.message).liveop_chain;
  if (!chain) return;
  const place = document.getElementById("place"), next = place.cloneNode(false);
  next.append(...place.childNodes);
  next.setAttribute("ws-connect", `/runs/${chain.to}/live`);
  place.replaceWith(next);
  htmx.process(next);
});
"""


def test_the_real_htmx_follows_a_chain_of_three(shop: Shop, browsing: Browsing, packages: Callable[[str], str]) -> None:
    shop.open("save", *ITEMS)
    with shop.running("First", lines=7) as run:
        page = browsing.open(f"/runs/{FAILED}/report.html", browsing.new_context(bypass_csp=True))
        regions = "".join(f'<div id="op-{name}"></div>' for name in (*rendering.REGIONS, "log"))
        for script in (packages("htmx.org/dist/htmx.js"), packages("htmx-ext-ws/ws.js"), GLUE):
            page.add_script_tag(content=script)
        host = HOST.replace("RUN", str(run)).replace("REGIONS", regions)
        page.evaluate(f"document.body.innerHTML = `{host}`; window.marker = 1;")
        page.evaluate("htmx.process(document.body)")
        page.wait_for_selector("text=saved 3")
        assert page.locator(".step.done").count() == 1
        assert sorted(lines_of(page)) == list(range(1, 8))
        shop.open("chain")
        page.wait_for_selector(f"main#op-{run + 1} >> text=checking")
        shop.open("third")
        page.wait_for_selector(f"main#op-{run + 2} >> text=telling")
        shop.open("end")
        page.wait_for_selector("text=Succeeded in")

    assert page.evaluate("window.marker") == 1
    assert page.locator("main").count() == 1
    assert re.findall(r'id="(L\d+)"', page.content()) == ["L1"]
    browsing.complaints.clear()  # the browser asks for the icon of a page that has none
