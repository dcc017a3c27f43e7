"""What an operation may be called, and by which columns its runs are found: by its class, recipe, file or target."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from stagerun.states import RunState


if TYPE_CHECKING:
    from stagerun.journal.store import Store

Match: TypeAlias = tuple[str, str]  # a column of `runs`, and its value


def known(store: "Store", targets: Iterable[str] = ()) -> set[str]:
    """Return every name of an operation that has run, or is one of `targets`: classes, recipes and targets."""
    return {name for each in (*_targets(store), *targets) for name in (each, *each.rpartition(":")[::2])}


def matches(store: "Store", operation: str, file_of: Callable[[str], Path | None]) -> list[Match]:
    """Return what finds the runs of `operation`: each match has an index, and no run has two.

    `file_of` returns the file that the name of a recipe means.
    """
    recipe, _, kind = operation.rpartition(":") if ":" in operation else (operation, "", "")
    file = file_of(recipe)
    targets, is_class = list[str](), False
    for target in _targets(store):
        of, _, name = target.rpartition(":")
        if name == operation:
            is_class = True
        elif kind in ("", name) and (of == recipe or (file is not None and _came_from(store, target, file))):
            targets.append(target)
    found = [("operation", operation)] if is_class or not targets else []
    return [*found, *(("target", target) for target in targets)]


def _came_from(store: "Store", target: str, file: Path) -> bool:
    """Return True if the newest run of `target` came from `file`."""
    sql = store.newest(list(RunState), ["target = :target"])
    for row in store.rows(sql, {"target": target, "limit": 1, "skip": 0}):
        with suppress(OSError, ValueError, TypeError):  # it is gone, or nonsense
            return file.samefile(row["source"])
    return False


def _targets(store: "Store") -> list[str]:
    return [row["name"] for row in store.rows(store.names("target")) if isinstance(row["name"], str)]
