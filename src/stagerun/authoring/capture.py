"""Capturing what a recipe prints, logs and warns during a run, and turning it into log lines."""

import builtins
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from importlib.util import find_spec
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, TextIO

from stagerun.events import Level
from stagerun.text.masking import Masker
from stagerun.text.streams import LineStream
from stagerun.text.untrusted import neutralise


if TYPE_CHECKING:
    import logging
    from importlib.machinery import ModuleSpec

Write = Callable[[str, Level, str | None], None]  # text, level, stream
Redraw = Callable[[str, str], None]  # text, stream
Lend = Callable[[], AbstractContextManager[None]]


class CapturedStream(LineStream):
    """A text stream whose lines become log lines; those of a fork, which has no run, go to the original stream."""

    def __init__(self, write: Write, redraw: Redraw, name: str, original: TextIO | None, masker: Masker | None) -> None:
        super().__init__(original, masker.complete if masker else None)
        self._write = write
        self._redraw_line = redraw
        self._mask = masker.mask if masker else str
        self._name = name
        self._owner = os.getpid()

    def line(self, text: str) -> None:
        if os.getpid() == self._owner:
            self._write(text, "info", self._name)
        elif self.original is not None:
            self.original.write(f"{self._mask(text)}\n")
            self.original.flush()

    def redraw(self, text: str) -> None:
        if os.getpid() == self._owner:
            self._redraw_line(text, self._name)

    def flush(self) -> None:
        if os.getpid() != self._owner and self.original is not None:
            # A fork may end without another line end.
            self.original.write(self._mask(self.unfinished()))
            self.original.flush()


class Capture:
    """Within this context print, logging and warnings go to `write`, and the lines that are drawn anew to `redraw`.

    Without a `masker`, which knows where a text can be cut, no line is. Where logging is not configured it lets INFO
    through, and `level` if that is lower. `input` reads from the terminal while `lend` keeps the display off it.
    """

    def __init__(
        self,
        write: Write,
        masker: Masker | None,
        level: Level | None = None,
        redraw: Redraw = lambda text, stream: None,
        lend: Lend = nullcontext,
    ) -> None:
        self._write = write
        self._redraw = redraw
        self._masker = masker
        self._level = level
        self._lend = lend
        self._undo = ExitStack()

    def __enter__(self) -> None:
        self._take_warnings()
        self._take_logging()
        self._take_streams()
        self._take_input()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def settle(self) -> None:
        """Write the lines that may still be drawn anew: a stage ends, and they belong to it."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, CapturedStream):
                stream.settle()

    def _take_streams(self) -> None:
        for name in ("stdout", "stderr"):
            original = getattr(sys, name)
            captured = CapturedStream(self._write, self._redraw, name, original, self._masker)
            setattr(sys, name, captured)
            self._undo.callback(_give_back, name, original, captured)

    def _take_input(self) -> None:
        original, mask = builtins.input, self._masker.mask if self._masker else str

        def ask(prompt: object = "", /) -> str:
            begun = sys.stdout.unfinished() if isinstance(sys.stdout, CapturedStream) else ""
            text = "\n".join(map(neutralise, mask(f"{begun}{prompt}").split("\n")))
            if sys.stdin is None or not sys.stdin.isatty():
                if text:
                    sys.stdout.write(f"{text}\n")
                return original()
            with self._lend():
                return original(text)

        builtins.input = ask
        self._undo.callback(setattr, builtins, "input", original)

    def _take_warnings(self) -> None:
        original = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            *_: object,
            **__: object,
        ) -> None:
            self._write(f"{filename}:{lineno}: {category.__name__}: {message}", "warning", "warnings")

        warnings.showwarning = show
        self._undo.callback(setattr, warnings, "showwarning", original)

    def _take_logging(self) -> None:
        if "logging" in sys.modules:
            self._take_loggers()
        else:  # most recipes don't use it, and importing it takes longer than three stages
            awaited = _Awaited("logging", self._take_loggers)
            sys.meta_path.insert(0, awaited)
            self._undo.callback(awaited.forget)

    def _take_loggers(self) -> None:
        import logging

        handler, root, level = _handler(self._write), logging.getLogger(), logging.getLogger().level
        consoles = list(_consoles(root))
        before = {logger: logger.handlers.copy() for logger, _ in consoles}
        for logger, console in consoles:
            logger.removeHandler(console)
        if not consoles and not root.handlers and level == logging.WARNING:
            # Logging is not configured, and a run's log should hold INFO.
            root.setLevel(logging.DEBUG if self._level == "debug" else logging.INFO)
        takers = {root, *(logger for logger, _ in consoles if not logger.propagate)}
        for logger in takers:
            logger.addHandler(handler)

        def undo() -> None:
            for logger in takers:
                logger.removeHandler(handler)
            for logger, handlers in before.items():
                logger.handlers[:] = [*handlers, *(each for each in logger.handlers if each not in handlers)]
            root.setLevel(level)

        self._undo.callback(undo)


class _Awaited:
    """A finder on `sys.meta_path` that finds nothing itself, but calls back when a module has been imported."""

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        self._name = name
        self._then = then
        self._found = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if name != self._name or self._found:
            return None
        self._found = True  # it stays on the list: another thread may be iterating over it
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_tell(module: ModuleType) -> None:
                execute(module)
                self._then()

            spec.loader.exec_module = execute_and_tell  # type: ignore[method-assign]
        return spec

    def forget(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)


def _give_back(name: str, original: TextIO | None, captured: CapturedStream) -> None:
    if getattr(sys, name) is captured:
        setattr(sys, name, original)
    captured.finish()


def _handler(write: Write) -> "logging.Handler":
    import logging

    class RunHandler(logging.Handler):
        """Turns records into log lines."""

        process = os.getpid()

        def emit(self, record: logging.LogRecord) -> None:
            try:
                text = self.format(record)
            except Exception as error:
                text = f"{record.msg!r} can't be formatted with {record.args!r}: {error}"
            if os.getpid() == self.process:
                write(text, _level(record.levelno), record.name)
            elif sys.stderr is not None:
                sys.stderr.write(f"{text}\n")

    return RunHandler()


def _consoles(root: "logging.Logger") -> "Iterable[tuple[logging.Logger, logging.Handler]]":
    """Yield the handlers that write to the standard streams, each with its logger; in a fork, also the parent's."""
    import logging

    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    named = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    for logger in (root, *named):
        for handler in logger.handlers.copy():
            inherited = getattr(handler, "process", os.getpid()) != os.getpid()
            if inherited or (isinstance(handler, logging.StreamHandler) and handler.stream in streams):
                yield logger, handler


def _level(number: int) -> Level:
    bounds: tuple[tuple[int, Level], ...] = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))
    return next((name for bound, name in bounds if number >= bound), "debug")
