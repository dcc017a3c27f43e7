"""Operations and their parameters, as text for people and as JSON documents."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any, Final

from msgspec import Struct

from stagerun.authoring.finding import Found, Listed, Recipe
from stagerun.authoring.params import MISSING, Parameter
from stagerun.text import wording
from stagerun.text.paint import Paint
from stagerun.text.untrusted import neutralise
from stagerun.view import RunView


_GAP: Final = "  "
_LEAST_HELP: Final = 10  # columns


class Past(Struct, frozen=True, kw_only=True):
    """What the journal knows of an operation: its last run, and the usual seconds of one that succeeds."""

    last: RunView | None = None
    usual: float | None = None


def listing(
    recipes: Sequence[Recipe], past: Mapping[str, Past], now: float, paint: Paint, *, width: int | None
) -> Iterator[str]:
    """Yield the operations, grouped by recipe: how the last run ended and how long one takes, what it does.

    What it does is cut to a `width`, if there is one.
    """
    listed = [each for recipe in recipes for each in recipe.operations]
    told = {each.target: _told(past.get(each.target, Past()), now) for each in listed}
    columns = [[neutralise(each.target), *told[each.target]] for each in listed]
    widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
    room = None if width is None else width - sum(size + len(_GAP) for size in widths if size) - len(_GAP)
    for recipe in recipes:
        if not recipe.operations:
            continue
        head = [paint(neutralise(recipe.name), "bold"), neutralise(recipe.title)]
        head += [f"(package {neutralise(recipe.package)})"] if recipe.package else []
        yield _GAP.join(filter(None, head))
        for each in recipe.operations:
            name, state, usual = neutralise(each.target), *told[each.target]
            view = past.get(each.target, Past()).last
            state = paint(f"{state:{widths[1]}}", wording.COLOURS[view.state] if view else None)
            known = [cell for cell, width in ((state, widths[1]), (f"{usual:{widths[2]}}", widths[2])) if width]
            about = neutralise(each.help)
            if room is not None:
                about = paint.cut(about, room) if room >= _LEAST_HELP else ""
            yield f"{_GAP}{_GAP.join([f'{name:{widths[0]}}', *known, about])}".rstrip()


def _told(past: Past, now: float) -> tuple[str, str]:
    last = past.last
    when = f"{wording.state_word(last.state)} {wording.ago(last.started_on or last.created_on, now)}" if last else ""
    return when, f"usually {wording.duration(past.usual)}" if past.usual is not None else ""


def broken(recipe: Recipe) -> str:
    """`/home/alice/shop/recipes/orders.py, line 3: invalid syntax`."""
    line = f", line {recipe.line}" if recipe.line is not None else ""
    return f"{recipe.file}{line}: {recipe.broken}"


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


def listed_document(recipe: Recipe, operation: Listed, declared: Iterable[Parameter], past: Past) -> dict[str, Any]:
    last = past.last
    return {
        "target": operation.target,
        "recipe": recipe.name,
        "title": recipe.title,
        "package": recipe.package or None,
        "help": operation.help,
        "stages": None if operation.stages is None else list(operation.stages),
        "parameters": list(parameters(declared)),
        "source": str(operation.source),
        "line": operation.line,
        "last": last and {"run": last.id, "state": last.state, "created_on": wording.timestamp(last.created_on)},
        "usual_seconds": None if past.usual is None else round(past.usual, 6),
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
