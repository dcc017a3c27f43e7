"""How programs of a run end: with a run that does not succeed, however they hide, and no other process with them."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from textwrap import indent

import psutil
import pytest

from tests.conftest import STAGERUN, Project
from tests.processes import GATE, finish, logged, look, open_gate, read_until, running, until
from tests.terminal import Terminal


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks for what only Linux can do")

# Programs for the recipes, each in a file of its own.
SCRIPTS = {
    # Starts others, each in its own way, and writes down who they are once all are there.
    # With "leave" as its first word it then ends, and none of them has its output.
    "tree": """
import json, os, signal, sys
import psutil

def wait():
    while True:
        signal.pause()

def note(kind):
    with open(f"{kind}.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{kind}.new", f"{kind}.pid")

def start(kind):
    if middle := os.fork():
        if kind in ("daemon", "orphan"):
            os.waitpid(middle, 0)
        return
    if leave:
        for descriptor in range(3):
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    if kind in ("setsid", "daemon"):
        os.setsid()
    if kind in ("daemon", "orphan") and os.fork():
        os._exit(0)
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(kind)
    if kind == "daemon":
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    if kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    wait()

leave, kinds = sys.argv[1] == "leave", sys.argv[2:]
for kind in kinds:
    start(kind)
while not all(os.path.exists(f"{kind}.pid") for kind in kinds):
    pass
members = {kind: psutil.Process(int(open(f"{kind}.pid").read())) for kind in kinds}
while "stopped" in kinds and members["stopped"].status() != psutil.STATUS_STOPPED:
    pass
members["leader"] = psutil.Process()
with open("tree.new", "w") as file:
    json.dump({kind: [process.pid, process.create_time()] for kind, process in members.items()}, file)
os.rename("tree.new", "tree.json")
if not leave:
    wait()
""",
    # Takes two seconds to clean up after a SIGTERM.
    "slow": """
import os, pathlib, signal, time

def clean(*_):
    pathlib.Path("told").touch()
    time.sleep(2)
    pathlib.Path("cleaned").touch()
    os._exit(0)

signal.signal(signal.SIGTERM, clean)
pathlib.Path("slow.new").write_text(str(os.getpid()))
os.rename("slow.new", "slow.pid")
while True:
    signal.pause()
""",
    # Says good-bye for a second.
    "talks": """
import signal, sys, time

def bye(*_):
    for number in range(5):
        print("bye", number)
        time.sleep(0.2)
    sys.exit()

signal.signal(signal.SIGTERM, bye)
print("ready")
signal.pause()
""",
    "hurries": """
import os, signal

def bye(*_):
    os.write(1, b"bye\\n")
    os._exit(0)

signal.signal(signal.SIGTERM, bye)
os.write(1, b"ready\\n")
signal.pause()
""",
    # Writes, when it is told to end, whether the other one is still there.
    "first": """
import os, pathlib, signal

def told(*_):
    other = pathlib.Path("second.pid").read_text()
    pathlib.Path("other-lives").write_text(str(pathlib.Path("/proc", other).exists()))
    os._exit(0)

signal.signal(signal.SIGTERM, told)
pathlib.Path("first.pid").write_text(str(os.getpid()))
signal.pause()
""",
    "second": """
import os, pathlib, signal, time

def told(*_):
    time.sleep(1)
    os._exit(0)

signal.signal(signal.SIGTERM, told)
pathlib.Path("second.new").write_text(str(os.getpid()))
os.rename("second.new", "second.pid")
signal.pause()
""",
    # Outlives for a moment what it started.
    "outlives": """
import os, signal, time

def told(*_):
    time.sleep(0.5)
    os._exit(0)

signal.signal(signal.SIGTERM, told)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
print("ready")
signal.pause()
""",
    "asks": """
import os, time

print(*(os.isatty(descriptor) for descriptor in range(3)), os.tcgetpgrp(0) == os.getpgrp())
print("begin", end="", flush=True)
time.sleep(0.5)
print("end", flush=True)
print("hello", input("name? "))
""",
    "handles": """
try:
    print("ready", flush=True)
    while True:
        pass
except KeyboardInterrupt:
    print("the program was interrupted")
""",
}

MILD = ["same", "setsid", "stopped", "daemon", "orphan"]
FULL = [*MILD, "stubborn"]

HEAD = (
    GATE
    + """
import subprocess, sys, threading

def script(name, *arguments):
    return [sys.executable, f"{name}.py", *arguments]

def tree(*kinds):
    return script("tree", "stay", *kinds)

def leaving(*kinds):
    return script("tree", "leave", *kinds)

def in_background(command):
    return ["sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *command]

def interrupt():
    os.kill(os.getpid(), signal.SIGTERM)

def when(function, act, calls=1):
    # A moment that can't be hit from outside: that call of a function that looks after processes.
    from stagerun.programs.process_tree import ProcessTree
    looked_for = getattr(ProcessTree, function).__code__
    def look(frame, event, argument):
        nonlocal calls
        if event == "call" and frame.f_code is looked_for:
            calls -= 1
            if not calls:
                sys.setprofile(None)
                act()
    sys.setprofile(look)
"""
)

Members = Mapping[str, tuple[int, float]]  # who: pid, when it was created


@contextmanager
def program(project: Project, body: str, *stages: str) -> Iterator[None]:
    """Write a recipe that does `body`; kill what is left of it in the end."""
    for name, source in SCRIPTS.items():
        (project.root / f"{name}.py").write_text(source)
    run = indent(body.strip("\n"), " " * 8)
    project.recipe("demo", f"{HEAD}\nclass Demo(LiveOperation):\n    stages = {stages}\n    def run(self, p):\n{run}\n")
    try:
        yield
    finally:
        for file in project.root.glob("*.pid"):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)


def pid_of(project: Project, name: str) -> int:
    return int((project.root / f"{name}.pid").read_text())


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def members(project: Project) -> Members:
    told: dict[str, list[float]] = json.loads((project.root / "tree.json").read_text())
    return {kind: (int(pid), created) for kind, (pid, created) in told.items()}


def survivors(tree: Members) -> list[str]:
    """Return those that stay alive: on a busy machine who was sent SIGKILL dies a moment later."""
    deadline = time.monotonic() + 3
    while (left := _alive(tree)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _alive(tree: Members) -> list[str]:
    """Return those that are alive now: the same processes, not others that were given their numbers."""
    left = []
    for kind, (pid, created) in tree.items():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                left.append(kind)
    return left


@dataclass(frozen=True)
class Way:
    """A way in which a run ends.

    Attributes:
        body: what the recipe does; KINDS stands for the members of the tree, LIMIT for a number of seconds.
        code: the exit code of the command.
        send: the signal to send once the tree is there, or None.
        options: of the command.

    """

    name: str
    body: str
    code: int
    send: int | None = None
    options: tuple[str, ...] = field(default=())

    def once(self, project: Project, kinds: list[str]) -> tuple[int, Members]:
        """Run to the end; return the exit code and who was there."""
        done = None
        for limit in (0.35 * 2**attempt for attempt in range(8)):
            for file in (*project.root.glob("*.pid"), *project.root.glob("tree.json")):
                file.unlink()
            body = self.body.replace("KINDS", ", ".join(map(repr, kinds))).replace("LIMIT", str(limit))
            with program(project, body):
                options = [option.replace("LIMIT", str(limit)) for option in self.options]
                with running(project, "run", *options, "demo") as process:
                    if self.send is not None:
                        until(lambda: (project.root / "tree.json").exists() or process.poll() is not None)
                        process.send_signal(self.send)
                    done = finish(process)
                if (project.root / "tree.json").exists():  # else the time was over before all were there
                    tree = members(project)
                    left = survivors(tree)
                    assert left == [], done
                    assert done.err == ""
                    return done.code, tree
        raise AssertionError(done)


WAYS = [
    Way("SIGINT", "p.sh(tree(KINDS))", -signal.SIGINT, signal.SIGINT),
    Way("SIGTERM", "p.sh(tree(KINDS))", -signal.SIGTERM, signal.SIGTERM),
    Way("SIGHUP", "p.sh(tree(KINDS))", -signal.SIGHUP, signal.SIGHUP),
    Way("stage timeout", "with p.stage('One', timeout=LIMIT):\n    p.sh(tree(KINDS))", 124),
    Way("run timeout", "p.sh(tree(KINDS))", 124, options=("--timeout", "LIMIT")),
    Way("timeout of p.sh", "p.sh(tree(KINDS), timeout=LIMIT)", 1),
    Way("error elsewhere", "p.sh(leaving(KINDS))\nraise ValueError", 1),
    Way("exit elsewhere", "p.sh(leaving(KINDS))\nsys.exit(3)", 3),
    Way("signal elsewhere", "p.sh(leaving(KINDS))\ngate('never')", -signal.SIGTERM, signal.SIGTERM),
    Way("p.error", "p.sh(leaving(KINDS))\np.error('no good')", 1),
    Way("in a map", "p.map(lambda kinds: p.sh(tree(*kinds)), [[KINDS]])", -signal.SIGINT, signal.SIGINT),
    Way(
        "in a thread",
        "threading.Thread(target=lambda: p.sh(tree(KINDS)), daemon=True).start()\ngate('never')",
        -signal.SIGTERM,
        signal.SIGTERM,
    ),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_of_a_tree_that_would_hide_nobody_survives_a_run_that_does_not_succeed(project: Project, way: Way) -> None:
    code, tree = way.once(project, MILD)

    assert (code, set(tree)) == (way.code, {*MILD, "leader"})


@pytest.mark.parametrize("way", [WAYS[1], WAYS[6]], ids=lambda way: way.name)
def test_who_ignores_sigterm_is_killed_after_the_grace(project: Project, way: Way) -> None:
    code, tree = way.once(project, FULL)

    assert (code, set(tree)) == (way.code, {*FULL, "leader"})


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_in_two_hundred_rounds_nobody_of_the_whole_tree_survives(project: Project) -> None:
    ways = [WAYS[number % len(WAYS)] for number in range(200)]

    assert [way.once(project, FULL)[0] for way in ways] == [way.code for way in ways]


def test_a_time_limit_that_the_recipe_handles_ends_the_tree_and_the_run_goes_on(project: Project) -> None:
    body = """
from stagerun import ChildFailed
try:
    p.sh(tree('same', 'setsid', 'daemon', 'orphan', 'stopped'), timeout=1)
except ChildFailed as error:
    p.log(error.returncode)
gate("looked")
"""
    with program(project, body), running(project, "run", "demo") as process:
        read_until(process, "None")
        left = survivors(members(project))
        open_gate(project, "looked")
        assert finish(process).code == 0

    assert left == []


def test_a_program_has_five_seconds_to_clean_up(project: Project) -> None:
    with program(project, "p.sh(script('slow'))"), running(project, "run", "demo") as process:
        until((project.root / "slow.pid").exists)
        process.send_signal(signal.SIGTERM)
        done = finish(process)

    assert (done.code, (project.root / "cleaned").exists()) == (-signal.SIGTERM, True)


@pytest.mark.parametrize(
    "body",
    ["p.sh(script('slow'))", "p.sh(in_background(script('slow')))\ngate('never')"],
    ids=["in p.sh", "elsewhere"],
)
def test_a_second_signal_ends_the_grace(project: Project, body: str) -> None:
    with program(project, body), running(project, "run", "demo") as process:
        until((project.root / "slow.pid").exists)
        process.send_signal(signal.SIGTERM)
        until((project.root / "told").exists)
        process.send_signal(signal.SIGINT)
        done = finish(process)
        left = is_alive(pid_of(project, "slow"))

    assert (done.code, (project.root / "cleaned").exists(), left) == (-signal.SIGINT, False, False)


def test_what_a_program_writes_while_it_is_ended_is_told(project: Project) -> None:
    with program(project, "p.sh(script('talks'))"), running(project, "run", "demo") as process:
        read_until(process, "ready")
        process.send_signal(signal.SIGTERM)
        finish(process)

    assert [line for line in logged(project, 1) if str(line).startswith("bye")] == [f"bye {n}" for n in range(5)]


def test_programs_run_while_a_cancel_is_cleaned_up(project: Project) -> None:
    body = """
try:
    p.log("ready")
    gate("never")
finally:
    p.sh("echo cleaned")
"""
    with program(project, body), running(project, "run", "demo") as process:
        read_until(process, "ready")
        process.send_signal(signal.SIGTERM)
        done = finish(process)

    assert (done.code, logged(project, 1)) == (-signal.SIGTERM, ["ready", "$ echo cleaned", "cleaned"])


# --- the end of stagerun itself


@on_linux
def test_when_stagerun_is_killed_the_program_that_it_runs_gets_sigterm(project: Project) -> None:
    with program(project, "p.sh(script('slow'))"), running(project, "run", "demo") as process:
        until((project.root / "slow.pid").exists)
        process.kill()
        process.wait()

        until((project.root / "told").exists)


# --- which processes are left alone


def test_a_run_that_succeeds_leaves_what_it_started_alone(project: Project) -> None:
    with program(project, f"p.sh(leaving(*{FULL}))"):
        done = project.stagerun("run", "demo")
        left = survivors(members(project))

    assert (done.code, done.err, sorted(left)) == (0, "", sorted(FULL))


_LIMITED = "\ntry:\n    p.sh('sleep 1000', timeout=0.1)\nexcept Exception:\n    pass"
TO_THE_END = [
    *((f"p.sh(leaving('own'))\n{ending}", 0, ["own"]) for ending in ("", "sys.exit()", "sys.exit(0)", "return")),
    ("p.sh(leaving('own'))\nif not (fork := os.fork()):\n    raise ValueError\nos.waitpid(fork, 0)", 0, ["own"]),
    ("p.sh(leaving('own'))\nwhen('alive', interrupt)\nraise ValueError", -signal.SIGTERM, []),
    ("p.sh(leaving('own'))\nwhen('alive', interrupt)\ninterrupt()", -signal.SIGTERM, []),
    (
        "p.sh(leaving('own'))\ntry:\n    interrupt(); time.sleep(5)\nexcept BaseException:\n    pass",
        -signal.SIGTERM,
        [],
    ),
    (
        "p.sh(leaving('own'))\ntry:\n    with p.stage('One', timeout=0.1): time.sleep(5)\nexcept BaseException: pass",
        124,
        [],
    ),
    pytest.param(
        "import resource\np.sh(leaving('own'))\nresource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\nfiles = []\n"
        "while True:\n    files.append(open(os.devnull))",
        1,
        [],
        marks=on_linux,
    ),
    pytest.param(f"p.sh(leaving('own')){_LIMITED}", 0, ["own"], marks=on_linux),
    pytest.param(
        f"p.sh('exit 0'); subprocess.run(leaving('own'), start_new_session=True){_LIMITED}", 0, ["own"], marks=on_linux
    ),
    pytest.param("p.sh(leaving('own'))\np.chain_to(Fails(owner=self.owner))", 1, ["own"], marks=on_linux),
]


@pytest.mark.parametrize(
    ("body", "code", "left"),
    TO_THE_END,
    ids=[
        *("success", "exit", "exit with 0", "return", "a fork that raises"),
        *("a signal after an error", "a signal after a signal", "a signal swallowed", "a limit swallowed"),
        *("too many open files", "the limit of another program", "the limit of a program beside the recipe's"),
        "the run that it handed over to",
    ],
)
def test_a_program_lives_on_after_its_run_only_if_that_succeeded(
    project: Project, body: str, code: int, left: list[str]
) -> None:
    with program(project, body):
        with (project.root / "recipes" / "demo.py").open("a") as file:
            file.write("\nclass Fails(LiveOperation):\n    def run(self, p):\n        p.sh('exit 3')\n")
        ended = project.stagerun("run", "demo:Demo").code
        alive = survivors(members(project))

    assert (ended, alive) == (code, left)


def test_who_was_not_started_by_p_sh_is_never_touched(project: Project) -> None:
    body = """
for number, apart in enumerate([False, True]):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    own = subprocess.Popen(["sleep", "1000"], start_new_session=apart, **quiet)
    pathlib.Path(f"own-{number}.pid").write_text(str(own.pid))
p.sh(leaving("same", "setsid", "daemon", "orphan"))
raise ValueError
"""
    tests = [subprocess.Popen(["sleep", "1000"], start_new_session=apart) for apart in (False, True)]
    try:
        with program(project, body):
            done = project.stagerun("run", "demo")
            own = [is_alive(pid_of(project, f"own-{number}")) for number in range(2)]
            left = survivors(members(project))
        others = [each.poll() for each in tests]
    finally:
        for each in tests:
            each.kill()
            each.wait()

    assert (done.code, own, others, left) == (1, [True, True], [None, None], [])


@on_linux
def test_while_a_run_goes_on_none_of_its_programs_is_a_zombie(project: Project) -> None:
    body = """
import psutil
from contextlib import suppress
for command, limit in (("exit 0", 5), ("exit 3", 5), ("kill -9 $$", 5), ("sleep 1000 & sleep 1000", 0.1)):
    with suppress(Exception):
        p.sh(command, timeout=limit)
with suppress(Exception):
    p.sh(tree("same", "daemon", "orphan", "stopped"), timeout=1)
with suppress(Exception):
    p.sh(["no-such-program"])
for each in psutil.Process().children():
    p.log(f"{each.status()} {each.name()}", level="warning")
"""
    with program(project, body):
        done = project.stagerun("run", "--progress", "plain", "demo")

    assert (done.code, [line for line in done.out.splitlines() if line.startswith("warning: ")]) == (0, [])


# --- a program that has the terminal


@pytest.fixture
def terminal(project: Project) -> "Opener":
    return Opener(project)


@dataclass
class Opener:
    project: Project

    @contextmanager
    def __call__(self, body: str, *stages: str, under: tuple[str, ...] = ()) -> Iterator[Terminal]:
        """Run a recipe on a terminal, alone or `under` a command that keeps the terminal when the run is over."""
        with program(self.project, body, *stages), self._open(under) as terminal:
            yield terminal

    def _open(self, under: tuple[str, ...]) -> Terminal:
        return Terminal(lambda slave: self._leader(under, slave)) if under else self.project.terminal("run", "demo")

    def _leader(self, under: tuple[str, ...], slave: int) -> subprocess.Popen[bytes]:
        leader = subprocess.Popen(
            [*under, STAGERUN, "run", "demo"],
            cwd=self.project.root,
            env=self.project.environ,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - the one call that only the child can make
        )
        os.close(slave)
        return leader


# A shell that waits for a line when the run is over.
SHELL = ("/bin/sh", "-c", '"$@"; echo "code $?"; read -r line', "sh")


def test_an_interactive_program_has_the_terminal_and_the_display_comes_back_afterwards(
    terminal: Opener, project: Project
) -> None:
    body = """
with p.stage("Before"):
    p.log("a line")
    gate("shown")
with p.stage("Ask"):
    done = p.sh(script("asks"), interactive=True, quiet=True)
    p.log(f"{done.returncode} {done.stdout} {done.stderr}")
with p.stage("After"):
    gate("looked")
"""
    with terminal(body, "Before", "Ask", "After") as screen:
        screen.wait_for("demo:Demo")
        open_gate(project, "shown")
        screen.wait_for("name?")
        meanwhile = screen.lines, screen.cursor_is_visible
        screen.send(b"bob\n")
        screen.wait_for("● After")
        afterwards = "\n".join(screen.lines)
        open_gate(project, "looked")
        code = screen.wait()

    assert b"beginend\r\n" in screen.raw
    assert meanwhile[0][-3:] == ["True True True True", "beginend", "name?"]
    assert (meanwhile[1], "demo:Demo" in "\n".join(meanwhile[0]), "demo:Demo" in afterwards) == (True, False, True)
    assert (code, logged(project, 1)) == (0, ["a line", "0 None None"])
    assert "hello bob" in "\n".join(screen.lines)


def test_ctrl_c_goes_to_the_program_alone_and_the_run_goes_on(terminal: Opener, project: Project) -> None:
    body = "p.sh(script('handles'), interactive=True, quiet=True)\np.log('goes on')"
    with terminal(body) as screen:
        screen.wait_for("ready")
        screen.send(b"\x03")
        code = screen.wait()

    assert (code, logged(project, 1)) == (0, ["goes on"])
    assert "the program was interrupted" in "\n".join(screen.lines)


@pytest.mark.parametrize("check", [True, False])
def test_a_program_that_dies_of_ctrl_c_cancels_the_run(terminal: Opener, project: Project, check: bool) -> None:
    body = f"p.sh('echo ready; while :; do :; done', interactive=True, quiet=True, check={check})\np.log('goes on')"
    with terminal(body) as screen:
        screen.wait_for("ready")
        screen.send(b"\x03")
        code = screen.wait()

    view = look(project, 1)
    assert (code, view.state, view.signal, logged(project, 1)) == (-signal.SIGINT, "cancelled", "SIGINT", [])


def test_ctrl_c_after_an_interactive_program_cancels_the_run(terminal: Opener, project: Project) -> None:
    with terminal("p.sh('exit 0', interactive=True, quiet=True)\np.log('goes on')\ngate('never')") as screen:
        screen.wait_for("goes on")
        screen.send(b"\x03")
        code = screen.wait()

    assert (code, look(project, 1).signal) == (-signal.SIGINT, "SIGINT")


def test_an_interactive_program_that_fails_raises(terminal: Opener, project: Project) -> None:
    with terminal("p.sh('exit 3', interactive=True)") as screen:
        code = screen.wait()

    error = look(project, 1).error
    assert error is not None
    assert (code, error.type, error.message) == (1, "ChildFailed", "`exit 3` ended with exit code 3")


def test_a_cancel_from_elsewhere_ends_an_interactive_program(terminal: Opener, project: Project) -> None:
    with terminal("p.sh('echo $$ > own.pid; echo ready; exec sleep 1000', interactive=True, quiet=True)") as screen:
        screen.wait_for("ready")
        project.stagerun("cancel", "1")
        code = screen.wait()
        left = is_alive(pid_of(project, "own"))

    assert (code, left) == (-signal.SIGTERM, False)


# --- known faults


def test_a_second_signal_ends_the_grace_also_when_it_comes_at_once(project: Project) -> None:
    body = "when('alive', interrupt)\np.sh(script('slow'))"
    with program(project, body), running(project, "run", "demo") as process:
        until((project.root / "slow.pid").exists)
        process.send_signal(signal.SIGTERM)
        code = finish(process).code

    assert (code, (project.root / "cleaned").exists()) == (-signal.SIGTERM, False)


def test_all_programs_of_a_run_share_one_grace(project: Project) -> None:
    body = "p.sh(in_background(script('first')))\ntime.sleep(1.5)\np.sh(script('second'))"
    with program(project, body), running(project, "run", "demo") as process:
        until((project.root / "second.pid").exists)
        process.send_signal(signal.SIGTERM)
        finish(process)

    assert (project.root / "other-lives").read_text() == "True"


def test_no_program_is_started_after_its_run_is_over(project: Project) -> None:
    body = """
def late():
    gate("over")
    p.sh("touch started")
threading.Thread(target=late).start()
raise ValueError
"""
    with program(project, body), running(project, "run", "--progress", "plain", "demo") as process:
        read_until(process, "resume with: stagerun resume 1")
        open_gate(project, "over")
        finish(process)

    assert not (project.root / "started").exists()


def test_the_last_lines_of_a_program_that_dies_at_once_are_told(project: Project) -> None:
    # As on a busy machine.
    body = "when('still_alive', lambda: time.sleep(0.5), calls=2)\np.sh(script('hurries'))"
    with program(project, body), running(project, "run", "demo") as process:
        read_until(process, "ready")
        process.send_signal(signal.SIGTERM)
        finish(process)

    assert logged(project, 1)[-1] == "bye"


@on_linux
def test_an_orphan_that_ends_by_itself_is_no_zombie_while_the_run_goes_on(project: Project) -> None:
    body = """
import psutil
p.sh("(until [ -e go ]; do sleep 0.01; done; echo $$ > gone) >/dev/null 2>&1 & echo $! > orphan.pid")
pathlib.Path("go").touch()
gate("gone")
time.sleep(0.5)
p.sh("exit 0")
p.log([each.name() for each in psutil.Process().children() if each.status() == psutil.STATUS_ZOMBIE])
"""
    with program(project, body):
        project.stagerun("run", "demo")

    assert logged(project, 1)[-1] == "[]"


@on_linux
def test_who_ends_before_its_parent_is_no_zombie_either_while_the_run_goes_on(project: Project) -> None:
    body = """
import psutil
try:
    p.sh(script("outlives"), timeout=1)
except Exception:
    pass
p.log([each.name() for each in psutil.Process().children() if each.status() == psutil.STATUS_ZOMBIE])
"""
    with program(project, body):
        project.stagerun("run", "demo")

    assert logged(project, 1)[-1] == "[]"


def test_without_a_terminal_an_interactive_program_is_an_error_that_says_so(project: Project) -> None:
    with program(project, "p.sh('exit 0', interactive=True)"):
        done = project.stagerun("run", "demo")

    error = look(project, 1).error
    assert error is not None
    assert (done.code, "terminal" in error.message) == (1, True)


@pytest.mark.parametrize("option", ["timeout=0.1", "capture=True", "stdin='text'", "pty=True"])
def test_what_an_interactive_program_can_not_have_is_refused(terminal: Opener, option: str) -> None:
    with terminal(f"p.sh('sleep 0.5', interactive=True, {option})") as screen:
        assert screen.wait() == 1


def test_a_cancel_ends_also_what_an_interactive_program_started(terminal: Opener, project: Project) -> None:
    body = "p.sh('sleep 1000 & echo $! > inner.pid; echo ready; wait', interactive=True, quiet=True)"
    with terminal(body, under=SHELL) as screen:
        screen.wait_for("ready")
        project.stagerun("cancel", "1")
        screen.wait_for("code 143")
        left = is_alive(pid_of(project, "inner"))

    assert not left


def test_a_terminal_is_as_it_was_after_a_program_that_was_ended(terminal: Opener, project: Project) -> None:
    body = "p.sh('stty raw -echo; echo ready; exec sleep 1000', interactive=True, quiet=True)"
    with terminal(body, under=SHELL) as screen:
        screen.wait_for("ready")
        project.stagerun("cancel", "1")
        screen.wait_for("code 143")
        flags = termios.tcgetattr(screen._master)[3]

    assert flags & (termios.ECHO | termios.ICANON) == termios.ECHO | termios.ICANON
