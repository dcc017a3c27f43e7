"""The forms of operations: from the table of parameters to fields, and from what was typed to a command line.

The table comes from `stagerun show --json` in a child process, because it takes an import of the recipe. Values are
converted and checked by the run itself, as on a command line; what it refuses is shown beside the field.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from stagerun import events
from stagerun.reports import command_line
from stagerun.text.masking import MASK
from stagerun.web.actions import Actions


_ABOUT: Final = r"(?:parameter|secret|option|value for) '(?:--)?([\w-]+?)(?:-file)?'"
_KEYBOARDS: Final = {"int": "numeric", "float": "decimal", "decimal": "decimal"}
_EXAMPLES: Final = {"datetime": "2026-01-31T10:00", "timedelta": "1h30m", "uuid": "", "path": "path/to/file"}


class Field(Struct, kw_only=True):
    """One field of a form.

    Attributes:
        name: the parameter.
        kind: its type, for people.
        widget: "text", "lines", "tick", "choice", "date" or "secret".
        value: what stands in it.
        help: what the recipe says about it.
        required: True if it can't be left empty.
        choices: what can be chosen.
        keyboard: the keyboard of a phone.
        example: shown while it is empty.
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
    error: str = ""


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

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self._known: dict[str, tuple[object, Operation]] = {}

    def get(self, target: str, source: Path | None) -> Operation:
        """Return the operation that `target` names; `source` is its file if that is known."""
        stamp = _stamp(source)
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
    """Return the fields of a form as they were sent."""
    found = list[Field]()
    for each in parameters:
        field = _field(each, None)
        name = each["name"]
        field.value = ("yes" if name in form else "no") if field.widget == "tick" else form.get(name, "")
        found.append(field)
    return found


def missing(filled: Iterable[Field]) -> bool:
    """Mark the fields that must not be empty but are; return True if there are any."""
    found = False
    for field in filled:
        if field.required and not field.value.strip() and field.widget != "tick":
            field.error, found = "a value is needed", True
    return found


def blame(filled: Iterable[Field], told: str) -> str:
    """Put what a run said beside the field that it is about; return it if it is about none."""
    about = {name.replace("-", "_") for name in re.findall(_ABOUT, told)}
    told = without_name(told)
    at_fault = [field for field in filled if field.name in about]
    for field in at_fault:
        field.error = told
    return "" if at_fault else told


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
            return [f"--{option}={_literal(field, line.strip())}" for line in field.value.splitlines() if line.strip()]
        case _ if field.kind == "bool":
            return {"yes": [f"--{option}"], "no": [f"--no-{option}"]}.get(field.value, [])
        case _:
            return [f"--{option}={_literal(field, field.value)}"] if field.value else []


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
            return events.dumps(value)


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
