"""Limits on a parameter's value beyond its type: `msgspec.Meta`, checked by msgspec and described in words."""

from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from stagerun.text.wording import count


_WORDS: Final = {
    "ge": "be at least {}",
    "gt": "be more than {}",
    "le": "be at most {}",
    "lt": "be less than {}",
    "multiple_of": "be a multiple of {}",
    "pattern": "match '{}'",
    "min_length": "have at least {}",
    "max_length": "have at most {}",
}


class Bound(Struct, frozen=True):
    """One bound.

    Attributes:
        type: the type of the value; `list` for a list of anything.
        name: the name of the limit in `msgspec.Meta`.
        limit: the limit itself.

    """

    type: Any
    name: str
    limit: Any

    def holds(self, value: Any) -> bool:
        """Return True if `value` is within this bound; TypeError or ValueError if the type can't have this bound."""
        try:
            msgspec.convert(value, Annotated[self.type, Meta(**{self.name: self.limit})])
        except msgspec.ValidationError:
            return False
        return True

    @property
    def words(self) -> str:
        """What the value must do: "be at least 1"."""
        if self.name == "tz":
            return "have a time zone" if self.limit else "have no time zone"
        limit = self.limit
        if self.name.endswith("_length"):
            limit = count(limit, "item" if self.type is list else "character")
        return _WORDS[self.name].format(limit)


def declared(kind: Any, notes: Iterable[object]) -> tuple[Bound, ...]:
    """Return the bounds that `notes`, the metadata of an Annotated, set on values of type `kind`."""
    metas = [each for each in notes if isinstance(each, Meta)]
    limits = ((name, getattr(meta, name)) for meta in metas for name in (*_WORDS, "tz"))
    return tuple(Bound(kind, name, limit) for name, limit in limits if limit is not None)


def unfit(bounds: Iterable[Bound]) -> Bound | None:
    """Return the first bound that its type can't have, or None."""
    for each in bounds:
        try:
            each.holds(None)
        except (TypeError, ValueError):
            return each
    return None


def told(bounds: Iterable[Bound]) -> str:
    """Return what a value must do, "be at least 1 and be at most 9", or "" without bounds."""
    return " and ".join(each.words for each in bounds)
