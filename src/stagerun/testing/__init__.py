"""The test kit: what tests of recipes import. Names only; they are loaded on first use, so that pytest starts fast."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagerun.testing.bench import Bench as Bench
    from stagerun.testing.clock import HandClock as HandClock
    from stagerun.testing.faults import NotReached as NotReached
    from stagerun.testing.faults import PlannedFailure as PlannedFailure
    from stagerun.testing.golden import timeless as timeless
    from stagerun.testing.programs import NotStubbed as NotStubbed
    from stagerun.testing.runs import Plan as Plan
    from stagerun.testing.runs import Run as Run

__all__ = ["Bench", "HandClock", "NotReached", "NotStubbed", "Plan", "PlannedFailure", "Run", "timeless"]

_HOMES = {
    "Bench": "bench",
    "HandClock": "clock",
    "NotReached": "faults",
    "NotStubbed": "programs",
    "Plan": "runs",
    "PlannedFailure": "faults",
    "Run": "runs",
    "timeless": "golden",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'stagerun.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"stagerun.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__]
