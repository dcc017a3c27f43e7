"""How a test puts a runner together: on a real journal, with a clock that only the test moves."""

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TextIO

from stagerun.authoring.finding import Found
from stagerun.authoring.operation import LiveOperation
from stagerun.engine.emitter import Emitter
from stagerun.engine.runner import Runner
from stagerun.journal import opening
from stagerun.journal.reading import Records
from stagerun.journal.store import Store
from stagerun.journal.writing import Journal
from stagerun.machine.clock import Clock
from stagerun.machine.interrupts import Interrupts
from stagerun.machine.settings import Origin
from stagerun.render.output import Output
from stagerun.render.plain import Plain
from stagerun.resumption import Resumption
from stagerun.sinks import Sink
from stagerun.testing.clock import HandClock
from stagerun.text.masking import Masker
from stagerun.view import RunView


NOWHERE: Final = Origin("", "")


class Workbench:
    """What every bench is built on.

    Attributes:
        journal: the file of the journal.
        clock: the clock of the runs.

    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.clock = HandClock()

    def _perform(
        self,
        found: Found,
        operation: LiveOperation,
        stream: TextIO,
        interrupts: Interrupts,
        *sinks: Sink,
        resumption: Resumption | None = None,
        timeout: float | None = None,
        **parts: Any,
    ) -> RunView:
        """Run an operation and its chain, shown as plain text on `stream`; return the last run.

        `parts` are those of `runner`.
        """
        clock, masker, output = self.clock.as_clock(), Masker(), Output(stream)
        with closing(self._opened()) as store, closing(output):
            made = runner(
                Journal(store),
                Records(store),
                [Plain(output, masker=masker), *sinks],
                interrupts=interrupts,
                clock=clock,
                masker=masker,
                **parts,
            )
            return made.run(found, operation, resumption=resumption, timeout=timeout)

    def _opened(self) -> Store:
        """Open the journal for writing. A test need not survive a power cut."""
        return opening.open_journal(self.journal, write=True, durable=False, now=self.clock.wall)


def runner(
    journal: Journal,
    memory: Records,
    sinks: Iterable[Sink],
    *,
    interrupts: Interrupts,
    clock: Clock,
    masker: Masker,
    origin: Origin = NOWHERE,
    emitters: Callable[..., Emitter] = Emitter,
    runners: Callable[..., Runner] = Runner,
) -> Runner:
    """Return a runner on a journal; `emitters` and `runners` make its parts."""
    emitter = emitters(journal, sinks, clock, interrupts, masker)
    return runners(outlet=emitter, memory=memory, interrupts=interrupts, masker=masker, clock=clock, origin=origin)
