"""Which place is meant, and what is said of one that is none."""

from tests.blocks import DOCS
from tests.conftest import Project
from tests.processes import look, until
from tests.test_docs import _blocks
from tests.web import browser_of


PAGE = DOCS / "places.md"


def test_a_place_that_can_not_be_opened_is_bad_news_from_doctor(project: Project) -> None:
    (project.root / "pyproject.toml").write_text("""
[tool.stagerun.places]
lost.command = ["sh", "-c", "echo there is no way >&2; echo; echo '  ask Alice'; exit 4"]
gone.command = ["no-such-program"]
""")

    told = {name: project.stagerun("doctor", "--on", name) for name in ("lost", "gone")}

    assert {name: (done.code, done.out.splitlines()[-1]) for name, done in told.items()} == {
        "lost": (1, "bad   place     lost: sh ended with exit code 4: there is no way; ask Alice"),
        "gone": (1, "bad   place     gone: no-such-program can't be started: No such file or directory"),
    }
    assert not project.journal.exists()


def test_a_place_comes_from_the_option_or_the_environment_or_the_configuration_in_this_order(project: Project) -> None:
    (project.root / "recipes" / "orders.py").write_text(_blocks(PAGE)["Train"])
    (project.root / "pyproject.toml").write_text('[tool.stagerun]\non = "local:"\n')

    told = [
        project.stagerun("run", "orders").out.splitlines()[0],
        project.stagerun("run", "orders", environ={"STAGERUN_ON": "here"}).out.splitlines()[0],
        project.stagerun("run", "orders", "--on", "local:", environ={"STAGERUN_ON": "here"}).out.splitlines()[0],
        project.stagerun("run", "orders", "--on", "here").out.splitlines()[0],
    ]

    assert [line.endswith(" · on local:") for line in told] == [True, False, True, False]


def test_whatever_goes_on_with_a_run_or_repeats_it_goes_to_its_place(project: Project) -> None:
    project.recipe("orders", "class Fails(LiveOperation):\n    def run(self, p): raise ValueError('boom')\n")
    ended = project.stagerun("run", "orders", "--on", "local:").out.splitlines()[-1]
    told = project.stagerun("export", "1", "--format", "markdown").out

    with browser_of(project) as browser:
        page = browser.get("/runs/1").text
        answers = [browser.post("/runs/1/resume", data={}), browser.post("/runs/1/rerun", data={})]
        until(lambda: all(look(project, run).end for run in (2, 3)))

    assert ended == "resume with: stagerun resume 1 --on local:"
    assert "Resume with: `stagerun resume 1 --on local:`" in told
    assert "stagerun run --on=local: orders:Fails" in page
    assert [answer.headers["location"] for answer in answers] == ["/runs/2", "/runs/3"]
    assert [look(project, run).plan.place for run in (2, 3)] == ["local:", "local:"]


def test_what_names_no_place_is_refused_with_what_there_is(project: Project) -> None:
    (project.root / "recipes" / "orders.py").write_text(_blocks(PAGE)["Train"])
    file = project.root / "pyproject.toml"
    told = []
    for name, table in [
        ("smal", '[tool.stagerun.places.small]\ncommand = ["env"]\n'),
        ("ftp://lab", ""),
        ("local:8080", ""),
        ("ssh://", ""),
        ("ssh://-oProxyCommand=x", ""),
        ("odd", '[tool.stagerun.places.odd]\ncomand = ["env"]\n'),
        ("odd", '[tool.stagerun.places.odd]\ncommand = "env"\n'),
        ("odd", "[tool.stagerun.places.odd]\ntrusted = true\n"),
        ("odd", '[tool.stagerun.places.odd]\ndask = "http://lab"\n'),
    ]:
        file.write_text(table)
        done = project.stagerun("run", "orders", "--on", name)
        told.append((done.code, done.err.splitlines()[0]))

    assert told == [
        (2, "stagerun: there is no place 'smal'"),
        (2, "stagerun: 'ftp://lab' is not a place"),
        (2, "stagerun: 'local:8080' is not a place"),
        (2, "stagerun: 'ssh://' is not a place"),
        (2, "stagerun: 'ssh://-oProxyCommand=x' is not a place"),
        (2, "stagerun: [tool.stagerun.places.odd]: object contains unknown field `comand`"),
        (2, "stagerun: [tool.stagerun.places.odd]: expected `array`, got `str` - at `$.command`"),
        (2, "stagerun: [tool.stagerun.places.odd]: it needs either a command or a Dask scheduler"),
        (2, "stagerun: 'odd': 'http' is no scheme of a Dask scheduler"),
    ]
    assert not project.journal.exists()


def test_the_agent_is_not_for_people_and_not_in_the_help(project: Project) -> None:
    with project.terminal("agent") as terminal:
        code = terminal.wait()
        told = terminal.lines

    assert code == 2
    assert told[0].startswith("stagerun: stagerun agent is started by stagerun at another place")
    assert "agent" not in project.stagerun("--help").out
