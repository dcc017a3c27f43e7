"""Settings and what is set up: config, the file of variables, a first recipe, texts and answers for parameters."""

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from stagerun.errors import UsageError
from stagerun.machine import env_file
from stagerun.machine.settings import SETTINGS
from tests.conftest import Project, timeless
from tests.terminal import Terminal


ECHO: Final = """
import os
from typing import Annotated, Literal

class Echo(LiveOperation):
    note: Annotated[str, "what to say"]
    rows: int = 1
    names: list[str] = ()

    def run(self, p):
        p.result(note=self.note, rows=self.rows, names=self.names, region=os.environ.get("REGION"))

class Ask(LiveOperation):
    note: Annotated[str, "what to say"]
    rows: int
    region: Literal["eu", "us"]
    names: list[str]
    dry: bool
    token: Secret

    def run(self, p):
        p.result(note=self.note, rows=self.rows, region=self.region, names=self.names, dry=self.dry)
"""


@pytest.fixture
def echo(project: Project) -> Project:
    project.recipe("echo", ECHO)
    return project


def _config(project: Project, **environ: str) -> dict[str, tuple[Any, str]]:
    told = json.loads(project.stagerun("config", "--json", environ=environ).out)
    assert told["root"] == str(project.root)
    return {each["name"]: (each["value"], each["origin"]) for each in told["settings"]}


def test_config_tells_each_value_and_where_it_comes_from(project: Project) -> None:
    file = project.root / "pyproject.toml"
    file.write_text('[tool.stagerun]\nenv_file = ".env"\nowner = "bob"\ntimestamps = true\n')
    (project.root / ".env").write_text("STAGERUN_PROGRESS=quiet\nSTAGERUN_OWNER=carol\n")

    told = _config(project, STAGERUN_OWNER="dave")

    assert list(told) == list(SETTINGS)
    assert {name: each for name, each in told.items() if each[1] != "default"} == {
        "env_file": (".env", str(file)),
        "progress": ("quiet", f"STAGERUN_PROGRESS in {project.root}/.env"),
        "timestamps": (True, str(file)),
        "owner": ("dave", "STAGERUN_OWNER"),
    }
    assert {name: value for name, (value, origin) in told.items() if origin == "default"} == {
        name: setting.default for name, setting in SETTINGS.items() if told[name][1] == "default"
    }
    assert project.stagerun("config", "owner").out == "carol\n"
    assert project.stagerun("config").out.splitlines()[5] == f"timestamps  true                  {file}"
    assert project.stagerun("config", "ownr").err == "stagerun: there is no setting 'ownr'\n  did you mean 'owner'?\n"


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ('notify = "https://example.org"', "https://example.org"),
        ('notify = ["./tell.sh", "ops"]', "./tell.sh, ops"),
        ('notify = {url = "env:HOOK", send = "text"}', "env:HOOK"),
        ('notify = [{url = "env:HOOK"}, {command = ["./tell.sh", "ops"]}]', "env:HOOK, ./tell.sh, ops"),
        ('places = {lab = {command = ["ssh", "lab"]}, big = {dask = "tcp://big:8786"}}', "lab, big"),
    ],
)
def test_config_tells_on_one_line_who_is_told_and_which_places_there_are(
    project: Project, table: str, text: str
) -> None:
    (project.root / "pyproject.toml").write_text(f"[tool.stagerun]\n{table}\n")

    done = project.stagerun("config", table.partition(" ")[0])

    assert (done.code, done.out, done.err) == (0, f"{text}\n", "")


def test_config_names_each_value_that_no_run_would_accept(project: Project) -> None:
    junk = {
        "STAGERUN_PROGRESS": "foo",
        "STAGERUN_TIMESTAMPS": "perhaps",
        "STAGERUN_ON": "lab",
        "STAGERUN_NOTIFY": "http://h:99999",
        "STAGERUN_OTEL": "maybe",
    }

    told = project.stagerun("config", environ=junk)
    one = project.stagerun("config", "owner", environ=junk | {"STAGERUN_OWNER": "bob"})

    assert (told.code, len(told.out.splitlines())) == (2, len(SETTINGS))
    assert [line for line in told.err.splitlines() if line.startswith("stagerun: ")] == [
        "stagerun: STAGERUN_PROGRESS: there is no progress mode 'foo'",
        "stagerun: STAGERUN_TIMESTAMPS: timestamps can't be 'perhaps'",
        "stagerun: STAGERUN_ON: there is no place 'lab'",
        "stagerun: STAGERUN_NOTIFY: notify: http://h:99999 has no port that exists",
        "stagerun: STAGERUN_OTEL: otel can't be 'maybe'",
    ]
    assert (one.code, one.out, one.err) == (0, "bob\n", "")


def test_a_file_of_variables_sets_options_parameters_and_what_a_recipe_reads(echo: Project) -> None:
    (echo.root / "pyproject.toml").write_text('[tool.stagerun]\nenv_file = "vars/.env"\n')
    (echo.root / "vars").mkdir()
    (echo.root / "vars" / ".env").write_text("export REGION=eu\nSTAGERUN_ROWS=7 # seven\nSTAGERUN_PROGRESS=quiet\n")

    done = echo.stagerun("run", "echo:Echo", "--note", "x", environ={"REGION": "us"})

    assert (done.code, done.out, done.err) == (0, "note=x\nrows=7\nnames=[]\nregion=us\n", "")


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n# a comment\n  # another\nA=1", {"A": "1"}),
        ("A=\nB=b # not of it\nC=c#of it\r\n", {"A": "", "B": "b", "C": "c#of it"}),
        ('A=\'$x \\n\' # c\nB="a \\"q\\"\\n\\\\"', {"A": "$x \\n", "B": 'a "q"\n\\'}),
        ('A="a\\d \\$x \\`"', {"A": "a\\d $x `"}),
        ("KEY='-----BEGIN\nabc\n-----END'\nB = two words ", {"KEY": "-----BEGIN\nabc\n-----END", "B": "two words"}),
    ],
)
def test_a_file_of_variables_is_read_as_shells_and_containers_do(
    tmp_path: Path, text: str, variables: dict[str, str]
) -> None:
    file = tmp_path / ".env"
    file.write_text(text, newline="")
    environ = dict[str, str]()

    names = env_file.load(file, environ)

    assert (environ, names) == (variables, sorted(variables))


@pytest.mark.parametrize("text", ["A=1\nnonsense\n", "A=1\n1B=2\n", "A=1\nB='open\n", "A=1\nB='x'y\n"])
def test_a_line_that_is_no_variable_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / ".env"
    file.write_text(text)

    with pytest.raises(UsageError) as caught:
        env_file.load(file, {})

    assert caught.value.message == f"env_file {file}, line 2: it is not NAME=value"
    assert env_file.load(tmp_path / "none", {}) == []


def test_a_null_character_is_named_because_no_variable_can_hold_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\0\n")

    with pytest.raises(UsageError) as caught:
        env_file.load(tmp_path / ".env", {})

    assert caught.value.message == f"env_file {tmp_path}/.env can't be read: it holds a null character"


def test_init_writes_a_recipe_that_runs_and_overwrites_nothing(tmp_path: Path, project: Project) -> None:
    empty = Project(tmp_path / "empty", project.environ)
    empty.root.mkdir()
    (empty.root / ".gitignore").write_text("build")

    done = [
        empty.stagerun("init"),
        empty.stagerun("init"),
        empty.stagerun("init", "shop"),
        empty.stagerun("init", "a-b"),
        empty.stagerun("init", "json"),
    ]
    ran = empty.stagerun("run", "orders")

    assert [each.code for each in done] == [0, 2, 0, 2, 2]
    assert done[0].out == (
        "wrote recipes/orders.py\nwrote orders.csv\nadded .stagerun/ to .gitignore\n"
        "next:\n  stagerun run orders\n  stagerun status\n  stagerun show orders\n"
    )
    assert done[1].err == (
        f"stagerun: {empty.root}/recipes/orders.py exists already\n  choose another name: stagerun init NAME\n"
    )
    assert (empty.root / ".gitignore").read_text() == "build\n.stagerun/\n"
    assert (ran.code, ran.err) == (0, "")
    assert timeless(ran.out).endswith("orders=3\ndropped=1\nrun 1 succeeded in 0.0s\n")


def test_an_init_that_fails_leaves_nothing_behind(tmp_path: Path, project: Project) -> None:
    empty = Project(tmp_path / "empty", project.environ)
    (empty.root / ".gitignore").mkdir(parents=True)

    done = empty.stagerun("init")

    assert (done.code, done.err) == (2, f"stagerun: {empty.root}/.gitignore can't be written: Is a directory\n")
    assert [each.name for each in empty.root.rglob("*")] == [".gitignore"]


@pytest.mark.parametrize(
    ("given", "note"), [("@note.txt", "two\\nlines"), ("@@@bob", "@bob"), ("@@-", "-"), ("bob@x", "bob@x")]
)
def test_a_text_comes_from_a_file_or_as_it_is(echo: Project, given: str, note: str) -> None:
    (echo.root / "note.txt").write_text("two\nlines\n\n")

    done = echo.stagerun("run", "echo:Echo", "-q", "--note", given, "--names", given)

    names = json.dumps([note.replace("\\n", "\n")], separators=(",", ":"))
    assert (done.code, done.out, done.err) == (0, f"note={note}\nrows=1\nnames={names}\nregion=null\n", "")


def test_a_variable_is_never_the_name_of_a_file_and_a_dash_is_standard_input(echo: Project) -> None:
    by_variable = echo.stagerun("run", "echo:Echo", "-q", environ={"STAGERUN_NOTE": "@note.txt"})
    piped = echo.stagerun("run", "echo:Echo", "-q", "--note", "-")

    assert by_variable.out.startswith("note=@note.txt\n")
    assert piped.out.startswith("note=\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--note", "@none.txt"], "'note' can't be read from none.txt: No such file or directory"),
        (["--note", "@bytes"], "'note' can't be read from bytes: it is not utf-8 text"),
        (["--note", "@"], "'note': @ names no file\n  for a text that begins with @: @@"),
        (["--note", "-", "--names", "-"], "'names' can't be read from standard input: that was read for 'note'"),
    ],
)
def test_a_text_that_can_not_be_read_is_named(echo: Project, given: list[str], message: str) -> None:
    (echo.root / "bytes").write_bytes(b"\xff")

    done = echo.stagerun("run", "echo:Echo", *given)

    assert (done.code, done.out, done.err) == (2, "", f"stagerun: {message}\n")


def _ends_with(terminal: Terminal, text: str) -> bool:
    return "\n".join(terminal.lines).endswith(text)


def test_on_a_terminal_what_is_missing_is_asked_for_until_it_fits(echo: Project) -> None:
    answers = {
        "note (what to say) [str]": "hello",
        "rows [int]": "x",
        "parameter 'rows' can't be 'x': a whole number is expected\nrows [int]": "5",
        "region [eu|us]": "us",
        "names [str], empty to end": "ann",
        "names [str], empty to end: ann\nnames [str], empty to end": "",
        "dry [y/n]": "y",
        "token": "secret-token",
    }
    with echo.terminal("run", "echo:Ask", "-q") as terminal:
        for question, answer in answers.items():
            terminal.wait_until(partial(_ends_with, terminal, f"{question}:"))
            terminal.send(f"{answer}\r".encode())

        assert terminal.wait() == 0
    assert terminal.lines[-5:] == ["note=hello", "rows=5", "region=us", 'names=["ann"]', "dry=true"]
    assert b"secret-token" not in terminal.raw


@pytest.mark.parametrize(("given", "environ"), [(["--no-input"], {}), ([], {"CI": "1"})], ids=["no-input", "CI"])
def test_nobody_is_asked_where_it_is_forbidden(echo: Project, given: list[str], environ: dict[str, str]) -> None:
    with echo.terminal("run", "echo:Echo", *given, environ=environ) as terminal:
        code = terminal.wait()

    assert (code, terminal.lines) == (
        2,
        ["stagerun: Echo needs a value for 'note'", "  give --note or STAGERUN_NOTE"],
    )


@pytest.mark.parametrize("mode", ["plain", "json"])
def test_quiet_and_another_display_contradict_each_other_and_a_variable_gives_way(project: Project, mode: str) -> None:
    project.recipe("talk", LOGS)

    both = project.stagerun("run", "talk", "-q", "--progress", mode)
    quiet = project.stagerun("run", "talk", "-q", environ={"STAGERUN_PROGRESS": mode})

    told = f"stagerun: -q and --progress {mode} contradict each other\n  give one of them\n"
    assert (both.code, both.out, both.err) == (2, "", told)
    assert (quiet.code, quiet.out) == (0, "")


LOGS: Final = """
import logging

class Talk(LiveOperation):
    def run(self, p):
        for level in ("debug", "info", "warning"):
            p.log(f"said {level}", level)
            getattr(logging.getLogger("shop"), level)("logged " + level)
"""


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), ["said debug", "said info", "logged info", "said warning", "logged warning"]),
        (("-v",), ["said debug", "logged debug", "said info", "logged info", "said warning", "logged warning"]),
        (("--log-level", "info"), ["said info", "logged info", "said warning", "logged warning"]),
        (("--log-level", "Warning"), ["said warning", "logged warning"]),
        (("-q",), []),
    ],
)
def test_the_level_chooses_the_lines_that_are_shown_and_all_are_recorded(
    project: Project, options: tuple[str, ...], shown: list[str]
) -> None:
    project.recipe("talk", LOGS)

    done = project.stagerun("run", "talk", *options)

    lines = [line.removeprefix("warning: ") for line in done.out.splitlines() if "said" in line or "logged" in line]
    recorded = project.stagerun("logs").out.count("\n")
    assert (done.code, lines, recorded) == (0, shown, 5 + ("-v" in options))


@pytest.mark.parametrize(
    ("text", "code"),
    [("5m", 0), ("1h30m", 0), ("90", 0), ("0.5h", 0), ("0", 2), ("-1", 2), ("5x", 2), ("m", 2)],
)
def test_a_time_limit_is_given_in_seconds_or_as_a_span(project: Project, text: str, code: int) -> None:
    project.recipe("talk", LOGS)

    done = project.stagerun("run", "talk", "-q", environ={"STAGERUN_TIMEOUT": text})

    told = (
        f"stagerun: --timeout can't be {text!r}\n  give seconds, or a span such as 90s, 5m or 1h30m\n" if code else ""
    )
    assert (done.code, done.err) == (code, told)


def test_metrics_tell_of_the_last_run_and_the_last_success_of_each_operation(project: Project) -> None:
    project.recipe("talk", LOGS + "class Bad(LiveOperation):\n    def run(self, p): sys.exit(3)\n")
    for target in ("recipes/talk.py:Talk", "talk:Talk", "recipes/talk.py:Talk", "talk:Bad"):
        project.stagerun("run", target)

    one = project.stagerun("export", "--format", "openmetrics", "--operation", "recipes/talk.py:Talk").out
    done = project.stagerun("export", "--format", "openmetrics")
    refused = project.stagerun("export", "1", "--format", "openmetrics")
    unknown = project.stagerun("export", "--format", "openmetrics", "--operation", "shopp")

    samples = [line.rpartition(" ") for line in done.out.splitlines() if not line.startswith("#")]
    assert done.out.endswith("# EOF\n")
    assert len({name for name, _, _ in samples}) == len(samples)
    values = {name.removeprefix("stagerun_last_"): value for name, _, value in samples}
    assert {name for name in values if name.startswith("success_timestamp")} == {
        'success_timestamp_seconds{operation="talk:Talk"}'
    }
    assert 'stagerun_last_run_id{operation="talk:Talk"} 3' in one.splitlines()
    assert values['run_state{operation="talk:Bad",state="failed"}'] == "1"
    assert values['run_state{operation="talk:Bad",state="succeeded"}'] == "0"
    assert values['run_id{operation="talk:Talk"}'] == "3"
    assert (refused.code, refused.err.splitlines()[0]) == (2, "stagerun: --format openmetrics has no REF")
    assert (unknown.code, unknown.out, unknown.err.splitlines()[0]) == (
        2,
        "",
        "stagerun: there is no operation 'shopp'",
    )


def test_the_help_fits_a_screen_and_names_every_command_once(project: Project) -> None:
    lines = project.stagerun("--help").out.splitlines()
    narrow = project.stagerun("--help", environ={"COLUMNS": "60"}).out.splitlines()

    assert max(map(len, narrow)) < 60
    assert " ".join(narrow).split() == " ".join(lines).split()
    assert (len(lines) <= 24, max(map(len, lines)) < 80) == (True, True)
    assert "completion  Print the script that completes commands in a shell." in "\n".join(lines)
