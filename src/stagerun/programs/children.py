"""The programs that a recipe runs: each in a session of its own, and ended with every process that it started."""

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from stagerun.errors import Interruption, RecipeError
from stagerun.machine.interrupts import Interrupts
from stagerun.machine.parents import adopt_orphans, dies_with
from stagerun.programs.process_tree import ProcessTree
from stagerun.programs.request import Completed, Request, how_it_ended
from stagerun.programs.running import Redraw, Running, Tell, start
from stagerun.programs.terminals import terminal_as_it_was
from stagerun.text.masking import Masker
from stagerun.text.secrets import Secret


if TYPE_CHECKING:
    import subprocess


MARK: Final = "STAGERUN_CHILD"  # the variable by which the descendants of a program are found


class Children:
    """The programs of one run.

    Args:
        interrupts: defers a signal while a program is started but not yet registered.
        run: the run's id, which the programs find in STAGERUN_RUN_ID.
        hidden: the environment variables that the programs do not get.

    """

    def __init__(self, interrupts: Interrupts, run: int, hidden: Collection[str] = ()) -> None:
        self._interrupts = interrupts
        self._run = run
        self._hidden = hidden
        self._numbers = count(1)
        self._running: set[Running] = set()
        self._all: ProcessTree | None = None
        self._pid = os.getpid()

    def run(
        self, request: Request, *, tell: Tell, redraw: Redraw, warn: Callable[[str], None], masker: Masker
    ) -> Completed:
        """Run a program and report its lines as they arrive. ChildFailed if it can't start, fails or takes too long."""
        request.check_limit()
        adopt_orphans()
        mark = self._mark()
        own, all_ = ProcessTree(MARK, f"{mark}{next(self._numbers)}."), self._all or ProcessTree(MARK, mark)
        self._all = all_
        begun = time.monotonic()
        deadline = None if request.timeout is None else begun + request.timeout
        running: Running | None = None
        with ExitStack() as stack:
            try:
                with self._interrupts:
                    environ = self._environ(request.env) | {MARK: own.mark}
                    running = Running(
                        request,
                        environ,
                        stack=stack,
                        interrupts=self._interrupts,
                        tell=tell,
                        redraw=redraw,
                        masker=masker,
                    )
                    self._running.add(running)
                    for tree in (own, all_):
                        tree.add(running.process.pid)
                running.communicate(deadline, own, warn)
            except BaseException as error:
                if running is not None:
                    self._end(running, own, everything=isinstance(error, Interruption))
                raise
            finally:
                if running is not None:
                    running.finish()
                    self._running.discard(running)
                    running.process.poll()
                    all_.remove(running.process.pid)
                    all_.reap()
        code = running.process.returncode
        if request.check and code != 0:
            raise request.failed(code, how_it_ended(code), running.tail)
        stdout, stderr = (each.text() if each else None for each in (running.stdout, running.stderr))
        return Completed(request.shown, code, time.monotonic() - begun, stdout, stderr)

    def _end(self, running: Running, own: ProcessTree, *, everything: bool) -> None:
        """End a program, or all programs if the run is being stopped: they share one grace period."""
        tree = self._all if everything and self._all is not None else own
        alone = everything or len(self._running) == 1
        tree.end(running.pump, orphans=alone, hurried=lambda: self._interrupts.hurried)
        running.drain()

    def run_on_terminal(self, request: Request) -> Completed:
        """Run a program on our terminal; RecipeError if there is no terminal."""
        if not os.isatty(0):
            raise RecipeError("p.sh: interactive=True needs a terminal", "run it on one, or leave interactive=True out")
        request.check_interactive()
        tree = ProcessTree(MARK, f"{self._mark()}{next(self._numbers)}.")
        environ = self._environ(request.env, apart=False) | {MARK: tree.mark}
        begun = time.monotonic()
        process: subprocess.Popen[bytes] | None = None
        with terminal_as_it_was():
            try:
                with self._interrupts.keyboard_lent():
                    with self._interrupts:
                        process = start(request, env=environ, preexec_fn=dies_with(os.getpid()))
                    code = process.wait()
            except BaseException:
                if process is not None and process.poll() is None:
                    tree.end(orphans=False, hurried=lambda: self._interrupts.hurried)
                    process.poll()
                raise
        if code == -signal.SIGINT:
            self._interrupts.request("SIGINT")
        if request.check and code != 0:
            raise request.failed(code, how_it_ended(code))
        return Completed(request.shown, code, time.monotonic() - begun)

    def end(self) -> None:
        """End every process that is left of any program."""
        if self._all is not None and os.getpid() == self._pid:
            self._all.end(hurried=lambda: self._interrupts.hurried)

    def _mark(self) -> str:
        """Return the mark of this run's programs."""
        # A run inside a program of another run carries both marks; the process id separates a fork's programs.
        return f"{os.environ.get(MARK, '')}/{os.getpid()}-{self._run}-"

    def _environ(self, given: Mapping[str, Any] | None, *, apart: bool = True) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if name not in self._hidden}
        environ["STAGERUN_RUN_ID"] = str(self._run)
        if apart:
            # Python programs must not buffer their lines; a run inside this one must not write CI commands.
            environ |= {"PYTHONUNBUFFERED": "1", "STAGERUN_CI": "none"}
        for name, value in (given or {}).items():
            if value is None:
                environ.pop(name, None)
            else:
                environ[name] = value.reveal() if isinstance(value, Secret) else str(value)
        return environ
