"""The forms of operations: from the table of parameters to fields, and from what was typed to a command line.

The table comes from `stagerun show --json` in a child process, because it takes an import of the recipe. Values are
converted and checked by the run itself, as on a command line; what it refuses is shown beside the field.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from stagerun.authoring import finding
from stagerun.authoring.finding import Listed
from stagerun.errors import StagerunError
from stagerun.reports import command_line
from stagerun.text import json_text
from stagerun.text.masking import MASK
from stagerun.web.actions import Actions


_ABOUT: Final = r"(?:parameter|secret|option|value for) '(?:--)?([\w-]+?)(?:-file)?'"
_QUESTION: Final = r"^stagerun: nobody can answer: (.*)"
_OWN_CHECK: Final = r"^stagerun: operation \S+ can't be created\n.*^(?:\w+\.)*\w+: (.+)"
_KEYBOARDS: Final = {"int": "numeric", "float": "decimal", "decimal": "decimal"}
_EXAMPLES: Final = {"datetime": "2026-01-31T10:00", "timedelta": "1h30m", "uuid": "", "path": "path/to/file"}


class Field(Struct, kw_only=True):
    """One field of a form.

    Attributes:
        name: the parameter.
        kind: its type, for people.
        widget: "text", "area", "lines", "tick", "choice", "date" or "secret".
        value: what stands in it.
        help: what the recipe says about it.
        required: True if it can't be left empty.
        choices: what can be chosen.
        keyboard: the keyboard of a phone.
        example: shown while it is empty.
        default: what it is if nobody says anything.
        error: what is wrong with the value, or "".

    """

    name: str
    kind: str
    widget: str
    value: str
    help: str
    required: bool
    choices: Sequence[str]
    keyboard: str
    example: str
    default: str
    error: str = ""


class Refused(Struct, frozen=True):
    """Why no run was begun, as far as it is about no field.

    Attributes:
        problem: what is wrong, or "".
        question: what the operation asks before it starts, or "".

    """

    problem: str = ""
    question: str = ""


class Operation(Struct, frozen=True):
    """An operation as `stagerun show --json` describes it; `error` says why it can't be shown."""

    target: str
    help: str
    stages: Sequence[str]
    parameters: Sequence[Mapping[str, Any]]
    expected: Mapping[str, float]
    error: str = ""


class Operations:
    """What the operations of a project take; asked again when the recipe's file has changed."""

    def __init__(self, actions: Actions, recipes: Path) -> None:
        self._actions = actions
        self._recipes = recipes
        self._known: dict[str, tuple[object, Operation]] = {}

    def listed(self) -> tuple[list[Listed], str]:
        """Return the operations of the recipes folder, or none and why."""
        try:
            return finding.listing(self._recipes), ""
        except StagerunError as error:
            return [], error.message

    def source(self, target: str) -> Path | None:
        """Return the file of an operation of the recipes folder."""
        return next((each.source for each in self.listed()[0] if each.target == target), None)

    def get(self, target: str) -> Operation:
        stamp = _stamp(self.source(target))
        kept = self._known.get(target)
        if kept is not None and stamp is not None and kept[0] == stamp:
            return kept[1]
        said = self._actions.ask("show", "--json", "--", target)
        if said.code != 0:
            return Operation(target, "", (), (), {}, without_name(said.err))
        told = json.loads(said.out)
        found = Operation(
            told["target"], told["help"], told["stages"], told["parameters"], told.get("expected_seconds", {})
        )
        self._known[target] = stamp, found
        return found


def fields(parameters: Iterable[Mapping[str, Any]], values: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a form, filled with `values`, JSON by name, or with the defaults."""
    return [_field(each, values.get(each["name"], each["default"])) for each in parameters]


def typed(parameters: Iterable[Mapping[str, Any]], form: Mapping[str, str]) -> list[Field]:
    """Return the fields of a form as they were sent; one that was not sent is its default."""
    found = list[Field]()
    for each in parameters:
        name = each["name"]
        text = form.get(name, _shown(each["default"])).replace("\r\n", "\n")  # a browser ends each line of an area so
        field = _field(each, text)
        field.value = ("yes" if name in form else "no") if field.widget == "tick" else text
        found.append(field)
    return found


def missing(filled: Iterable[Field]) -> bool:
    """Mark the fields that must not be empty but are; return True if there are any.

    Only a text can be empty. Anything else that was emptied would silently be the default again.
    """
    found = False
    for field in filled:
        if field.value.strip() or field.widget == "tick":
            continue
        if field.required or (field.default and field.kind != "str" and field.widget != "secret"):
            field.error, found = "a value is needed", True
    return found


def blame(filled: Sequence[Field], told: str) -> Refused | None:
    """Put why a run was refused beside the fields that it is about; return what is about none of them."""
    if (question := re.search(_QUESTION, told)) is not None:
        return Refused(question=question[1])
    if blame_more(filled, told):
        return None
    if (own := re.search(_OWN_CHECK, told, re.DOTALL | re.MULTILINE)) is None:
        return Refused(without_name(told))
    # What the recipe's own check raises is about the fields that it names.
    for field in filled:
        if re.search(rf"\b{re.escape(field.name)}\b", own[1]):
            field.error = own[1].strip()
    return None if any(field.error for field in filled) else Refused(own[1].strip())


def blame_more(filled: Iterable[Field], told: str) -> bool:
    """Put why a value was refused beside its field; return False if that is told of no field more."""
    about = {name.replace("-", "_") for name in re.findall(_ABOUT, told)}
    at_fault = [field for field in filled if field.name in about and not field.error]
    for field in at_fault:
        field.error = without_name(told)
    return bool(at_fault)


def without_errors(filled: Iterable[Field]) -> list[Field]:
    """Return the fields without those at fault, but with something in those that can't be left out."""
    stand_ins = [structs.replace(field, value=_stand_in(field)) for field in filled if field.error and field.required]
    return [*(field for field in filled if not field.error), *stand_ins]


def answer(form: Mapping[str, str]) -> list[str]:
    """Return the option that answers the question of an operation, if the form does."""
    return ["--yes"] if "yes" in form else []


def arguments(filled: Iterable[Field]) -> list[str]:
    """Return the options for what was typed; a secret is none."""
    return [option for field in filled for option in _options(field)]


def secrets(filled: Iterable[Field]) -> dict[str, str]:
    """Return the variables of the environment for the secrets that were typed."""
    return {
        f"STAGERUN_{field.name.upper()}": field.value for field in filled if field.widget == "secret" and field.value
    }


def without_name(told: str) -> str:
    """Return what a command said without the name that each message begins with, and without blanks of the hint."""
    lines = [line.strip() for line in told.removeprefix("stagerun: ").split("\n")]
    return "\n".join(line for line in lines if line)


def _options(field: Field) -> list[str]:
    option = field.name.replace("_", "-")
    match field.widget:
        case "secret":
            return []
        case "tick":
            return [f"--{option}" if field.value == "yes" else f"--no-{option}"]
        case "lines":
            return [f"--{option}={_literal(field, line.strip())}" for line in field.value.split("\n") if line.strip()]
        case _ if field.kind == "bool":
            return {"yes": [f"--{option}"], "no": [f"--no-{option}"]}.get(field.value, [])
        case _:
            return [f"--{option}={_literal(field, field.value)}"] if field.value or field.default else []


def _literal(field: Field, text: str) -> str:
    """Return a text as it has to stand on a command line, where `@` begins the name of a file to read."""
    return command_line.literal(text) if field.kind.removeprefix("list of ") == "str" else text


def _field(parameter: Mapping[str, Any], value: Any) -> Field:
    kind, default = str(parameter["type"]), parameter["default"]
    single = kind.removeprefix("list of ")
    choices = [str(each) for each in parameter["choices"]]
    widget = "text"
    if single == "secret":
        widget, value = "secret", None
    elif single != kind:
        widget = "lines"
    elif kind == "bool" and default is not None:
        widget = "tick"
    elif kind == "bool" or choices:
        widget, choices = "choice", choices or ["yes", "no"]
    elif kind == "date":
        widget = "date"
    elif "\n" in _shown(value):
        widget = "area"  # A field of one line drops the ends of lines.
    return Field(
        name=parameter["name"],
        kind=kind,
        widget=widget,
        value=_shown(value),
        help=_help(parameter),
        required=parameter["required"],
        choices=choices,
        keyboard=_KEYBOARDS.get(kind, "text"),
        example=_EXAMPLES.get(kind, ""),
        default=_shown(default),
    )


def _shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return "\n".join(map(_shown, value))
        case str():
            return "" if value == MASK else value
        case _:
            return json_text.dumps(value)


def _stand_in(field: Field) -> str:
    """Return a value that a field of this kind takes."""
    kind = field.kind.removeprefix("list of ")
    found = {"date": "2026-01-31", "uuid": "00000000-0000-0000-0000-000000000000"}.get(kind) or _EXAMPLES.get(kind)
    return field.choices[0] if field.choices else found or "1"


def _help(parameter: Mapping[str, Any]) -> str:
    bounds = {**parameter.get("bounds", {}), **parameter.get("item_bounds", {})}
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "length from"}
    words |= {"max_length": "length up to", "pattern": "matches", "multiple_of": "a multiple of"}
    told = [parameter["help"], *(f"{words.get(name, name)} {limit}" for name, limit in bounds.items())]
    return "; ".join(each for each in told if each)


def _stamp(source: Path | None) -> object:
    try:
        status = source.stat() if source is not None else None
    except OSError:
        return None
    return None if status is None else (str(source), status.st_mtime_ns, status.st_size)
