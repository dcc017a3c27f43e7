"""`stagerun export`: a run and its chain as JUnit, Markdown and a trace, whole, and inert whatever stands in it."""

import html
import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from stagerun import LiveOperation, Progress
from stagerun.machine import identity
from stagerun.reports import junit, trace
from tests.conftest import STAGERUN, START, Bench, Project, new_project, timeless
from tests.processes import finish, read_until, running


HOST = identity.current_process().host

DEMO = """
import os, signal, time

class Import(LiveOperation):
    stages = ["Load", "Save"]
    source: str = "a.csv"

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            with p.stage("unpack"):
                p.checkpoint("rows", lambda: 3)
        with p.stage("Save"):
            pass
        p.result(count=3, file="out.csv")

class Broken(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            raise ValueError("boom")

class Told(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            pass
        p.error("3 rows are bad\\nsee the log")

class Waiting(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            pass
        with p.stage("Save"):
            p.log("here")
            time.sleep(60)

class Dying(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            with p.stage("unpack"):
                os.kill(os.getpid(), signal.SIGKILL)

class Slow(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load", timeout=0.1):
            time.sleep(60)

class Late(LiveOperation):
    stages = ["Load"]
    timeout = 0.1

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            pass
        time.sleep(60)

class First(LiveOperation):
    stages = ["One"]

    def run(self, p: Progress) -> None:
        with p.stage("One"):
            p.result(made=1)
        p.chain_to(Second(owner=self.owner, number=7))

class Second(LiveOperation):
    stages = ["Two", "Three"]
    number: int

    def run(self, p: Progress) -> None:
        with p.stage("Two"):
            raise ValueError("boom")

class Bare(LiveOperation):
    def run(self, p: Progress) -> None:
        p.log("nothing to see")

class Caught(LiveOperation):
    stages = ["Load", "Save"]
    then: str = ""

    def run(self, p: Progress) -> None:
        try:
            with p.stage("Load"):
                raise ValueError("first")
        except ValueError:
            pass
        if self.then == "raise":
            raise KeyError("second")
        if self.then == "tell":
            p.error("told")
        if self.then == "cancel outside":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        if self.then == "die outside":
            os.kill(os.getpid(), signal.SIGKILL)
        with p.stage("Save"):
            if self.then == "cancel":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            if self.then == "die":
                os.kill(os.getpid(), signal.SIGKILL)

class Nested(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            with p.stage("unpack"):
                raise ValueError("boom")

class Again(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress) -> None:
        for visit in range(2):
            try:
                with p.stage("Load"):
                    if visit == 0:
                        raise ValueError("first")
            except ValueError:
                pass
"""


@pytest.fixture
def demo(project: Project) -> Project:
    project.recipe("demo", DEMO)
    return project


def _export(project: Project, kind: str, ref: str = "last", **environ: str) -> str:
    done = project.stagerun("export", ref, "--format", kind, environ=environ)
    assert (done.code, done.err) == (0, "")
    return done.out


def _junit(project: Project, ref: str = "last") -> str:
    """Return the document of no time and place in particular, without its counts: they are those of what it holds."""
    text = _export(project, "junit", ref)
    _check_counts(ET.fromstring(text))
    text = re.sub(r'time="\d+\.\d{3}"', 'time="0.000"', text).replace("&#10;", "\n")
    text = re.sub(r' (?:tests|failures|errors|skipped)="\d+"', "", text)
    text = re.sub(r'timestamp="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"', 'timestamp="TIME"', text)
    return _placeless(text.replace(f'hostname="{HOST}"', 'hostname="HOST"'), project)


def _placeless(text: str, project: Project) -> str:
    return re.sub(r"line \d+(, in run|\))", r"line N\1", text.replace(str(project.root), "ROOT"))


def _check_counts(root: ET.Element) -> None:
    held = {
        "tests": "testcase",
        "failures": "testcase/failure",
        "errors": "testcase/error",
        "skipped": "testcase/skipped",
    }
    suites = root.findall("testsuite")
    counted = [{name: len(suite.findall(path)) for name, path in held.items()} for suite in suites]
    assert [{name: int(suite.attrib[name]) for name in held} for suite in suites] == counted
    total = sum((Counter(each) for each in counted), Counter())
    assert {name: int(root.attrib[name]) for name in held} == {name: total[name] for name in held}
    assert round(sum(float(suite.attrib["time"]) for suite in suites), 3) == float(root.attrib["time"])


def _markdown(project: Project, ref: str = "last") -> str:
    return _placeless(timeless(_export(project, "markdown", ref)), project)


def _trace(project: Project, ref: str = "last") -> dict[str, Any]:
    """Return the document with the times of no run in particular."""
    document: dict[str, Any] = json.loads(_export(project, "trace", ref))
    for event in document["traceEvents"]:
        event["pid"] = "PID"
        event.update({name: 0 for name in ("ts", "dur") if name in event})
    return document


def _track(
    run: int, target: str, state: str, *blocks: str, params: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the trace of one run; a block is told as `name state`, a checkpoint as `checkpoint key`."""
    place = {"pid": "PID", "tid": run}
    about = {"state": state, "owner": "alice", "params": params or {}}
    return [
        {"ph": "M", "name": "process_name", "args": {"name": f"stagerun on {HOST}"}} | place,
        {"ph": "M", "name": "thread_name", "args": {"name": f"run {run} {target}"}} | place,
        {"ph": "X", "name": target, "cat": "run", "ts": 0, "dur": 0, "args": about} | place,
        *(_block(each) | place for each in blocks),
    ]


def _block(told: str) -> dict[str, Any]:
    name, state = told.split(" ", 1)
    if name == "checkpoint":
        return {"ph": "i", "s": "t", "name": told, "cat": "checkpoint", "ts": 0}
    return {"ph": "X", "name": name, "cat": "stage", "ts": 0, "dur": 0, "args": {"state": state}}


def _document(*tracks: list[dict[str, Any]]) -> dict[str, Any]:
    return {"traceEvents": [event for track in tracks for event in track], "displayTimeUnit": "ms"}


# --- every end of a run, in every format


class End(NamedTuple):
    """What is told of a run; of `operation`, its number and `state` the templates below know what is always there."""

    run: int
    operation: str
    state: str
    cases: Mapping[str, str]  # the test cases of JUnit, with what each holds
    told: str  # what the first line of Markdown says
    rows: Sequence[str]  # those of its table
    rest: str  # what stands below
    blocks: Sequence[str]  # those of the trace
    params: Mapping[str, Any] = {}

    @property
    def suite(self) -> str:
        target = f"demo:{self.operation}"
        cases = [
            f'    <testcase classname="{target}" name="{name}" time="0.000"'
            + (f">\n      {inner}\n    </testcase>\n" if inner else " />\n")
            for name, inner in self.cases.items()
        ]
        return (
            f'  <testsuite name="{target}" id="{self.run}" time="0.000" timestamp="TIME" hostname="HOST">\n'
            "    <properties>\n"
            f'      <property name="run" value="{self.run}" />\n'
            '      <property name="owner" value="alice" />\n'
            f'      <property name="state" value="{self.state}" />\n'
            "    </properties>\n" + "".join(cases) + "  </testsuite>\n"
        )

    @property
    def line(self) -> str:
        sign, _, said = self.told.partition(" ")
        return f"{sign} **run {self.run}** <code>demo&#58;{self.operation}</code> {said}\n"

    @property
    def table(self) -> str:
        return "".join(f"| {self.run} | {row} |\n" for row in self.rows)

    @property
    def track(self) -> list[dict[str, Any]]:
        return _track(self.run, f"demo:{self.operation}", self.state, *self.blocks, params=self.params)


def _documents(*links: End) -> tuple[str, str, dict[str, Any]]:
    """Return what a chain is told as: JUnit, Markdown, trace."""
    table = "".join(each.table for each in links)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="demo:{links[0].operation}" time="0.000">\n'
        + "".join(each.suite for each in links)
        + "</testsuites>\n",
        "\n".join(each.line for each in links)
        + (f"\n| run | stage | state | took |\n|--:|---|---|--:|\n{table}" if table else "")
        + "".join(each.rest for each in links),
        _document(*(each.track for each in links)),
    )


def _fenced(title: str, text: str) -> str:
    return f"\n{title}:\n\n```text\n{text}\n```\n"


def _failed(run: int, text: str) -> str:
    return _fenced(f"Error of run {run}", text) + _resume(run)


def _resume(run: int) -> str:
    return f"\nResume with: `stagerun resume {run}`\n"


SKIPPED = '<skipped message="not reached" />'
TRACEBACK = (
    'Traceback (most recent call last):\n  File "ROOT/recipes/demo.py", line N, in run\n'
    '    raise ValueError("boom")\nValueError: boom'
)
BOOM = f'<failure message="ValueError: boom" type="ValueError">{TRACEBACK}</failure>'
LOADED, SAVED = "<code>Load</code> | ✓ done | 0.0s", "<code>Save</code> | ✓ done | 0.0s"
NOT_LOADED, NOT_REACHED = "<code>Load</code> | ✗ failed | 0.0s", "<code>Save</code> | ○ pending | "

GOING_ON = End(
    *(1, "Waiting", "running", {"Load": "", "Save": '<skipped message="going on" />'}),
    *("⏳ **running** for 0.0s", [LOADED, "<code>Save</code> | ● active | 0.0s"], ""),
    ["Load done", "Save not left"],
)
ENDS = [
    End(
        *(1, "Waiting", "cancelled", {"Load": "", "Save": '<error message="cancelled by SIGTERM" type="cancelled" />'}),
        "🚫 **cancelled** by SIGTERM in <code>Save</code> after 0.0s",
        *([LOADED, "<code>Save</code> | ⊘ cancelled | 0.0s"], _resume(1), ["Load done", "Save cancelled"]),
    ),
    End(
        *(2, "Import", "succeeded", {"Load": "", "Save": ""}, "✅ **succeeded** in 0.0s", [LOADED, SAVED]),
        _fenced("Result of run 2", "count=3\nfile=out.csv"),
        ["checkpoint rows", "unpack done", "Load done", "Save done"],
        {"source": "a.csv"},
    ),
    End(
        *(3, "Broken", "failed", {"Load": BOOM, "Save": SKIPPED}),
        *("❌ **failed** in <code>Load</code> after 0.0s", [NOT_LOADED, NOT_REACHED], _failed(3, TRACEBACK)),
        ["Load failed"],
    ),
    End(
        4,
        "Told",
        "failed",
        {
            "Load": "",
            "outside any stage": '<failure message="3 rows are bad" type="failed">'
            "3 rows are bad\nsee the log</failure>",
        },
        *("❌ **failed** after 0.0s", [LOADED], _failed(4, "error: 3 rows are bad\nsee the log"), ["Load done"]),
    ),
    End(
        5,
        "Slow",
        "timed_out",
        {
            "Load": """<failure message="stage 'Load' took longer than 0.1s" type="timed_out">"""
            "stage 'Load' took longer than 0.1s (ROOT/recipes/demo.py, line N)</failure>",
            "Save": SKIPPED,
        },
        "⌛ **timed out** in <code>Load</code> after 0.0s",
        [NOT_LOADED, NOT_REACHED],
        _failed(5, "error: stage 'Load' took longer than 0.0s (ROOT/recipes/demo.py, line N)"),
        ["Load failed"],
    ),
    End(
        6,
        "Late",
        "timed_out",
        {
            "Load": "",
            "outside any stage": '<failure message="the run took longer than 0.1s" type="timed_out">'
            "the run took longer than 0.1s (ROOT/recipes/demo.py, line N)</failure>",
        },
        *("⌛ **timed out** after 0.0s", [LOADED]),
        _failed(6, "error: the run took longer than 0.0s (ROOT/recipes/demo.py, line N)"),
        ["Load done"],
    ),
    End(7, "Bare", "succeeded", {}, "✅ **succeeded** in 0.0s", [], "", []),
    End(8, "Again", "succeeded", {"Load": ""}, "✅ **succeeded** in 0.0s", [LOADED], "", ["Load failed", "Load done"]),
    End(
        9,
        "Dying",
        "crashed",
        {
            "Load": '<error message="the process ended without a word" type="crashed">'
            "the process ended without a word</error>",
            "Save": SKIPPED,
        },
        "💥 **crashed** in <code>Load</code> after 0.0s",
        [NOT_LOADED, NOT_REACHED],
        _failed(9, "error: the process ended without a word"),
        ["Load not left", "unpack not left"],
    ),
]
CHAIN = [
    End(
        *(1, "First", "succeeded", {"One": ""}, "✅ **succeeded** in 0.0s", ["<code>One</code> | ✓ done | 0.0s"]),
        *(_fenced("Result of run 1", "made=1"), ["One done"]),
    ),
    End(
        *(2, "Second", "failed", {"Two": BOOM, "Three": SKIPPED}, "❌ **failed** in <code>Two</code> after 0.0s"),
        ["<code>Two</code> | ✗ failed | 0.0s", "<code>Three</code> | ○ pending | "],
        *(_failed(2, TRACEBACK), ["Two failed"], {"number": 7}),
    ),
]


class Ended(NamedTuple):
    """A project in which everything has ended, and what was told while its first run went on."""

    project: Project
    going_on: tuple[str, str, dict[str, Any]]


def _told(project: Project, ref: str) -> tuple[str, str, dict[str, Any]]:
    return _junit(project, ref), _markdown(project, ref), _trace(project, ref)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    project = new_project(tmp_path_factory.mktemp("ended"))
    project.recipe("demo", DEMO)
    with running(project, "run", "demo:Waiting") as process:
        read_until(process, "here")
        going_on = _told(project, "last")
        process.send_signal(signal.SIGTERM)
        finish(process)
    for end in ENDS[1:]:
        project.stagerun("run", f"demo:{end.operation}")
    return Ended(project, going_on)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: f"{end.operation}-{end.state}")
def test_the_end_of_a_run_is_told_in_every_format(ended: Ended, end: End) -> None:
    assert _told(ended.project, str(end.run)) == _documents(end)


def test_a_run_that_goes_on_is_told_up_to_now(ended: Ended) -> None:
    assert ended.going_on == _documents(GOING_ON)


@pytest.mark.parametrize("link", ["1", "2"])
def test_a_chain_is_one_document_whichever_link_is_named(demo: Project, link: str) -> None:
    demo.stagerun("run", "demo:First")

    assert _told(demo, link) == _documents(*CHAIN)


# --- a stage failed, the recipe caught it, and the run went on


CAUGHT = {"failure": ("failed", "failed", None)}


def _cases(project: Project, *arguments: str) -> dict[str, dict[str, tuple[str | None, str | None, str | None]]]:
    """Run it; return test case -> what it holds -> message, type, last line of the text."""
    project.stagerun("run", *arguments)
    root = ET.fromstring(_junit(project))
    return {
        case.attrib["name"]: {
            each.tag: (each.get("message"), each.get("type"), each.text and each.text.split("\n")[-1]) for each in case
        }
        for case in root.iter("testcase")
    }


def test_a_caught_failure_of_a_stage_stays_in_the_table_and_in_the_trace(demo: Project) -> None:
    demo.stagerun("run", "demo:Caught")

    assert _markdown(demo) == (
        "✅ **run 1** <code>demo&#58;Caught</code> **succeeded** in 0.0s\n"
        "\n"
        "| run | stage | state | took |\n"
        "|--:|---|---|--:|\n"
        "| 1 | <code>Load</code> | ✗ failed | 0.0s |\n"
        "| 1 | <code>Save</code> | ✓ done | 0.0s |\n"
    )
    about = {"then": ""}
    assert _trace(demo) == _document(_track(1, "demo:Caught", "succeeded", "Load failed", "Save done", params=about))


def test_a_caught_failure_of_a_stage_does_not_fail_with_the_word_succeeded(demo: Project) -> None:
    assert _cases(demo, "demo:Caught") == {"Load": CAUGHT, "Save": {}}


@pytest.mark.parametrize(
    ("then", "ended"),
    [
        ("raise", {"failure": ("KeyError: 'second'", "KeyError", "KeyError: 'second'")}),
        ("tell", {"failure": ("told", "failed", "told")}),
    ],
)
def test_an_error_outside_any_stage_is_not_lost_behind_a_caught_one(demo: Project, then: str, ended: object) -> None:
    cases = _cases(demo, "demo:Caught", "--then", then)

    assert cases["outside any stage"] == ended
    assert cases["Load"] == CAUGHT


def test_an_error_in_a_block_inside_a_stage_is_not_lost(demo: Project) -> None:
    told = [failure for case in _cases(demo, "demo:Nested").values() for failure in case.values()]

    assert ("ValueError: boom", "ValueError", "ValueError: boom") in told


CANCELLED = {"error": ("cancelled by SIGTERM", "cancelled", None)}
DIED = {"error": ("the process ended without a word", "crashed", "the process ended without a word")}


@pytest.mark.parametrize(
    ("then", "cases"),
    [
        ("cancel", {"Load": CAUGHT, "Save": CANCELLED}),
        ("die", {"Load": CAUGHT, "Save": DIED}),
        (
            "cancel outside",
            {"Load": CAUGHT, "Save": {"skipped": ("not reached", None, None)}, "outside any stage": CANCELLED},
        ),
        ("die outside", {"Load": CAUGHT, "Save": {"skipped": ("not reached", None, None)}, "outside any stage": DIED}),
    ],
)
def test_the_end_of_the_run_is_told_only_where_it_happened(demo: Project, then: str, cases: object) -> None:
    assert _cases(demo, "demo:Caught", "--then", then) == cases


# --- times, by a clock that only the test moves


class Timed(LiveOperation):
    stages = ["Load", "Save", "Never"]

    def __init__(self, bench: Bench) -> None:
        super().__init__(owner="alice")
        self.bench = bench

    def run(self, p: Progress) -> None:
        move = self.bench.clock.move
        move(1)
        with p.stage("Load"):
            move(2)
            with p.stage("unpack"):
                move(0.25)
                p.checkpoint("rows", lambda: 3)
                move(0.25)
        with p.stage("Save"):
            move(4)
        move(8)
        with p.stage("Load"):
            move(16)
        with p.stage("Save"):
            move(32)
            self.look(p)

    def look(self, p: Progress) -> None:
        """Look at the run while it goes on."""


def test_the_bars_of_a_trace_stand_where_they_were_on_the_clock(bench: Bench) -> None:
    bench.run(Timed(bench))
    records = bench.records()
    view = records.find("last")

    document = trace.document([(view, records.entries(view.id))], now=START + 1000)

    bars = [(each["name"], each["ts"], each.get("dur")) for each in document["traceEvents"] if each["ph"] != "M"]
    second, begun = 1_000_000, int(START * 1_000_000)
    assert bars == [
        ("demo:Timed", begun, 63_500_000),
        ("checkpoint rows", begun + 3_250_000, None),
        ("unpack", begun + 3 * second, 500_000),
        ("Load", begun + 1 * second, 2_500_000),
        ("Save", begun + 3_500_000, 4 * second),
        ("Load", begun + 15_500_000, 16 * second),
        ("Save", begun + 31_500_000, 32 * second),
    ]


def test_blocks_of_one_name_inside_each_other_have_each_its_own_bar(bench: Bench) -> None:
    class Retry(LiveOperation):
        def run(self, p: Progress) -> None:
            with p.stage("try"):
                bench.clock.move(1)
                with p.stage("try"):
                    bench.clock.move(2)
                bench.clock.move(4)

    bench.run(Retry())
    records = bench.records()
    view = records.find("last")

    document = trace.document([(view, records.entries(view.id))], now=0.0)

    bars = [(each["ts"], each["dur"]) for each in document["traceEvents"] if each.get("cat") == "stage"]
    begun = int(START * 1_000_000)
    assert bars == [(begun + 1_000_000, 2_000_000), (begun, 7_000_000)]


def test_what_goes_on_is_drawn_up_to_now(bench: Bench) -> None:
    traces, suites = list[dict[str, Any]](), list[ET.Element]()

    class Looked(Timed):
        def look(self, p: Progress) -> None:
            records = self.bench.records()
            view = records.find("last")
            now = START + self.bench.clock.now + 5
            traces.append(trace.document([(view, records.entries(view.id))], now))
            suites.append(ET.fromstring(junit.report([view], now)))

    bench.run(Looked(bench))
    (traced,), (root,) = traces, suites

    bars = [
        (each["name"], each.get("dur"), each["args"].get("state")) for each in traced["traceEvents"] if "dur" in each
    ]
    assert (bars[0], bars[-1]) == (("demo:Looked", 68_500_000, "running"), ("Save", 37_000_000, "not left"))
    assert {case.attrib["name"]: case.attrib["time"] for case in root.iter("testcase")} == {
        "Load": "18.500",
        "Save": "41.000",
        "Never": "0.000",
    }


def test_the_seconds_of_a_test_case_are_those_of_all_visits_and_its_moment_is_in_utc(bench: Bench) -> None:
    bench.run(Timed(bench))

    root = ET.fromstring(junit.report([bench.records().find("last")], now=0.0))

    assert (root.attrib["time"], root[0].attrib["time"], root[0].attrib["timestamp"]) == (
        "63.500",
        "63.500",
        "2027-01-15T08:00:00",
    )
    assert {case.attrib["name"]: case.attrib["time"] for case in root.iter("testcase")} == {
        "Load": "18.500",
        "Save": "36.000",
        "Never": "0.000",
    }


# --- names and messages that want to act


HOSTILE_STAGES = [
    "\x1b[31mred\x1b]0;title\x07\x00\x85",
    "\ufffe\uffff\U0001fffe\u202e\u2028",
    "]]><![CDATA[ <!-- & \"'",
    "::error::stage",
    "##vso[task.complete]",
    "##[error] ##teamcity[x] ###vso[y]",
    "a | b `c` ``d`` \\| \\`",
    "</code></td><script>alert(1)</script>",
    "[link](javascript:alert(1)) ![i](http://example.org/x.png) <http://example.org> www.example.org @alice #1",
    "**bold** _em_ ~~gone~~ $x$ :tada: &amp; &#124; # head",
    "line\nbreak\r\nand\ttab",
    "--- +++ ^^^ ~~~ ```",
]
HOSTILE_MESSAGE = """boom ]]> & <b> "'
::error::from the recipe
 ::stop-commands::x
##vso[task.setvariable variable=x]y
##[endgroup]
##teamcity[buildStop]
--- group
+++ group
^^^ +++
```
````text
~~~
# heading
| a | b |
</code> <script>
\x1b[31mred\x1b[0m \x00 \ufffe \u202e last"""
HOSTILE = f"""
class Hostile(LiveOperation):
    stages = {HOSTILE_STAGES!r}
    label: str = ""

    def run(self, p: Progress) -> None:
        for stage in self.stages[:-1]:
            with p.stage(stage):
                pass
        with p.stage({HOSTILE_MESSAGE!r}):
            p.checkpoint({HOSTILE_MESSAGE!r}, lambda: 1)
        p.result({{{HOSTILE_MESSAGE!r}: {HOSTILE_MESSAGE!r}}})
        with p.stage(self.stages[-1]):
            raise ValueError({HOSTILE_MESSAGE!r})
"""
COMMAND_AT_START = re.compile(r"^\s*(?:::|(?:---|\+\+\+|~~~)[ \t]|\^\^\^)", re.MULTILINE)
COMMAND_ANYWHERE = re.compile(r"##(?:\[|vso|teamcity)", re.IGNORECASE)
NOT_INERT = re.compile("[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]|[\u202a-\u202e\u2028\u2029]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("hostile"))
    project.recipe("demo", HOSTILE)
    environ = {"STAGERUN_LABEL": HOSTILE_MESSAGE.replace("\0", ""), "STAGERUN_OWNER": "::error::bob ##vso[x] `|`"}
    assert project.stagerun("run", "demo:Hostile", environ=environ).code == 1
    return project


def _escaped(text: str, also: str = "") -> str:
    """Return text as it is shown: what acts stands as its Python escape, but for TAB and those in `also`."""
    return "".join(c if c in f"\t{also}" or c.isprintable() else repr(c)[1:-1] for c in text)


def test_junit_is_well_formed_and_means_the_same_whatever_stands_in_it(hostile: Project) -> None:
    root = ET.fromstring(_export(hostile, "junit"))

    names = [case.attrib["name"] for case in root.iter("testcase")]
    assert names == [_escaped(each, also="\n") for each in HOSTILE_STAGES]
    (failure,) = root.iter("failure")
    assert (failure.text or "").split("\n")[-len(HOSTILE_MESSAGE.split("\n")) :] == [
        _escaped(line) for line in f"ValueError: {HOSTILE_MESSAGE}".split("\n")
    ]
    assert failure.attrib == {"message": "ValueError: boom ]]> & <b> \"'", "type": "ValueError"}
    owners = [each.attrib["value"] for each in root.iter("property") if each.attrib["name"] == "owner"]
    assert owners == ["::error::bob ##vso[x] `|`"]


@pytest.mark.parametrize("environ", [{}, {"GITHUB_ACTIONS": "true"}], ids=["nowhere", "github"])
def test_junit_and_markdown_hold_no_command_to_a_ci_system_and_nothing_that_acts(
    hostile: Project, environ: Mapping[str, str]
) -> None:
    for kind in ("junit", "markdown"):
        text = _export(hostile, kind, **environ)

        assert COMMAND_ANYWHERE.findall(text) == []
        assert NOT_INERT.findall(text) == []
        assert COMMAND_AT_START.findall(text) == []


def test_the_trace_is_ascii_json_that_means_the_same_whatever_stands_in_it(hostile: Project) -> None:
    text = _export(hostile, "trace")
    events = json.loads(text)["traceEvents"]

    assert (text.count("\n"), text.removesuffix("\n").isascii(), text.removesuffix("\n").isprintable()) == (
        1,
        True,
        True,
    )
    assert ("##" in text, [each["name"] for each in events if each.get("cat") == "stage"]) == (
        False,
        [*HOSTILE_STAGES[:-1], HOSTILE_MESSAGE, HOSTILE_STAGES[-1]],
    )
    assert [each["name"] for each in events if each["ph"] == "i"] == [f"checkpoint {HOSTILE_MESSAGE}"]
    assert events[2]["args"] == {
        "state": "failed",
        "owner": "::error::bob ##vso[x] `|`",
        "params": {"label": HOSTILE_MESSAGE.replace("\0", "")},
    }


def _inlines(text: str) -> Iterator[tuple[str, str]]:
    """Yield what a reader of Markdown with HTML and tables finds outside of blocks of code: type, content."""
    for token in (
        MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"]).parse(text)
    ):
        yield token.type, ""
        for child in token.children or ():
            yield child.type, child.content


def test_markdown_holds_one_table_and_its_fences_and_nothing_that_a_name_has_made(hostile: Project) -> None:
    text = _markdown(hostile)
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    told = Counter(kind for kind, _ in _inlines(text))

    assert {token.type for token in tokens if token.nesting >= 0} == {
        *("paragraph_open", "inline", "fence"),
        *("table_open", "thead_open", "tbody_open", "tr_open", "th_open", "td_open"),
    }
    assert (told["table_open"], told["tr_open"], told["fence"]) == (1, 1 + len(HOSTILE_STAGES), 2)
    assert told["td_open"] == 4 * len(HOSTILE_STAGES)
    assert {content for kind, content in _inlines(text) if kind == "html_inline"} == {"<code>", "</code>"}
    inside = set(told) - {token.type for token in tokens} - {"text_special"}  # as newer parsers call an entity
    assert inside == {"text", "strong_open", "strong_close", "html_inline", "code_inline"}
    names = re.findall(r"<td><code>(.*?)</code></td>", parser.render(text).replace("\n", ""))
    # To a parser of Markdown the number of a noncharacter is that of the replacement character.
    told_names = [re.sub("[\ufffe\uffff\U0001fffe]", "\ufffd", each) for each in HOSTILE_STAGES]
    assert [html.unescape(each) for each in names] == [_escaped(each) for each in told_names]


def test_the_fences_of_markdown_hold_every_line_as_text(hostile: Project) -> None:
    tokens = MarkdownIt("commonmark").parse(_markdown(hostile))
    error, result = (token.content.split("\n")[:-1] for token in tokens if token.type == "fence")

    # A backslash takes the command out of a line; the rest stays as it is.
    told = [_escaped(line, also="\ufffe") for line in f"ValueError: {HOSTILE_MESSAGE}".split("\n")]
    assert [line.replace("\\", "") for line in error[-len(told) :]] == [line.replace("\\", "") for line in told]
    assert [line for line in (*error, *result) if COMMAND_AT_START.match(line) or COMMAND_ANYWHERE.search(line)] == []
    assert len(result) == 1


# --- what can't be exported


def test_an_unknown_format_is_refused_with_the_legal_ones(demo: Project) -> None:
    done = demo.stagerun("export", "--format", "xml")

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "stagerun: invalid value for '--format': 'xml' is not one of 'junit', 'markdown', 'trace', 'openmetrics'\n"
        "  see 'stagerun export --help'\n"
    )


def test_a_missing_format_is_refused_with_the_legal_ones(demo: Project) -> None:
    done = demo.stagerun("export")

    assert (done.code, done.out) == (2, "")
    assert " ".join(done.err.split()) == (
        "stagerun: missing option '--format'. Choose from: junit, markdown, trace, openmetrics "
        "see 'stagerun export --help'"
    )


def test_the_format_may_come_from_the_environment(demo: Project) -> None:
    demo.stagerun("run", "demo:Bare")

    done = demo.stagerun("export", environ={"STAGERUN_FORMAT": "markdown"})

    assert (done.code, done.out) == (0, _export(demo, "markdown"))


@pytest.mark.parametrize("kind", ["junit", "markdown", "trace"])
def test_without_a_journal_there_is_nothing_to_export_and_none_is_made(demo: Project, kind: str) -> None:
    done = demo.stagerun("export", "--format", kind)

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"stagerun: there are no runs yet: {demo.journal} does not exist\n  start one: stagerun run TARGET\n"
    )
    assert not demo.journal.parent.exists()


def test_a_run_that_is_not_there_is_refused(demo: Project) -> None:
    demo.stagerun("run", "demo:Bare")

    done = demo.stagerun("export", "7", "--format", "junit")

    assert (done.code, done.out) == (2, "")
    assert done.err == f"stagerun: there is no run 7 in {demo.journal}\n  the newest is 1\n"


def test_the_newest_run_or_that_of_an_operation_is_exported_without_a_ref(demo: Project) -> None:
    demo.stagerun("run", "demo:Import")
    demo.stagerun("run", "demo:Bare")

    named = [("last",), ("last~1",), ("--operation", "Import"), ("2",), ()]
    told = [demo.stagerun("export", *each, "--format", "markdown").out.split("\n")[0] for each in named]

    assert [timeless(each).split("</code>")[0].removeprefix("✅ **") for each in told] == [
        "run 2** <code>demo&#58;Bare",
        "run 1** <code>demo&#58;Import",
        "run 1** <code>demo&#58;Import",
        "run 2** <code>demo&#58;Bare",
        "run 2** <code>demo&#58;Bare",
    ]


def test_exporting_changes_nothing(demo: Project) -> None:
    demo.stagerun("run", "demo:Dying")
    before = demo.journal.read_bytes()

    for kind in ("junit", "markdown", "trace"):
        _export(demo, kind)

    assert demo.journal.read_bytes() == before


# --- where a document could break


@pytest.mark.parametrize("kind", ["junit", "markdown"])
def test_a_document_is_the_same_whatever_the_encoding_of_the_output(project: Project, kind: str) -> None:
    project.recipe("demo", "class Grüße(LiveOperation):\n    stages = ['Maße']\n    def run(self, p): ...")
    project.stagerun("run", "demo:Grüße")

    done = subprocess.run(
        [STAGERUN, "export", "--format", kind],
        cwd=project.root,
        env=project.environ | {"PYTHONIOENCODING": "latin-1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    if kind == "junit":
        assert [case.attrib["name"] for case in ET.fromstring(done.stdout).iter("testcase")] == ["Maße"]


def test_a_block_whose_name_became_a_secret_inside_it_has_a_bar(project: Project) -> None:
    project.recipe(
        "demo",
        """
class Next(LiveOperation):
    key: Secret

    def run(self, p: Progress) -> None: ...

class First(LiveOperation):
    def run(self, p: Progress) -> None:
        with p.stage("login made-at-run-time"):
            p.chain_to(Next(key=Secret("made-at-run-time")))
""",
    )
    project.stagerun("run", "demo:First")

    events = _trace(project)["traceEvents"]

    assert [each["args"]["state"] for each in events if each.get("cat") == "stage"] == ["done"]
