"""JSON lines: one object for each event, for programs."""

import sys

from stagerun import events
from stagerun.render.output import Output
from stagerun.reports import documents
from stagerun.sinks import Sink
from stagerun.text import json_text, sentences
from stagerun.text.untrusted import neutralise_json
from stagerun.view import RunView


class JsonLines(Sink):
    """Writes every event as one line of JSON: seq, time, run, event, and the event's own fields."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._errors = sys.stderr  # a recipe's code may replace it later

    def update(self, entry: events.Entry, view: RunView) -> None:
        told = documents.entry(entry, view)
        self._output.write("".join(f"{neutralise_json(json_text.dumps(each))}\n" for each in told))

    def afterword(self, log: events.Log) -> None:
        # The last object on stdout is the end of the run.
        if self._errors is not None:
            self._errors.writelines(f"{line}\n" for line in sentences.logged(log))
