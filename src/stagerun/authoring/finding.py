"""Finding and loading recipes. A listing reads their source; only a run or a `show` imports one."""

import ast
import contextlib
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct, structs

from stagerun.authoring import importing
from stagerun.authoring.operation import LiveOperation, made
from stagerun.errors import RecipeError, StagerunError, UsageError
from stagerun.machine import settings
from stagerun.machine.settings import PRIVATE, Project


if TYPE_CHECKING:
    from stagerun.authoring.installed import InstalledRecipe


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
            return str(sha256()(self.source.read_bytes()).hexdigest()) if self.source else None
        except OSError:
            return None


@cache
def sha256() -> Callable[[bytes], Any]:
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


class Recipe(Struct, frozen=True, kw_only=True):
    """A recipe's file as its source says it.

    Attributes:
        name: what stands before the colon of its targets.
        file: its file.
        title: the first line of its docstring, or "".
        operations: sorted by target.
        package: the installed package that it comes from, or "" for one of the project's own.
        broken: why it can't be read, or "".
        line: the line where it is broken, or None.

    """

    name: str
    file: Path
    title: str = ""
    operations: tuple[Listed, ...] = ()
    package: str = ""
    broken: str = ""
    line: int | None = None


def looks_like_target(text: str) -> bool:
    """Return True for `recipe:Operation`, for any form of recipe."""
    return _split(text)[1] is not None


def file_of(recipe: str, project: Project) -> Path | None:
    """Return the file that the name of a recipe means, or None; nothing is imported."""
    if recipe.endswith(".py"):
        files = [_file_at(recipe)]
    elif all(part.isidentifier() for part in recipe.split(".")):
        modules = [_file_in(recipe, folder) for folder in (project.recipes, project.root, project.root / "src")]
        files = [each for file in modules for each in (file, file.with_suffix("") / "__init__.py")]
    else:
        return None
    try:
        return next((each for each in files if each.is_file()), None)
    except OSError:  # a name that is too long
        return None


def load(target: str, project: Project, source: Path | None = None) -> Found:
    """Import the recipe that `target` names, from the file `source` if it is given, and return its operation.

    A target is `recipe:Operation` for a module in the recipes folder of `project`, `path/to/file.py:Operation`, or
    `package.module:Operation`; the name may be left out if the recipe has one operation. Raises UsageError if the
    recipe or operation does not exist, RecipeError if the import fails.
    """
    recipe, name = _split(target)
    if not recipe:
        raise UsageError(f"{target!r} does not name a recipe", "name one as recipe:Operation; see 'stagerun list'")
    begun = time.monotonic()
    module, only = _imported(recipe, project) if source is None else (_of_file(source, project, recipe), None)
    seconds = time.monotonic() - begun
    return _found(_choose(module, recipe, name or only), recipe, seconds)


def _split(target: str) -> tuple[str, str | None]:
    """Return the recipe and the operation in `target`; None if it has no operation."""
    recipe, _, operation = target.rpartition(":")
    return (recipe, operation) if recipe and operation.isidentifier() else (target, None)


def locate(operation: type[LiveOperation], near: Found) -> Found:
    """Return where to find `operation`, a class that the recipe of `near` passed to `p.chain_to`."""
    module, other = operation.__module__, near.operation.__module__
    if module == other:
        return _found(operation, near.recipe)
    # A recipes folder that is a package is a part of its modules' names, but not of a target.
    package = other.removesuffix(near.recipe) if other.endswith(f".{near.recipe}") else PRIVATE
    return _found(operation, module.removeprefix(package))


def listing(folder: Path) -> list[Listed]:
    """Return the operations in `folder`, sorted by target, without importing anything."""
    found = [operation for each in _in_folder(folder) for operation in each.operations]
    return sorted(found, key=lambda each: each.target)


def recipes(project: Project) -> list[Recipe]:
    """Return the recipes of the project and of installed packages, without importing one."""
    from stagerun.authoring import installed

    own = list(_in_folder(project.recipes))
    names = {each.name for each in own}
    others = [
        structs.replace(read(each.file, each.name, only=each.operation), package=each.package)
        for each in installed.recipes()
        if each.file is not None and each.name not in names
    ]
    return [*own, *others]


def listed(target: str, project: Project) -> Listed | None:
    """Return the operation that a target names as its source says it, or None if no source is found."""
    recipe, name = _split(target)
    file, only = file_of(recipe, project), None
    if file is None and (entry := _installed(recipe)) is not None:
        file, only = entry.file, entry.operation
    operations = read(file, recipe, only=only).operations if file else ()
    named = [each for each in operations if name in (None, each.target.rpartition(":")[2])]
    return named[0] if len(named) == 1 else None


def _in_folder(folder: Path) -> Iterator[Recipe]:
    for file in sorted(folder.glob("*.py")):
        if not file.name.startswith("_") and _is_inside(file, folder):
            yield read(file, file.stem)


def read(file: Path, name: str, *, only: str | None = None) -> Recipe:
    """Return what the source of a recipe says; `only` is the one operation of it that counts, if that is so."""
    try:
        if file.is_fifo():  # reading it would wait for a writer
            raise OSError("it is a pipe")  # noqa: TRY301 - told like any file that can't be read
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError, OSError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        return Recipe(name=name, file=file, broken=str(getattr(error, "msg", error)), line=line)
    found = (each for each in _operations(tree, file, name) if only in (None, each.target.rpartition(":")[2]))
    operations = tuple(sorted(found, key=lambda each: each.target))
    return Recipe(name=name, file=file, title=_first_line(tree), operations=operations)


def _found(operation: type[LiveOperation], recipe: str, import_seconds: float = 0.0) -> Found:
    source = getattr(sys.modules.get(operation.__module__), "__file__", None)
    return Found(
        operation=operation,
        target=f"{recipe}:{operation.__name__}",
        recipe=recipe,
        source=Path(source) if source else None,
        import_seconds=import_seconds,
    )


def _imported(recipe: str, project: Project) -> tuple[ModuleType, str | None]:
    """Return the module of a recipe, and the one operation of it that its name means if that is so."""
    if recipe.endswith(".py"):
        file = _file_at(recipe)
        if not file.is_file():
            inside = project.recipes / recipe
            hint = (
                f"did you mean {recipe.removesuffix('.py').replace('/', '.')!r}?"
                if inside.is_file()
                else "see 'stagerun list'"
            )
            raise UsageError(f"there is no recipe file {recipe}", hint)
        return _of_file(file, project, recipe), None
    if not all(part.isidentifier() for part in recipe.split(".")):
        raise UsageError(
            f"{recipe!r} is not a module name",
            "name a module (orders, package.module) or a file that ends in .py",
        )
    file = _file_in(recipe, project.recipes)
    if file.is_file():
        if not _is_inside(file, project.recipes):
            raise UsageError(f"recipe {recipe} is outside {project.recipes}", "name its file instead")
        return importing.import_file(file, project, recipe), None
    if (module := importing.import_module(recipe, project)) is not None:
        return module, None
    entry = _installed(recipe)
    if entry is None or (module := importing.import_module(entry.module, project)) is None:
        raise _unknown(recipe, project.recipes)
    return module, entry.operation


def _installed(recipe: str) -> "InstalledRecipe | None":
    """Return the recipe of that name which an installed package has; looked for only where nothing else has it."""
    from stagerun.authoring import installed

    return next((each for each in installed.recipes() if each.name == recipe), None)


def _of_file(file: Path, current: Project, recipe: str) -> ModuleType:
    return importing.import_file(file, settings.home(file, current), recipe)


def _file_at(path: str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - a link is not followed: Python imports by its name


def _file_in(recipe: str, folder: Path) -> Path:
    return folder.joinpath(*recipe.split(".")).with_suffix(".py")


def _is_inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _choose(module: ModuleType, recipe: str, name: str | None) -> type[LiveOperation]:
    operations = {
        each: value
        for each, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, LiveOperation)
        and value is not LiveOperation
        and not each.startswith("_")
    }
    own = {
        value.__name__: value
        for value in operations.values()
        if value.__module__ == module.__name__ and value.run is not LiveOperation.run
    }
    _refuse_twins(module, recipe, own if name is None else [name])
    if name is not None and name in operations:
        return operations[name]
    if name is not None:
        raise _not_there(f"recipe {recipe} has no operation {name!r}", name, list(own or operations))
    if len(own) != 1:
        names = ", ".join(f"{recipe}:{each}" for each in own)
        if not own:
            idle = [each for each, value in operations.items() if value.__module__ == module.__name__]
            hint = f"{idle[0]} has no run(self, p)" if idle else "write a class that derives from LiveOperation"
            raise UsageError(f"recipe {recipe} has no operation", hint)
        raise UsageError(f"recipe {recipe} has {len(own)} operations", f"name one: {names}")
    return next(iter(own.values()))


def _refuse_twins(module: ModuleType, recipe: str, asked: Collection[str]) -> None:
    """Raise RecipeError if two classes of the recipe have one of the names that are asked for."""
    file = getattr(module, "__file__", None) or ""
    names: list[bytes] = []
    with contextlib.suppress(OSError):
        source = Path(file).read_bytes() if file.endswith(".py") else b""
        names = re.findall(rb"^class\s+(\w+)", source, re.MULTILINE)
    if len(names) == len(set(names)):
        return  # nearly always, and parsing takes longer than a stage
    for name, lines in twins(ast.parse(source)).items():
        if name in asked:
            places = " and ".join(map(str, lines))
            raise RecipeError(
                f"recipe {recipe} has {len(lines)} classes named {name!r} ({file}, lines {places}), "
                "and Python keeps only the last",
                "give each a name of its own",
            )


def twins(tree: ast.Module) -> dict[str, list[int]]:
    """Return the classes at the top of a module that have the same name, with their lines."""
    lines: dict[str, list[int]] = {}
    for node in tree.body:
        # One that is derived from the one before it replaces it on purpose.
        if isinstance(node, ast.ClassDef) and node.name not in map(_name, node.bases):
            lines.setdefault(node.name, []).append(node.lineno)
    return {name: each for name, each in lines.items() if len(each) > 1}


def _unknown(recipe: str, folder: Path) -> UsageError:
    from stagerun.authoring import installed

    own = {file.stem for file in folder.glob("*.py") if not file.name.startswith("_")}
    names = sorted(own | {each.name for each in installed.recipes()})
    if not names:
        return UsageError(f"there is no recipe {recipe!r}", f"there are no recipes in {folder}")
    return _not_there(f"there is no recipe {recipe!r}", recipe, names)


def _not_there(message: str, name: str, legal: list[str]) -> UsageError:
    from stagerun.text import suggestions

    return UsageError(message, suggestions.hint(name, legal, "there are"))


def _operations(tree: ast.Module, file: Path, recipe: str) -> Iterator[Listed]:
    bases = {"LiveOperation", *_aliases(tree)}
    runnable = set[str]()
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or bases.isdisjoint(map(_name, node.bases)):
            continue
        bases.add(node.name)
        functions = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
        runs = any(each.name == "run" for each in functions)
        if runs or not runnable.isdisjoint(map(_name, node.bases)):
            runnable.add(node.name)
        if node.name in runnable and not node.name.startswith("_"):
            yield Listed(
                target=f"{recipe}:{node.name}",
                help=_first_line(node),
                stages=_literal_stages(node),
                source=file,
                line=node.lineno,
            )


def _first_line(node: ast.Module | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


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
