"""Many processes on one journal, and a journal that is locked, gone, read-only or on a network file system."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from stagerun import LiveOperation, Progress, cli
from stagerun.errors import JournalError
from stagerun.journal.sqlite import database, files
from stagerun.machine import identity
from stagerun.states import RunState
from tests import rebuild
from tests.conftest import REPOSITORY, Bench, Project
from tests.journals import reading, records_of
from tests.processes import until
from tests.serving import Command


WRITERS = 50
TRANSACTIONS = 20

# Forks of one process that has imported what they need, all let go at once.
CROWD = f"""
import os, sys, traceback
from pathlib import Path

import sqlite_utils

from stagerun import events
from stagerun.states import RunState
from tests.journals import Opened

def write(name):
    opened = Opened(Path(sys.argv[1]))
    emitter = opened.emitter()
    plan = events.RunCreated(target="demo:Write", recipe="demo", operation="Write", stages=(), owner=name)
    emitter.create(plan, exclusive=False)
    emitter.emit(events.RunStarted())
    for number in range({TRANSACTIONS - 3}):
        emitter.emit(events.ResultSet(result={{"number": number}}))
    emitter.emit(events.RunFinished(state=RunState.SUCCEEDED, seconds=0.0, exit_code=0))
    opened.close()

gate, closing = os.pipe()
writers = []
for number in range({WRITERS}):
    if not (pid := os.fork()):
        os.close(closing)
        os.read(gate, 1)
        try:
            write(f"writer-{{number}}")
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    writers.append(pid)
os.close(closing)
for pid in writers:
    os.waitpid(pid, 0)
"""


def test_fifty_processes_write_twenty_transactions_each_into_a_new_journal_without_an_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    done = subprocess.run(
        [sys.executable, "-c", CROWD, str(path)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with reading(path) as records:
        runs = records.history(limit=2 * WRITERS)
    assert sorted(run.owner for run in runs) == sorted(f"writer-{number}" for number in range(WRITERS))
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
    assert {run.id: run for run in runs} == rebuild.views(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (WRITERS * TRANSACTIONS,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


ROUNDS = 8

# Both have chosen the run to go on from when they load the recipe, and none has begun: there they meet.
MEETING = """
import os
import time
from pathlib import Path


meeting = os.environ.get("MEETING")
if meeting:
    Path(f"{meeting}-{os.getpid()}").touch()
    while len(list(Path().glob(f"{meeting}-*"))) < 2:
        time.sleep(0.001)


class Meet(LiveOperation):
    def run(self, p: Progress) -> None:
        while meeting and not Path(f"over-{meeting}").exists():
            time.sleep(0.005)
        p.error("once more")
"""


def _any_is_over(rivals: list[Command]) -> bool:
    return any(rival.poll() is not None for rival in rivals)


def test_of_two_resumes_at_once_one_wins_and_the_other_names_it(project: Project) -> None:
    project.recipe("meet", MEETING)
    assert project.stagerun("run", "meet").code == 1

    for held in range(1, ROUNDS + 1):
        rivals = [project.start("resume", str(held), environ={"MEETING": f"round{held}"}) for _ in range(2)]
        until(partial(_any_is_over, rivals))
        loser, winner = sorted(rivals, key=lambda rival: rival.poll() is None)
        out, err = loser.communicate(timeout=60)

        new = held + 1
        first, _, rest = err.partition(", started ")
        assert loser.returncode == 3, out + err
        assert first == f"stagerun: run {new} is still running (process {winner.pid} on {os.uname().nodename}"
        assert rest.endswith(f")\n  wait for it: stagerun wait {new}, or stop it: stagerun cancel {new}\n")

        (project.root / f"over-round{held}").touch()
        out, err = winner.communicate(timeout=60)
        assert (winner.returncode, err) == (1, "")

    records = project.records()
    runs = records.history(limit=100)
    records.close()
    assert [(run.id, run.plan.resumed_from, run.plan.attempt) for run in reversed(runs)] == [
        (number, number - 1 or None, number) for number in range(1, ROUNDS + 2)
    ]


@contextmanager
def _locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another connection that holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield holder


def test_a_lock_that_outlasts_the_patience_ends_the_run_and_names_the_journal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.3)
    reached = []

    class Wait(LiveOperation):
        stages = ["Before", "After"]

        def run(self, p: Progress) -> None:
            with p.stage("Before"):
                pass
            with _locked(bench.journal), p.stage("After"):
                reached.append("After")

    with pytest.raises(JournalError) as caught:
        bench.run(Wait(owner="alice"))

    assert caught.value.message == f"journal {bench.journal}: another process holds it"
    assert caught.value.hint == "see which one has it open: lsof, fuser"
    assert reached == []
    assert bench.text == (
        "run 1 · demo:Wait · started by alice\n=== [1/2] Before ===\n--- [1/2] Before: done in 0.0s\n"
    )
    assert bench.records().find("1").stage_states == {"Before": "done", "After": "pending"}


def test_a_lock_that_is_given_up_in_time_is_waited_for(bench: Bench) -> None:
    class Wait(LiveOperation):
        stages = ["Before", "After"]

        def run(self, p: Progress) -> None:
            with p.stage("Before"):
                pass
            with _locked(bench.journal) as holder:
                # Longer than SQLite itself waits.
                release = threading.Timer(0.8, holder.rollback)
                release.start()
                with p.stage("After"):
                    pass
                release.join()

    view = bench.run(Wait())

    assert view.stage_states == {"Before": "done", "After": "done"}
    assert view.state is RunState.SUCCEEDED


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_a_journal_that_is_locked_for_longer_than_half_a_minute_is_refused_before_the_first_stage(
    project: Project,
) -> None:
    project.recipe("go", GO)
    assert project.stagerun("run", "go").code == 0

    with _locked(project.journal):
        done = project.stagerun("run", "go")

    assert (done.code, done.out) == (3, "")
    assert done.err == (
        f"stagerun: journal {project.journal}: another process holds it\n  see which one has it open: lsof, fuser\n"
    )


LOSE = """
import os
import signal
from pathlib import Path


class Lose(LiveOperation):
    stages = ["Before", "After"]

    def run(self, p: Progress) -> None:
        with p.stage("Before"):
            Path(".stagerun/journal.db-wal").unlink()
        with p.stage("After"):
            p.checkpoint("told", lambda: 1)
            Path("told").touch()
        {end}
"""


# SQLite does not notice: it keeps writing to the deleted file. The last process to close the journal still copies that
# file into the database, but if that process is killed, its content is lost.
def test_a_run_whose_write_ahead_log_is_deleted_ends_with_everything_recorded_or_with_exit_code_3(
    project: Project,
) -> None:
    project.recipe("lose", LOSE.format(end="pass"))

    done = project.stagerun("run", "lose")

    if done.code == 0:
        (view,) = project.records().history(limit=10)
        assert (view.state, view.stage_states) == (RunState.SUCCEEDED, {"Before": "done", "After": "done"})
    else:
        assert done.code == 3, done.err


def test_nothing_is_acknowledged_that_a_deleted_write_ahead_log_would_lose(project: Project) -> None:
    project.recipe("lose", LOSE.format(end="os.kill(os.getpid(), signal.SIGKILL)"))

    done = project.stagerun("run", "lose")

    acknowledged = {("told",)} if (project.root / "told").exists() else set()
    with closing(sqlite3.connect(project.journal)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        stored = set(connection.execute("SELECT key FROM checkpoints")) if "checkpoints" in tables else set()
    assert acknowledged <= stored, done.out + done.err


GO = """
class Go(LiveOperation):
    stages = ["Go"]

    def run(self, p: Progress) -> None:
        with p.stage("Go"):
            p.log("gone")
"""


def _unprivileged() -> list[str]:
    """The command that takes away root's right to pass over permissions; nothing for anyone else."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and setpriv, which takes that right away, is not installed")
    dropping = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    if subprocess.run([*dropping, "true"], capture_output=True, check=False).returncode:
        pytest.skip("root may write anywhere, and setpriv may not take that right away here")
    return dropping


def _run_unprivileged(project: Project, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*_unprivileged(), sys.executable, "-m", "stagerun", *(command or ("run", "go"))],
        cwd=project.root,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_folder_in_which_no_journal_can_be_made_is_refused_before_the_first_stage(project: Project) -> None:
    project.recipe("go", GO)
    project.root.chmod(0o555)

    try:
        done = _run_unprivileged(project)
    finally:
        project.root.chmod(0o755)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"stagerun: journal {project.journal} can't be created: Permission denied\n"
        "  name another place with --journal\n"
    )


@pytest.mark.parametrize("folder", [0o555, 0o755], ids=["folder", "file"])
def test_a_journal_that_can_only_be_read_is_refused_before_the_first_stage(project: Project, folder: int) -> None:
    project.recipe("go", GO)
    assert project.stagerun("run", "go").code == 0
    project.journal.chmod(0o444)
    project.journal.parent.chmod(folder)

    try:
        done = _run_unprivileged(project)
    finally:
        project.journal.parent.chmod(0o755)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr in {
        f"stagerun: journal {project.journal}: it can't be {what}\n"
        "  check its permissions, or name another file with --journal\n"
        for what in ("written", "opened")
    }
    assert len(project.records().history(limit=10)) == 1


READ = ("status", "history", "logs")


def _read_unprivileged(project: Project) -> set[tuple[int, str, str]]:
    """Return how the commands that read end in a folder that can't be written, without what each of them shows."""
    project.journal.parent.chmod(0o555)
    try:
        done = [_run_unprivileged(project, command) for command in READ]
    finally:
        project.journal.parent.chmod(0o755)
    return {(each.returncode, each.stdout and "shown", each.stderr) for each in done}


@pytest.mark.parametrize("mode", [0o444, 0o644], ids=oct)
def test_a_journal_in_a_folder_that_can_not_be_written_can_be_read(project: Project, mode: int) -> None:
    project.recipe("go", GO)
    assert project.stagerun("run", "go").code == 0
    project.journal.chmod(mode)

    assert _read_unprivileged(project) == {(0, "shown", "")}
    assert {each.name for each in project.journal.parent.iterdir()} == {"journal.db", ".gitignore"}


DIE = """
import os

class Die(LiveOperation):
    def run(self, p: Progress) -> None:
        p.checkpoint("one", lambda: 1)
        os._exit(9)
"""


def test_a_write_ahead_log_that_can_not_be_read_where_it_is_is_never_passed_over(project: Project) -> None:
    project.recipe("die", DIE)
    assert project.stagerun("run", "die").code == 9
    assert _read_unprivileged(project) == {(0, "shown", ""), (0, "", "")}  # it has no lines

    project.journal.with_name("journal.db-shm").unlink()

    told = (
        f"stagerun: journal {project.journal}: a killed process left its newest changes in journal.db-wal, which can't "
        "be read in a folder that can't be written\n"
        "  copy both files into a folder of yours, and name the copy with --journal\n"
    )
    assert _read_unprivileged(project) == {(3, "", told)}


@pytest.mark.parametrize("mode", [0o444, 0o644], ids=oct)
def test_a_change_that_is_half_written_and_can_not_be_undone_is_never_passed_over(
    project: Project, mode: int, tmp_path: Path
) -> None:
    project.recipe("go", GO)
    assert project.stagerun("run", "go").code == 0
    with closing(sqlite3.connect(project.journal, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE runs SET params = zeroblob(40000) || ''")
        shutil.copytree(project.journal.parent, tmp_path / "copy")
    shutil.rmtree(project.journal.parent)
    shutil.copytree(tmp_path / "copy", project.journal.parent)
    project.journal.chmod(mode)

    told = (
        f"stagerun: journal {project.journal}: a killed process left a change half written, and without permission to "
        "write it can't be undone\n  read it once as a user who may write the file and its folder\n"
    )
    assert _read_unprivileged(project) == {(3, "", told)}


def _mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: bytes) -> None:
    """Let the kernel's list of mounts say `table`."""
    file = tmp_path / "mountinfo"
    file.write_bytes(table)
    real = Path.open

    def opened(path: Path, *arguments: object, **named: object) -> object:
        return real(file if path == Path("/proc/self/mountinfo") else path, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", opened)


ROOT = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
HOME = b"40 22 0:44 / /home rw,relatime shared:20 - nfs4 server:/home rw,vers=4.2\n"
LOCAL = b"41 40 8:2 / /home/alice/local rw,relatime - xfs /dev/sdb1 rw\n"
OVER = b"42 40 0:50 / /home rw,relatime - tmpfs tmpfs rw\n"


@pytest.mark.parametrize(
    ("table", "path", "expected"),
    [
        (ROOT, "/home/alice/journal.db", False),
        (ROOT + HOME, "/home/alice/journal.db", True),
        (HOME + ROOT, "/home/alice/journal.db", True),
        (ROOT + HOME, "/homes/alice/journal.db", False),
        (ROOT + HOME + LOCAL, "/home/alice/local/journal.db", False),
        (ROOT + HOME + LOCAL, "/home/alice/journal.db", True),
        (ROOT + HOME + OVER, "/home/alice/journal.db", False),
        (ROOT + b"43 22 0:45 / /mnt/c rw shared:9 master:2 - 9p C: rw\n", "/mnt/c/journal.db", True),
        (ROOT + b"43 22 0:45 / /mnt/x rw - cifs //server/x rw\n", "/mnt/x/journal.db", True),
        (ROOT + b"43 22 0:45 / /mnt/x rw - fuse.sshfs a@b: rw\n", "/mnt/x/journal.db", True),
        (ROOT + b"43 22 0:45 / /mnt/x rw - fuse.ntfs-3g /dev/sdc1 rw\n", "/mnt/x/journal.db", False),
        (ROOT + rb"43 22 0:45 / /mnt/my\040disk rw - nfs s:/ rw" + b"\n", "/mnt/my disk/journal.db", True),
        (ROOT + "43 22 0:45 / /mnt/données rw - nfs s:/ rw\n".encode(), "/mnt/données/journal.db", True),
        (ROOT + b"43 22 0:45 / /mnt/caf\xe9 rw - ext4 /dev/sdc1 rw\n" + HOME, "/home/alice/journal.db", True),
    ],
    ids=[
        "local",
        "network",
        "network listed first",
        "only a prefix of the name",
        "local inside network",
        "beside local inside network",
        "mounted over",
        "9p",
        "cifs",
        "sshfs",
        "local fuse",
        "blank in the name",
        "letters beyond ASCII",
        "bytes that are no UTF-8",
    ],
)
def test_a_path_is_on_a_network_if_its_nearest_mount_is(
    table: bytes, path: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mounts(monkeypatch, tmp_path, table)

    assert files.is_on_network(Path(path)) is expected


def _on_network(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    _mounts(monkeypatch, tmp_path, ROOT + b"50 22 0:60 / %s rw - nfs4 server:/ rw\n" % bytes(folder.resolve()))


def test_a_link_into_a_network_file_system_counts_as_being_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_network(tmp_path / "far", tmp_path, monkeypatch)
    (tmp_path / "near").symlink_to(tmp_path / "far")

    assert files.is_on_network(tmp_path / "near" / "journal.db")


def test_on_a_network_file_system_there_is_no_write_ahead_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_network(tmp_path / "far", tmp_path, monkeypatch)

    connection = files.open_for_writing(tmp_path / "far" / "journal.db")

    with closing(connection):
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert [file.name for file in (tmp_path / "far").iterdir() if file.name.endswith(("-wal", "-shm"))] == []


def test_a_run_on_a_network_file_system_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _on_network(tmp_path / "far", tmp_path, monkeypatch)
    path = tmp_path / "far" / "journal.db"
    recipe = tmp_path / "go.py"
    recipe.write_text("from stagerun import LiveOperation, Progress\n" + GO)

    code = cli.main(["run", str(recipe), "--journal", str(path), "--progress", "quiet"])

    assert (code, *capfd.readouterr()) == (
        0,
        "",
        (
            f"stagerun: warning: journal {path} is on a network file system\n"
            "  only one process at a time can use it safely\n"
        ),
    )
    assert records_of(path).find("1").state is RunState.SUCCEEDED


def test_a_run_of_another_container_is_alive_as_long_as_it_gives_signs_of_life(bench: Bench) -> None:
    seen = []

    class Elsewhere(LiveOperation):
        def run(self, p: Progress) -> None:
            with closing(sqlite3.connect(bench.journal)) as connection, connection:
                connection.execute("UPDATE runs SET pid_namespace = 'pid:[1]', seen_on = 1000.0")
            for age in (59.0, 61.0):
                with reading(bench.journal, now=partial(float, 1000.0 + age)) as records:
                    seen.append(records.find("1").state)

    bench.run(Elsewhere())

    assert seen == [RunState.RUNNING, RunState.CRASHED]
    assert replace(identity.current_process(), pid_namespace="pid:[1]").is_gone() is None
