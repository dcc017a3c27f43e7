"""Terminals for programs: our own, lent for a while, and pseudo-terminals."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def terminal_as_it_was() -> Iterator[None]:
    """Give the terminal back in the state it had: a program that was ended could not do that."""
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
    """Return what a new process calls to have the pseudo-terminal as its own."""
    import fcntl
    import termios

    def take() -> None:
        if prepare is not None:
            prepare()
        fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)

    return take
