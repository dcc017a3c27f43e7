"""JSON lines: one object for each event, for programs."""

from stagerun import events
from stagerun.render.output import Output
from stagerun.sinks import Sink
from stagerun.text import wording
from stagerun.text.untrusted import neutralise_json
from stagerun.view import RunView


class JsonLines(Sink):
    """Writes every event as one line of JSON: seq, time, run, event, and the event's own fields."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def update(self, entry: events.Entry, view: RunView) -> None:
        moment, event = wording.timestamp(entry.time), entry.event
        place = {"seq": entry.seq, "time": moment, "run": entry.run, "event": event.kind}
        if isinstance(event, events.Log):
            about = {"level": event.level, "stream": event.stream}
            told = [place | {"seq": seq, "line": line} | about for seq, line in enumerate(event.lines, entry.seq)]
        else:
            told = [place | events.to_dict(event)]
            if isinstance(event, events.RunFinished):
                told[0]["not_entered"] = view.not_entered
        self._output.write("".join(f"{neutralise_json(events.dumps(each))}\n" for each in told))
