"""LiveOperation: what a recipe author derives from. It declares; it never runs anything itself."""

import dis
import inspect
import sys
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any, ClassVar, Final, Generic, Literal, Self, TypeVar

from stagerun.authoring import params
from stagerun.errors import RecipeError
from stagerun.machine import identity
from stagerun.machine.interrupts import is_limit
from stagerun.states import RunState, StageState
from stagerun.text.secrets import Secret


_STAGE_NAME_LIMIT: Final = 200
_NO_PLAIN_CALL: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {"run": ("p",), "on_success": (), "on_failure": (), "on_cancel": ()}
_HOW_TO_INIT: Final = "write def __init__(self, **given), and call super().__init__(**given) in it before anything else"

# Fields of every operation that come from the journal.
_FIELDS: Final = (
    "id",
    "owner",
    "current_stage",
    "stage_states",
    "created_on",
    "started_on",
    "finished_on",
    "finished_successfully",
    "cancelled",
    "traceback",
    "result_context",
    "state",
)
_EXCLUSIVE: Final = (False, True, "wait")
# Options of the commands that take an operation's parameters as options, too.
_OPTIONS: Final = frozenset(
    {
        "ci",
        "dry_run",
        "force",
        "help",
        "journal",
        "json",
        "log_level",
        "no_input",
        "once",
        "on",
        "progress",
        "run_id_file",
        "set",
        "set_file",
        "tag",
        "target",
        "timestamps",
        "wait",
        "yes",
    }
)
_MEMBERS: Final = frozenset(
    {"pk", "objects", "parameters", "cancel_requested", "params", "secret_values", "checked", "reflect", *_METHODS}
)
_RESERVED: Final = frozenset({*_FIELDS, *_OPTIONS, *_MEMBERS})
_HIDDEN: Final = frozenset({*_FIELDS, *_MEMBERS}) - {*_METHODS}

_Operation = TypeVar("_Operation", bound="LiveOperation")


class _Objects(Generic[_Operation]):
    """`Operation.objects.create(...)`: the constructor in the spelling of django-liveops."""

    def __init__(self, operation: type[_Operation]) -> None:
        self._operation = operation

    def create(self, /, **fields: Any) -> _Operation:
        return self._operation(**fields)


class _ObjectsDescriptor:
    def __get__(self, instance: object, owner: type[_Operation]) -> _Objects[_Operation]:
        return _Objects(owner)


class LiveOperation:
    """One operation with named stages: derive from it, list the stages, write `run`.

    Annotated class attributes are parameters, given by keyword to the constructor or as options on the command
    line. A class that breaks a rule raises RecipeError when it is made; a wrong value raises UsageError.

    Attributes:
        stages: the declared stages in order, a flat list of unique names.
        timeout: the seconds that a run may take, None for no limit.
        exclusive: True to refuse a second run at the same time, "wait" to queue it behind the first.
        tags: names that its runs can be found by. (With an annotation it is a parameter, and so is `confirm`.)
        confirm: the question that a person has to answer with yes before it starts, or None.
        id, pk: the run's id, or None before it is recorded.
        owner: who runs it.
        state: the run's state.
        current_stage: position of the last stage entered, -1 before the first.
        stage_states: stage -> state, in declared order.
        created_on, started_on, finished_on: seconds since 1970, or None.
        finished_successfully: True if it succeeded.
        cancel_requested: True once a cancel was requested.
        cancelled: True if a cancel ended it.
        traceback: the frames of the error that ended it, or None.
        result_context: the result passed to `p.result`, or None.

    """

    stages: ClassVar[list[str]] = []
    timeout: ClassVar[float | None] = None
    exclusive: ClassVar[bool | Literal["wait"]] = False
    tags: ClassVar[Sequence[str]] = ()
    confirm: ClassVar[str | None] = None
    objects: ClassVar = _ObjectsDescriptor()
    parameters: ClassVar[Mapping[str, params.Parameter]] = {}
    _declared: ClassVar[Mapping[str, params.Parameter]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_stages(cls.__name__, cls.stages)
        _check_names(cls)
        cls._declared = params.declare(cls, _RESERVED, params.SETTINGS)
        cls.parameters = {
            name: each for base in reversed(cls.__mro__) for name, each in base.__dict__.get("_declared", {}).items()
        }
        _check_settings(cls)
        _check_secrets(cls.__name__, cls.parameters)
        for name, arguments in _METHODS.items():
            _check_method(cls, name, arguments)
        _check_init(cls)

    def __init__(self, /, *, owner: str | None = None, **given: Any) -> None:
        self.id: int | None = None
        self.owner: str = owner or identity.person()
        self.state = RunState.PENDING
        self.current_stage = -1
        self.stage_states = dict.fromkeys(self.stages, StageState.PENDING)
        self.created_on: float | None = None
        self.started_on: float | None = None
        self.finished_on: float | None = None
        self.finished_successfully = False
        self.cancel_requested = False
        self.cancelled = False
        self.traceback: str | None = None
        self.result_context: Mapping[str, Any] | None = None
        for name, value in params.check(type(self).__name__, self.parameters, given).items():
            setattr(self, name, value)

    @property
    def pk(self) -> int | None:
        return self.id

    def run(self, p: Any) -> object:
        """Do the work; the recipe writes this. A mapping that it returns is the run's result."""
        raise RecipeError(f"{type(self).__name__} has no run(self, p)", "write one: it does the work")

    def on_success(self) -> object:
        """Do what is to be done once it is recorded that the run succeeded; the recipe may write this."""

    def on_failure(self) -> object:
        """Do what is to be done once it is recorded that the run failed or took too long; the recipe may write this."""

    def on_cancel(self) -> object:
        """Do what is to be done once it is recorded that the run was cancelled; the recipe may write this."""

    def params(self) -> dict[str, Any]:
        """Return the values of the declared parameters as JSON values, secrets as `***`."""
        return {name: each.to_json(getattr(self, name)) for name, each in self.parameters.items()}

    def secret_values(self) -> dict[str, str]:
        """Return the values of the secret parameters, name -> value."""
        values = {name: getattr(self, name) for name, each in self.parameters.items() if each.secret}
        return {name: value.reveal() for name, value in values.items() if isinstance(value, Secret)}

    def checked(self) -> Self:
        """Return self if the parameters still fit their declarations; UsageError if not."""
        if "stage_states" not in vars(self):
            raise _broken_init(type(self), "LiveOperation.__init__ was not called")
        params.check(type(self).__name__, self.parameters, {name: getattr(self, name) for name in self.parameters})
        return self

    def reflect(self, record: object) -> None:
        """Copy what the journal knows about this run: the attributes of `record` that are fields here."""
        for name in _FIELDS:
            setattr(self, name, getattr(record, name))


def _check_method(owner: type[LiveOperation], name: str, arguments: tuple[str, ...]) -> None:
    """Refuse a method that would do nothing or can't be called: it would succeed falsely, or fail late."""
    method = next(vars(each)[name] for each in owner.__mro__ if name in vars(each))
    code = method.__code__ if isinstance(method, FunctionType) else None
    plain = 1 + len(arguments), 0, 0
    if code and (code.co_argcount, code.co_kwonlyargcount, code.co_flags & _NO_PLAIN_CALL) == plain:
        return  # nearly always, and a look at the signature takes longer than a stage
    how = f"write def {name}({', '.join(('self', *arguments))})"
    function = method.__func__ if isinstance(method, staticmethod | classmethod) else method
    if not isinstance(function, FunctionType):
        if isinstance(method, property) or (not callable(function) and not hasattr(function, "__get__")):
            raise RecipeError(f"{owner.__name__}: {name} is not a method, but {_kind(method)}", how)
        return
    where = f"{owner.__name__}: {name}{_place(function)}"
    if method is not function:
        raise RecipeError(f"{where} is {_kind(method)}, which has no self", f"{how}, without the decorator")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        kind = "a generator" if inspect.isgeneratorfunction(function) else "an async generator"
        instead = ": p.log, p.status and p.track report progress" if arguments else ""
        raise RecipeError(f"{where} is {kind}, and calling it would do nothing", f"remove the yield{instead}")
    try:
        inspect.signature(function, follow_wrapped=False).bind("self", *arguments)
    except TypeError as error:
        told = str(error)
        if not arguments:
            raise RecipeError(
                f"{where} can't be called with self alone: {told}", f"{how}: the run is over, and there is no p"
            ) from None
        what = "does not take p" if told.startswith("too many") else f"can't be called with p alone: {told}"
        raise RecipeError(f"{where} {what}", how) from None


def _check_names(owner: type[LiveOperation]) -> None:
    """Refuse an attribute that hides a field or a parameter: a run would set it, or ignore it without a word."""
    parameters = {name for each in owner.__mro__[1:] for name in each.__dict__.get("_declared", ())}
    # A base that is an operation was looked at when it was made; a mixin was not.
    for each in owner.__mro__:
        if each is object or (each is not owner and issubclass(each, LiveOperation)):
            continue
        annotated = inspect.get_annotations(each)
        for name, value in vars(each).items():
            if name in annotated or not (name in _HIDDEN or name in parameters):
                continue
            whose = "every run has a field" if name in _HIDDEN else "a base has a parameter"
            is_default = name not in _HIDDEN and not hasattr(type(value), "__get__")
            raise RecipeError(
                f"{owner.__name__}: {name!r}{_place(value) or _place_of_class()} is {_kind(value)}, "
                f"but {whose} of that name",
                f"for a new default write {name}: TYPE = {value!r}" if is_default else "choose another name",
            )


def made(kind: type[LiveOperation], /, **fields: Any) -> LiveOperation:
    """Return an operation of `kind`; RecipeError if its own `__init__` does not accept `fields` or set them."""
    init = kind.__init__
    if init is not LiveOperation.__init__ and isinstance(init, FunctionType):
        try:
            inspect.signature(init, follow_wrapped=False).bind("self", **fields)
        except TypeError as error:
            raise _broken_init(kind, f"it does not accept the fields of a run: {error}") from None
    return kind(**fields).checked()


def _check_init(owner: type[LiveOperation]) -> None:
    """Refuse an own `__init__` that can't set the fields, since it calls nothing. `checked` refuses every other."""
    init = owner.__init__
    if init is LiveOperation.__init__ or not isinstance(init, FunctionType):
        return
    if not any(each.opname.startswith("CALL") for each in dis.get_instructions(inspect.unwrap(init))):
        raise _broken_init(owner, "it does not call super().__init__")


def _broken_init(owner: type[LiveOperation], why: str) -> RecipeError:
    return RecipeError(f"{owner.__name__}: its own __init__{_place(owner.__init__)} breaks it: {why}", _HOW_TO_INIT)


def _kind(value: object) -> str:
    """Return what an attribute of a class is, in words."""
    kinds = {FunctionType: "a method", staticmethod: "a static method", classmethod: "a class method"}
    return kinds.get(type(value)) or ("a property" if hasattr(type(value), "__get__") else repr(value))


def _place(value: object) -> str:
    """Return ` (file, line N)` of a function or of what wraps one, or "" if it has none."""
    for name in ("__func__", "fget", "func"):
        value = getattr(value, name, value)
    if not isinstance(value, FunctionType) or value.__code__.co_filename.startswith("<"):  # made by a dataclass
        return ""
    return f" ({value.__code__.co_filename}, line {value.__code__.co_firstlineno})"


def _place_of_class() -> str:
    """Return ` (file, line N)` of the class statement that is being executed."""
    frame = sys._getframe()  # noqa: SLF001 - the only way to know it before Python 3.13
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f" ({frame.f_code.co_filename}, line {frame.f_lineno})"


def _check_secrets(owner: str, parameters: Mapping[str, params.Parameter]) -> None:
    for name, each in parameters.items():
        if each.secret and f"{name}_file" in parameters:
            raise RecipeError(
                f"{owner}: parameter '{name}_file' takes the option that reads the secret {name!r}",
                "choose another name",
            )


def tags_of(owner: type[LiveOperation]) -> Sequence[str]:
    """Return the names that the runs of an operation can be found by."""
    return () if "tags" in owner.parameters else owner.tags


def question_of(owner: type[LiveOperation]) -> str | None:
    """Return the question that has to be answered with yes before a run starts, or None."""
    return None if "confirm" in owner.parameters else owner.confirm


def _check_settings(owner: type[LiveOperation]) -> None:
    timeout, exclusive = owner.timeout, owner.exclusive
    tags: object = tags_of(owner)
    confirm: object = question_of(owner)
    if timeout is not None and not is_limit(timeout):
        raise RecipeError(f"{owner.__name__}: timeout must be a number of seconds above 0, not {timeout!r}")
    if exclusive not in _EXCLUSIVE:
        raise RecipeError(f'{owner.__name__}: exclusive must be True, False or "wait", not {exclusive!r}')
    if not isinstance(tags, list | tuple) or not all(isinstance(each, str) and each.strip() for each in tags):
        raise RecipeError(f"{owner.__name__}: tags must be a list of names, not {tags!r}")
    if confirm is not None and not (isinstance(confirm, str) and confirm.strip()):
        raise RecipeError(f"{owner.__name__}: confirm must be a question, not {confirm!r}")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_stages(owner: str, stages: object) -> None:
    if not isinstance(stages, list | tuple):
        raise RecipeError(f"{owner}: stages must be a list of names, not {stages!r}")
    seen = set()
    for stage in stages:
        if not isinstance(stage, str):
            raise RecipeError(f"{owner}: stage {stage!r} is not a string", "stages is a flat list of names")
        if not stage.strip():
            raise RecipeError(f"{owner}: a stage has an empty name")
        if not _is_encodable(stage):
            raise RecipeError(f"{owner}: stage {stage!r} has a name that UTF-8 can't hold")
        if len(stage) > _STAGE_NAME_LIMIT:
            raise RecipeError(f"{owner}: stage {stage[:40]!r}… has more than {_STAGE_NAME_LIMIT} characters")
        if stage in seen:
            raise RecipeError(f"{owner}: stage {stage!r} is listed twice")
        seen.add(stage)
