"""Which CI system runs us, and what it reports about the job: read from the variables that each system documents."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from stagerun.errors import UsageError


class System(StrEnum):
    """A CI system that shows logs in its own way; OTHER is any other CI system, NONE is no CI."""

    GITHUB = "github"
    GITLAB = "gitlab"
    AZURE = "azure"
    BUILDKITE = "buildkite"
    TEAMCITY = "teamcity"
    OTHER = "other"
    NONE = "none"


AUTO: Final = "auto"

# Systems whose log view shows colours although it is not a terminal.
COLOURED: Final = frozenset({System.GITHUB, System.GITLAB, System.AZURE, System.BUILDKITE})
# Systems that signal only the shell of a step, which does not forward the signal.
SIGNALS_THE_SHELL: Final = frozenset({System.GITHUB, System.AZURE})

# Systems without folds, each by a variable that it sets.
_OTHERS: Final = ("CIRCLECI", "TRAVIS", "APPVEYOR", "DRONE", "CIRRUS_CI", "CODEBUILD_BUILD_ARN")
_ACTORS: Final = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_REQUESTEDFOR", "BUILDKITE_BUILD_CREATOR")
_WORKSPACES: Final = {System.GITHUB: "GITHUB_WORKSPACE", System.AZURE: "BUILD_SOURCESDIRECTORY"}
_NO: Final = ("", "0", "false")
_NAMES: Final = frozenset(System)


def detect(environ: Mapping[str, str]) -> System:
    """Return the system that `environ` indicates; STAGERUN_CI overrides the detection."""
    if (named := environ.get("STAGERUN_CI")) in _NAMES:
        return System(named)
    if environ.get("GITHUB_ACTIONS") == "true":
        return System.GITHUB
    if environ.get("GITLAB_CI"):
        return System.GITLAB
    if environ.get("TF_BUILD") == "True":
        return System.AZURE
    if environ.get("BUILDKITE") == "true":
        return System.BUILDKITE
    if environ.get("TEAMCITY_VERSION"):
        return System.TEAMCITY
    jenkins = environ.get("JENKINS_URL") and environ.get("BUILD_ID")
    if jenkins or any(environ.get(name) for name in _OTHERS) or environ.get("CI", "").lower() not in _NO:
        return System.OTHER
    return System.NONE


def by_name(name: str) -> System:
    """Return the system called `name`; if there is none, a UsageError lists the names."""
    try:
        return System(name)
    except ValueError:
        raise UsageError(f"there is no CI system {name!r}", "systems: " + ", ".join([AUTO, *System])) from None


def actor(environ: Mapping[str, str]) -> str | None:
    """Return the person who started the job according to the CI system, or None."""
    return next((environ[name] for name in _ACTORS if environ.get(name)), None)


def in_workspace(file: str, system: System, environ: Mapping[str, str]) -> str | None:
    """Return `file` relative to the checkout, as the system links to it; None for a file outside."""
    from pathlib import Path

    folder = environ.get(_WORKSPACES.get(system, ""))
    if not folder or not Path(file).is_relative_to(folder):
        return None
    return Path(file).relative_to(folder).as_posix()
