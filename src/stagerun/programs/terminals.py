"""Terminals for programs: our own, which a program may use for a while, and pseudo-terminals."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def terminal_as_it_was() -> Iterator[None]:
    """Restore the state of the terminal after the block: a program that was killed could not do that."""
    import termios

    before = termios.tcgetattr(0)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def open_terminal() -> tuple[int, int]:
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return ours, theirs


def with_terminal(prepare: Callable[[], None] | None, descriptor: int) -> Callable[[], None]:
    """Return what a new process calls to make the pseudo-terminal its controlling terminal."""
    import fcntl
    import termios

    def take() -> None:
        if prepare is not None:
            prepare()
        fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)

    return take
