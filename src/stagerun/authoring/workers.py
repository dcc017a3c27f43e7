"""What all workers of a `p.map` have in common: an executor of `concurrent.futures` calls a function."""

from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Executor, Future
from typing import Any, Generic, TypeVar

from stagerun.authoring.pool_process import Answer


_T = TypeVar("_T")


class Workers(Generic[_T]):
    """What calls the function of a `p.map`: each subclass decides how items are sent and how they come back.

    Attributes:
        ahead: how many items may be in flight.

    """

    def __init__(self, fn: Callable[[_T], Any], executor: Executor, ahead: int) -> None:
        self._fn = fn
        self._executor = executor
        self.ahead = ahead

    def submit(self, item: _T, *, last_try: bool) -> "Future[Any]":
        """Start an item; if it fails on its `last_try`, no more items start."""
        return self._executor.submit(self._fn, item)

    def answer(self, future: "Future[Any]") -> Answer:
        """Return how a finished item went."""
        try:
            error = future.exception()
        except CancelledError:
            return Answer([], started=False)
        return Answer([], error) if error is not None else Answer([], result=future.result())

    def stop(self, futures: Iterable["Future[Any]"]) -> None:
        """Start no more items."""
        for future in futures:
            future.cancel()

    def close(self, *, patient: bool) -> None:
        """Release the executor; wait for running items only if `patient`."""
