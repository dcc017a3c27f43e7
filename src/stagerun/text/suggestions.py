"""Hints for an unknown name: the nearest known one, or all of them."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the name in `known` most similar to `name`, or None; a `likeness` of 1.0 asks for equal names."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), 1, likeness)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """`did you mean 'orders'?`, or None if no name is similar."""
    near = nearest(name, known)
    return None if near is None else f"did you mean {near!r}?"


def hint(name: str, known: Iterable[str], title: str) -> str:
    """`did you mean 'orders'?`, else `recipes: nightly, orders`, else `recipes: none`."""
    names = list(known)
    return did_you_mean(name, names) or f"{title}: {', '.join(names) or 'none'}"
