"""The page in a real browser: live along a chain, followed, searched, started and stopped, and nothing hostile acts."""

import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stagerun import events
from stagerun.reports.html import rendering
from stagerun.states import RunState
from tests.browser import Browsing, Served, chromium, needs_chromium, served
from tests.conftest import Project, new_project
from tests.journals import Opened
from tests.processes import GATE, logged, look, open_gate, rows, running, until


if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

SHOP = (
    GATE
    + """
from typing import Annotated, Literal

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

    def run(self, p: Progress) -> None:
        p.step("Build", lambda: 1)
        with p.stage("Publish"):
            p.log("publishing")
            if not pathlib.Path("mended").exists():
                raise ConnectionError("403 Forbidden")

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
)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as started:
        yield started


@pytest.fixture
def shop(project: Project) -> Project:
    project.recipe("shop", SHOP)
    return project


@pytest.fixture
def server(shop: Project) -> Iterator[Served]:
    with served(shop) as started:
        yield started


@pytest.fixture
def browsing(browser: "Browser", server: Served) -> Iterator[Browsing]:
    found = Browsing(browser, server)
    yield found
    for context in browser.contexts:
        context.close()
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith((server.address, "ws://", "data:"))] == []


def _begun(project: Project, lines: int = 1) -> None:
    until(lambda: project.journal.exists() and len(logged(project, 1)) >= lines)


def _lines(page: "Page") -> list[int]:
    told: list[int] = page.eval_on_selector_all("#op-log li", "all => all.map(each => Number(each.id.slice(1)))")
    return told


def _wait(page: "Page", expression: str) -> None:
    # The page may not evaluate a text, but the browser's own protocol may.
    until(lambda: page.evaluate(expression))


def _open_all(project: Project, *names: str) -> None:
    for name in names:
        open_gate(project, name)


ITEMS = ("item0", "item1", "item2", "item3")


def test_stages_progress_and_lines_appear_without_a_reload(shop: Project, browsing: Browsing) -> None:
    with running(shop, "run", "shop:First"):
        _begun(shop, 3)
        page = browsing.open("/runs/1")
        page.evaluate("window.marker = 1")
        page.wait_for_selector(".step.active >> text=Load")
        open_gate(shop, "save")
        page.wait_for_selector(".step.done >> text=Load")
        page.wait_for_selector("text=saved 0")
        _open_all(shop, "item0", "item1")
        page.wait_for_selector("text=2/4 orders")
        assert page.locator("#op-progress progress").get_attribute("value") == "50"
        assert page.title() == "● Save · shop:First #1"
        assert page.locator("#op-said").inner_text() == "stage 2 of 2: Save"
        assert (page.locator("#icon").get_attribute("href") or "").endswith("active.svg")
        before = page.locator(".step.active .clock").inner_text()
        _wait(page, f"document.querySelector('.step.active .clock').textContent !== '{before}'")
        assert page.evaluate("window.marker") == 1
        _open_all(shop, *ITEMS, "chain", "third", "end")
        page.wait_for_selector("text=Succeeded in")


def test_a_page_walks_a_chain_of_three_without_a_reload(shop: Project, browsing: Browsing) -> None:
    _open_all(shop, "save", *ITEMS)
    with running(shop, "run", "shop:First"):
        _begun(shop, 3)
        page = browsing.open("/runs/1")
        page.evaluate("window.marker = 1")
        page.wait_for_selector("#link.live")
        open_gate(shop, "chain")
        page.wait_for_selector("text=checking")
        assert page.url == f"{browsing.server.address}/runs/2"
        open_gate(shop, "third")
        page.wait_for_selector("text=telling")
        open_gate(shop, "end")
        page.wait_for_selector("text=Succeeded in")

    assert page.url == f"{browsing.server.address}/runs/3"
    assert page.evaluate("window.marker") == 1
    assert page.locator(".crumbs li").all_text_contents() == [
        f"{name}, succeeded" for name in ("First", "Second", "Third")
    ]
    assert page.locator("main.op").count() == 1
    assert page.locator("#link").is_hidden()


def test_a_page_returns_by_itself_when_the_server_was_killed_during_a_chain(shop: Project, browsing: Browsing) -> None:
    _open_all(shop, "save", *ITEMS)
    with running(shop, "run", "shop:First"):
        _begun(shop, 3)
        page = browsing.open("/runs/1")
        page.evaluate("window.marker = 1")
        page.wait_for_selector("#link.live")
        browsing.server.kill()
        page.wait_for_selector("#link.lost")
        open_gate(shop, "chain")
        until(lambda: rows(shop, "SELECT 1 FROM runs WHERE id = 2"))
        browsing.server.start()
        page.wait_for_selector("text=checking", timeout=60_000)
        assert page.url.endswith("/runs/2")
        assert page.evaluate("window.marker") == 1
        _open_all(shop, "third", "end")
        page.wait_for_selector("text=telling")
    browsing.complaints.clear()  # the browser tells that the server was away


def test_a_page_whose_token_was_replaced_says_what_to_do(shop: Project, browsing: Browsing) -> None:
    with running(shop, "run", "shop:First"):
        _begun(shop, 3)
        page = browsing.open("/runs/1")
        page.wait_for_selector("#link.live")
        browsing.server.kill()
        (shop.root / ".stagerun" / "web-token").unlink()
        browsing.server.start()
        page.wait_for_selector("#link.over", timeout=60_000)
        assert "open the address that stagerun serve printed" in page.locator("#link").inner_text()
    browsing.complaints.clear()


def test_a_run_is_cancelled_from_its_page(shop: Project, browsing: Browsing) -> None:
    with running(shop, "run", "shop:First") as process:
        _begun(shop, 3)
        page = browsing.open("/runs/1")
        page.click("#op-actions summary")
        page.click("text=Stop this run")
        page.wait_for_selector(".pill.cancelled")
        process.communicate(timeout=60)

    assert look(shop, 1).state is RunState.CANCELLED
    assert page.locator("#op-actions").inner_text().split("\n") == ["Resume…", "Run again…"]


def test_a_run_that_failed_is_resumed_from_its_page_after_its_plan_was_shown(shop: Project, browsing: Browsing) -> None:
    shop.stagerun("run", "shop:Mended")
    page = browsing.open("/runs/1")
    assert page.locator("#op-error").inner_text() == "ConnectionError: 403 Forbidden"
    assert page.eval_on_selector_all(".fold[open] .name", "all => all.map(each => each.textContent)") == ["Publish"]
    open_gate(shop, "mended")
    page.click("text=Resume…")
    assert "Build" in page.locator(".plan").inner_text()
    page.click("button:has-text('Resume')")
    page.wait_for_selector("text=Succeeded in")

    assert page.url.endswith("/runs/2")
    assert "from run 1" in page.locator("#op-stages").inner_text()


def test_a_form_keeps_its_values_and_shows_errors_beside_fields_until_it_starts_a_run(
    shop: Project, browsing: Browsing
) -> None:
    _open_all(shop, "save", *ITEMS, "chain", "third", "end")
    page = browsing.open("/")
    page.click("article:has-text('shop:First') >> text=Start…")
    page.fill("#field-limit", "many")
    page.click("button:has-text('Start')")
    assert "can't be 'many'" in page.locator("#wrong-limit").inner_text()
    assert page.input_value("#field-limit") == "many"
    page.fill("#field-limit", "5")
    page.click("button:has-text('Start')")
    page.wait_for_selector("text=Succeeded in")

    assert page.url.endswith(("/runs/1", "/runs/2", "/runs/3"))
    assert look(shop, 1).plan.params == {"limit": 5}
    browsing.complaints.clear()  # the browser tells of the answer 422


def test_a_run_outlives_the_server_that_started_it(shop: Project, browsing: Browsing) -> None:
    page = browsing.open("/operations/shop:First")
    page.click("button:has-text('Start')")
    page.wait_for_selector("text=order 2")
    page.close()
    browsing.server.stop()
    _open_all(shop, "save", *ITEMS, "chain", "third", "end")

    until(lambda: rows(shop, "SELECT 1 FROM runs WHERE id = 3 AND state = 'succeeded'"))
    browsing.complaints.clear()


def test_two_browsers_see_the_same(shop: Project, browsing: Browsing) -> None:
    with running(shop, "run", "shop:First"):
        _begun(shop, 3)
        pages = [browsing.open("/runs/1"), browsing.open("/runs/1", browsing.new_context(color_scheme="dark"))]
        _open_all(shop, "save", *ITEMS)
        for page in pages:
            page.wait_for_selector("text=saved 3")
        assert _lines(pages[0]) == _lines(pages[1]) == list(range(1, 8))
        _open_all(shop, "chain", "third", "end")


def test_the_start_page_shows_what_runs_and_takes_it_away_when_it_is_over(shop: Project, browsing: Browsing) -> None:
    page = browsing.open("/")
    with running(shop, "run", "shop:Talk"):
        page.wait_for_selector("#running article >> text=shop:Talk", timeout=60_000)
        _wait(page, r"/^\d+\.\ds$/.test(document.querySelector('#running .clock').textContent)")
        _open_all(shop, "more", "end")
        _wait(page, "!document.querySelector('#running article')")
        page.wait_for_selector("#history td:has-text('succeeded')")


def test_the_log_follows_until_the_reader_scrolls_up_and_then_nothing_moves(shop: Project, browsing: Browsing) -> None:
    with running(shop, "run", "shop:Talk"):
        _begun(shop, 300)
        page = browsing.open("/runs/1")
        page.wait_for_selector("#link.live")
        _wait(
            page, "(log => log.scrollTop + log.clientHeight > log.scrollHeight - 50)(document.querySelector('#op-log'))"
        )
        page.hover("#op-log")
        page.mouse.wheel(0, -900)
        page.wait_for_selector("#follow:visible")
        place = page.eval_on_selector("#op-log", "log => log.scrollTop")
        open_gate(shop, "more")
        page.wait_for_selector("text=40 lines more")
        assert page.eval_on_selector("#op-log", "log => log.scrollTop") == place
        assert _lines(page)[-1] == 300
        page.click("#follow")
        page.wait_for_selector("#L340")
        assert page.locator("#follow").is_hidden()
        assert _lines(page) == list(range(1, 341))
        page.keyboard.press("f")
        assert page.locator("#follow").is_visible()
        open_gate(shop, "end")


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a finished run of 1,000,000 lines in ten stages."""
    project = new_project(tmp_path_factory.mktemp("million"))
    project.recipe(
        "shop", SHOP.replace('"Build", "Publish"', '"S0", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9"')
    )
    project.stagerun("run", "shop:Mended")
    opened = Opened(project.journal)
    with opened.transaction():
        connection = opened.connection
        connection.execute("DELETE FROM events WHERE run_id = 1 AND seq > 2")
        seq = 3
        for stage in range(10):
            about = {"stage": f"S{stage}", "index": stage}
            entered = events.StageEntered(stage=f"S{stage}", index=stage)
            connection.execute("INSERT INTO events VALUES (1, ?, 0, 'stage_entered', ?)", (seq, events.dumps(entered)))
            seq += 1
            for block in range(1000):
                first = stage * 100_000 + block * 100 + 1
                text = "\n".join(f"line {number} of a million" for number in range(first, first + 100))
                row = (seq, events.dumps(events.Log(text)))
                connection.execute("INSERT INTO events VALUES (1, ?, 0, 'log', ?)", row)
                seq += 100
            left = events.dumps(about | {"state": "done", "seconds": 1.0})
            connection.execute("INSERT INTO events VALUES (1, ?, 0, 'stage_left', ?)", (seq, left))
            seq += 1
    opened.close()
    return project


@pytest.fixture
def reading(browser: "Browser", million: Project) -> Iterator[Browsing]:
    with served(million) as started:
        found = Browsing(browser, started)
        yield found
        for context in browser.contexts:
            context.close()
        assert found.complaints == []


def test_a_link_into_the_middle_of_a_million_lines_leads_there(reading: Browsing) -> None:
    page = reading.open("/runs/1#L500123")
    page.wait_for_selector("#L500123.hit", timeout=60_000)

    assert page.locator("#L500123 span").text_content() == "line 500123 of a million"
    in_sight = "(box => box.top > 0 && box.bottom < innerHeight)"
    _wait(page, f"{in_sight}(document.querySelector('#L500123').getBoundingClientRect())")
    assert len(_lines(page)) <= 2000
    gaps = page.eval_on_selector_all(
        ".gap", "all => all.reduce((sum, gap) => sum + 1 + Number(gap.dataset.last) - Number(gap.dataset.first), 0)"
    )
    assert gaps + len(_lines(page)) == 1_000_000
    page.evaluate("location.hash = '#L7'")
    page.wait_for_selector("#L7.hit")
    assert len(_lines(page)) <= 2000


def test_a_search_counts_all_hits_and_goes_from_one_to_the_next(reading: Browsing) -> None:
    page = reading.open("/runs/1")
    page.keyboard.press("/")
    page.keyboard.type("LINE 77712")
    page.wait_for_selector("text=11 found", timeout=60_000)
    page.keyboard.press("Enter")
    page.wait_for_selector("#L77712.hit")
    assert page.locator("#hits").inner_text() == "1 of 11"
    page.keyboard.press("Enter")
    page.wait_for_selector("#L777120.hit")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector("#L77712.hit")
    assert page.locator(".hit").count() == 1


def test_a_gap_loads_the_lines_that_follow(reading: Browsing) -> None:
    page = reading.open("/runs/1?line=300")
    gap = page.locator(".gap").first
    assert _lines(page)[0] == 100
    gap.click()
    page.wait_for_selector("#L1")
    assert _lines(page)[:500] == list(range(1, 501))


def test_nothing_that_a_hostile_recipe_says_acts(shop: Project, browsing: Browsing) -> None:
    with running(shop, "run", "shop:Hostile") as process:
        until(lambda: shop.journal.exists() and rows(shop, "SELECT 1 FROM runs"))
        page, start = browsing.open("/runs/1"), browsing.open("/")
        page.wait_for_selector("#link.live")
        open_gate(shop, "go")
        process.communicate(timeout=60)
        page.wait_for_selector("#op-error")
    start.wait_for_timeout(1000)
    for path in ("/runs/1", "/", "/runs/1/resume", "/operations/shop:Hostile?like=1", "/runs/1/report.html"):
        browsing.open(path).wait_for_timeout(300)

    assert page.url.endswith("/runs/1")
    assert page.locator("#op-stages li").count() == 2
    assert '<div id="op-stages" hx-swap-oob="true">gone</div>' in page.locator("#op-log").inner_text()


ATTACK = """
<!doctype html><title>elsewhere</title><body><script>
window.found = {};
const note = (name, value) => { window.found[name] = value; };
const target = "%s";
const socket = new WebSocket(target.replace("http", "ws") + "/runs/1/live");
socket.onopen = () => note("socket", "open"); socket.onerror = () => note("socket", "refused");
const told = {credentials: "include"}, sent = {...told, method: "POST", mode: "no-cors"};
fetch(target + "/runs/1.json", told).then(() => note("fetch", "read"), () => note("fetch", "refused"));
fetch(target + "/runs/1/cancel", sent).then(() => note("post", "sent"), () => note("post", "kept back"));
const frame = document.createElement("iframe"); frame.src = target + "/runs/1"; document.body.append(frame);
frame.onload = () => note("frame", "loaded");
const form = document.createElement("form"); form.method = "post"; form.target = "other";
form.action = target + "/runs/1/cancel"; document.body.append(form);
const other = document.createElement("iframe"); other.name = "other"; document.body.append(other);
form.submit();
const script = document.createElement("script"); script.src = target + "/runs/1.json";
script.onload = () => note("script", "read"); script.onerror = () => note("script", "refused");
document.body.append(script);
</script>
"""


def test_a_page_of_another_origin_reads_nothing_and_stops_nothing(
    shop: Project, browsing: Browsing, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "index.html").write_text(ATTACK % browsing.server.address)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=elsewhere)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site, running(shop, "run", "shop:First"):
        threading.Thread(target=site.serve_forever, daemon=True).start()
        _begun(shop, 3)
        page = browsing.context.new_page()
        page.goto(f"http://127.0.0.1:{site.server_address[1]}/")
        _wait(page, "['socket', 'fetch', 'post', 'frame', 'script'].every(name => name in window.found)")
        page.wait_for_timeout(1000)
        found = page.evaluate("window.found")
        texts = [frame.content() for frame in page.frames[1:]]
        site.shutdown()
        assert look(shop, 1).state is RunState.RUNNING

    assert (found["socket"], found["fetch"], found["script"]) == ("refused", "refused", "refused")
    assert not any("shop:First" in text for text in texts)
    assert rows(shop, "SELECT * FROM cancel_requests") == []
    browsing.complaints.clear()
    browsing.requests.clear()


def test_focus_and_open_folds_survive_a_swap(shop: Project, browsing: Browsing) -> None:
    with running(shop, "run", "shop:First"):
        _begun(shop, 3)
        page = browsing.open("/runs/1")
        page.wait_for_selector("#link.live")
        page.click("#sure summary")
        page.focus("#op-stages a")
        page.click("#fold-1-head")
        page.focus("#op-stages a")
        open_gate(shop, "save")
        page.wait_for_selector(".step.done >> text=Load")
        assert page.evaluate("document.activeElement.textContent") == "Load"
        assert page.locator("#sure").get_attribute("open") is not None
        assert page.locator("#fold-1").get_attribute("open") is None
        _open_all(shop, *ITEMS, "chain", "third", "end")


def test_stages_are_reached_by_keyboard_and_the_keys_are_listed(reading: Browsing) -> None:
    page = reading.open("/runs/1")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.id") == "fold-2-head"
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.id") == "fold-1-head"
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()


def test_the_log_of_a_stage_and_the_command_are_copied(shop: Project, browsing: Browsing) -> None:
    shop.stagerun("run", "shop:Mended")
    context = browsing.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = browsing.open("/runs/1", context)

    def copied(selector: str) -> str:
        page.click(selector)
        page.wait_for_selector("text=copied")
        text: str = page.evaluate("navigator.clipboard.readText()")
        page.wait_for_selector("text=copied", state="hidden")
        return text

    assert copied("[data-copy='#op-error']") == "ConnectionError: 403 Forbidden"
    assert copied("[data-copy-lines='2']") == "publishing\n"
    page.click("text=Details")
    assert copied("[data-copy='#op-command']") == "stagerun run shop:Mended"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _npm(tmp_path_factory.mktemp("axe"), "axe-core@4", "axe-core/axe.min.js")[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(shop: Project, browsing: Browsing, axe: str, scheme: str) -> None:
    shop.stagerun("run", "shop:Mended")
    _open_all(shop, "more", "end")
    shop.stagerun("run", "shop:Talk")
    (shop.root / "more").unlink()
    with running(shop, "run", "shop:Talk"):
        until(lambda: len(logged(shop, 3)) >= 300)
        context = browsing.new_context(bypass_csp=True, color_scheme=scheme)
        found = {}
        paths = ("/", "/runs/1", "/runs/2", "/runs/3", "/runs/1/resume", "/operations/shop:First", "/runs/99")
        for path in (*paths, "/runs/1/report.html", "/?since=nonsense"):
            page = browsing.open(path, context)
            page.wait_for_timeout(300)
            page.evaluate(axe)
            violations = page.evaluate("axe.run().then(told => told.violations)")
            found[path] = [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in violations]
        open_gate(shop, "more")

    assert {path: told for path, told in found.items() if told} == {}
    browsing.complaints.clear()  # 404 is told by the browser


@pytest.mark.parametrize("path", ["/", "/runs/1", "/runs/2", "/runs/1/resume", "/operations/shop:First"])
def test_a_phone_needs_no_sideways_scroll(shop: Project, browsing: Browsing, path: str) -> None:
    shop.stagerun("run", "shop:Mended")
    _open_all(shop, "more", "end")
    shop.stagerun("run", "shop:Talk", "--owner", "a-very-long-name-without-any-blank-" * 3)
    page = browsing.open(path, browsing.new_context(viewport={"width": 390, "height": 844}))
    page.wait_for_timeout(200)

    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_without_a_script_a_page_is_whole_and_its_forms_work(shop: Project, browsing: Browsing) -> None:
    shop.stagerun("run", "shop:Mended")
    open_gate(shop, "mended")
    page = browsing.open("/runs/1", browsing.new_context(java_script_enabled=False))

    assert "ConnectionError: 403 Forbidden" in page.locator("#op-error").inner_text()
    assert "publishing" in page.locator("#op-log").inner_text()
    assert page.locator("#times").is_hidden()
    page.click("text=Resume…")
    page.click("button:has-text('Resume')")
    assert page.url.endswith("/runs/2")


# The wire is that of htmx


def _npm(folder: Path, package: str, *files: str) -> list[str]:
    """Return files of an npm package; skip the test where there is no npm or no network."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    name, _, _ = package.rpartition("@")
    done = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, package],
        check=False,
        capture_output=True,
        timeout=120,
    )
    if done.returncode != 0:
        pytest.skip(f"npm can't fetch {name}")
    return [(folder / "node_modules" / file).read_text() for file in files]


HOST = """
<div id="place" hx-ext="ws" ws-connect="/runs/1/live"><main id="op-1">{}<p id="op-said"></p></main></div>
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


def test_the_real_htmx_follows_a_chain_of_three(shop: Project, browsing: Browsing, tmp_path: Path) -> None:
    (htmx,) = _npm(tmp_path, "htmx.org@2.0.11", "htmx.org/dist/htmx.js")
    (ws,) = _npm(tmp_path, "htmx-ext-ws@2.0.4", "htmx-ext-ws/ws.js")
    _open_all(shop, "save", *ITEMS)
    with running(shop, "run", "shop:First"):
        _begun(shop, 7)
        context = browsing.new_context(bypass_csp=True)
        page = browsing.open("/runs/1/report.html", context)
        regions = "".join(f'<div id="op-{name}"></div>' for name in (*rendering.REGIONS, "log"))
        for script in (htmx, ws, GLUE):
            page.add_script_tag(content=script)
        page.evaluate(f"document.body.innerHTML = `{HOST.format(regions)}`; window.marker = 1;")
        page.evaluate("htmx.process(document.body)")
        page.wait_for_selector("text=saved 3")
        assert page.locator(".step.done").count() == 1
        assert sorted(_lines(page)) == list(range(1, 8))
        open_gate(shop, "chain")
        page.wait_for_selector("main#op-2 >> text=checking")
        open_gate(shop, "third")
        page.wait_for_selector("main#op-3 >> text=telling")
        open_gate(shop, "end")
        page.wait_for_selector("text=Succeeded in")

    assert page.evaluate("window.marker") == 1
    assert page.locator("main").count() == 1
    assert re.findall(r'id="(L\d+)"', page.content()) == ["L1"]
    browsing.complaints.clear()  # the browser asks for the icon of a page that has none
