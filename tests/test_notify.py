"""Telling web services and commands how a run ended, with servers of the tests' own."""

import json
from collections.abc import Iterator, Mapping

import psutil
import pytest

from stagerun import LiveOperation, Progress
from stagerun.errors import UsageError
from stagerun.machine import notices
from stagerun.machine.notices import Notice
from stagerun.notify.notifier import Notifier
from stagerun.states import RunState
from stagerun.text.masking import Masker
from tests.conftest import Bench, Project
from tests.loopback import WebService
from tests.processes import until


class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.result(count=3)


class Broken(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            raise ValueError("a <!channel> & more")


class First(LiveOperation):
    def run(self, p: Progress) -> None:
        p.chain_to(Import())


@pytest.fixture
def service() -> Iterator[WebService]:
    with WebService() as service:
        yield service


def notifier(bench: Bench, *tell: Notice, seconds: float = 10, environ: Mapping[str, str] | None = None) -> Notifier:
    return Notifier(tell, environ=environ or {}, folder=bench.folder, masker=Masker(), seconds=seconds)


def test_a_web_service_gets_what_status_prints_as_json(project: Project, service: WebService) -> None:
    project.recipe("orders", 'class Import(LiveOperation):\n    def run(self, p): p.result(name="##[error]")\n')

    done = project.stagerun("run", "orders", environ={"STAGERUN_NOTIFY": f"{service.url}/hook"})

    assert (done.code, done.err) == (0, "")
    (received,) = service.received
    assert (received.method, received.path) == ("POST", "/hook")
    assert received.headers["Content-Type"] == "application/json"
    assert received.body.decode() + "\n" == project.stagerun("status", "--json").out


def test_the_last_link_of_a_chain_is_told_and_no_other(bench: Bench, service: WebService) -> None:
    bench.run(First(), notifier(bench, Notice(url=service.url)))

    assert [(each["id"], each["chained_from"]) for each in _documents(service)] == [(2, 1)]


def test_each_is_told_of_the_ends_that_it_asked_for(bench: Bench, service: WebService) -> None:
    tell = [Notice(url=f"{service.url}/{end}", on=(end,)) for end in notices.ENDS]

    bench.run(Import(), notifier(bench, *tell))
    bench.run(Broken(), notifier(bench, *tell))

    assert [each.path for each in service.received] == ["/succeeded", "/failed"]


def test_a_chat_gets_one_sentence_in_which_nothing_acts(bench: Bench, service: WebService) -> None:
    bench.run(Broken(), notifier(bench, Notice(url=service.url, send="text")))

    assert _documents(service) == [
        {"text": "demo:Broken: run 1 failed in [1/1] Load after 0.0s: ValueError: a &lt;!channel&gt; &amp; more"}
    ]


def _documents(service: WebService) -> list[dict[str, object]]:
    return [json.loads(each.body) for each in service.received]


def test_addresses_and_headers_take_values_from_the_environment(bench: Bench, service: WebService) -> None:
    tell = Notice(url="env:HOOK/env:ID", headers={"Authorization": "Bearer env:TOKEN"})

    bench.run(Import(), notifier(bench, tell, environ={"HOOK": service.url, "ID": "x7", "TOKEN": "hunter22\n"}))

    (received,) = service.received
    assert (received.path, received.headers["Authorization"]) == ("/x7", "Bearer hunter22")


@pytest.mark.parametrize(
    ("tell", "environ"),
    [
        (Notice(url="env:HOOK/x y"), {}),
        (Notice(url="env:HOOK", headers={"X": "env:TOKEN"}), {"TOKEN": "hunter22\nand more"}),
        (Notice(url="env:HOOK", headers={"X": "env:TOKEN"}), {"TOKEN": "h\u0151"}),
    ],
)
def test_an_address_or_header_that_http_does_not_allow_is_a_failure_that_does_not_show_it(
    bench: Bench, service: WebService, tell: Notice, environ: dict[str, str]
) -> None:
    teller = notifier(bench, tell, environ={"HOOK": service.url, **environ})

    bench.run(Import(), teller)

    why = "its address or a header holds what HTTP does not allow"
    assert (service.received, teller.failures) == ([], [f"run 1 was not told to env:HOOK{tell.url[8:]}: {why}"])


def test_a_service_in_trouble_is_asked_again(bench: Bench, service: WebService) -> None:
    service.codes = [503]
    teller = notifier(bench, Notice(url=service.url))

    bench.run(Import(), teller)

    assert (len(service.received), teller.failures) == (2, [])


@pytest.mark.parametrize(("code", "why"), [(404, "HTTP 404 Not Found"), (302, "HTTP 302 Found")])
def test_a_refusal_or_a_redirect_is_a_failure_at_once(bench: Bench, service: WebService, code: int, why: str) -> None:
    service.codes = [code]
    teller = notifier(bench, Notice(url=f"{service.url}/secret"))

    view = bench.run(Import(), teller)

    assert view.state is RunState.SUCCEEDED
    assert teller.failures == [f"run 1 was not told to {service.url}: {why}"]
    assert [each.path for each in service.received] == ["/secret"]


def test_a_service_that_never_answers_is_given_up(bench: Bench, service: WebService) -> None:
    service.codes = [0]
    teller = notifier(bench, Notice(url=service.url), seconds=0.2)

    bench.run(Import(), teller)

    assert teller.failures == [f"run 1 was not told to {service.url}: there was no answer"]


def test_a_variable_that_is_not_set_is_a_failure_that_names_it(bench: Bench) -> None:
    teller = notifier(bench, Notice(url="env:HOOK"))

    bench.run(Import(), teller)

    assert teller.failures == ["run 1 was not told to env:HOOK: the environment variable HOOK is not set"]


TELL = """#!/bin/sh
{
    echo "$STAGERUN_RUN_ID $STAGERUN_RUN_STATE $OWN ${STAGERUN_TOKEN-none} $PWD"
    cat
} > told.txt
"""


def test_a_command_gets_the_document_and_the_environment_but_no_secret(project: Project) -> None:
    project.recipe(
        "orders",
        "class Import(LiveOperation):\n    token: Secret\n    def run(self, p): p.result(size=self.token.reveal())\n",
    )
    (project.root / "tell.sh").write_text(TELL)
    (project.root / "tell.sh").chmod(0o755)
    (project.root / "pyproject.toml").write_text('[tool.stagerun]\nnotify = ["./tell.sh"]\n')
    secret = {"STAGERUN_TOKEN": "hunter22", "OWN": "mine"}

    done = project.stagerun("run", "orders", environ=secret)

    assert (done.code, done.err) == (0, "")
    first, document = (project.root / "told.txt").read_text().split("\n")
    assert first == f"1 succeeded mine none {project.root}"
    assert document + "\n" == project.stagerun("status", "--json").out
    assert '"size":"***"' in document


def test_a_command_that_fails_is_one_line_on_standard_error_and_the_exit_code_stays(project: Project) -> None:
    project.recipe("orders", "class Import(LiveOperation):\n    def run(self, p): ...\n")
    (project.root / "pyproject.toml").write_text(
        "[tool.stagerun]\nnotify = [\n"
        '    {command = ["sh", "-c", "echo one; echo two >&2; exit 3"]},\n'
        '    {command = ["./nothing"]},\n'
        '    {command = ["./never"], on = ["failed"]},\n]\n'
    )

    done = project.stagerun("run", "orders")

    assert done.code == 0
    assert sorted(done.err.splitlines()) == [
        "stagerun: run 1 was not told to ./nothing: it could not be started: No such file or directory",
        "stagerun: run 1 was not told to sh: it ended with exit code 3: two",
    ]


def test_a_command_that_takes_too_long_is_killed_with_what_it_started(bench: Bench) -> None:
    teller = notifier(bench, Notice(command=("sh", "-c", "sleep 60 & echo $! > pid; wait")), seconds=0.5)

    bench.run(Import(), teller)

    assert teller.failures == ["run 1 was not told to sh: it took longer than 0.5s"]
    pid = int((bench.folder / "pid").read_text())
    until(lambda: _is_gone(pid))


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_a_command_leaves_in_the_background_is_not_waited_for(bench: Bench) -> None:
    teller = notifier(bench, Notice(command=("sh", "-c", "sleep 60 & echo $! > pid")), seconds=30)

    bench.run(Import(), teller)

    assert teller.failures == []
    psutil.Process(int((bench.folder / "pid").read_text())).kill()


def test_the_environment_turns_notifications_off(project: Project) -> None:
    project.recipe("orders", "class Import(LiveOperation):\n    def run(self, p): ...\n")
    (project.root / "pyproject.toml").write_text('[tool.stagerun]\nnotify = ["touch", "told"]\n')

    done = project.stagerun("run", "orders", environ={"STAGERUN_NOTIFY": "none"})

    assert (done.code, done.err, (project.root / "told").exists()) == (0, "", False)


def test_a_secret_of_the_settings_is_masked_in_the_run(project: Project, service: WebService) -> None:
    project.recipe("orders", "class Import(LiveOperation):\n    def run(self, p): p.log('sent to hunter22')\n")
    (project.root / "pyproject.toml").write_text(
        f'[tool.stagerun.notify]\nurl = "{service.url}"\nheaders = {{X-Token = "env:TOKEN"}}\n'
    )

    done = project.stagerun("run", "orders", environ={"TOKEN": "hunter22"})

    assert "sent to ***" in done.out
    assert [each.headers["X-Token"] for each in service.received] == ["hunter22"]


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ([], []),
        ("https://example.org/x", [Notice(url="https://example.org/x")]),
        (["./tell.sh", "it"], [Notice(command=("./tell.sh", "it"))]),
        ({"command": ["./tell.sh"], "on": ["failed"]}, [Notice(command=("./tell.sh",), on=("failed",))]),
        ("http://[::1]:65535?x", [Notice(url="http://[::1]:65535?x")]),
        ([{"url": "env:A"}, "env:B"], [Notice(url="env:A"), Notice(url="env:B")]),
        (
            [{"url": "env:HOOK", "send": "text"}, {"url": "http://h:8080", "headers": {"X-A": "b"}}],
            [Notice(url="env:HOOK", send="text"), Notice(url="http://h:8080", headers={"X-A": "b"})],
        ),
    ],
)
def test_whom_to_tell_is_an_address_a_command_a_table_or_several_tables(setting: object, read: list[Notice]) -> None:
    assert notices.read(setting, "notify") == read


STATES = "states: succeeded, failed, cancelled, timed_out"
WRITE = 'write an address ("https://..."), a command (["./tell.sh"]), or a table with url or command'
PORTS = "ports are numbers from 1 to 65535"
ADDRESS = "is not an address that begins with http:// or https://, or with env:NAME"


@pytest.mark.parametrize(
    ("setting", "message", "hint"),
    [
        (3, "notify can't be 3", WRITE),
        ("./tell.sh", f"notify: './tell.sh' {ADDRESS}", 'a command is a list, in [tool.stagerun]: ["./tell.sh"]'),
        ("ftp://example.org", f"notify: 'ftp://example.org' {ADDRESS}", None),
        (
            "https://me:pw@example.org",
            "notify: a url can't hold a password",
            "use headers, with the value in env:NAME",
        ),
        *(
            (f"https://{host}/secret", f"notify: https://{host} has no port that exists", PORTS)
            for host in ("example.org:99999", "example.org:0", "example.org:80x", "[::1]:65536", "example.org:")
        ),
        (["./tell.sh", 3], "notify: a command is a list of strings, not ['./tell.sh', 3]", 'for example ["./tell.sh"]'),
        ({"url": "env:A", "to": "me"}, "notify has no key 'to'", "keys: url, command, on, headers, send"),
        ({"on": ["failed"]}, "notify: a table has either url or command", WRITE),
        ({"url": "env:A", "command": ["x"]}, "notify: a table has either url or command", WRITE),
        ({"url": "env:A", "on": "failed"}, "notify: on must be a list of states, not 'failed'", STATES),
        ({"url": "env:A", "on": ["lost"]}, "notify: on can't hold 'lost'", STATES),
        (
            {"url": "env:A", "on": ["crashed"]},
            "notify: nobody can be told of a crash, because the process is gone by then",
            None,
        ),
        ({"url": "env:A", "send": "all"}, "notify: send can't be 'all'", "one of status, text"),
        ({"command": ["x"], "headers": {}}, "notify: headers belongs to url, not to command", None),
        ({"url": "env:A", "headers": {"a b": "c"}}, "notify: a header can't be called 'a b'", None),
        (
            {"url": "env:A", "headers": {"A": "b\nc"}},
            "notify: the header A must be a text of one line, not 'b\\nc'",
            None,
        ),
        (
            {"url": "env:A", "headers": {"Authorization": "Bearer 123"}},
            "notify: the header Authorization must not stand in a file that others read",
            'put it into an environment variable, and write Authorization = "env:NAME"',
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_with_the_reason(
    setting: object, message: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as refused:
        notices.read(setting, "notify")

    assert (refused.value.message, refused.value.hint) == (message, hint)


def test_every_command_refuses_a_wrong_setting_and_names_the_file(project: Project) -> None:
    (project.root / "pyproject.toml").write_text("[tool.stagerun]\nnotify = 3\n")

    done = project.stagerun("history")

    told = "[tool.stagerun] notify must be an address, a command or a table, not 3"
    assert (done.code, done.err) == (2, f"stagerun: {project.root}/pyproject.toml: {told}\n")
