"""The stages of a test: a clock that only a test moves, a journal on disk, a project folder, the real command."""

import functools
import os
import random
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import hypothesis
import psutil
import pytest
from msgspec import structs

from stagerun import LiveOperation, events
from stagerun.authoring import finding
from stagerun.journal.reading import Records
from stagerun.machine.interrupts import Interrupts
from stagerun.resumption import Resumption
from stagerun.sinks import Sink
from stagerun.testing.clock import START, HandClock
from stagerun.testing.golden import timeless
from stagerun.testing.workbench import Workbench
from stagerun.view import RunView
from tests.journals import records_of
from tests.serving import SCRIPT, Command, Server
from tests.terminal import Terminal


__all__ = ["START", "HandClock", "timeless"]  # of the test kit: tests import them from here

REPOSITORY = Path(__file__).parents[1]
STAGERUN = SCRIPT

# No test asserts a time: what is slow today is not wrong.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# What a machine sets that would change what the command prints, or have every interpreter compile all modules anew.
_FOREIGN = (
    *("CI", "GITHUB_", "GITLAB_", "TF_BUILD", "BUILDKITE", "TEAMCITY_", "STAGERUN_"),
    *("NO_COLOR", "FORCE_COLOR", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "MAKE", "MFLAGS"),
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return two workers for each processor: most tests wait for processes and for time to pass."""
    return 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the browser: at the end its tests would keep one worker busy and let the others wait."""
    items.sort(key=lambda item: not item.path.name.startswith("test_web"))


def apart(entries: Iterable[events.Entry]) -> list[events.Entry]:
    """Return the entries with one for each log line: the journal keeps those that came at once together."""
    parted: list[events.Entry] = []
    for entry in entries:
        if isinstance(entry.event, events.Log):
            lines = [structs.replace(entry.event, text=line) for line in entry.event.lines]
            parted += [entry._replace(seq=entry.seq + place, event=line) for place, line in enumerate(lines)]
        else:
            parted.append(entry)
    return parted


@dataclass
class Seen(Sink):
    """A sink that keeps what it is told."""

    entries: list[events.Entry] = field(default_factory=list)
    views: list[RunView] = field(default_factory=list)

    def update(self, entry: events.Entry, view: RunView) -> None:
        self.entries.append(entry)
        self.views.append(view)

    def refresh(self, now: float) -> None: ...

    def close(self) -> None: ...

    @property
    def events(self) -> list[events.Event]:
        """What happened, with an event for each log line."""
        return [entry.event for entry in apart(self.entries)]


class Bench(Workbench):
    """Runs operations in this process, and shows them to sinks.

    Attributes:
        folder: where the journal is.
        interrupts: the requests to stop the next run.
        seen: what happened so far.

    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "journal.db")
        self.folder = folder
        self.interrupts = Interrupts()
        self.seen = Seen()

    @property
    def text(self) -> str:
        """What the plain display wrote so far."""
        return (self.folder / "plain.txt").read_text()

    def run(self, operation: LiveOperation, *sinks: Sink, resumption: Resumption | None = None) -> RunView:
        kind = type(operation)
        found = finding.Found(operation=kind, target=f"demo:{kind.__name__}", recipe="demo", source=None)
        with (self.folder / "plain.txt").open("a") as stream:
            return self._perform(found, operation, stream, self.interrupts, self.seen, *sinks, resumption=resumption)

    def resume(self, operation: LiveOperation, from_stage: str | None = None) -> RunView:
        """Go on from the newest run, as another process would."""
        records = self.records()
        resumption = records.resumption(records.find("last"), from_stage)
        records.close()
        self.interrupts = Interrupts()
        return self.run(operation, resumption=resumption)

    def records(self) -> Records:
        return records_of(self.journal)


def a_share(of: int) -> pytest.MarkDecorator:
    """Let a test try one in `of` of its moments as its `step`, and all of them with `make soak`."""
    marks = [pytest.mark.soak, pytest.mark.timeout(3600)]
    return pytest.mark.parametrize(
        "step", [pytest.param(of, id=f"one-in-{of}"), pytest.param(1, id="all", marks=marks)]
    )


@pytest.fixture
def seed() -> int:
    """A number that is another one each time, by which a test chooses; if the test fails, pytest shows it."""
    chosen = int(os.environ.get("TEST_SEED") or random.randrange(1_000_000))
    print(f"to choose the same again: TEST_SEED={chosen}")
    return chosen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@dataclass
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


def plain_environ() -> dict[str, str]:
    """Return an environment in which the command says what it says to anybody."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return environ | {"LOGNAME": "alice", "TERM": "xterm-256color", "PYTHONUTF8": "1"}


@functools.cache
def _server() -> Server:
    return Server(plain_environ())


def pytest_sessionfinish() -> None:
    if _server.cache_info().currsize:
        _server().close()


@dataclass
class Project:
    """A project folder with recipes, and the real command run in it."""

    root: Path
    environ: dict[str, str]

    def recipe(self, name: str, source: str) -> Path:
        file = self.root / "recipes" / f"{name}.py"
        file.write_text("from stagerun import LiveOperation, Progress, OperationCancelled, Secret\n" + source)
        return file

    def start(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        fresh: bool = False,
        stdout: int | None = None,
        full: bool = False,
        user: int | None = None,
    ) -> Command:
        """Start the command; with `fresh` in an interpreter of its own, that has imported nothing and ends as any.

        With `full` it writes to a disk that is full; with `user` it runs as that user, which only root can ask for.
        """
        whole = self.environ | dict(environ or {})
        if not full:
            return _server().start(arguments, cwd=self.root, environ=whole, fresh=fresh, stdout=stdout, user=user)
        with Path("/dev/full").open("w") as disk:
            return _server().start(arguments, cwd=self.root, environ=whole, fresh=fresh, stdout=disk.fileno())

    def stagerun(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        fresh: bool = False,
        full: bool = False,
        user: int | None = None,
    ) -> Done:
        with self.start(*arguments, environ=environ, fresh=fresh, full=full, user=user) as process:
            out, err = process.communicate(timeout=60)
        return Done(process.wait(), out, err)

    def terminal(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        columns: int = 80,
        rows: int = 24,
        reflows: bool = True,
    ) -> Terminal:
        """Run the command on a terminal."""
        whole = self.environ | dict(environ or {})
        start = functools.partial(_server().start_on, arguments=arguments, cwd=self.root, environ=whole)
        return Terminal(start, columns=columns, rows=rows, reflows=reflows)

    @property
    def journal(self) -> Path:
        return self.root / ".stagerun" / "journal.db"

    def records(self) -> Records:
        return records_of(self.journal)

    def copied(self, folder: Path) -> "Project":
        """Return a project of the same recipes and runs, for a test to do with as it likes."""
        root = shutil.copytree(self.root, folder / "project")
        return Project(root, self.environ)


def new_project(folder: Path) -> Project:
    root = folder / "project"
    (root / "recipes").mkdir(parents=True)
    return Project(root, plain_environ())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _children_get_the_default_signals() -> None:
    """Start children as a terminal would, also under nohup or in the background, where some signals are ignored.

    A program that is executed gets the default for what its parent handles, and here nothing is done about it.
    """
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGTSTP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test may write into the checkout."""
    monkeypatch.chdir(tmp_path)
    yield


@pytest.fixture(autouse=True)
def _nothing_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End what a test has started and not ended, also where it failed: what descends from here, or bears its mark."""
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    before = {*psutil.pids()}
    yield
    roots = {os.getpid(), _server().pid} if _server.cache_info().currsize else {os.getpid()}
    helpers = {resource_tracker._resource_tracker._pid, forkserver._forkserver._forkserver_pid}  # type: ignore[attr-defined]
    for pid in {*psutil.pids()} - before - roots - helpers:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            marked = process.environ().get("TEST_FOLDER") == str(tmp_path)
            if marked or any(parent.pid in roots for parent in process.parents()):
                process.kill()
