"""Retries: tenacity with waits that are logged, and that a cancel interrupts."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stagerun.errors import ChildFailed, StagerunError


_T = TypeVar("_T")


def attempt(
    call: Callable[[], _T], attempts: int, *, sleep: Callable[[float], None], tell: Callable[[str], None]
) -> _T:
    """Call `call` up to `attempts` times and return its result.

    After an exception it waits as `pause` says, if that exception `is_worth_it`.

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
        tell(next_try(error, state.attempt_number, attempts, wait))

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=lambda state: pause(state.attempt_number),
        retry=tenacity.retry_if_exception(is_worth_it),
        sleep=sleep,
        before_sleep=report,
        reraise=True,
    )
    return retrying(call)


async def attempt_async(
    call: Callable[[], Awaitable[_T]],
    attempts: int,
    *,
    sleep: Callable[[float], Awaitable[None]],
    tell: Callable[[str], None],
) -> _T:
    """Do what `attempt` does, in an event loop."""
    for number in range(1, attempts):
        try:
            return await call()
        except Exception as error:
            if not is_worth_it(error):
                raise
            wait = pause(number)
            tell(next_try(error, number, attempts, wait))
        await sleep(wait)
    return await call()


def is_worth_it(error: BaseException) -> bool:
    """Return False for a mistake in the use of stagerun, and for a cancel."""
    return isinstance(error, Exception) and (isinstance(error, ChildFailed) or not isinstance(error, StagerunError))


def pause(attempt: int) -> float:
    """Return the seconds to wait after that attempt: 1, 2, 4, … up to 60, plus a random part of a second."""
    return min(2.0 ** (attempt - 1), 60.0) + random.random()  # noqa: S311 - not for security


def next_try(error: BaseException | None, attempt: int, attempts: int, wait: float) -> str:
    """Return what is told of a failure that is retried, in one line."""
    why = str(error).partition("\n")[0]
    if not isinstance(error, ChildFailed):
        why = f"{type(error).__name__}: {why}"
    return f"attempt {attempt} of {attempts} failed ({why}), trying again in {wait:.1f}s"
