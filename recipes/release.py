"""This project's own release: built, met as its users will meet it, and uploaded if told to."""

import shutil
import sys
import tomllib
from pathlib import Path
from typing import Annotated

from stagerun import LiveOperation, Progress, Secret, __version__


ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable


class Release(LiveOperation):
    """Build a release, install it, test it from its source, and upload it if there is a token and a confirmation."""

    stages = ["Version", "Lint", "Build", "Check", "Install", "Source", "Upload"]
    exclusive = True

    folder: Annotated[Path, "where all of it is made"] = Path("build/release")
    tests: Annotated[str, "the tests that the source distribution runs"] = "tests"
    token: Annotated[Secret | None, "the token of the package index"] = None
    upload: Annotated[str | None, "the version to upload, typed once more"] = None

    def run(self, p: Progress) -> None:
        folder = self.folder.resolve()
        with p.stage("Version"):
            self._check_version(p)
        with p.stage("Lint"):
            p.sh([PYTHON, "-m", "ruff", "check", "--quiet", "."], cwd=ROOT)
            p.sh([PYTHON, "-m", "ruff", "format", "--check", "--quiet", "."], cwd=ROOT)
            p.sh([PYTHON, "-m", "mypy"], cwd=ROOT)
        built = [folder / "dist" / name for name in p.step("Build", build, p, folder / "dist")]
        with p.stage("Check"):
            p.sh([PYTHON, "-m", "twine", "check", "--strict", *built])
            p.sh([PYTHON, "-m", "check_wheel_contents", built[0]])
        with p.stage("Install"):
            check_installed(p, built[0], folder)
        with p.stage("Source"):
            test_source(p, built[1], folder, self.tests)
        if self.token is not None:
            with p.stage("Upload"):
                environ = {"TWINE_USERNAME": "__token__", "TWINE_PASSWORD": self.token}
                p.sh([PYTHON, "-m", "twine", "upload", "--non-interactive", *built], env=environ, key="upload")
        p.result(version=__version__, built=[each.name for each in built], uploaded=self.token is not None)

    def _check_version(self, p: Progress) -> None:
        """Refuse an upload that nobody has confirmed, or that the changelog does not know."""
        lines = (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
        newest = next(line.removeprefix("## ") for line in lines if line.startswith("## "))
        p.log(f"version {__version__}, and the newest changes are those of {newest}")
        if self.token is None:
            p.log("nothing will be uploaded: there is no token")
        elif self.upload != __version__:
            raise ValueError(f"to upload version {__version__}, say so: --upload {__version__}")
        elif newest.split()[0] != __version__:
            raise ValueError(f"CHANGELOG.md does not begin with a section of version {__version__}")
        elif "urls" not in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]:
            raise ValueError("pyproject.toml has no [project.urls]: on the index links of README.md would lead nowhere")


def build(p: Progress, folder: Path) -> list[str]:
    """Return the names of the wheel and the source distribution, built without a warning."""
    shutil.rmtree(folder, ignore_errors=True)
    built = p.sh([PYTHON, "-m", "build", "--outdir", folder, ROOT], capture=True)
    if "warning" in f"{built.stdout}{built.stderr}".lower():
        raise ValueError("the build warned")
    names = [f"stagerun-{__version__}-py3-none-any.whl", f"stagerun-{__version__}.tar.gz"]
    for name in names:
        p.log(f"{name}, {(folder / name).stat().st_size:,} bytes")
    return names


def check_installed(p: Progress, wheel: Path, folder: Path) -> None:
    """Install the wheel into an environment of its own, and check that it does what the source does."""
    python = folder / "env" / "bin" / "python"
    p.sh([PYTHON, "-m", "venv", "--clear", folder / "env"])
    p.sh([python, "-m", "pip", "install", "--quiet", wheel])
    version = p.sh([python.with_name("stagerun"), "--version"], capture=True).stdout
    if version != f"stagerun {__version__}\n":
        raise ValueError(f"the wheel calls itself {version!r}, and the source {__version__}")
    if counted(p, python, folder / "wheel") != counted(p, Path(PYTHON), folder / "source"):
        raise ValueError("the wheel and the source differ in what they count")


def counted(p: Progress, python: Path, folder: Path) -> list[str]:
    """Return the result of a run of stdlib:Index, as `--progress quiet` prints it."""
    # Outside the checkout: the wheel's run must not find its `src`.
    folder.mkdir(parents=True, exist_ok=True)
    recipe = ROOT / "recipes" / "stdlib.py"
    options = ["--limit", "200", "--output", folder / "stdlib.db", "--journal", folder / "journal.db"]
    command = [python, "-m", "stagerun", "run", f"{recipe}:Index", "--progress", "quiet", *options]
    printed = p.sh(command, cwd=folder, capture=True).stdout or ""
    return [line for line in printed.splitlines() if not line.startswith("report=")]


def test_source(p: Progress, source: Path, folder: Path, tests: str) -> None:
    """Unpack the source distribution, and run its tests in an environment of its own."""
    shutil.rmtree(folder / "unpacked", ignore_errors=True)
    shutil.unpack_archive(source, folder / "unpacked", filter="data")
    root = folder / "unpacked" / source.name.removesuffix(".tar.gz")
    p.sh(["make", "--silent", f"PYTHON={PYTHON}", ".venv/dev"], cwd=root)
    p.sh([root / ".venv" / "bin" / "pytest", "-q", "-n", "auto", *tests.split()], cwd=root)
