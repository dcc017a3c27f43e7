"""Which place is meant, and what is said of one that is none."""

from tests.blocks import DOCS
from tests.conftest import Project
from tests.test_docs import _blocks


PAGE = DOCS / "places.md"


def test_a_place_that_can_not_be_opened_is_bad_news_from_doctor(project: Project) -> None:
    table = '[tool.stagerun.places.lost]\ncommand = ["sh", "-c", "echo there is no way >&2; exit 4"]\n'
    (project.root / "pyproject.toml").write_text(table)

    done = project.stagerun("doctor", "--on", "lost")

    assert done.code == 1
    assert done.out.splitlines()[-1] == "bad   place     lost: sh ended with exit code 4;  there is no way"
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
