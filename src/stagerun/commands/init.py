"""`stagerun init [NAME]`: a first recipe with its data, for a person to run, break and change."""

import contextlib
import keyword
import sys
from pathlib import Path
from typing import Final

import click

from stagerun.commands.help import help_option
from stagerun.commands.printing import print_lines
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.errors import UsageError


_RECIPE: Final = '''\
"""A first recipe: read a file, check every row, write the result. Change it as you like."""

import csv
from pathlib import Path
from typing import Annotated

from stagerun import LiveOperation, Progress


class Import(LiveOperation):
    """Load the orders, check them, save what is right."""

    # The stages, in the order in which they are shown.
    stages = ["Load", "Check", "Save"]

    # Parameters: stagerun run {name} --source other.csv --limit 2
    source: Annotated[Path, "the file to read"] = Path("{name}.csv")
    limit: Annotated[int, "read only so many rows"] = 1000

    def run(self, p: Progress) -> None:
        # A step is done once: a run that is resumed gets its value without calling it again.
        rows = p.step("Load", load, self.source, self.limit)

        with p.stage("Check"):
            good = []
            for row in p.track(rows, unit="row"):  # a progress bar; Ctrl-C stops here
                if row["price"]:
                    good.append(row)
                else:
                    p.log(f"order {{row['id']}} has no price", "warning")

        with p.stage("Save"):
            target = self.source.with_suffix(".checked.csv")
            save(good, target)
            print(f"wrote {{target}}")  # print and logging become lines of the run's log

        p.result({{"orders": len(good), "dropped": len(rows) - len(good)}})


def load(source: Path, limit: int) -> list[dict[str, str]]:
    with source.open(newline="") as file:
        return list(csv.DictReader(file))[:limit]


def save(rows: list[dict[str, str]], target: Path) -> None:
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "item", "price"])
        writer.writeheader()
        writer.writerows(rows)
'''
_DATA: Final = "id,item,price\n1,tea,4.50\n2,coffee,6.00\n3,cake,\n4,bread,3.20\n"
_IGNORED: Final = ".stagerun/"


@click.command("init")
@click.argument("name", default="orders")
@help_option
@pass_surroundings
def command(here: Surroundings, *, name: str) -> None:
    """Write a first recipe, recipes/NAME.py, with its data; NAME is orders unless you choose another.

    Nothing is overwritten.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"a recipe can't be called {name!r}", "its name is that of a Python module, such as orders")
    if name in sys.stdlib_module_names:
        raise UsageError(f"Python has a module {name}, which a test of the recipe would import", "choose another name")
    root = here.project.root
    files = {here.project.recipes / f"{name}.py": _RECIPE.format(name=name), root / f"{name}.csv": _DATA}
    for file in files:
        if file.exists():
            raise UsageError(f"{file} exists already", "choose another name: stagerun init NAME")
    missing = [folder for folder in (here.project.recipes, *here.project.recipes.parents) if not folder.exists()]
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
        ignored = _ignore(root / ".gitignore")
    except OSError as error:
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink()  # it did not exist before
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise UsageError(f"{error.filename} can't be written: {error.strerror}") from None
    print_lines(
        here,
        [
            *(f"wrote {_near(file, root)}" for file in files),
            *([f"added {_IGNORED} to .gitignore"] if ignored else []),
            "next:",
            *([f"  cd {root}"] if Path.cwd() != root else []),
            f"  stagerun run {name}",
            "  stagerun status",
            f"  stagerun show {name}",
        ],
    )


def _ignore(file: Path) -> bool:
    """Add the journal's folder to `.gitignore`; return False if it is there already."""
    text = ""
    with contextlib.suppress(FileNotFoundError):
        text = file.read_text(encoding="utf-8")
    if {_IGNORED, _IGNORED.rstrip("/"), f"/{_IGNORED}"} & set(text.split()):
        return False
    end = "" if not text or text.endswith("\n") else "\n"
    file.write_text(f"{text}{end}{_IGNORED}\n", encoding="utf-8")
    return True


def _near(file: Path, root: Path) -> str:
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
