"""The layers of the source, checked from the source: who may import whom."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import stagerun


SOURCE: Final = Path(stagerun.__file__).parent

# A module imports only from lines above its own; modules in one line don't know each other.
LAYERS: Final = (
    "errors",
    "ci states",
    "events identity interrupts params retries untrusted",
    "database loops masking processes project streams tracebacks values view wording",
    "capture children",
    "fanout",
    "progress",
    "operation",
    "journal recipes records schema stagerun",
    "emitter",
    (
        "runner render render.output render.paint render.lines render.dialect render.ci render.frame render.document"
        " render.report render.catalogue render.junit render.markdown render.trace"
        " render.plain render.quiet render.jsonl render.live"
    ),
    (
        "commands commands.common commands.say commands.moments commands.execution commands.run commands.resume"
        " commands.cancel commands.wait commands.watch commands.list commands.show commands.status"
        " commands.history commands.export commands.logs commands.prune commands.doctor"
    ),
    "cli",
    "__main__",
)

# Inside these two packages a few modules build on a common one.
EXCEPTIONS: Final = {
    "render": {
        *("render.dialect", "render.ci", "render.output"),
        *("render.plain", "render.quiet", "render.jsonl", "render.live"),
    },
    "render.dialect": {"render.lines"},
    "render.ci": {"render.dialect", "render.lines", "render.markdown"},
    "render.frame": {"render.lines"},
    "render.junit": {"render.lines"},
    "render.markdown": {"render.lines"},
    "render.report": {"render.lines", "render.paint"},
    "render.catalogue": {"render.paint"},
    "render.plain": {"render.dialect", "render.lines", "render.output", "render.paint"},
    "render.quiet": {"render.dialect", "render.lines", "render.output"},
    "render.jsonl": {"render.output"},
    "render.live": {"render.dialect", "render.frame", "render.lines", "render.output"},
    "commands.execution": {"commands.common", "commands.say"},
    "commands.run": {"commands.common", "commands.execution"},
    "commands.resume": {"commands.common", "commands.execution"},
    "commands.watch": {"commands.common", "commands.execution"},
    "commands.cancel": {"commands.common", "commands.say"},
    "commands.wait": {"commands.common"},
    "commands.list": {"commands.common"},
    "commands.show": {"commands.common"},
    "commands.status": {"commands.common"},
    "commands.history": {"commands.common", "commands.moments"},
    "commands.prune": {"commands.common", "commands.moments"},
    "commands.export": {"commands.common"},
    "commands.logs": {"commands.common"},
    "commands.doctor": {"commands.common"},
}

# A library from outside is one module's business, or a few modules'.
LIBRARIES: Final = {
    "sqlite3": {"database", "schema", "journal", "records", "commands.doctor"},
    "sqlite_utils": {"schema"},
    "click": {"cli", *(name for name in LAYERS[-3].split() if name != "commands")},
    "rich": {"render.frame", "render.live"},
    "msgspec": {
        *("emitter", "events", "identity", "masking", "params", "progress", "project", "recipes", "records"),
        *("runner", "values", "view", "commands.resume"),
    },
    "tenacity": {"retries"},
    "psutil": {"identity", "processes"},
}

LAYER: Final = {name: layer for layer, names in enumerate(LAYERS) for name in names.split()}


def _name(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "stagerun"


TREES: Final = {_name(file): ast.parse(file.read_text("utf-8")) for file in SOURCE.rglob("*.py")}


def _imported(tree: ast.Module) -> set[str]:
    """Return every dotted name that is imported, wherever in the file, also those for types alone."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _own(name: str) -> set[str]:
    """Return the modules of this package that module `name` imports."""
    found = set[str]()
    for dotted in _imported(TREES[name]):
        inner = dotted.removeprefix("stagerun.")
        if not dotted.startswith("stagerun"):
            continue
        # `from stagerun.view import RunView` names a module and a thing in it, `from stagerun import view` a module.
        found.add(inner if inner in TREES else inner.rpartition(".")[0] or "stagerun")
    return found - {name}


IMPORTS: Final = {name: _own(name) for name in TREES}


def test_every_module_stands_in_the_table_and_the_table_holds_no_other() -> None:
    assert sorted(LAYER) == sorted(TREES)
    assert sum(len(names.split()) for names in LAYERS) == len(LAYER)


def test_a_module_imports_only_from_the_layers_above_its_own() -> None:
    broken = {
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others - EXCEPTIONS.get(name, set())
        if LAYER[other] >= LAYER[name]
    }

    assert broken == set()


def test_every_exception_to_the_layers_is_needed_and_stays_inside_one_package() -> None:
    assert {name: others & IMPORTS[name] for name, others in EXCEPTIONS.items()} == EXCEPTIONS
    assert {
        (name.partition(".")[0], other.partition(".")[0]) for name, others in EXCEPTIONS.items() for other in others
    } == {("render", "render"), ("commands", "commands")}


def test_no_imports_go_round_in_a_circle() -> None:
    assert set(TopologicalSorter(IMPORTS).static_order()) == set(TREES)


def test_no_display_knows_the_journal() -> None:
    displays = {name for name in TREES if name.partition(".")[0] == "render"}

    assert {
        (name, other) for name in displays for other in IMPORTS[name] & {"database", "schema", "journal", "records"}
    } == set()


def test_each_library_is_imported_only_where_the_table_says() -> None:
    used = {
        library: {
            name for name, tree in TREES.items() if any(each.partition(".")[0] == library for each in _imported(tree))
        }
        for library in LIBRARIES
    }

    assert used == LIBRARIES


def test_nothing_prints_except_the_commands_and_they_use_click_echo() -> None:
    calls = [
        (name, ast.unparse(node.func))
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]

    assert [name for name, call in calls if call == "print"] == []
    assert {name.partition(".")[0] for name, call in calls if call == "click.echo"} == {"commands"}
