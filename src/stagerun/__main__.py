"""The console script. What needs no command line parser is answered before one is loaded."""

import atexit
import gc
import os
import sys

from stagerun import __version__


def main() -> int:
    """Run `stagerun` with the arguments of this process and return its exit code."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"stagerun {__version__}\n")
        return 0
    atexit.register(_let_no_signal_in)  # the first in is the last out: what a recipe leaves to do can be broken off
    _open_standard_streams()
    gc.disable()  # until the command is loaded: modules are not garbage, and looking for some takes as long as a commit
    from stagerun.cli import main as run_cli

    return run_cli(sys.argv[1:])


def _open_standard_streams() -> None:
    """Open what the caller has closed, so that no journal gets descriptor 1 and the next print."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _let_no_signal_in() -> None:
    """Ignore the signals that a run has taken over: Python gives them back before it ends, and one would be its end."""
    signal = sys.modules.get("signal")
    if signal is None:
        return
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        handler = None if number is None else signal.getsignal(number)
        if callable(handler) and handler is not signal.default_int_handler:
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
