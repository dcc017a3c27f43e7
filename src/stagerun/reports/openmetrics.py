"""The last runs of all operations as metrics, for node_exporter's textfile folder and everything else that reads them.

The text is OpenMetrics 1.0 and, since it has gauges alone and no timestamps, Prometheus' text format 0.0.4 as well.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from msgspec import Struct

from stagerun.states import RunState
from stagerun.view import RunView


class Latest(Struct, frozen=True, kw_only=True):
    """The last run of an operation, and its last successful one or None.

    The names are all that the operation was called by: a series goes on whichever of them the last run bears.
    """

    last: RunView
    succeeded: RunView | None
    names: Collection[str]

    @property
    def label(self) -> str:
        """The shortest name: of a recipe and its file, that is the recipe."""
        return min(self.names, key=lambda name: (len(name), name))


_HELP: Final = {
    "stagerun_last_run_timestamp_seconds": "When the last run was created.",
    "stagerun_last_run_duration_seconds": "How long the last run took, or has taken so far.",
    "stagerun_last_run_id": "The id of the last run.",
    "stagerun_last_run_state": "1 for the state of the last run, 0 for every other.",
    "stagerun_last_success_timestamp_seconds": "When the last successful run ended.",
    "stagerun_last_success_duration_seconds": "How long the last successful run took.",
}


def report(latest: Iterable[Latest], now: float) -> str:
    """Return the metrics."""
    samples: dict[str, list[str]] = {name: [] for name in _HELP}
    for each in latest:
        for name, labels, value in _samples(each, now):
            samples[name].append(f"{name}{{{labels}}} {value}")
    return "".join(f"{line}\n" for line in _lines(samples))


def _lines(samples: dict[str, list[str]]) -> Iterator[str]:
    for name, told in samples.items():
        if told:
            yield f"# HELP {name} {_HELP[name]}"
            yield f"# TYPE {name} gauge"
            yield from told
    yield "# EOF"


def _samples(each: Latest, now: float) -> Iterator[tuple[str, str, str]]:
    """Yield the name, labels and value of each sample."""
    last = each.last
    operation = f'operation="{_escaped(each.label)}"'
    yield "stagerun_last_run_timestamp_seconds", operation, f"{last.created_on:.3f}"
    yield "stagerun_last_run_duration_seconds", operation, f"{last.elapsed(now):.3f}"
    yield "stagerun_last_run_id", operation, str(last.id)
    for state in RunState:
        yield "stagerun_last_run_state", f'{operation},state="{state}"', str(int(last.state is state))
    if each.succeeded is not None:
        ended = each.succeeded.finished_on or each.succeeded.created_on
        yield "stagerun_last_success_timestamp_seconds", operation, f"{ended:.3f}"
        yield "stagerun_last_success_duration_seconds", operation, f"{each.succeeded.elapsed(now):.3f}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
