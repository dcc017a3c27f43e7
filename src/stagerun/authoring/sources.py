"""A recipe's source on its way to another machine: collected here, and checked, kept and imported there.

The modules keep their names, and their code keeps the file names of here: a traceback from there points to the lines
that the author has before him. A module is executed from what was sent, never from what lies on the other machine's
disk. It is kept there too, for the processes that a recipe starts and for `__file__`.
"""

import importlib.util
import linecache
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

from msgspec import Struct

from stagerun.authoring.finding import Found, sha256
from stagerun.errors import RecipeError
from stagerun.machine import settings
from stagerun.machine.settings import Project


LARGEST: Final = 1024 * 1024  # bytes of all modules together
_PACKAGES: Final = frozenset({"site-packages", "dist-packages"})
_OWN: Final = (Path(os.__file__).parent, Path(__file__).parents[1])  # Python's library, and stagerun


class Module(Struct, frozen=True, kw_only=True):
    """A module of a recipe.

    Attributes:
        name: the name it is imported by.
        file: its file where the run was started.
        package: True for the `__init__.py` of a package.
        sha256: the hash of `source`.
        source: the bytes of the file.

    """

    name: str
    file: str
    package: bool
    sha256: str
    source: bytes

    @property
    def place(self) -> Path:
        """Return where it is kept, relative to the folder of the recipe."""
        parts = Path(*self.name.split("."))
        return parts / "__init__.py" if self.package else parts.with_name(f"{parts.name}.py")


def collect(found: Found, project: Project) -> tuple[Module, ...]:
    """Return the recipe's module and those it has imported from its folders; nothing if it is an installed package.

    RecipeError if they are too large.
    """
    if found.source is None:
        return ()
    recipes = settings.home(found.source, project).recipes
    if not found.recipe.endswith(".py") and not found.source.is_relative_to(recipes):
        return ()
    own = found.operation.__module__
    around = {own.rsplit(".", count)[0] for count in range(1, own.count(".") + 1)}
    modules = [
        _module(name, file)
        for name, file in _loaded()
        if name == own or name in around or _lies_in(file, recipes) or file.parent == found.source.parent
    ]
    size = sum(len(each.source) for each in modules)
    if size > LARGEST:
        raise RecipeError(
            f"recipe {found.recipe} and the modules that it imports have {size:,} bytes, and {LARGEST:,} can be sent",
            "install what is large as a package at the place",
        )
    return tuple(sorted(modules, key=lambda each: each.name))


def around(fn: object) -> tuple[Module, ...]:
    """Return the module of a function and those loaded from its folder; nothing if it is an installed one."""
    fn = getattr(fn, "func", fn)  # of functools.partial
    own: str = getattr(fn, "__module__", None) or type(fn).__module__
    loaded = dict(_loaded())
    if own not in loaded:
        return ()
    packages = {own.rsplit(".", count)[0] for count in range(1, own.count(".") + 1)}
    folder = loaded[own].parent
    return tuple(
        _module(name, file) for name, file in sorted(loaded.items()) if name in packages or file.parent == folder
    )


def install(modules: Sequence[Module], cache: Path) -> Path:
    """Keep modules that were sent, and let them be imported by their names; return the folder that they are kept in.

    RecipeError if one is not what its hash says, or can't be kept.
    """
    for each in modules:
        if _hash(each.source) != each.sha256:
            raise RecipeError(f"module {each.name} was changed on its way", "try again")
        if not all(map(str.isidentifier, each.name.split("."))):
            raise RecipeError(f"{each.name!r} is not the name of a module")
    folder = cache / _hash("".join(f"{each.name} {each.sha256}\n" for each in modules).encode())
    try:
        _keep(modules, folder)
    except OSError as error:
        raise RecipeError(f"the recipe can't be kept in {cache}: {error.strerror}", "set XDG_CACHE_HOME") from None
    sys.meta_path.insert(0, _Finder(modules, folder))
    sys.path.append(str(folder))  # for new processes
    for each in modules:
        lines = each.source.decode("utf-8", "replace").splitlines(keepends=True)
        linecache.cache[each.file] = len(each.source), None, lines, each.file
    return folder


def cache() -> Path:
    """Return the folder in which this user's machine keeps the recipes that were sent to it."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "stagerun" / "recipes"  # noqa: PTH111 - Path raises where there is no home


class _Finder:
    """Finds the modules that were sent, and the packages around them that have no file."""

    def __init__(self, modules: Sequence[Module], folder: Path) -> None:
        self._folder = folder
        self._modules = {each.name: each for each in modules}
        self._around = {
            each.name.rsplit(".", count)[0] for each in modules for count in range(1, each.name.count(".") + 1)
        }

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        module = self._modules.get(name)
        if module is not None:
            file = self._folder / module.place
            folders = [str(file.parent)] if module.package else None
            loader = _Loader(module)
            return importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=folders)
        if name in self._around:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(self._folder / Path(*name.split(".")))]
            return spec
        return None


class _Loader(Loader):
    """Executes a module that was sent."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def exec_module(self, module: ModuleType) -> None:
        code = compile(self.module.source, self.module.file, "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102 - what an import does


def _loaded() -> Iterator[tuple[str, Path]]:
    """Yield the names and files of the modules of this process that can be sent: no installed package."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and name not in ("__main__", "__mp_main__"):
            path = Path(file)
            if _PACKAGES.isdisjoint(path.parts) and not any(map(path.is_relative_to, _OWN)):
                yield name, path


def _lies_in(file: Path, folder: Path) -> bool:
    return file.is_relative_to(folder)


def _module(name: str, file: Path) -> Module:
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    if isinstance(loader, _Loader):
        return loader.module  # it was sent here
    source = file.read_bytes()
    return Module(name=name, file=str(file), package=file.name == "__init__.py", sha256=_hash(source), source=source)


def _hash(data: bytes) -> str:
    return str(sha256()(data).hexdigest())


def _keep(modules: Sequence[Module], folder: Path) -> None:
    """Write the modules into a folder beside `folder`, and rename that, unless they are there already."""
    if _is_kept(modules, folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder.with_name(f".{folder.name}.{os.urandom(8).hex()}")
    try:
        draft.mkdir(mode=0o700)
        for each in modules:
            file = draft / each.place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(each.source)
        shutil.rmtree(folder, ignore_errors=True)  # it is not what its name says
        draft.rename(folder)
    except OSError:
        if not _is_kept(modules, folder):  # else another process was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_kept(modules: Sequence[Module], folder: Path) -> bool:
    try:
        return all((folder / each.place).read_bytes() == each.source for each in modules)
    except OSError:
        return False
