"""What open pages are told: regions, lines, hand-overs, ends; read and rendered once, however many pages there are."""

import json
import re
import sqlite3
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocket, WebSocketDisconnect

from stagerun import events
from stagerun.journal.sqlite.store import SqliteStore
from stagerun.journal.store import Values
from stagerun.reports.html import rendering
from stagerun.web import channels
from stagerun.web.channels import NEWEST, RING, Audience, Channel, Moment
from stagerun.web.feed import Feed
from stagerun.web.run_pages import reading as open_reader
from stagerun.web.sockets import Sockets
from tests.conftest import Project
from tests.processes import GATE, logged, open_gate, rows, running, until
from tests.web import SOCKETS, browser_of


CHAIN = (
    GATE
    + """
class First(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("first line")
            gate("save")
        with p.stage("Save"):
            p.log("second line")
            for _ in p.track(range(10), unit="row"):
                pass
            gate("chain")
        p.chain_to(Second(owner=self.owner))

class Second(LiveOperation):
    stages = ["Tell"]

    def run(self, p: Progress) -> None:
        with p.stage("Tell"):
            p.log("third line")
            gate("end")
        p.result(count=3)

class Flood(LiveOperation):
    stages = ["Pour"]

    def run(self, p: Progress) -> None:
        with p.stage("Pour"):
            gate("pour")
            for number in range(1, 5001):
                p.log(f"drop {number}")
            gate("end")
"""
)


@pytest.fixture
def shop(project: Project) -> Project:
    project.recipe("shop", CHAIN)
    return project


@pytest.fixture
def browser(shop: Project) -> Iterator[TestClient]:
    with browser_of(shop) as client:
        yield client


def _begun(project: Project) -> bool:
    """Return True if a stage of a run was entered."""
    return project.journal.exists() and bool(rows(project, "SELECT 1 FROM events WHERE kind = 'stage_entered'"))


def _heard(socket: WebSocketTestSession, *words: str) -> str:
    """Return what a socket says until all `words` were there."""
    told = ""
    while not all(each in told for each in words):
        told += socket.receive_text() + "\n"
    return told


def _rest(socket: WebSocketTestSession) -> tuple[list[str], int]:
    """Return what a socket says until it is closed, and the code."""
    told = []
    while True:
        try:
            told.append(socket.receive_text())
        except WebSocketDisconnect as closed:
            return told, closed.code


def test_a_page_is_told_regions_then_lines_then_what_changes(shop: Project, browser: TestClient) -> None:
    with running(shop, "run", "shop:First"):
        until(lambda: shop.journal.exists() and logged(shop, 1))
        with browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=0") as socket:
            first = _heard(socket, "first line")
            open_gate(shop, "save")
            then = _heard(socket, "second line", "100%")
            open_gate(shop, "chain")
            open_gate(shop, "end")

    ids = re.findall(r'<\w+ id="([\w-]+)"[^>]*hx-swap-oob="(\w+)', first)
    assert ids[:6] == [*((f"op-{name}", "true") for name in rendering.REGIONS), ("op-said", "innerHTML")]
    assert first.index('id="f1"') < first.index('id="b1"') < first.index('id="L1"')
    assert '<li class="step active"' in first
    assert "stage 2 of 2: Save" in then
    assert 'id="b2"' in then
    assert 'hx-swap-oob="beforeend:#fold-2"' in then
    assert "op-actions" not in then  # only what has changed


def test_an_htmx_client_which_knows_nothing_gets_the_whole_log(shop: Project, browser: TestClient) -> None:
    with running(shop, "run", "shop:First"):
        until(lambda: shop.journal.exists() and logged(shop, 1))
        with browser.websocket_connect(f"{SOCKETS}/runs/1/live") as socket:
            first = _heard(socket, "first line")
        for gate in ("save", "chain", "end"):
            open_gate(shop, gate)

    assert re.search(r'<div id="op-log"[^>]*hx-swap-oob="true"', first)


def test_at_a_hand_over_the_next_container_comes_and_then_where_to_go_on(shop: Project, browser: TestClient) -> None:
    with running(shop, "run", "shop:First"):
        until(lambda: shop.journal.exists() and logged(shop, 1))
        with browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=0") as socket:
            open_gate(shop, "save")
            open_gate(shop, "chain")
            *before, container, moved = _rest(socket)[0]
            after = json.loads(moved)["liveop_chain"]
            with browser.websocket_connect(f"{SOCKETS}/runs/2/live?after={after['after']}") as following:
                _heard(following, 'id="op-stages"')
                open_gate(shop, "end")
                told, code = _rest(following)

    assert container.startswith('<main id="op-2"')
    assert 'hx-swap-oob="outerHTML:#op-1"' in container
    assert '<span class="pill done">succeeded</span>' in "".join(before)
    assert (after["from"], after["to"]) == (1, 2)
    assert after["after"] > 0
    assert (json.loads(told[-1]), code) == ({"liveop_over": {"run": 2, "state": "succeeded"}}, 1000)


def test_a_page_that_looks_holds_no_transaction_open(shop: Project, browser: TestClient) -> None:
    with running(shop, "run", "shop:First"):
        until(lambda: shop.journal.exists() and logged(shop, 1))
        with browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=0") as socket:
            _heard(socket, "first line")
            with closing(sqlite3.connect(shop.journal)) as connection:
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert busy == 0


def test_a_page_that_comes_back_after_the_hand_over_is_led_along_the_chain(shop: Project, browser: TestClient) -> None:
    for gate in ("save", "chain", "end"):
        open_gate(shop, gate)
    assert shop.stagerun("run", "shop:First").code == 0

    with browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=3") as socket:
        told, code = _rest(socket)

    assert json.loads(told[-1])["liveop_chain"]["to"] == 2
    assert code == 1000


def test_a_run_that_died_without_a_word_is_told_as_crashed(shop: Project, browser: TestClient) -> None:
    with running(shop, "run", "shop:First") as process:
        until(lambda: shop.journal.exists() and logged(shop, 1))
        with browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=0") as socket:
            _heard(socket, "first line")
            process.kill()
            told, _ = _rest(socket)

    assert '<span class="pill failed">crashed</span>' in "".join(told)
    assert re.search(r'id="fold-1-head"[^>]*>.*?i-failed', "".join(told), re.DOTALL)
    assert json.loads(told[-1]) == {"liveop_over": {"run": 1, "state": "crashed"}}


def test_a_run_that_is_not_there_is_told_to_be_deleted(shop: Project, browser: TestClient) -> None:
    open_gate(shop, "end")
    open_gate(shop, "pour")
    shop.stagerun("run", "shop:Flood")

    with browser.websocket_connect(f"{SOCKETS}/runs/99/live?after=0") as socket:
        told, code = _rest(socket)

    assert (json.loads(told[-1]), code) == ({"liveop_over": {"run": 99, "state": "deleted"}}, 1000)


def test_a_socket_whose_address_makes_no_sense_is_refused(browser: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=abc"),
    ):
        pass

    assert refused.value.code == 1008


def test_of_a_flood_a_page_gets_the_newest_lines_and_can_tell_how_many_it_missed(
    shop: Project, browser: TestClient
) -> None:
    with running(shop, "run", "shop:Flood"):
        until(lambda: _begun(shop))
        with browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=0") as socket:
            _heard(socket, 'id="fold-1"')
            open_gate(shop, "pour")
            told = _heard(socket, "drop 5000")
            with browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=0") as late:
                known = _heard(late, "drop 5000")
            open_gate(shop, "end")

    blocks = [(int(first), int(last)) for first, last in re.findall(r'<div id="b(\d+)"[^>]*data-last="(\d+)"', told)]
    assert all(last - first < NEWEST for first, last in blocks)
    assert blocks[-1][1] == 5000
    assert 'data-end="5000"' in told
    assert re.findall(r'id="fold-1-count"[^>]*>(.*?)<', known)[-1] == "5,000 lines"


def test_the_start_page_is_told_which_runs_go_on(shop: Project, browser: TestClient) -> None:
    with running(shop, "run", "shop:Flood"):
        until(lambda: _begun(shop))
        with browser.websocket_connect(f"{SOCKETS}/live") as socket:
            first = _heard(socket, 'data-run="1"')
            open_gate(shop, "pour")
            open_gate(shop, "end")
            while "data-run" in (last := socket.receive_text()):
                pass

    assert first.startswith('<section id="running"')
    assert 'hx-swap-oob="true"' in last


@pytest.mark.parametrize("pages", [1, 30])
def test_the_journal_is_read_and_a_message_rendered_as_often_for_thirty_pages_as_for_one(
    shop: Project, browser: TestClient, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements, rendered = list[str](), list[str]()
    read, regions = SqliteStore.rows, rendering.regions

    def counted_rows(self, sql, values=()):  # type: ignore[no-untyped-def]
        if "FROM events" in sql and self.counted:
            statements.append(sql)
        return read(self, sql, values)

    def counted_regions(page):  # type: ignore[no-untyped-def]
        rendered.append("regions")
        return regions(page)

    monkeypatch.setattr(SqliteStore, "counted", True, raising=False)
    monkeypatch.setattr(SqliteStore, "rows", counted_rows)
    monkeypatch.setattr(rendering, "regions", counted_regions)
    with running(shop, "run", "shop:First"), ExitStack() as sockets:
        until(lambda: shop.journal.exists() and logged(shop, 1))
        opened = [
            sockets.enter_context(browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=0")) for _ in range(pages)
        ]
        for socket in opened:
            _heard(socket, "first line")
        at_first = len(rendered)
        open_gate(shop, "save")
        for socket in opened:
            _heard(socket, "second line", "100%")
        open_gate(shop, "chain")
        open_gate(shop, "end")
        closed = [_rest(socket) for socket in opened]

    assert at_first == 1
    assert len(rendered) <= 8
    assert len(statements) <= 40
    assert {code for _, code in closed} == {1000}


def test_nothing_is_read_while_nobody_looks(
    shop: Project, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_gate(shop, "end")
    open_gate(shop, "pour")
    shop.stagerun("run", "shop:Flood")
    with browser.websocket_connect(f"{SOCKETS}/runs/1/live?after=0") as socket:
        _rest(socket)
    seen, original = list[str](), SqliteStore.rows

    def noted(self: SqliteStore, sql: str, values: Values = ()) -> list[sqlite3.Row]:
        seen.append(sql)
        return original(self, sql, values)

    monkeypatch.setattr(SqliteStore, "rows", noted)
    anyio.run(anyio.sleep, 0.3)

    assert seen == []


# Channels and audiences by themselves


def test_messages_are_spaced_a_burst_of_four_and_then_ten_a_second(shop: Project) -> None:
    open_gate(shop, "end")
    open_gate(shop, "pour")
    shop.stagerun("run", "shop:Flood")
    with open_reader(shop.journal) as reader:
        channel, told = Channel(1), 0
        channel.read(reader)
        begun = channel._filled
        for hundredth in range(200):
            channel._news = True
            told += channel.message(reader, begun + hundredth / 100) is not None

    assert told == 4 + 19


def test_above_fifty_sockets_messages_are_shorter(shop: Project) -> None:
    open_gate(shop, "end")
    open_gate(shop, "pour")
    shop.stagerun("run", "shop:Flood")
    lengths = []
    for sockets in (50, 51):
        with open_reader(shop.journal) as reader:
            channel = Channel(1)
            channel.sockets = sockets
            channel.read(reader)
            told = channel.message(reader, 0.0, force=True)
        assert told is not None
        lengths.append(told[0].count("<li id="))

    assert lengths == [NEWEST, channels.CROWDED]


def test_a_socket_that_is_too_far_behind_gets_all_as_it_is_now() -> None:
    async def far_behind() -> tuple[str | None, str | None, str | None]:
        audience = Audience()
        for number in range(RING + 5):
            audience.publish(f"message {number + 1}", Moment(regions="", heads=(), lines=(), page=None))
        return audience.after(RING + 5), audience.after(RING + 3), audience.after(3)

    assert anyio.run(far_behind) == ("", "message 24\nmessage 25", None)


def test_a_snapshot_has_only_lines_that_the_page_does_not_know() -> None:
    async def told() -> str:
        audience = Audience()
        lines = ((5, 1, 1, "<li>one</li>"), (6, 2, 1, "<li>two</li>"), (9, 3, 2, "<li>three</li>"))
        heads = (("<div>fold</div>", "<summary>", "<span>"),)
        audience.publish("", Moment(regions="REGIONS", heads=heads, lines=lines, page=None))
        return audience.snapshot(5)

    text = anyio.run(told)
    assert text.startswith("REGIONS\n<div>fold</div>\n<summary>\n<span>\n")
    assert re.findall(r'id="(b\d)" hx-swap-oob="beforeend:#(fold-\d)"', text) == [("b2", "fold-1"), ("b3", "fold-2")]
    assert "one" not in text


def test_more_sockets_than_there_is_room_for_are_turned_away(
    shop: Project, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagerun.web.sockets.MOST", 1)
    with running(shop, "run", "shop:Flood"):
        until(lambda: _begun(shop))
        with browser.websocket_connect(f"{SOCKETS}/live") as first:
            _heard(first, "running")
            with browser.websocket_connect(f"{SOCKETS}/live") as second, pytest.raises(WebSocketDisconnect) as closed:
                second.receive_text()

    assert closed.value.code == 1013


def test_the_kinds_of_events_that_a_page_shows_are_all_but_stored_values() -> None:
    from stagerun.journal import pages

    assert {*events.EVENTS} - {*pages._KINDS} == {"checkpoint_stored", "position_reached", "results_stored"}


def test_a_page_that_the_server_has_given_up_is_left_quietly(tmp_path: Path) -> None:
    async def given_up() -> dict[int, Audience]:
        feed, connected = Feed(tmp_path / "journal.db", lambda reader: ""), anyio.Event()

        async def receive() -> dict[str, str]:
            if not connected.is_set():
                connected.set()
                return {"type": "websocket.connect"}
            await anyio.sleep_forever()
            raise AssertionError

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "websocket.send":
                raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")

        socket = WebSocket({"type": "websocket", "query_string": b"", "headers": []}, receive, send)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Sockets(feed).overview, socket)
            await anyio.wait_all_tasks_blocked()
            feed._audiences[0].publish("told", Moment(regions="told", heads=(), lines=(), page=None))
        return feed._audiences

    assert anyio.run(given_up) == {}
