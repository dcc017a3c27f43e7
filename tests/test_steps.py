"""What is done once: each way to say so with its resume, and what is refused because it could not be."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from stagerun import AsyncProgress, ChildFailed, LiveOperation, Progress, Secret, events
from stagerun.authoring import retries
from stagerun.errors import RecipeError
from stagerun.programs.request import Completed
from stagerun.states import RunState, StageState
from stagerun.view import RunView
from tests.conftest import Bench


Body = Callable[[Progress], object]


def _operation(body: Body, **fields: Any) -> LiveOperation:
    class Demo(LiveOperation):
        stages = ["Load", "Build", "Ship"]
        token: Secret | None = None

        def run(self, p: Progress) -> None:
            body(p)

    return Demo(owner="alice", token=Secret("hunter2"))


def _twice(bench: Bench, body: Body) -> list[RunView]:
    """Run `body` and then fail, and resume it until it succeeds."""
    lives = iter([True, False])

    def run(p: Progress) -> None:
        fails = next(lives)
        body(p)
        if fails:
            raise ValueError("boom")

    first = bench.run(_operation(run))
    assert first.error is not None
    assert first.error.message == "boom", first.error
    second = bench.resume(_operation(run))
    assert second.state is RunState.SUCCEEDED, second.error
    return [first, second]


def _refusal(bench: Bench, body: Body) -> str:
    """Return message and hint of the RecipeError that `body` meets, as they are shown."""
    caught = list[RecipeError]()

    def run(p: Progress) -> None:
        with pytest.raises(RecipeError) as info:
            body(p)
        caught.append(info.value)

    view = bench.resume(_operation(run)) if bench.journal.exists() else bench.run(_operation(run))
    assert view.error is None or view.error.message == caught[0].message
    return "\n  ".join(filter(None, [caught[0].message, caught[0].hint]))


def _lines(bench: Bench, run: int, level: str = "info") -> list[str]:
    records = bench.records()
    entries = [entry.event for entry in records.entries(run)]
    records.close()
    return [line for each in entries if isinstance(each, events.Log) and each.level == level for line in each.lines]


def _states(view: RunView) -> dict[str, tuple[StageState, int | None]]:
    return {stage.name: (stage.state, stage.from_run) for stage in view.stages}


# --- each row of the table, with its resume


def _step(p: Progress, note: Body) -> object:
    return p.step("Load", lambda: note(p))


def _checkpoint(p: Progress, note: Body) -> object:
    return p.checkpoint("rows", lambda: note(p))


def _map(p: Progress, note: Body) -> object:
    return p.map(lambda _: note(p), range(3), 1, key="pages")


def _track(p: Progress, note: Body) -> object:
    state: dict[str, Any] = {"got": []}
    for _ in p.track(range(3), key="rows", state=state):
        state["got"].append(note(p))
    return state


def _batches(p: Progress, note: Body) -> object:
    state: dict[str, Any] = {"got": []}
    for _ in p.batches(range(3), 2, key="rows", state=state):
        state["got"].append(note(p))
    return state


def _sh(p: Progress, note: Body) -> object:
    return p.sh("echo one >> calls; cat calls", key="publish", capture=True)


def _block(p: Progress, note: Body) -> object:
    with p.stage("Load"):
        return note(p)


@pytest.mark.parametrize(
    ("do", "made"),
    [(_step, 1), (_checkpoint, 1), (_map, 3), (_track, 3), (_batches, 2), (_sh, 0), (_block, 2)],
    ids=["step", "checkpoint", "map", "track", "batches", "sh", "block"],
)
def test_what_is_handed_over_or_has_a_key_is_done_once_and_its_value_comes_back(
    bench: Bench, do: Callable[[Progress, Body], object], made: int
) -> None:
    calls, got = list[int](), list[object]()

    def note(p: Progress) -> int:
        calls.append(len(calls))
        return calls[-1] if do is not _block else 7

    _twice(bench, lambda p: got.append(do(p, note)))

    assert got[0] == got[1]
    assert len(calls) == made
    if do is _sh:
        assert Path("calls").read_text() == "one\n"


def test_a_step_is_a_stage_that_a_resumed_run_shows_as_done_by_the_run_that_did_it(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.step("Load", list)
        p.step("Build", dict)

    first, second = _twice(bench, body)

    assert _states(first) == {
        "Load": (StageState.DONE, None),
        "Build": (StageState.DONE, None),
        "Ship": (StageState.PENDING, None),
    }
    assert _states(second) == {
        "Load": (StageState.DONE, 1),
        "Build": (StageState.DONE, 1),
        "Ship": (StageState.PENDING, None),
    }
    records = bench.records()
    told = [entry.event for entry in records.entries(2)]
    assert [each for each in told if isinstance(each, events.StageTakenOver)] == [
        events.StageTakenOver(stage="Load", index=0, run=1),
        events.StageTakenOver(stage="Build", index=1, run=1),
    ]
    assert "[1/3] Load: done before, in run 1" not in bench.text
    assert [view.visits for view in second.stages] == [0, 0, 0]


def test_a_step_names_the_run_that_did_it_after_many_resumes(bench: Bench) -> None:
    lives = iter(["Load", "Build", "Ship", ""])
    made = list[str]()

    def body(p: Progress) -> None:
        until = next(lives)
        for name in ("Load", "Build", "Ship"):
            if name == until:
                raise ValueError(name)
            p.step(name, made.append, name)

    bench.run(_operation(body))
    views = [bench.resume(_operation(body)) for _ in range(3)]

    assert made == ["Load", "Build", "Ship"]
    assert [stage.from_run for stage in views[-1].stages] == [2, 3, None]


def test_a_step_that_is_not_declared_is_done_once_too(bench: Bench) -> None:
    made = list[str]()

    _twice(bench, lambda p: p.step("Warm up", made.append, "x"))

    assert made == ["x"]


def test_a_step_passes_arguments_on_and_gives_back_a_typed_value(bench: Bench) -> None:
    got = list[object]()

    def load(year: int, *, month: int) -> datetime:
        return datetime(year, month, 1, tzinfo=UTC)

    _twice(bench, lambda p: got.append(p.step("Load", load, 2024, month=5, type=datetime)))

    assert got == [datetime(2024, 5, 1, tzinfo=UTC)] * 2


def test_a_step_is_tried_again_inside_its_one_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "pause", lambda attempt: 1.0)
    answers = iter([OSError("away"), 7])

    def load() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    view = bench.run(_operation(lambda p: p.step("Load", load, attempts=2)))

    assert (view.state, view.stages[0].visits, bench.clock.sleeps) == (RunState.SUCCEEDED, 1, [1.0])
    assert _lines(bench, 1, "warning") == ["step 'Load': attempt 1 of 2 failed (OSError: away), trying again in 1.0s"]


@pytest.mark.parametrize("how", ["fails", "cancelled"])
def test_a_step_that_did_not_end_well_stores_nothing_and_is_done_again(bench: Bench, how: str) -> None:
    made = list[str]()

    def load(p: Progress) -> int:
        made.append(how)
        if len(made) == 1 and how == "fails":
            raise ValueError("boom")
        if len(made) == 1:
            bench.interrupts.request("SIGINT")
        return 7

    def body(p: Progress) -> None:
        p.result(value=p.step("Load", load, p))

    first = bench.run(_operation(body))
    second = bench.resume(_operation(body))

    expected = (RunState.FAILED, StageState.FAILED) if how == "fails" else (RunState.CANCELLED, StageState.CANCELLED)
    assert (first.state, first.stages[0].state) == expected
    assert (made, second.result_context, _states(second)["Load"]) == ([how] * 2, {"value": 7}, (StageState.DONE, None))


def test_what_a_step_stores_inside_is_used_by_the_next_try_of_the_step(bench: Bench) -> None:
    made = list[str]()

    def build(p: Progress) -> None:
        p.checkpoint("parts", made.append, "parts")
        made.append("build")
        if len(made) == 2:
            raise ValueError("boom")

    bench.run(_operation(lambda p: p.step("Build", build, p)))
    bench.resume(_operation(lambda p: p.step("Build", build, p)))

    assert made == ["parts", "build", "build"]


# --- what is refused


@dataclass
class Row:
    number: int


NOT_EXACT = "JSON can't restore step 'Load'{} exactly: it holds {}"
USE_TYPE = "give its type with type=..., or convert it"


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ((1, 2), NOT_EXACT.format("", "a tuple"), "use a list, or give its type with type=..."),
        ([{"a": {1}}], NOT_EXACT.format("[0]['a']", "a set"), "use a sorted list, or give its type with type=..."),
        ({"a": {1: 2}}, NOT_EXACT.format("['a']", "the key 1, which would come back as text"), "use str(key)"),
        ([1, float("inf")], NOT_EXACT.format("[1]", "inf"), "store None instead"),
        ([b"x"], NOT_EXACT.format("[0]", "a bytes"), "store a file and its path, or text"),
        ([Row(1)], NOT_EXACT.format("[0]", "a Row"), USE_TYPE),
        ({"when": datetime(2024, 5, 1, tzinfo=UTC)}, NOT_EXACT.format("['when']", "a datetime"), USE_TYPE),
        (
            ["is hunter2"],
            "step 'Load' contains a secret, which the journal must not store",
            "leave it out of the value",
        ),
        (
            "x" * 2**24,
            "step 'Load' has 16,777,218 bytes; the limit is 16,777,216",
            "store a file, and its path as the checkpoint",
        ),
    ],
    ids=["tuple", "set", "number as key", "infinity", "bytes", "dataclass", "datetime", "secret", "too large"],
)
def test_a_value_that_would_come_back_different_is_refused_at_the_call(
    bench: Bench, value: object, message: str, hint: str
) -> None:
    told = _refusal(bench, lambda p: p.step("Load", lambda: value))

    view = bench.records().find("last")
    assert told == f"{message}\n  {hint}"
    assert view.stages[0].state is StageState.FAILED
    assert bench.records().resumption(view).kept == ()


def _again(p: Progress) -> None:
    p.step("Load", list)
    p.step("Load", list)


def _after_its_stage(p: Progress) -> None:
    with p.stage("Load"):
        pass
    p.step("Load", list)


def _name_of_a_checkpoint(p: Progress) -> None:
    p.checkpoint("Load", list)
    p.step("Load", list)


def _inside_a_stage(p: Progress) -> None:
    with p.stage("Load"):
        p.step("Build", list)


def _inside_its_stage(p: Progress) -> None:
    with p.stage("Load"):
        p.step("Load", list)


def _inside_a_step(p: Progress) -> None:
    p.step("Load", lambda: p.step("Build", list))


def _twice_the_same_key(p: Progress) -> None:
    for _ in range(2):
        p.sh("true", key="make")


IN_A_LOOP = "in a loop: with p.stage(...) around p.checkpoint with a numbered key"
ALL_OF_IT = "a step is all the work of its stage; use p.checkpoint inside with p.stage(...)"
ALREADY = "the stage 'Load' was done before in this run"
FLAT = "stages are flat: leave one first"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            _again,
            f"p.step('Load') was called twice: a step is done once\n  {IN_A_LOOP}",
        ),
        (
            _after_its_stage,
            f"p.step('Load'): {ALREADY}\n  {ALL_OF_IT}",
        ),
        (_name_of_a_checkpoint, "the key 'Load' is the name of a step in this run\n  choose another key"),
        (_inside_a_stage, f"stage 'Build' was entered inside stage 'Load'\n  {FLAT}"),
        (
            _inside_its_stage,
            "p.step('Load') is inside its own stage\n  it enters the stage: leave out the with, or use p.checkpoint",
        ),
        (
            lambda p: p.track([1], "row"),
            "the total of a loop is a number, not 'row'\n  to name an item: unit='row'",
        ),
        (_inside_a_step, f"stage 'Build' was entered inside stage 'Load'\n  {FLAT}"),
        (
            _twice_the_same_key,
            "the key 'make' is used twice in this run\n  in a loop, number it: f\"make-{n}\"",
        ),
        (
            lambda p: p.step("Load", [1]),
            "p.step: pass the function, not its value: it got [1]\n  write it as p.step(name, fn, argument)",
        ),
        (
            lambda p: p.checkpoint("x", sum([1, 2])),
            "p.checkpoint: pass the function, not its value: it got 3\n  write it as p.checkpoint(name, fn, argument)",
        ),
        (
            lambda p: p.step("Load", list, attempts=0),
            "p.step: attempts must be a whole number above 0, not 0",
        ),
        (lambda p: p.step("", list), "p.stage needs a name"),
        (
            lambda p: p.checkpoint("is hunter2", list),
            "the key of p.checkpoint contains a secret, which the journal must not store\n  choose another key",
        ),
        (
            lambda p: p.sh("true", key="is hunter2"),
            "the key of p.sh contains a secret, which the journal must not store\n  choose another key",
        ),
        (
            lambda p: p.map(str, [1], key="is hunter2"),
            "the key of p.map contains a secret, which the journal must not store\n  choose another key",
        ),
        (
            lambda p: p.track([1], key="is hunter2"),
            "the key of p.track contains a secret, which the journal must not store\n  choose another key",
        ),
        (lambda p: p.track([1], key=""), "the key of p.track must be a non-empty string, not ''"),
        (lambda p: p.token(""), "the key of p.token must not be empty"),
    ],
    ids=[
        *("step twice", "after its stage", "name of a checkpoint", "inside a stage"),
        *("inside its stage", "a unit as total", "inside a step", "key twice"),
        *("value of step", "value of checkpoint", "no attempt", "no name", "secret checkpoint", "secret command"),
        *("secret map", "secret loop", "empty loop", "empty token"),
    ],
)
def test_what_could_not_be_resumed_rightly_is_refused_with_a_way_out(bench: Bench, body: Body, message: str) -> None:
    assert _refusal(bench, body) == message


def _loop(p: Progress, key: str, state: dict[str, Any] | None = None) -> None:
    for _ in p.track([1], key=key, state=state):
        pass


CALLS: dict[str, Body] = {
    "checkpoint": lambda p: p.checkpoint("Load", list),
    "step": lambda p: p.step("Load", list),
    "sh": lambda p: p.sh("true", key="Load"),
    "map": lambda p: p.map(str, [1], key="Load"),
    "track": lambda p: _loop(p, "Load"),
}


@pytest.mark.parametrize("now", CALLS)
@pytest.mark.parametrize("then", CALLS)
def test_what_one_call_stored_is_not_given_to_another(bench: Bench, then: str, now: str) -> None:
    def first(p: Progress) -> None:
        CALLS[then](p)
        raise ValueError("boom")

    bench.run(_operation(first))

    if then == now:
        assert bench.resume(_operation(CALLS[now])).state is RunState.SUCCEEDED
    else:
        told = f"run 1 stored the key 'Load' with p.{then}, and now p.{now} uses it\n  choose another key"
        assert _refusal(bench, CALLS[now]) == told


def test_a_step_belongs_to_the_thread_of_the_operation(bench: Bench) -> None:
    caught = list[RecipeError]()

    def body(p: Progress) -> None:
        def other() -> None:
            try:
                p.step("Load", list)
            except RecipeError as error:
                caught.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    view = bench.run(_operation(body))

    assert (view.state, view.stages[0].visits) == (RunState.SUCCEEDED, 0)
    assert [error.message for error in caught] == ["p.step was called from another thread"]


# --- a call that is not the one of before


@dataclass
class Pair:
    a: int
    b: int


@dataclass
class Half:
    a: int


AGAIN_HERE = "to make it again: stagerun resume --from Load"
ANOTHER_KEY_OUTSIDE = "give what differs a key of its own; to make it again: stagerun rerun"
ANOTHER_KEY = "give what differs a key of its own; to make it again: stagerun resume --from Load"


def _made(p: Progress, call: str, *arguments: object, kind: Any = None) -> object:
    """Make a call in the stage Load."""
    if call == "step":
        return p.step("Load", lambda *_: 7, *arguments)
    with p.stage("Load"):
        if call == "sh":
            return p.sh([*map(str, arguments)], key="rows")
        return p.checkpoint("rows", lambda *_: Pair(1, 2) if kind is Pair else 7, *arguments, type=kind)


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        (
            lambda p: _made(p, "checkpoint", "a.csv"),
            lambda p: _made(p, "checkpoint", "b.csv"),
            f"checkpoint 'rows' was stored for other arguments in run 1\n  {ANOTHER_KEY}",
        ),
        (
            lambda p: _made(p, "step", {"day": 1}),
            lambda p: _made(p, "step", {"day": 2}),
            f"step 'Load' was stored for other arguments in run 1\n  {ANOTHER_KEY}",
        ),
        (
            lambda p: _made(p, "sh", "echo", 1),
            lambda p: _made(p, "sh", "echo", 2),
            f"command 'rows' was stored for another command in run 1\n  {ANOTHER_KEY}",
        ),
        (
            lambda p: p.sh("true", cwd="/", key="rows"),
            lambda p: p.sh("true", cwd=os.sep * 3, key="rows"),
            f"command 'rows' was stored for another command in run 1\n  {ANOTHER_KEY_OUTSIDE}",
        ),
        (
            lambda p: p.sh("true", stdin="a", key="rows"),
            lambda p: p.sh("true", stdin="b", key="rows"),
            f"command 'rows' was stored for another command in run 1\n  {ANOTHER_KEY_OUTSIDE}",
        ),
        (
            lambda p: p.sh("true", stdin="hunter2", cwd=Path("/"), key="rows"),
            lambda p: p.sh("true", stdin="hunter2", cwd="/", key="rows"),
            None,
        ),
        (lambda p: _made(p, "checkpoint", Path("a")), lambda p: _made(p, "checkpoint", Path("a")), None),
        (lambda p: _made(p, "checkpoint", object()), lambda p: _made(p, "checkpoint", object()), None),
        (lambda p: _made(p, "checkpoint", "is hunter2"), lambda p: _made(p, "checkpoint", "is new"), None),
        (
            lambda p: _made(p, "checkpoint"),
            lambda p: _made(p, "checkpoint", kind=int),
            f"checkpoint 'rows' was stored without type= in run 1\n  {AGAIN_HERE}",
        ),
        (
            lambda p: _made(p, "checkpoint", kind=Pair),
            lambda p: _made(p, "checkpoint"),
            f"checkpoint 'rows' was stored with type= in run 1\n  {AGAIN_HERE}",
        ),
        (
            lambda p: _made(p, "checkpoint", kind=Pair),
            lambda p: _made(p, "checkpoint", kind=Half),
            "checkpoint 'rows' would lose a part of what is stored\n  to make it again: --from STAGE",
        ),
        (lambda p: _made(p, "checkpoint", kind=Pair), lambda p: _made(p, "checkpoint", kind=Pair), None),
    ],
    ids=[
        *("arguments", "arguments of a step", "command", "folder", "input", "same folder and input"),
        *("same arguments", "nothing tells them apart", "secret"),
        *("typed now", "not typed now", "narrower type", "same type"),
    ],
)
def test_a_stored_value_is_given_back_only_to_the_same_call(
    bench: Bench, then: Body, now: Body, told: str | None
) -> None:
    def first(p: Progress) -> None:
        then(p)
        raise ValueError("boom")

    bench.run(_operation(first))

    if told is None:
        view = bench.resume(_operation(now))
        assert view.state is RunState.SUCCEEDED, view.error
    else:
        assert _refusal(bench, now) == told


SWALLOWED: dict[str, Body] = {
    "a key": lambda p: [p.checkpoint("rows", list) for _ in range(2)],
    "a value": lambda p: p.checkpoint("rows", lambda: {1}),
    "a result of a map": lambda p: p.map(lambda _: {1}, [1], 1, key="rows"),
    "a reader": lambda p: list(p.track([1], key="rows")),
    "a state": lambda p: _loop(p, "rows", {"a": {1}}),
}


@pytest.mark.parametrize("what", SWALLOWED)
def test_a_run_that_swallows_what_was_refused_fails_at_its_end(bench: Bench, what: str) -> None:
    caught, done = list[RecipeError](), list[str]()

    def body(p: Progress) -> None:
        try:
            SWALLOWED[what](p)
        except Exception as error:
            assert isinstance(error, RecipeError)
            caught.append(error)
        done.append("went on")

    view = bench.run(_operation(body))

    assert done == ["went on"]
    assert (view.state, view.exit_code) == (RunState.FAILED, 1)
    assert view.error is not None
    assert view.error.message == caught[0].message
    told = [line for line in (view.error.traceback or "").splitlines() if "the recipe caught" in line]
    assert told == ["  the recipe caught this error and went on without what was refused"]


def _tried_again(p: Progress, call: Callable[[], object]) -> object:
    try:
        return call()
    except (ValueError, ChildFailed):
        return call()


@pytest.mark.parametrize("call", ["checkpoint", "step", "sh"])
def test_a_call_that_failed_can_be_made_again_under_its_key(bench: Bench, call: str) -> None:
    tries = list[int]()

    def flaky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("away")
        return 7

    calls: dict[str, Callable[[Progress], object]] = {
        "checkpoint": lambda p: p.checkpoint("Load", flaky),
        "step": lambda p: p.step("Load", flaky),
        "sh": lambda p: p.sh("echo one >> calls; test $(wc -l < calls) = 2", key="Load", quiet=True).returncode,
    }
    got = list[object]()

    _twice(bench, lambda p: got.append(_tried_again(p, lambda: calls[call](p))))

    assert got == ([0, 0] if call == "sh" else [7, 7])
    assert len(tries) == (0 if call == "sh" else 2)
    assert call != "sh" or Path("calls").read_text() == "one\none\n"


def test_what_lies_in_a_finished_item_is_taken_over_but_not_announced(bench: Bench) -> None:
    made, lives = list[str](), iter([True, False])

    def make(name: str) -> str:
        made.append(name)
        return name

    def body(p: Progress) -> None:
        fails = next(lives)
        for page in p.track(range(3), key="pages"):
            p.checkpoint(f"page-{page}", make, f"page-{page}")
            if fails and page == 1:
                raise ValueError("boom")
        p.checkpoint("page-0" if not fails else "end", make, "page-0")

    bench.run(_operation(body))
    records = bench.records()
    resumption = records.resumption(records.find("last"))
    records.close()
    view = bench.resume(_operation(body))

    assert view.state is RunState.SUCCEEDED, view.error
    assert [each.key for each in resumption.kept] == ["page-1", "pages"]
    assert [each.key for each in resumption.covered] == ["page-0"]
    assert sorted(resumption.inherited) == ["page-0", "page-1", "pages"]
    assert made == ["page-0", "page-1", "page-2"]


@pytest.mark.parametrize(("from_stage", "again"), [("Ship", [0, 1]), ("Build", [0, 1]), (None, [])])
def test_from_a_stage_that_a_loop_has_entered_does_the_whole_loop_again(
    bench: Bench, from_stage: str | None, again: list[int]
) -> None:
    done = list[int]()

    def body(p: Progress) -> None:
        for page in p.track(range(2), key="pages"):
            with p.stage("Build" if page == 0 else "Ship"):
                done.append(page)

    def fails(p: Progress) -> None:
        with p.stage("Load"):
            pass
        body(p)
        raise ValueError("boom")

    bench.run(_operation(fails))
    bench.resume(_operation(fails))  # it takes the loop over, and enters none of these stages
    records = bench.records()
    stored = [each.event for each in records.entries(1) if isinstance(each.event, events.PositionReached)]
    records.close()
    done.clear()
    bench.resume(_operation(fails), from_stage)

    assert [(each.stage, each.stages) for each in stored] == [("Load", ("Build", "Ship"))]
    assert done == again


# --- --from


def _everything(made: list[str], fails: list[bool]) -> Body:
    """Return a recipe with something of each kind in, before, between and behind its stages."""

    def note(name: str) -> str:
        made.append(name)
        return name

    def build(p: Progress) -> None:
        p.checkpoint("in the step", note, "in the step")

    def body(p: Progress) -> None:
        p.checkpoint("before", note, "before")
        with p.stage("Load"):
            p.checkpoint("in load", note, "in load")
        p.checkpoint("between", note, "between")
        p.step("Build", build, p)
        p.map(note, ["map"], key="map")
        with p.stage("Ship"):
            for each in p.track(["loop"], key="loop"):
                p.checkpoint("in the loop", note, "in the loop")
                note(each)
        p.sh("true", key="sh")
        if fails.pop():
            raise ValueError("boom")

    return body


@pytest.mark.parametrize(
    ("from_stage", "again"),
    [
        (None, []),
        ("Ship", ["in the loop", "loop"]),
        ("Build", ["in the step", "map", "in the loop", "loop"]),
        ("Load", ["in load", "between", "in the step", "map", "in the loop", "loop"]),
    ],
)
def test_from_a_stage_on_all_is_done_again_that_was_stored_in_it_or_behind_it(
    bench: Bench, from_stage: str | None, again: list[str]
) -> None:
    made = list[str]()
    body = _everything(made, [False, True])

    bench.run(_operation(body))
    made.clear()
    view = bench.resume(_operation(body), from_stage)

    assert view.state is RunState.SUCCEEDED, view.error
    assert made == again


# --- programs


def _completed(bench: Bench, call: Callable[[Progress], Completed]) -> list[Completed]:
    got = list[Completed]()
    _twice(bench, lambda p: got.append(call(p)))
    return got


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("echo out; echo err >&2", {"capture": True}, (0, "out\n", "err\n")),
        ("echo out", {}, (0, None, None)),
        ("echo bad; exit 7", {"check": False, "capture": True}, (7, "bad\n", "")),
        ("kill -9 $$", {"check": False}, (-9, None, None)),
        (r"printf 'a\377\000b\355\240\275'", {"capture": True}, (0, "", "")),
        (["printf", "%s", "é"], {"capture": True}, (0, "é", "")),
        (["true"], {"quiet": True}, (0, None, None)),
    ],
    ids=["captured", "not captured", "exit code", "killed", "junk bytes", "list", "quiet"],
)
def test_a_program_with_a_key_comes_back_as_it_ended(
    bench: Bench, command: str | list[str], options: dict[str, Any], expected: tuple[int, str | None, str | None]
) -> None:
    first, second = _completed(bench, lambda p: p.sh(command, key="make", **options))

    assert first == second
    if "printf 'a" not in command:
        assert (first.returncode, first.stdout, first.stderr) == expected


def test_a_resumed_run_says_that_a_program_was_not_started_again(bench: Bench) -> None:
    _twice(bench, lambda p: p.sh("echo hello", key="make"))

    assert _lines(bench, 1) == ["$ echo hello", "hello"]
    assert _lines(bench, 2) == ["$ echo hello", "(done in run 1, not started again)"]


def test_a_resumed_run_says_how_a_program_ended_badly_that_was_not_started_again(bench: Bench) -> None:
    _twice(bench, lambda p: p.sh("exit 3", key="make", check=False))

    assert _lines(bench, 2) == ["$ exit 3", "(ended with exit code 3 in run 1, not started again)"]


def test_a_program_that_failed_is_started_again(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.sh("echo one >> calls; test -e ready", key="make")

    bench.run(_operation(body))
    Path("ready").touch()
    view = bench.resume(_operation(body))

    assert view.state is RunState.SUCCEEDED
    assert Path("calls").read_text() == "one\none\n"


def test_a_stored_failure_is_a_failure_where_it_is_checked_now(bench: Bench) -> None:
    lives = iter([False, True])

    def body(p: Progress) -> None:
        check = next(lives)
        if not check:
            p.sh("exit 7", key="make", check=False)
            raise ValueError("boom")
        with pytest.raises(ChildFailed, match="ended with exit code 7"):
            p.sh("exit 7", key="make")

    bench.run(_operation(body))
    view = bench.resume(_operation(body))

    assert view.state is RunState.SUCCEEDED, view.error


def test_a_program_that_was_stored_without_the_output_that_is_asked_for_now_is_refused(bench: Bench) -> None:
    def body(p: Progress) -> None:
        p.sh("echo out", key="make")
        raise ValueError("boom")

    bench.run(_operation(body))
    told = _refusal(bench, lambda p: p.sh("echo out", key="make", capture=True))

    assert told == "command 'make' was stored without its output\n  to run it again: --from STAGE"


def test_the_secrets_of_a_stored_command_are_masked_and_its_output_may_hold_none(bench: Bench) -> None:
    got = list[Completed]()

    def body(p: Progress) -> None:
        got.append(p.sh(["echo", "x", Secret("hunter2")], key="quiet"))
        p.sh(["echo", Secret("hunter2")], key="loud", capture=True)

    assert _refusal(bench, body) == (
        "command 'loud' contains a secret, which the journal must not store\n  leave it out of the value"
    )
    view = bench.records().find("last")
    assert [each.key for each in bench.records().resumption(view).kept] == ["quiet"]
    assert b"hunter2" not in bench.journal.read_bytes() + bench.journal.with_name("journal.db-wal").read_bytes()


def test_a_resumed_run_says_nothing_of_how_long_the_operation_usually_takes(bench: Bench) -> None:
    ends = [True, False, False]

    def body(p: Progress) -> None:
        p.step("Load", bench.clock.move, 8)
        if ends.pop(0):
            raise ValueError("boom")

    bench.run(_operation(body))
    resumed = bench.resume(_operation(body))
    before = bench.records().usual("demo:Demo")
    bench.run(_operation(body))

    assert (resumed.state, resumed.seconds) == (RunState.SUCCEEDED, 0.0)
    assert (before, bench.records().usual("demo:Demo")) == (None, 8.0)


# --- tokens


def test_a_token_is_the_same_in_all_attempts_and_another_for_each_key_and_each_work(bench: Bench) -> None:
    got = list[str]()

    def body(p: Progress) -> None:
        got.extend([p.token("payment"), p.token("payment"), p.token("mail")])
        raise ValueError("boom")

    bench.run(_operation(body))
    bench.resume(_operation(body))
    bench.resume(_operation(body), "Load")
    bench.run(_operation(body))

    assert got[:3] == got[3:6] == got[6:9]
    assert got[0] == got[1]
    assert len({*got}) == 4
    assert [str(UUID(each)) for each in got] == got


def test_a_token_that_is_asked_for_twice_is_warned_about(bench: Bench) -> None:
    def body(p: Progress) -> None:
        for key in ("payment", "mail", "payment"):
            p.token(key)

    bench.run(_operation(body))

    told = "p.token('payment') was asked for twice: it is the same text; in a loop: f\"payment-{n}\""
    assert _lines(bench, 1, "warning") == [told]


@pytest.mark.parametrize("call", ["step", "checkpoint"])
def test_a_call_in_which_an_error_was_said_did_not_end_well_and_is_made_again(bench: Bench, call: str) -> None:
    prices = ["4.5", ""]

    def check(p: Progress) -> str:
        if not (price := prices.pop()):
            p.error("an order has no price")
        return price

    def body(p: Progress) -> None:
        getattr(p, call)("Load", check, p)

    first = bench.run(_operation(body))
    second = bench.resume(_operation(body))

    assert first.error is not None
    assert (first.state, first.error.message) == (RunState.FAILED, "an order has no price")
    assert (second.state, prices) == (RunState.SUCCEEDED, [])


def _says_it_in_a_loop(p: Progress, item: str) -> None:
    for row in p.track(["tea", "cake"], key="rows"):
        if row == item:
            p.error(f"{row} has no price, hunter2")


def _says_it_in_a_map(p: Progress, item: str) -> None:
    p.map(lambda row: p.error(f"{row} has no price, hunter2") if row == item else None, ["tea", "cake"], key="rows")


@pytest.mark.parametrize("work", [_says_it_in_a_loop, _says_it_in_a_map])
def test_a_run_that_skips_items_of_which_an_error_was_said_fails_as_well(
    bench: Bench, work: Callable[[Progress, str], None]
) -> None:
    def bad(p: Progress) -> None:
        with p.stage("Load"):
            work(p, "tea")

    def good(p: Progress) -> None:
        with p.stage("Load"):
            work(p, "")

    first, *later = bench.run(_operation(bad)), bench.resume(_operation(good)), bench.resume(_operation(good))
    again = bench.resume(_operation(good), from_stage="Load")

    assert first.error is not None
    assert first.error.message == "tea has no price, ***"
    told = "tea has no price, *** (in run 1; to do 'rows' again: stagerun resume --from Load)"
    assert [each.error and each.error.message for each in later] == [told, told]
    assert again.state is RunState.SUCCEEDED


def test_an_error_that_was_said_of_an_item_that_is_done_again_is_forgotten(bench: Bench) -> None:
    bad = ["cake"]

    def body(p: Progress) -> None:
        for row in p.track(["tea", "cake"], key="rows"):
            if row in bad:
                bad.remove(row)
                p.error(f"{row} has no price")
                raise ValueError("boom")

    assert bench.run(_operation(body)).state is RunState.FAILED
    assert bench.resume(_operation(body)).state is RunState.SUCCEEDED


def test_a_result_that_a_resumed_run_would_lack_is_warned_about_once_and_a_chain_is_refused(bench: Bench) -> None:
    def load(p: Progress) -> None:
        p.result(rows=1)
        p.result(rows=2)

    def body(p: Progress) -> None:
        p.result(rows=0)
        p.step("Load", load, p)
        for _ in p.track("ab", key="rows"):
            p.chain_to(_operation(print))

    view = bench.run(_operation(body))

    told = (
        "p.result was called inside of 'Load': a resumed run that does not do that again lacks this result; "
        "call it in run, behind that"
    )
    assert [each.text for each in bench.seen.events if isinstance(each, events.Log)] == [told]
    assert view.error is not None
    refused = "p.chain_to was called inside of 'rows': a resumed run that does not do that again would not chain"
    assert view.error.message == refused


def _strip(row: dict[str, str]) -> None:
    row["name"] = row["name"].strip()


def _stripped(row: dict[str, str]) -> dict[str, str]:
    _strip(row)
    return row


def _count(row: dict[str, str]) -> int:
    return len(row)


@pytest.mark.parametrize(("work", "warns"), [(_strip, True), (_stripped, False), (_count, False)])
def test_a_call_that_changes_what_it_is_given_instead_of_returning_it_is_warned_about(
    bench: Bench, work: Callable[[dict[str, str]], Any], warns: bool
) -> None:
    async def awaited(row: dict[str, str]) -> Any:
        return work(row)

    class Tidy(LiveOperation):
        stages = ["Load"]

        async def run(self, p: AsyncProgress) -> None:
            row = {"name": " tea "}
            p.step("Load", work, row)
            await p.checkpoint("rows", awaited, {**row, "name": " cake "})
            await p.map(work, [{"name": f" {number} "} for number in range(3)], key="all")

    bench.run(Tidy())

    given = "changes what it is given: a resumed run that does not call it again lacks that; return the new value"
    told = [
        f"step 'Load' {given}",
        f"checkpoint 'rows' {given}",
        (
            "map 'all' changes its items: a resumed run skips finished items, and what changed in them is lost; "
            "return the new value"
        ),
    ]
    assert [each.text for each in bench.seen.events if isinstance(each, events.Log)] == (told if warns else [])
