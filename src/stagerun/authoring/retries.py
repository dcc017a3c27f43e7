"""Trying again: tenacity with waits that are told, and that a cancel breaks."""

from collections.abc import Callable
from typing import TypeVar

from stagerun.errors import StagerunError


_T = TypeVar("_T")


def attempt(
    call: Callable[[], _T], attempts: int, *, sleep: Callable[[float], None], tell: Callable[[str], None]
) -> _T:
    """Return what `call` returns, called up to `attempts` times.

    After an exception it waits 1 s, 2 s, 4 s, … up to a minute, each with a random part of a second. A mistake in
    the use of stagerun is not tried again, and neither is a cancel, which is no Exception.

    Args:
        call: what to try.
        attempts: how often at the most.
        sleep: waits so many seconds, or raises.
        tell: told of each failure that is tried again.

    """
    if attempts <= 1:
        return call()
    import tenacity

    def told(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        number = f"attempt {state.attempt_number} of {attempts}"
        tell(f"{number} failed ({type(error).__name__}: {error}), trying again in {wait:.1f}s")

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential_jitter(initial=1, exp_base=2, max=60, jitter=1),
        retry=tenacity.retry_if_exception_type(Exception) & tenacity.retry_if_not_exception_type(StagerunError),
        sleep=sleep,
        before_sleep=told,
        reraise=True,
    )
    return retrying(call)
