"""What the documentation names is what the product has, and its examples work."""

import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec.structs import fields

import stagerun
from stagerun import LiveOperation, Progress, events, exit_codes, testing
from stagerun.cli import cli
from stagerun.machine.settings import SETTINGS
from stagerun.sinks import Sink
from stagerun.states import RunState
from stagerun.view import RunView
from tests.blocks import DOCS, PAGES, page_name
from tests.conftest import REPOSITORY, Bench, Project
from tests.journals import make, select
from tests.loopback import MailServer, WebService


# What links to the pages, and is none of them.
BESIDE_THEM = [*sorted({*REPOSITORY.glob("*.md")} - {*PAGES}), REPOSITORY / "benchmarks" / "RESULTS.md"]

Rows = list[list[str]]


def _sections(page: str) -> dict[str, str]:
    """Heading -> the text under it, without what stands in code blocks."""
    text = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return {heading.strip("`"): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def _tables(text: str) -> list[Rows]:
    """The tables of a section, each row as its cells, without backticks and the two lines of the head."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [
        [[cell.strip().strip("`") for cell in line[1:-1].replace(r"\|", "/").split("|")] for line in rows.splitlines()]
        for rows in (table.split("\n", 2)[2] for table in found)
    ]


def _first_column(text: str, table: int = 0) -> list[str]:
    return [row[0] for row in _tables(text)[table]]


def _commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    return {name: command for name in cli.list_commands(context) if (command := cli.get_command(context, name))}


def _shown(option: click.Option) -> str:
    """`--limit INTEGER RANGE`, as the help shows it."""
    name = max(option.opts, key=len)
    return name if option.is_flag else f"{name} {option.metavar or option.type.name.upper()}"


@pytest.mark.parametrize("name", list(_commands()))
def test_every_option_of_a_command_is_documented_with_its_variable_and_no_other_is(name: str) -> None:
    options = [each for each in _commands()[name].params if isinstance(each, click.Option) and each.name != "help"]

    documented = [(row[0], row[1]) for row in _tables(_sections("commands.md")[name])[0]] if options else []

    assert documented == [(_shown(each), each.envvar or "") for each in options]


def test_every_command_is_listed_and_has_a_section() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    start = page.index("- [run]")
    contents = page[start : page.index("\n", start)]

    assert re.findall(r"\[(\w+)\]", contents) == list(_commands())
    assert [heading for heading in _sections("commands.md") if heading in _commands()] == list(_commands())


def test_every_setting_is_documented_with_its_type_and_no_other_is() -> None:
    words = {str: "string", bool: "boolean", dict: "tables", str | list | dict: "string, array or table"}

    documented = {row[0]: row[1] for row in _tables(_sections("commands.md")["Settings"])[0]}

    assert documented == {name: words[kind] for name, kind in ((name, each.kind) for name, each in SETTINGS.items())}


def test_every_field_of_every_event_is_documented_and_no_other_is() -> None:
    sections = _sections("output.md")
    documented = {kind: _first_column(sections[kind]) for kind in events.EVENTS if _tables(sections[kind])}

    told = {kind: [field.name for field in fields(event)] for kind, event in events.EVENTS.items() if fields(event)}
    # Lines that came at once are one event, and one object each.
    told["log"] = ["line", "level", "stream"]
    told["run_finished"].append("not_entered")  # from the view
    assert documented == told
    assert _first_column(sections["error"]) == [field.name for field in fields(events.Failure)]


def test_the_fields_that_every_json_line_has_are_documented(project: Project) -> None:
    project.recipe("orders", FAILING)

    line = json.loads(project.stagerun("run", "orders", "--progress", "json").out.splitlines()[0])

    own = [field.name for field in fields(events.RunCreated)]
    assert [*_first_column(_sections("output.md")["JSON lines"]), *own] == list(line)


FAILING = """
class Import(LiveOperation):
    stages = ["Load"]
    limit: int = 3

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("loading")
            raise ValueError("boom")
"""


def _json(project: Project, *arguments: str) -> Any:
    return json.loads(project.stagerun(*arguments, "--json").out)


def test_every_key_of_a_run_is_documented_and_no_other_is(project: Project) -> None:
    project.recipe("orders", FAILING)
    project.stagerun("run", "orders")

    run = _json(project, "status")

    page = _sections("json.md")["status"]
    assert _first_column(page) == list(run)
    assert _first_column(page, 1) == list(run["error"])
    assert _json(project, "history") == [run]


def test_every_key_of_what_doctor_finds_is_documented(project: Project) -> None:
    found = _json(project, "doctor")

    documented = _first_column(_sections("json.md")["doctor"])
    assert [list(each) for each in found] == [documented] * len(found)


def test_every_key_of_a_log_line_and_of_a_listed_or_shown_operation_is_documented(project: Project) -> None:
    project.recipe("orders", FAILING)
    project.stagerun("run", "orders")
    (line,), (listed,), shown = (
        _json(project, "logs"),
        _json(project, "list"),
        _json(project, "show", "orders:Import"),
    )

    page = _sections("json.md")

    assert _first_column(page["logs"]) == list(line)
    assert _first_column(page["list"]) == list(listed)
    assert _first_column(page["show"]) == list(shown)
    assert _first_column(page["show"], 1) == list(shown["parameters"][0])


@pytest.mark.parametrize("table", ["events", "runs", "stages", "checkpoints", "cancel_requests", "tags"])
def test_every_column_of_the_journal_is_documented_with_its_type_and_no_other_is(tmp_path: Path, table: str) -> None:
    make(tmp_path / "journal.db")
    columns = select(tmp_path / "journal.db", "SELECT name, lower(type) FROM pragma_table_info(?)", table)

    documented = [(row[0], row[1]) for row in _tables(_sections("journal.md")[table])[0]]

    assert documented == columns


def test_every_table_of_the_journal_is_documented_and_no_other_is(tmp_path: Path) -> None:
    make(tmp_path / "journal.db")
    tables = select(tmp_path / "journal.db", "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")

    documented = [heading for heading, text in _sections("journal.md").items() if "| column |" in text]

    assert sorted(documented) == [name for (name,) in tables if not str(name).startswith(("_", "sqlite_"))]


def test_every_exit_code_is_documented_and_no_other_is() -> None:
    own = [value for name, value in vars(exit_codes).items() if name.isupper() and type(value) is int]
    codes = {*own, *exit_codes.OF_SIGNAL.values()} - {exit_codes.SIGNALLED, exit_codes.LARGEST_OF_A_RECIPE}

    documented = _first_column(_sections("commands.md")["Exit codes"])

    ranges = [code for code in documented if not code.isdecimal()]
    assert sorted(int(code) for code in documented if code.isdecimal()) == sorted(codes)
    assert ranges == [f"1 to {exit_codes.LARGEST_OF_A_RECIPE}"]


def _signature(call: Callable[..., object]) -> str:
    """Return the parameters of a method as the page shows them."""
    _own, *given = inspect.signature(call).parameters.values()
    bare = [each.replace(annotation=each.empty) for each in given]
    return str(inspect.Signature(bare)).replace(", /", "").replace("'", '"')


def test_every_call_of_progress_is_documented_with_its_parameters_and_no_other_is() -> None:
    calls = {name: call for name, call in vars(Progress).items() if not name.startswith("_") and callable(call)}

    documented = _first_column(_sections("authoring.md")["Progress, call by call"])

    assert sorted(documented) == sorted(f"p.{name}{_signature(call)}" for name, call in calls.items())


def test_every_key_of_the_settings_is_documented_and_no_other_is(project: Project) -> None:
    told = _json(project, "config")

    page = _sections("json.md")["config"]
    assert re.findall(r"`(\w+)`, (?:the project's root|an array)", page) == list(told)
    assert _first_column(page) == list(told["settings"][0])


def _links(page: Path) -> Iterator[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            yield target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *BESIDE_THEM], ids=page_name)
def test_every_relative_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    broken = []
    for link in _links(page):
        name, _, anchor = link.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(link)

    assert broken == []


def test_no_page_is_without_a_link_to_it() -> None:
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in _links(page)}

    assert [page_name(page) for page in PAGES[1:] if page.resolve() not in linked] == []


def _blocks(page: Path = DOCS / "authoring.md") -> dict[str, str]:
    """First operation in it -> a Python block of the page."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    named = [(re.search(r"^class (\w+)\(LiveOperation\)", block, re.MULTILINE), block) for block in blocks]
    return {match[1]: block for match, block in named if match}


def _operations(block: str) -> list[type[LiveOperation]]:
    scope: dict[str, Any] = {"__name__": "authoring"}
    exec(compile(block, "docs/authoring.md", "exec"), scope)
    return [
        each
        for each in scope.values()
        if isinstance(each, type) and issubclass(each, LiveOperation) and each is not LiveOperation
    ]


# The blocks that show a failure; every other one that can run without being given anything succeeds.
FAILURES = {
    "Audit": "2 orders have no price",
    "Build": (
        "`echo checking links; ls nowhere` ended with exit code 2\n"
        "  checking links\n  ls: cannot access 'nowhere': No such file or directory"
    ),
    "Harvest": "the server hung up",
    "Tags": "p.result: JSON can't hold result['tags'], a set",
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", list(_blocks()))
def test_the_operations_on_the_page_can_be_made_and_run(bench: Bench, name: str) -> None:
    operations = _operations(_blocks()[name])
    free = [each for each in operations if not any(parameter.required for parameter in each.parameters.values())]

    ended = {each.__name__: bench.run(each()) for each in free}

    assert {each: view.error and view.error.message for each, view in ended.items()} == {
        each: FAILURES.get(each) for each in ended
    }
    assert operations


EXAMPLES = {
    f"{page.name}-{operation}": block
    for page in PAGES
    if page.parent.name != "how-to"  # these need what their pages set up
    for operation, block in _blocks(page).items()
}
RESUMABLE = [
    name for name, block in EXAMPLES.items() if "key=" in block or "p.step(" in block or "p.checkpoint(" in block
]


@dataclass
class Cancel(Sink):
    """Asks for a cancel when that many facts are recorded."""

    bench: Bench
    after: int
    facts: int = 0

    def update(self, entry: events.Entry, view: RunView) -> None:
        self.facts += isinstance(entry.event, events.Fact)
        if self.facts == self.after:
            self.bench.interrupts.request("SIGTERM")

    def refresh(self, now: float) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("name", RESUMABLE)
def test_an_example_that_is_cancelled_anywhere_and_resumed_comes_to_what_it_comes_to_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def ended(after: int) -> tuple[int, dict[str, object], object]:
        """Run the example; return how often it was resumed, its result, and the files that it made."""
        folder = tmp_path / str(after)
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / "online").touch()
        (folder / "orders.csv").write_text("A\nB\n c \n")
        (folder / "Makefile").write_text("publish:\n")
        bench = Bench(folder)
        operation = _operations(EXAMPLES[name])[0]
        given: dict[str, Any] = {"source": Path("orders.csv")} if "source" in operation.parameters else {}
        view = bench.run(operation(**given), Cancel(bench, after))
        resumes = 0
        while view.state is not RunState.SUCCEEDED:
            assert view.state is RunState.CANCELLED, view.error
            view, resumes = bench.resume(operation(**given)), resumes + 1
        files = {
            file.name: file.read_text() for file in folder.iterdir() if not file.name.startswith(("journal", "plain"))
        }
        return resumes, {**(view.result_context or {})}, files

    _, *undisturbed = ended(0)
    resumes = 0
    for after in itertools.count(1):
        resumed, *told = ended(after)
        resumes += resumed
        assert told == undisturbed
        if not resumed:
            break
    assert resumes > 3


def test_every_key_of_a_plan_is_documented_and_no_other_is(project: Project) -> None:
    (project.root / "recipes" / "harvest.py").write_text(_blocks()["Harvest"])
    project.stagerun("run", "harvest")

    plan = _json(project, "resume", "--dry-run")

    page = _sections("json.md")["resume"]
    assert _first_column(page) == list(plan)
    assert _first_column(page, 1) == list(plan["skipped"][0])


def _code(heading: str, language: str) -> str:
    """The first block of that language under a heading of the page on telling others."""
    text = (DOCS / "notify.md").read_text(encoding="utf-8")
    section = text[text.index(f"\n## {heading}\n") :]
    return section.split(f"```{language}\n", 1)[1].split("```", 1)[0]


HEARD = """
class Good(LiveOperation):
    def run(self, p): ...

class Bad(LiveOperation):
    def run(self, p):
        raise ValueError("order 3 has no price")
"""


@pytest.mark.parametrize(
    ("heading", "good", "bad"),
    [
        ("Whom to tell", [], []),
        ("Slack and other chats", [], ["/"]),
        ("healthchecks.io", ["/"], ["/fail"]),
    ],
)
def test_the_settings_on_the_page_tell_the_services_that_they_are_for(
    project: Project, heading: str, good: list[str], bad: list[str]
) -> None:
    project.recipe("orders", HEARD)
    settings = _code(heading, "toml")
    with WebService() as service:
        variables = dict.fromkeys(re.findall(r"env:([A-Z_]+)", settings), service.url)
        if heading == "Whom to tell":
            settings = settings.replace("https://example.org/runs", f"{service.url}/runs")
            variables["RUNS_TOKEN"] = "hunter22"
            (project.root / "tell.sh").write_text("#!/bin/sh\ncat > told.json\n")
            (project.root / "tell.sh").chmod(0o755)
            good = bad = ["/runs"]
        (project.root / "pyproject.toml").write_text(settings)

        first = project.stagerun("run", "orders:Good", environ=variables)
        told = [each.path for each in service.received]
        service.received.clear()
        second = project.stagerun("run", "orders:Bad", environ=variables)

    assert (first.err, second.err) == ("", "")
    assert (told, [each.path for each in service.received]) == (good, bad)
    if heading == "Whom to tell":
        assert [each.headers["Authorization"] for each in service.received] == ["Bearer hunter22"]
        assert json.loads((project.root / "told.json").read_text())["id"] == 2
    if heading == "Slack and other chats":
        assert list(json.loads(service.received[0].body)) == ["text"]


def test_the_mail_on_the_page_arrives(project: Project) -> None:
    project.recipe("orders", HEARD)
    (project.root / "tools").mkdir()
    (project.root / "tools" / "mail.py").write_text(_code("Mail", "python"))
    (project.root / "pyproject.toml").write_text(_code("Mail", "toml"))
    with MailServer() as server:
        where = {"MAIL_HOST": "127.0.0.1", "MAIL_PORT": str(server.port)}

        done = project.stagerun("run", "orders:Bad", environ=where)

    (mail,) = server.mails
    assert (done.err, mail["Subject"]) == ("", "orders:Bad: run 1 failed")
    assert "ValueError: order 3 has no price" in str(mail.get_payload())


def test_every_attribute_of_a_span_is_documented_and_no_other_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from stagerun.notify.traces import Traces

    class Cancelled(LiveOperation):
        stages = ["Load"]
        NAME: int = 3

        def run(self, p: Progress) -> None:
            with p.stage("Load"):
                bench.interrupts.request("SIGTERM")
                p.check_cancelled()

    with WebService() as service:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", service.url)
        bench.run(Cancelled(), Traces({}))

    (received,) = service.received
    (resource,) = ExportTraceServiceRequest.FromString(received.body).resource_spans
    stage, run = resource.scope_spans[0].spans
    used = [(each.key, of) for of, span in (("run", run), ("stage", stage)) for each in span.attributes]
    used.append(("stagerun.stage.skipped", "stage"))  # a stage that is skipped is not cancelled
    assert [(row[0], row[1]) for row in _tables(_sections("notify.md")["OpenTelemetry"])[0]] == used


TYPES = ("str", "int", "float", "datetime", "date", "timedelta", "Decimal", "UUID")


def _texts() -> Iterator[tuple[str, str, bool]]:
    """Type, text, and whether the page says that the type takes it."""
    for line in _sections("authoring.md")["Types and their text"].splitlines():
        cells = [cell.strip() for cell in line.split("|")][1:-1]
        if cells and cells[0].strip("`") in TYPES:
            for column, accepted in ((1, True), (2, False)):
                for text in re.findall(r"`([^`]+)`", cells[column]):
                    yield cells[0].strip("`"), text, accepted


@pytest.mark.parametrize(("kind", "text", "accepted"), list(_texts()))
def test_a_type_takes_the_texts_that_the_page_says_it_takes(kind: str, text: str, accepted: bool) -> None:
    from stagerun.errors import UsageError

    source = (
        "from datetime import *\nfrom decimal import *\nfrom uuid import *\nfrom stagerun import LiveOperation\n"
        f"class Given(LiveOperation):\n    value: {kind}\n"
    )
    (operation,) = _operations(source)

    if accepted:
        operation(value=text)
    else:
        with pytest.raises(UsageError, match="parameter 'value' can't be"):
            operation(value=text)


def test_every_name_that_is_an_interface_is_on_its_page() -> None:
    pages = {"authoring.md": stagerun.__all__, "testing.md": testing.__all__}

    words = {page: {*re.findall(r"\w+", (DOCS / page).read_text("utf-8"))} for page in pages}

    assert [name for page, names in pages.items() for name in names if name not in words[page]] == []
