"""Quiet: nothing during the run; at the end its result, and the reason if it did not succeed."""

from stagerun import events
from stagerun.render.dialect import Dialect
from stagerun.render.output import Output
from stagerun.sinks import Sink
from stagerun.states import RunState
from stagerun.text import sentences
from stagerun.view import RunView


class Quiet(Sink):
    """Writes the result of each run, and the error of one that did not succeed."""

    def __init__(self, output: Output, *, dialect: Dialect | None = None) -> None:
        self._output = output
        self._dialect = dialect or Dialect()

    def update(self, entry: events.Entry, view: RunView) -> None:
        if not isinstance(entry.event, events.RunFinished):
            return
        told = [*sentences.error(view), *sentences.result(view)]
        if view.state is not RunState.SUCCEEDED:
            told.append(sentences.ending(view))
        for line in told:
            self._output.write(self._dialect.guard(line) + "\n")

    def afterword(self, log: events.Log) -> None:
        if log.level not in ("debug", "info"):
            for line in sentences.logged(log):
                self._output.write(self._dialect.guard(line) + "\n")
