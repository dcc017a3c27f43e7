"""The stream of a display: it may close, fill up, stall or know few characters, and the work goes on."""

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from stagerun import LiveOperation, Progress, events
from stagerun.errors import StagerunError
from stagerun.render.output import Output
from stagerun.render.plain import Plain
from stagerun.states import RunState
from tests.conftest import STAGERUN, Bench, Project
from tests.processes import until
from tests.serving import Command


LINES = [f"line {number} {'x' * 80}" for number in range(2_000)]

TALKATIVE = """
class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        with p.stage("Load"):
            for number in range(2_000):
                p.log(f"line {number} {'x' * 80}")
"""

TEXT = [
    "run 1 · talk:Import · started by alice",
    "=== [1/1] Load ===",
    *LINES,
    "--- [1/1] Load: done in",
    "run 1 succeeded in",
]


def logged(project: Project) -> list[str]:
    entries = project.records().entries(1)
    return [line for entry in entries if isinstance(entry.event, events.Log) for line in entry.event.lines]


def start(project: Project, *arguments: str, stdout: int) -> Command:
    """Start the run that talks, with an output that is closed here."""
    process = project.start("run", "talk:Import", *arguments, stdout=stdout)
    os.close(stdout)
    return process


def ended_well(process: Command, project: Project) -> bool:
    """Return True if the run succeeded, with nothing to complain of and every line in the journal."""
    with process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err, logged(project)) == (0, "", LINES)
    return True


MODES = ["plain", "json", "quiet"]


@pytest.mark.parametrize(
    ("closed", "mode"), [*((">&-", mode) for mode in MODES), ("<&- >&- 2>&-", "auto")], ids=[*MODES, "all streams"]
)
def test_a_run_whose_streams_are_closed_succeeds_and_records_every_line(
    project: Project, closed: str, mode: str
) -> None:
    project.recipe("talk", TALKATIVE)

    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" run talk:Import --progress {mode} {closed}', STAGERUN],
        check=False,
        cwd=project.root,
        env=project.environ,
        capture_output=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr, logged(project)) == (0, b"", LINES)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("mode", MODES)
def test_a_run_whose_output_has_no_room_succeeds_and_records_every_line(project: Project, mode: str) -> None:
    project.recipe("talk", TALKATIVE)

    assert ended_well(start(project, "--progress", mode, stdout=os.open("/dev/full", os.O_WRONLY)), project)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_whose_reader_went_away_succeeds_and_records_every_line(project: Project, mode: str) -> None:
    project.recipe("talk", TALKATIVE)

    reader, writer = os.pipe()
    os.close(reader)

    assert ended_well(start(project, "--progress", mode, stdout=writer), project)


def test_a_run_whose_reader_leaves_in_the_middle_succeeds_and_records_every_line(project: Project) -> None:
    project.recipe("talk", TALKATIVE)

    reader, writer = os.pipe()
    process = start(project, stdout=writer)
    assert os.read(reader, 10) == b"run 1 \xc2\xb7 t"
    os.close(reader)

    assert ended_well(process, project)


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_a_slow_reader_gets_every_line_in_order(project: Project, blocking: bool) -> None:
    project.recipe("talk", TALKATIVE)

    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    process = start(project, stdout=writer)
    received = b""
    while data := os.read(reader, 1_000):
        received += data
    os.close(reader)

    assert ended_well(process, project)
    lines = received.decode().splitlines()
    assert [line.rpartition(" ")[0] if " in " in line else line for line in lines] == TEXT


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_a_run_whose_reader_sleeps_can_be_cancelled(project: Project, blocking: bool) -> None:
    project.recipe(
        "talk",
        """
import time
from pathlib import Path

class Import(LiveOperation):
    def run(self, p: Progress):
        Path("begun").touch()
        while not Path("go").exists():
            time.sleep(0.005)
        Path("gone").touch()
        p.log("nobody reads this")
""",
    )
    reader, writer = os.pipe()
    process = start(project, stdout=os.dup(writer))
    try:
        until((project.root / "begun").exists)
        _fill(writer)
        os.set_blocking(writer, blocking)
        (project.root / "go").touch()
        until((project.root / "gone").exists)
        process.terminate()

        assert process.wait(20) == -15
    finally:
        os.close(writer)
        os.close(reader)
        process.kill()
        process.communicate()
    assert project.records().find("1").state is RunState.CANCELLED


def test_a_run_whose_reader_sleeps_from_the_start_can_be_cancelled(project: Project) -> None:
    project.recipe("talk", TALKATIVE)

    reader, writer = os.pipe()
    _fill(writer)
    os.set_blocking(writer, True)
    process = start(project, stdout=writer)
    try:
        until(lambda: _is_recorded(project))
        process.terminate()

        assert process.wait(20) == -15
    finally:
        process.kill()
        process.communicate()
        os.close(reader)
    assert project.records().find("1").state is RunState.CANCELLED


def _is_recorded(project: Project) -> bool:
    try:
        return project.records().find("1").id == 1
    except StagerunError:
        return False


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    for size in (65_536, 1):
        try:
            while True:
                os.write(pipe, b"x" * size)
        except BlockingIOError:
            pass


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ascii", r"caf\xe9 \u65e5 \U0001f600"),
        ("latin-1", r"café \u65e5 \U0001f600"),
        ("cp1252", r"café \u65e5 \U0001f600"),
        ("utf-8", "café 日 😀"),
    ],
)
def test_what_the_encoding_of_the_stream_lacks_is_spelled_out(bench: Bench, encoding: str, text: str) -> None:
    class Import(LiveOperation):
        def run(self, p: Progress) -> None:
            p.log("café 日 😀")

    with (bench.folder / "out").open("w", encoding=encoding) as stream:
        bench.run(Import(owner="alice"), Plain(Output(stream)))

    assert (bench.folder / "out").read_text(encoding).splitlines()[1] == text
    assert [event.text for event in bench.seen.events if isinstance(event, events.Log)] == ["café 日 😀"]


def test_an_output_writes_each_text_at_once(tmp_path: Path) -> None:
    file = tmp_path / "out"
    with file.open("w") as stream:
        output = Output(stream)
        output.write("one\n")

        assert file.read_text() == "one\n"


def test_an_output_keeps_its_stream_when_somebody_closes_theirs(tmp_path: Path) -> None:
    stream = (tmp_path / "out").open("w")
    output = Output(stream)
    stream.close()

    output.write("one\n")
    output.close()

    assert (tmp_path / "out").read_text() == "one\n"
    assert output.silent is None


def test_what_the_stream_held_back_before_comes_first(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        stream.write("zero\n")
        Output(stream).write("one\n")

        assert (tmp_path / "out").read_text() == "zero\none\n"


def test_an_output_without_a_stream_is_silent() -> None:
    output = Output(None)

    assert output.write("one\n") == 4
    assert output.silent is not None
    assert output.silent.errno == errno.EBADF
    assert (output.isatty(), output.width()) == (False, 80)


def test_an_output_without_a_reader_falls_silent_for_good() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        output = Output(stream)
        os.close(reader)
        output.write("one\n")

        assert output.silent is not None
        assert output.silent.errno == errno.EPIPE
        assert output.write("two\n") == 4


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_a_text_larger_than_the_pipe_arrives_whole(blocking: bool) -> None:
    text = "".join(f"line {number}\n" for number in range(50_000))
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)

    def write() -> None:
        with os.fdopen(writer, "w") as stream:
            output = Output(stream)
            output.write(text)
            output.close()

    thread = threading.Thread(target=write)
    thread.start()
    received = b""
    while data := os.read(reader, 65_536):
        received += data
    thread.join()
    os.close(reader)

    assert received.decode() == text


def test_lines_of_several_threads_never_mix() -> None:
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    output = Output(stream)

    def write(name: str) -> None:
        for _ in range(500):
            output.write(name * 5_000 + "\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    received: list[bytes] = []

    def read() -> None:
        while data := os.read(reader, 65_536):
            received.append(data)

    reading = threading.Thread(target=read)
    reading.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    output.close()
    stream.close()
    reading.join()
    os.close(reader)

    lines = b"".join(received).decode().splitlines()
    assert sorted(lines) == sorted(name * 5_000 for name in "abcd" for _ in range(500))


@pytest.mark.parametrize(("encoding", "can"), [("utf-8", True), ("ascii", False), ("cp1252", False)])
def test_an_output_knows_whether_its_encoding_has_the_symbols(tmp_path: Path, encoding: str, can: bool) -> None:
    with (tmp_path / "out").open("w", encoding=encoding) as stream:
        assert Output(stream).unicode is can
