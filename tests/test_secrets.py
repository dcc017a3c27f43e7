"""Secrets from end to end: given to the real command, let out by a recipe that tries hard, found nowhere."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Done, Project, timeless
from tests.forms import found, shards
from tests.processes import GATE, finish, logged, open_gate, read_until, rows, running
from tests.terminal import Terminal


# With a slash, a plus, quotation marks, a backslash, a blank and a letter beyond ASCII each form is another text.
SECRET = 'p~>?ss/w+rd "é\\ 7%'
MADE = "made-at-run-time~>?42"
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
    "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n"
    "NMoSfm76oqFvAp8Gy0iz5sxjZmSnXyCdPEovGhLa0VzMaQ8s+CLOyS56YyCFGeJZ\n"
    "qgtzJ6GR3eqoYSW9b9UMvkBpZODSctWSNGj3P7jRFDO5VoTwCQ==\n"
    "-----END PRIVATE KEY-----\n"
)

LEAKY = (
    GATE
    + r'''
import base64, json, logging, pathlib, sys, threading, warnings
from urllib.parse import quote, quote_plus

LIMIT = 64 * 1024

def forms(secret):
    """Return the secret as programs write it."""
    data = secret.encode()
    return [
        secret,
        *(encode(who + data + b"!").decode() for who in (b"", b"u:", b"me:", b"user:")
          for encode in (base64.b64encode, base64.urlsafe_b64encode)),
        quote(secret), quote(secret, safe=""), quote_plus(secret),
        json.dumps({"key": secret}), json.dumps({"key": secret}, ensure_ascii=False),
        repr(secret), repr(data),
    ]

def say(p, text, small=False):
    """Say the text in every way."""
    print(text)
    print(text[: len(text) // 2], end="")
    print(text[len(text) // 2 :])
    for character in text:
        sys.stdout.write(character)
    print("", text, sep="\r", end="\r\n")
    sys.stdout.writelines(["a", text, "b\n"])
    data = text.encode() + b"\n"
    for start in range(0, len(data), 3):
        sys.stdout.buffer.write(data[start : start + 3])
    print("on stderr", text, file=sys.stderr)
    p.log(f"before\n{text}\nafter")
    p.status(text)
    if not small:
        p.log("x" * LIMIT + text)
        p.status("x" * (LIMIT - len(text) // 2) + text)
    logging.getLogger("client").info("sent %s", text)
    warnings.warn(f"deprecated: {text}")
    thread = threading.Thread(target=lambda: print("in a thread", text))
    thread.start()
    thread.join()

def say_beyond_the_limit(text):
    """Let the forced break of a line without end fall on each character of the text."""
    for inside in range(1, len(text)):
        sys.stdout.write("x" * (LIMIT + 1 - inside) + text[:inside])
        print(text[inside:])
    sys.stdout.write("x" * (LIMIT - 1))
    for character in text:
        sys.stdout.write(character)
    print()

def fail_in_a_thread(text):
    def fail():
        raise ValueError(f"in a thread: {text}")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()

class Leaky(LiveOperation):
    stages = ["Load", "Save"]
    token: Secret
    label: str = ""
    names: list[str] = ()
    end: str = ""
    small: bool = False

    def run(self, p: Progress) -> None:
        secret = self.token.reveal()
        with p.stage("Load"):
            for form in forms(secret):
                say(p, form, self.small)
            if not self.small:
                say_beyond_the_limit(secret)
                say_beyond_the_limit(base64.b64encode(f"user:{secret}".encode()).decode())
            fail_in_a_thread(secret)
            logging.error("not %d", secret)
            logging.error("not %d", f"user:{secret}")
            p.log(f"{self.label} {self.names} {self.owner}")
        with p.stage(f"untracked {secret}"):
            for _ in p.track([1, 2], label=f"labelled {secret}", unit=secret):
                p.status(f"at {secret}")
            deep = [{"in": (secret, [forms(secret)])}, {f"me:{secret}": {secret: None}}]
            p.result({secret: secret, "deep": deep}, value=secret)
            print("not ended", secret, end="")
            p.log("said all")
            pathlib.Path("said").touch()
            gate("go")
        with p.stage("Save"):
            getattr(self, f"end_{self.end}")(p, secret)

    def end_well(self, p, secret):
        pass

    def end_raising(self, p, secret):
        try:
            raise KeyError(secret)
        except KeyError as error:
            noted = ValueError(f"bad {secret}")
            for form in forms(secret):
                noted.add_note(form)
            try:
                raise OSError(secret) from noted
            except OSError:
                raise ExceptionGroup(f"group {secret}", [noted, RuntimeError(secret, 1)]) from error

    def end_long(self, p, secret):
        raise ValueError(f"{secret} " * 4_000)

    def end_long_and_told(self, p, secret):
        p.error(f"{secret} " * 4_000)

    def end_told(self, p, secret):
        p.error(" ".join(forms(secret)))

    def end_late(self, p, secret):
        with p.stage(f"slow {secret}", timeout=0.05):
            time.sleep(60)

    def end_misused(self, p, secret):
        with p.stage(secret):
            p.result({"deep": {secret: object()}})  # a warning names the part
            p.log("", level=secret)

    def end_chained(self, p, secret):
        made = pathlib.Path("made").read_text()
        p.chain_to(Next(key=Secret(made), label=made, owner=f"bot {made}", small=self.small))
        say(p, made, self.small)
        p.result(before=secret, made=made)

class Next(LiveOperation):
    stages = ["Publish"]
    key: Secret
    label: str
    small: bool

    def run(self, p: Progress) -> None:
        with p.stage("Publish"):
            for form in forms(self.key.reveal()):
                say(p, form, self.small)
            raise ValueError(f"{self.key.reveal()} {self.label} {self.owner}")
'''
)
SAYING = """
import json, logging, multiprocessing, sys

class Say(LiveOperation):
    stages = ["Load"]
    token: Secret
    short: Secret | None = None
    pin: int = 0
    label: str = ""

    def run(self, p: Progress) -> None:
        secret = self.token.reveal()
        {body}
"""
ENDS = {"well": 0, "raising": 1, "long": 1, "long_and_told": 1, "told": 1, "late": 124, "misused": 1, "chained": 1}
USUAL = {*((end, "plain") for end in ENDS if not end.startswith("long")), ("raising", "json"), ("long", "quiet")}


def _environ(secret: str = SECRET) -> dict[str, str]:
    """Return the secret, and parameters that hold it too."""
    return {"STAGERUN_TOKEN": secret, "STAGERUN_LABEL": f"of {secret}", "STAGERUN_OWNER": f"bot {secret}"}


def _written(project: Project) -> bytes:
    """Return all bytes that are on the disk of the journal and beside it."""
    files = [path for path in (project.root / ".stagerun").rglob("*") if path.is_file()]
    assert project.journal in files
    return b"\n".join(path.read_bytes() for path in files)


def _told(done: Done) -> str:
    return f"{done.out}\n{done.err}"


READING = [
    ("status",),
    ("status", "--json"),
    ("history",),
    ("history", "--json"),
    ("logs",),
    ("logs", "--json", "--timestamps"),
    ("export", "--format", "junit"),
    ("export", "--format", "markdown"),
    ("export", "--format", "trace"),
]
WATCHING = [("watch", "--progress", mode) for mode in ("plain", "json", "quiet")]


def _read(project: Project, *commands: tuple[str, ...]) -> str:
    """Return what commands print, each of which has to print something."""
    told = {command: project.stagerun(*command) for command in commands}
    assert [command for command, done in told.items() if not done.out or done.err] == []
    return "\n".join(map(_told, told.values()))


def _terminal(project: Project, *arguments: str, environ: dict[str, str] | None = None) -> Terminal:
    return project.terminal(*arguments, environ=environ, columns=400, rows=50)


# --- a recipe that tries to let its secret out


@pytest.mark.parametrize(
    ("end", "mode"),
    [
        pytest.param(end, mode, marks=() if (end, mode) in USUAL else pytest.mark.soak)
        for end in ENDS
        for mode in ("plain", "json", "quiet")
    ],
)
def test_a_secret_from_the_environment_is_seen_nowhere_however_the_run_ends(
    project: Project, end: str, mode: str
) -> None:
    project.recipe("demo", LEAKY)
    (project.root / "made").write_text(MADE)
    open_gate(project, "go")

    # How much is said changes nothing about an end, and what reads the journal does not know how the run was shown.
    size = () if (end, mode) == ("raising", "plain") else ("--small",)
    done = project.stagerun("run", "demo:Leaky", *size, "--end", end, "--progress", mode, environ=_environ())
    told: dict[str, str | bytes] = {"run": _told(done), "disk": _written(project)}
    if mode == "plain":
        told["reading"] = _read(project, *READING, *WATCHING[:2])

    nothing: dict[str, list[str]] = {where: [] for where in told}
    assert done.code == ENDS[end]
    assert {where: found(SECRET, text) + shards(SECRET, text) for where, text in told.items()} == nothing
    assert {where: found(MADE, text) + shards(MADE, text) for where, text in told.items()} == nothing
    assert "***" in done.out
    assert b"***" in _written(project)


@pytest.mark.parametrize("end", ["raising", "chained"])
def test_a_secret_is_not_drawn_on_a_terminal(project: Project, end: str) -> None:
    project.recipe("demo", LEAKY)
    (project.root / "made").write_text(MADE)
    open_gate(project, "go")

    with _terminal(
        project, "run", "demo:Leaky", "--small", "--end", end, "--progress", "tty", environ=_environ()
    ) as terminal:
        code = terminal.wait()

    assert (code, found(SECRET, terminal.raw), found(MADE, terminal.raw)) == (1, [], [])
    assert (found(SECRET, _written(project)), b"***" in terminal.raw) == ([], True)


def test_a_secret_from_the_environment_is_seen_nowhere_while_the_run_goes_on(project: Project) -> None:
    project.recipe("demo", LEAKY)

    with running(project, "run", "demo:Leaky", "--small", "--end", "well", environ=_environ(), fresh=True) as process:
        read = read_until(process, "said all")
        command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        seen: dict[str, str | bytes] = {
            "disk": _written(project),
            "command line": command_line,
            "reading": _read(project, *READING),
        }
        files = {path.name for path in project.journal.parent.iterdir()}
        open_gate(project, "go")
        done = finish(process)

    assert {"journal.db", "journal.db-wal", "journal.db-shm"} <= files
    assert command_line.endswith(b"\0run\0demo:Leaky\0--small\0--end\0well\0")
    assert {where: found(SECRET, text) for where, text in seen.items()} == {
        "disk": [],
        "command line": [],
        "reading": [],
    }
    assert (done.code, found(SECRET, read + _told(done)), found(SECRET, _written(project))) == (0, [], [])


def test_a_run_that_goes_on_is_watched_without_its_secret(project: Project) -> None:
    project.recipe("demo", LEAKY)

    with running(project, "run", "demo:Leaky", "--small", "--end", "raising", environ=_environ()) as process:
        read_until(process, "said all")
        with running(project, "watch", "--progress", "plain") as watching:
            read = read_until(watching, "said all")
            open_gate(project, "go")
            watched = finish(watching)
        finish(process)

    assert (watched.code, found(SECRET, read + _told(watched))) == (1, [])


def test_a_secret_from_a_file_is_seen_nowhere(project: Project) -> None:
    project.recipe("demo", LEAKY)
    (project.root / "secret.txt").write_text(f"{SECRET}\n")
    arguments = ("run", "demo:Leaky", "--small", "--token-file", "secret.txt", "--end", "raising")

    with running(project, *arguments, fresh=True) as process:
        read = read_until(process, "said all")
        disk = _written(project)
        command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        open_gate(project, "go")
        done = finish(process)
    told = _read(project, *READING, *WATCHING)

    assert (done.code, found(SECRET, read + _told(done)), found(SECRET, told)) == (1, [], [])
    assert (found(SECRET, disk), found(SECRET, _written(project)), found(SECRET, command_line)) == ([], [], [])


def test_a_secret_typed_at_a_hidden_prompt_is_seen_nowhere(project: Project) -> None:
    project.recipe("demo", LEAKY)

    with _terminal(project, "run", "demo:Leaky", "--small", "--end", "raising") as terminal:
        terminal.wait_for("token:")
        terminal.send(f"{SECRET}\n".encode())
        terminal.wait_until((project.root / "said").exists)
        disk = _written(project)
        open_gate(project, "go")
        code = terminal.wait()
    told = _read(project, *READING, *WATCHING)

    assert (code, terminal.lines[0], found(SECRET, terminal.raw)) == (1, "token:", [])
    assert (found(SECRET, disk), found(SECRET, _written(project)), found(SECRET, told)) == ([], [], [])


def test_what_was_masked_is_three_stars_and_the_rest_is_as_it_was_said(project: Project) -> None:
    project.recipe(
        "demo",
        """
import base64, logging, sys, warnings

class Say(LiveOperation):
    token: Secret
    label: str = ""

    def run(self, p: Progress) -> None:
        secret = self.token.reveal()
        print("one", secret[:3], end="", sep=" ")
        print(secret[3:], "two")
        sys.stdout.write("x" * 65530 + secret[:8])
        print(secret[8:] + "|")
        p.log(f"{secret}\\n{secret}{secret}\\n\\nlast")
        for part in (b"by", b"tes ", secret[:5].encode(), secret[5:].encode(), b" end\\n"):
            sys.stdout.buffer.write(part)
        logging.getLogger("client").warning("%s!", secret)
        print("Basic", base64.b64encode(f"user:{secret}".encode()).decode())
        p.log(self.label)
        with p.stage(f"block {secret}"):
            p.result({secret: [secret, {"in": f"<{secret}>"}]}, value=secret)
        p.error(f"no: {secret}")
""",
    )

    done = project.stagerun(
        "run", "demo:Say", environ={"STAGERUN_TOKEN": "hunter2-token", "STAGERUN_LABEL": "of hunter2-token"}
    )
    lines = logged(project, 1)

    # Where the line was broken is not said: only that it was, and that nothing but the secret is gone.
    broken = "".join(map(str, lines[1:3]))
    assert (done.code, lines[:1], broken, lines[3:]) == (
        1,
        ["one *** two"],
        "x" * 65530 + "***|",
        ["***", "******", "", "last", "bytes *** end", "***!", "Basic dXNlcjp***", "of ***"],
    )
    told = timeless(done.out).splitlines()
    assert told[-7:] == [
        "=== block *** ===",
        "--- block ***: done in 0.0s",
        "error: no: ***",
        '***=["***",{"in":"<***>"}]',
        "value=***",
        "run 1 failed after 0.0s",
        "resume with: stagerun resume 1",
    ]
    ((params, result, error),) = rows(project, "SELECT params, result_context, error FROM runs")
    assert json.loads(str(params)) == {"token": "***", "label": "***"}
    assert json.loads(str(result)) == {"***": ["***", {"in": "<***>"}], "value": "***"}
    assert json.loads(str(error))["message"] == "no: ***"


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (65_530, "x" * 65_530 + "***"),
        (65_533, "x" * 65_533 + "***"),
        (65_535, "x" * 65_535 + "* [... 2 characters cut]"),
        (65_536, "x" * 65_536 + " [... 3 characters cut]"),
    ],
)
def test_a_line_or_a_status_that_is_too_long_is_cut_after_the_secret_is_out_of_it(
    project: Project, before: int, told: str
) -> None:
    body = f'p.status("x" * {before} + secret); p.log("x" * {before} + secret)'
    project.recipe("demo", SAYING.format(body=body))

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": "hunter2-correct-horse"})

    assert (done.code, rows(project, "SELECT status_text FROM runs")) == (0, [(told,)])
    assert logged(project, 1) == [told]


def test_a_run_without_secrets_has_nothing_masked(project: Project) -> None:
    project.recipe(
        "demo",
        """
class Say(LiveOperation):
    token: Secret | None = None

    def run(self, p: Progress) -> None:
        print("None *** null", self.token)
        p.result(value="None", none=None)
""",
    )

    done = project.stagerun("run", "demo:Say")

    assert (done.code, done.err, logged(project, 1)) == (0, "", ["None *** null None"])
    assert rows(project, "SELECT params, result_context FROM runs") == [
        ('{"token":null}', '{"value":"None","none":null}')
    ]


# --- secrets of several lines, short ones, those that are no UTF-8


MULTILINE = r"""
import base64, json, sys

class Say(LiveOperation):
    token: Secret
    end: str = ""

    def run(self, p: Progress) -> None:
        secret = self.token.reveal()
        print(secret)
        print("  " + secret.replace("\n", "\n  "))
        p.log(secret)
        p.log(secret.replace("\n", "\r\n"))
        p.status(secret)
        for line in secret.splitlines():
            print("line", line)
            p.log(f"line {line}")
        sys.stdout.buffer.write(secret.encode())
        print(json.dumps({"key": secret}), repr(secret), secret.encode())
        print(base64.b64encode(secret.encode()).decode(), base64.b64encode(b"key:" + secret.encode()).decode())
        p.result(key=secret, quoted=json.dumps(secret), lines=secret.splitlines())
        with p.stage(secret):
            error = ValueError(secret)
            error.add_note(secret)
            raise ExceptionGroup(secret, [error])
"""


@pytest.mark.parametrize("mode", ["plain", "json", "quiet"])
def test_no_line_of_a_secret_of_several_lines_is_seen(project: Project, mode: str) -> None:
    project.recipe("demo", MULTILINE)
    (project.root / "key.pem").write_text(PEM)

    done = project.stagerun("run", "demo:Say", "--token-file", "key.pem", "--progress", mode)
    told = _read(project, *READING, *WATCHING)

    assert done.code == 1
    assert (found(PEM, _told(done)), found(PEM, told), found(PEM, _written(project))) == ([], [], [])


def test_a_secret_of_several_lines_in_the_environment_keeps_its_line_ends(project: Project) -> None:
    project.recipe("demo", MULTILINE)

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": PEM})

    assert logged(project, 1)[:6] == ["***"] * 6
    assert (done.code, found(PEM, _told(done)), found(PEM, _written(project))) == (1, [], [])


def test_a_secret_of_several_lines_that_is_logged_as_one_text_is_one_line(project: Project) -> None:
    project.recipe("demo", SAYING.format(body='p.log(f"<{secret}>")'))

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": "first line\nx9\nlast line"})

    warning = "secret 'token' has a line of fewer than 4 characters: it is not masked"
    assert (done.code, logged(project, 1)) == (0, [warning, "<***>"])


def test_short_lines_of_a_secret_are_masked_or_warned_of(project: Project) -> None:
    project.recipe(
        "demo",
        "class Say(LiveOperation):\n    token: Secret\n    def run(self, p):\n        print(self.token.reveal())",
    )

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": "q7\nx9z\nk4\nw8y"})

    assert "x9z" not in done.out or "it is not masked" in done.out


def test_a_secret_that_is_too_short_is_warned_of_once_and_not_masked(project: Project) -> None:
    project.recipe(
        "demo",
        """
class Say(LiveOperation):
    stages = ["Load", "Save"]
    token: Secret
    other: Secret | None = None

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.log(f"{self.token.reveal()} in abcabc")
        with p.stage("Save"):
            p.log(f"{self.token.reveal()} {self.other.reveal()}")
""",
    )

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": "abc", "STAGERUN_OTHER": "long-enough"})

    text = "secret 'token' has fewer than 4 characters: it is not masked"
    assert (done.code, done.err, done.out.count(text)) == (0, "", 1)
    assert logged(project, 1) == [text, "abc in abcabc", "abc ***"]
    assert done.out.splitlines()[1] == f"warning: {text}"


def test_a_secret_that_is_not_utf_8_is_seen_nowhere(project: Project) -> None:
    project.recipe(
        "demo",
        r"""
import os, sys

class Say(LiveOperation):
    token: Secret
    label: str = ""

    def run(self, p: Progress) -> None:
        secret = self.token.reveal()
        print(secret, os.environb[b"STAGERUN_TOKEN"])
        sys.stdout.buffer.write(os.environb[b"STAGERUN_TOKEN"] + b"\n")
        p.status(secret)
        p.result(value=secret, name=self.label)
        raise ValueError(secret)
""",
    )
    secret = b"caf\xe9-token".decode("utf-8", "surrogateescape")

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": secret, "STAGERUN_LABEL": secret})
    told = (_told(done), _read(project, *READING, *WATCHING), _written(project).decode("utf-8", "replace"))

    assert done.code == 1
    assert [re.findall(r"caf[^ ]*-token", each) for each in told] == [[], [], []]


# --- checkpoints: what must come back exactly can't be masked, so it is refused


CHECKPOINT = """
import base64, json

class Store(LiveOperation):
    stages = ["Load"]
    token: Secret

    def run(self, p: Progress) -> None:
        secret = self.token.reveal()
        p.checkpoint("before", lambda: "fine")
        with p.stage("Load"):
            {body}
"""
VALUE_REFUSED = "checkpoint 'login' contains a secret, which the journal must not store"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('p.checkpoint("login", lambda: secret)', VALUE_REFUSED),
        ('p.checkpoint("login", lambda: {"deep": [{"in": f"user:{secret}"}]})', VALUE_REFUSED),
        ('p.checkpoint("login", lambda: {secret: 1})', VALUE_REFUSED),
        ('p.checkpoint("login", lambda: json.dumps({"token": secret}))', VALUE_REFUSED),
        ('p.checkpoint("login", lambda: repr([secret]))', VALUE_REFUSED),
        ('p.checkpoint("login", lambda: base64.b64encode(f"user:{secret}".encode()).decode())', VALUE_REFUSED),
        ('p.checkpoint("login", lambda: (secret, 1), type=tuple[str, int])', VALUE_REFUSED),
        ('p.checkpoint("login", lambda: secret.encode(), type=bytes)', VALUE_REFUSED),
        (
            "p.checkpoint(secret, lambda: 1)",
            "the key of p.checkpoint contains a secret, which the journal must not store",
        ),
        (
            'p.checkpoint(f"login {secret}", lambda: 1)',
            "the key of p.checkpoint contains a secret, which the journal must not store",
        ),
        ("list(p.track([1, 2], key=secret))", "the key of p.track contains a secret, which the journal must not store"),
    ],
)
def test_a_checkpoint_that_holds_a_secret_is_refused_and_nothing_is_stored(
    project: Project, body: str, message: str
) -> None:
    project.recipe("demo", CHECKPOINT.format(body=body))

    done = project.stagerun("run", "demo:Store", environ={"STAGERUN_TOKEN": SECRET})
    status = json.loads(project.stagerun("status", "--json").out)

    assert (done.code, status["state"]) == (1, "failed")
    assert {name: status["error"][name] for name in ("type", "message", "stage")} == {
        "type": "RecipeError",
        "message": message,
        "stage": "Load",
    }
    assert rows(project, "SELECT key FROM checkpoints") == [("before",)]
    assert rows(project, "SELECT json_extract(data, '$.key') FROM events WHERE kind = 'checkpoint_stored'") == [
        ("before",)
    ]
    assert (found(SECRET, _told(done)), found(SECRET, _written(project))) == ([], [])


def test_a_retried_checkpoint_says_why_without_the_secret(project: Project) -> None:
    body = 'p.checkpoint("login", self.fail, secret, attempts=2)'
    project.recipe(
        "demo",
        CHECKPOINT.format(body=body) + "\n    def fail(self, secret):\n        raise ValueError(f'refused {secret}')\n",
    )

    done = project.stagerun("run", "demo:Store", environ={"STAGERUN_TOKEN": SECRET})

    (line,) = logged(project, 1)
    assert re.sub(r"in \d\.\ds", "in 1.0s", str(line)) == (
        "checkpoint 'login': attempt 1 of 2 failed (ValueError: refused ***), trying again in 1.0s"
    )
    assert (done.code, found(SECRET, _told(done)), found(SECRET, _written(project))) == (1, [], [])


@pytest.mark.parametrize(
    "body",
    [
        'p.checkpoint("login", lambda: {("y" * 70 + secret, 1): 2})',
        'p.checkpoint("login", lambda: ["y" * 70 + secret], type=tuple[str, ...])',
    ],
)
def test_a_refused_checkpoint_shows_no_part_of_a_secret(project: Project, body: str) -> None:
    project.recipe("demo", CHECKPOINT.format(body=body))

    done = project.stagerun("run", "demo:Store", environ={"STAGERUN_TOKEN": "hunter2-correct-horse"})

    assert (done.code, "hunter2" in _told(done), b"hunter2" in _written(project)) == (1, False, False)


# --- ways out that are still open


@pytest.mark.parametrize(
    ("secret", "body"),
    [
        (SECRET, "logging.error('not %d', json.dumps({'token': secret}))"),
        (SECRET, "print([json.dumps({'token': secret})])"),
        (SECRET, "raise RuntimeError(1, json.dumps({'token': secret}))"),
        ("hunter2-token", "logging.getLogger(f'client.{secret}').info('x')"),
        ("48151623", "p.result(pin=int(secret))"),
        ("48151623", "p.result(deep=[int(secret)])"),
        ("48151623", "pass"),
    ],
    ids=[
        *("quoted in a record", "quoted in a list", "quoted in an error", "the name of a logger"),
        *("a number", "a number inside", "a number as a parameter"),
    ],
)
def test_a_secret_is_seen_nowhere_however_it_is_wrapped(project: Project, secret: str, body: str) -> None:
    project.recipe("demo", SAYING.format(body=body))
    pin = secret if secret.isdecimal() else "0"

    done = project.stagerun(
        "run", "demo:Say", "--progress", "json", environ={"STAGERUN_TOKEN": secret, "STAGERUN_PIN": pin}
    )

    told = (_told(done), _written(project))
    assert [found(secret, each) + shards(secret, each) for each in told] == [[], []]


def test_a_forced_break_does_not_part_a_secret_that_begins_with_another(project: Project) -> None:
    body = 'sys.stdout.write("x" * 65537 + secret[:4]); print(secret[4:])'
    project.recipe("demo", SAYING.format(body=body))

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": "passphrase-123", "STAGERUN_SHORT": "pass"})

    assert "phrase" not in _told(done)


@pytest.mark.soak
def test_a_forced_break_lets_out_nothing_of_a_secret_longer_than_the_limit(project: Project) -> None:
    project.recipe(
        "demo", SAYING.format(body="[sys.stdout.write(secret[n : n + 9999]) for n in range(0, len(secret), 9999)]")
    )
    secret = "".join(f"{number:05}-" for number in range(11_000))
    (project.root / "secret.txt").write_text(secret)

    done = project.stagerun("run", "demo:Say", "--token-file", "secret.txt", "--progress", "plain")

    assert "00000-00001-" not in done.out


def test_a_forced_break_says_nothing_twice_when_a_secret_is_long(project: Project) -> None:
    some = "''.join(f'{number + more:05}-' for more in range(20))"
    project.recipe("demo", SAYING.format(body=f"[sys.stdout.write({some}) for number in range(0, 11_500, 20)]"))
    (project.root / "secret.txt").write_text("".join(f"{number:05}+" for number in range(1_000)))

    project.stagerun("run", "demo:Say", "--token-file", "secret.txt")

    numbers = re.findall(r"\d{5}-", "".join(map(str, logged(project, 1))))
    assert numbers == sorted(set(numbers))


def test_a_fork_of_the_recipe_prints_no_secret(project: Project) -> None:
    body = (
        'child = multiprocessing.get_context("fork").Process(target=print, args=(f"forked {secret}",))\n'
        "        child.start()\n"
        "        child.join()"
    )
    project.recipe("demo", SAYING.format(body=body))

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": "hunter2-token"})

    assert "forked" in done.out
    assert found("hunter2-token", _told(done)) == []


def test_a_dry_run_shows_no_secret_that_another_parameter_holds(project: Project) -> None:
    project.recipe("demo", SAYING.format(body="pass"))

    done = project.stagerun(
        "run", "demo:Say", "--dry-run", environ={"STAGERUN_TOKEN": SECRET, "STAGERUN_LABEL": SECRET}
    )

    assert (done.code, found(SECRET, _told(done))) == (0, [])


def test_a_declared_stage_keeps_its_name_also_where_a_secret_is_the_same_word(project: Project) -> None:
    project.recipe("demo", SAYING.format(body='with p.stage("Load"):\n            raise ValueError("boom")'))

    done = project.stagerun("run", "demo:Say", environ={"STAGERUN_TOKEN": "Load"})

    assert timeless(done.out).splitlines()[-2] == "run 1 failed in [1/1] Load after 0.0s"


def test_a_parameter_named_as_the_option_of_a_secret_is_refused(project: Project) -> None:
    source = "class Say(LiveOperation):\n    token: Secret\n    token_file: str = ''\n    def run(self, p): ..."
    project.recipe("demo", source)
    (project.root / "secret.txt").write_text("hunter2-token")

    done = project.stagerun("run", "demo:Say", "--token-file", "secret.txt")

    assert (done.code, done.err.startswith("stagerun: Say: parameter 'token_file' ")) == (3, True)


# --- resume


PUSH = """
from pathlib import Path

class Push(LiveOperation):
    stages = ["Load", "Push"]
    token: Secret
    label: str = ""

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.checkpoint("rows", lambda: 3)
        with p.stage("Push"):
            if not Path("mended").exists():
                raise ValueError(f"refused: {self.token.reveal()}")
        p.result(same=self.token.reveal() == Path("wanted").read_text(), label=self.label)
"""
AGAIN = "swordfish~>?/+é"


@pytest.fixture
def failed(project: Project) -> Project:
    """A project whose run 1 has failed with a secret, and whose next run needs another one to succeed."""
    project.recipe("demo", PUSH)
    assert project.stagerun("run", "demo:Push", environ={"STAGERUN_TOKEN": SECRET}).code == 1
    (project.root / "mended").touch()
    (project.root / "wanted").write_text(AGAIN)
    (project.root / "secret.txt").write_text(f"{AGAIN}\n")
    return project


def _states(project: Project) -> list[tuple[object, ...]]:
    return rows(project, "SELECT id, state, result_context FROM runs ORDER BY id")


RESUMED = [(1, "failed", None), (2, "succeeded", '{"same":true,"label":""}')]
UNTOUCHED = RESUMED[:1]
PLAN = [
    "resuming run 1: demo:Push, failed in [2/2] Push AGO",
    "  reused:      checkpoint rows",
    "  runs again:  [1/2] Load (was done), [2/2] Push, and whatever has no step or key",
]


def _plan(done: Done) -> list[str]:
    return [re.sub(r"(just now|\d+ s ago)$", "AGO", line) for line in done.out.splitlines()]


def test_a_resume_takes_the_secret_from_the_environment_again(failed: Project) -> None:
    environ = {"STAGERUN_TOKEN": AGAIN}

    plan = failed.stagerun("resume", "--dry-run", environ=environ)
    done = failed.stagerun("resume", environ=environ)

    assert (plan.code, plan.err, _plan(plan)) == (0, "", PLAN)
    assert (done.code, done.err, _plan(done)[:3], _states(failed)) == (0, "", PLAN, RESUMED)
    assert (found(AGAIN, _written(failed)), found(SECRET, _written(failed))) == ([], [])


def test_a_resume_takes_the_secret_from_a_file_and_does_not_call_it_changed(failed: Project) -> None:
    arguments = ("resume", "--set-file", "token=secret.txt")

    plan = failed.stagerun(*arguments, "--dry-run")
    done = failed.stagerun(*arguments)

    assert _plan(plan) == PLAN
    assert (done.code, _states(failed), found(AGAIN, _told(done)), found(AGAIN, _written(failed))) == (
        0,
        RESUMED,
        [],
        [],
    )


def test_a_resume_asks_for_the_secret_at_a_terminal(failed: Project) -> None:
    with _terminal(failed, "resume") as terminal:
        terminal.wait_for("token:")
        terminal.send(f"{AGAIN}\n".encode())
        code = terminal.wait()

    assert (code, _states(failed), found(AGAIN, terminal.raw), found(AGAIN, _written(failed))) == (0, RESUMED, [], [])


def test_a_resume_without_the_secret_says_how_to_give_it(failed: Project) -> None:
    done = failed.stagerun("resume")

    assert (done.code, done.out, _states(failed)) == (2, "", UNTOUCHED)
    assert done.err == (
        "stagerun: the secret 'token' is missing: it is never stored\n"
        "  set STAGERUN_TOKEN, or give --set-file token=PATH\n"
    )


NO_OPTION = (
    "stagerun: no such option '--token'. (Did you mean one of: '--json', '--on'?)\n  see 'stagerun resume --help'\n"
)
NOT_BY_SET = (
    "stagerun: 'token' is a secret and can't be given on the command line\n"
    "  set STAGERUN_TOKEN, or give --set-file token=PATH\n"
)
NOT_BY_OPTION = NOT_BY_SET.replace("--set-file token=PATH", "--token-file PATH")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--token", AGAIN), NO_OPTION),
        ((f"--token={AGAIN}",), NO_OPTION),
        (
            ("--set", f"token={AGAIN}"),
            NOT_BY_SET,
        ),
        (
            (f"--set= token ={AGAIN}",),
            NOT_BY_SET,
        ),
    ],
)
def test_a_resume_refuses_a_secret_on_the_command_line_and_does_not_repeat_it(
    failed: Project, arguments: tuple[str, ...], message: str
) -> None:
    done = failed.stagerun("resume", *arguments, environ={"STAGERUN_TOKEN": AGAIN})

    assert (done.code, done.out, done.err, _states(failed)) == (2, "", message, UNTOUCHED)


@pytest.mark.parametrize("arguments", [("--token", AGAIN), (f"--token={AGAIN}",), ("--owner", "bob", "--token", AGAIN)])
def test_a_run_refuses_a_secret_on_the_command_line_and_does_not_repeat_it(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.recipe("demo", PUSH)

    done = project.stagerun("run", "demo:Push", *arguments)

    assert (done.code, done.out, done.err, project.journal.exists()) == (
        2,
        "",
        NOT_BY_OPTION,
        False,
    )


def test_a_parameter_that_held_the_secret_has_to_be_given_again(project: Project) -> None:
    project.recipe("demo", PUSH)
    environ = {"STAGERUN_TOKEN": SECRET, "STAGERUN_LABEL": f"of {SECRET}"}
    assert project.stagerun("run", "demo:Push", environ=environ).code == 1
    (project.root / "mended").touch()
    (project.root / "wanted").write_text(SECRET)

    without = project.stagerun("resume", environ={"STAGERUN_TOKEN": SECRET})
    assert (without.code, without.out, _states(project)) == (2, "", UNTOUCHED)
    assert without.err.splitlines()[0] == "stagerun: the parameter 'label' held a secret and was not stored"
    assert "--set-file label=PATH" in without.err
    assert found(SECRET, _told(without)) == []

    (project.root / "label.txt").write_text(f"of {SECRET}\n")
    done = project.stagerun("resume", "--set-file", "label=label.txt", environ={"STAGERUN_TOKEN": SECRET})
    assert (done.code, _states(project)[1:]) == (0, [(2, "succeeded", '{"same":true,"label":"of ***"}')])
    assert (found(SECRET, _told(done)), found(SECRET, _written(project))) == ([], [])


def test_a_parameter_that_only_looks_masked_is_kept(failed: Project) -> None:
    failed.recipe("demo", PUSH.replace('label: str = ""', 'label: str = "logs/***/*.txt"'))
    (failed.root / "mended").unlink()
    assert failed.stagerun("run", "demo:Push", environ={"STAGERUN_TOKEN": AGAIN}).code == 1
    (failed.root / "mended").touch()

    done = failed.stagerun("resume", environ={"STAGERUN_TOKEN": AGAIN})

    assert (done.code, done.err) == (0, "")


# --- a CI system is told the secret, and keeps it


@pytest.mark.parametrize("times", [(), ("--timestamps",)])
def test_github_is_told_the_secret_in_the_first_line_of_a_pipe_and_in_no_other(
    project: Project, times: tuple[str, ...]
) -> None:
    project.recipe("demo", LEAKY)
    open_gate(project, "go")

    arguments = ("run", "demo:Leaky", "--small", "--end", "raising", "--ci", "github", *times)
    done = project.stagerun(*arguments, environ=_environ())
    first, rest = done.out.split("\n", 1)

    assert (done.code, first) == (1, f"::add-mask::{SECRET.replace('%', '%25')}")
    assert (rest.count("add-mask"), found(SECRET, rest), found(SECRET, done.err)) == (0, [], [])
    assert found(SECRET, _written(project)) == []


def test_github_is_told_the_secret_of_a_chained_run_before_that_run_says_anything(project: Project) -> None:
    project.recipe("demo", LEAKY)
    (project.root / "made").write_text(MADE)
    open_gate(project, "go")

    arguments = ("run", "demo:Leaky", "--small", "--end", "chained", "--ci", "github")
    done = project.stagerun(*arguments, environ=_environ())
    lines = done.out.split("\n")

    told = [number for number, line in enumerate(lines) if line.startswith("::add-mask::")]
    assert [lines[number] for number in told] == [f"::add-mask::{SECRET.replace('%', '%25')}", f"::add-mask::{MADE}"]
    assert lines[told[1] + 1].startswith("run 2 · demo:Next · chained from run 1")
    rest = "\n".join(line for number, line in enumerate(lines) if number not in told)
    assert (told[0], found(SECRET, rest), found(MADE, rest)) == (0, [], [])


@pytest.mark.parametrize(
    ("system", "mode"),
    [
        *(("github", mode) for mode in ("json", "quiet")),
        *((system, "plain") for system in ("gitlab", "buildkite", "teamcity", "other", "none")),
    ],
)
def test_no_secret_is_told_where_no_line_could_need_it_or_nobody_would_mask_it(
    project: Project, system: str, mode: str
) -> None:
    project.recipe("demo", LEAKY)
    open_gate(project, "go")
    arguments = ("run", "demo:Leaky", "--small", "--end", "raising", "--ci", system, "--progress", mode)

    done = project.stagerun(*arguments, environ=_environ())

    assert (done.code, "add-mask" in done.out, found(SECRET, _told(done))) == (1, False, [])


@pytest.mark.parametrize("system", ["github", "azure"])
def test_no_system_is_told_the_secret_through_a_file_that_would_keep_it(project: Project, system: str) -> None:
    project.recipe("demo", LEAKY)
    open_gate(project, "go")
    log = project.root / "run.log"

    arguments = ("run", "demo:Leaky", "--small", "--end", "raising", "--ci", system)
    with log.open("wb") as stream, project.start(*arguments, environ=_environ(), stdout=stream.fileno()) as process:
        _, err = process.communicate(timeout=60)

    data = log.read_bytes()
    told = (found(SECRET, data), b"add-mask" in data, b"setsecret" in data)
    assert (process.wait(), err, told) == (1, "", ([], False, False))
    assert b"***" in data


def test_a_summary_that_github_keeps_holds_no_secret(project: Project) -> None:
    project.recipe("demo", LEAKY)
    (project.root / "made").write_text(MADE)
    open_gate(project, "go")
    summary = project.root / "summary.md"
    environ = {**_environ(), "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}

    done = project.stagerun("run", "demo:Leaky", "--small", "--end", "chained", environ=environ)

    data = summary.read_bytes()
    assert (done.code, found(SECRET, data), found(MADE, data), b"***" in data) == (1, [], [], True)


@pytest.mark.parametrize(
    ("system", "told"),
    [
        ("github", ["::add-mask::" + PEM.replace("\n", "%0A")]),
        ("azure", [f"##vso[task.setsecret]{line}" for line in PEM.splitlines()]),
    ],
)
def test_a_system_is_told_a_secret_of_several_lines_as_it_takes_it(
    project: Project, system: str, told: list[str]
) -> None:
    project.recipe("demo", MULTILINE)

    done = project.stagerun("run", "demo:Say", "--ci", system, environ={"STAGERUN_TOKEN": PEM})
    lines = done.out.split("\n")

    assert lines[: len(told)] == told
    assert (found(PEM, "\n".join(lines[len(told) :])), found(PEM, done.err)) == ([], [])
