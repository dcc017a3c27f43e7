"""The wings of the source, checked from the source: who may import whom, directly and through others."""

import ast
import functools
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import stagerun


SOURCE: Final = Path(stagerun.__file__).parent

# A wing imports only from the lines above it; wings on one line do not import each other.
WINGS: Final = (
    "errors",
    "exit_codes",
    "machine",
    "states",
    "events",
    "view",
    "outline",
    "resumption",
    "sinks",
    "text",
    "programs journal",
    "authoring",
    "engine reports stagerun",
    "render web remote notify",
    "commands",
    "cli testing",
    "__main__",
)

# What may not be loaded by importing a wing, however long the way is.
APART: Final = {
    "render": {"journal", "engine", "commands"},
    "reports": {"journal", "engine", "render", "web", "commands"},
    "web": {"engine", "render", "commands"},
    "notify": {"journal", "engine", "commands"},
    "remote": {"render", "web", "commands"},
    "journal": {"authoring", "engine", "reports", "render", "commands"},
    "authoring": {"journal", "engine", "reports", "render", "commands"},
    "text": {"programs", "journal"},
}

# A library from outside is one module's business, or a few modules'.
LIBRARIES: Final = {
    "distributed": {"remote.places.carried", "remote.places.dask"},
    "starlette": {"web.again", "web.app", "web.runs", "web.site", "web.sockets", "web.start"},
    "uvicorn": {"web.serving"},
    "sqlite3": {
        *("journal.sqlite.database", "journal.sqlite.files", "journal.sqlite.health", "journal.sqlite.schema"),
        "journal.sqlite.store",
    },
    "sqlite_utils": {"journal.sqlite.schema"},
    "jinja2": {"reports.html.rendering"},
    "rich": {"render.frame", "render.live"},
    "tenacity": {"authoring.retries", "notify.webhook"},
    "pytest": {"testing.plugin"},
    "psutil": {"machine.identity", "programs.process_tree"},
}

LINE: Final = {wing: line for line, wings in enumerate(WINGS) for wing in wings.split()}


def _name(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "stagerun"


# Parsed when a test asks: every worker imports this file, and few run one of its tests.
@functools.cache
def _trees() -> dict[str, ast.Module]:
    return {_name(file): ast.parse(file.read_text("utf-8")) for file in SOURCE.rglob("*.py")}


def _statements(node: ast.AST, *, at_once: bool) -> Iterator[ast.AST]:
    """Yield all nodes; `at_once` only those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        if not (at_once and (late or for_types)):
            yield child
            yield from _statements(child, at_once=at_once)


@functools.cache
def _imported(name: str, *, at_once: bool = False) -> set[str]:
    """Return every dotted name that module `name` imports, wherever in the file, or only `at_once`."""
    names = set[str]()
    for node in _statements(_trees()[name], at_once=at_once):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@functools.cache
def _own(name: str, *, at_once: bool = False) -> set[str]:
    """Return the modules of this package that module `name` imports."""
    found = set[str]()
    for dotted in _imported(name, at_once=at_once):
        inner = dotted.removeprefix("stagerun.")
        if not dotted.startswith("stagerun"):
            continue
        # `from stagerun.view import RunView` names a module and a thing in it, `from stagerun import view` a module.
        found.add(inner if inner in _trees() else inner.rpartition(".")[0] or "stagerun")
    return found - {name}


def _loaded(name: str) -> set[str]:
    """Return every module that importing `name` loads, however long the way is; packages load with what is in them."""
    reached, waiting = set[str](), [name]
    while waiting:
        each = waiting.pop()
        around = {each.rpartition(".")[0]} - {""}
        for other in (_own(each, at_once=True) | around) - reached:
            reached.add(other)
            waiting.append(other)
    return reached


def _imports() -> dict[str, set[str]]:
    return {name: _own(name) for name in _trees()}


def _wing(name: str) -> str:
    return name.partition(".")[0]


def test_every_wing_stands_in_the_table_once_and_the_table_holds_no_other() -> None:
    assert sorted(LINE) == sorted({_wing(name) for name in _trees()})
    assert sum(len(wings.split()) for wings in WINGS) == len(LINE)


def test_a_wing_imports_only_from_the_lines_above_it() -> None:
    broken = {
        f"{name} imports {other}"
        for name, others in _imports().items()
        for other in others
        if _wing(other) != _wing(name) and LINE[_wing(other)] >= LINE[_wing(name)]
    }

    assert broken == set()


def test_no_imports_go_round_in_a_circle() -> None:
    assert set(TopologicalSorter(_imports()).static_order()) == set(_trees())


def test_importing_a_wing_loads_none_that_it_has_to_stay_apart_from_also_through_others() -> None:
    broken = {
        f"{name} loads {other}"
        for name in _trees()
        for other in _loaded(name)
        if _wing(other) in APART.get(_wing(name), set())
    }

    assert broken == set()


def test_each_library_is_imported_only_where_the_table_says() -> None:
    used = {
        library: {name for name in _trees() if any(each.partition(".")[0] == library for each in _imported(name))}
        for library in LIBRARIES
    }

    assert used == LIBRARIES


def test_only_the_commands_and_the_border_know_the_command_line_parser() -> None:
    assert {_wing(name) for name in _trees() if "click" in _imported(name)} == {"cli", "commands"}


def test_nothing_prints_except_the_commands_and_they_use_click_echo() -> None:
    calls = [
        (name, ast.unparse(node.func))
        for name, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]

    assert [name for name, call in calls if call == "print"] == []
    assert {name.partition(".")[0] for name, call in calls if call == "click.echo"} == {"commands"}
