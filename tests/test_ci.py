"""Runs in the logs of five CI systems: what each log says, and that nothing in it acts but what is ours."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagerun import LiveOperation, Progress, events
from stagerun.authoring.finding import load
from stagerun.machine import ci, settings
from stagerun.render import choose, dialect_of
from stagerun.render.output import Output
from stagerun.render.plain import Plain
from stagerun.sinks import Sink
from stagerun.text import json_text
from stagerun.text.masking import Masker
from stagerun.text.untrusted import disarm, disarm_line, neutralise, neutralise_json
from tests.ci_parsers import PARSERS, Command, controls, folds
from tests.conftest import STAGERUN, Bench, Project, plain_environ
from tests.hostile import LINES
from tests.processes import running, until


GOLDEN: Final = Path(__file__).parent / "golden"
FOLDING: Final = ("github", "gitlab", "azure", "buildkite", "teamcity")
VARIABLES: Final = {
    "github": {"GITHUB_ACTIONS": "true"},
    "gitlab": {"GITLAB_CI": "true"},
    "azure": {"TF_BUILD": "True"},
    "buildkite": {"BUILDKITE": "true"},
    "teamcity": {"TEAMCITY_VERSION": "2025.07"},
}

ORDERS = """
from stagerun import LiveOperation

class Import(LiveOperation):
    stages = ["Load", "Process", "Save"]
    end: str

    def run(self, p):
        move, stop = self.hooks
        with p.stage("Load"):
            move(0.8)
            p.log("read 10,000 rows")
            print("::error::gotcha ##[error]x")
        with p.stage("Process"):
            for row in p.track(range(4), unit="row"):
                move(5.0)
            with p.stage("check"):
                p.log("--- a/orders.csv", level="warning")
            if self.end == "fail":
                raise ValueError("order 3 has no price: 100%")
            if self.end == "cancel":
                stop("SIGTERM")
            p.check_cancelled()
        with p.stage("Save"):
            move(0.1)
        p.result(count=10_000)
"""


def _logged(bench: Bench, system: str, operation: LiveOperation, **environ: str) -> str:
    """Return what `operation` looks like in `system`, as text with its line ends."""
    file = bench.folder / "ci.log"
    with file.open("w") as stream:
        output = Output(stream)
        dialect = dialect_of(ci.System(system), environ)
        bench.run(operation, Plain(output, dialect=dialect))
        output.close()
    return file.read_bytes().decode()


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
@pytest.mark.parametrize("system", FOLDING)
def test_a_log_is_as_it_is_kept(bench: Bench, system: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = bench.folder / "orders.py"
    recipe.write_text(ORDERS)
    found = load(str(recipe), settings.find(bench.folder))
    monkeypatch.setattr(found.operation, "hooks", (bench.clock.move, bench.interrupts.request), raising=False)

    told = _logged(
        bench,
        system,
        found.operation(end=end, owner="alice"),
        GITHUB_WORKSPACE=str(bench.folder),
        BUILD_SOURCESDIRECTORY=str(bench.folder),
    )

    golden = GOLDEN / f"{system}-{end}.log"
    told = told.replace(str(bench.folder), "/home/alice/shop")
    if os.environ.get("STAGERUN_TEST_KEEP"):
        golden.write_bytes(told.encode())
    assert told.encode() == golden.read_bytes()


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
@pytest.mark.parametrize("system", [each for each in FOLDING if each != "buildkite"])
def test_every_fold_of_a_kept_log_is_closed_and_none_is_inside_another(system: str, end: str) -> None:
    told = folds(PARSERS[system]((GOLDEN / f"{system}-{end}.log").read_bytes()))

    assert [what for what, _ in told] == ["open", "close"] * (2 + (end == "succeed"))


@pytest.mark.parametrize("line_of", [disarm_line, lambda line: "│ " + disarm(line), lambda line: "| " + disarm(line)])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("system", FOLDING)
def test_no_hostile_line_is_a_command(system: str, colour: bool, line_of: Callable[[str], str]) -> None:
    told = [line_of(neutralise(line, keep_colour=colour)) for line in LINES]

    assert {line: PARSERS[system](f"{line}\n".encode()) for line in told if PARSERS[system](f"{line}\n".encode())} == {}
    assert [line for line in told if controls(line, colour=colour)] == []


# Text made of what commands are made of: chance alone would never write one.
_PIECES: Final = st.sampled_from(
    (
        *("##", "[", "]", "vso", "VSO", "teamcity", "error", "::", "group", "#", ":", "-", "[command]"),
        *("---", "+++", "~~~", "^^^", "section_end:1:a", "task.complete result=Failed;"),
        *(" ", "\t", "\u00a0", "\u2003", "\r", "\x0b", "\x0c", "\x85", "\x1b[0K", "\x1b[31m"),
        *("\u200b", "\ufe0f", "\u034f"),
    )
)


@given(line=st.lists(_PIECES | st.characters(exclude_characters="\n"), max_size=12).map("".join), colour=st.booleans())
@example(line="##\x1b[31m", colour=True)  # in a comparison by culture ESC weighs nothing
def test_nothing_that_commands_are_made_of_becomes_one(line: str, colour: bool) -> None:
    safe = neutralise(line, keep_colour=colour)
    document = neutralise_json(json_text.dumps({"line": line}))

    for text in (disarm_line(safe), "│ " + disarm(safe), document):
        assert {name: parse(f"{text}\n".encode()) for name, parse in PARSERS.items()} == {key: [] for key in PARSERS}
    assert controls(disarm_line(safe), colour=colour) == []


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("##[error]x", "##\\[error]x"),
        ("a ##vso[task.complete]", "a ##\\vso[task.complete]"),
        ("###[group]", "###\\[group]"),
        ("##teamcity[x]", "##\\teamcity[x]"),
        ("  ::error::x", "  \\::error::x"),
        ("--- a/x", "\\--- a/x"),
        ("## Heading [x]", "## Heading [x]"),
        ("::1", "::1"),
        ("std::string x::y", "std::string x::y"),
        ("---", "---"),
    ],
)
def test_a_command_is_broken_by_a_backslash_and_other_text_stays_as_it_is(line: str, shown: str) -> None:
    assert disarm_line(line) == shown


HOSTILE = """
import json, sys
from pathlib import Path

LINES = json.loads(Path("lines.json").read_text())

class Hostile(LiveOperation):
    stages = ["Go", *(line for line in LINES[::40] if line.strip())]
    name: str = ""
    first: int = 0
    step: int = 1

    def run(self, p):
        with p.stage("Go"):
            for number, line in enumerate(LINES[self.first :: self.step]):
                print(line)
                p.log(line, level=("info", "warning")[number % 2])
                sys.stdout.write(line[: len(line) // 2])
                sys.stdout.write(line[len(line) // 2 :] + "\\n")
                p.status(line, level="warning")
            p.sh(["cat", "lines.txt"])
            for line in LINES[::10]:
                if line.strip():
                    for _ in p.track([1], label=line, unit=line):
                        pass
        for line in self.stages[1:]:
            with p.stage(line):
                with p.stage(line + "?"):
                    pass
        p.result({line: line for line in LINES})
        raise ValueError("\\n".join(LINES))
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one run that said every hostile line wherever a recipe can say something."""
    import json

    root = tmp_path_factory.mktemp("hostile")
    (root / "recipes").mkdir()
    (root / "lines.json").write_text(json.dumps(LINES))
    (root / "lines.txt").write_bytes("".join(f"{line}\n" for line in LINES).encode() + bytes(range(256)))
    project = Project(root, plain_environ() | {"LOGNAME": LINES[0]})
    project.recipe("hostile", HOSTILE)
    assert project.stagerun("run", "hostile", "--name", LINES[1], "--progress", "quiet", "--step", "3").code == 1
    return project


# Colours are the same in all systems; GitLab's sections have escape sequences of their own.
SHOWN: Final = [*((system, "") for system in FOLDING), ("github", "coloured"), ("gitlab", "coloured")]


@pytest.fixture(scope="module")
def told(hostile: Project, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return what each display says of one hostile run."""
    folder = tmp_path_factory.mktemp("told")
    names = [("json", "other", ""), ("quiet", "other", ""), *(("plain", *shown) for shown in SHOWN)]
    displays = list[Sink]()
    for mode, system, colour in names:
        with (folder / f"{mode} {system} {colour}").open("w") as stream:
            output = Output(stream)
        dialect, masker = dialect_of(ci.System(system), {}), Masker()
        displays.append(
            choose(mode, output, dialect=dialect, live=False, colour=colour != "", timestamps=False, masker=masker)
        )
    with contextlib.chdir(hostile.root):
        operation = load("recipes/hostile.py", settings.find(hostile.root)).operation
        assert Bench(folder).run(operation(name=LINES[1], owner=LINES[0]), *displays).exit_code == 1
    return {file.name: file.read_bytes().decode() for file in folder.iterdir() if " " in file.name}


def _raw(project: Project, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the output with its carriage returns, which a text pipe would take for line ends."""
    with project.start(*arguments, environ=environ) as process:
        out, _ = process.read(60)
    return out.decode()


def _commands(system: str, text: str) -> list[Command]:
    return PARSERS[system](text.encode())


def _without_sections(out: str) -> str:
    return re.sub(r"\x1b\[0Ksection_(?:start|end):\d+:stagerun_\d+\r\x1b\[0K", "", out)


_OURS: Final = {
    "github": ("group", {"group", "endgroup", "error"}, ["error"]),
    "gitlab": ("section_start", {"section_start", "section_end"}, []),
    "azure": ("group", {"group", "endgroup", "task.setprogress", "task.logissue"}, ["task.logissue"]),
    "buildkite": ("---", {"---", "+++", "~~~", "^^^ +++"}, []),
    "teamcity": (
        "blockOpened",
        {"blockOpened", "blockClosed", "buildStatisticValue", "buildProblem", "progressMessage"},
        ["buildProblem"],
    ),
}


def _assert_only_ours_act(system: str, out: str, *, colour: bool) -> None:
    opening, ours, about_the_end = _OURS[system]
    names = [command.name for command in _commands(system, out)]

    assert set(names) - ours == set()
    assert names.count(opening) == 1 + len([line for line in LINES[::40] if line.strip()])
    assert [name for name in names if name in ("error", "task.logissue", "buildProblem")] == about_the_end
    assert controls(_without_sections(out), colour=colour) == []


@pytest.mark.parametrize(("system", "colour"), SHOWN)
def test_of_a_hostile_run_only_our_own_commands_act(told: Mapping[str, str], system: str, colour: str) -> None:
    _assert_only_ours_act(system, told[f"plain {system} {colour}"], colour=colour != "")


def test_so_it_is_with_the_real_command_in_one_of_the_systems(project: Project, hostile: Project, seed: int) -> None:
    system = FOLDING[seed % len(FOLDING)]
    arguments = ("--journal", str(project.root / "own.db"), "--step", "3", "--first", str(seed % 3))

    out = _raw(hostile, "run", "hostile", *arguments, environ={**VARIABLES[system], "FORCE_COLOR": "1"})

    _assert_only_ours_act(system, out, colour=True)


@pytest.mark.parametrize("mode", ["json", "quiet"])
def test_of_a_hostile_run_nothing_acts_where_the_display_has_no_folds(told: Mapping[str, str], mode: str) -> None:
    out = told[f"{mode} other "]

    assert out != ""
    assert {system: _commands(system, out) for system in FOLDING} == {system: [] for system in FOLDING}
    assert controls(out, colour=False) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("history",),
        ("logs",),
        ("logs", "--timestamps"),
        ("logs", "--json"),
        ("status", "--json"),
        ("history", "--json"),
        ("watch", "--progress", "quiet"),
        ("watch", "--progress", "json"),
        ("list",),
        ("show", "hostile"),
        ("show", "hostile", "--json"),
        ("resume", "--dry-run"),
        ("run", "hostile", "--dry-run"),
        ("run", "hostile", "--dry-run", "--name", LINES[3]),
        ("run", "hostile", "--help"),
        ("run", LINES[2]),
        ("status", LINES[2]),
        ("doctor",),
        ("export", "--format", "junit"),
        ("export", "--format", "markdown"),
        ("export", "--format", "trace"),
    ],
    ids=" ".join,
)
def test_what_a_command_prints_of_a_hostile_run_is_no_command(hostile: Project, arguments: tuple[str, ...]) -> None:
    done = hostile.stagerun(*arguments, environ={"CI": "true", "NO_COLOR": "1"})

    told = done.out + done.err
    assert told.strip() != ""
    assert {system: _commands(system, told) for system in FOLDING} == {system: [] for system in FOLDING}
    assert controls(told, colour=False) == []


@pytest.mark.parametrize("system", FOLDING)
def test_no_system_finds_a_command_in_the_lines_of_a_hostile_run(hostile: Project, system: str) -> None:
    done = hostile.stagerun("logs", environ={**VARIABLES[system], "NO_COLOR": "1"})

    assert (done.out != "", _commands(system, done.out)) == (True, [])


@pytest.mark.parametrize(
    ("environ", "system"),
    [
        ({}, "none"),
        ({"CI": ""}, "none"),
        ({"CI": "false"}, "none"),
        ({"CI": "true"}, "other"),
        ({"CI": "1", "GITHUB_ACTIONS": "true", "GITLAB_CI": "true"}, "github"),
        ({"GITHUB_ACTIONS": "false"}, "none"),
        ({"GITLAB_CI": "true", "TF_BUILD": "True"}, "gitlab"),
        ({"TF_BUILD": "True", "BUILDKITE": "true"}, "azure"),
        ({"BUILDKITE": "true", "TEAMCITY_VERSION": "1"}, "buildkite"),
        ({"TEAMCITY_VERSION": "2025.07", "CI": "true"}, "teamcity"),
        ({"TEAMCITY_VERSION": ""}, "none"),
        ({"CIRCLECI": "true"}, "other"),
        ({"JENKINS_URL": "x"}, "none"),
        ({"JENKINS_URL": "x", "BUILD_ID": "1"}, "other"),
        ({"STAGERUN_CI": "none", "GITHUB_ACTIONS": "true"}, "none"),
        ({"STAGERUN_CI": "gitlab", "GITHUB_ACTIONS": "true"}, "gitlab"),
        ({"STAGERUN_CI": "auto", "GITHUB_ACTIONS": "true"}, "github"),
    ],
)
def test_the_system_is_told_by_its_variables_in_their_order(environ: dict[str, str], system: str) -> None:
    assert ci.detect(environ) == system


def test_an_unknown_system_is_refused_with_the_names_of_all(project: Project) -> None:
    project.recipe("demo", "class Op(LiveOperation):\n    def run(self, p): ...\n")

    for done in (
        project.stagerun("run", "demo", "--ci", "jenkins"),
        project.stagerun("run", "demo", environ={"STAGERUN_CI": "jenkins"}),
    ):
        assert (done.code, done.out) == (2, "")
        assert done.err == (
            "stagerun: there is no CI system 'jenkins'\n"
            "  systems: auto, github, gitlab, azure, buildkite, teamcity, other, none\n"
        )


def test_the_system_that_an_option_names_reads_the_errors_too_and_the_recipe_is_not_told(project: Project) -> None:
    project.recipe(
        "demo",
        "import os\nclass Op(LiveOperation):\n    def run(self, p): p.log(os.environ.get('STAGERUN_CI', 'unset'))\n",
    )

    refused = project.stagerun("run", "demo", "--ci", "azure", "--run-id-file", "##vso[x]/file")
    ran = project.stagerun("run", "demo", "--ci", "other", environ=VARIABLES["github"])

    assert (refused.code, refused.err) == (
        2,
        f"stagerun: the run id can't be written to {project.root}/##\\vso[x]/file: No such file or directory\n",
    )
    assert ran.out.splitlines()[1] == "unset"


WAITS = """
import time
from pathlib import Path

class Op(LiveOperation):
    stages = ["Wait"]
    how: str = "wait"

    def run(self, p):
        with p.stage("Wait"):
            p.log("waiting")
            Path("ready").touch()
            if self.how == "exit":
                raise SystemExit(7)
            if self.how == "stubborn":
                while True:
                    try:
                        time.sleep(60)
                    except BaseException:
                        pass
            if self.how == "journal":
                Path(".stagerun/journal.db").unlink()
                return
            time.sleep(60)
"""


@pytest.mark.parametrize(
    ("system", "how", "signals", "code"),
    [
        ("github", "wait", [signal.SIGINT], -signal.SIGINT),
        ("azure", "wait", [signal.SIGTERM], -signal.SIGTERM),
        ("teamcity", "wait", [signal.SIGHUP], -signal.SIGHUP),
        *((system, "stubborn", [signal.SIGTERM] * 3, -signal.SIGTERM) for system in ("gitlab", "github")),
        ("teamcity", "exit", [], 7),
        ("gitlab", "journal", [], 3),
    ],
)
def test_a_fold_is_closed_on_every_way_out(
    project: Project, system: str, how: str, signals: list[signal.Signals], code: int
) -> None:
    project.recipe("demo", WAITS)

    with running(project, "run", "demo", "--how", how, "--ci", system) as process:
        until((project.root / "ready").exists)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)  # two signals of a kind that arrive at once are one
        out, _ = process.read(60)

    assert process.wait() == code
    assert [what for what, _ in folds(PARSERS[system](out))] == ["open", "close"]


class _Breaking(Plain):
    """A display that breaks at the second log line."""

    def update(self, entry: events.Entry, view: object) -> None:
        if entry.event == events.Log("second"):
            raise RuntimeError("broken")
        super().update(entry, view)  # type: ignore[arg-type]


def test_a_fold_is_closed_when_the_display_breaks(bench: Bench) -> None:
    class Op(LiveOperation):
        stages = ["Go"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                p.log("first")
                p.log("second")
                p.log("third")

    with (bench.folder / "ci.log").open("w") as stream:
        display = _Breaking(Output(stream), dialect=dialect_of(ci.System.GITHUB, {}))
        bench.run(Op(owner="alice"), display)
        display.close()

    assert (bench.folder / "ci.log").read_text() == (
        "run 1 · demo:Op · started by alice\n::group::[1/1] Go\n│ first\n::endgroup::\n"
    )


def _silent(bench: Bench, sink: Plain) -> type[LiveOperation]:
    def look(seconds: float) -> None:
        for _ in range(round(seconds)):
            bench.clock.move(1.0)
            sink.refresh(bench.clock.as_clock().wall())

    class Op(LiveOperation):
        stages = ["Load", "Process"]

        def run(self, p: Progress) -> None:
            look(60)
            with p.stage("Load"):
                look(59)
                p.log("a line")
                look(59)
            with p.stage("Process"):
                look(190)

    return Op


@pytest.mark.parametrize(("system", "beats"), [("github", True), ("other", True), ("none", False)])
def test_a_silent_run_gives_a_sign_of_life_each_minute_in_ci(bench: Bench, system: str, beats: bool) -> None:
    with (bench.folder / "ci.log").open("w") as stream:
        sink = Plain(Output(stream), dialect=dialect_of(ci.System(system), {}))
        bench.run(_silent(bench, sink)(owner="alice"), sink)

    told = [line for line in (bench.folder / "ci.log").read_text().splitlines() if line.startswith("still")]
    assert told == (
        [
            "still running after 1m 00s",
            "still in [2/2] Process after 1m 00s",
            "still in [2/2] Process after 2m 00s",
            "still in [2/2] Process after 3m 00s",
        ]
        if beats
        else []
    )


def test_times_stand_before_lines_and_never_before_commands(bench: Bench) -> None:
    class Op(LiveOperation):
        stages = ["Go"]

        def run(self, p: Progress) -> None:
            with p.stage("Go"):
                p.log("a line")

    with (bench.folder / "ci.log").open("w") as stream:
        bench.run(Op(owner="alice"), Plain(Output(stream), timestamps=True, dialect=dialect_of(ci.System.GITHUB, {})))

    moment = "2027-01-15T08:00:00.000Z"
    assert (bench.folder / "ci.log").read_text().splitlines() == [
        f"{moment} run 1 · demo:Op · started by alice",
        "::group::[1/1] Go",
        f"{moment} │ a line",
        "::endgroup::",
        f"{moment} --- [1/1] Go: done in 0.0s",
        f"{moment} run 1 succeeded in 0.0s",
    ]


COLOURFUL = """
class Op(LiveOperation):
    stages = ["Go"]

    def run(self, p):
        with p.stage("Go"):
            p.log("\\x1b[32mgreen\\x1b[0m \\x1b[2Jgone")
"""


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({"GITHUB_ACTIONS": "true"}, True),
        ({"GITLAB_CI": "true"}, True),
        ({"TEAMCITY_VERSION": "1"}, False),
        ({"TEAMCITY_VERSION": "1", "FORCE_COLOR": "1"}, True),
        ({"GITHUB_ACTIONS": "true", "NO_COLOR": "1"}, False),
        ({"GITHUB_ACTIONS": "true", "TERM": "dumb"}, False),
        ({"CI": "true"}, False),
        ({"FORCE_COLOR": "1"}, False),
    ],
)
def test_a_ci_system_that_shows_colours_gets_them_and_no_other_escape(
    project: Project, environ: dict[str, str], coloured: bool
) -> None:
    project.recipe("demo", COLOURFUL)

    out = _raw(project, "run", "demo", environ=environ)

    assert ("\x1b[32mgreen\x1b[0m \\x1b[2Jgone" in out, "\x1b[32m[1/1] Go: done" in out) == (coloured, coloured)
    assert controls(_without_sections(out), colour=coloured) == []


def test_sections_of_gitlab_have_a_name_of_their_own_along_a_chain_and_a_job(project: Project) -> None:
    project.recipe(
        "demo",
        "class B(LiveOperation):\n    stages = ['Go']\n    def run(self, p):\n        with p.stage('Go'): ...\n"
        "class A(B):\n    def run(self, p):\n        super().run(p)\n        p.chain_to(B())\n",
    )
    out = "".join(_raw(project, "run", "demo:A", "--ci", "gitlab") for _ in range(2))

    names = re.findall(r"section_start:\d+:(stagerun_\d+)\r", out)
    assert names == ["stagerun_1001", "stagerun_2002", "stagerun_3001", "stagerun_4002"]


def test_a_file_outside_the_checkout_is_not_linked(bench: Bench) -> None:
    class Op(LiveOperation):
        def run(self, p: Progress) -> None:
            raise ValueError("x")

    told = _logged(bench, "github", Op(owner="alice"), GITHUB_WORKSPACE="/somewhere/else")

    assert [line for line in told.splitlines() if line.startswith("::")] == [
        "::error title=demo%3AOp failed::ValueError: x"
    ]


def test_a_message_is_cut_to_what_the_systems_take(bench: Bench) -> None:
    class Op(LiveOperation):
        def run(self, p: Progress) -> None:
            p.error("x" * 10_000)

    told = _logged(bench, "github", Op(owner="alice"))

    assert [line for line in told.splitlines() if line.startswith("::")] == [
        f"::error title=demo%3AOp failed::{'x' * 3999}…"
    ]


SUMMED = """
class B(LiveOperation):
    stages = ["Pub|lish", "Tell"]

    def run(self, p):
        with p.stage("Pub|lish"):
            p.result({"``` </code>": "| x |"})
        raise ValueError("no `price`")

class A(LiveOperation):
    stages = ["Go"]

    def run(self, p):
        with p.stage("Go"):
            pass
        p.result(count=3)
        p.chain_to(B())
"""


def test_github_gets_a_summary_of_the_chain_appended_to_what_is_there(project: Project) -> None:
    file = project.root / "summary.md"
    file.write_text("before\n")
    source = project.recipe("demo", SUMMED)

    project.stagerun("run", "demo:A", "--ci", "github", environ={"GITHUB_STEP_SUMMARY": str(file)})

    assert (
        re.sub(r"\d\.\ds", "0.0s", file.read_text())
        == f"""before

✅ **run 1** <code>demo&#58;A</code> **succeeded** in 0.0s

❌ **run 2** <code>demo&#58;B</code> **failed** after 0.0s

| run | stage | state | took |
|--:|---|---|--:|
| 1 | <code>Go</code> | ✓ done | 0.0s |
| 2 | <code>Pub&#124;lish</code> | ✓ done | 0.0s |
| 2 | <code>Tell</code> | ○ pending |  |

Result of run 1:

```text
count=3
```

Error of run 2:

```text
Traceback (most recent call last):
  File "{source}", line 9, in run
    raise ValueError("no `price`")
ValueError: no `price`
```

Result of run 2:

````text
``` </code>=| x |
````

Resume with: `stagerun resume 2`

"""
    )


def test_a_summary_that_is_full_already_is_left_alone(project: Project) -> None:
    file = project.root / "summary.md"
    file.write_text("x" * 256 * 1024)
    project.recipe("demo", SUMMED)

    project.stagerun("run", "demo:A", "--ci", "github", environ={"GITHUB_STEP_SUMMARY": str(file)})

    assert file.read_text() == "x" * 256 * 1024


def test_a_summary_that_cant_be_written_stops_nothing(project: Project) -> None:
    project.recipe("demo", COLOURFUL)

    done = project.stagerun("run", "demo", "--ci", "github", environ={"GITHUB_STEP_SUMMARY": "/nowhere/summary.md"})

    assert (done.code, done.err) == (0, "")


def test_secrets_are_registered_before_anything_else_is_printed(bench: Bench) -> None:
    masker = Masker()
    masker.learn(["swordfish%", "two\nlines", "abc"])
    dialect = dialect_of(ci.System.GITHUB, {})
    assert list(dialect.register(masker.values)) == ["::add-mask::swordfish%25", "::add-mask::two%0Alines"]
    dialect = dialect_of(ci.System.AZURE, {})
    assert list(dialect.register(masker.values)) == [
        "##vso[task.setsecret]swordfish%AZP25",
        "##vso[task.setsecret]lines",
    ]


def test_a_cancel_of_the_step_reaches_a_run_whose_shell_only_waits(project: Project) -> None:
    project.recipe("demo", WAITS)
    (project.root / "step.sh").write_text(f"{STAGERUN} run demo\necho over\n")
    with subprocess.Popen(
        ["bash", "-e", "step.sh"],
        cwd=project.root,
        env=project.environ | VARIABLES["github"],
        stdout=subprocess.DEVNULL,
    ) as step:
        until((project.root / "ready").exists)
        step.terminate()
        step.wait(timeout=60)
        until(lambda: project.records().find("last").state == "cancelled")
    assert project.records().find("last").signal == "SIGTERM"
