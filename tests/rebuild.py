"""The projections worked out anew from the events alone, for comparison with what the tables hold."""

import sqlite3
from pathlib import Path

from msgspec.structs import replace

from stagerun import events
from stagerun.text import json_text
from stagerun.view import RunView, begin, fold


def views(path: Path) -> dict[int, RunView]:
    """Return run -> view, folded from the events of the journal."""
    found: dict[int, RunView] = {}
    for entry in _entries(path):
        created = isinstance(entry.event, events.RunCreated)
        found[entry.run] = begin(entry) if created else fold(found[entry.run], entry)
    return {run: as_read(view) for run, view in found.items()}


def as_read(view: RunView) -> RunView:
    """Return the view as the tables hold it: what is inherited stands in the table of checkpoints."""
    status = view.status and replace(view.status, depth=0)
    return replace(view, untracked=(), redrawn=None, plan=replace(view.plan, inherited={}), status=status)


Stored = dict[tuple[int, str, int], tuple[int, int]]


def checkpoints(path: Path) -> Stored:
    """Return (run, key, part) -> (run, seq) of the event with the value."""
    found: Stored = {}
    for entry in _entries(path):
        match entry.event:
            case events.RunCreated() as plan:
                before = {each: place for each, place in found.items() if each[0] == plan.resumed_from}
                found |= {(entry.run, key, part): at for (_, key, part), at in before.items() if key in plan.inherited}
            case events.Stored() as stored:
                part = stored.part if isinstance(stored, events.ResultsStored) else 0
                found[entry.run, stored.key, part] = (entry.run, entry.seq)
            case _:
                pass
    return found


def checkpoint_rows(path: Path) -> Stored:
    """Return what the table of checkpoints holds, in the same form."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT run_id, key, part, event_run_id, event_seq FROM checkpoints").fetchall()
    connection.close()
    return {(run, key, part): (event_run, seq) for run, key, part, event_run, seq in rows}


def _entries(path: Path) -> list[events.Entry]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT run_id, seq, time, kind, data FROM events ORDER BY run_id, seq").fetchall()
    connection.close()
    return [
        events.Entry(run, seq, time, json_text.loads(data, events.EVENTS[kind])) for run, seq, time, kind, data in rows
    ]
