"""The pages as the server sends them: whole without a script, and what their forms begin."""

import html
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from stagerun.states import RunState
from tests.conftest import Project, new_project
from tests.processes import GATE, look, open_gate, running, until
from tests.web import browser_of


SHOP = (
    GATE
    + """
from datetime import date
from typing import Annotated, Literal
from pathlib import Path

class Import(LiveOperation):
    '''Load the orders, save them.'''
    stages = ["Load", "Save"]
    limit: Annotated[int, "how many orders"] = 3
    region: Literal["eu", "us"] = "eu"
    dry: bool = True
    tags: list[str] = ()
    note: str | None = None
    token: Secret | None = None

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            for number in range(self.limit):
                p.log(f"order {number}", level="warning" if number == 1 else "info")
        with p.stage("Save"):
            p.log(f"token has {len(self.token.reveal()) if self.token else 0} letters")
            pathlib.Path("arguments").write_text(pathlib.Path("/proc/self/cmdline").read_text())
        p.result(limit=self.limit, region=self.region, dry=self.dry, tags=self.tags, note=self.note)

class Needy(LiveOperation):
    stages = []
    confirm = "Really?"
    source: Path
    count: int
    ratio: float = 0.5
    when: date | None = None

    def __init__(self, **fields):
        super().__init__(**fields)
        if self.count % 2:
            raise ValueError("count must be even")
        if self.ratio > 1:
            raise ValueError("that is too much")

    def run(self, p: Progress) -> None: ...

class Broken(LiveOperation):
    stages = ["Load", "Save", "Tell"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.checkpoint("rows", lambda: 3)
            for _ in p.track(range(3), key="pages"):
                pass
        with p.stage("Save"):
            if not pathlib.Path("mended").exists():
                raise ValueError("boom")

class Waiting(LiveOperation):
    stages = ["Wait"]

    def run(self, p: Progress) -> None:
        with p.stage("Wait"):
            p.log("here")
            gate("go")

class Hidden(LiveOperation):
    stages = []
    password: Secret

    def run(self, p: Progress) -> None:
        if not pathlib.Path("mended").exists():
            raise ValueError("boom")
"""
)


@pytest.fixture
def shop(project: Project) -> Project:
    project.recipe("shop", SHOP)
    return project


@pytest.fixture
def browser(shop: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    for name in list(os.environ):
        if name not in shop.environ:
            monkeypatch.delenv(name)
    with browser_of(shop) as client:
        yield client


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which some runs are over: nothing here changes it."""
    project = new_project(tmp_path_factory.mktemp("recorded"))
    project.recipe("shop", SHOP)
    for arguments in (
        ["shop:Import"],
        ["shop:Broken"],
        ["shop:Import", "--limit", "2500", "--owner", "bob", "--tag", "x"],
    ):
        project.stagerun("run", *arguments)
    return project


@pytest.fixture
def reader(recorded: Project) -> Iterator[TestClient]:
    with browser_of(recorded) as client:
        yield client


def _text(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def _runs(page: str) -> list[int]:
    return [int(run) for run in re.findall(r'<td class="num"><a href="/runs/(\d+)"', page)]


# Reading


def test_the_start_page_of_a_project_without_runs_shows_its_operations(browser: TestClient) -> None:
    text = _text(browser.get("/").text)

    assert "shop:Import" in text
    assert "Load the orders, save them." in text
    assert "never run" in text
    assert "Nothing has run yet." in text


def test_the_start_page_shows_operations_with_their_past_and_the_history(reader: TestClient) -> None:
    page = reader.get("/").text

    assert _runs(page) == [3, 2, 1]
    assert page.count('<rect class="done"') == 2
    assert page.count('<rect class="failed"') == 1
    assert "The last 2 runs: 2 succeeded" in page


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        ("state=failed", [2]),
        ("owner=bob", [3]),
        ("operation=Import", [3, 1]),
        ("tag=x", [3]),
        ("operation=shop:Broken&state=succeeded", []),
        ("since=1h", [3, 2, 1]),
        ("since=2099-01-01", []),
        ("before=3", [2, 1]),
        ("before=3&operation=Import", [1]),
    ],
)
def test_the_history_is_filtered_and_the_address_keeps_the_filters(
    reader: TestClient, query: str, runs: list[int]
) -> None:
    assert _runs(reader.get(f"/?{query}").text) == runs


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=foo", "there is no state 'foo'"),
        ("before=abc", "before can't be 'abc': give a number"),
        ("since=tuesday", "since can't be 'tuesday': give 2026-01-31, 2026-01-31T10:00, 90m, 2h or 7d"),
        ("operation=Improt", "there is no operation 'Improt': did you mean 'Import'?"),
    ],
)
def test_an_address_of_the_history_that_makes_no_sense_is_explained_and_lists_nothing(
    reader: TestClient, query: str, said: str
) -> None:
    name, _, value = query.partition("=")

    answer = reader.get(f"/?{query}&owner=bob")

    told = [html.unescape(each) for each in re.findall(r'<p id="\w+-wrong">(.*?)</p>', answer.text)]
    assert (answer.status_code, told, _runs(answer.text)) == (400, [said], [])
    assert "No run fits" not in answer.text
    assert 'value="bob"' in answer.text
    kept = {"state": "<option selected>foo<", "before": ""}.get(name, f'value="{value}" ')
    assert kept in answer.text


def test_an_operation_that_has_never_run_is_no_mistake_in_a_filter(reader: TestClient) -> None:
    answer = reader.get("/?operation=shop:Needy")

    assert (answer.status_code, "No run fits these filters." in answer.text) == (200, True)


def test_a_value_in_an_address_that_makes_no_sense_is_a_page_that_says_so(reader: TestClient) -> None:
    said = {
        "/runs/1?line=abc": "Line can't be 'abc': give a number",
        "/runs/1/events?after=abc": "After can't be 'abc': give a number",
        "/runs/1/search?before=-1": "Before can't be '-1': give a number",
        "/runs/1/search?level=loud": "There is no level 'loud': give error or warning",
        "/runs/1/lines?first=1&last=2&near=x": "Near can't be 'x': give a number",
        "/runs/1/log.txt?fold=9999999999999999999": "Fold can't be '9999999999999999999': give a number",
        "/operations/shop:Import?like=last": "Like can't be 'last': give a number",
    }

    answers = {path: reader.get(path) for path in said}

    titles = {
        path: html.unescape(answer.text.partition("<h1>")[2].partition("</h1>")[0]) for path, answer in answers.items()
    }
    assert titles == said
    assert {answer.status_code for answer in answers.values()} == {400}


def test_older_runs_are_a_page_away_and_every_filter_goes_along(shop: Project) -> None:
    for _ in range(27):
        assert shop.stagerun("run", "shop:Import", "--limit", "0").code == 0

    with browser_of(shop) as client:
        first = client.get("/?owner=alice").text
        older = re.search(r'href="([^"]*before[^"]*)"', first)
        assert older is not None
        second = client.get(html.unescape(older[1])).text

    assert (_runs(first), _runs(second)) == (list(range(27, 2, -1)), [2, 1])
    assert html.unescape(older[1]) == "/?owner=alice&before=3#history"
    assert 'href="/?owner=alice#history"' in second


def test_the_page_of_a_run_that_failed_begins_with_the_error_and_opens_the_failing_stage(reader: TestClient) -> None:
    page = reader.get("/runs/2").text

    assert page.index("ValueError: boom") < page.index('id="op-log"')
    assert re.findall(r'<details class="fold" id="(fold-\d)"[^>]* open>', page) == ["fold-2"]
    assert re.findall(r'<li class="step (\w+)"', page) == ["done", "failed", "pending"]
    assert 'href="/runs/2/resume"' in page
    assert 'action="/runs/2/cancel"' not in page
    assert '<details id="op-traceback">' in page


def test_the_page_of_a_run_that_succeeded_begins_with_its_result_and_offers_no_resume(reader: TestClient) -> None:
    page = reader.get("/runs/1").text

    assert re.findall(r"<dt>(\w+)</dt><dd>(.*?)</dd>", page)[-5:] == [
        *(("limit", "3"), ("region", "eu"), ("dry", "true"), ("tags", "[]"), ("note", "null")),
    ]
    assert "/resume" not in page
    assert 'href="/runs/1/rerun"' in page
    assert 'http-equiv="refresh"' not in page
    assert "stagerun run shop:Import --limit=3 --region=eu --dry" in page


def test_a_run_is_compared_with_the_one_before_that_succeeded_stage_by_stage(reader: TestClient) -> None:
    table = reader.get("/runs/3").text.partition("Compared with run 1")[2].partition("</table>")[0]

    assert re.findall(r'<th scope="row">(.*?)</th>', table) == ["Load", "Save"]
    assert all(re.fullmatch(r"[\d.]+s", cell) for cell in re.findall(r"<td>([^<]+)</td>", table))
    assert "Compared with" not in reader.get("/runs/1").text
    assert "Compared with" not in reader.get("/runs/2").text


def test_a_long_log_is_a_window_with_gaps_that_lead_on_without_a_script(reader: TestClient) -> None:
    page = reader.get("/runs/3").text
    gap = re.search(r'<a class="gap" href="([^"#]+)#L(\d+)"[^>]*>(.*?)</a>', page)

    assert gap is not None
    assert gap[3] == "1,501 lines not loaded"
    assert [int(line) for line in re.findall(r'<li id="L(\d+)"', page)] == list(range(1502, 2502))
    around = reader.get(gap[1]).text
    assert f'<li id="L{gap[2]}"' in around
    assert 'id="L1"' in reader.get("/runs/3?line=1").text


def test_the_page_of_a_run_that_goes_on_reloads_by_itself_without_a_script(shop: Project, browser: TestClient) -> None:
    with running(shop, "run", "shop:Waiting"):
        until(lambda: shop.journal.exists() and browser.get("/runs/1/log.txt").text == "here\n")
        page = browser.get("/runs/1").text
        start = browser.get("/").text
        open_gate(shop, "go")

    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page
    assert 'action="/runs/1/cancel"' in page
    assert "data-live" in page
    assert 'data-run="1"' in start


def test_lines_are_sent_by_their_numbers_at_most_500_and_near_the_one_that_is_wanted(reader: TestClient) -> None:
    def numbers(query: str) -> list[int]:
        return [int(number) for number in re.findall(r'id="L(\d+)"', reader.get(f"/runs/3/lines?{query}").text)]

    assert numbers("first=3&last=5") == [3, 4, 5]
    assert numbers("first=1&last=2000") == list(range(1501, 2001))
    assert numbers("first=1&last=2000&near=1") == list(range(1, 501))
    assert numbers("first=1&last=2000&near=900") == list(range(650, 1150))
    assert reader.get("/runs/3/lines?first=5&last=3").status_code == 400
    assert reader.get("/runs/3/lines").status_code == 400


def test_a_search_looks_through_the_whole_log(reader: TestClient) -> None:
    assert reader.get("/runs/3/search?q=ORDER%2024").json() == {
        "total": 111,
        "lines": [25, *range(241, 251), *range(2401, 2490)],
    }
    assert reader.get("/runs/3/search?q=ORDER%2024&after=2489").json() == {"lines": [*range(2490, 2501)]}
    assert reader.get("/runs/3/search?q=ORDER%2024&before=2401").json() == {"lines": [25, *range(241, 251)]}
    assert reader.get("/runs/3/search?level=warning").json() == {"total": 1, "lines": [2]}
    assert reader.get("/runs/3/search?level=error").json() == {"total": 0, "lines": []}


def test_the_log_as_text_is_what_the_command_prints(recorded: Project, reader: TestClient) -> None:
    answer = reader.get("/runs/1/log.txt")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == recorded.stagerun("logs", "1").out
    assert answer.text == "order 0\nwarning: order 1\norder 2\ntoken has 0 letters\n"
    assert reader.get("/runs/1/log.txt?fold=2").text == "token has 0 letters\n"
    assert reader.get("/runs/1/log.txt?download=1").headers["content-disposition"] == (
        'attachment; filename="run-1.log"'
    )


def test_a_run_as_json_is_what_status_prints(recorded: Project, reader: TestClient) -> None:
    assert reader.get("/runs/2.json").json() == json.loads(recorded.stagerun("status", "2", "--json").out)


def test_the_events_of_a_run_are_sent_as_they_are_in_json_lines(recorded: Project, reader: TestClient) -> None:
    def told(**headers: str) -> list[dict[str, object]]:
        text = reader.get("/runs/1/events", headers=headers).text
        return [json.loads(data) for data in re.findall(r"^data: (.*)$", text, re.MULTILINE)]

    lines = recorded.stagerun("watch", "1", "--progress", "json").out.splitlines()
    assert told() == [json.loads(line) for line in lines]
    assert [event["event"] for event in told(**{"last-event-id": "9"})][-1] == "run_finished"
    assert told(**{"last-event-id": "9"})[0]["seq"] == 10


def test_the_report_of_a_run_is_served_with_the_policy_of_a_report(reader: TestClient) -> None:
    answer = reader.get("/runs/2/report.html")

    assert "ValueError: boom" in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/runs/99", "/runs/99999999999999999999", "/runs/99.json", "/runs/99/search"])
def test_what_is_not_there_is_a_page_that_leads_back(reader: TestClient, path: str) -> None:
    answer = reader.get(path)

    assert answer.status_code == 404
    assert 'href="/"' in answer.text


def test_a_journal_that_is_damaged_is_told(recorded: Project, tmp_path: Path) -> None:
    project = recorded.copied(tmp_path)
    project.journal.write_bytes(b"not a journal at all, but long enough")

    with browser_of(project) as client:
        answer = client.get("/")

    assert answer.status_code == 503
    assert "it is not a journal" in answer.text


# Acting


def test_the_form_of_an_operation_has_a_field_for_each_parameter_with_its_default(browser: TestClient) -> None:
    page = browser.get("/operations/shop:Import").text

    fields = re.findall(r'<(input|select|textarea)[^>]*name="(\w+)"', page)
    assert fields == [
        *(("input", "limit"), ("select", "region"), ("input", "dry"), ("textarea", "tags")),
        *(("input", "note"), ("input", "token")),
    ]
    assert re.search(r'value="3"[^>]*id="field-limit"|id="field-limit"[^>]*value="3"|value="3" placeholder', page)
    assert "how many orders" in page
    assert '<input type="password"' in page


def test_a_form_starts_a_run_with_what_was_typed(shop: Project, browser: TestClient) -> None:
    form = {"limit": "5", "region": "us", "tags": "a b\n-c\n", "note": "--x <b>", "token": "s3cret-token"}

    answer = browser.post("/operations/shop:Import", data=form)

    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/1")
    until(lambda: look(shop, 1).state is RunState.SUCCEEDED)
    assert look(shop, 1).result_context == {
        "limit": 5,
        "region": "us",
        "dry": False,
        "tags": ["a b", "-c"],
        "note": "--x <b>",
    }
    assert "token has 12 letters" in browser.get("/runs/1/log.txt").text
    assert "s3cret" not in (shop.root / "arguments").read_text()


def test_a_refused_form_gives_every_character_back_as_it_was_typed(browser: TestClient) -> None:
    typed = "a\tb \u202ec\u200b\x7f <\"'&"

    answer = browser.post("/operations/shop:Import", data={"limit": "many", "note": typed, "token": "s3cret-token"})

    assert answer.status_code == 422
    values = re.findall(r'value="([^"]*)"[^>]*name="note"', answer.text)
    assert [html.unescape(value) for value in values] == [typed]


def test_an_emptied_field_is_an_empty_text_or_refused_and_never_the_default(shop: Project, browser: TestClient) -> None:
    shop.recipe(
        "mail",
        "class Send(LiveOperation):\n"
        "    subject: str = 'news'\n"
        "    copies: int = 5\n"
        "    to: list[str] = ('all',)\n"
        "    def run(self, p): return self.params()\n",
    )

    refused = browser.post("/operations/mail:Send", data={"subject": "", "copies": "", "to": ""})
    begun = browser.post("/operations/mail:Send", data={"subject": "", "copies": "1"})

    assert refused.status_code == 422
    assert re.findall(r'id="wrong-(\w+)">([^<]*)<', refused.text) == [
        ("copies", "a value is needed"),
        ("to", "a value is needed"),
    ]
    assert begun.status_code == 303
    until(lambda: look(shop, 1).state is RunState.SUCCEEDED)
    assert look(shop, 1).result_context == {"subject": "", "copies": 1, "to": ["all"]}


def test_a_value_that_does_not_fit_is_explained_beside_its_field_and_all_values_stay(browser: TestClient) -> None:
    answer = browser.post("/operations/shop:Import", data={"limit": "many", "note": "kept", "token": "s3cret-token"})

    assert answer.status_code == 422
    assert re.search(r'id="wrong-limit">parameter .*?limit.*? can.*?t be .*?many', answer.text)
    assert 'value="many"' in answer.text
    assert 'value="kept"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        ({"source": "", "count": " "}, {"source": "a value is needed", "count": "a value is needed"}),
        (
            {"source": "", "count": "x", "ratio": "y", "when": "z"},
            {"source": "needed", "count": "whole number", "ratio": "number", "when": "date"},
        ),
        ({"source": "s", "count": "3"}, {"count": "count must be even"}),
    ],
)
def test_all_that_is_wrong_is_told_at_once_beside_its_field(
    browser: TestClient, form: dict[str, str], wrong: dict[str, str]
) -> None:
    answer = browser.post("/operations/shop:Needy", data=form)

    found = dict(re.findall(r'id="wrong-(\w+)">(.*?)</p>', answer.text))
    assert answer.status_code == 422
    assert found.keys() == wrong.keys()
    assert all(why in found[name] for name, why in wrong.items())
    assert all(f'value="{value}"' in answer.text for value in form.values() if value.strip())


def test_what_a_recipe_refuses_without_naming_a_field_stands_above_all(browser: TestClient) -> None:
    answer = browser.post("/operations/shop:Needy", data={"source": "s", "count": "2", "ratio": "3"})

    assert answer.status_code == 422
    assert '<div class="problem" role="alert"><pre>that is too much</pre></div>' in answer.text
    assert 'value="3"' in answer.text


def test_the_question_of_an_operation_is_asked_on_the_page(shop: Project, browser: TestClient) -> None:
    form = {"source": "s", "count": "2"}
    asked = browser.post("/operations/shop:Needy", data=form)
    assert (asked.status_code, "Really?" in asked.text, 'name="yes"' in asked.text) == (422, True, True)
    assert browser.post("/operations/shop:Needy", data=form | {"yes": "yes"}).headers["location"] == "/runs/1"
    until(lambda: look(shop, 1).state is RunState.SUCCEEDED)

    assert "Really?" in browser.post("/runs/1/rerun").text
    assert browser.post("/runs/1/rerun", data={"yes": "yes"}).headers["location"] == "/runs/2"


def test_a_run_is_run_again_with_its_parameters_and_its_owner(shop: Project, browser: TestClient) -> None:
    shop.stagerun("run", "shop:Import", "--limit", "5", "--tags", "a,b", "--owner", "bob")
    page = browser.get("/runs/1/rerun").text
    assert ("limit", "5") in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    assert 'href="/operations/shop%3AImport?like=1"' in page

    assert browser.post("/runs/1/rerun").headers["location"] == "/runs/2"
    until(lambda: look(shop, 2).state is RunState.SUCCEEDED)
    first, second = look(shop, 1), look(shop, 2)
    assert (second.plan.params, second.owner) == (first.plan.params, "bob")


def test_a_rerun_asks_for_the_secrets_which_were_never_stored(shop: Project, browser: TestClient) -> None:
    shop.stagerun("run", "shop:Hidden", environ={"STAGERUN_PASSWORD": "correct horse"})
    open_gate(shop, "mended")

    assert 'type="password"' in browser.get("/runs/1/rerun").text
    refused = browser.post("/runs/1/rerun", data={})
    assert refused.status_code == 422
    assert re.search(r'id="wrong-password">the secret .*?password.*? is missing', refused.text)
    assert browser.post("/runs/1/rerun", data={"password": "correct horse"}).headers["location"] == "/runs/2"


def test_a_form_is_filled_as_in_an_earlier_run(shop: Project, browser: TestClient) -> None:
    shop.stagerun("run", "shop:Import", "--limit", "77", "--tags", "x", "--tags", "y", "--no-dry")

    page = browser.get("/operations/shop:Import?like=1").text

    assert 'value="77"' in page
    assert ">\nx\ny</textarea>" in page
    assert "checked" not in page
    assert "As last time (run 1)" in browser.get("/operations/shop:Import").text


def test_a_form_that_is_refused_keeps_the_lines_of_its_fields(shop: Project, browser: TestClient) -> None:
    lines = {"tags": "x\r\ny", "note": "one\r\ntwo"}
    refused = browser.post("/operations/shop:Import", data={**lines, "limit": "many"}).text
    areas = dict(re.findall(r'<textarea[^>]*name="(\w+)"[^>]*>\n(.*?)</textarea>', refused, re.DOTALL))
    assert areas == {"tags": "x\ny", "note": "one\ntwo"}

    begun = browser.post("/operations/shop:Import", data=lines)

    assert begun.headers["location"] == "/runs/1"
    params = look(shop, 1).plan.params
    assert (params["tags"], params["note"]) == (["x", "y"], "one\ntwo")
    again = browser.get("/operations/shop:Import?like=1").text
    assert re.search(r'<textarea[^>]*name="note"[^>]*>\none\ntwo</textarea>', again)


def test_a_recipe_that_is_broken_or_missing_is_explained(shop: Project, browser: TestClient) -> None:
    shop.recipe(
        "bad", "import nothing_of_that_name\n\nclass Bad(LiveOperation):\n    stages = []\n    def run(self, p): ...\n"
    )

    assert "nothing_of_that_name" in browser.get("/operations/bad:Bad").text


@pytest.mark.parametrize("target", ["shop:Missing", "--help", "/tmp/elsewhere.py:Evil", "os:path"])
def test_no_file_is_imported_but_a_recipe_or_what_has_run_before(
    shop: Project, browser: TestClient, target: str
) -> None:
    for answer in (browser.get(f"/operations/{target}"), browser.post(f"/operations/{target}", data={})):
        assert answer.status_code == 404
        assert "it has never run" in answer.text


def test_an_operation_outside_the_recipes_folder_can_be_run_again(shop: Project, browser: TestClient) -> None:
    (shop.root / "aside.py").write_text((shop.root / "recipes" / "shop.py").read_text())
    shop.stagerun("run", "aside.py:Import")

    assert 'name="limit"' in browser.get("/operations/aside.py:Import?like=1").text


def test_a_changed_recipe_has_a_changed_form(shop: Project, browser: TestClient) -> None:
    assert 'name="limit"' in browser.get("/operations/shop:Import").text
    shop.recipe("shop", SHOP.replace("limit", "ceiling"))

    assert 'name="ceiling"' in browser.get("/operations/shop:Import").text


def test_cancel_ends_a_run(shop: Project, browser: TestClient) -> None:
    with running(shop, "run", "shop:Waiting") as process:
        until(lambda: shop.journal.exists() and browser.get("/runs/1/log.txt").text == "here\n")
        answer = browser.post("/runs/1/cancel")
        process.communicate(timeout=60)

    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/1")
    assert look(shop, 1).state is RunState.CANCELLED
    assert browser.post("/runs/1/cancel").status_code == 303


def test_a_resume_shows_its_plan_and_then_goes_on(shop: Project, browser: TestClient) -> None:
    shop.stagerun("run", "shop:Broken")
    plan = browser.get("/runs/1/resume").text
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", plan) == [
        ("reused", "checkpoint rows, loop pages (all 3)"),
        ("runs again", "Load (was done), Save, Tell, and whatever has no step or key"),
    ]
    assert _count(shop) == 1
    from_load = browser.get("/runs/1/resume?from=Load").text
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", from_load) == [
        ("dropped", "checkpoint rows, loop pages (all 3)"),
        ("runs again", "all of it: nothing is taken over"),
    ]

    open_gate(shop, "mended")
    answer = browser.post("/runs/1/resume", data={"from": ""})

    assert answer.headers["location"] == "/runs/2"
    until(lambda: look(shop, 2).state is RunState.SUCCEEDED)
    assert "resumed by" in _text(browser.get("/runs/1").text)
    assert "attempt 2, resumes run 1" in _text(browser.get("/runs/2").text)


def test_a_resume_asks_for_the_secrets_which_were_never_stored(shop: Project, browser: TestClient) -> None:
    shop.stagerun("run", "shop:Hidden", environ={"STAGERUN_PASSWORD": "correct horse"})
    open_gate(shop, "mended")

    assert 'type="password"' in browser.get("/runs/1/resume").text
    refused = browser.post("/runs/1/resume", data={})
    assert refused.status_code == 422
    assert re.search(r'id="wrong-password">the secret .*?password.*? is missing', refused.text)
    assert browser.post("/runs/1/resume", data={"password": "correct horse"}).headers["location"] == "/runs/2"


def test_a_resume_that_is_not_possible_says_why(shop: Project, browser: TestClient) -> None:
    shop.stagerun("run", "shop:Broken")
    open_gate(shop, "mended")
    shop.stagerun("resume", "1")

    answer = browser.post("/runs/1/resume", data={})

    assert answer.status_code == 422
    assert "ended without a run" in answer.text


def _count(project: Project) -> int:
    with browser_of(project) as client:
        return len(_runs(client.get("/").text))


def test_a_page_of_a_hostile_recipe_holds_its_text_and_no_element_of_it(shop: Project, browser: TestClient) -> None:
    shop.recipe(
        "evil",
        """
class Evil(LiveOperation):
    '''<script>alert(0)</script> {{7*7}}'''
    stages = ['"><img src=x onerror=alert(1)>', "' autofocus onfocus='alert(2)"]
    note: str = '"><script>alert(3)</script>'

    def run(self, p: Progress) -> None:
        with p.stage(self.stages[0]):
            p.log("<img src=x onerror=alert(4)>")
            p.status("<script>alert(5)</script>")
        p.result({"</dd><script>": "</script><script>alert(6)</script>"})
        raise ValueError("</pre><script>alert(7)</script>")
""",
    )
    shop.stagerun("run", "evil", "--owner", "<script>alert(8)</script>")

    for path in ("/", "/runs/1", "/runs/1/resume", "/operations/evil:Evil", "/operations/evil:Evil?like=1"):
        page = browser.get(path).text
        assert re.findall(r"<script(?! type=\"module\" src=\"/static/)", page) == []
        assert "<img" not in page
        assert re.findall(r"<[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', page)) == []
        assert "49" not in re.findall(r"\{\{7\*7\}\}|\b49\b", page)
