"""The operation of a run in a test: where it comes from, and how it is made again for a resume or a rerun."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from stagerun.authoring.finding import Found
from stagerun.authoring.operation import LiveOperation
from stagerun.errors import UsageError
from stagerun.text.masking import MASK
from stagerun.view import RunView


def found(operation: object) -> Found:
    """Return where an operation comes from, as the command would find it; UsageError if it is none."""
    if not isinstance(operation, LiveOperation):
        name = getattr(operation, "__name__", "Operation")
        raise UsageError(f"run needs an operation, not {operation!r}", f"make one: run({name}(...))")
    return _found(type(operation))


def _found(kind: type[LiveOperation]) -> Found:
    recipe = kind.__module__.rpartition(".")[2]
    return Found(operation=kind, target=f"{recipe}:{kind.__name__}", recipe=recipe, source=_file_of(kind))


def made(view: RunView, known: LiveOperation | None, changes: Mapping[str, Any]) -> tuple[Found, LiveOperation]:
    """Return the operation of a run with the parameters that the journal holds, and `changes`.

    Secrets are not in the journal: they are taken from the operation that the test ran, if that is `known`.
    """
    # A later link of a chain that was killed is known to that process only.
    kind = type(known) if known else next((each for each in _kinds() if _is_of(each, view)), None)
    if kind is None:
        raise UsageError(f"there is no class for {view.plan.target}", "pass the operation: resume(Operation(...))")
    values = {name: value for name, value in view.plan.params.items() if name in kind.parameters}
    for name, parameter in kind.parameters.items():
        if parameter.secret:
            values.pop(name, None)
            if known and getattr(known, name) is not None:
                values[name] = getattr(known, name)
        elif name not in changes and values.get(name) == MASK:
            raise UsageError(
                f"the parameter {name!r} held a secret and was not stored",
                f"give it again: changes={{{name!r}: ...}}, as the command wants --set-file {name}=PATH",
            )
    place = replace(_found(kind), target=view.plan.target, recipe=view.plan.recipe)
    return place, place.make(owner=view.owner, **{**values, **changes})


def _file_of(kind: type[LiveOperation]) -> Path | None:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return Path(file) if file else None


def _is_of(kind: type[LiveOperation], view: RunView) -> bool:
    """Return True if `kind` is the class of a run's operation."""
    file = _file_of(kind)
    return kind.__name__ == view.plan.operation and view.plan.source == (None if file is None else str(file))


def _kinds(base: type[LiveOperation] = LiveOperation) -> Iterator[type[LiveOperation]]:
    """Yield all operations that were ever made, the newest first."""
    for each in reversed(base.__subclasses__()):
        yield from _kinds(each)
        yield each
