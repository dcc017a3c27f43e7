"""Who may talk to the server: hosts, origins, tokens, cookies, sizes, and the headers of every answer."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from stagerun.errors import UsageError
from stagerun.web import tokens
from stagerun.web.guard import LOOPBACK, Access
from tests.web import ACCESS, HERE, PORT, SOCKETS, TOKEN, client_of


COOKIE = {"cookie": f"stagerun-{PORT}={TOKEN}"}
ORIGIN = {"origin": HERE}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(tmp_path) as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1:8421", "localhost:8421", "LOCALHOST:8421", "[::1]:8421"])
def test_the_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/alive", headers={"host": host, **COOKIE}).status_code == 204


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8421",
            "localhost.evil:8421",
            "127.0.0.1.nip.io:8421",
            "127.0.0.1",
            "127.0.0.1:80",
        ),
        *("127.0.0.1:8421.evil", "127.0.0.1:8421@evil", "[::1]", "::1:8421", "0.0.0.0:8421", "", "127.0.0.2:8421"),
    ],
)
def test_any_other_name_is_refused_whatever_else_is_right(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"host": host, "accept": "text/html", **COOKIE})

    assert answer.status_code == 400
    assert "The server is not called that" in answer.text


def test_two_hosts_are_refused(client: TestClient) -> None:
    headers = [("host", "127.0.0.1:8421"), ("host", "127.0.0.1:8421"), ("cookie", COOKIE["cookie"])]

    assert client.get("/alive", headers=headers).status_code == 400


def test_a_server_for_other_machines_is_answered_by_address_and_by_its_own_names_alone(tmp_path: Path) -> None:
    access = Access(token=TOKEN, port=PORT, hosts=LOOPBACK | {"build.local"}, any_address=True)
    asked = ("192.168.1.7:8421", "[fe80::1]:8421", "build.local:8421", "rebound.example:8421", "1.2.3.4.nip.io:8421")
    with client_of(tmp_path, access) as client:
        codes = [client.get("/alive", headers={"host": host, **COOKIE}).status_code for host in asked]

    assert codes == [204, 204, 204, 400, 400]


def test_without_the_token_nothing_is_told_but_style_and_script(client: TestClient) -> None:
    paths = (
        "/",
        "/runs/1",
        "/runs/1.json",
        "/runs/1/log.txt",
        "/runs/1/events",
        "/alive",
        "/operations/a:B",
        "/nothing",
    )

    answers = [client.get(path, headers={"accept": "text/html"}) for path in paths]

    assert {answer.status_code for answer in answers} == {403}
    assert all("This browser is not known here" in answer.text for answer in answers)
    assert client.get("/static/page.css").status_code == client.get("/icon/done.svg").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"cookie": f"stagerun-{PORT}={TOKEN[:-1]}"},
        {"cookie": f"stagerun-{PORT}={TOKEN}x"},
        {"cookie": f"stagerun-9999={TOKEN}"},
        {"cookie": f"stagerun-{PORT}="},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer é"},
    ],
)
def test_a_token_that_is_not_quite_right_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    assert client.get("/alive", headers=encoded).status_code == 403  # type: ignore[arg-type]


def test_a_script_may_show_the_token_in_a_header(client: TestClient) -> None:
    assert client.get("/alive", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 204


def test_the_address_with_the_token_leads_to_the_one_without_and_leaves_a_cookie(client: TestClient) -> None:
    answer = client.get(f"/runs/7?line=3&token={TOKEN}")

    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/7?line=3")
    assert answer.headers["set-cookie"] == (
        f"stagerun-{PORT}={TOKEN}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000"
    )
    client.cookies.clear()
    assert client.get("/?token=wrong", headers={"accept": "text/html"}).status_code == 403


def test_who_comes_from_elsewhere_is_led_on_by_a_page_of_ours_because_a_redirect_would_lose_the_cookie(
    client: TestClient,
) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    answer = client.get(f'/runs/7?line=3&x="&token={TOKEN}', headers=headers)

    assert answer.status_code == 200
    assert answer.headers["set-cookie"].startswith(f"stagerun-{PORT}={TOKEN}; ")
    assert 'content="0; url=/runs/7?line=3&amp;x=%22"' in answer.text
    assert TOKEN not in answer.text


def test_the_way_in_leads_to_no_other_server(client: TestClient) -> None:
    answer = client.get(f"{HERE}//evil.example/?token={TOKEN}")

    assert answer.headers["location"] == "/evil.example/"


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999", "https://127.0.0.1:8421"]
)
def test_a_form_of_another_page_starts_and_stops_nothing(client: TestClient, origin: str | None) -> None:
    headers = {**COOKIE, **({"origin": origin} if origin else {})}

    for path in ("/runs/1/cancel", "/runs/1/resume", "/operations/orders:Import"):
        assert client.post(path, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999", "http://localhost:8421"]
)
def test_a_socket_of_another_page_is_refused_before_it_is_accepted(client: TestClient, origin: str | None) -> None:
    headers = {**COOKIE, **({"origin": origin} if origin else {})}

    for path in ("/live", "/runs/1/live"):
        with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(SOCKETS + path, headers=headers):
            pass
        assert refused.value.code == 1008


def test_a_socket_of_our_own_page_is_accepted(client: TestClient) -> None:
    with client.websocket_connect(f"{SOCKETS}/live", headers={**COOKIE, **ORIGIN}) as socket:
        assert socket.accepted_subprotocol is None


@pytest.mark.parametrize(
    "headers", [ORIGIN, {**ORIGIN, **COOKIE, "host": "evil.example:8421"}, {**ORIGIN, "cookie": f"stagerun-1={TOKEN}"}]
)
def test_a_socket_needs_token_and_host_too(client: TestClient, headers: dict[str, str]) -> None:
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(f"{SOCKETS}/live", headers=headers):
        pass

    assert refused.value.code == 1008


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_other_pages_make_a_browser_ask_for_is_refused_but_a_link_may_be_followed(
    client: TestClient, site: str
) -> None:
    def ask(mode: str, dest: str) -> int:
        headers = {**COOKIE, "sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        return client.get("/alive", headers=headers).status_code

    assert ask("navigate", "document") == 204
    assert {ask("navigate", "iframe"), ask("no-cors", "image"), ask("cors", "empty"), ask("no-cors", "script")} == {403}


def test_a_form_that_is_too_large_is_refused(client: TestClient) -> None:
    answer = client.post("/operations/a:B", headers={**COOKIE, **ORIGIN}, content=b"x" * (1024 * 1024 + 1))

    assert answer.status_code == 413


def test_every_answer_has_the_headers_that_keep_a_page_to_itself(client: TestClient) -> None:
    for path, headers in (
        ("/", COOKIE),
        ("/", {}),
        ("/nothing", COOKIE),
        ("/static/page.js", {}),
        ("/runs/1.json", COOKIE),
    ):
        answer = client.get(path, headers=headers)
        policy = answer.headers["content-security-policy"]
        assert policy == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self' ws://127.0.0.1:8421; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types stagerun"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_a_host_that_is_odd_gets_no_word_into_the_policy(client: TestClient) -> None:
    answer = client.get("/", headers={"host": "a; script-src *"})

    assert answer.status_code == 400
    assert "*" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/static/../guard.py", "/static/%2e%2e/rendering.py", "/static/page.html", "/icon/x.svg"]
)
def test_only_our_own_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(path, headers=COOKIE).status_code == 404


def test_a_token_is_made_once_for_its_owner_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / ".stagerun"

    made = tokens.token(folder)

    assert len(made) == 43
    assert tokens.token(folder) == made
    assert stat.S_IMODE((folder / "web-token").stat().st_mode) == 0o600
    assert (folder / ".gitignore").read_text() == "*\n"
    assert sorted(each.name for each in folder.iterdir()) == [".gitignore", "web-token"]


def test_a_new_token_replaces_the_old_one(tmp_path: Path) -> None:
    made = tokens.token(tmp_path)

    assert tokens.token(tmp_path, new=True) != made


def test_a_token_that_others_could_read_or_that_is_damaged_is_replaced(tmp_path: Path) -> None:
    made = tokens.token(tmp_path)
    (tmp_path / "web-token").chmod(0o644)
    second = tokens.token(tmp_path)
    (tmp_path / "web-token").write_text("short\n")
    third = tokens.token(tmp_path)

    assert len({made, second, third}) == 3


def test_a_link_in_the_place_of_the_token_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x" * 43)
    (tmp_path / "web-token").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UsageError, match="the token can't be kept in"):
        tokens.token(tmp_path)


def test_the_name_of_the_cookie_holds_the_port() -> None:
    assert ACCESS.cookie == "stagerun-8421"
