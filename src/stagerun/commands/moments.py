"""Option types of the commands that select runs: a moment, a state."""

from datetime import datetime
from typing import Any

import click

from stagerun.errors import UsageError
from stagerun.states import RunState


class Moment(click.ParamType[float]):
    """A date or time in ISO 8601, or how long ago (`90m`, `2h`, `7d`), as seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
        if value[-1:] in units and value[:-1].isdecimal():
            return datetime.now().astimezone().timestamp() - int(value[:-1]) * units[value[-1]]
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            raise UsageError(
                f"{param.opts[0] if param else 'it'} can't be {value!r}",
                "give 2026-01-31, 2026-01-31T10:00, 90m, 2h or 7d",
            ) from None


class State(click.ParamType[RunState]):
    name = "state"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RunState:
        try:
            return RunState(value.lower().replace("-", "_").replace(" ", "_"))
        except ValueError:
            raise UsageError(f"there is no state {value!r}", "states: " + ", ".join(RunState)) from None
