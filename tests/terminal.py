"""A terminal for tests: a real pseudo-terminal, and what a person would see on it."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import pyte


_PATIENCE = 20.0
_SCROLLBACK = 10_000


class Process(Protocol):
    """What runs on a terminal: a child, or a fork that another process looks after."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class Terminal:
    """Keeps the screen of a pseudo-terminal and what runs on it.

    Args:
        start: starts, on a terminal whose descriptor it is given and has to close, the leader of a session.
        reflows: True for a terminal that wraps long lines anew when its width changes, as nearly all do;
            False for one that cuts them, as xterm does.

    Attributes:
        raw: every byte that was written.

    """

    def __init__(
        self, start: Callable[[int], Process], *, columns: int = 80, rows: int = 24, reflows: bool = True
    ) -> None:
        self.raw = b""
        self._reflows = reflows
        self._show_on(pyte.HistoryScreen(columns, rows, history=_SCROLLBACK))
        self._master, slave = pty.openpty()
        self._set_size(columns, rows)
        self._process = start(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # and with it a program that it has lent the terminal
        self._process.wait()
        os.close(self._master)

    @property
    def lines(self) -> list[str]:
        """What has scrolled out of the screen and the screen itself, without the blank lines at the end."""
        lines = [line.rstrip() for line in self._rows()]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def cursor_is_visible(self) -> bool:
        return not self._screen.cursor.hidden

    def send(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def resize(self, columns: int, rows: int = 24) -> None:
        """Give the window another size, once all that was written for the old one is on the screen."""
        while select.select([self._master], [], [], 0)[0] and self._read(0):
            pass
        if self._reflows:
            self._reflow(columns, rows)
        else:
            self._screen.resize(rows, columns)
        self._set_size(columns, rows)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Come back when `condition` holds, tried after everything that the command writes."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "never shown, but:\n" + "\n".join(self.lines)
            assert self._read(deadline), "ended without showing it, but:\n" + "\n".join(self.lines)

    def wait_for(self, text: str) -> None:
        """Come back when the screen shows `text`."""
        self.wait_until(lambda: text in "\n".join(self.lines))

    def wait(self) -> int:
        """Come back when the command has ended, with its exit code, negative for a signal."""
        deadline = time.monotonic() + _PATIENCE
        while self._read(deadline):
            assert time.monotonic() < deadline, "never ended:\n" + "\n".join(self.lines)
        return self._process.wait(_PATIENCE)

    def _show_on(self, screen: pyte.HistoryScreen) -> None:
        self._screen = screen
        self._stream = pyte.ByteStream(screen)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, deadline: float) -> bool:
        """Feed the screen with what there is; False when the command has let go of the terminal."""
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says EIO where others say end of file
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def _rows(self) -> list[str]:
        width = self._screen.columns
        above = ["".join(row[column].data for column in range(width)) for row in self._screen.history.top]
        return [*above, *self._screen.display]

    def _reflow(self, columns: int, rows: int) -> None:
        """Wrap every line anew; the cursor stays at the character where it is."""
        old, cursor = self._rows(), self._screen.cursor
        cursor_row = len(self._screen.history.top) + cursor.y
        lines, place = [""], (0, 0)
        for number, row in enumerate(old[: max(cursor_row + 1, len(self.lines))]):
            if number == cursor_row:
                place = len(lines) - 1, len(lines[-1]) + cursor.x
            lines[-1] += row
            if row[-1] == " ":
                lines[-1] = lines[-1].rstrip()
                lines.append("")
        lines = lines[:-1] if lines[-1] == "" else lines
        heights = [max(1, -(-len(line) // columns)) for line in lines]
        gone = max(0, sum(heights) - rows)
        line, offset = place
        self._show_on(pyte.HistoryScreen(columns, rows, history=_SCROLLBACK))
        self._stream.feed("\r\n".join(lines).encode())
        self._screen.cursor_position(sum(heights[:line]) + offset // columns - gone + 1, offset % columns + 1)
        self._screen.cursor.hidden = cursor.hidden
