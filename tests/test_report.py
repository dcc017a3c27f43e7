"""`stagerun report`: one HTML file that says all, and in which nothing acts."""

import base64
import os
import re
import stat
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from msgspec import structs

from stagerun import LiveOperation, Progress
from stagerun.outline import Outline
from stagerun.reports import command_line
from stagerun.reports.html import rendering
from stagerun.reports.html.colours import coloured
from stagerun.reports.html.model import Page
from stagerun.web import run_pages
from tests.conftest import Bench, Project
from tests.hostile import LINES


DEMO = """
class Import(LiveOperation):
    stages = ["Load", "Save", "Never"]
    limit: int = 3

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("read 3 rows")
            p.log("one is odd", level="warning")
        with p.stage("Save"):
            pass
        p.result(count=3)
        p.chain_to(Publish(owner=self.owner))

class Publish(LiveOperation):
    stages = ["Upload"]

    def run(self, p: Progress) -> None:
        with p.stage("Upload"):
            p.log("uploading")
            raise ConnectionError("403 Forbidden")
"""


class _Parsed(HTMLParser):
    """Which elements and attributes a document has, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def _report(project: Project, *arguments: str) -> _Parsed:
    done = project.stagerun("report", "-o", "-", *arguments)
    assert (done.code, done.err) == (0, "")
    return _Parsed(done.out)


@pytest.fixture
def recorded(project: Project) -> Project:
    project.recipe("orders", DEMO)
    assert project.stagerun("run", "orders:Import").code == 1
    return project


def test_a_report_tells_both_runs_of_a_chain_whole(recorded: Project) -> None:
    text = _report(recorded, "1").text

    for told in (
        *(
            "orders:Import",
            "succeeded",
            "read 3 rows",
            "one is odd",
            "Never entered: Never.",
            "stagerun run orders:Import --limit=3",
        ),
        *(
            "orders:Publish",
            "failed",
            "uploading",
            "ConnectionError: 403 Forbidden",
            'raise ConnectionError("403 Forbidden")',
        ),
        *("Failed in [1/1] Upload after", "stagerun resume 2"),
    ):
        assert told in text


def test_a_report_opens_the_failing_stage_alone(recorded: Project) -> None:
    document = recorded.stagerun("report", "2", "-o", "-").out

    folds = dict(re.findall(r'<details class="fold" id="(r\d+-fold-\d+)"[^>]*?( open)?>', document))
    assert folds == {"r1-fold-1": " open", "r1-fold-2": " open", "r2-fold-1": " open"}


def test_a_report_has_no_script_and_a_policy_that_allows_its_own_style_alone(recorded: Project) -> None:
    document = recorded.stagerun("report", "-o", "-").out
    style = re.search(r"<style>(.*?)</style>", document, re.DOTALL)

    assert style is not None
    digest = base64.b64encode(sha256(style[1].encode()).digest()).decode()
    assert f"default-src &#39;none&#39;; style-src &#39;sha256-{digest}&#39;;" in document
    parsed = _Parsed(document)
    assert {"script", "link", "img", "iframe", "object", "form", "button"} & {*parsed.tags} == set()
    assert [name for name, _ in parsed.attributes if name.startswith("on") or name in ("style", "src")] == []
    assert [value for name, value in parsed.attributes if name == "href" and not (value or "").startswith("#")] == []


def test_every_id_of_a_report_is_there_once(recorded: Project) -> None:
    ids = [value for name, value in _report(recorded).attributes if name == "id"]

    assert len(ids) == len({*ids})


def test_the_file_is_written_whole_for_its_owner_alone(recorded: Project) -> None:
    done = recorded.stagerun("report", "1", "-o", "run.html")

    file = recorded.root / "run.html"
    assert (done.code, done.out, done.err) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in recorded.root.iterdir() if "run.html" in path.name] == ["run.html"]
    assert file.read_text().endswith("</html>")


def test_a_link_or_a_pipe_is_written_through_and_stays(recorded: Project) -> None:
    (recorded.root / "link.html").symlink_to("run.html")
    os.mkfifo(recorded.root / "pipe")
    pipe = os.open(recorded.root / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    linked = recorded.stagerun("report", "1", "-o", "link.html")
    piped = recorded.stagerun("report", "1", "-o", "pipe")

    assert (linked.code, piped.code) == (0, 0)
    assert (recorded.root / "link.html").readlink().name == "run.html"
    assert stat.S_IMODE((recorded.root / "run.html").stat().st_mode) == 0o600
    assert os.read(pipe, 15) == b"<!doctype html>"
    os.close(pipe)


def test_a_file_that_cannot_be_written_is_said(recorded: Project) -> None:
    done = recorded.stagerun("report", "-o", "no/such/folder/run.html")

    assert done.code == 2
    assert "the report can't be written to no/such/folder/run.html" in done.err


class Talk(LiveOperation):
    stages = []

    def run(self, p: Progress) -> None:
        for first in range(1, 25_001, 100):
            p.log("\n".join(f"line number {number}" for number in range(first, first + 100)))


def test_a_long_log_is_cut_in_the_middle_with_a_count(bench: Bench) -> None:
    bench.run(Talk())
    with run_pages.reading(bench.journal) as reader:
        pages, _ = run_pages.report_pages(reader, reader.records.find("1"), 0.0)

    assert [line.number for line in pages[0].lines] == [*range(1, 5001), *range(10_001, 25_001)]
    short = structs.replace(pages[0], lines=[pages[0].lines[0], pages[0].lines[5000]])
    assert re.findall(r'class="gap">(.*?)<', rendering.report([short], 0.0, version="1")) == [
        "9,999 lines left out",
        "14,999 lines left out",
    ]


class Hostile(LiveOperation):
    stages = ['"><script>alert(1)</script>', "<img src=x onerror=alert(2)>", "{{7*7}}"]
    note: str = "' onmouseover='alert(3)"

    def run(self, p: Progress) -> None:
        with p.stage(self.stages[0]):
            for line in LINES:
                p.log(line)
            p.log("<img src=x onerror=alert(4)> \x1b[31m<b>red\x1b[0m \u202e")
            p.status("<script>alert(5)</script>")
        with p.stage("</details><h1>"):
            p.log("inner", level="<i>")
        p.result({"<b>": "</pre><script>alert(6)</script>"})
        raise ValueError("</style><script>alert(7)</script>")


def test_the_script_of_the_page_is_one_short_module() -> None:
    assert [file.name for file in rendering.STATIC.glob("*.js")] == ["page.js"]
    script = (rendering.STATIC / "page.js").read_text()
    assert script.count("\n") <= 300
    assert script.count("innerHTML:") == script.count("createHTML(") == 1


def test_nothing_that_a_recipe_says_acts_in_a_report(bench: Bench) -> None:

    bench.run(Hostile())
    with run_pages.reading(bench.journal) as reader:
        pages, _ = run_pages.report_pages(reader, reader.records.find("1"), 0.0)
        document = rendering.report(pages, 0.0, version="1")

    parsed = _Parsed(document)
    assert {"script", "img", "b", "i", "h1"} & {*parsed.tags} <= {"h1", "b"}
    assert parsed.tags.count("h1") == 1
    assert [name for name, _ in parsed.attributes if name.startswith("on")] == []
    assert "<img src=x onerror=alert(4)>" in parsed.text
    assert "{{7*7}}" in parsed.text
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", document) == []


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain <b>", "plain &lt;b&gt;"),
        ("\x1b[31mred\x1b[0m end", '<span class="t-red">red</span> end'),
        (
            "\x1b[1;92mbold\x1b[22mthin\x1b[m.",
            '<span class="t-bold t-green">bold</span><span class="t-green">thin</span>.',
        ),
        ("\x1b[38;5;196mx\x1b[38;2;1;2;3;4my", 'x<span class="t-under">y</span>'),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x1b[31m<&>", '<span class="t-red">&lt;&amp;&gt;</span>'),
    ],
)
def test_colours_become_classes_and_no_other_sequence_acts(text: str, html: str) -> None:
    assert coloured(text) == html


class Nested(LiveOperation):
    stages = ["Train"]

    def run(self, p: Progress) -> None:
        with p.stage("Train"):
            for _ in p.track(range(4), unit="epoch"):
                for _ in p.track(range(5), unit="batch"):
                    pass


def test_each_loop_of_several_has_a_bar_of_its_own(bench: Bench) -> None:
    bench.run(Nested())
    view = next(view for view in bench.seen.views if len(view.loops) == 2 and view.loops[0].done == 1)
    page = Page(view=view, outline=Outline(), lines=(), now=0.0)

    levels = re.findall(r"<li><span>(.*?)</span><progress.*?value=\"(.*?)\"", rendering.regions(page)["op-progress"])

    assert levels == [("epoch 2/4", "25"), ("5/5 batches", "100")]


class Uploading(LiveOperation):
    def run(self, p: Progress) -> None:
        p.sh("printf '%s from the index' 503; exit 1")


def test_the_last_lines_of_a_program_that_failed_stand_once_above_its_log(bench: Bench) -> None:
    view = bench.run(Uploading())
    result = rendering.regions(Page(view=view, outline=Outline(), lines=(), now=0.0))["op-result"]

    shown = re.sub(r"<details.*?</details>", "", result, flags=re.DOTALL)  # without the traceback
    assert shown.count("503 from the index") == 1


class Loading(LiveOperation):
    stages = ["Load", "Save"]
    fails: bool = False

    def run(self, p: Progress) -> None:
        p.step("Load", lambda: 1)
        with p.stage("Save"):
            if self.fails:
                raise ValueError("boom")


def test_a_stage_that_was_taken_over_is_not_said_to_take_its_usual_time(bench: Bench) -> None:
    bench.run(Loading())
    bench.run(Loading(fails=True))
    view = bench.resume(Loading())
    stages = rendering.regions(Page(view=view, outline=Outline(), lines=(), now=0.0))["op-stages"]

    assert ([*view.plan.expected], "from run 2" in re.sub("<.*?>", "", stages)) == (["Load", "Save"], True)
    assert 'title="usually"' not in stages


class Typed(LiveOperation):
    stages = []
    text: str = "two words"
    dash: str = "-x"
    dry: bool = True
    no: bool = False
    none: int | None = None
    several: list[str] = ("a", "b")  # type: ignore[assignment]

    def run(self, p: Progress) -> None: ...


def test_the_command_that_repeats_a_run_has_every_parameter(bench: Bench) -> None:
    view = bench.run(Typed())

    assert command_line.repeat(view) == (
        "stagerun run demo:Typed '--text=two words' --dash=-x --dry --no-no --several=a --several=b"
    )
