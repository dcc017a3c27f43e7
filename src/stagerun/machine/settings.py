"""Where a project's files are: its root, journal and recipes; and its configuration."""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Final, NamedTuple

from msgspec import Struct

from stagerun.errors import UsageError


class Setting(Struct, frozen=True):
    """A name that `[tool.stagerun]` may have.

    Attributes:
        kind: the type of its value.
        default: its value if nobody gives another; "" for none.
        variable: the environment variable that comes before it, or None.

    """

    kind: type | UnionType
    default: str | bool | Mapping[str, Any]
    variable: str | None = None


SETTINGS: Final[Mapping[str, Setting]] = {
    "journal": Setting(str, ".stagerun/journal.db", "STAGERUN_JOURNAL"),
    "recipes": Setting(str, "recipes"),
    "durability": Setting(str, "full"),
    "env_file": Setting(str, ""),
    "progress": Setting(str, "auto", "STAGERUN_PROGRESS"),
    "timestamps": Setting(bool, default=False, variable="STAGERUN_TIMESTAMPS"),
    "owner": Setting(str, "", "STAGERUN_OWNER"),
    "on": Setting(str, "", "STAGERUN_ON"),
    "places": Setting(dict, {}),
    "notify": Setting(str | list | dict, "", "STAGERUN_NOTIFY"),
    "otel": Setting(bool, default=False, variable="STAGERUN_OTEL"),
}
_KINDS: Final[Mapping[type | UnionType, str]] = {str: "a string", bool: "true or false", dict: "a table"}
PRIVATE: Final = "stagerun_recipe_"  # prefix of a recipe's module name when another module has its plain name
_DURABILITIES: Final = ("full", "normal")


class Project(Struct, frozen=True, kw_only=True):
    """One project on disk.

    Attributes:
        root: the nearest folder upwards with `.stagerun/`, a `[tool.stagerun]` in pyproject.toml, or `recipes/`;
            else the current folder.
        found: True if there is such a folder.
        recipes: the folder that bare recipe names are looked up in.
        journal: the journal's file, unless a command names another.
        durable: True if facts must survive a power cut.
        env_file: the file with variables for the environment, or None.
        settings: `[tool.stagerun]`, unchanged.

    """

    root: Path
    found: bool
    recipes: Path
    journal: Path
    durable: bool
    env_file: Path | None
    settings: Mapping[str, Any]


class Origin(NamedTuple):
    """Where a run was started: the project's root, and the folder, relative to the root if it is inside."""

    project: str
    folder: str


def origin(project: Project, folder: Path) -> Origin:
    """Return where a run is started in that folder."""
    inside = folder.is_relative_to(project.root)
    return Origin(str(project.root), str(folder.relative_to(project.root) if inside else folder))


def find(start: Path) -> Project:
    """Return the project that folder `start` belongs to; UsageError for a configuration that can't be read."""
    for folder in (start, *start.parents):
        settings = _settings(folder / "pyproject.toml")
        if settings is not None or (folder / ".stagerun").is_dir() or (folder / "recipes").is_dir():
            return _project(folder, settings or {}, found=True)
    return _project(start, {}, found=False)


def home(file: Path, current: Project) -> Project:
    """Return the project that `file` belongs to: `current` if it is in there, else the one around the file."""
    inside = file.is_relative_to(current.root)
    if inside and current.found:
        return current
    around = find(file.parent)
    return current if inside and not around.found else around


def journal_file(place: str, folder: Path) -> Path:
    """Return the file at `place`, relative to `folder`; UsageError if it is the address of a database."""
    scheme, address, _ = place.partition("://")
    if address:
        raise UsageError(f"a journal is a file, it can't be kept at {scheme}://", "use a path such as runs/journal.db")
    return (folder / place).absolute()  # a recipe may change the current folder


def values(project: Project, environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """Return name -> its value, and where that comes from: a variable, a file, or "default"."""
    file = str(project.root / "pyproject.toml")
    found: dict[str, tuple[Any, str]] = {}
    for name, setting in SETTINGS.items():
        if setting.variable is not None and environ.get(setting.variable):
            found[name] = (environ[setting.variable], setting.variable)
        elif name in project.settings:
            found[name] = (project.settings[name], file)
        else:
            found[name] = (setting.default, "default")
    return found


def _project(root: Path, settings: Mapping[str, Any], *, found: bool) -> Project:
    return Project(
        root=root,
        found=found,
        recipes=root / settings.get("recipes", SETTINGS["recipes"].default),
        journal=journal_file(settings.get("journal", SETTINGS["journal"].default), root),
        durable=settings.get("durability", SETTINGS["durability"].default) == "full",
        env_file=root / settings["env_file"] if settings.get("env_file") else None,
        settings=settings,
    )


def _settings(file: Path) -> Mapping[str, Any] | None:
    """Return `[tool.stagerun]` of `file`, or None."""
    try:
        text = file.read_bytes()
    except OSError:
        return None
    # Most projects have none, and then no parser is imported.
    if b"stagerun" not in text:
        return None
    import tomllib

    try:
        tables = tomllib.loads(text.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} can't be read: {error}", "fix it, or start stagerun in another folder") from None
    tool = tables.get("tool", {})
    if not isinstance(tool, dict):
        raise UsageError(f"{file}: [tool] must be a table, not {tool!r}", "fix it, or start stagerun in another folder")
    settings = tool.get("stagerun")
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise UsageError(f"{file}: [tool.stagerun] must be a table, not {settings!r}", "write [tool.stagerun]")
    _check(settings, file)
    return settings


def _check(settings: Mapping[str, Any], file: Path) -> None:
    for name, value in settings.items():
        if name not in SETTINGS:
            # As `text.suggestions`, which this wing can't import.
            from difflib import get_close_matches

            near = get_close_matches(name, SETTINGS, 1)
            hint = f"did you mean {near[0]!r}?" if near else "settings: " + ", ".join(SETTINGS)
            raise UsageError(f"{file}: [tool.stagerun] has no setting {name!r}", hint)
        if not isinstance(value, SETTINGS[name].kind):
            kind = _KINDS.get(SETTINGS[name].kind, "an address, a command or a table")
            raise UsageError(f"{file}: [tool.stagerun] {name} must be {kind}, not {value!r}")
    durability = settings.get("durability", SETTINGS["durability"].default)
    if durability not in _DURABILITIES:
        raise UsageError(
            f"{file}: [tool.stagerun] durability can't be {durability!r}",
            "one of " + ", ".join(_DURABILITIES),
        )
    if "notify" in settings:
        from stagerun.machine import notices

        notices.read(settings["notify"], f"{file}: [tool.stagerun] notify")
