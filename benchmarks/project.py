"""A folder with a recipe and a journal, and the contenders that run in it."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.floors import COMMITS
from benchmarks.harness import Contender


PYTHON = sys.executable
BIN = Path(PYTHON).parent
OWN = BIN.parent / "own" / "bin"  # stagerun and its dependencies alone, as a user installs it
STAGERUN = str(OWN / "stagerun")
FIRST = """
from stagerun import LiveOperation


class First(LiveOperation):
    def run(self, p):
        pass
"""


class Project:
    """A project with one recipe, `recipes/it.py`. Each run begins with a journal that holds one run."""

    def __init__(self, folder: Path, recipe: str = "", *, files: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        (folder / "recipes").mkdir(parents=True)
        for name, text in {"recipes/it.py": recipe, "recipes/first.py": FIRST, **(files or {})}.items():
            (folder / name).write_text(text)
        self.journal = folder / ".stagerun" / "journal.db"
        self._template = folder / "journal.template"
        subprocess.run([STAGERUN, "run", "first"], cwd=folder, check=True, capture_output=True)
        self.journal.rename(self._template)
        self.refresh()

    def refresh(self) -> None:
        """Replace the journal, so that no contender pays for the rows of the one before."""
        for file in [*self.journal.parent.glob("journal.db*"), *self.folder.glob("bare.db*")]:
            file.unlink()
        shutil.copy(self._template, self.journal)

    def run(
        self,
        name: str,
        *arguments: object,
        size: int = 1,
        progress: str = "plain",
        environ: Mapping[str, str] | None = None,
        at_most: int = 1000,
    ) -> Contender:
        """Return a contender that runs the recipe with `arguments`, the operation first, in the display `progress`."""
        return Contender(
            name,
            [STAGERUN, "run", f"it:{arguments[0]}", "--progress", progress, *map(str, arguments[1:])],
            size=size,
            folder=self.folder,
            environ=environ or {},
            terminal=progress == "tty",
            prepare=self.refresh,
            at_most=at_most,
        )

    def script(
        self, name: str, source: str, *arguments: object, size: int = 1, terminal: bool = False, at_most: int = 1000
    ) -> Contender:
        """Return a contender that runs Python source."""
        command = [PYTHON, "-c", source, *map(str, arguments)]
        return Contender(name, command, size=size, folder=self.folder, terminal=terminal, at_most=at_most)

    def commits(
        self, name: str, *, size: int, commits: int, tables: int = 1, pause: float = 0.0, at_most: int = 1000
    ) -> Contender:
        """Return a contender that makes `commits` commits for each unit, with SQLite alone; see `floors`."""
        command = [PYTHON, "-c", COMMITS, "bare.db", *map(str, (size, commits, tables, pause))]
        return Contender(name, command, size=size, folder=self.folder, prepare=self.refresh, at_most=at_most)
