"""How a run ended, decided in one place from its error, its session and its interrupts."""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from stagerun import events, exit_codes
from stagerun.authoring.session import Session
from stagerun.errors import Interruption, OperationCancelled, TimeLimitExceeded
from stagerun.machine.interrupts import Interrupts
from stagerun.states import RunState


_SWALLOWED: Final = "  the recipe caught this error and went on without what was refused"


def ending(
    error: BaseException | None,
    session: Session | None,
    interrupts: Interrupts,
    *,
    seconds: float,
    source: str | None,
    mask: Callable[[str], str],
) -> events.RunFinished:
    """Return the event that ends a run.

    Args:
        error: what the recipe raised, or None.
        session: the session of the recipe, or None if it never began.
        interrupts: the signals and time limits that stopped it.
        seconds: its duration.
        source: the recipe's file.
        mask: masks the secrets in a text.

    """
    blocks = session.blocks if session else None
    broken = blocks.broken_stage if blocks else None
    stage = broken if blocks and blocks.broken is error else None

    def failure(error: BaseException) -> events.Failure:
        from stagerun.text import tracebacks

        return tracebacks.failure(error, stage, source=source, mask=mask)

    if interrupts.expired is not None and interrupts.signal is None:
        return events.RunFinished(
            state=RunState.TIMED_OUT,
            seconds=seconds,
            exit_code=exit_codes.TIMED_OUT,
            error=_limit(error, interrupts.expired, broken, source, mask),
        )
    if interrupts.stopping or isinstance(error, OperationCancelled | KeyboardInterrupt):
        signal = interrupts.signal or ("SIGINT" if isinstance(error, KeyboardInterrupt) else None)
        own = error is not None and not isinstance(error, Interruption | KeyboardInterrupt | SystemExit)
        return events.RunFinished(
            state=RunState.CANCELLED,
            seconds=seconds,
            exit_code=exit_codes.OF_SIGNAL[signal or "SIGTERM"],
            signal=signal,
            error=failure(error) if own and error else None,
        )
    code = exit_codes.SUCCEEDED
    if isinstance(error, SystemExit):
        code = exit_code(error.code) or (exit_codes.FAILED if blocks and blocks.broken is error else code)
    elif error is not None:
        code = exit_codes.FAILED
    why: events.Failure | None = None
    if error is not None and code:
        why = failure(error)
    elif session is not None and session.failure is not None:
        code, why = exit_codes.FAILED, events.Failure(type="", message=session.failure)
    elif session is not None and session.refusal is not None:
        code, why = exit_codes.FAILED, failure(session.refusal)
        why = replace(why, traceback=f"{why.traceback}\n{_SWALLOWED}")
    elif blocks is not None and blocks.unentered:
        forgotten = blocks.unentered[0]
        file, line = forgotten.place
        code, why = exit_codes.FAILED, events.Failure(type="", message=forgotten.message, file=file, line=line)
    state = RunState.FAILED if code else RunState.SUCCEEDED
    return events.RunFinished(state=state, seconds=seconds, exit_code=code, error=why)


def _limit(
    error: BaseException | None, told: str, stage: str | None, source: str | None, mask: Callable[[str], str]
) -> events.Failure:
    """Return why a run timed out, with the line at which the limit struck, unless the recipe swallowed it."""
    if error is None:
        return events.Failure(type="", message=told, stage=stage)
    from stagerun.text import tracebacks

    struck = tracebacks.interrupted(error, TimeLimitExceeded, source=source, mask=mask)
    return replace(struck, type="", message=told, stage=stage)


def exit_code(code: object) -> int:
    """Return the exit code of a SystemExit, clamped to the range that a recipe may use."""
    if code is None or code == 0:
        return exit_codes.SUCCEEDED
    return max(1, min(exit_codes.LARGEST_OF_A_RECIPE, code)) if isinstance(code, int) else exit_codes.FAILED
