"""Recipes of installed packages: the entry points of the group `stagerun.recipes`. Nothing of a package is imported.

    [project.entry-points."stagerun.recipes"]
    cleanup = "acme.recipes.cleanup"         # stagerun run cleanup:Purge
    purge = "acme.recipes.cleanup:Purge"     # stagerun run purge

Only a listing, a completion or a name that the project does not have looks here. `importlib.metadata`, whose import
takes long, is asked only if a package has such entry points.
"""

import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct


GROUP: Final = "stagerun.recipes"


class InstalledRecipe(Struct, frozen=True, kw_only=True):
    """An entry point.

    Attributes:
        name: what stands before the colon of its targets.
        module: the module that it names.
        operation: the class that it names, or None for all in the module.
        package: the name of the distribution.
        file: the module's file, or None if it was not found.

    """

    name: str
    module: str
    operation: str | None
    package: str
    file: Path | None


def recipes() -> list[InstalledRecipe]:
    """Return the recipes of installed packages, sorted by name; of two of one name the one that Python finds first."""
    if not any(map(_offers, sys.path)):
        return []
    from importlib.metadata import entry_points

    found: dict[str, InstalledRecipe] = {}
    for entry in entry_points(group=GROUP):
        recipe = InstalledRecipe(
            name=entry.name,
            module=entry.module,
            operation=entry.attr or None,
            package=entry.dist.name if entry.dist else "",
            file=_file(entry.module),
        )
        found.setdefault(entry.name, recipe)
    return sorted(found.values(), key=lambda each: each.name)


def _offers(folder: str) -> bool:
    """Return True if a package in that folder of the import path has recipes."""
    with suppress(OSError):
        names = [each for each in os.listdir(folder or ".") if each.endswith((".dist-info", ".egg-info"))]  # noqa: PTH208
        for name in names:
            with suppress(OSError):
                if GROUP.encode() in Path(folder, name, "entry_points.txt").read_bytes():
                    return True
    return False


def _file(module: str) -> Path | None:
    """Return the file of a module, without importing the packages around it."""
    top, *rest = module.split(".")
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(top)
        if spec is not None and not rest:
            return Path(spec.origin) if spec.origin else None
        for folder in (spec and spec.submodule_search_locations) or ():
            place = Path(folder, *rest)
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.is_file():
                    return file
    return None
