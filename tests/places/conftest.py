"""Places to run at, each started once, and a project to run there."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from stagerun.view import RunView
from tests.conftest import Done, Project, new_project
from tests.journals import reading
from tests.places import clusters
from tests.places.clusters import Where
from tests.processes import finish, rows, until
from tests.serving import Command


@contextmanager
def _local() -> Iterator[Where]:
    yield Where("local:", {})


PLACES: dict[str, tuple[Callable[[], AbstractContextManager[Where]], tuple[str, ...]]] = {
    "local": (_local, ()),
    "ssh": (clusters.ssh, ("ssh", "sshd", "ssh-keygen")),
    "slurm": (clusters.slurm, ("srun", "slurmctld", "slurmd", "munged")),
    "dask": (clusters.dask, ()),
}


@dataclass
class Distant:
    """A project whose runs work at a place."""

    project: Project
    where: Where

    def start(self, *arguments: str, on: str | None = None) -> Command:
        return self.project.start(*arguments, "--on", on or self.where.name, environ=self.where.environ)

    def stagerun(self, *arguments: str, on: str | None = None) -> Done:
        with self.start(*arguments, on=on) as process:
            out, err = process.communicate(timeout=90)
        return Done(process.wait(), out, err)

    def newest(self) -> RunView:
        with reading(self.project.journal) as records:
            return records.find("last")

    def status(self, ref: str = "last") -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.project.stagerun("status", ref, "--json").out)
        return told

    def worker(self, run: int = 1) -> psutil.Process:
        """The process that a run works in."""
        found: list[tuple[object, ...]] = []

        def has_begun() -> bool:
            with suppress(sqlite3.Error):  # the journal is being made
                found[:] = rows(self.project, "SELECT worker FROM runs WHERE id = ? AND worker NOT NULL", run)
            return bool(found)

        until(has_begun)
        return psutil.Process(json.loads(str(found[0][0]))["pid"])


@pytest.fixture(scope="session", params=list(PLACES))
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Where]:
    """Each place in turn."""
    make, programs = PLACES[request.param]
    if (why := clusters.missing(*programs)) is not None:
        pytest.skip(why)
    cache = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    with make() as found:
        yield found._replace(environ=cache | found.environ)


@pytest.fixture
def near(project: Project, tmp_path: Path) -> Distant:
    """A project whose runs work in a process of their own, here."""
    return Distant(project, Where("local:", {"XDG_CACHE_HOME": str(tmp_path / "cache")}))


@pytest.fixture
def far(project: Project, where: Where) -> Distant:
    """A project whose runs work at each place in turn."""
    return Distant(project, where)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that many tests run in."""
    return new_project(tmp_path_factory.mktemp("shop"))


def end_of(process: Command) -> Done:
    """Return the rest of what the process prints and how it ends."""
    done = finish(process)
    process.communicate()
    return done


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def kill(process: psutil.Process, number: int = signal.SIGKILL) -> None:
    os.kill(process.pid, number)
