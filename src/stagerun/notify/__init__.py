"""Telling others of a run: web services, commands, a collector of traces. Nothing is loaded that is not asked for.

A wing of its own beside the displays, because nobody here writes to a stream of this process, and all of it may fail or
be slow without the run or a person noticing. Like a display, a teller gets events and views, and never touches the
journal, the recipe or the runner. What it could not tell it keeps in `failures`, which the command prints at the end.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stagerun.errors import UsageError
from stagerun.machine import notices
from stagerun.notify.teller import Teller
from stagerun.text.masking import Masker


_NOTIFY: Final = "STAGERUN_NOTIFY"
_OTEL: Final = "STAGERUN_OTEL"
NOBODY: Final = "none"
_SWITCH: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def chosen(settings: Mapping[str, Any], environ: Mapping[str, str], *, folder: Path, masker: Masker) -> list[Teller]:
    """Return those who tell others of a run, as the settings and the environment say.

    Args:
        settings: `[tool.stagerun]`.
        environ: the environment; its variables come before the settings.
        folder: the project's root, where commands are started.
        masker: learns the secrets that the environment holds for them.

    """
    tellers = list[Teller]()
    if environ.get(_NOTIFY):
        notify = [] if environ[_NOTIFY] == NOBODY else notices.read(environ[_NOTIFY], _NOTIFY)
    else:
        notify = notices.read(settings.get("notify", []), "[tool.stagerun] notify")
    if notify:
        from stagerun.notify.notifier import Notifier

        tellers.append(Notifier(notify, environ=environ, folder=folder, masker=masker))
    if _switched_on(environ, default=settings.get("otel", False)) and not _turned_off(environ):
        tellers.append(_traces(environ))
    return tellers


def _switched_on(environ: Mapping[str, str], *, default: bool) -> bool:
    word = environ.get(_OTEL, "")
    return switched(word, _OTEL) if word else default


def switched(word: str, where: str) -> bool:
    """Return whether a word switches something on; UsageError if it says neither."""
    if word.lower() not in _SWITCH:
        raise UsageError(f"{where} can't be {word!r}", "one of " + ", ".join(_SWITCH))
    return _SWITCH[word.lower()]


def _turned_off(environ: Mapping[str, str]) -> bool:
    """Return True if a variable of OpenTelemetry itself says that there are no traces."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return disabled or environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"


def _traces(environ: Mapping[str, str]) -> Teller:
    teller = Teller()
    try:
        from stagerun.notify.traces import Traces

        teller = Traces(environ)
    except ImportError as error:
        teller.failures.append(f"there are no traces, because {error.name} is missing: pip install 'stagerun[otel]'")
    except Exception as error:
        teller.failures.append(f"there are no traces: {error}")
    return teller
