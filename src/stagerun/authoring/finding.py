"""Finding and loading recipes. A listing reads their source; only a run or a `show` imports one."""

import ast
import contextlib
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from msgspec import Struct

from stagerun.authoring.operation import LiveOperation, made
from stagerun.errors import RecipeError, StagerunError, UsageError
from stagerun.machine.settings import PRIVATE


class Found(Struct, frozen=True, kw_only=True):
    """A loaded operation: its class, its full target, and its source file.

    `import_seconds` is the time that importing the recipe took; 0.0 if another operation had imported it.
    """

    operation: type[LiveOperation]
    target: str
    recipe: str
    source: Path | None
    import_seconds: float = 0.0

    def make(self, /, **fields: Any) -> LiveOperation:
        """Return the operation with these fields; RecipeError if the recipe's own `__init__` fails."""
        try:
            return made(self.operation, **fields)
        except StagerunError:
            raise
        except Exception as error:
            from stagerun.text import tracebacks

            told = tracebacks.failure(error).traceback
            raise RecipeError(f"operation {self.target} can't be created", traceback=told) from None

    def source_hash(self) -> str | None:
        """Return the SHA-256 of the source file, or None if it can't be read."""
        try:
            return str(_sha256()(self.source.read_bytes()).hexdigest()) if self.source else None
        except OSError:
            return None


@cache
def _sha256() -> Callable[[bytes], Any]:
    # As in `random`: hashlib loads OpenSSL, which takes longer than a commit.
    with contextlib.suppress(ImportError):
        module = importlib.import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256")
        return cast("Callable[[bytes], Any]", module.sha256)
    from hashlib import sha256

    return sha256


class Listed(Struct, frozen=True, kw_only=True):
    """An operation as found in the source, without importing it.

    Attributes:
        target: what `stagerun run` takes.
        help: the first line of the docstring, or "".
        stages: the declared stages, or None if they are computed.
        source: the recipe's file.
        line: the line of the class in that file.

    """

    target: str
    help: str
    stages: tuple[str, ...] | None
    source: Path
    line: int


def looks_like_target(text: str) -> bool:
    """Return True for `recipe:Operation`, for any form of recipe."""
    return _split(text)[1] is not None


def is_there(target: str, folder: Path) -> bool:
    """Return True if `target` names a recipe file that exists; nothing is imported."""
    recipe = target.partition(":")[0]
    file = Path(recipe) if recipe.endswith(".py") else folder / f"{recipe}.py"
    try:
        return file.is_file()
    except OSError:
        return False


def load(target: str, folder: Path) -> Found:
    """Import the recipe that `target` names and return its operation.

    A target is `recipe:Operation` for a module in `folder`, `path/to/file.py:Operation`, or
    `package.module:Operation`; the name may be left out if the recipe has one operation. Raises UsageError if the
    recipe or operation does not exist, RecipeError if the import fails.
    """
    recipe, name = _split(target)
    if not recipe:
        raise UsageError(f"{target!r} does not name a recipe", "name one as recipe:Operation; see 'stagerun list'")
    begun = time.monotonic()
    module = _import_file(recipe) if recipe.endswith(".py") else _import_module(recipe, folder)
    seconds = time.monotonic() - begun
    return _found(_choose(module, recipe, name), recipe, seconds)


def _split(target: str) -> tuple[str, str | None]:
    """Return the recipe and the operation in `target`; None if it has no operation."""
    recipe, _, operation = target.rpartition(":")
    return (recipe, operation) if recipe and operation.isidentifier() else (target, None)


def locate(operation: type[LiveOperation], near: Found) -> Found:
    """Return where to find `operation`, a class that the recipe of `near` passed to `p.chain_to`."""
    module = operation.__module__
    recipe = near.recipe if module == near.operation.__module__ else module.removeprefix(PRIVATE)
    return _found(operation, recipe)


def listing(folder: Path) -> list[Listed]:
    """Return the operations in `folder`, sorted by target, without importing anything."""
    found: list[Listed] = []
    for file in sorted(folder.glob("*.py")):
        if not file.name.startswith("_") and _is_inside(file, folder):
            found += _read(file)
    return sorted(found, key=lambda each: each.target)


def _found(operation: type[LiveOperation], recipe: str, import_seconds: float = 0.0) -> Found:
    source = getattr(sys.modules.get(operation.__module__), "__file__", None)
    return Found(
        operation=operation,
        target=f"{recipe}:{operation.__name__}",
        recipe=recipe,
        source=Path(source) if source else None,
        import_seconds=import_seconds,
    )


def _import_file(recipe: str) -> ModuleType:
    file = Path(recipe).resolve()
    if not file.is_file():
        raise UsageError(f"there is no recipe file {recipe}", "see 'stagerun list'")
    return _execute(file, recipe)


def _import_module(recipe: str, folder: Path) -> ModuleType:
    if not all(part.isidentifier() for part in recipe.split(".")):
        raise UsageError(
            f"{recipe!r} is not a module name",
            "name a module (orders, package.module) or a file that ends in .py",
        )
    file = folder.joinpath(*recipe.split(".")).with_suffix(".py")
    if file.is_file():
        if not _is_inside(file, folder):
            raise UsageError(f"recipe {recipe} is outside {folder}", "name its file instead")
        return _execute(file.resolve(), recipe)
    _look_in(folder.parent)
    with _loading(recipe):
        try:
            return importlib.import_module(recipe)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{recipe}.".startswith(f"{error.name}."):
                raise
    raise _unknown(recipe, folder)


def _is_inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _execute(file: Path, recipe: str) -> ModuleType:
    """Import `file` under its own name if that name leads to it, else under a private name."""
    _look_in(file.parent)
    name = file.stem
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file:
            with _loading(recipe):
                return importlib.import_module(name)
    name = PRIVATE + file.stem
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _loading(recipe):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _loading(recipe: str) -> Iterator[None]:
    """Turn anything that a recipe raises during import into a RecipeError; send its output to stderr."""
    try:
        with _stdout_on_stderr():
            yield
    except (RecipeError, UsageError):
        raise
    except (Exception, SystemExit) as error:
        from stagerun.text import tracebacks

        if isinstance(error, ModuleNotFoundError) and _is_of_an_import(error):
            raise _missing_module(recipe, error, tracebacks.places(error)) from None
        told = tracebacks.failure(error, mask=str)
        what = "calls sys.exit while it is imported" if isinstance(error, SystemExit) else "can't be imported"
        raise RecipeError(f"recipe {recipe} {what}", traceback=told.traceback) from None


def _is_of_an_import(error: ModuleNotFoundError) -> bool:
    """Return True if an import statement raised it; False if code did, whose own message says more."""
    return error.name is not None and f"{error.msg};".startswith(f"No module named {error.name!r};")


def _missing_module(recipe: str, error: ModuleNotFoundError, places: Sequence[tuple[str, int]]) -> RecipeError:
    """Return the error that names the missing module, where it is imported, and where it was searched for."""
    where = ", imported by ".join(f"{file}, line {line}" for file, line in dict.fromkeys([*places[-1:], *places[:1]]))
    told = f"recipe {recipe} can't be imported: there is no module {error.name!r} ({where})"
    name = (error.name or "").rpartition(".")[0]
    if (parent := sys.modules.get(name)) is None:
        return RecipeError(told, f"looked in {', '.join(_own_folders())}, and in the packages of {sys.executable}")
    if (folders := getattr(parent, "__path__", None)) is not None:
        return RecipeError(told, f"looked in {', '.join(folders)}, where {name!r} was found")
    return RecipeError(
        told, f"{name!r} is not a package: it was found as {getattr(parent, '__file__', 'part of Python')}"
    )


def _own_folders() -> Iterator[str]:
    """Yield the folders on the import path, without those of Python and of installed packages."""
    import sysconfig

    library = sysconfig.get_path("stdlib")
    of_the_command = {str(Path(sys.argv[0]).parent), str(Path(__file__).parents[2])}
    names = ("site-packages", "dist-packages", f"python{sysconfig.get_python_version().replace('.', '')}.zip")
    for folder in dict.fromkeys(sys.path):
        if not folder.startswith(library) and folder not in of_the_command and Path(folder).name not in names:
            yield folder or "."


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


def _look_in(folder: Path) -> None:
    # At the end: a file here must not shadow a module of Python or of stagerun.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _choose(module: ModuleType, recipe: str, name: str | None) -> type[LiveOperation]:
    operations = {
        each: value
        for each, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, LiveOperation)
        and value is not LiveOperation
        and not each.startswith("_")
    }
    if name is not None and name in operations:
        return operations[name]
    own = {
        value.__name__: value
        for value in operations.values()
        if value.__module__ == module.__name__ and value.run is not LiveOperation.run
    }
    if name is not None:
        raise _not_there(f"recipe {recipe} has no operation {name!r}", name, list(own or operations))
    if len(own) != 1:
        names = ", ".join(f"{recipe}:{each}" for each in own)
        if not own:
            raise UsageError(f"recipe {recipe} has no operation", "write a class that derives from LiveOperation")
        raise UsageError(f"recipe {recipe} has {len(own)} operations", f"name one: {names}")
    return next(iter(own.values()))


def _unknown(recipe: str, folder: Path) -> UsageError:
    names = sorted(file.stem for file in folder.glob("*.py") if not file.name.startswith("_"))
    if not names:
        return UsageError(f"there is no recipe {recipe!r}", f"there are no recipes in {folder}")
    return _not_there(f"there is no recipe {recipe!r}", recipe, names)


def _not_there(message: str, name: str, legal: list[str]) -> UsageError:
    from stagerun.text import suggestions

    return UsageError(message, suggestions.hint(name, legal, "there are"))


def _read(file: Path) -> Iterator[Listed]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # `doctor` reports the reason
    bases = {"LiveOperation", *_aliases(tree)}
    runnable = set[str]()
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or bases.isdisjoint(map(_name, node.bases)):
            continue
        bases.add(node.name)
        runs = any(isinstance(each, ast.FunctionDef) and each.name == "run" for each in node.body)
        if runs or not runnable.isdisjoint(map(_name, node.bases)):
            runnable.add(node.name)
        if node.name in runnable and not node.name.startswith("_"):
            yield Listed(
                target=f"{file.stem}:{node.name}",
                help=(ast.get_docstring(node) or "").partition("\n")[0],
                stages=_literal_stages(node),
                source=file,
                line=node.lineno,
            )


def _aliases(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from (each.asname for each in node.names if each.name == "LiveOperation" and each.asname)


def _name(base: ast.expr) -> str:
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")


def _literal_stages(node: ast.ClassDef) -> tuple[str, ...] | None:
    for each in node.body:
        targets = each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]
        if any(getattr(target, "id", "") == "stages" for target in targets):
            try:
                return tuple(ast.literal_eval(each.value))  # type: ignore[attr-defined]
            except (ValueError, TypeError):
                return None
    return ()
