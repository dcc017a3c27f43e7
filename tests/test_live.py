"""The live display, as a person sees it on a terminal."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Project
from tests.terminal import Terminal


_PARTS_THAT_VARY = (
    (r" *\b\d+\.\d+s", " 0.0s"),
    (r"[\d,.]+/s", "9/s"),
    (r"\b\d+s left", "1s left"),
    (r"[━╸─]+|=+-?\.+", "━"),
)

# `hold` lets a test look at the screen: the recipe goes on when the test has made the file.
_HOLD = """
import time
from pathlib import Path

def hold(name):
    Path(f"{name}-reached").touch()
    while not Path(name).exists():
        time.sleep(0.005)
"""

Open = Callable[..., Terminal]


@pytest.fixture
def open_terminal(project: Project) -> Open:
    """Return a function that runs a recipe on a terminal."""

    def run(source: str, **options: Any) -> Terminal:
        project.recipe("demo", _HOLD + source)
        return project.terminal("run", "demo:Import", **options)

    return run


def seen(terminal: Terminal) -> list[str]:
    """Return what the terminal shows, with the same figures whenever it was run."""
    lines = terminal.lines
    for pattern, constant in _PARTS_THAT_VARY:
        lines = [re.sub(pattern, constant, line) for line in lines]
    return lines


def shows(terminal: Terminal, expected: list[str]) -> bool:
    """Wait until the terminal shows exactly `expected`; a frame may be half drawn before."""
    try:
        terminal.wait_until(lambda: seen(terminal) == expected)
    except AssertionError:
        assert seen(terminal) == expected
        raise
    return True


def redrawn(terminal: Terminal, times: int = 3) -> None:
    """Wait until the region has been drawn anew."""
    drawn = terminal.raw.count(b"demo:Import")
    terminal.wait_until(lambda: terminal.raw.count(b"demo:Import") >= drawn + times)


# What stands above the region once a first stage is over that has said one line.
LOADED = ["[1/3] Load", "read 10,000 rows", "✓ [1/3] Load: done in 0.0s"]

SUCCESS = """
class Import(LiveOperation):
    stages = ["Load", "Process", "Save"]

    def run(self, p: Progress):
        with p.stage("Load"):
            p.log("read 10,000 rows")
        with p.stage("Process"):
            p.status("cleaning")
            for row in p.track(range(20), unit="row"):
                if row == 10:
                    hold("half")
        with p.stage("Save"):
            pass
        p.result({"count": 10000})
"""


@pytest.mark.parametrize(
    ("columns", "bar", "stages"),
    [
        (80, " Process ━  50%  10/20 rows  1s left  9/s", ["✓ Load 0.0s   ✓ Process 0.0s   ✓ Save 0.0s"]),
        (40, " Process ━  50%  1s left", ["✓ Load 0.0s", "✓ Process 0.0s", "✓ Save 0.0s"]),
    ],
)
def test_a_run_shows_what_is_done_how_far_it_is_and_what_comes_and_in_the_end_its_stages_and_its_result(
    open_terminal: Open, project: Project, columns: int, bar: str, stages: list[str]
) -> None:
    with open_terminal(SUCCESS, columns=columns) as terminal:
        assert shows(
            terminal,
            [
                *LOADED,
                " run 1 · demo:Import 0.0s",
                " ✓ Load 0.0s   ● Process 0.0s   ○ Save",
                bar,
                " cleaning",
            ],
        )
        (project.root / "half").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [
            *LOADED,
            "✓ [2/3] Process: done in 0.0s",
            "✓ [3/3] Save: done in 0.0s",
            "run 1 · demo:Import · started by alice",
            *stages,
            "count=10000",
            "run 1 succeeded in 0.0s",
        ]
        assert terminal.cursor_is_visible


FAILURE = """
class Import(LiveOperation):
    stages = ["Load", "Process", "Save"]

    def run(self, p: Progress):
        with p.stage("Load"):
            p.log("read 10,000 rows")
        with p.stage("Process"):
            hold("process")
            raise ValueError("boom")
"""


def _wrapped(line: str, columns: int) -> list[str]:
    return [line[start : start + columns].rstrip() for start in range(0, len(line), columns)]


@pytest.mark.parametrize("columns", [80, 40])
def test_the_last_frame_of_a_failure_holds_the_traceback_and_how_to_go_on(
    open_terminal: Open, project: Project, columns: int
) -> None:
    (project.root / "process").touch()

    with open_terminal(FAILURE, columns=columns) as terminal:
        assert terminal.wait() == 1

        source = project.root / "recipes" / "demo.py"
        line = source.read_text().split("\n").index('            raise ValueError("boom")') + 1
        assert seen(terminal) == [
            *LOADED,
            "✗ [2/3] Process: failed after 0.0s",
            "run 1 · demo:Import · started by alice",
            "✓ Load 0.0s   ✗ Process 0.0s   ○ Save",
            "Traceback (most recent call last):",
            *_wrapped(f'  File "{source}", line {line}, in run', columns),
            '    raise ValueError("boom")',
            "ValueError: boom",
            "run 1 failed in [2/3] Process after 0.0s",
            "resume with: stagerun resume 1",
        ]
        assert terminal.cursor_is_visible


def test_control_c_shows_a_cancelled_run_and_nothing_of_the_keys(open_terminal: Open) -> None:
    with open_terminal(FAILURE) as terminal:
        terminal.wait_for("● Process")
        terminal.send(b"\x03")

        assert terminal.wait() == -2

        assert seen(terminal) == [
            *LOADED,
            "⊘ [2/3] Process: cancelled after 0.0s",
            "run 1 · demo:Import · started by alice",
            "✓ Load 0.0s   ⊘ Process 0.0s   ○ Save",
            "run 1 cancelled by SIGINT in [2/3] Process after 0.0s",
            "resume with: stagerun resume 1",
        ]
        assert terminal.cursor_is_visible


def test_control_c_beside_a_line_that_fills_the_window_leaves_nothing_behind(
    open_terminal: Open, project: Project
) -> None:
    source = """
class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        with p.stage("Load"):
            p.log("read 10,000 rows")
            try:
                for row in p.track(range(20), unit="row"):
                    if row == 10:
                        hold("never")
            except OperationCancelled:
                hold("cleaned")
                raise
"""
    with open_terminal(source, columns=50) as terminal:
        terminal.wait_for("50%")
        terminal.send(b"\x03")
        terminal.wait_until((project.root / "cleaned-reached").exists)
        redrawn(terminal)

        assert shows(
            terminal,
            [
                "[1/1] Load",
                "read 10,000 rows",
                " run 1 · demo:Import 0.0s",
                " ● Load 0.0s",
                " Load ━  50%  10/20 rows  9/s",
            ],
        )
        (project.root / "cleaned").touch()

        assert terminal.wait() == -2
        assert seen(terminal) == [
            "[1/1] Load",
            "read 10,000 rows",
            "⊘ [1/1] Load: cancelled after 0.0s",
            "run 1 · demo:Import · started by alice",
            "⊘ Load 0.0s",
            "Load: 50% (10/20 rows) in 0.0s",
            "run 1 cancelled by SIGINT in [1/1] Load after 0.0s",
            "resume with: stagerun resume 1",
        ]


def test_a_third_control_c_ends_the_run_at_once_and_leaves_the_cursor_visible(
    open_terminal: Open, project: Project
) -> None:
    source = """
class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        with p.stage("Load"):
            for name in ("first", "second", "third"):
                try:
                    hold(name)
                except BaseException:
                    pass
"""
    with open_terminal(source) as terminal:
        terminal.wait_for("● Load")
        for name in ("first", "second", "third"):
            terminal.wait_until((project.root / f"{name}-reached").exists)
            terminal.send(b"\x03")

        assert terminal.wait() in (130, -2)
        assert terminal.cursor_is_visible


def test_a_chain_goes_on_below_the_run_it_came_from(open_terminal: Open, project: Project) -> None:
    source = """
class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        with p.stage("Load"):
            p.log("read 10,000 rows")
        p.chain_to(Publish(owner=self.owner))

class Publish(LiveOperation):
    stages = ["Upload"]

    def run(self, p: Progress):
        with p.stage("Upload"):
            p.log("uploading")
            p.percent(50)
            hold("upload")
"""
    with open_terminal(source) as terminal:
        first = [
            "[1/1] Load",
            "read 10,000 rows",
            "✓ [1/1] Load: done in 0.0s",
            "run 1 · demo:Import · started by alice",
            "✓ Load 0.0s",
            "run 1 succeeded in 0.0s",
            "[1/1] Upload",
            "uploading",
        ]
        assert shows(
            terminal,
            [*first, " run 2 · demo:Publish (chained from 1) 0.0s", " ● Upload 0.0s", " Upload ━  50%  1s left"],
        )
        (project.root / "upload").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [
            *first,
            "✓ [1/1] Upload: done in 0.0s",
            "run 2 · demo:Publish · chained from run 1",
            "✓ Upload 0.0s",
            "run 2 succeeded in 0.0s",
        ]


def test_of_many_stages_only_those_have_a_line_that_said_something_or_went_wrong(open_terminal: Open) -> None:
    source = """
class Import(LiveOperation):
    stages = [f"Step {number}" for number in range(30)]

    def run(self, p: Progress):
        for number, name in enumerate(self.stages):
            try:
                with p.stage(name):
                    if number == 7:
                        p.log("seven")
                    if number == 9:
                        raise ValueError("boom")
            except ValueError:
                pass
"""
    with open_terminal(source) as terminal:
        assert terminal.wait() == 0

        assert seen(terminal) == [
            "[8/30] Step 7",
            "seven",
            "✓ [8/30] Step 7: done in 0.0s",
            "✗ [10/30] Step 9: failed after 0.0s",
            "run 1 · demo:Import · started by alice",
            "✓ 29 done   ✗ 1 failed",
            "✗ Step 9 0.0s",
            "run 1 succeeded in 0.0s",
        ]


def test_log_lines_scroll_away_above_the_region_and_none_is_lost(open_terminal: Open, project: Project) -> None:
    source = """
class Import(LiveOperation):
    stages = ["Load", "Save"]

    def run(self, p: Progress):
        with p.stage("Load"):
            for number in range(300):
                p.log(f"line {number}")
                if number % 100 == 0:
                    hold(f"at-{number}")
        with p.stage("Save"):
            hold("save")
"""
    with open_terminal(source, rows=10) as terminal:
        for number in (0, 100, 200):
            terminal.wait_for(f"line {number}\n")
            (project.root / f"at-{number}").touch()
        terminal.wait_for("● Save")
        (project.root / "save").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [
            "[1/2] Load",
            *(f"line {number}" for number in range(300)),
            "✓ [1/2] Load: done in 0.0s",
            "✓ [2/2] Save: done in 0.0s",
            "run 1 · demo:Import · started by alice",
            "✓ Load 0.0s   ✓ Save 0.0s",
            "run 1 succeeded in 0.0s",
        ]


def test_what_a_recipe_prints_logs_and_warns_stands_above_the_region(open_terminal: Open, project: Project) -> None:
    source = """
import logging
import sys
import warnings

class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        with p.stage("Load"):
            hold("load")
            print("printed")
            print("without an end", end="")
            print(" until now")
            print("to stderr", file=sys.stderr)
            logging.getLogger("lib").info("a record")
            logging.getLogger("lib").error("a bad record")
            p.log("mind this", level="warning")
            print("50%\\r100%")
            print("the last words", end="")
"""
    with open_terminal(source) as terminal:
        terminal.wait_for("● Load")
        (project.root / "load").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [
            "[1/1] Load",
            "printed",
            "without an end until now",
            "to stderr",
            "a record",
            "error: a bad record",
            "warning: mind this",
            "100%",
            "✓ [1/1] Load: done in 0.0s",
            "the last words",
            "run 1 · demo:Import · started by alice",
            "✓ Load 0.0s",
            "run 1 succeeded in 0.0s",
        ]


def test_text_that_is_not_ours_is_shown_and_never_acts(open_terminal: Open, project: Project) -> None:
    source = r"""
NAME = "[bold]Lo\x1b]0;title\x07ad[/bold]"

class Import(LiveOperation):
    stages = [NAME]

    def run(self, p: Progress):
        with p.stage(NAME):
            p.log("[red]markup[/red] :smile: [link=https://example.org]x[/link] [/]")
            p.log("clear \x1b[2J\x1b[H home")
            p.log("clipboard \x1b]52;c;Zm9v\x07 end")
            p.log("alternate \x1b[?1049h mouse \x1b[?1000h query \x1b[6n \x9b6n")
            p.log("bidi \u202e\u2066 nothing \u200b\ufeff end")
            p.log("over\rwritten \b\x7f\x00")
            p.percent(50)
            p.status("[blink]status[/blink] \x1b[1A up \u202e")
            hold("load")
        p.result({"[bold]\x1b[2J": "\x1b]8;;https://example.org\x07link"})
"""
    with open_terminal(source) as terminal:
        lines = [
            r"[1/1] [bold]Lo\x1b]0;title\x07ad[/bold]",
            "[red]markup[/red] :smile: [link=https://example.org]x[/link] [/]",
            r"clear \x1b[2J\x1b[H home",
            r"clipboard \x1b]52;c;Zm9v\x07 end",
            r"alternate \x1b[?1049h mouse \x1b[?1000h query \x1b[6n \x9b6n",
            r"bidi \u202e\u2066 nothing \u200b\ufeff end",
            r"over\rwritten \x08\x7f\x00",
        ]
        assert shows(
            terminal,
            [
                *lines,
                " run 1 · demo:Import 0.0s",
                r" ● [bold]Lo\x1b]0;title\x07ad[/bold] 0.0s",
                r" [bold]Lo\x1b]0;title\x07ad[/bold] ━  50%  1s left",
                r" [blink]status[/blink] \x1b[1A up \u202e",
            ],
        )
        (project.root / "load").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [
            *lines,
            r"✓ [1/1] [bold]Lo\x1b]0;title\x07ad[/bold]: done in 0.0s",
            "run 1 · demo:Import · started by alice",
            r"✓ [bold]Lo\x1b]0;title\x07ad[/bold] 0.0s",
            r"[bold]\x1b[2J=\x1b]8;;https://example.org\x07link",
            "run 1 succeeded in 0.0s",
        ]


def test_of_escape_sequences_in_a_log_line_only_colour_acts_and_it_ends_with_the_line(
    open_terminal: Open, project: Project
) -> None:
    source = r"""
class Import(LiveOperation):
    def run(self, p: Progress):
        p.log("\x1b[31mred\x1b[5A")
"""
    with open_terminal(source) as terminal:
        assert terminal.wait() == 0

        assert b"\x1b[31mred\\x1b[5A\x1b[0m\r\n" in terminal.raw


RESIZED = """
class Import(LiveOperation):
    stages = ["Load", "Process", "Save"]

    def run(self, p: Progress):
        for number in range(12):
            p.log(f"line {number}")
        with p.stage("Load"):
            pass
        with p.stage("Process"):
            for row in p.track(range(20), unit="row"):
                if row == 10:
                    hold("half")
        with p.stage("Save"):
            pass
"""
LINES = [*(f"line {number}" for number in range(12)), "✓ [1/3] Load: done in 0.0s"]
WIDE = [
    " run 1 · demo:Import 0.0s",
    " ✓ Load 0.0s   ● Process 0.0s   ○ Save",
    " Process ━  50%  10/20 rows  1s left  9/s",
]
NARROW = [*WIDE[:2], " Process ━  50%  1s left"]
ENDED = [
    "✓ [2/3] Process: done in 0.0s",
    "✓ [3/3] Save: done in 0.0s",
    "run 1 · demo:Import · started by alice",
    "✓ Load 0.0s   ✓ Process 0.0s   ✓ Save 0.0s",
    "run 1 succeeded in 0.0s",
]


@pytest.mark.parametrize("reflows", [True, False], ids=["wrapping anew", "cutting"])
def test_a_window_that_shrinks_and_grows_shows_every_line_and_one_region(
    open_terminal: Open, project: Project, reflows: bool
) -> None:
    with open_terminal(RESIZED, reflows=reflows) as terminal:
        assert shows(terminal, [*LINES, *WIDE])
        terminal.resize(40)
        assert shows(terminal, [*LINES, *NARROW])
        terminal.resize(80)
        assert shows(terminal, [*LINES, *WIDE])
        (project.root / "half").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [*LINES, *ENDED]


@pytest.mark.parametrize("reflows", [True, False], ids=["wrapping anew", "cutting"])
def test_a_window_that_shrinks_just_before_the_end_shows_every_line_and_no_region(
    open_terminal: Open, project: Project, reflows: bool
) -> None:
    with open_terminal(RESIZED, reflows=reflows) as terminal:
        assert shows(terminal, [*LINES, *WIDE])
        terminal.resize(60)
        (project.root / "half").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [*LINES, *ENDED]


def test_a_window_of_no_size_counts_as_80_columns(open_terminal: Open, project: Project) -> None:
    with open_terminal(SUCCESS) as terminal:
        terminal.wait_for("50%")
        terminal._set_size(0, 0)
        (project.root / "half").touch()

        assert terminal.wait() == 0
        assert "✓ Load 0.0s   ✓ Process 0.0s   ✓ Save 0.0s" in seen(terminal)


def test_the_region_is_drawn_at_most_ten_times_a_second(open_terminal: Open, project: Project) -> None:
    source = """
class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        with p.stage("Load"):
            for number in range(20_000):
                p.status(f"file {number}")
"""
    with open_terminal(source) as terminal:
        assert terminal.wait() == 0

    run = project.records().find("1")
    assert run.seconds is not None
    assert terminal.raw.count(b"demo:Import") <= 10 * run.seconds + 3


_COLOURS = re.compile(rb"\x1b\[[\d;:]*m")


@pytest.mark.parametrize(
    "environ",
    [
        {"NO_COLOR": "1"},
        {"NO_COLOR": "1", "FORCE_COLOR": "1"},
        {"FORCE_COLOR": "0"},
        {"CLICOLOR_FORCE": "0"},
    ],
    ids=str,
)
def test_without_colour_the_region_is_drawn_all_the_same_and_its_bar_shows_how_far_it_is(
    open_terminal: Open, project: Project, environ: dict[str, str]
) -> None:
    with open_terminal(SUCCESS, environ=environ) as terminal:
        terminal.wait_for("50%")
        bar = next(line for line in terminal.lines if "50%" in line).removeprefix(" Process ").partition(" ")[0]
        (project.root / "half").touch()

        assert terminal.wait() == 0
        assert _COLOURS.findall(terminal.raw) == []
        assert bar[: len(bar) // 2] != bar[-(len(bar) // 2) :]
        assert seen(terminal)[-1] == "run 1 succeeded in 0.0s"


@pytest.mark.parametrize("environ", [{}, {"FORCE_COLOR": "1"}, {"CLICOLOR_FORCE": "1"}, {"NO_COLOR": ""}], ids=str)
def test_the_last_line_has_the_colour_of_the_state(
    open_terminal: Open, project: Project, environ: dict[str, str]
) -> None:
    (project.root / "half").touch()

    with open_terminal(SUCCESS, environ=environ) as terminal:
        assert terminal.wait() == 0

        assert re.search(rb"\x1b\[32mrun 1 succeeded in [\d.]+s\x1b\[0m\r\n", terminal.raw)


PLAIN = [
    "run 1 · demo:Import · started by alice",
    "=== [1/3] Load ===",
    "read 10,000 rows",
    "--- [1/3] Load: done in 0.0s",
    "=== [2/3] Process ===",
    "Process: cleaning",
    "Process: 100% (20/20 rows) in 0.0s",
    "--- [2/3] Process: done in 0.0s",
    "=== [3/3] Save ===",
    "--- [3/3] Save: done in 0.0s",
    "count=10000",
    "run 1 succeeded in 0.0s",
]


@pytest.mark.parametrize(
    "environ",
    [
        {"TERM": "dumb"},
        {"TERM": "dumb", "FORCE_COLOR": "1"},
        {"CI": "true"},
        {"CI": "true", "FORCE_COLOR": "1"},
        {"STAGERUN_PROGRESS": "plain"},
    ],
    ids=str,
)
def test_where_nothing_may_be_redrawn_the_text_is_plain_and_holds_no_escape_byte(
    open_terminal: Open, project: Project, environ: dict[str, str]
) -> None:
    (project.root / "half").touch()

    with open_terminal(SUCCESS, environ=environ) as terminal:
        assert terminal.wait() == 0

        assert b"\x1b" not in terminal.raw
        assert seen(terminal) == PLAIN


def test_a_stream_that_knows_only_ascii_gets_ascii_symbols(open_terminal: Open, project: Project) -> None:
    with open_terminal(SUCCESS, environ={"PYTHONIOENCODING": "ascii"}) as terminal:
        assert shows(
            terminal,
            [
                "[1/3] Load",
                "read 10,000 rows",
                "+ [1/3] Load: done in 0.0s",
                " run 1 - demo:Import 0.0s",
                " + Load 0.0s   * Process 0.0s   . Save",
                " Process ━  50%  10/20 rows  1s left  9/s",
                " cleaning",
            ],
        )
        assert re.search(r"^ Process =+-?\.+ +50%", terminal.lines[5])
        (project.root / "half").touch()

        assert terminal.wait() == 0
        assert terminal.raw.isascii()
        assert seen(terminal)[5:7] == [
            "run 1 - demo:Import - started by alice",
            "+ Load 0.0s   + Process 0.0s   + Save 0.0s",
        ]


def test_what_an_ascii_stream_has_to_spell_out_does_not_break_the_region(open_terminal: Open, project: Project) -> None:
    source = """
class Import(LiveOperation):
    stages = ["Load"]

    def run(self, p: Progress):
        p.log("first")
        with p.stage("Load"):
            p.status("\\u65e5\\u672c" * 8)
            hold("load")
"""
    with open_terminal(source, columns=40, environ={"PYTHONIOENCODING": "ascii"}) as terminal:
        terminal.wait_for(r"\u65e5")
        redrawn(terminal)
        (project.root / "load").touch()

        assert terminal.wait() == 0
        assert seen(terminal) == [
            "first",
            "+ [1/1] Load: done in 0.0s",
            "run 1 - demo:Import - started by alice",
            "+ Load 0.0s",
            "run 1 succeeded in 0.0s",
        ]


def test_the_live_display_is_refused_where_there_is_no_terminal(project: Project) -> None:
    project.recipe("demo", SUCCESS)

    done = project.stagerun("run", "demo:Import", "--progress", "tty")

    assert (done.code, done.out) == (2, "")
    assert not project.journal.exists()


def test_no_erase_begins_in_the_first_column_where_tmux_would_move_the_region_into_its_history(
    open_terminal: Open, project: Project
) -> None:
    with open_terminal(SUCCESS) as terminal:
        redrawn(terminal)
        (project.root / "half").touch()
        assert terminal.wait() == 0

    assert terminal.raw.count(b"\r \x1b[J\r") == terminal.raw.count(b"\x1b[J") > 0
