"""Which functions have to be awaited, and what is said of coroutines that nobody awaits. Nothing here loads asyncio."""

import inspect
from types import CoroutineType
from typing import TypeVar

from stagerun.errors import RecipeError


_T = TypeVar("_T")


def is_coroutine_function(fn: object) -> bool:
    """Return True if calling `fn` makes a coroutine: an `async def`, a partial of one, an object with such a call."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004 - it is not asked whether it can be called


def is_only_async(items: object) -> bool:
    """Return True if only `async for` can read `items`."""
    return hasattr(items, "__aiter__") and not hasattr(items, "__iter__")


def plain(value: _T, call: str) -> _T:
    """Return what a plain function returned; RecipeError if it is a coroutine, whose work nobody has done."""
    if isinstance(value, CoroutineType):
        value.close()
        raise RecipeError(
            f"p.{call}: the function returned the coroutine {value.__qualname__}, which nobody awaits",
            f"in async def run: await p.{call}(...) with the coroutine function itself and its arguments, not a lambda",
        )
    return value


def refuse_coroutine_function(fn: object, call: str) -> None:
    """Raise RecipeError if a run that is not async has to call `fn`."""
    if is_coroutine_function(fn):
        raise RecipeError(
            f"p.{call}: {getattr(fn, '__qualname__', fn)} is a coroutine function, and run is not async",
            f"write async def run(self, p), and await p.{call}(...) in it",
        )


def refuse_async_items(items: object, call: str) -> None:
    """Raise RecipeError if a `for` statement can't read `items`."""
    if is_only_async(items):
        raise RecipeError(
            f"p.{call}: an {type(items).__name__} is read by async for, and run is not async",
            "write async def run(self, p)",
        )
