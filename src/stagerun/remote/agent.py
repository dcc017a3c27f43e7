"""The far process: it says who it is, gets its work, and performs it in its main thread, as any run is performed."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stagerun import events, exit_codes
from stagerun.authoring import importing, sources
from stagerun.authoring.finding import Found
from stagerun.authoring.operation import LiveOperation
from stagerun.engine.endings import ending
from stagerun.engine.runner import Runner
from stagerun.errors import Interruption, JournalError, RecipeError, StagerunError, UsageError
from stagerun.machine import settings
from stagerun.machine.interrupts import Interrupts
from stagerun.programs.children import MARK
from stagerun.remote import messages
from stagerun.remote.far import Far
from stagerun.remote.line import Line
from stagerun.remote.messages import Work
from stagerun.states import RunState
from stagerun.text.masking import Masker


_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")


class _Refused(Exception):
    """The work can't be begun here."""


def serve(masker: Masker) -> int:
    """Speak with home over standard input and output; return the exit code, which says nothing of the run."""
    for name in _SIGNALS:  # whoever started us may have ignored them
        signal.signal(signal.Signals[name], signal.SIG_DFL)
    interrupts = Interrupts()
    far = Far(interrupts, masker)
    os.environ[MARK] = far.mark
    with interrupts:
        interrupts.install()
        reading, writing = _pipes()
        far.line = Line(reading, writing, heard=far.heard, ended=far.ended)
        far.line.start()
        far.line.send(["hello", messages.hello()])
        try:
            work = far.work()
            if work is not None:
                _perform(far, work, interrupts, masker)
        except (_Refused, ValueError) as error:
            far.line.send(["refused", str(error)])
        except JournalError:
            pass  # home knows why
        interrupts.close(exit_codes.SUCCEEDED)
        if far.failure is not None:
            far.sweep()
        far.line.close()
    return exit_codes.SUCCEEDED


def _pipes() -> tuple[int, int]:
    """Return the descriptors of the stream, which nobody else writes to: what goes past us goes to standard error."""
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return reading, writing


def _perform(far: Far, work: Work, interrupts: Interrupts, masker: Masker) -> None:
    files = _install(work)
    far.begin(work.view, files)
    try:
        interrupts.expose()
        try:
            found = _found(work)
        finally:
            interrupts.cover()
    except RecipeError as error:
        _fail(far, error)
        return
    except Interruption:
        far.emit(ending(None, None, interrupts, seconds=0.0, source=work.view.plan.source, mask=masker.mask))
        return
    try:
        operation = found.make(owner=work.view.owner, **work.params)
    except StagerunError as error:
        raise _Refused(error.message) from None
    runner = Runner(
        outlet=far,
        memory=far,
        interrupts=interrupts,
        masker=masker,
        terms=work.terms,
        log_level=work.log_level,
    )
    with interrupts.limit(work.limit, "the run", left=work.left):
        runner.perform(found, operation)


def _install(work: Work) -> Mapping[str, str]:
    """Let what was sent be imported; return its files here -> where the run was started."""
    if not work.modules:
        return {}
    try:
        folder = sources.install(work.modules, sources.cache())
    except RecipeError as error:
        raise _Refused(error.message) from None
    return {str(folder / each.place): each.file for each in work.modules}


def _found(work: Work) -> Found:
    """Import the operation; RecipeError if that fails."""
    project = settings.find(Path.cwd())
    begun = time.monotonic()
    try:
        module = importing.import_module(work.module, project)
    except UsageError as error:
        raise _Refused(error.message) from None
    operation = getattr(module, work.operation, None)
    file = getattr(module, "__file__", None)
    found = Found(
        operation=operation if isinstance(operation, type) else LiveOperation,
        target=work.target,
        recipe=work.recipe,
        source=Path(file) if file else None,
        import_seconds=time.monotonic() - begun,
    )
    if module is None or found.source_hash() != work.source_hash:
        there = found.source_hash() or "there is none"
        raise _Refused(f"module {work.module} is another one at this place: {there}, and here {work.source_hash}")
    if not (isinstance(operation, type) and issubclass(operation, LiveOperation)):
        raise _Refused(f"module {work.module} has no operation {work.operation!r} at this place")
    return found


def _fail(far: Far, error: RecipeError) -> None:
    """End a run whose recipe can't be imported."""
    message = error.message if error.hint is None else f"{error.message}\n  {error.hint}"
    kind = type(error).__name__ if error.traceback else ""  # a message without a traceback says it all
    far.emit(events.RunStarted())
    failure = events.Failure(type=kind, message=message, traceback=error.traceback)
    far.emit(events.RunFinished(state=RunState.FAILED, seconds=0.0, exit_code=exit_codes.FAILED, error=failure))
