"""Operations and their parameters, as text for people and as JSON documents."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any, Final

from stagerun.authoring.finding import Found, Listed
from stagerun.authoring.params import MISSING, Parameter
from stagerun.text import wording
from stagerun.text.paint import Paint
from stagerun.text.untrusted import neutralise


_GAP: Final = "  "


def listing(listed: Sequence[Listed]) -> Iterator[str]:
    """Yield each operation with the first line of its docstring."""
    width = max(len(each.target) for each in listed)
    for each in listed:
        yield f"{neutralise(each.target):{width}}   {neutralise(each.help)}".rstrip()


def operation(found: Found, expected: Mapping[str, float], paint: Paint) -> Iterator[str]:
    """Yield one operation in full: docstring, stages with their usual durations, parameters."""
    kind = found.operation
    yield paint(neutralise(found.target), "bold")
    if kind.__doc__:
        yield from (f"{_GAP}{neutralise(line)}".rstrip() for line in cleandoc(kind.__doc__).split("\n"))
    yield from plan(kind.stages, expected)
    yield from _parameters(list(kind.parameters.values()))
    if found.source:
        yield f"source: {neutralise(str(found.source))}"


def plan(stages: Sequence[str], expected: Mapping[str, float]) -> Iterator[str]:
    """Yield the stages with their usual durations."""
    if not stages:
        return
    yield "stages:"
    width = max(len(neutralise(stage)) for stage in stages)
    for index, stage in enumerate(stages):
        usual = f"{_GAP}usually {wording.duration(expected[stage])}" if stage in expected else ""
        yield f"{_GAP}{index + 1}. {neutralise(stage):{width}}{usual}".rstrip()


def _parameters(parameters: Sequence[Parameter]) -> Iterator[str]:
    if not parameters:
        return
    yield "parameters:"
    rows = [(each.option, each.type_name, _about(each)) for each in parameters]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, kind, about in rows:
        yield f"{_GAP}{name:{first}}{_GAP}{kind:{second}}{_GAP}{about}".rstrip()


def _about(parameter: Parameter) -> str:
    parts = [neutralise(parameter.help)] if parameter.help else []
    if parameter.choices:
        parts.append("one of " + neutralise(", ".join(map(str, parameter.choices))))
    if parameter.rules:
        parts.append(neutralise(parameter.rules))
    if parameter.default is MISSING:
        parts.append("required")
    elif parameter.default not in (None, ()):
        parts.append(f"default {neutralise(str(parameter.to_json(parameter.default)))}")
    return "; ".join(parts)


def listed_document(operation: Listed) -> dict[str, Any]:
    return {
        "target": operation.target,
        "help": operation.help,
        "stages": None if operation.stages is None else list(operation.stages),
        "source": str(operation.source),
        "line": operation.line,
    }


def document(found: Found, expected: Mapping[str, float]) -> dict[str, Any]:
    kind = found.operation
    return {
        "target": found.target,
        "help": cleandoc(kind.__doc__ or ""),
        "stages": list(kind.stages),
        "parameters": list(parameters(kind.parameters.values())),
        "expected_seconds": dict(expected),
        "source": str(found.source) if found.source else None,
    }


def parameters(declared: Iterable[Parameter]) -> Iterable[dict[str, Any]]:
    for each in declared:
        yield {
            "name": each.name,
            "type": each.type_name,
            "required": each.required,
            "default": None if each.default is MISSING else each.to_json(each.default),
            "choices": list(each.choices),
            "help": each.help,
            "bounds": {bound.name: bound.limit for bound in each.bounds},
            "item_bounds": {bound.name: bound.limit for bound in each.item_bounds},
        }
