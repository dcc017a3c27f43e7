"""Programs that a recipe runs with p.sh: their input, what is shown of them, and their results."""

import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest

from stagerun import ChildFailed, LiveOperation, Progress, Secret, events
from stagerun.errors import RecipeError
from stagerun.programs.request import Completed, Request
from stagerun.sinks import Sink
from stagerun.states import RunState
from stagerun.view import RunView
from tests.conftest import STAGERUN, Bench, Project
from tests.journals import select
from tests.processes import logged, rows, running, until


Line = tuple[str, str, str | None]  # text, level, stream
Body = Callable[[Progress], object]

TOKEN = "hunter22-and-more"
LIMIT = 64 * 1024
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what a process has open")


@pytest.fixture(autouse=True)
def _adopts_no_orphans_afterwards() -> Iterator[None]:
    """A run makes its process the parent of orphans; the process of the tests must not stay that."""
    yield
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def python(source: str, *arguments: Any) -> list[Any]:
    return [sys.executable, "-c", source, *arguments]


def run(bench: Bench, body: Body, *sinks: Sink) -> RunView:
    class Demo(LiveOperation):
        def run(self, p: Progress) -> None:
            body(p)

    view = bench.run(Demo(), *sinks)
    assert view.state is RunState.SUCCEEDED, view.error
    return view


def journaled(bench: Bench) -> list[Line]:
    """Return the lines of all runs as the journal has them."""
    rows = select(bench.journal, "SELECT data FROM events WHERE kind = 'log' ORDER BY run_id, seq")
    logs = [json.loads(str(data)) for (data,) in rows]
    return [(line, each["level"], each["stream"]) for each in logs for line in each["text"].split("\n")]


def sh(bench: Bench, command: Any, **options: Any) -> Completed:
    """Return what p.sh returned to a recipe."""
    results = list[Completed]()
    run(bench, lambda p: results.append(p.sh(command, **options)))
    return results[0]


def failure(bench: Bench, command: Any, **options: Any) -> ChildFailed:
    """Return what p.sh raised in a recipe."""
    errors = list[ChildFailed]()

    def body(p: Progress) -> None:
        with pytest.raises(ChildFailed) as caught:
            p.sh(command, **options)
        errors.append(caught.value)

    run(bench, body)
    return errors[0]


def output(bench: Bench, command: Any, **options: Any) -> str:
    """Return what a program wrote to its standard output."""
    text = sh(bench, command, capture=True, **options).stdout
    assert text is not None
    return text


def open_files() -> int:
    return psutil.Process().num_fds()


def from_stream(bench: Bench, stream: str) -> list[str]:
    return [text for text, _, source in journaled(bench) if source == stream]


# --- the command


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["printf", r"%s\n", "$HOME *; ls"], [r"$ printf '%s\n' '$HOME *; ls'", "$HOME *; ls"]),
        ("x=1; echo $((x + 1)) | cat", ["$ x=1; echo $((x + 1)) | cat", "2"]),
        ("echo one\necho two", ["$ echo one", "> echo two", "one", "two"]),
        ([Path("/bin/echo"), Path("/a file")], ["$ /bin/echo '/a file'", "/a file"]),
        (["echo", os.fsdecode(b"<\xff>")], ["$ echo '<\udcff>'", r"<\xff>"]),
    ],
    ids=["a list", "a string", "several lines", "paths", "no utf-8"],
)
def test_a_list_runs_as_it_is_a_string_through_the_shell_and_both_are_announced(
    bench: Bench, command: Any, told: list[str]
) -> None:
    sh(bench, command)

    assert [line for line, _, _ in journaled(bench)] == told
    assert {(level, stream) for _, level, stream in journaled(bench)} == {("info", None), ("info", "stdout")}


def test_of_several_commands_the_first_that_fails_ends_the_program(bench: Bench) -> None:
    error = failure(bench, "echo dumping\n(exit 3)\necho uploading")

    assert error.returncode == 3
    assert from_stream(bench, "stdout") == ["dumping"]


def test_a_text_that_begins_like_an_option_of_the_shell_is_a_command(bench: Bench) -> None:
    assert failure(bench, "-s").returncode == 127


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ("\n    cat <<END\n    tea\n    END\n    echo done\n", None),
        ("cat << 'END'\ntea\nEND\necho $((1 <<END))", ["tea", "1"]),
        ("\tcat <<-END\n\ttea\n\tEND\n", ["tea"]),
    ],
    ids=["indented", "at the beginning", "after tabs"],
)
def test_a_here_document_whose_end_the_shell_would_not_find_is_refused(
    bench: Bench, script: str, printed: list[str] | None
) -> None:
    if printed is None:
        with pytest.raises(RecipeError, match="has to stand at the beginning of its line: END"):
            Request(command=script).argv()
    else:
        sh(bench, script)
        assert from_stream(bench, "stdout") == printed


def test_control_characters_of_a_command_and_its_output_do_nothing_on_the_display(bench: Bench) -> None:
    sh(bench, ["printf", r"%s\n", "\x1b[2J\x07"])

    assert bench.text.splitlines()[1:-1] == [r"$ printf '%s\n' '\x1b[2J\x07'", r"\x1b[2J\x07"]


def test_a_secret_in_a_command_is_given_to_the_program_and_shown_to_nobody(bench: Bench) -> None:
    error = failure(bench, python("raise SystemExit(len(__import__('sys').argv[1]))", Secret(TOKEN)))

    program = f"{sys.executable} -c 'raise SystemExit(len(__import__('\"'\"'sys'\"'\"').argv[1]))' '***'"
    assert journaled(bench) == [(f"$ {program}", "info", None)]
    assert (error.command, error.returncode) == (program, len(TOKEN))
    assert str(error) == f"`{program}` ended with exit code {len(TOKEN)}"


class Keeper(LiveOperation):
    """Has a secret, and hands it to programs."""

    token: Secret

    def run(self, p: Progress) -> None:
        value = self.token.reveal()
        p.sh(f"echo {value}; echo {value} >&2; exit 3")


def test_the_value_of_a_secret_is_masked_in_the_command_in_what_comes_back_and_in_the_error(bench: Bench) -> None:
    view = bench.run(Keeper(token=Secret(TOKEN)))

    assert sorted(journaled(bench), key=str) == [
        ("$ echo ***; echo *** >&2; exit 3", "info", None),
        ("***", "info", "stderr"),
        ("***", "info", "stdout"),
    ]
    assert view.error is not None
    assert view.error.message == "`echo ***; echo *** >&2; exit 3` ended with exit code 3\n  ***\n  ***"
    assert [each.name for each in bench.folder.iterdir() if TOKEN.encode() in each.read_bytes()] == []


@pytest.mark.parametrize(
    ("command", "message", "hint"),
    [
        ([], "p.sh needs a string, or a list of arguments, not []", None),
        *(
            (each, f"p.sh needs a string, or a list of arguments, not {each!r}", None)
            for each in (None, 5, Path("/bin/true"), Secret("echo hello"))
        ),
        (["sleep", 5], "p.sh: an argument must be a string or a path, not 5", 'write it as "5"'),
        (["sleep", None], "p.sh: an argument must be a string or a path, not None", 'write it as "None"'),
    ],
)
def test_what_is_no_command_is_an_error_of_the_recipe(
    bench: Bench, command: Any, message: str, hint: str | None
) -> None:
    def body(p: Progress) -> None:
        with pytest.raises(RecipeError) as caught:
            p.sh(command)
        assert (caught.value.message, caught.value.hint) == (message, hint)

    run(bench, body)


# --- what comes back


def test_the_result_holds_the_command_its_exit_code_how_long_it_took_and_what_was_captured(bench: Bench) -> None:
    done = sh(bench, ["printf", r"a\nb"], capture=True)

    assert [each.name for each in fields(done)] == ["command", "returncode", "seconds", "stdout", "stderr"]
    assert (done.command, done.returncode, done.stdout, done.stderr) == (r"printf 'a\nb'", 0, "a\nb", "")
    assert isinstance(done.seconds, float)


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("capture", [False, True])
def test_output_is_told_unless_quiet_and_kept_if_asked_for(bench: Bench, capture: bool, quiet: bool) -> None:
    command = "echo out; echo err >&2"

    done = sh(bench, command, capture=capture, quiet=quiet)

    assert (done.stdout, done.stderr) == (("out\n", "err\n") if capture else (None, None))
    told = [(f"$ {command}", "info", None), ("err", "info", "stderr"), ("out", "info", "stdout")]
    assert sorted(journaled(bench), key=str) == ([] if quiet else told)


def test_captured_bytes_that_are_no_utf_8_stand_as_escapes_and_line_ends_as_they_came(bench: Bench) -> None:
    assert output(bench, ["printf", r"\377\303\251\r\n\tx\000\r"]) == "\\xffé\r\n\tx\0\r"


def test_without_check_any_exit_code_comes_back(bench: Bench) -> None:
    codes = [sh(bench, command, check=False).returncode for command in ("exit 0", "exit 3", "exit 255", "kill -9 $$")]

    assert codes == [0, 3, 255, -9]


def test_a_quiet_program_that_fails_has_its_last_lines_in_the_error(bench: Bench) -> None:
    error = failure(bench, "echo out; exit 3", quiet=True)

    assert str(error) == "`echo out; exit 3` ended with exit code 3\n  out"
    assert journaled(bench) == []


# --- failing


@pytest.mark.parametrize(
    ("command", "code", "how"),
    [
        ("exit 3", 3, "ended with exit code 3"),
        ("exit 130", 130, "ended with exit code 130"),
        ("kill -SEGV $$", -signal.SIGSEGV, "was killed by SIGSEGV"),
        ("kill -KILL $$", -signal.SIGKILL, "was killed by SIGKILL"),
    ],
)
def test_a_program_that_fails_raises_what_it_was_and_how_it_ended(
    bench: Bench, command: str, code: int, how: str
) -> None:
    error = failure(bench, command)

    assert (error.message, error.command, error.returncode, error.tail) == (f"`{command}` {how}", command, code, ())


@on_linux
def test_a_signal_without_a_name_is_told_by_its_number(bench: Bench) -> None:
    error = failure(bench, "kill -35 $$")

    assert (error.message, error.returncode) == ("`kill -35 $$` was killed by signal 35", -35)


@pytest.mark.parametrize(("written", "first"), [(3, 1), (20, 1), (21, 2), (30, 11), (5000, 4981)])
def test_the_error_ends_with_the_last_twenty_lines_and_no_more(bench: Bench, written: int, first: int) -> None:
    error = failure(bench, f"seq {written}; exit 1")

    tail = tuple(str(number) for number in range(first, written + 1))
    assert error.tail == tail
    assert str(error) == "\n".join([f"`seq {written}; exit 1` ended with exit code 1", *(f"  {line}" for line in tail)])


def test_the_last_lines_are_those_of_both_streams(bench: Bench) -> None:
    error = failure(bench, "echo out; echo err >&2; exit 1")

    assert sorted(error.tail) == ["err", "out"]


def test_a_line_in_the_error_is_cut_as_the_line_that_was_told(bench: Bench) -> None:
    error = failure(bench, python("print('x' * 200_000); raise SystemExit(1)"))

    assert list(error.tail) == from_stream(bench, "stdout")


def test_an_unknown_program_can_not_start(bench: Bench) -> None:
    error = failure(bench, ["no-such-program", "-v"])

    assert (error.message, error.returncode) == (
        "`no-such-program -v` can't start: No such file or directory",
        127,
    )


def test_a_file_that_is_no_program_can_not_start(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    (tmp_path / "junk").write_bytes(b"\x7fjunk")
    (tmp_path / "junk").chmod(0o755)

    errors = [failure(bench, [f"{tmp_path}/{name}"]) for name in ("text", "junk")]

    assert [(error.message, error.returncode) for error in errors] == [
        (f"`{tmp_path}/text` can't start: Permission denied", 126),
        (f"`{tmp_path}/junk` can't start: Exec format error", 126),
    ]


@pytest.mark.parametrize("stdin", [{}, 3.5, io.StringIO("tea")], ids=["dict", "float", "no descriptor"])
def test_an_input_that_no_program_can_get_is_told_as_such(bench: Bench, stdin: Any) -> None:
    def body(p: Progress) -> None:
        with pytest.raises(RecipeError) as caught:
            p.sh("cat", stdin=stdin)
        assert str(caught.value) == f"p.sh: stdin must be text, bytes or an open file, not {stdin!r}"

    run(bench, body)


@pytest.mark.parametrize("name", ["missing", "a-file"])
def test_a_folder_that_is_none_is_told_as_such(bench: Bench, tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").write_text("")

    error = failure(bench, "pwd", cwd=tmp_path / name)

    assert error.message == f"`pwd` can't start: there is no folder {tmp_path}/{name}"


@pytest.mark.parametrize(
    ("command", "options", "why"),
    [
        (["echo", "a\0b"], {}, "embedded null byte"),
        (["echo"], {"env": {"A=B": "c"}}, "illegal environment variable name"),
        (["echo", "x" * 10_000_000], {"quiet": True}, "Argument list too long"),
        (["echo"], {"env": {"A": "x" * 10_000_000}}, "Argument list too long"),
    ],
    ids=["null", "variable", "argument", "environment"],
)
def test_what_the_system_refuses_to_start_is_told_with_its_reason(
    bench: Bench, command: list[str], options: dict[str, Any], why: str
) -> None:
    error = failure(bench, command, **options)

    assert error.message.endswith(f"` can't start: {why}")
    assert error.returncode == 126


def test_a_program_that_can_not_start_is_an_error_also_without_check(bench: Bench) -> None:
    assert failure(bench, ["no-such-program"], check=False).returncode == 127


def test_a_recipe_may_catch_the_error_and_go_on(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with suppress(ChildFailed):
            p.sh("exit 3")
        p.sh("echo on")

    run(bench, body)

    assert from_stream(bench, "stdout") == ["on"]


@on_linux
@pytest.mark.parametrize(
    "options",
    [
        {"command": ["no-such-program"]},
        {"command": ["no-such-program"], "pty": True},
        {"command": "true", "cwd": "/no/such/folder"},
        {"command": ["cat"], "stdin": "text", "cwd": "/no/such/folder"},
        {"command": ["cat"], "stdin": 1.5},
        pytest.param({"command": ["cat"], "stdin": "\ud800"}),
        {"command": "exit 3"},
        {"command": ["sleep", "1000"], "timeout": 0.01},
    ],
    ids=["program", "pty", "cwd", "stdin", "no stdin", "surrogate", "exit code", "timeout"],
)
def test_a_program_that_fails_leaves_nothing_open(bench: Bench, options: dict[str, Any]) -> None:
    def body(p: Progress) -> None:
        p.sh("exit 0")  # opens what stays open
        before = open_files()
        with suppress(Exception):
            p.sh(**options)
        assert open_files() == before

    run(bench, body)


# SIGCHLD that is ignored stays ignored in what a process starts.
def test_a_failure_is_seen_also_where_the_parent_ignored_the_end_of_children(project: Project) -> None:
    project.recipe("demo", "class Demo(LiveOperation):\n    def run(self, p):\n        p.sh('exit 3')\n")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        process = project.start("run", "demo")
    finally:
        signal.signal(signal.SIGCHLD, before)
    with process:
        process.communicate(timeout=60)

    assert process.returncode == 1


# --- the environment


def environment(bench: Bench, **options: Any) -> dict[str, str]:
    """Return the environment that a program sees."""
    return dict(each.split("=", 1) for each in output(bench, ["env", "-0"], **options).split("\0") if each)


def test_a_program_runs_in_the_current_folder_or_in_the_one_it_is_given(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()

    folders = [output(bench, ["pwd"], cwd=cwd) for cwd in (None, "inner", tmp_path / "inner")]

    assert folders == [f"{tmp_path}\n", f"{tmp_path}/inner\n", f"{tmp_path}/inner\n"]


def test_a_program_runs_also_when_the_current_folder_is_gone(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    assert output(bench, ["echo", "hello"]) == "hello\n"


def test_a_program_has_the_environment_and_four_variables_of_the_run(bench: Bench) -> None:
    seen = environment(bench)

    mark = seen.pop("STAGERUN_CHILD")
    assert mark == f"{os.environ.get('STAGERUN_CHILD', '')}/{os.getpid()}-1-1."
    given = {name: value for name, value in os.environ.items() if name != "STAGERUN_CHILD"}
    assert seen == given | {"STAGERUN_RUN_ID": "1", "STAGERUN_CI": "none", "PYTHONUNBUFFERED": "1"}


def test_variables_are_added_replaced_and_taken_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STAYS", "CHANGES", "GOES"):
        monkeypatch.setenv(name, "before")
    added = {"CHANGES": "after", "GOES": None, "NEVER_WAS": None, "NUMBER": 5, "PATHLIKE": Path("/x"), "EMPTY": ""}

    seen = environment(bench, env=added)

    names = ("STAYS", "CHANGES", "GOES", "NEVER_WAS", "NUMBER", "PATHLIKE", "EMPTY")
    assert {name: seen[name] for name in names if name in seen} == {
        "STAYS": "before",
        "CHANGES": "after",
        "NUMBER": "5",
        "PATHLIKE": "/x",
        "EMPTY": "",
    }


def test_a_secret_among_the_variables_is_given_as_its_value(bench: Bench) -> None:
    assert environment(bench, env={"TOKEN": Secret(TOKEN)}, quiet=True)["TOKEN"] == TOKEN


def test_a_program_is_looked_up_in_the_path_that_it_gets(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "own-tool").write_text("#!/bin/sh\necho own\n")
    (tmp_path / "own-tool").chmod(0o755)

    assert output(bench, ["own-tool"], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}) == "own\n"


def test_a_secret_parameter_from_the_environment_is_not_in_that_of_programs(project: Project) -> None:
    project.recipe(
        "demo",
        """
class Demo(LiveOperation):
    token: Secret
    place: str = ""

    def run(self, p):
        p.sh("echo ${STAGERUN_TOKEN-none} ${STAGERUN_PLACE-none}")
        p.sh("echo ${#STAGERUN_TOKEN}", env={"STAGERUN_TOKEN": self.token})
""",
    )

    done = project.stagerun("run", "demo", environ={"STAGERUN_TOKEN": TOKEN, "STAGERUN_PLACE": "here"})

    assert (done.code, done.err) == (0, "")
    assert logged(project, 1) == [
        "$ echo ${STAGERUN_TOKEN-none} ${STAGERUN_PLACE-none}",
        "none here",
        "$ echo ${#STAGERUN_TOKEN}",
        f"{len(TOKEN)}",
    ]


# --- the input

MEGABYTE = bytes(range(256)) * 4096


def test_without_input_a_program_reads_nothing(bench: Bench) -> None:
    source = "import os, sys; s = os.fstat(0); print(s.st_rdev == os.stat(os.devnull).st_rdev, repr(sys.stdin.read()))"

    assert output(bench, python(source)) == "True ''\n"


@pytest.mark.parametrize(
    ("given", "hexadecimal"),
    [("", ""), ("é\n", "c3a90a"), (os.fsdecode(b"\xff"), "ff"), (b"", ""), (b"\xff\x00\r\n", "ff000d0a")],
)
def test_text_and_bytes_arrive_as_they_are(bench: Bench, given: str | bytes, hexadecimal: str) -> None:
    source = "import sys; print(sys.stdin.buffer.read().hex())"

    assert output(bench, python(source), stdin=given) == f"{hexadecimal}\n"


def test_a_file_is_read_from_where_it_stands(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("one\ntwo\n")

    with (tmp_path / "input").open("rb", buffering=0) as file:
        file.readline()
        texts = [output(bench, ["cat"], stdin=file)]
        file.seek(0)
        texts.append(output(bench, ["cat"], stdin=file.fileno()))

    assert texts == ["two\n", "one\ntwo\n"]


def test_a_megabyte_goes_in_and_out_at_the_same_time(bench: Bench) -> None:
    text = "é" * 524_288

    assert output(bench, ["cat"], stdin=text, quiet=True) == text


def test_a_megabyte_goes_in_while_a_megabyte_comes_out_on_each_stream(bench: Bench) -> None:
    source = "import os\nwhile data := os.read(0, 65536):\n for fd in (1, 2):\n  os.write(fd, b'x' * len(data))"

    done = sh(bench, python(source), stdin=MEGABYTE, capture=True, quiet=True)

    assert (done.stdout, done.stderr) == ("x" * len(MEGABYTE),) * 2


def test_a_program_need_not_read_its_input(bench: Bench) -> None:
    done = sh(bench, ["head", "-c", "3"], stdin=b"abc" + MEGABYTE, capture=True)

    assert (done.returncode, done.stdout) == (0, "abc")


def test_a_secret_may_be_the_input(bench: Bench) -> None:
    assert output(bench, ["cat"], stdin=Secret(TOKEN), quiet=True) == TOKEN


# --- what it writes


def test_the_lines_of_a_stream_keep_their_order(bench: Bench) -> None:
    source = "import sys\nfor n in range(20_000): print(n, file=(sys.stdout, sys.stderr)[n % 2])"

    sh(bench, python(source))

    assert from_stream(bench, "stdout") == [str(number) for number in range(0, 20_000, 2)]
    assert from_stream(bench, "stderr") == [str(number) for number in range(1, 20_000, 2)]


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\n\n\nb\n", ["a", "", "", "b"]),
        (b"no end", ["no end"]),
        (b"a\nno end", ["a", "no end"]),
        (b"10%\r50%\r100%\ndone\n", ["100%", "done"]),
        (b"10%\r50%\r100%", ["100%"]),
        (b"10%\r50%\r", ["50%"]),
        (b"dos\r\nlines\r\n", ["dos", "lines"]),
        (b"one\r\r\ntwo\r\r\n", ["one", "two"]),
        (b"\xff\xfe junk \x80\n\xe2\x28\xa1\n", [r"\xff\xfe junk \x80", r"\xe2(\xa1"]),
        (b"\xf0\x9f\x98\x80\xc3\n\xc3", ["\U0001f600\\xc3", r"\xc3"]),
        (b"\x00\x07\x1b[31m\x7f\x85\n", ["\x00\x07\x1b[31m\x7f\\x85"]),
        ("a\u2028b\x0bc\x0cd\x1ce\x85f\n".encode(), ["a\u2028b\x0bc\x0cd\x1ce\x85f"]),
    ],
    ids=repr,
)
def test_bytes_become_lines(bench: Bench, written: bytes, lines: list[str]) -> None:
    sh(bench, python("import os, sys; os.write(1, bytes.fromhex(sys.argv[1]))", written.hex()))

    assert from_stream(bench, "stdout") == lines


def test_a_character_whose_bytes_come_one_by_one_stays_whole(bench: Bench) -> None:
    source = "import os, time\nfor byte in '<\U0001f600é>'.encode():\n os.write(1, bytes([byte])); time.sleep(0.02)"

    sh(bench, python(source))

    assert from_stream(bench, "stdout") == ["<\U0001f600é>"]


def test_of_a_line_of_ten_megabytes_the_beginning_is_told_and_how_much_is_missing(bench: Bench) -> None:
    sh(bench, python("import sys; sys.stdout.write('x' * 10_000_000 + '\\nnext\\n')"))

    cut = f"{'x' * LIMIT} [... {10_000_000 - LIMIT:,} characters cut]"
    assert from_stream(bench, "stdout") == [cut, "next"]


class Gate(Sink):
    """Makes a file as soon as a line is shown."""

    def __init__(self, line: str, file: Path) -> None:
        self._line, self._file = line, file

    def update(self, entry: events.Entry, view: RunView) -> None:
        if isinstance(entry.event, events.Log) and self._line in entry.event.lines:
            self._file.touch()


# Ends by itself if its first line is never shown.
WAITS_FOR_THE_GATE = """
import sys, time
from pathlib import Path
print("first")
end = time.monotonic() + 30
while not Path(sys.argv[1]).exists() and time.monotonic() < end:
    time.sleep(0.01)
print("seen" if Path(sys.argv[1]).exists() else "never seen")
"""


@pytest.mark.parametrize("pty", [False, True])
def test_the_first_line_of_a_python_program_is_told_while_it_runs(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pty: bool
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    gate = tmp_path / "gate"

    run(bench, lambda p: p.sh(python(WAITS_FOR_THE_GATE, str(gate)), pty=pty), Gate("first", gate))

    assert from_stream(bench, "stdout") == ["first", "seen"]


@pytest.mark.parametrize(("pty", "out", "err"), [(False, "a\n", ""), (True, "a\r\n", None)])
def test_a_program_that_closes_its_output_is_waited_for(bench: Bench, pty: bool, out: str, err: str | None) -> None:
    done = sh(bench, "echo a; exec >&- 2>&-; sleep 0.2; exit 3", check=False, capture=True, pty=pty)

    assert (done.returncode, done.stdout, done.stderr) == (3, out, err)


def test_what_a_program_in_the_background_writes_soon_after_is_told(bench: Bench) -> None:
    sh(bench, "(sleep 0.3; echo late) & echo now")

    assert journaled(bench)[1:] == [("now", "info", "stdout"), ("late", "info", "stdout")]


def _let_go_of(pid_file: Path) -> psutil.Process:
    """Return the process that was left alone; the caller ends it."""
    process = psutil.Process(int(pid_file.read_text()))
    assert process.status() != psutil.STATUS_ZOMBIE
    return process


def _kill(process: psutil.Process) -> None:
    process.kill()
    process.wait()  # on Linux it became a child of ours


@pytest.mark.parametrize("pty", [False, True])
def test_a_program_in_the_background_that_holds_the_output_is_named_and_left_alone(
    bench: Bench, tmp_path: Path, pty: bool
) -> None:
    # A pseudo-terminal that loses its leader hangs up.
    sh(bench, "trap '' HUP; sleep 1000 & echo $! > pid; echo done", pty=pty)

    holder = _let_go_of(tmp_path / "pid")
    try:
        text = f"output is still held open by process {holder.pid} (sleep); what it writes from now on is lost"
        assert journaled(bench)[1:] == [("done", "info", "stdout"), (text, "warning", None)]
        assert holder.is_running()
    finally:
        _kill(holder)


def test_a_line_that_was_begun_is_told_when_the_output_is_let_go(bench: Bench, tmp_path: Path) -> None:
    error = failure(bench, "printf 'no end'; sleep 1000 & echo $! > pid; exit 3")

    _kill(_let_go_of(tmp_path / "pid"))
    assert (from_stream(bench, "stdout"), error.tail) == (["no end"], ("no end",))


# --- a time limit


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(bench: Bench, tmp_path: Path) -> None:
    command = "sleep 1000 & echo $! > pid; echo ready; wait"

    error = failure(bench, command, timeout=1)

    assert (error.message, error.returncode, error.tail) == (
        f"`{command}` took longer than 1s\n  ready",
        None,
        ("ready",),
    )
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_program_in_time_has_no_limit(bench: Bench) -> None:
    assert sh(bench, "exit 0", timeout=1000).returncode == 0


def test_the_error_shows_the_line_at_which_a_program_was_stuck(bench: Bench) -> None:
    error = failure(bench, "printf 'Overwrite? [y/n] '; sleep 1000", timeout=1)

    assert error.tail == ("Overwrite? [y/n] ",)


@pytest.mark.parametrize("limit", [0, -1, "5", True, float("inf"), float("nan")], ids=repr)
def test_a_time_limit_that_is_none_is_an_error_of_the_recipe(bench: Bench, limit: Any) -> None:
    def body(p: Progress) -> None:
        with pytest.raises(RecipeError) as caught:
            p.sh("exit 0", timeout=limit)
        assert str(caught.value) == f"p.sh: timeout must be a number of seconds above 0, not {limit!r}"

    run(bench, body)


# --- a pseudo-terminal


def test_on_a_pseudo_terminal_both_streams_are_a_terminal_of_80_by_24_and_one(bench: Bench) -> None:
    source = """
import os, sys
print(*(os.isatty(descriptor) for descriptor in range(3)), *os.get_terminal_size(1))
print("err", file=sys.stderr)
print(os.ttyname(1) == os.ttyname(2), os.getsid(0) == os.getpid() == os.tcgetpgrp(1))
"""

    done = sh(bench, python(source), pty=True, capture=True)

    assert (done.stdout, done.stderr) == ("False True True 80 24\r\nerr\r\nTrue True\r\n", None)
    assert journaled(bench)[-3:] == [
        ("False True True 80 24", "info", "stdout"),
        ("err", "info", "stdout"),
        ("True True", "info", "stdout"),
    ]


def test_without_one_nothing_is_a_terminal(bench: Bench) -> None:
    source = "import os; print(*(os.isatty(descriptor) for descriptor in range(3)))"

    assert output(bench, python(source)) == "False False False\n"


@pytest.mark.parametrize(
    ("written", "lines"), [(r"10%%\r100%%\nno end", ["100%", "no end"]), (r"one\r\ntwo\r\n", ["one", "two"])]
)
def test_on_a_pseudo_terminal_bytes_become_lines_as_elsewhere(bench: Bench, written: str, lines: list[str]) -> None:
    sh(bench, ["printf", written], pty=True)

    assert from_stream(bench, "stdout") == lines


def test_input_goes_to_a_program_on_a_pseudo_terminal_through_a_pipe(bench: Bench) -> None:
    assert output(bench, ["cat"], stdin="text\n", pty=True) == "text\r\n"


# A terminal that is stopped, or a pager that waits, keeps our lines from getting out.
@on_linux
def test_nothing_is_lost_of_a_program_that_has_ended_while_nobody_reads_ours(project: Project) -> None:
    project.recipe(
        "demo",
        '''
import sys

CHILD = """
import os, signal
os.kill(os.getppid(), signal.SIGSTOP)
for number in range(140):
    os.write(1, b"%03d" % number * 33 + b"\\\\n")
os.rename("begun", "written")
"""

class Demo(LiveOperation):
    def run(self, p):
        open("begun", "w").close()
        p.log("x" * 50_000)
        p.sh([sys.executable, "-c", CHILD], pty=True)
''',
    )

    with running(project, "run", "--progress", "plain", "demo") as ours:
        until((project.root / "written").exists)
        until(lambda: psutil.Process(ours.pid).children()[0].status() == psutil.STATUS_ZOMBIE)
        ours.send_signal(signal.SIGCONT)
        threading.Event().wait(3)  # longer than the hold
        assert ours.stdout is not None
        ours.stdout.read()

    sql = "SELECT json_extract(data, '$.text') FROM events WHERE json_extract(data, '$.stream') = 'stdout' ORDER BY seq"
    text = "\n".join(str(line) for (line,) in rows(project, sql))
    assert text.split("\n") == [f"{number:03}" * 33 for number in range(140)]


# --- from threads, from a loop, from a fork


def test_programs_may_be_run_from_a_thread(bench: Bench) -> None:
    results = list[Completed]()

    def body(p: Progress) -> None:
        thread = threading.Thread(target=lambda: results.append(p.sh("echo from a thread", capture=True)))
        thread.start()
        thread.join()

    run(bench, body)

    assert [(each.command, each.returncode, each.stdout) for each in results] == [
        ("echo from a thread", 0, "from a thread\n")
    ]
    assert journaled(bench) == [("$ echo from a thread", "info", None), ("from a thread", "info", "stdout")]


def test_programs_may_be_run_by_a_map_and_each_result_is_its_own(bench: Bench) -> None:
    results = list[Completed]()

    def work(p: Progress, number: int) -> Completed:
        return p.sh(["sh", "-c", f"echo {number}; echo {number} >&2"], capture=True)

    run(bench, lambda p: results.extend(p.map(lambda number: work(p, number), range(40), workers=8)))

    assert [(each.stdout, each.stderr) for each in results] == [(f"{number}\n",) * 2 for number in range(40)]
    assert Counter(from_stream(bench, "stdout")) == Counter(str(number) for number in range(40))


def test_a_program_that_fails_in_a_map_fails_the_map_with_its_item(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with pytest.raises(ChildFailed) as caught:
            p.map(lambda number: p.sh(f"exit {number}"), [0, 3], workers=2)
        assert (str(caught.value), caught.value.__notes__) == (
            "`exit 3` ended with exit code 3",
            ["in p.map, with the item 3"],
        )

    run(bench, body)


@on_linux
def test_a_hundred_programs_in_a_tracked_loop_leave_nothing_open_and_no_zombie(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.sh(["echo", "first"])
        before = open_files(), psutil.Process().children()
        for number in p.track(range(100)):
            p.sh(["echo", str(number)])
        assert (open_files(), psutil.Process().children()) == before

    run(bench, body)

    assert from_stream(bench, "stdout") == ["first", *map(str, range(100))]


def test_programs_of_a_fork_run_and_those_of_the_run_go_on(project: Project) -> None:
    project.recipe(
        "demo",
        """
import os

class Demo(LiveOperation):
    def run(self, p):
        p.sh("echo before")
        if not (fork := os.fork()):
            done = p.sh("echo forked; exit 3", check=False, capture=True)
            os._exit(done.returncode if done.stdout == "forked\\n" else 1)
        p.log(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]))
        p.sh("echo after")
""",
    )

    done = project.stagerun("run", "demo")

    assert (done.code, done.err) == (0, "")
    assert logged(project, 1) == ["$ echo before", "before", "3", "$ echo after", "after"]


def test_the_time_limit_of_a_fork_ends_no_program_of_another(project: Project) -> None:
    project.recipe(
        "demo",
        """
import os, pathlib, time

class Demo(LiveOperation):
    def run(self, p):
        if not (fork := os.fork()):
            while not pathlib.Path("started").exists():
                time.sleep(0.01)
            try:
                p.sh("sleep 1000", timeout=0.1)
            finally:
                pathlib.Path("over").touch()
                os._exit(0)
        p.sh("touch started; while [ ! -e over ]; do sleep 0.01; done; echo whole")
        os.waitpid(fork, 0)
""",
    )

    done = project.stagerun("run", "demo")

    assert (done.code, logged(project, 1)[1:]) == (0, ["whole"])


# --- the displays


def test_as_json_what_a_program_writes_is_an_event_and_nothing_else_is_on_standard_output(project: Project) -> None:
    project.recipe(
        "demo", "class Demo(LiveOperation):\n    def run(self, p):\n        p.sh('echo out; sleep 0.1; echo err >&2')\n"
    )

    done = project.stagerun("run", "--progress", "json", "demo")

    told = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, done.err) == (0, "")
    assert [(each["line"], each["stream"]) for each in told if each["event"] == "log"] == [
        ("$ echo out; sleep 0.1; echo err >&2", None),
        ("out", "stdout"),
        ("err", "stderr"),
    ]


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]], ids=str)
def test_programs_run_also_where_standard_streams_are_closed(project: Project, closed: list[int]) -> None:
    project.recipe(
        "demo",
        """
class Demo(LiveOperation):
    def run(self, p):
        p.sh("cat; echo out; sleep 0.1; echo err >&2")
        p.sh(["cat"], stdin="text")
""",
    )
    shut = " ".join(f"{descriptor}>&-" for descriptor in closed)

    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" run demo {shut}', STAGERUN],
        cwd=project.root,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert logged(project, 1) == ["$ cat; echo out; sleep 0.1; echo err >&2", "out", "err", "$ cat", "text"]


def test_a_program_has_three_files_open_and_no_more(bench: Bench) -> None:
    source = "import os; print(sorted(int(each) for each in os.listdir('/dev/fd')))"

    # The last one is the folder that is being read.
    assert output(bench, python(source)) == "[0, 1, 2, 3]\n"
