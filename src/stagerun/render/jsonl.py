"""JSON lines: one object for each event, for programs."""

from stagerun import events, wording
from stagerun.render.output import Output
from stagerun.untrusted import neutralise_json
from stagerun.view import RunView


class JsonLines:
    """Writes every event as one line of JSON: seq, time, run, event, and the event's own fields."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def update(self, entry: events.Entry, view: RunView) -> None:
        place = {
            "seq": entry.seq,
            "time": wording.timestamp(entry.time),
            "run": entry.run,
            "event": entry.event.kind,
        }
        self._output.write(neutralise_json(events.dumps(place | events.to_dict(entry.event))) + "\n")

    def refresh(self, now: float) -> None:
        """Every line is out already."""

    def close(self) -> None:
        """Every line is out already."""
