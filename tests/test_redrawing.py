"""Lines that are drawn anew: seen while they change, told now and then in a log, recorded once they are over."""

import re
import sys
import textwrap
from typing import TextIO, cast

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from stagerun import Progress, events
from stagerun.programs.streams import Lines
from stagerun.text.masking import Masker
from stagerun.text.redrawing import Rows
from stagerun.text.streams import LineStream
from tests.conftest import Bench, Project
from tests.test_live import _HOLD
from tests.test_progress import in_thread, operation


class Kept(LineStream):
    """A stream that keeps what it is told."""

    def __init__(self, masker: Masker | None = None) -> None:
        super().__init__(None, masker.complete if masker else None)
        self.lines: list[str] = []
        self.states: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def redraw(self, text: str) -> None:
        self.states.append(text)


def knowing(secret: str) -> Masker:
    masker = Masker()
    masker.learn([secret])
    return masker


BARS = [
    pytest.param(["\r 10%", "\r 20%", "\r100%\n", "next\n"], ["10%", "20%"], ["100%", "next"], id="tqdm"),
    pytest.param(["10%\r", "20%\r", "done\n"], ["10%", "20%"], ["done"], id="print with end"),
    pytest.param(["\r10%", "\r   \r", "next\n"], ["10%", ""], ["next"], id="gone without a trace"),
    pytest.param(["\r1", "0", "%", "\r20%"], ["1", "10", "10%", "20%"], ["20%"], id="in pieces"),
    pytest.param(["\r10%", "\rsaid\n\r10%", "\r20%\n"], ["10%", "10%"], ["said", "20%"], id="a line between"),
    pytest.param(["a\r\nb\r\n"], [], ["a", "b"], id="line ends of Windows"),
    pytest.param(["\r", "next"], ["", "next"], ["next"], id="only a carriage return"),
    pytest.param(
        ["\x1b[?25l\x1b[32m10%\x1b[0m", "\r\x1b[2K\x1b[32m20%\x1b[0m", "\n\x1b[?25h", "next\n"],
        ["20%"],
        ["\x1b[32m20%\x1b[0m", "next"],
        id="rich",
    ),
    pytest.param(
        ["a 1\nb 1", "\r\x1b[2K\x1b[1A\x1b[2Ka 2\nb 2", "\r\x1b[2K\x1b[1A\x1b[2Ka 3\nb 3", "\n", "next\n"],
        ["a 2  b 2", "a 3  b 3", "b 3"],
        ["a 1", "a 3", "b 3", "next"],
        id="two bars below each other",
    ),
    pytest.param(
        ["\rout 1", "\n", "\rin 1", "\x1b[A", "\n", "\rin 2", "\x1b[A", "\n", "\r    \r", "\x1b[A", "\rout 2", "\n"],
        ["out 1", "in 1", *["in 1"] * 2, *["in 2"] * 2, "in 2", "", "", "out 2", "out 2"],
        ["out 1", "out 2"],
        id="tqdm inside tqdm",
    ),
]


@pytest.mark.parametrize(("written", "states", "lines"), BARS)
def test_each_state_is_told_and_the_last_one_is_a_line(written: list[str], states: list[str], lines: list[str]) -> None:
    stream = Kept(Masker())
    for text in written:
        stream.write(text)
    drawn = stream.states.copy()
    stream.finish()

    assert (drawn, stream.lines) == (states, lines)


@pytest.mark.parametrize(("written", "states", "lines"), BARS)
def test_the_lines_of_a_program_are_told_alike(written: list[str], states: list[str], lines: list[str]) -> None:
    stream, told = Lines(Masker()), list[str]()
    drawn: list[str | None] = []
    for text in written:
        told += stream.feed(text.encode())
        drawn.append(stream.drawn)
    told += stream.feed(b"", final=True)

    assert ([state for state in drawn if state is not None], told) == (states, lines)


def test_what_rich_draws_is_one_line_that_changes_and_every_task_ends_as_a_line() -> None:
    stream = Kept()
    console = Console(file=cast("TextIO", stream), force_terminal=True, width=60, color_system=None)
    with Bars(console=console, auto_refresh=False) as bars:
        first, second = bars.add_task("first", total=2), bars.add_task("second", total=2)
        for _ in range(2):
            bars.advance(first)
            bars.advance(second)
            bars.refresh()
    stream.finish()

    assert [re.findall(r"first|second|\d+%", state) for state in stream.states][-4:-2] == [
        ["first", "50%", "second", "50%"],
        ["first", "100%", "second", "100%"],
    ]
    assert [line.split()[0] for line in stream.lines][-2:] == ["first", "second"]
    assert all("100%" in line for line in stream.lines[-2:])
    assert not any("\x1b" in line for line in stream.lines)


@pytest.mark.parametrize(
    ("written", "states"),
    [
        (["\r10% sword-", "\r20% sword-fish", "\r30%"], ["", "10% sword-", "20% ***"]),
        (["10% sword-\r", "20% sword-fish\r"], ["10% sword-", "20% ***"]),
    ],
    ids=["told one state later", "told at once: its end is there"],
)
def test_no_part_of_a_secret_is_told_because_a_state_was_cut_in_two(written: list[str], states: list[str]) -> None:
    masker = knowing("sword-fish")
    stream, lines = Kept(masker), Lines(masker)
    drawn = []
    for text in written:
        stream.write(text)
        lines.feed(text.encode())
        drawn.append(lines.drawn or "")

    assert [masker.mask(state) for state in stream.states] == states
    assert [masker.mask(state) for state in drawn] == states


def test_rows_that_are_drawn_anew_no_more_are_given_away() -> None:
    rows = Rows()

    assert rows.feed("\x1b[2Aa\nb\nc") == []
    assert (rows.state(), rows.is_open) == ("a  b  c", True)
    assert rows.feed("\nd") == ["a"]
    assert rows.feed("\ne") == ["b", "c", "d"]
    assert (rows.rest, rows.is_open) == ("e", False)


def test_rows_that_two_threads_draw_are_the_same_ones() -> None:
    stream = Kept()
    stream.write("\rfirst 1\nsecond 1")
    frame = "\r\x1b[1Afirst {0}\nsecond {0}"
    in_thread(lambda: stream.write(frame.format(2)))
    stream.write(frame.format(3) + "\n")
    stream.finish()

    assert stream.lines[-2:] == ["first 3", "second 3"]
    assert not any("2" in line for line in stream.lines)


def test_rows_belong_to_the_stage_that_they_were_drawn_in(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            print("\rfirst 1\nsecond 1", end="")
            print("\r\x1b[1Afirst 2\nsecond 2", end="\n")
        print("outside")

    bench.run(operation(body, "Load"))

    assert bench.text.split("\n")[2:-2] == [
        *("first 1", "first 2", "second 2", "--- [1/1] Load: done in 0.0s", "outside")
    ]


def bar(p: Progress, bench: Bench, *, seconds: int, end: str = "\n") -> None:
    for second in range(seconds):
        sys.stderr.write(f"\r{second}/{seconds}")
        p._session.sample()
        bench.clock.move(1)
    sys.stderr.write(end)


def test_in_a_log_such_a_line_is_told_every_ten_seconds_and_its_end(bench: Bench) -> None:
    def body(p: Progress) -> None:
        with p.stage("Load"):
            bar(p, bench, seconds=35)
            bar(p, bench, seconds=9)
            bar(p, bench, seconds=9, end="\r    \r")

    bench.run(operation(body, "Load"))

    assert bench.text.split("\n")[2:-3] == ["9/35", "19/35", "29/35", "34/35", "8/9"]


def test_a_line_that_is_drawn_anew_but_does_not_change_is_told_once(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for second in range(100):
            sys.stdout.write("\rwaiting")
            p._session.sample()
            bench.clock.move(1)
            if second in (8, 50, 98):
                p.log("still here")

    bench.run(operation(body))

    assert bench.text.split("\n")[1:-2] == [*("still here", "waiting", "still here", "still here", "waiting")]


def test_the_journal_holds_one_state_in_ten_seconds(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for number in range(350):
            sys.stdout.write(f"\r{number}")
            p._session.sample()
            sys.stdout.write("\r   \r" if number % 2 else "")
            p._session.sample()
            p.result(number=number)
            bench.clock.move(0.125)

    bench.run(operation(body))

    recorded = [each.event for each in bench.records().entries(1, kinds=["line_redrawn"])]
    assert len([event for event in bench.seen.events if isinstance(event, events.LineRedrawn)]) == 525
    assert [event.line for event in recorded if isinstance(event, events.LineRedrawn)] == [
        each for number in (0, 80, 160, 240, 320) for each in (str(number), "")
    ]


def test_its_end_is_not_overtaken_by_a_state_before(bench: Bench) -> None:
    def body(p: Progress) -> None:
        sys.stdout.write("\r5%")
        sys.stdout.write("\r100%\n")
        p._session.sample()
        sys.stdout.write("\r10%")
        p._session.sample()
        p.log("another line")
        p._session.sample()
        with p.stage("Load"):
            pass

    bench.run(operation(body, "Load"))

    told = [each for each in bench.seen.events if isinstance(each, events.Log | events.LineRedrawn)]
    assert told == [
        events.Log("100%", "info", "stdout"),
        events.LineRedrawn("10%", "stdout"),
        events.Log("another line"),
        events.Log("10%", "info", "stdout"),
    ]
    drawn = [view.redrawn and view.redrawn.line for view in bench.seen.views]
    assert drawn == [None, None, None, "10%", "10%", None, None, None, None]


SCRIPT = """
import os, sys, time

for number in range(3):
    sys.stderr.write(f"\\r{number}/3 files")
    sys.stderr.flush()
while not os.path.exists("go-on"):
    time.sleep(0.01)
sys.stderr.write("\\r3/3 files\\n")
"""
PROGRAM = """
import sys

class Import(LiveOperation):
    stages = ["Load"]
    pty: bool = False

    def run(self, p: Progress):
        with p.stage("Load"):
            p.sh([sys.executable, "bar.py"], pty=self.pty)
            print("50 %", end="\\r")
            hold("print")
            print("100 %")
"""


@pytest.mark.parametrize("options", [[], ["--pty"]], ids=["pipe", "pty"])
def test_the_bar_of_a_program_and_of_a_print_are_seen_in_the_region_while_they_change(
    project: Project, options: list[str]
) -> None:
    project.recipe("demo", _HOLD + PROGRAM)
    (project.root / "bar.py").write_text(textwrap.dedent(SCRIPT))
    with project.terminal("run", "demo:Import", *options) as terminal:
        terminal.wait_until(lambda: terminal.lines[-1:] == [" 2/3 files"])
        assert "● Load" in terminal.lines[-2]
        (project.root / "go-on").touch()
        terminal.wait_until(lambda: terminal.lines[-1:] == [" 50 %"])
        (project.root / "print").touch()

        assert terminal.wait() == 0
        assert [line for line in terminal.lines if "files" in line or "%" in line] == ["3/3 files", "100 %"]
