"""Importing a recipe as a part of its project, as if Python had been started in the project's root.

Only the modules of Python itself come first: stagerun needs them, too.
"""

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from stagerun.errors import RecipeError, UsageError
from stagerun.machine.settings import PRIVATE, Project


def import_file(file: Path, project: Project, recipe: str) -> ModuleType:
    """Import a recipe's file, by the name that its project would import it by if that leads to it.

    Raises RecipeError with the place if it can't be imported; its output goes to stderr.
    """
    _put_on_path(project)
    name = _module_name(file, project.root)
    _look_in(str(file.parent))
    with _loading(recipe, project):
        return importlib.import_module(name) if _leads_to(name, file) else _executed(file)


def import_module(name: str, project: Project) -> ModuleType | None:
    """Import a recipe by its name on the import path; return None if there is no module of that name."""
    _put_on_path(project)
    with _loading(name, project):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
    return None


def _put_on_path(project: Project) -> None:
    """Put the root and `src/` before the installed packages, and the recipes folder at the end.

    Python would put them before its own library, too; but then a `secrets.py` of a project would break stagerun.
    """
    library = str(Path(os.__file__).parent)
    own = [place for place, each in enumerate(sys.path) if each in (library, f"{library}{os.sep}lib-dynload")]
    place = max(own, default=-1) + 1
    for folder in (project.root / "src", project.root):
        if str(folder) not in sys.path[: place + 2] and folder.is_dir():
            sys.path.insert(place, str(folder))
    _look_in(str(project.recipes))


def _look_in(folder: str) -> None:
    # At the end: a recipe must not shadow a module of Python or of stagerun.
    if folder not in sys.path:
        sys.path.append(folder)


def _module_name(file: Path, root: Path) -> str:
    """Return the name that imports `file`: from the folder of the import path that is next above its packages."""
    folder = next(each for each in file.parents if each == root or not (each / "__init__.py").is_file())
    above = [str(each) for each in sys.path if each and f"{folder}{os.sep}".startswith(f"{each}{os.sep}")]
    parts = file.relative_to(max(above, key=len, default=folder)).with_suffix("").parts
    parts = parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts
    return ".".join(parts) if all(map(str.isidentifier, parts)) else file.stem


def _leads_to(name: str, file: Path) -> bool:
    """Return True if importing `name` executes `file`. The packages around it are imported."""
    package, _, _ = name.rpartition(".")
    if package:
        # Never execute another package that only has the name.
        top = file.parents[name.count(".") - (file.name != "__init__.py")]
        if not any(map(top.samefile, _folders(name.partition(".")[0]))):
            return False
        importlib.import_module(package)
    with contextlib.suppress(ImportError, ValueError, OSError):
        spec = importlib.util.find_spec(name)
        return spec is not None and spec.has_location and file.samefile(spec.origin or "")
    return False


def _folders(package: str) -> Iterator[str]:
    """Yield the folders of a package that is not imported yet, as far as they exist."""
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(package)
        yield from filter(os.path.isdir, (spec and spec.submodule_search_locations) or ())


def _executed(file: Path) -> ModuleType:
    """Import `file` under a private name, because another module has its own."""
    name = PRIVATE + file.stem
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _loading(recipe: str, project: Project) -> Iterator[None]:
    """Turn anything that a recipe raises during import into a RecipeError; send its output to stderr."""
    try:
        with _stdout_on_stderr():
            yield
    except (RecipeError, UsageError):
        raise
    except (Exception, SystemExit) as error:
        from stagerun.authoring import import_errors

        raise import_errors.explained(error, recipe, project) from None


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Send to stderr what a recipe or its child processes print."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            kept = os.dup(1)
        except OSError:
            yield
            return
        try:
            os.dup2(2, 1)
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
