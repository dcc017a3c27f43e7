"""The console script. `--version` is answered before a command line parser is loaded."""

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
    atexit.register(
        _let_no_signal_in
    )  # registered first, runs last: exit handlers of a recipe can still be interrupted
    _open_standard_streams()
    gc.disable()  # until the command is loaded: a collection takes as long as a commit, and modules are not garbage
    from stagerun.cli import main as run_cli

    return run_cli(sys.argv[1:])


def _open_standard_streams() -> None:
    """Open the standard streams that the caller closed: else the journal could get descriptor 1 and the next print."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _let_no_signal_in() -> None:
    """Ignore the signals that a run handled: Python resets their handlers before it exits, and one could kill it."""
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
