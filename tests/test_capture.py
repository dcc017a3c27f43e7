"""Capture: what a recipe prints, logs and warns of becomes log lines, and everything is given back."""

import io
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

import pytest

from stagerun import LiveOperation, Progress, events
from stagerun.authoring.capture import Capture
from stagerun.states import RunState
from stagerun.text.masking import Masker
from tests.conftest import Bench, Project


Line = tuple[str, str, str | None]


class Lines(list[Line]):
    """What a Capture writes: text, level, stream."""

    def write(self, text: str, level: str, stream: str | None) -> None:
        self.append((text, level, stream))


@pytest.fixture
def lines() -> Lines:
    return Lines()


@contextmanager
def bare_logging() -> Iterator[logging.Logger]:
    """Make the root logger what a new process has; the test runner adds handlers of its own before each test."""
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    root.handlers.clear()
    root.setLevel(logging.WARNING)
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger that no other test has."""
    name = "demo.capture"
    yield logging.getLogger(name)
    manager = logging.Logger.manager
    for each in ("demo", name):
        manager.loggerDict.pop(each, None)


def told(bench: Bench, body: Callable[[], object]) -> list[events.Event]:
    class Demo(LiveOperation):
        def run(self, p: Progress) -> None:
            body()

    assert bench.run(Demo()).state is RunState.SUCCEEDED
    return bench.seen.events[2:-1]


# --- print


def test_what_is_printed_becomes_log_lines_of_the_run_with_their_stream(bench: Bench) -> None:
    def body() -> None:
        print("one")
        print("two\nthree", file=sys.stderr)
        print()

    assert told(bench, body) == [
        events.Log("one", "info", "stdout"),
        events.Log("two", "info", "stderr"),
        events.Log("three", "info", "stderr"),
        events.Log("", "info", "stdout"),
    ]


def test_a_line_is_told_when_it_ends_and_not_before(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        print("one, ", end="")
        sys.stdout.write("two")
        sys.stdout.flush()
        before = lines.copy()
        print(", three")

    assert (before, lines) == ([], [("one, two, three", "info", "stdout")])


def test_a_line_that_is_never_ended_is_told_at_the_end(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        print("no end", end="")
        print("nor here", end="", file=sys.stderr)

    assert sorted(lines) == [("no end", "info", "stdout"), ("nor here", "info", "stderr")]


def test_nothing_that_was_not_printed_is_told(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        print(end="")
        print("whole")

    assert lines == [("whole", "info", "stdout")]


def test_a_line_that_a_thread_has_begun_waits_for_that_thread(lines: Lines) -> None:
    def other() -> None:
        print("of another thread")

    with Capture(lines.write, Masker()):
        print("begun, ", end="")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        print("ended")

    assert [text for text, _, _ in lines] == ["of another thread", "begun, ended"]


def test_threads_that_print_never_mix_their_lines(lines: Lines) -> None:
    start = threading.Barrier(8)

    def work(worker: int) -> None:
        start.wait()
        for number in range(500):
            print(worker, end=" ")
            print(number)

    with Capture(lines.write, Masker()):
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    texts = [text for text, _, _ in lines]
    assert len(texts) == 4_000
    for worker in range(8):
        assert [text for text in texts if text[0] == str(worker)] == [f"{worker} {number}" for number in range(500)]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (["\r10%", "\r20%", "\r30%", "\n"], "30%"),
        (["10%\r", "20%\r", "30%\r", "\n"], "30%"),
        (["10%\r20%\r30%\n"], "30%"),
        (["10%\r20%", "\r", "30%", "\r\n"], "30%"),
        (["windows\r\n"], "windows"),
        (["\rnever ended"], "never ended"),
    ],
)
def test_of_a_bar_that_is_drawn_over_itself_the_last_state_is_kept(lines: Lines, written: list[str], text: str) -> None:
    with Capture(lines.write, Masker()):
        for part in written:
            sys.stdout.write(part)

    assert lines == [(text, "info", "stdout")]


def test_a_bar_of_many_states_needs_no_memory(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        for n in range(100_000):
            sys.stdout.write(f"\r{n:,} rows")
        print()

    assert lines == [("99,999 rows", "info", "stdout")]


def test_only_a_line_end_ends_a_line(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        print("a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g")

    assert lines == [("a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g", "info", "stdout")]


def test_what_is_never_ended_is_told_in_parts_once_it_is_long(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        for _ in range(3):
            sys.stdout.write("x" * 40_000)

    assert "".join(text for text, _, _ in lines) == "x" * 120_000
    assert [len(text) for text, _, _ in lines] == [80_000, 40_000]


def test_a_captured_stream_is_what_scripts_expect_of_one(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        out = sys.stdout
        assert isinstance(out, io.TextIOBase)
        asked = (out.writable(), out.readable(), out.isatty(), out.encoding, out.errors, out.closed)
        out.reconfigure(encoding="latin-1", line_buffering=True)  # type: ignore[attr-defined]
        count = out.write("éa\n")
        out.writelines(["b\n", "c\n"])

    assert asked == (True, False, False, "utf-8", "backslashreplace", False)
    assert count == 3
    assert [text for text, _, _ in lines] == ["éa", "b", "c"]


def test_bytes_that_are_written_below_the_text_become_lines(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        count = sys.stdout.buffer.write("é".encode() + b"\xff\n")
        sys.stderr.buffer.write(memoryview(b"raw\n"))
        sys.stdout.buffer.flush()

    assert count == 4
    assert lines == [("é\\xff", "info", "stdout"), ("raw", "info", "stderr")]


def test_a_character_that_is_written_in_two_halves_stays_one(lines: Lines) -> None:
    with Capture(lines.write, Masker()):
        for byte in "é保\n".encode():
            sys.stdout.buffer.write(bytes([byte]))

    assert lines == [("é保", "info", "stdout")]


def test_a_recipe_may_redirect_its_own_output(lines: Lines) -> None:
    own = io.StringIO()
    with Capture(lines.write, Masker()):
        with redirect_stdout(own):
            print("mine")
        print("yours")

    assert (own.getvalue(), lines) == ("mine\n", [("yours", "info", "stdout")])


# --- logging


def test_records_become_log_lines_with_level_and_logger(bench: Bench, logger: logging.Logger) -> None:
    def body() -> None:
        for level in (logging.DEBUG, logging.INFO, 25, logging.WARNING, logging.ERROR, logging.CRITICAL, 60):
            logger.log(level, "at %d", level)
        logging.getLogger().info("of the root")

    with bare_logging():
        seen = told(bench, body)

    assert seen == [
        events.Log("at 20", "info", "demo.capture"),
        events.Log("at 25", "info", "demo.capture"),
        events.Log("at 30", "warning", "demo.capture"),
        events.Log("at 40", "error", "demo.capture"),
        events.Log("at 50", "critical", "demo.capture"),
        events.Log("at 60", "critical", "demo.capture"),
        events.Log("of the root", "info", "root"),
    ]


def test_the_level_that_a_script_has_set_up_is_kept(lines: Lines, logger: logging.Logger) -> None:
    with bare_logging() as root:
        root.setLevel(logging.DEBUG)
        with Capture(lines.write, Masker()):
            logger.debug("all of it")
        root.setLevel(logging.ERROR)
        with Capture(lines.write, Masker()):
            logger.warning("not this")
            logger.error("but this")

    assert lines == [("all of it", "debug", "demo.capture"), ("but this", "error", "demo.capture")]


def test_a_script_that_has_a_console_at_warning_gets_no_more_than_it_asked_for(
    lines: Lines, logger: logging.Logger
) -> None:
    with bare_logging() as root:
        root.addHandler(logging.StreamHandler(sys.stderr))
        with Capture(lines.write, Masker()):
            logger.info("not this")
            logger.warning("but this")

    assert lines == [("but this", "warning", "demo.capture")]


@pytest.mark.parametrize("stream", ["stdout", "stderr", "__stdout__", "__stderr__"])
def test_a_console_of_the_root_does_not_double_a_line(
    lines: Lines, logger: logging.Logger, capfd: pytest.CaptureFixture[str], stream: str
) -> None:
    with bare_logging() as root:
        root.addHandler(logging.StreamHandler(getattr(sys, stream)))
        with Capture(lines.write, Masker()):
            logger.warning("once")

    assert lines == [("once", "warning", "demo.capture")]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("propagate", [True, False])
def test_a_console_of_another_logger_does_not_double_a_line(
    lines: Lines, logger: logging.Logger, capfd: pytest.CaptureFixture[str], propagate: bool
) -> None:
    logger.propagate = propagate
    logger.addHandler(logging.StreamHandler(sys.stderr))
    with bare_logging(), Capture(lines.write, Masker()):
        logger.warning("once")

    assert lines == [("once", "warning", "demo.capture")]
    assert capfd.readouterr() == ("", "")


def test_a_handler_that_writes_to_a_file_goes_on_writing(lines: Lines, logger: logging.Logger, tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "own.log")
    logger.addHandler(handler)
    with bare_logging(), Capture(lines.write, Masker()):
        logger.warning("both")
    handler.close()

    assert (lines, (tmp_path / "own.log").read_text()) == ([("both", "warning", "demo.capture")], "both\n")


def test_a_logged_exception_brings_its_traceback(bench: Bench, logger: logging.Logger) -> None:
    def body() -> None:
        try:
            int("boom")
        except ValueError:
            logger.exception("it broke")

    with bare_logging():
        seen = [event for event in told(bench, body) if isinstance(event, events.Log)]

    assert {(event.level, event.stream) for event in seen} == {("error", "demo.capture")}
    texts = [event.text for event in seen]
    assert (texts[:2], texts[-1]) == (
        ["it broke", "Traceback (most recent call last):"],
        "ValueError: invalid literal for int() with base 10: 'boom'",
    )


def test_a_record_that_can_not_be_formatted_stops_nothing(lines: Lines, logger: logging.Logger) -> None:
    with bare_logging(), Capture(lines.write, Masker()):
        logger.warning("%d", "no number")
        logger.warning("next")

    assert lines == [
        (
            "'%d' can't be formatted with ('no number',): %d format: a real number is required, not str",
            "warning",
            "demo.capture",
        ),
        ("next", "warning", "demo.capture"),
    ]


def test_a_recipe_that_imports_logging_only_when_it_runs_gets_its_levels_too(project: Project) -> None:
    project.recipe(
        "late",
        "class Op(LiveOperation):\n"
        "    def run(self, p):\n"
        "        import logging\n"
        "        logging.getLogger('late').warning('careful')\n"
        "        logging.getLogger('late').info('told')\n",
    )

    done = project.stagerun("run", "late", "--progress", "plain", fresh=True)

    assert (done.code, done.err) == (0, "")
    assert [entry.event for entry in project.records().entries(1, kinds=["log"])] == [
        events.Log("careful", "warning", "late"),
        events.Log("told", "info", "late"),
    ]


def test_an_import_of_logging_in_a_run_moves_no_finder_from_under_another_thread(project: Project) -> None:
    project.recipe(
        "demo",
        "import sys\n"
        "class Demo(LiveOperation):\n"
        "    def run(self, p):\n"
        "        before, late = sys.meta_path.copy(), 'logging' not in sys.modules\n"
        "        import logging\n"
        "        print(late, sys.meta_path == before)\n",
    )

    assert "True True" in project.stagerun("run", "demo", fresh=True).out.splitlines()


def test_a_recipe_that_sets_logging_up_itself_gets_each_line_once(project: Project) -> None:
    project.recipe(
        "own",
        "import logging\n"
        "class Op(LiveOperation):\n"
        "    def run(self, p):\n"
        "        logging.basicConfig(level=logging.INFO)\n"
        "        logging.getLogger('own').warning('careful')\n",
    )

    done = project.stagerun("run", "own", "--progress", "plain")

    assert (done.code, done.out.splitlines()[1:-1]) == (0, ["warning: careful"])


# --- warnings


def test_a_warning_becomes_a_log_line_with_its_place(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with Capture(lines.write, Masker()):
            warnings.warn_explicit("old", DeprecationWarning, "recipe.py", 7)

    assert lines == [("recipe.py:7: DeprecationWarning: old", "warning", "warnings")]


def test_a_warning_of_a_recipe_is_a_line_of_its_run(bench: Bench) -> None:
    def body() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn_explicit("old", UserWarning, "recipe.py", 7)

    assert told(bench, body) == [events.Log("recipe.py:7: UserWarning: old", "warning", "warnings")]


# --- afterwards


def _leave_quietly() -> None: ...


def _leave_by_error() -> None:
    raise KeyError("boom")


@pytest.mark.parametrize("leave", [_leave_quietly, _leave_by_error])
def test_streams_and_warnings_are_given_back(lines: Lines, leave: Callable[[], None]) -> None:
    before = (sys.stdout, sys.stderr, warnings.showwarning)

    with suppress(KeyError), Capture(lines.write, Masker()):
        during = (sys.stdout, sys.stderr, warnings.showwarning)
        leave()

    assert [new is old for new, old in zip(during, before, strict=True)] == [False] * 3
    assert (sys.stdout, sys.stderr, warnings.showwarning) == before


@pytest.mark.parametrize("leave", [_leave_quietly, _leave_by_error])
def test_handlers_and_level_are_given_back_in_their_order(
    lines: Lines, logger: logging.Logger, tmp_path: Path, leave: Callable[[], None]
) -> None:
    console, file = logging.StreamHandler(sys.stderr), logging.FileHandler(tmp_path / "own.log")
    own = logging.StreamHandler(sys.stdout)
    logger.addHandler(own)

    with bare_logging() as root:
        root.setLevel(logging.ERROR)
        for handler in (console, file):
            root.addHandler(handler)
        with suppress(KeyError), Capture(lines.write, Masker()):
            root.setLevel(logging.DEBUG)
            leave()
        after = (root.handlers.copy(), root.level, logger.handlers.copy())
    file.close()

    assert after == ([console, file], logging.ERROR, [own])


def test_the_level_of_a_root_that_nobody_set_up_is_given_back(lines: Lines) -> None:
    with bare_logging() as root:
        with Capture(lines.write, Masker()):
            during = root.level
        after = (root.level, root.handlers.copy())

    assert (during, after) == (logging.INFO, (logging.WARNING, []))


def test_a_stream_that_the_recipe_put_in_place_is_left_in_place(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    own = io.StringIO()
    with Capture(lines.write, Masker()):
        print("unfinished", end="")
        sys.stdout = own

    assert (sys.stdout, lines) == (own, [("unfinished", "info", "stdout")])


def test_a_process_without_streams_is_captured_too() -> None:
    program = """
import sys
sys.stdout = sys.stderr = None
from stagerun.authoring.capture import Capture
from stagerun.text.masking import Masker
lines = []
with Capture(lambda *line: lines.append(line), Masker()):
    print("told")
assert sys.stdout is None and sys.stderr is None
assert lines == [("told", "info", "stdout")], lines
raise SystemExit(7)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7


def test_a_fork_of_the_recipe_prints_where_it_would_have_printed_without_us() -> None:
    program = """
import os, sys
from stagerun.authoring.capture import Capture
from stagerun.text.masking import Masker
lines = []
with Capture(lambda *line: lines.append(line), Masker()):
    child = os.fork()
    if not child:
        print("from the child", flush=True)
        sys.__stdout__.flush()
        os._exit(0)
    os.waitpid(child, 0)
    print("from the parent")
print(lines)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("from the child\n[('from the parent', 'info', 'stdout')]\n", "")


def test_a_question_is_a_line_before_the_answer_is_read_where_nobody_sits_at_a_terminal(project: Project) -> None:
    project.recipe("orders", "class Import(LiveOperation):\n    def run(self, p):\n        print(input('name? '))\n")
    command, environ = [sys.executable, "-m", "stagerun", "run", "orders"], project.environ

    done = subprocess.run(command, cwd=project.root, env=environ, input="bob\n", text=True, check=True, stdout=-1)

    assert done.stdout.splitlines()[1:3] == ["name?", "bob"]
