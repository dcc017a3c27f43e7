"""`stagerun run`: how an operation is named, what it is given, and what comes out on which stream."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from stagerun.states import RunState
from stagerun.view import RunView
from tests.conftest import STAGERUN, Done, Project, timeless
from tests.processes import look


ECHO = """
class Echo(LiveOperation):
    text: str = "nothing"

    def run(self, p: Progress) -> None:
        p.result(text=self.text)
"""


def _last(project: Project) -> RunView:
    return project.records().find("last")


def _lines_as_json(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(
    ("spelling", "file", "target"),
    [
        ("orders:Echo", "recipes/orders.py", "orders:Echo"),
        ("orders", "recipes/orders.py", "orders:Echo"),
        ("recipes/orders.py:Echo", "recipes/orders.py", "recipes/orders.py:Echo"),
        ("jobs/daily.py:Echo", "jobs/daily.py", "jobs/daily.py:Echo"),
        ("jobs/daily.py", "jobs/daily.py", "jobs/daily.py:Echo"),
        ("shop.orders:Echo", "shop/orders.py", "shop.orders:Echo"),
        ("shop.orders", "shop/orders.py", "shop.orders:Echo"),
        ("sub.orders:Echo", "recipes/sub/orders.py", "sub.orders:Echo"),
    ],
)
def test_each_spelling_of_a_target_finds_its_operation(project: Project, spelling: str, file: str, target: str) -> None:
    source = project.recipe("unused", ECHO)
    (project.root / file).parent.mkdir(exist_ok=True)
    source.rename(project.root / file)

    done = project.stagerun("run", spelling)

    assert timeless(done.out) == (f"run 1 · {target} · started by alice\ntext=nothing\nrun 1 succeeded in 0.0s\n")
    assert (done.code, done.err) == (0, "")


def test_an_operation_that_a_recipe_only_imports_does_not_make_its_target_ambiguous(project: Project) -> None:
    project.recipe("base", ECHO)
    project.recipe("orders", "from base import Echo\n" + ECHO.replace("Echo(LiveOperation)", "Louder(Echo)"))

    project.stagerun("run", "orders")

    assert _last(project).plan.target == "orders:Louder"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--text", "x", "--progress", "quiet", "orders:Echo"),
        ("orders:Echo", "--text", "x", "--progress", "quiet"),
        ("--progress", "quiet", "orders:Echo", "--text", "x"),
        ("--text=x", "orders:Echo", "--progress=quiet"),
        ("--text", "x", "--progress", "quiet", "--", "orders:Echo"),
        ("--text", "x", "--progress", "quiet", "orders"),
    ],
)
def test_options_may_stand_before_and_after_the_target(project: Project, arguments: tuple[str, ...]) -> None:
    project.recipe("orders", ECHO)

    done = project.stagerun("run", *arguments)

    assert (done.code, done.out, done.err) == (0, "text=x\n", "")


@pytest.mark.parametrize("value", ["orders:Echo", "other:Echo", "recipes/other.py:Echo", "nowhere:Echo"])
def test_the_value_of_an_option_is_never_taken_for_the_target(project: Project, value: str) -> None:
    project.recipe("orders", ECHO)
    project.recipe("other", ECHO)

    project.stagerun("run", "--text", value, "orders:Echo")

    assert (_last(project).plan.target, _last(project).result_context) == ("orders:Echo", {"text": value})


TYPES = """
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

class Colour(Enum):
    RED = "red"
    BLUE = "blue"

class Types(LiveOperation):
    text: str
    number: int
    ratio: float
    sure: bool = False
    no: bool = True
    file: Path
    moment: datetime
    day: date
    span: timedelta
    price: Decimal
    key: UUID
    colour: Colour
    speed: Literal["fast", "safe"]
    level: Literal[1, 2]
    maybe: int | None = None
    many: list[int]
    files: list[Path] = ()
    two_words: Annotated[str, "helpful"] = ""

    def run(self, p: Progress) -> None:
        p.result({name: repr(getattr(self, name)) for name in self.parameters})
"""
GIVEN = {
    "text": "1",
    "number": "-3",
    "ratio": "1e3",
    "file": "a b/c",
    "moment": "2026-01-31T10:00",
    "day": "2026-01-31",
    "span": "1h30m",
    "price": "1.50",
    "key": "12345678-1234-5678-1234-567812345678",
    "colour": "blue",
    "speed": "safe",
    "level": "2",
    "maybe": "7",
    "two_words": "both words",
}
TYPED = {
    "text": "'1'",
    "number": "-3",
    "ratio": "1000.0",
    "sure": "True",
    "no": "False",
    "file": "PosixPath('a b/c')",
    "moment": "datetime.datetime(2026, 1, 31, 10, 0)",
    "day": "datetime.date(2026, 1, 31)",
    "span": "datetime.timedelta(seconds=5400)",
    "price": "Decimal('1.50')",
    "key": "UUID('12345678-1234-5678-1234-567812345678')",
    "colour": "<Colour.BLUE: 'blue'>",
    "speed": "'safe'",
    "level": "2",
    "maybe": "7",
    "many": "[1, 2]",
    "files": "[PosixPath('x'), PosixPath('y')]",
    "two_words": "'both words'",
}


def test_options_give_parameters_of_every_type(project: Project) -> None:
    project.recipe("types", TYPES)
    options = [word for name, value in GIVEN.items() for word in ("--" + name.replace("_", "-"), value)]
    options += ["--sure", "--no-no", "--many", "1", "--many", "2", "--files", "x", "--files", "y"]

    done = project.stagerun("run", "types:Types", *options)

    assert (done.code, done.err) == (0, "")
    assert _last(project).result_context == TYPED


def test_the_environment_gives_parameters_of_every_type(project: Project) -> None:
    project.recipe("types", TYPES)
    environ = {f"STAGERUN_{name.upper()}": value for name, value in GIVEN.items()}
    environ |= {"STAGERUN_SURE": "yes", "STAGERUN_NO": "0", "STAGERUN_MANY": "1 2", "STAGERUN_FILES": "x y"}

    done = project.stagerun("run", "types:Types", environ=environ)

    assert (done.code, done.err) == (0, "")
    assert _last(project).result_context == TYPED


def test_parameters_that_are_not_given_have_their_defaults(project: Project) -> None:
    project.recipe(
        "orders",
        """
class Defaults(LiveOperation):
    limit: int = 1000
    clean: bool = True
    label: str | None = None
    tags: list[str] = ("a", "b")

    def run(self, p: Progress) -> None:
        p.result({name: getattr(self, name) for name in self.parameters})
""",
    )

    project.stagerun("run", "orders")

    assert _last(project).result_context == {"limit": 1000, "clean": True, "label": None, "tags": ["a", "b"]}


def test_a_parameter_may_have_any_name_that_no_field_and_no_option_of_run_has(project: Project) -> None:
    names = ("ctx", "found", "given", "kind", "operation", "output", "view")
    declared = "".join(f"    {name}: str\n" for name in names)
    given = ", ".join(f"{name}=self.{name}" for name in names)
    project.recipe("orders", f"class Echo(LiveOperation):\n{declared}\n    def run(self, p): p.result({given})\n")

    done = project.stagerun("run", "orders:Echo", *(word for name in names for word in (f"--{name}", f"a {name}")))

    assert (done.code, done.err) == (0, "")
    assert _last(project).plan.params == _last(project).result_context == {name: f"a {name}" for name in names}


def test_the_help_of_a_target_lists_its_parameters_with_types_defaults_and_texts(project: Project) -> None:
    project.recipe("types", TYPES)

    done = project.stagerun("run", "types:Types", "--help", environ={"COLUMNS": "200"})

    shown = [re.split(r" {2,}", line.strip()) for line in done.out.splitlines() if line.startswith("  --")]
    assert (done.code, done.err) == (0, "")
    assert shown[:18] == [
        ["--text TEXT", "[required]"],
        ["--number INTEGER", "[required]"],
        ["--ratio FLOAT", "[required]"],
        ["--sure / --no-sure", "[default: False]"],
        ["--no / --no-no", "[default: True]"],
        ["--file PATH", "[required]"],
        ["--moment DATETIME", "[required]"],
        ["--day DATE", "[required]"],
        ["--span TIMEDELTA", "[required]"],
        ["--price DECIMAL", "[required]"],
        ["--key UUID", "[required]"],
        ["--colour [red|blue]", "[required]"],
        ["--speed [fast|safe]", "[required]"],
        ["--level [1|2]", "[required]"],
        ["--maybe INTEGER"],
        ["--many INTEGER", "[required]"],
        ["--files PATH"],
        ["--two-words TEXT", "helpful", "[default: ]"],
    ]


def test_flag_beats_environment_beats_configuration_beats_default(project: Project) -> None:
    project.recipe("orders", ECHO)
    config = project.root / "pyproject.toml"
    environ = {"STAGERUN_OWNER": "environment"}
    seen = []
    for text, variables, flags in (
        ('[tool.stagerun]\nowner = "config"\n', environ, ("--owner", "flag")),
        ('[tool.stagerun]\nowner = "config"\n', environ, ()),
        ('[tool.stagerun]\nowner = "config"\n', {}, ()),
        ("[tool.stagerun]\n", {}, ()),
    ):
        config.write_text(text)
        project.stagerun("run", "orders", *flags, environ=variables)
        seen.append(_last(project).owner)

    assert seen == ["flag", "environment", "config", "alice"]


def test_the_journal_is_where_flag_environment_configuration_or_default_say(project: Project) -> None:
    project.recipe("orders", ECHO)
    config = project.root / "pyproject.toml"
    config.write_text('[tool.stagerun]\njournal = "config.db"\n')

    project.stagerun("run", "orders", "--journal", "flag.db", environ={"STAGERUN_JOURNAL": "environment.db"})
    assert {path.name for path in project.root.glob("*.db")} == {"flag.db"}
    project.stagerun("run", "orders", environ={"STAGERUN_JOURNAL": "environment.db"})
    assert {path.name for path in project.root.glob("*.db")} == {"flag.db", "environment.db"}
    project.stagerun("run", "orders")
    assert {path.name for path in project.root.glob("*.db")} == {"flag.db", "environment.db", "config.db"}
    assert not project.journal.exists()
    config.unlink()
    project.stagerun("run", "orders")
    assert project.journal.exists()


def test_the_display_is_what_flag_environment_configuration_or_default_say(project: Project) -> None:
    project.recipe("orders", ECHO)
    config = project.root / "pyproject.toml"
    config.write_text('[tool.stagerun]\nprogress = "quiet"\n')
    plain = "run {} · orders:Echo · started by alice\ntext=nothing\nrun {} succeeded in 0.0s\n"

    by_flag = project.stagerun("run", "orders", "--progress", "plain", environ={"STAGERUN_PROGRESS": "json"})
    by_environment = project.stagerun("run", "orders", environ={"STAGERUN_PROGRESS": "plain"})
    by_config = project.stagerun("run", "orders")
    config.unlink()
    by_default = project.stagerun("run", "orders")

    assert [timeless(done.out) for done in (by_flag, by_environment, by_config, by_default)] == [
        plain.format(1, 1),
        plain.format(2, 2),
        "text=nothing\n",
        plain.format(4, 4),
    ]


def test_a_flag_beats_the_environment_for_a_parameter(project: Project) -> None:
    project.recipe("orders", ECHO)
    environ = {"STAGERUN_TEXT": "environment"}

    project.stagerun("run", "orders", "--text", "flag", environ=environ)
    project.stagerun("run", "orders", environ=environ)

    assert [view.plan.params for view in project.records().history(limit=2)] == [
        {"text": "environment"},
        {"text": "flag"},
    ]


def test_a_recipes_folder_can_be_configured(project: Project) -> None:
    project.recipe("orders", ECHO)
    (project.root / "recipes").rename(project.root / "operations")
    (project.root / "pyproject.toml").write_text('[tool.stagerun]\nrecipes = "operations"\n')

    assert project.stagerun("run", "orders:Echo", "--progress", "quiet").out == "text=nothing\n"


@pytest.mark.parametrize("through", ["flag", "environment", "configuration"])
def test_timestamps_stand_before_every_plain_line(project: Project, through: str) -> None:
    project.recipe("orders", ECHO)
    if through == "configuration":
        (project.root / "pyproject.toml").write_text("[tool.stagerun]\ntimestamps = true\n")

    done = project.stagerun(
        "run",
        "orders",
        *(("--timestamps",) if through == "flag" else ()),
        environ={"STAGERUN_TIMESTAMPS": "1"} if through == "environment" else {},
    )

    moments = [re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?=\S)", line) for line in done.out.splitlines()]
    assert len(moments) == 3
    assert all(moments)


@pytest.mark.parametrize(
    "variable", ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_REQUESTEDFOR", "BUILDKITE_BUILD_CREATOR"]
)
def test_the_owner_is_the_actor_that_the_ci_names_unless_a_flag_says_otherwise(project: Project, variable: str) -> None:
    project.recipe("orders", ECHO)

    project.stagerun("run", "orders", environ={variable: "octocat"})
    named = project.stagerun("run", "orders", "--owner", "bob", "--dry-run", environ={variable: "octocat"})

    assert (_last(project).owner, named.out.splitlines()[0]) == ("octocat", "would run orders:Echo as bob")


def test_the_run_id_file_is_written_before_the_first_stage(project: Project) -> None:
    project.recipe(
        "orders",
        """
from pathlib import Path

class Read(LiveOperation):
    stages = ["First"]

    def run(self, p: Progress) -> None:
        with p.stage("First"):
            p.result(id=Path("run-id").read_text())
""",
    )

    project.stagerun("run", "orders", "--run-id-file", "run-id")

    assert _last(project).result_context == {"id": "1\n"}


def test_a_run_id_file_that_cannot_be_written_starts_nothing_and_leaves_no_run(project: Project) -> None:
    project.recipe("orders", ECHO)

    done = project.stagerun("run", "orders", "--run-id-file", "missing/run-id")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"stagerun: the run id can't be written to {project.root}/missing/run-id: ")
    assert project.stagerun("history", "--json").out == "[]\n"


def _files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if "__pycache__" not in path.parts}


IMPORT = """
from pathlib import Path

class Import(LiveOperation):
    stages = ["Load", "Save"]
    source: Path
    limit: int = 1000
    token: Secret | None = None

    def run(self, p: Progress) -> None:
        Path("started").touch()
        for name in self.stages:
            with p.stage(name):
                pass
"""


def test_a_dry_run_shows_stages_and_parameters_and_starts_and_creates_nothing(project: Project) -> None:
    project.recipe("orders", IMPORT)
    before = _files(project.root)

    done = project.stagerun(
        "run", "orders:Import", "--source", "a.csv", "--dry-run", environ={"STAGERUN_TOKEN": "hidden"}
    )

    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "would run orders:Import as alice\n"
        "stages:\n"
        "  1. Load\n"
        "  2. Save\n"
        "parameters:\n"
        "  source=a.csv\n"
        "  limit=1000\n"
        "  token=***\n"
    )
    assert _files(project.root) == before


def test_a_dry_run_after_a_success_shows_how_long_the_stages_usually_take(project: Project) -> None:
    project.recipe("orders", IMPORT)
    project.stagerun("run", "orders", "--source", "a.csv")

    done = project.stagerun("run", "orders", "--source", "a.csv", "--dry-run")

    assert timeless(done.out).splitlines()[1:4] == ["stages:", "  1. Load  usually 0.0s", "  2. Save  usually 0.0s"]
    assert len(project.records().history(limit=9)) == 1


def test_a_dry_run_refuses_what_the_run_would_refuse(project: Project) -> None:
    project.recipe("orders", IMPORT)

    done = project.stagerun("run", "orders", "--source", "a.csv", "--limit", "many", "--dry-run")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("stagerun: parameter 'limit' can't be 'many'")


SECRET = """
class Deploy(LiveOperation):
    stages = ["Deploy"]
    token: Secret

    def run(self, p: Progress) -> None:
        with p.stage("Deploy"):
            p.log(f"{self.token} {self.token!r} {[self.token]}")
            print(self.token)
            p.status(self.token)
            p.result(backwards=self.token.reveal()[::-1], shown=str(self.token))
            raise ValueError(self.token)
"""
VALUE = "hunter2-correct-horse"


@pytest.mark.parametrize(("source", "mode"), [("environment", "plain"), ("file", "json"), ("file", "quiet")])
def test_a_secret_reaches_the_recipe_and_is_three_stars_everywhere_else(
    project: Project, source: str, mode: str
) -> None:
    project.recipe("deploy", SECRET)
    (project.root / "token").write_text(VALUE + "\n")

    done = project.stagerun(
        *("run", "deploy", "--progress", mode),
        *(("--token-file", "token") if source == "file" else ()),
        environ={"STAGERUN_TOKEN": VALUE} if source == "environment" else {},
    )
    status = [project.stagerun("status"), project.stagerun("status", "--json"), project.stagerun("logs")]

    view = _last(project)
    assert view.plan.params == {"token": "***"}
    assert view.result_context == {"backwards": VALUE[::-1], "shown": "***"}
    assert view.error is not None
    assert view.error.message == "***"
    assert status[2].out == "*** Secret(***) [Secret(***)]\n***\n"
    assert json.loads(status[1].out)["params"] == {"token": "***"}
    assert VALUE not in "".join(each.out + each.err for each in (done, *status))
    written = [path.read_bytes() for path in (project.root / ".stagerun").rglob("*") if path.is_file()]
    assert written
    assert not any(VALUE.encode() in data for data in written)


@pytest.mark.parametrize("arguments", [("--token", VALUE), (f"--token={VALUE}",)])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(project: Project, arguments: tuple[str, ...]) -> None:
    project.recipe("deploy", SECRET)

    done = project.stagerun("run", "deploy", *arguments)

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "stagerun: 'token' is a secret and can't be given on the command line\n"
        "  set STAGERUN_TOKEN, or give --token-file PATH\n"
    )
    assert not project.journal.exists()


def test_a_recipe_of_another_project_is_recorded_here_and_a_folder_outside_of_any_is_told_before_it_gets_a_journal(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = project.recipe("copy", "class Copy(LiveOperation):\n    def run(self, p): ...\n")
    elsewhere = Project(tmp_path_factory.mktemp("elsewhere"), project.environ)

    first, second = (elsewhere.stagerun("run", str(file), "-q") for _ in range(2))
    named = elsewhere.stagerun("run", str(file), "-q", "--journal", str(project.journal))

    assert first == Done(
        0,
        "",
        f"stagerun: warning: recorded in a new journal of this folder, not in the recipe's project {project.root}\n"
        f"  to record it there: start it in that folder, or --journal {project.journal}\n",
    )
    assert second == named == Done(0, "", "")
    assert [look(each, 1).state for each in (elsewhere, project)] == [RunState.SUCCEEDED] * 2


def test_a_secret_that_is_missing_without_a_terminal_is_a_usage_error(project: Project) -> None:
    project.recipe("deploy", SECRET)

    done = project.stagerun("run", "deploy")

    assert (done.code, done.out, done.err) == (
        2,
        "",
        "stagerun: the secret 'token' is missing\n  set STAGERUN_TOKEN, or give --token-file PATH\n",
    )


def test_a_secret_is_asked_for_at_a_terminal_without_an_echo(project: Project) -> None:
    project.recipe("deploy", SECRET.replace("            raise ValueError(self.token)\n", ""))
    terminal = pexpect.spawn(
        str(STAGERUN), ["run", "deploy", "--progress", "quiet"], cwd=project.root, env=project.environ, timeout=30
    )

    terminal.expect("token")
    terminal.waitnoecho()
    terminal.sendline(VALUE)
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert terminal.exitstatus == 0
    assert VALUE.encode() not in terminal.before
    assert _last(project).result_context == {"backwards": VALUE[::-1], "shown": "***"}


WORK = """
class Work(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log("reading")
            print("printed")
        with p.stage("Save"):
            pass
        p.result({"count": 3})
"""


@pytest.mark.parametrize("mode", ["plain", "auto"])
def test_plain_text_is_shown_where_there_is_no_terminal(project: Project, mode: str) -> None:
    project.recipe("orders", WORK)

    done = project.stagerun("run", "orders", "--progress", mode)

    assert (done.code, done.err) == (0, "")
    assert timeless(done.out) == (
        "run 1 · orders:Work · started by alice\n"
        "=== [1/2] Load ===\n"
        "reading\n"
        "printed\n"
        "--- [1/2] Load: done in 0.0s\n"
        "=== [2/2] Save ===\n"
        "--- [2/2] Save: done in 0.0s\n"
        "count=3\n"
        "run 1 succeeded in 0.0s\n"
    )


def test_quiet_prints_the_result_alone(project: Project) -> None:
    project.recipe("orders", WORK)

    done = project.stagerun("run", "orders", "--progress", "quiet")

    assert (done.code, done.out, done.err) == (0, "count=3\n", "")


def test_json_prints_every_event_with_its_place_and_its_fields(project: Project) -> None:
    project.recipe("orders", WORK)

    done = project.stagerun("run", "orders", "--progress", "json")

    told = _lines_as_json(done.out)
    plan = told[0]
    assert (done.code, done.err) == (0, "")
    assert [list(each)[:4] for each in told] == [["seq", "time", "run", "event"]] * len(told)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each.pop("time")) for each in told)
    assert [each.pop("seconds") >= 0 for each in told if "seconds" in each] == [True] * 3
    assert {name: plan[name] for name in ("target", "recipe", "operation", "stages", "params", "owner")} == {
        "target": "orders:Work",
        "recipe": "orders",
        "operation": "Work",
        "stages": ["Load", "Save"],
        "params": {},
        "owner": "alice",
    }
    assert told[1:] == [
        {"seq": 2, "run": 1, "event": "run_started"},
        {"seq": 3, "run": 1, "event": "stage_entered", "stage": "Load", "index": 0},
        {"seq": 4, "run": 1, "event": "log", "line": "reading", "level": "info", "stream": None},
        {"seq": 5, "run": 1, "event": "log", "line": "printed", "level": "info", "stream": "stdout"},
        {"seq": 6, "run": 1, "event": "stage_left", "stage": "Load", "index": 0, "state": "done", "skipped": None},
        {"seq": 7, "run": 1, "event": "stage_entered", "stage": "Save", "index": 1},
        {"seq": 8, "run": 1, "event": "stage_left", "stage": "Save", "index": 1, "state": "done", "skipped": None},
        {"seq": 9, "run": 1, "event": "result_set", "result": {"count": 3}},
        {
            "seq": 10,
            "run": 1,
            "event": "run_finished",
            "state": "succeeded",
            "exit_code": 0,
            "signal": None,
            "error": None,
            "chained_to": None,
            "not_entered": [],
        },
    ]


def test_json_numbers_rise_across_a_chain_and_the_last_event_holds_state_and_exit_code(project: Project) -> None:
    project.recipe(
        "chain",
        """
class First(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Second(owner=self.owner))

class Second(LiveOperation):
    def run(self, p: Progress) -> None:
        raise SystemExit(7)
""",
    )

    done = project.stagerun("run", "chain:First", "--progress", "json")

    told = _lines_as_json(done.out)
    numbers = [each["seq"] for each in told]
    assert numbers == sorted(set(numbers))
    assert [(each["run"], each["event"]) for each in told] == [
        (1, "run_created"),
        (1, "run_started"),
        (1, "run_finished"),
        (2, "run_created"),
        (2, "run_started"),
        (2, "run_finished"),
    ]
    assert (told[2]["state"], told[2]["exit_code"], told[2]["chained_to"]) == ("succeeded", 0, 2)
    assert (told[-1]["state"], told[-1]["exit_code"], done.code) == ("failed", 7, 7)


def test_in_json_mode_nothing_but_json_reaches_stdout_whatever_the_recipe_writes(project: Project) -> None:
    project.recipe(
        "noisy",
        """
import atexit, os, subprocess, sys

print("at import")
sys.stdout.write("no line end at import")
atexit.register(print, "at exit")

class Noisy(LiveOperation):
    def run(self, p: Progress) -> None:
        print("printed")
        print("to stderr", file=sys.stderr)
        print("to the real stdout", file=sys.__stdout__, flush=True)
        subprocess.run(["echo", "from a child"], check=True)
        os.write(1, b"to descriptor 1\\n")
        sys.stdout.buffer.write(b"bytes\\n")
        print("{}\\x1b[2J\\u2028")
""",
    )

    done = project.stagerun("run", "noisy", "--progress", "json")

    told = _lines_as_json(done.out)
    assert done.code == 0
    assert [(each["line"], each["stream"]) for each in told if each["event"] == "log"] == [
        ("printed", "stdout"),
        ("to stderr", "stderr"),
        ("bytes", "stdout"),
        ("{}\x1b[2J\u2028", "stdout"),
    ]
    assert {"at import", "from a child", "to descriptor 1", "at exit"} <= {
        line.removeprefix("no line end at import") for line in done.err.splitlines()
    }


def test_in_a_recipe_the_garbage_collector_works_and_leaves_alone_what_was_there_before(project: Project) -> None:
    body = "print(gc.isenabled(), gc.get_freeze_count() > 1000)"
    project.recipe("demo", f"import gc\nclass Demo(LiveOperation):\n    def run(self, p):\n        {body}\n")

    assert "True True" in project.stagerun("run", "demo", fresh=True).out.splitlines()


def test_an_import_of_more_than_half_a_second_is_told_with_its_recipe(project: Project) -> None:
    body = "class Demo(LiveOperation):\n    def run(self, p):\n        pass\n"
    project.recipe("slow", f"import time\ntime.sleep(0.6)\n{body}")
    project.recipe("quick", body)

    slow, quick = project.stagerun("run", "slow").out, project.stagerun("run", "quick").out

    assert re.findall(r"^(importing .* took) \d+\.\ds$", slow, re.MULTILINE) == ["importing recipe slow took"]
    assert "importing" not in quick


def test_in_json_mode_a_child_process_at_import_writes_nothing_to_stdout(project: Project) -> None:
    project.recipe("noisy", 'import subprocess\nsubprocess.run(["echo", "from a child"], check=True)\n' + ECHO)

    done = project.stagerun("run", "noisy", "--progress", "json")

    assert [line for line in done.out.splitlines() if not line.startswith("{")] == []


def test_in_json_mode_the_package_of_a_recipe_prints_nothing_to_stdout(project: Project) -> None:
    package = project.root / "shop"
    package.mkdir()
    project.recipe("unused", ECHO).rename(package / "orders.py")
    (package / "__init__.py").write_text('print("package")\n')

    done = project.stagerun("run", "shop.orders", "--progress", "json")

    assert [line for line in done.out.splitlines() if not line.startswith("{")] == []


@pytest.mark.parametrize("through", ["flag", "environment"])
def test_an_unknown_progress_mode_names_the_modes_and_leaves_no_run(project: Project, through: str) -> None:
    project.recipe("orders", WORK)

    done = project.stagerun(
        *("run", "orders"),
        *(("--progress", "fancy") if through == "flag" else ()),
        environ={"STAGERUN_PROGRESS": "fancy"} if through == "environment" else {},
    )

    assert (done.code, done.out, done.err) == (
        2,
        "",
        "stagerun: there is no progress mode 'fancy'\n  modes: auto, tty, plain, json, quiet\n",
    )
    assert not project.journal.exists()


def test_the_live_display_without_a_terminal_is_refused_and_leaves_no_run(project: Project) -> None:
    project.recipe("orders", WORK)

    done = project.stagerun("run", "orders", "--progress", "tty")

    assert (done.code, done.out, done.err) == (
        2,
        "",
        "stagerun: --progress tty needs a terminal, and the output is not one\n  use --progress plain\n",
    )
    assert not project.journal.exists()


def test_a_run_started_from_a_folder_below_belongs_to_the_project(project: Project) -> None:
    project.recipe("orders", WORK)
    below = project.root / "deep" / "down"
    below.mkdir(parents=True)

    done = Project(below, project.environ).stagerun("run", "orders:Work")

    assert (done.code, _last(project).state) == (0, RunState.SUCCEEDED)
    assert _files(below) == set()


def test_the_module_form_of_the_command_is_the_command(project: Project) -> None:
    project.recipe("orders", ECHO)

    terminal = pexpect.run(
        f"{sys.executable} -m stagerun run orders --progress quiet",
        cwd=project.root,
        env=project.environ,
        withexitstatus=True,
    )

    assert terminal == (b"text=nothing\r\n", 0)


def test_an_unknown_option_is_refused_with_those_that_there_are_or_the_one_it_means(project: Project) -> None:
    project.recipe("bare", "class Bare(LiveOperation):\n    def run(self, p): ...\n")
    project.recipe("rich", "class Rich(LiveOperation):\n    rows: int = 1\n    fast = 5\n    def run(self, p): ...\n")

    refused = [
        project.stagerun("run", *command) for command in (["bare", "--zzz"], ["rich", "--zzz"], ["rich", "--fast", "9"])
    ]

    assert [(each.code, each.out, each.err) for each in refused] == [
        (2, "", "stagerun: bare has no parameter --zzz\n  its parameters: none\n"),
        (2, "", "stagerun: rich has no parameter --zzz\n  its parameters: --rows\n"),
        (2, "", "stagerun: rich has no parameter --fast\n  fast has no type in the class; write fast: int = 5\n"),
    ]
