"""LiveOperation: what is checked when a class is made, and what every operation has."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property, partialmethod, wraps
from typing import Any, Final

import pytest

import stagerun
from stagerun import LiveOperation, Progress
from stagerun.errors import RecipeError, UsageError
from stagerun.machine import identity
from tests.conftest import START, Bench, Project


class Import(LiveOperation):
    """Load and save."""

    stages = ["Load", "Save"]

    limit: int = 1000

    def run(self, p: Progress) -> None:
        with p.stage("Load"):
            p.result({"limit": self.limit})


def _with_stages(stages: object) -> type[LiveOperation]:
    return type("Broken", (LiveOperation,), {"stages": stages})


@pytest.mark.parametrize(
    ("stages", "message", "hint"),
    [
        (["Load", ["Save"]], "Broken: stage ['Save'] is not a string", "stages is a flat list of names"),
        (["Load", 2], "Broken: stage 2 is not a string", "stages is a flat list of names"),
        (["Load", None], "Broken: stage None is not a string", "stages is a flat list of names"),
        (["Load", "Save", "Load"], "Broken: stage 'Load' is listed twice", None),
        (["Load", ""], "Broken: a stage has an empty name", None),
        ([" \t"], "Broken: a stage has an empty name", None),
        ("Load", "Broken: stages must be a list of names, not 'Load'", None),
        (None, "Broken: stages must be a list of names, not None", None),
        ({"Load": 1}, "Broken: stages must be a list of names, not {'Load': 1}", None),
        (["x" * 201], f"Broken: stage {'x' * 40!r}… has more than 200 characters", None),
    ],
)
def test_stages_that_break_a_rule_are_refused_when_the_class_is_made(
    stages: object, message: str, hint: str | None
) -> None:
    with pytest.raises(RecipeError) as caught:
        _with_stages(stages)

    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    "stages", [[], ["Load"], ("Load", "Save"), ["x" * 200], ["Prüfen 保存", "[red]", "load", "Load"]]
)
def test_any_flat_list_of_unique_names_is_taken(stages: list[str]) -> None:
    assert list(_with_stages(stages)().stage_states) == list(stages)


def test_a_subclass_has_the_stages_of_its_base_unless_it_has_its_own() -> None:
    class Same(Import): ...

    class Other(Import):
        stages = ["Check"]

    assert (Same().stage_states, Other().stage_states, Import().stage_states) == (
        {"Load": "pending", "Save": "pending"},
        {"Check": "pending"},
        {"Load": "pending", "Save": "pending"},
    )


FRESH: Final[dict[str, object]] = {
    "pk": None,
    "id": None,
    "owner": "alice",
    "stages": ["Load", "Save"],
    "current_stage": -1,
    "stage_states": {"Load": "pending", "Save": "pending"},
    "created_on": None,
    "started_on": None,
    "finished_on": None,
    "finished_successfully": False,
    "cancel_requested": False,
    "cancelled": False,
    "traceback": None,
    "result_context": None,
    "state": "pending",
}


def _fields(operation: LiveOperation) -> dict[str, object]:
    return {name: getattr(operation, name) for name in FRESH}


def test_an_operation_that_has_not_run_has_every_field() -> None:
    assert _fields(Import(owner="alice")) == FRESH


def test_an_operation_that_has_run_knows_how_it_went(bench: Bench) -> None:
    operation = Import(owner="alice")

    bench.run(operation)

    assert _fields(operation) == FRESH | {
        "pk": 1,
        "id": 1,
        "current_stage": 0,
        "stage_states": {"Load": "done", "Save": "pending"},
        "created_on": START,
        "started_on": START,
        "finished_on": START,
        "finished_successfully": True,
        "result_context": {"limit": 1000},
        "state": "succeeded",
    }


def test_an_operation_that_runs_knows_where_it_is(bench: Bench) -> None:
    seen = []

    class Curious(LiveOperation):
        stages = ["Load", "Save"]

        def run(self, p: Progress) -> None:
            seen.append((self.current_stage, dict(self.stage_states), self.state))
            with p.stage("Save"):
                bench.clock.move(1)
                seen.append((self.current_stage, dict(self.stage_states), self.state))
            seen.append((self.current_stage, dict(self.stage_states), self.state))

    bench.run(Curious())

    assert seen == [
        (-1, {"Load": "pending", "Save": "pending"}, "running"),
        (1, {"Load": "pending", "Save": "active"}, "running"),
        (1, {"Load": "pending", "Save": "done"}, "running"),
    ]


def test_an_operation_that_failed_holds_the_traceback(bench: Bench) -> None:
    class Failing(LiveOperation):
        def run(self, p: Progress) -> None:
            raise ValueError("boom")

    operation = Failing()
    view = bench.run(operation)

    assert view.error is not None
    assert (operation.state, operation.finished_successfully, operation.traceback) == (
        "failed",
        False,
        (
            "Traceback (most recent call last):\n"
            f'  File "{__file__}", line {view.error.line}, in run\n'
            '    raise ValueError("boom")\n'
            "ValueError: boom"
        ),
    )


def test_an_operation_that_was_cancelled_says_so(bench: Bench) -> None:
    class Cancelled(LiveOperation):
        def run(self, p: Progress) -> None:
            bench.interrupts.request("SIGTERM")
            p.check_cancelled()

    operation = Cancelled()
    bench.run(operation)

    assert (operation.state, operation.cancel_requested, operation.cancelled) == ("cancelled", True, True)


def test_the_constructor_takes_parameters_by_keyword_alone() -> None:
    assert Import(limit=3).limit == 3
    with pytest.raises(TypeError):
        Import(*[3])


def test_objects_create_is_the_constructor_in_another_spelling() -> None:
    operation = Import.objects.create(owner="alice", limit="3")

    assert (type(operation), operation.owner, operation.limit) == (Import, "alice", 3)


def test_objects_create_refuses_what_the_constructor_refuses() -> None:
    with pytest.raises(UsageError, match=r"^Import has no parameter 'limti'"):
        Import.objects.create(limti=3)


def test_an_operation_without_run_fails_and_says_what_to_write(bench: Bench) -> None:
    class Bare(LiveOperation): ...

    view = bench.run(Bare())

    assert view.error is not None
    assert (view.state, view.error.message) == ("failed", "Bare has no run(self, p)")


def _line(kind: type[LiveOperation] | Callable[..., object]) -> str:
    return f"({__file__}, line {kind.__code__.co_firstlineno})"  # type: ignore[union-attr]


def bare() -> None: ...
def with_self(self: object) -> None: ...
def with_more(self: object, p: object, more: object) -> None: ...
def by_keyword(self: object, *, p: object) -> None: ...
def with_p(p: object) -> None: ...
def with_defaults(self: object, p: object, more: int = 1, *rest: object, **named: object) -> None: ...
def passed_on(*arguments: object) -> None: ...
def generating(self: object, p: object) -> Iterator[int]:
    yield 1


async def waiting(self: object, p: object) -> None: ...
async def waiting_and_generating(self: object, p: object) -> AsyncIterator[int]:
    yield 1


class Called:
    def __call__(self, p: Progress) -> None: ...


TAKE_P = "write def run(self, p)"
UNDECORATED = "write def run(self, p), without the decorator"
TAKE_YIELD_OUT = "remove the yield: p.log, p.status and p.track report progress"


@pytest.mark.parametrize(
    ("run", "function", "what", "hint"),
    [
        (bare, bare, "does not take p", TAKE_P),
        (with_self, with_self, "does not take p", TAKE_P),
        (by_keyword, by_keyword, "does not take p", TAKE_P),
        (with_more, with_more, "can't be called with p alone: missing a required argument: 'more'", TAKE_P),
        (staticmethod(with_p), with_p, "is a static method, which has no self", UNDECORATED),
        (classmethod(passed_on), passed_on, "is a class method, which has no self", UNDECORATED),
        (generating, generating, "is a generator, and calling it would do nothing", TAKE_YIELD_OUT),
        (
            waiting_and_generating,
            waiting_and_generating,
            "is an async generator, and calling it would do nothing",
            TAKE_YIELD_OUT,
        ),
    ],
)
def test_a_run_that_can_not_work_is_refused_when_the_class_is_made(
    run: object, function: Callable[..., object], what: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        type("Broken", (LiveOperation,), {"run": run})

    assert (caught.value.message, caught.value.hint) == (f"Broken: run {_line(function)} {what}", hint)


@pytest.mark.parametrize(("run", "kind"), [("all", "'all'"), (property(with_self), "a property")])
def test_a_run_that_is_no_method_is_refused_when_the_class_is_made(run: object, kind: str) -> None:
    with pytest.raises(RecipeError) as caught:
        type("Broken", (LiveOperation,), {"run": run})

    assert (caught.value.message, caught.value.hint) == (f"Broken: run is not a method, but {kind}", TAKE_P)


@pytest.mark.parametrize(
    "run",
    [with_defaults, passed_on, waiting, partialmethod(with_more, more=1), Called()],
    ids=["defaults", "anything", "async", "partial", "callable"],
)
def test_every_other_way_to_write_run_is_taken(bench: Bench, run: object) -> None:
    operation: type[LiveOperation] = type("Fine", (LiveOperation,), {"run": run})

    assert bench.run(operation()).state == "succeeded"


@pytest.mark.parametrize(
    ("name", "value", "place", "kind"),
    [
        ("state", with_self, with_self, "a method"),
        ("owner", property(with_self), with_self, "a property"),
        ("pk", cached_property(with_self), with_self, "a property"),
        ("params", classmethod(passed_on), passed_on, "a class method"),
        ("cancelled", staticmethod(bare), bare, "a static method"),
        ("owner", "nightly", None, "'nightly'"),
    ],
)
def test_an_attribute_that_hides_a_field_is_refused_when_the_class_is_made(
    name: str, value: object, place: Callable[..., object] | None, kind: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        type("Broken", (LiveOperation,), {name: value})

    line = _line(place) if place else f"({__file__}, line {caught.tb.tb_lineno})"
    assert (caught.value.message, caught.value.hint) == (
        f"Broken: {name!r} {line} is {kind}, but every run has a field of that name",
        "choose another name",
    )


@pytest.mark.parametrize(
    ("value", "place", "kind", "hint"),
    [
        (property(with_self), with_self, "a property", "choose another name"),
        (with_self, with_self, "a method", "choose another name"),
        (5, None, "5", "for a new default write limit: TYPE = 5"),
    ],
)
def test_an_attribute_that_hides_a_parameter_of_a_base_is_refused_when_the_class_is_made(
    value: object, place: Callable[..., object] | None, kind: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        type("Broken", (Import,), {"limit": value})

    line = _line(place) if place else f"({__file__}, line {caught.tb.tb_lineno})"
    assert (caught.value.message, caught.value.hint) == (
        f"Broken: 'limit' {line} is {kind}, but a base has a parameter of that name",
        hint,
    )


def test_a_mixin_that_hides_a_field_is_refused_with_the_class_that_uses_it() -> None:
    class Mixin:
        @property
        def state(self) -> str:
            return "fine"

    with pytest.raises(RecipeError, match=r"^Broken: 'state' \(.*\) is a property, but every run has a field"):
        type("Broken", (Mixin, LiveOperation), {})


def test_a_new_default_of_a_parameter_of_a_base_is_taken_with_its_type() -> None:
    class Quick(Import):
        limit: int = 5

    assert (Quick().limit, Import().limit) == (5, 1000)


def test_a_parameter_that_is_a_method_too_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        type("Broken", (LiveOperation,), {"__annotations__": {"limit": int}, "limit": with_self})

    assert (caught.value.message, caught.value.hint) == (
        "Broken: parameter 'limit' is also a method or a property of the class",
        "choose another name for one of them",
    )


def test_a_generator_that_a_decorator_runs_is_taken(bench: Bench) -> None:
    done = list[int]()

    def exhaust(function: Callable[..., Iterator[int]]) -> Callable[..., None]:
        @wraps(function)
        def run(*arguments: object) -> None:
            done.extend(function(*arguments))

        return run

    operation: type[LiveOperation] = type("Fine", (LiveOperation,), {"run": exhaust(generating)})

    assert (bench.run(operation()).state, done) == ("succeeded", [1])


HOW_TO_INIT = "write def __init__(self, **given), and call super().__init__(**given) in it before anything else"


def init_without_super(self: object, path: str) -> None: ...


def test_an_init_that_sets_no_fields_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(RecipeError) as caught:
        type("Broken", (LiveOperation,), {"__init__": init_without_super})

    assert (caught.value.message, caught.value.hint) == (
        f"Broken: its own __init__ {_line(init_without_super)} breaks it: it does not call super().__init__",
        HOW_TO_INIT,
    )


def test_an_init_that_adds_to_the_fields_goes_on_working(bench: Bench) -> None:
    class Adding(Import):
        extra: str = "a"

        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.seen = [self.limit, self.extra]

    class Changing(Adding):
        def __init__(self, *, limit: int = 5, **given: Any) -> None:
            super().__init__(limit=limit * 2, **given)

    operation = Changing(owner="alice", limit=4, extra="b")

    assert (operation.seen, operation.owner, bench.run(operation).state) == ([8, "b"], "alice", "succeeded")
    assert Changing().checked().seen == [10, "a"]


INITS = """
from dataclasses import dataclass

class Rest:
    def __init__(self, **given): ...

class Lost(Rest, LiveOperation):
    def __init__(self, **given):
        super().__init__(**given)

class Own(LiveOperation):
    def __init__(self, path):
        super().__init__()

@dataclass
class Data(LiveOperation):
    limit: int = 1

class Raising(LiveOperation):
    def __init__(self, **given):
        super().__init__(**given)
        raise ValueError("no good")
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Lost", "Lost: its own __init__ ({file}, line 9) breaks it: LiveOperation.__init__ was not called\n  {hint}"),
        (
            "Own",
            "Own: its own __init__ ({file}, line 13) breaks it: {takes} missing a required argument: 'path'\n  {hint}",
        ),
        ("Data", "Data: its own __init__ breaks it: {takes} got an unexpected keyword argument 'owner'\n  {hint}"),
        ("Raising", "operation one:Raising can't be created\n{frames}\nValueError: no good"),
    ],
)
def test_an_init_that_does_not_work_is_told_before_the_run_begins(project: Project, name: str, told: str) -> None:
    file = project.recipe("one", INITS)

    done = project.stagerun("run", f"one:{name}")

    takes = "it does not accept the fields of a run:"
    frames = f"""\
Traceback (most recent call last):
  File "{file}", line 23, in __init__
    raise ValueError("no good")"""
    told = told.format(file=file, hint=HOW_TO_INIT, takes=takes, frames=frames)
    assert (done.code, done.out, done.err) == (3, "", f"stagerun: {told}\n")
    assert not project.journal.exists()


def test_an_init_that_no_command_could_call_is_taken_from_python(bench: Bench) -> None:
    class Own(LiveOperation):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

        def run(self, p: Progress) -> None:
            p.result(path=self.path)

    assert bench.run(Own("a").checked()).result_context == {"path": "a"}


def test_a_value_that_was_set_later_is_checked_before_the_operation_is_chained_to() -> None:
    operation = Import()
    assert operation.checked() is operation

    operation.limit = "many"  # type: ignore[assignment]

    with pytest.raises(UsageError, match=r"^parameter 'limit' can't be 'many': "):
        operation.checked()


@pytest.mark.parametrize(
    ("environ", "owner"),
    [
        ({"GITHUB_ACTOR": "octocat", "LOGNAME": "runner"}, "octocat"),
        ({"GITLAB_USER_LOGIN": "tanuki", "USER": "root"}, "tanuki"),
        ({"BUILD_REQUESTEDFOR": "Ada Lovelace", "USERNAME": "vsts"}, "Ada Lovelace"),
        ({"BUILDKITE_BUILD_CREATOR": "kit", "LOGNAME": "agent"}, "kit"),
        ({"GITHUB_ACTOR": "", "LOGNAME": "alice"}, "alice"),
        ({"LOGNAME": "alice", "USER": "root"}, "alice"),
        ({"USER": "alice"}, "alice"),
        ({"USERNAME": "alice"}, "alice"),
    ],
)
def test_the_owner_is_the_actor_that_the_ci_names_and_else_the_login(environ: dict[str, str], owner: str) -> None:
    assert identity.person(environ) == owner


def test_without_any_variable_the_owner_is_still_somebody() -> None:
    assert identity.person({})


def test_an_operation_belongs_to_who_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")

    assert (Import().owner, Import(owner="alice").owner, Import(owner="").owner) == ("octocat", "alice", "octocat")


def test_the_package_exports_what_a_recipe_author_imports() -> None:
    namespace: dict[str, object] = {}
    exec("from stagerun import *", namespace)
    del namespace["__builtins__"]

    assert set(namespace) == set(stagerun.__all__)
    names = ["AsyncProgress", "ChildFailed", "ItemsFailed", "LiveOperation", "OperationCancelled", "Progress", "Secret"]
    assert stagerun.__all__ == names
    assert {name: f"{value.__module__}.{name}" for name, value in namespace.items()} == {
        "AsyncProgress": "stagerun.authoring.async_progress.AsyncProgress",
        "LiveOperation": "stagerun.authoring.operation.LiveOperation",
        "ChildFailed": "stagerun.errors.ChildFailed",
        "ItemsFailed": "stagerun.errors.ItemsFailed",
        "OperationCancelled": "stagerun.errors.OperationCancelled",
        "Progress": "stagerun.authoring.progress.Progress",
        "Secret": "stagerun.text.secrets.Secret",
    }


def test_the_package_lists_its_names_and_knows_no_other() -> None:
    assert dir(stagerun) == [*stagerun.__all__, "__version__"]
    with pytest.raises(AttributeError, match=r"^module 'stagerun' has no attribute 'Operation'$"):
        stagerun.Operation  # noqa: B018
