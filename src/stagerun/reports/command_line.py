"""The command that starts a run like one that is recorded."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from stagerun.text import json_text
from stagerun.text.masking import MASK
from stagerun.view import RunView


def repeat(view: RunView) -> str:
    """Return the command line, for a shell; what was secret has to come from the environment."""
    hidden = [name for name, value in view.plan.params.items() if value == MASK]
    words = [f"STAGERUN_{name.upper()}=…" for name in hidden]
    told = ["stagerun", "run", *where(view), view.plan.target, *options(view.plan.params)]
    words += [shlex.quote(word) for word in told]
    return " ".join(words)


def where(view: RunView) -> Iterator[str]:
    """Yield the option that leads to the place where a run has worked, nothing for a run in its own process."""
    if view.plan.place is not None:
        yield f"--on={view.plan.place}"


def options(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield an option for each recorded parameter; `--name=value`, so that a value may begin with a dash."""
    for name, value in params.items():
        option = name.replace("_", "-")
        if value is None or value == MASK:
            continue
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        elif isinstance(value, list):
            yield from (f"--{option}={_text(each)}" for each in value)
        else:
            yield f"--{option}={_text(value)}"


def literal(text: str) -> str:
    """Return a text as an option takes it as it is, whatever it begins with."""
    return f"@@{text}" if text.startswith("@") or text == "-" else text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return json_text.dumps(value)
    return literal(value) if value != "-" else value  # the name of a file, most likely
