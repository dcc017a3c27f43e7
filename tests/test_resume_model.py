"""Random programs, broken at random moments and resumed until they are done, beside the same ones left alone."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import Done, Project, new_project


_MOST_ATTEMPTS: Final = 12
_LOOPS: Final = ("loop", "batches", "map")


class Fault(NamedTuple):
    """What happens at a moment of an attempt: the moment is a share of those that an undisturbed run has."""

    kind: str
    share: float


Operations = list[list[Any]]


@st.composite
def _programs(draw: st.DrawFn) -> list[Operations]:
    """Programs that chain to each other. Every name is used once, but in loops, where items number it."""
    numbers = iter(range(1000))
    return [_program(draw, numbers, link) for link in range(draw(st.integers(1, 2)))]


def _program(draw: st.DrawFn, numbers: Iterator[int], link: int) -> Operations:
    stages = iter(range(4))

    def name(kind: str) -> str:
        return f"{kind}{link}{next(numbers)}"

    def operations(depth: int, *, top: bool = False) -> Operations:
        return [operation(depth, top=top) for _ in range(draw(st.integers(1, 3)))]

    def operation(depth: int, *, top: bool) -> list[Any]:
        kinds = ["effect", "sh", "map"] + ["checkpoint", "loop", "batches", "block"] * (depth > 0)
        kinds += ["stage", "step"] * 3 * top
        match draw(st.sampled_from(kinds)):
            case "stage" | "step" as kind if (stage := next(stages, None)) is not None:
                return [kind, f"S{link}{stage}", operations(depth - 1)]
            case "loop" | "batches" as kind:
                return [kind, name(kind), draw(st.integers(0, 4)), operations(depth - 1)]
            case "map":
                return ["map", name("map"), draw(st.integers(0, 4))]
            case "checkpoint" | "block" as kind:
                return [kind, name(kind), operations(depth - 1)]
            case "sh":
                return ["sh", name("sh")]
            case _:
                return ["effect", name("effect")]

    return operations(2, top=True)


_FAULTS: Final = st.lists(
    st.builds(Fault, st.sampled_from(["kill", "cancel", "fail"]), st.floats(0, 1, allow_nan=False)), max_size=5
)


class Attempt(NamedTuple):
    """One process: its fault, the plan that was printed before it, and the lines that it told."""

    fault: str
    plan: dict[str, Any] | None
    told: list[str]
    done: Done


def _attempts(project: Project, programs: list[Operations], faults: list[Fault], moments: int) -> Iterator[Attempt]:
    """Run the programs and resume them until they have succeeded."""
    effects = project.root / "effects"
    plan: dict[str, Any] | None = None
    for number in range(_MOST_ATTEMPTS):
        fault = faults[number] if number < len(faults) else None
        what = f"{fault.kind}:{1 + int(fault.share * moments)}" if fault else ""
        before = effects.read_text().splitlines() if effects.exists() else []
        first = ["run", "programs:Program", *(f"--programs={json.dumps(each)}" for each in programs)]
        done = project.stagerun(
            *(first if number == 0 else ["resume"]), environ={"EFFECTS": str(effects), "FAULT": what}
        )
        after = effects.read_text().splitlines() if effects.exists() else []
        yield Attempt(what, plan, after[len(before) :], done)
        if done.code == 0:
            return
        plan = json.loads(project.stagerun("resume", "--dry-run", "--json").out)
    raise AssertionError("the run does not come to its end")


def _result(project: Project) -> list[Any]:
    """Return the result of each link that succeeded, in order."""
    history = json.loads(project.stagerun("history", "--json").out)
    return [each["result_context"] for each in reversed(history) if each["state"] == "succeeded"]


def _check_effects(programs: list[Operations], attempts: list[Attempt]) -> None:
    """What the recipe was told to have is not done again, and a finished item is done again only after SIGKILL."""
    had = set[str]()
    finished = set[str]()
    items = set(_items(programs))
    keyed = set(_keyed(programs))
    for attempt in attempts:
        begun = {line.removeprefix("begin ") for line in attempt.told if line.startswith("begin ")}
        assert begun & had == set()
        assert {each.rpartition("-")[0] for each in begun} & had == set()  # nor an item of what it was told to have
        assert begun & finished == set()
        had |= {line.removeprefix("have ") for line in attempt.told if line.startswith("have ")} & keyed
        if not attempt.fault.startswith("kill"):
            finished |= _finished_items(attempt.told, items)


def _finished_items(told: list[str], items: set[str]) -> set[str]:
    """Return the items whose end was told, and after which the loop went on."""
    ended = {line.removeprefix("end ") for line in told if line.startswith("end ")}
    broken = {line.removeprefix("fault end ") for line in told if line.startswith("fault ")}
    return {each for each in (ended & items) - broken if _goes_on_after(each, told)}


def _goes_on_after(item: str, told: list[str]) -> bool:
    key, _, number = item.rpartition("-")
    return f"begin {key}-{int(number) + 1}" in told or f"have {key}" in told


def _walk(programs: list[Operations]) -> Iterator[list[Any]]:
    for program in programs:
        for operation in program:
            yield operation
            if isinstance(operation[-1], list):
                yield from _walk([operation[-1]])


def _keyed(programs: list[Operations], suffixes: tuple[str, ...] = ("",)) -> Iterator[str]:
    """Yield every key that the programs can ask for."""
    for program in programs:
        for kind, name, *rest in program:
            if kind in ("step", "checkpoint", "sh", *_LOOPS):
                yield from (name + suffix * (kind != "step") for suffix in suffixes)
            inner = [rest[-1]] if rest and isinstance(rest[-1], list) else []
            if kind == "loop":
                yield from _keyed(inner, tuple(f"{suffix}-{item}" for suffix in suffixes for item in range(rest[0])))
            elif kind != "batches":
                yield from _keyed(inner, suffixes)


def _items(programs: list[Operations], suffixes: tuple[str, ...] = ("",)) -> Iterator[str]:
    """Yield the items of the loops whose end is exact: those without lists in their state."""
    for program in programs:
        for kind, name, *rest in program:
            inner = [rest[-1]] if rest and isinstance(rest[-1], list) else []
            inside = suffixes
            if kind == "loop":
                inside = tuple(f"{suffix}-{item}" for suffix in suffixes for item in range(rest[0]))
                if rest[0] % 2 == 0:
                    yield from (f"{name}{suffix}-{item}" for suffix in suffixes for item in range(rest[0]))
            if kind == "map":
                yield from (f"{name}{suffix}-{item}" for suffix in suffixes for item in range(rest[0]))
            if kind != "batches":
                yield from _items(inner, inside)


def _check_plan(attempt: Attempt) -> None:
    """The plan that was printed is what then happened; of an attempt that was cut short, as far as it came."""
    if attempt.plan is None:
        return
    asked = {line.removeprefix("ask ") for line in attempt.told if line.startswith("ask ")}
    begun = [line.removeprefix("begin ") for line in attempt.told if line.startswith("begin ")]
    had = {line.removeprefix("have ") for line in attempt.told if line.startswith("have ")}
    calls = {each["key"] for each in [*attempt.plan["skipped"], *attempt.plan["reused"]] if each["done"] is None}
    assert {key for key in calls if key in begun} == set()
    assert {key for key in had if _was_a_call(key) and key not in begun} <= calls
    for loop in (each for each in [*attempt.plan["goes_on"], *attempt.plan["reused"]] if each["done"] is not None):
        first = next((each for each in begun if each.rpartition("-")[0] == loop["key"]), None)
        if loop["call"] == "track" and first is not None:
            assert int(first.rpartition("-")[2]) == loop["done"]
    if attempt.done.code == 0:
        told = [*attempt.plan["skipped"], *attempt.plan["reused"], *attempt.plan["goes_on"]]
        assert {each["key"] for each in told} <= asked


def _was_a_call(key: str) -> bool:
    return key.startswith(("S", "checkpoint", "sh"))


def _model(examples: int, seed: int) -> Counter[str]:
    happened = Counter[str]()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.seed(seed)
    @given(_programs(), _FAULTS)
    def check(programs: list[Operations], faults: list[Fault]) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            results, told = list[list[Any]](), list[list[Attempt]]()
            for name, some in (("alone", list[Fault]()), ("broken", faults)):
                project = new_project(folder / name)
                shutil.copy(Path(__file__).with_name("programs_recipe.py"), project.root / "recipes" / "programs.py")
                moments = len(told[0][0].told) if told else 1
                attempts = list(_attempts(project, programs, some, moments))
                results.append(_result(project))
                told.append(attempts)
                _check_effects(programs, attempts)
                for attempt in attempts:
                    _check_plan(attempt)
            assert results[0] == results[1]
            ends = [{line for each in attempts for line in each.told if line.startswith("end ")} for attempts in told]
            assert ends[0] == ends[1]
            happened.update(each.fault.partition(":")[0] for each in told[1] if each.done.code != 0)
            happened.update(name for each in told[1] if each.plan for name, value in each.plan.items() if value)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    check()
    return happened


@pytest.mark.parametrize(
    "examples", [8, pytest.param(2000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])], ids=["few", "many"]
)
def test_a_program_that_is_broken_and_resumed_ends_as_one_that_is_left_alone(examples: int, seed: int) -> None:
    happened = _model(examples, seed)

    if examples > 100:
        expected = ("kill", "cancel", "fail", "skipped", "reused", "goes_on")
        assert [each for each in expected if not happened[each]] == []
