"""Draws docs/terminal.svg, the moving picture in the README: `python docs/picture.py`.

A shell on a real terminal starts a run, the run is killed in the middle, and resumed. The picture is what the screen
showed, twice as fast.
"""

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

import psutil
import pyte
from pyte.screens import Char


ROOT: Final = Path(__file__).parents[1]
COLUMNS: Final = 96
ROWS: Final = 27
STEP: Final = 0.4  # seconds between two looks at the screen
SHOWN: Final = STEP / 2  # how long each stands in the picture
LAST: Final = 5.0  # and how long the last one
WIDTH, HEIGHT, MARGIN = 8.0, 17, 14  # of a character, in pixels
GROUND: Final = "#16181d"
COLOURS: Final = {
    "default": "#d5d8de",
    "black": "#5c6370",
    "red": "#f0717b",
    "green": "#8cc570",
    "brown": "#e0b15e",
    "blue": "#6cb2f5",
    "magenta": "#c98be0",
    "cyan": "#58c0c9",
    "white": "#ffffff",
}

Line = tuple[tuple[str, str, bool], ...]  # of a row, what looks alike: text, colour, whether it is bold
Frame = tuple[Line, ...]


class Shell:
    """A shell on a terminal, and the looks at its screen."""

    def __init__(self, folder: Path) -> None:
        """Start the shell in a folder that has the recipes."""
        self.frames: list[Frame] = []
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environ = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "LOGNAME": "alice",
            "LANG": "C.UTF-8",
            "PS1": "$ ",
            "STAGERUN_ROOT": "python",
            "STAGERUN_LIMIT": "500",
        }
        command = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        self._bash = subprocess.Popen(  # noqa: S603
            command, cwd=folder, env=environ, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
        )
        os.close(terminal)
        self._until(self._waits)

    def types(self, command: str, until: Callable[[], bool] | None = None) -> None:
        """Type a command, and look on until the shell waits again, or until something has happened."""
        os.write(self._master, command.encode())
        self._look(2)
        os.write(self._master, b"\n")
        self._until(until or self._waits)

    def shows(self, text: str) -> bool:
        """Return whether `text` is on the screen."""
        return any(text in line for line in self._screen.display)

    def kill(self) -> None:
        """Kill what the shell runs, as a machine does that loses its power."""
        for each in psutil.Process(self._bash.pid).children():
            each.send_signal(signal.SIGKILL)
        self._until(self._waits)
        self._look(4)

    def end(self) -> None:
        """Close the terminal."""
        self._bash.kill()
        self._bash.wait()
        os.close(self._master)

    def _waits(self) -> bool:
        cursor = self._screen.cursor
        return cursor.x == 2 and self._screen.display[cursor.y].startswith("$ ")

    def _until(self, condition: Callable[[], bool]) -> None:
        for _ in range(300):
            self._look(1)
            if condition():
                return
        raise TimeoutError("\n".join(self._screen.display))

    def _look(self, times: int) -> None:
        for _ in range(times):
            deadline = time.monotonic() + STEP
            while (left := deadline - time.monotonic()) > 0:
                if select.select([self._master], [], [], left)[0]:
                    self._stream.feed(os.read(self._master, 65536))
            self.frames.append(tuple(self._line(row) for row in range(ROWS)))

    def _line(self, row: int) -> Line:
        cells = [self._screen.buffer[row][column] for column in range(COLUMNS)]
        alike = groupby(cells, key=lambda cell: (_colour(cell), cell.bold))
        return tuple(("".join(cell.data for cell in run), *look) for look, run in alike)


def _colour(cell: Char) -> str:
    if cell.fg in COLOURS:
        return COLOURS[cell.fg]
    bright = cell.fg.removeprefix("bright")
    return COLOURS.get(bright, f"#{cell.fg}" if len(cell.fg) == 6 else COLOURS["default"])


def main() -> None:
    """Make the run, and draw it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "recipes", folder / "recipes", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "build").mkdir()
        (folder / "python").symlink_to(sysconfig.get_path("stdlib"))
        shell = Shell(folder)
        # The usual durations make the time left of a first run known.
        shell.types("stagerun run stdlib:Index -q")
        shell.frames.clear()
        shell.types("clear")
        shell.types("stagerun run stdlib:Index", until=lambda: any(shell.shows(f" {done}%") for done in range(45, 96)))
        shell.kill()
        shell.types("stty sane; clear")  # what is killed can't give the terminal back
        shell.types("stagerun status")
        shell.types("stagerun resume")
        shell.end()
    Path(__file__).with_name("terminal.svg").write_text("".join(_drawn(shell.frames)), encoding="utf-8")


def _drawn(frames: list[Frame]) -> Iterator[str]:
    """Yield the picture: every screen that differs from the one before, shown in its turn."""
    turns = [(frame, len([*same]) * SHOWN) for frame, same in groupby(frames)]
    turns[-1] = (turns[-1][0], LAST)
    whole = sum(seconds for _, seconds in turns)
    width, height = COLUMNS * WIDTH + 2 * MARGIN, ROWS * HEIGHT + 2 * MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">\n'
    yield "<title>A run is killed in its second stage, and resumed where it stopped</title>\n<style>\n"
    yield "text{font:13.3px ui-monospace,Menlo,Consolas,monospace;white-space:pre}.b{font-weight:bold}\n"
    yield f".f{{visibility:hidden;animation:{whole:.1f}s step-end infinite}}\n"
    begin = 0.0
    for number, (_, seconds) in enumerate(turns):
        shown, hidden = 100 * begin / whole, 100 * (begin + seconds) / whole
        yield f"@keyframes k{number}{{0%{{visibility:hidden}}{shown:.2f}%{{visibility:visible}}"
        yield f"{hidden:.2f}%{{visibility:{'hidden' if number < len(turns) - 1 else 'visible'}}}}}\n"
        begin += seconds
    yield f"@media(prefers-reduced-motion:reduce){{.f{{animation:none}}#f{len(turns) - 1}{{visibility:visible}}}}\n"
    yield f'</style>\n<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n<defs>\n'
    lines = {line: number for number, line in enumerate({line: None for frame, _ in turns for line in frame})}
    for line, number in lines.items():
        yield f'<g id="l{number}">{"".join(_texts(line))}</g>\n'
    yield "</defs>\n"
    for number, (frame, _) in enumerate(turns):
        yield f'<g class="f" id="f{number}" style="animation-name:k{number}">'
        for row, line in enumerate(frame):
            if any(text.strip() for text, _, _ in line):
                yield f'<use href="#l{lines[line]}" y="{MARGIN + HEIGHT * row}"/>'
        yield "</g>\n"
    yield "</svg>\n"


def _texts(line: Line) -> Iterator[str]:
    column = 0
    for text, colour, bold in line:
        if shown := text.rstrip():
            x, length = MARGIN + WIDTH * column, WIDTH * len(shown)
            weight = ' class="b"' if bold else ""
            yield f'<text x="{x:g}" y="13" textLength="{length:g}" fill="{colour}"{weight}>{escape(shown)}</text>'
        column += len(text)


if __name__ == "__main__":
    main()
