"""The displays of a run, and the functions that choose one and its dialect; only the chosen one is imported.

A display gets events and draws from views; it never touches the journal, the recipe or the runner.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from stagerun.errors import UsageError
from stagerun.machine.ci import System
from stagerun.render.dialect import Dialect, Other
from stagerun.render.output import Output
from stagerun.text.masking import Masker


if TYPE_CHECKING:
    from stagerun.render.jsonl import JsonLines
    from stagerun.render.live import Live
    from stagerun.render.plain import Plain
    from stagerun.render.quiet import Quiet

MODES: Final = ("auto", "tty", "plain", "json", "quiet")


def choose(
    mode: str, output: Output, *, dialect: Dialect, live: bool, colour: bool, timestamps: bool, masker: Masker
) -> "Plain | Live | JsonLines | Quiet":
    """Return the display for `mode`.

    Args:
        mode: one of MODES; `auto` is `tty` if that can work, else `plain`.
        output: the stream that it writes to.
        dialect: the dialect of the CI system.
        live: True if `auto` may redraw: a capable terminal outside CI.
        colour: True if colours may be used.
        timestamps: True for a time before each plain line.
        masker: the secrets of the run.

    """
    if mode == "auto":
        mode = "tty" if live else "plain"
    match mode:
        case "tty":
            if not output.isatty():
                raise UsageError("--progress tty needs a terminal, and the output is not one", "use --progress plain")
            from stagerun.render.live import Live

            return Live(output, colour=colour, dialect=dialect)
        case "plain":
            from stagerun.render.plain import Plain

            colour = colour and dialect.coloured
            return Plain(output, timestamps=timestamps, dialect=dialect, colour=colour, masker=masker)
        case "json":
            from stagerun.render.jsonl import JsonLines

            return JsonLines(output)
        case "quiet":
            from stagerun.render.quiet import Quiet

            return Quiet(output, dialect=dialect)
        case _:
            raise _unknown(mode)


def check(mode: str) -> None:
    """Raise UsageError for a word that is no mode."""
    if mode not in MODES:
        raise _unknown(mode)


def _unknown(mode: str) -> UsageError:
    return UsageError(f"there is no progress mode {mode!r}", "modes: " + ", ".join(MODES))


def dialect_of(system: System, environ: Mapping[str, str], *, unicode: bool = True) -> Dialect:
    """Return the dialect of `system`; `unicode` is True if the stream can show Unicode."""
    match system:
        case System.NONE:
            return Dialect()
        case System.OTHER:
            return Other()
        case _:
            from stagerun.render.ci import FOLDING

            return FOLDING[system](environ, unicode=unicode)
