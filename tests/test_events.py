"""Events as JSON: what is written down comes back as it was."""

import json
from typing import get_args

import msgspec
import pytest

from stagerun import events
from stagerun.states import RunState, StageState
from stagerun.text import json_text


FAILURE = events.Failure(
    type="ValueError",
    message="böse\ud800",
    stage="Load",
    traceback="Traceback (most recent call last):\nValueError: böse",
    file="recipes/orders.py",
    line=7,
    program=events.Program(command="make\nmake test", outcome="ended with exit code 2", tail=("böse",), notes=("",)),
)
EVERY_EVENT: list[events.Event] = [
    events.RunCreated(target="orders:Import", recipe="orders", operation="Import", stages=(), owner="alice"),
    events.RunCreated(
        target="orders:Import",
        recipe="orders",
        operation="Import",
        stages=("Load", "Säve", "保存"),
        owner="alice",
        source="recipes/orders.py",
        source_hash="0f",
        params={"source": "a.csv", "limit": 1000, "tags": ["x"], "token": "***", "since": None, "ratio": 0.1},
        host="here",
        boot_id="boot",
        pid_namespace="pid:[1]",
        pid=17,
        process_started=1234.5,
        chained_from=4,
        resumed_from=3,
        root=2,
        attempt=5,
        expected={"Load": 1.25},
        done_before=("Load",),
        inherited={"rows": (3, 17)},
        project="/home/alice/shop",
        folder="data",
        work="c0ffee",
    ),
    events.RunStarted(),
    events.StageEntered(stage="Load", index=0),
    events.StageEntered(stage="Warm up", index=None),
    *(events.StageLeft(stage="Load", index=0, state=state, seconds=0.1) for state in StageState),
    events.StageLeft(stage="Warm up", index=None, state=StageState.DONE, seconds=0.0),
    events.StageTakenOver(stage="Load", index=0, run=3),
    events.StageTakenOver(stage="Warm up", index=None, run=3),
    events.ResultSet(result={}),
    events.ResultSet(result={"count": 10**30, "rows": [1, 2.5, None, True, {"a": "\udcff"}]}),
    *(events.RunFinished(state=state, seconds=1.5, exit_code=1) for state in RunState),
    events.RunFinished(
        state=RunState.FAILED, seconds=2.0, exit_code=143, signal="SIGTERM", error=FAILURE, chained_to=43
    ),
    events.CheckpointStored(key="rows", stage="Load", value=[1, {"a": None}]),
    events.CheckpointStored(key="page-1", stage="Load", value="\udcff", call="sh", inside="pages", item=1),
    events.CheckpointStored(key="day", stage="Load", value="2026-01-31", typed=True, mark=2**32 - 1),
    events.PositionReached(key="loop", stage=None, position=3),
    events.PositionReached(
        key="loop", position=3, total=4, state={"sum": 0.1, "rows": [10**30]}, marks=((2, 2**32 - 1), (3, 0))
    ),
    events.PositionReached(key="loop", position=3, stages=("Load", "Sa\udcffve")),
    events.ResultsStored(key="map", part=0, total=None, items=(), marks=(), values=()),
    events.ResultsStored(
        key="map", part=2, total=7, items=(0, 5), marks=(None, 17), values=(None, {"a": [1]}), stage="Load"
    ),
    events.Log("a line"),
    events.Log("\x00\x1b[31m\n\u2028\ud800", "error", "stderr"),
    events.StatusChanged("busy"),
    events.StatusChanged("worse", "warning"),
    events.LineRedrawn("10%", "stderr"),
    events.ProgressMoved(),
    events.ProgressMoved(done=3, total=4, percent=75.0, label="rows", unit="row", seconds=0.5, depth=1, ended=True),
]


def _name(event: events.Event) -> str:
    return event.kind


def test_every_kind_of_event_is_among_the_ones_tested_here() -> None:
    assert {type(event) for event in EVERY_EVENT} == set(get_args(events.Event))


def test_the_kinds_are_the_names_in_journal_and_json_output() -> None:
    assert dict(events.EVENTS) == {
        "run_created": events.RunCreated,
        "run_started": events.RunStarted,
        "stage_entered": events.StageEntered,
        "stage_left": events.StageLeft,
        "stage_taken_over": events.StageTakenOver,
        "result_set": events.ResultSet,
        "checkpoint_stored": events.CheckpointStored,
        "position_reached": events.PositionReached,
        "results_stored": events.ResultsStored,
        "run_finished": events.RunFinished,
        "log": events.Log,
        "status": events.StatusChanged,
        "line_redrawn": events.LineRedrawn,
        "progress": events.ProgressMoved,
    }


@pytest.mark.parametrize("event", EVERY_EVENT, ids=_name)
def test_an_event_comes_back_as_it_was_from_one_line_that_utf_8_can_hold(event: events.Event) -> None:
    text = json_text.dumps(event)

    back = json_text.loads(text.encode("utf-8").decode("utf-8"), events.EVENTS[event.kind])

    assert "\n" not in text
    assert back == event
    assert {name: type(getattr(back, name)) for name in msgspec.to_builtins(back)} == {
        name: type(getattr(event, name)) for name in msgspec.to_builtins(event)
    }


@pytest.mark.parametrize("event", {each.kind: each for each in EVERY_EVENT}.values(), ids=_name)
def test_an_event_is_a_fact_or_a_pulse_and_can_not_be_changed(event: events.Event) -> None:
    assert isinstance(event, events.Fact) != isinstance(event, events.Pulse)
    for name in msgspec.to_builtins(event):
        with pytest.raises(AttributeError):
            setattr(event, name, None)


def test_only_log_lines_status_progress_and_what_is_drawn_anew_may_be_shown_before_they_are_written() -> None:
    pulses = {kind for kind, event in events.EVENTS.items() if issubclass(event, events.Pulse)}
    assert pulses == {"log", "status", "line_redrawn", "progress"}


def test_the_dict_of_an_end_holds_its_error_as_a_dict_and_no_kind() -> None:
    event = events.RunFinished(
        state=RunState.FAILED, seconds=2.0, exit_code=1, error=events.Failure(type="ValueError", message="boom")
    )

    assert msgspec.to_builtins(event) == {
        "state": "failed",
        "seconds": 2.0,
        "exit_code": 1,
        "signal": None,
        "error": {
            "type": "ValueError",
            "message": "boom",
            "stage": None,
            "traceback": None,
            "file": None,
            "line": None,
            "program": None,
        },
        "chained_to": None,
    }


@pytest.mark.parametrize("text", ["\ud800", "\udfff", "a\udc80b", "\\\udc80", "é\udc80保", '"\udcff"'])
def test_a_lone_surrogate_is_written_as_the_escape_that_json_has_for_it(text: str) -> None:
    written = json_text.dumps({text: text})

    assert written.encode("utf-8")
    assert json.loads(written) == {text: text}
    assert json_text.loads(written, dict[str, str]) == {text: text}


def test_text_that_utf_8_can_hold_stands_as_it_is() -> None:
    assert json_text.dumps({"Stufe": "prüfen 保存 😀"}) == '{"Stufe":"prüfen 保存 😀"}'


def test_a_field_of_a_newer_version_is_left_out() -> None:
    assert json_text.loads('{"text":"hello","level":"info","mood":"good"}', events.Log) == events.Log("hello", "info")
