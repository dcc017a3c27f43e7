"""What runs inside a pool process: how it starts, calls the function of a `p.map`, and answers."""

import contextlib
import importlib
import importlib.util
import pickle
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from stagerun.authoring.capture import Capture
from stagerun.events import Level
from stagerun.machine.parents import dies_with
from stagerun.machine.settings import PRIVATE
from stagerun.text import tracebacks


if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

_T = TypeVar("_T")
Said = list[tuple[str, Level, str | None]]  # text, level, stream

_STOPPED: "Event | None" = None


class _Odd(NamedTuple):
    """An error that can't be sent to another process: its class, message and traceback."""

    type: str
    message: str
    traceback: str | None

    def made_again(self) -> BaseException:
        error: BaseException = type(self.type, (RuntimeError,), {})(self.message)
        error.add_note(f"in another process:\n{self.traceback}")
        return error


class Answer(NamedTuple):
    """How an item went.

    Attributes:
        said: its output, if it worked in another process.
        error: what it raised, or None.
        result: what it returned.
        started: False if it was left out, because the others had to stop.

    """

    said: Said
    error: BaseException | _Odd | None = None
    result: Any = None
    started: bool = True

    def raised(self) -> BaseException | None:
        return self.error.made_again() if isinstance(self.error, _Odd) else self.error


def recipes() -> dict[str, str]:
    """Return the modules that a new process can't import by name, and their files."""
    loaded = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return {name: file for name, file in loaded.items() if name.startswith(PRIVATE) and file}


def begin(module: str | None, recipes: dict[str, str], parent: int, stopped: "Event") -> None:
    """Prepare a new process: it leaves Ctrl-C to its parent, dies with it, and has the recipes' modules."""
    global _STOPPED  # noqa: PLW0603 - the only way to pass something from a pool's initializer to its calls
    _STOPPED = stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if (prepare := dies_with(parent, signal.SIGKILL)) is not None:
        prepare()
    with contextlib.redirect_stdout(sys.stderr):
        for name, file in recipes.items():
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = made = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(made)
        with contextlib.suppress(ImportError, ValueError, TypeError):  # calling the function will report it
            importlib.import_module(module or "")


def call(fn: Callable[[_T], object], item: _T, last_try: bool) -> Answer:
    """Call `fn`; return its output with its result or error. If it fails on its `last_try`, no more items start."""
    said: Said = []
    if _STOPPED is not None and _STOPPED.is_set():
        return Answer(said, started=False)
    with Capture(lambda *line: said.append(line), masker=None):
        try:
            result = fn(item)
        except BaseException as error:
            if _STOPPED is not None and last_try:
                _STOPPED.set()  # at once: this process would start its next item
            return Answer(said, portable(error))
    return Answer(said, result=result)


def portable(error: BaseException) -> BaseException | _Odd:
    """Return an error that can be sent to another process, with its traceback in a note."""
    told = tracebacks.failure(error)
    with contextlib.suppress(Exception):
        error.add_note(f"in another process:\n{told.traceback}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        return _Odd(told.type, told.message, told.traceback)
    return error
