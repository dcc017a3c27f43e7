"""What a command costs before it does anything, and what three trivial steps cost, against peers that run three.

Each peer is used as its documentation says, with the settings that make it faster: no virtual environments, no servers
that keep running, no telemetry, no checks for updates, compiled sources.
"""

from pathlib import Path

from benchmarks.harness import Contender, Workload
from benchmarks.project import BIN, OWN, PYTHON, STAGERUN, Project


THREE = """
from stagerun import LiveOperation


class Three(LiveOperation):
    stages = ["One", "Two", "Three"]

    def run(self, p):
        for stage in self.stages:
            with p.stage(stage):
                pass
"""
INVOKE = """
from invoke import task


@task
def one(c):
    pass


@task(one)
def two(c):
    pass


@task(two)
def three(c):
    pass
"""
DOIT = """
def nothing():
    pass


def task_one():
    return {"actions": [nothing]}


def task_two():
    return {"actions": [nothing], "task_dep": ["one"]}


def task_three():
    return {"actions": [nothing], "task_dep": ["two"]}
"""
NOX = """
import nox


@nox.session
def one(session):
    pass


@nox.session
def two(session):
    pass


@nox.session
def three(session):
    pass
"""
# Its shutdown waits for a thread that polls every second.
DBOS = """
import sys
from dbos import DBOS


@DBOS.step()
def step(number):
    return number


@DBOS.workflow()
def work(count):
    for number in range(count):
        step(number)


DBOS(
    config={
        "name": "bench",
        "system_database_url": "sqlite:///dbos.sqlite",
        "run_admin_server": False,
        "log_level": "WARNING",
        "notification_listener_polling_interval_sec": 0.01,
    }
)
DBOS.launch()
work(int(sys.argv[1]))
DBOS.destroy()
"""
METAFLOW = """
from metaflow import FlowSpec, step


class Three(FlowSpec):
    @step
    def start(self):
        self.next(self.middle)

    @step
    def middle(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Three()
"""
PREFECT = """
from prefect import flow, task


@task
def step(number):
    return number


@flow
def work():
    for number in range(3):
        step(number)


work()
"""
JUST = """
three: two
    @true

two: one
    @true

one:
    @true
"""
TASK = """
version: "3"
silent: true
tasks:
  default:
    cmds: [task: one, task: two, task: three]
  one: "true"
  two: "true"
  three: "true"
"""


def workloads(folder: Path) -> list[Workload]:
    files = {
        "tasks.py": INVOKE,
        "dodo.py": DOIT,
        "noxfile.py": NOX,
        "dbos_three.py": DBOS,
        "metaflow_three.py": METAFLOW,
        "prefect_three.py": PREFECT,
        "justfile": JUST,
        "Taskfile.yml": TASK,
    }
    project = Project(folder / "startup", THREE, files=files)
    prefect = {
        "PREFECT_HOME": str(project.folder / "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
    }

    def command(name: str, *words: str, at_most: int = 1000, **environ: str) -> Contender:
        return Contender(name, words, folder=project.folder, environ=environ, at_most=at_most)

    quick = ("--quiet", "--no-pylint", "run")
    nothing = command("python -c pass", str(OWN / "python"), "-c", "pass")
    click = command("python -c 'import click'", str(OWN / "python"), "-c", "import click")
    return [
        Workload(
            "version",
            "process",
            [nothing, command("stagerun --version", STAGERUN, "--version")],
            floor=nothing.name,
            rounds=21,
        ),
        Workload(
            "commands",
            "process",
            [
                click,
                command("stagerun --help", STAGERUN, "--help"),
                command("stagerun status", STAGERUN, "status"),
            ],
            floor=click.name,
            rounds=21,
        ),
        Workload(
            "three steps",
            "process",
            [
                click,
                project.run("stagerun run, plain", "Three"),
                project.run("stagerun run, terminal", "Three", progress="tty"),
                command("just", str(BIN / "just"), "three"),
                command("go-task", str(BIN / "task")),
                command("invoke", str(BIN / "invoke"), "--write-pyc", "three"),
                command("doit", str(BIN / "doit")),
                command("nox", str(BIN / "nox"), "--no-venv"),
                command("DBOS", PYTHON, "dbos_three.py", "3", at_most=5),
                command("Metaflow", PYTHON, "metaflow_three.py", *quick, at_most=3, USER="bench"),
                command("Prefect", PYTHON, "prefect_three.py", at_most=2, **prefect),
            ],
            floor=click.name,
            rounds=15,
        ),
    ]
