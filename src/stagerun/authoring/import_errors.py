"""Why a recipe can't be imported: a sentence with the place and the way out where Python says too little."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from stagerun.errors import RecipeError
from stagerun.machine.settings import Project
from stagerun.text import suggestions, tracebacks


_PARTIAL: Final = (
    r"(?:cannot import name '(?P<name>\w+)' from )?partially initialized module '(?P<module>[\w.]+)'"
    r"(?:(?: from '.*')? has no attribute '(?P<attribute>\w+)')?"  # since Python 3.13 with its file
)
_RELATIVE: Final = "attempted relative import"
_FOLDERS: Final = 2_000  # that are searched for a module
_NOT_OF_THE_PROJECT: Final = frozenset({"node_modules", "__pycache__", "site-packages"})


def explained(error: BaseException, recipe: str, project: Project) -> RecipeError:
    """Return what `error`, raised by the import of `recipe`, means for its author."""
    places = tracebacks.places(error)
    if places and isinstance(error, ModuleNotFoundError) and _is_of_an_import(error):
        told, hint = _missing(error, places, project)
    elif places and type(error) is ImportError and str(error).startswith(_RELATIVE):
        told, hint = _relative(*places[-1], project)
    elif places and type(error) in (ImportError, AttributeError) and (circle := re.search(_PARTIAL, str(error))):
        told, hint = _circular(circle, places)
    else:
        traceback = tracebacks.failure(error, mask=str).traceback
        what = "calls sys.exit while it is imported" if isinstance(error, SystemExit) else "can't be imported"
        return RecipeError(f"recipe {recipe} {what}", traceback=traceback)
    return RecipeError(f"recipe {recipe} can't be imported: {told}", hint)


def _is_of_an_import(error: ModuleNotFoundError) -> bool:
    """Return True if an import statement raised it; False if code did, whose own message says more."""
    return error.name is not None and f"{error.msg};".startswith(f"No module named {error.name!r};")


def _missing(error: ModuleNotFoundError, places: list[tuple[str, int]], project: Project) -> tuple[str, str]:
    """Name the missing module, where it is imported, where it was searched for, and where one of its name is."""
    where = ", imported by ".join(f"{file}, line {line}" for file, line in dict.fromkeys([*places[-1:], *places[:1]]))
    name = error.name or ""
    package, _, last = name.rpartition(".")
    parent = sys.modules.get(package)
    if parent is None:
        folders = [str(project.root), str(project.root / "src"), str(project.recipes)]
        searched = f"looked in {', '.join(_own_folders())}, and in the packages of {sys.executable}"
    elif hasattr(parent, "__path__"):
        folders = list(parent.__path__)
        searched = f"looked in {', '.join(folders)}, where {package!r} was found"
    else:
        folders = []
        searched = f"{package!r} is not a package: it was found as {getattr(parent, '__file__', 'part of Python')}"
    if (found := next(_modules(name, project.root), None)) is not None:
        searched = f"{_way_to(found, name, project.root)}; {searched}"
    elif near := suggestions.nearest(last, _names(folders)):
        searched = f"did you mean {name.removesuffix(last) + near!r}? {searched}"
    return f"there is no module {name!r} ({where})", searched


def _way_to(found: Path, name: str, root: Path) -> str:
    """Tell how `found`, which `name` could mean, can be imported."""
    folder = found.parents[name.count(".")]
    parts = folder.relative_to(root).parts
    if not parts:
        return f"{found} has that name, but another {name.partition('.')[0]!r} is found first"
    way = f"set PYTHONPATH={folder}"
    return f"{found} has that name: " + (
        f"import {'.'.join(parts)}.{name}, or {way}" if all(map(str.isidentifier, parts)) else way
    )


def _modules(name: str, root: Path) -> Iterator[Path]:
    """Yield the files and packages below `root` that `name` could mean, the nearest first."""
    inner = Path(*name.split("."))
    waiting = [root]
    for folder in islice(waiting, _FOLDERS):  # it grows on the way
        if (file := folder / inner.with_suffix(".py")).is_file():
            yield file
        elif (package := folder / inner).is_dir() and any(package.glob("*.py")):
            yield package
        waiting += sorted(_subfolders(folder))


def _subfolders(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if each.name.startswith(".") or each.name in _NOT_OF_THE_PROJECT:
                    continue
                if each.is_dir(follow_symlinks=False) and not Path(each.path, "pyvenv.cfg").exists():
                    yield Path(each.path)
    except OSError:
        return


def _names(folders: Iterable[str]) -> Iterator[str]:
    """Yield the modules and packages in `folders`."""
    for folder in map(Path, folders):
        yield from (each.stem for each in folder.glob("*.py"))
        yield from (each.name for each in _subfolders(folder) if any(each.glob("*.py")))


def _own_folders() -> Iterator[str]:
    """Yield the folders on the import path, without those of Python and of installed packages."""
    import sysconfig

    library = sysconfig.get_path("stdlib")
    command = Path(sys.argv[0])
    if command.is_symlink():  # into an environment, as pipx and uv make it
        command = command.parent / command.readlink()
    of_the_command = {str(command.parent), str(Path(__file__).parents[2])}
    names = ("site-packages", "dist-packages", f"python{sysconfig.get_python_version().replace('.', '')}.zip")
    for folder in dict.fromkeys(sys.path):
        if not folder.startswith(library) and folder not in of_the_command and Path(folder).name not in names:
            yield folder or "."


def _relative(file: str, line: int, project: Project) -> tuple[str, str]:
    """Tell what makes a relative import work: the folders that it goes through have to be packages."""
    import linecache

    dots = re.search(r"from\s*(\.+)", linecache.getline(file, line))
    folders = Path(file).parents[: len(dots[1]) if dots else 1]
    told = f"{file}, line {line}, imports relatively, from a package that it is not in"
    if project.root not in folders[-1].parents:
        return told, "import without the dots"
    missing = [str(each / "__init__.py") for each in folders if not (each / "__init__.py").exists()]
    if missing:
        return told, f"create an empty {' and '.join(missing)}, or import without the dots"
    return told, f"rename {folders[-1]}: another module has that name"


def _circular(circle: re.Match[str], places: list[tuple[str, int]]) -> tuple[str, str]:
    """Tell where imports go in a circle."""
    wanted = circle["name"] or circle["attribute"]
    file, line = places[-1]
    told = f"its imports go in a circle: {file}, line {line}, needs {wanted!r} of {circle['module']!r}"
    beginning = places[:1] if len(places) > 1 else []
    told += "".join(f", which is not imported yet ({start}, line {at})" for start, at in beginning)
    return told, "import it in the function that needs it, or move what both need to a third module"
