"""Retries: tenacity with waits that are logged, and that a cancel interrupts."""

from collections.abc import Callable
from typing import TypeVar

from stagerun.errors import StagerunError


_T = TypeVar("_T")


def attempt(
    call: Callable[[], _T], attempts: int, *, sleep: Callable[[float], None], tell: Callable[[str], None]
) -> _T:
    """Call `call` up to `attempts` times and return its result.

    After an exception it waits 1 s, 2 s, 4 s, … up to a minute, each plus a random part of a second. A mistake in
    the use of stagerun is not retried, nor is a cancel, which is not an Exception.

    Args:
        call: what to try.
        attempts: the maximum number of calls.
        sleep: waits the given seconds, or raises.
        tell: called with a message about each failure that is retried.

    """
    if attempts <= 1:
        return call()
    import tenacity

    def report(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        number = f"attempt {state.attempt_number} of {attempts}"
        tell(f"{number} failed ({type(error).__name__}: {error}), trying again in {wait:.1f}s")

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential_jitter(initial=1, exp_base=2, max=60, jitter=1),
        retry=tenacity.retry_if_exception_type(Exception) & tenacity.retry_if_not_exception_type(StagerunError),
        sleep=sleep,
        before_sleep=report,
        reraise=True,
    )
    return retrying(call)
