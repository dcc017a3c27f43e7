"""What a recipe author imports, and the version: nothing else lives here.

The names are loaded on first use: `stagerun --version` costs no more than Python itself.
"""

TYPE_CHECKING = False  # as in typing, whose import would take as long as Python's own start
if TYPE_CHECKING:
    from stagerun.authoring.async_progress import AsyncProgress as AsyncProgress
    from stagerun.authoring.operation import LiveOperation as LiveOperation
    from stagerun.authoring.progress import Progress as Progress
    from stagerun.errors import ChildFailed as ChildFailed
    from stagerun.errors import ItemsFailed as ItemsFailed
    from stagerun.errors import OperationCancelled as OperationCancelled
    from stagerun.text.secrets import Secret as Secret

__version__ = "0.1.0"
__all__ = [
    "AsyncProgress",
    "ChildFailed",
    "ItemsFailed",
    "LiveOperation",
    "OperationCancelled",
    "Progress",
    "Secret",
]

_HOMES = {
    "AsyncProgress": "stagerun.authoring.async_progress",
    "ChildFailed": "stagerun.errors",
    "ItemsFailed": "stagerun.errors",
    "LiveOperation": "stagerun.authoring.operation",
    "OperationCancelled": "stagerun.errors",
    "Progress": "stagerun.authoring.progress",
    "Secret": "stagerun.text.secrets",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'stagerun' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
