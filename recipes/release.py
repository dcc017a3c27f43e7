"""This project's own release check: what must hold before a release."""

import sys
from pathlib import Path
from typing import Annotated

from stagerun import LiveOperation, Progress, __version__


ROOT = Path(__file__).resolve().parents[1]


class Check(LiveOperation):
    """Check the source, build the wheel, and install it into an environment of its own."""

    stages = ["Lint", "Types", "Test", "Build", "Install"]
    exclusive = True

    tests: Annotated[str, "the tests to run"] = "tests"
    folder: Annotated[Path, "where the wheel and the environment are made"] = Path("build/release")

    def run(self, p: Progress) -> None:
        folder = self.folder.resolve()
        with p.stage("Lint"):
            p.sh([sys.executable, "-m", "ruff", "check", "--quiet", "."], cwd=ROOT)
            p.sh([sys.executable, "-m", "ruff", "format", "--check", "--quiet", "."], cwd=ROOT)
        with p.stage("Types"):
            p.sh([sys.executable, "-m", "mypy"], cwd=ROOT)
        with p.stage("Test"):
            p.sh([sys.executable, "-m", "pytest", "-q", "-n", "auto", self.tests], cwd=ROOT)
        with p.stage("Build"):
            p.sh([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT])
            wheel = folder / f"stagerun-{__version__}-py3-none-any.whl"
            p.log(f"{wheel.name}, {wheel.stat().st_size:,} bytes")
        with p.stage("Install"):
            python = folder / "env" / "bin" / "python"
            p.sh([sys.executable, "-m", "venv", "--clear", folder / "env"])
            p.sh([python, "-m", "pip", "install", "--quiet", wheel])
            version = p.sh([python.with_name("stagerun"), "--version"], capture=True).stdout
            if version != f"stagerun {__version__}\n":
                p.error(f"the wheel calls itself {version!r}, and the source {__version__}")
        p.result(wheel=str(wheel), version=__version__)
        p.chain_to(Smoke(owner=self.owner, python=python, folder=folder))


class Smoke(LiveOperation):
    """Run a real operation with the installed wheel, and check that the result is the same as with the source."""

    stages = ["Source", "Wheel", "Compare"]

    python: Annotated[Path, "the environment with the wheel"]
    folder: Annotated[Path, "where the runs may write"] = Path("build/release")
    limit: Annotated[int, "how many files to read"] = 200

    def run(self, p: Progress) -> None:
        with p.stage("Source"):
            source = self._index(p, Path(sys.executable), "source")
        with p.stage("Wheel"):
            wheel = self._index(p, self.python, "wheel")
        with p.stage("Compare"):
            if source != wheel:
                p.error("the wheel and the source differ in what they count")
        p.result(source=source.split(), wheel=wheel.split())

    def _index(self, p: Progress, python: Path, name: str) -> str:
        """Return the result of stdlib:Index as `--progress quiet` prints it."""
        written = self.folder.resolve() / name
        command = [python, "-m", "stagerun", "run", ROOT / "recipes" / "stdlib.py:Index", "--progress", "quiet"]
        options = ["--limit", str(self.limit), "--output", written / "stdlib.db", "--journal", written / "journal.db"]
        # Outside the checkout: the wheel's run must not find its `src`.
        written.mkdir(parents=True, exist_ok=True)
        output = p.sh([*command, *options], cwd=written, capture=True).stdout or ""
        return "\n".join(line for line in output.splitlines() if not line.startswith("report="))
