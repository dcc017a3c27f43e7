"""Running an earlier run's operation again: its folder, its recipe, and its parameters."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from stagerun.authoring import finding
from stagerun.authoring.operation import LiveOperation
from stagerun.authoring.params import Parameter
from stagerun.commands import parameters, printing
from stagerun.commands.execution import made
from stagerun.commands.options import option
from stagerun.commands.surroundings import Surroundings
from stagerun.errors import UsageError
from stagerun.machine import settings
from stagerun.text.masking import MASK
from stagerun.text.secrets import Secret
from stagerun.view import RunView


set_option: Final = option("--set", "set_", metavar="NAME=VALUE", multiple=True, help="Change a parameter.")
set_file_option: Final = option(
    "--set-file", "files", metavar="NAME=PATH", multiple=True, help="Read a parameter from a file."
)


def enter_folder(here: Surroundings, view: RunView) -> None:
    """Change to the folder that a run's lineage was started in, if it is known; UsageError if it is gone."""
    plan = view.plan
    if not plan.folder:
        return
    # A project can move, and its journal moves with it.
    if here.journal.parent.name == ".stagerun":
        root = here.journal.parent.parent
    else:
        root = Path(plan.project) if Path(plan.project).is_dir() else here.project.root
    folder = root / plan.folder
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(
            f"run {view.id} was started in {folder}, which can't be entered: {error.strerror}",
            "bring the folder back, or start anew with 'stagerun run'",
        ) from None
    _ = here.journal  # stays the one that the user named
    here.project = settings.find(Path.cwd())


def find(view: RunView, project: settings.Project) -> finding.Found:
    """Load the operation of a run: by its target, or if that is gone from the file that it came from."""
    plan = view.plan
    source = Path(plan.source) if plan.source and Path(plan.source).is_file() else None
    if source is not None and not plan.folder:
        return finding.load(plan.target, project, source)  # in the current folder, the target may be another project's
    try:
        return finding.load(plan.target, project)
    except UsageError:
        if source is None:
            raise
        return finding.load(plan.target, project, source)


def make(
    here: Surroundings,
    found: finding.Found,
    view: RunView,
    changes: Sequence[str],
    files: Sequence[tuple[str, str]],
) -> LiveOperation:
    """Return the operation with the parameters of the run, changed by `--set` and by the texts of `--set-file`."""
    return made(here, found, view.owner, _parameters(here, found.operation, view, changes, files))


def changed(operation: LiveOperation, view: RunView) -> tuple[str, ...]:
    """Return the parameters that have other values than in the run; what was a secret can't be compared."""
    before = view.plan.params
    return tuple(name for name, value in operation.params().items() if before.get(name, value) not in (value, MASK))


def texts(files: Sequence[str]) -> list[tuple[str, str]]:
    """Return (name, text) of each `--set-file`, whose path is relative to the folder the user is in."""
    return [(name, parameters.read_value(name, path)) for name, path in map(_pair("--set-file"), files)]


def _parameters(
    here: Surroundings,
    operation: type[LiveOperation],
    view: RunView,
    changes: Sequence[str],
    files: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Return the parameters of the run with the changes; secrets were never stored and must be given again."""
    values = {name: value for name, value in view.plan.params.items() if name in operation.parameters}
    for name in (each for each in view.plan.params if each not in values):
        what = f"{view.plan.target} has no parameter {name!r} any more, so its value in run {view.id} is not used"
        printing.say(here, f"warning: {what}", "if it is called otherwise now: --set NAME=VALUE")
    changed = dict(_changed(operation, changes, files))
    for name, parameter in operation.parameters.items():
        if parameter.secret:
            values.pop(name, None)
            if name not in changed and (secret := _secret(here, parameter, view)) is not None:
                values[name] = secret
        elif name not in changed and values.get(name) == MASK:
            raise UsageError(
                f"the parameter {name!r} held a secret and was not stored",
                f"give it again: --set-file {name}=PATH",
            )
    return values | changed


def _changed(
    operation: type[LiveOperation], changes: Sequence[str], files: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, Any]]:
    for name, value in map(_pair("--set"), changes):
        parameter = operation.parameters.get(name)
        if parameter and parameter.secret:
            raise parameters.not_on_command_line(parameter, f"--set-file {name}=PATH")
        yield name, value.split(",") if parameter and parameter.many else value
    for name, value in files:
        parameter = operation.parameters.get(name)
        yield name, value.split(",") if parameter and parameter.many else value


def _pair(way: str) -> Callable[[str], tuple[str, str]]:
    """Return the function that splits the argument of an option into a parameter's name and a text."""

    def split(change: str) -> tuple[str, str]:
        name, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"{way} can't be {change!r}", f"give it as {way} name=value")
        return name.strip().replace("-", "_"), value

    return split


def _secret(here: Surroundings, parameter: Parameter, view: RunView) -> Secret | None:
    return parameters.secret_value(
        here,
        parameter,
        needed=parameter.required or view.plan.params.get(parameter.name) is not None,
        by_file=f"--set-file {parameter.name}=PATH",
        why=": it is never stored",
    )
