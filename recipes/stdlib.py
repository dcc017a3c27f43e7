"""Read Python's own standard library and say what is in it: a recipe that does real work on any machine."""

import ast
import sysconfig
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from stagerun import LiveOperation, Progress


_LEFT_OUT = {"__pycache__", "site-packages", "dist-packages"}


@dataclass(frozen=True, slots=True)
class Module:
    """What was counted in one module; `documented` of its `public` names have a docstring."""

    name: str
    lines: int
    classes: int
    functions: int
    public: int
    documented: int


class Index(LiveOperation):
    """Read the standard library's source into a SQLite file, then report on it."""

    stages = ["Scan", "Parse", "Save"]

    root: Annotated[Path, "the folder to read"] = Path(sysconfig.get_path("stdlib"))
    output: Annotated[Path, "the SQLite file to write"] = Path("build/stdlib.db")
    limit: Annotated[int | None, "read only so many files"] = None

    def run(self, p: Progress) -> None:
        with p.stage("Scan"):
            files = sorted(file for file in self.root.rglob("*.py") if self._belongs(file))[: self.limit]
            if not files:
                raise FileNotFoundError(f"no Python source in {self.root}")
            p.log(f"found {len(files):,} files in {self.root}")

        with p.stage("Parse"):
            # One worker: catching warnings is not safe in several threads.
            found = p.map(self._read, files, workers=1, unit="file", key="modules", type=Module | None)
            modules = [each for each in found if each is not None]
            if broken := len(found) - len(modules):
                p.log(f"{broken} files hold no valid Python, on purpose: they are test data")

        with p.stage("Save"):
            save(modules, self.output)
            p.log(f"wrote {self.output}")

        p.result(
            files=len(modules),
            broken=broken,
            lines=sum(each.lines for each in modules),
            classes=sum(each.classes for each in modules),
            functions=sum(each.functions for each in modules),
        )
        p.chain_to(Report(owner=self.owner, source=self.output, output=self.output.with_suffix(".md")))

    def _read(self, file: Path) -> Module | None:
        """Return what is in a file, or None if it holds no valid Python."""
        try:
            return read(file, self.root)
        except (SyntaxError, ValueError):
            return None

    def _belongs(self, file: Path) -> bool:
        return _LEFT_OUT.isdisjoint(file.relative_to(self.root).parts)


class Report(LiveOperation):
    """Write a Markdown report of the largest and the least documented modules."""

    stages = ["Read", "Write"]

    source: Annotated[Path, "the SQLite file that Index wrote"]
    output: Annotated[Path, "the Markdown file to write"] = Path("build/stdlib.md")
    top: Annotated[int, "how many modules a table has"] = 15

    def run(self, p: Progress) -> None:
        from sqlite_utils import Database

        with p.stage("Read"):
            if not self.source.is_file():
                raise FileNotFoundError(f"{self.source} does not exist: run stdlib:Index first")
            modules = Database(self.source, execute_plugins=False)["modules"]
            largest = list(modules.rows_where(order_by="lines desc", limit=self.top))
            bare = list(
                modules.rows_where("public >= 10", order_by="1.0 * documented / public, public desc", limit=self.top)
            )

        with p.stage("Write"):
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text(
                "# The standard library\n\n"
                + table("Largest modules", largest)
                + "\n"
                + table("Least documented modules", bare),
                encoding="utf-8",
            )
        p.result(report=str(self.output))


def read(file: Path, root: Path) -> Module:
    """Count what is in one source file."""
    source = file.read_bytes()
    with warnings.catch_warnings(action="ignore"):
        tree = ast.parse(source)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    public = [tree, *(node for node in (*classes, *functions) if not node.name.startswith("_"))]
    return Module(
        name=".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"),
        lines=source.count(b"\n"),
        classes=len(classes),
        functions=len(functions),
        public=len(public),
        documented=sum(ast.get_docstring(node, clean=False) is not None for node in public),
    )


def save(modules: list[Module], output: Path) -> None:
    """Write the modules into a fresh SQLite file."""
    from sqlite_utils import Database

    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    database = Database(output, execute_plugins=False)
    database.table("modules").insert_all(map(asdict, modules), pk="name")
    database.close()


def table(title: str, modules: list[dict[str, Any]]) -> str:
    """Return a Markdown table of modules."""
    lines = [
        f"## {title}",
        "",
        "| module | lines | classes | functions | documented |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| `{each['name']}` | {each['lines']:,} | {each['classes']} | {each['functions']} "
        f"| {100 * each['documented'] // each['public']} % |"
        for each in modules
    ]
    return "\n".join(lines) + "\n"
