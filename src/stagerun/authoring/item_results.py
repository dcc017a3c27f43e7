"""The results of a resumable map: what earlier runs stored, and what this one stores."""

from collections.abc import Callable
from typing import Any, Final

from stagerun import events
from stagerun.authoring import stored_values
from stagerun.authoring.fingerprints import fingerprint
from stagerun.authoring.keys import Claim, Recorder
from stagerun.authoring.resumable_loop import POSITION_SECONDS
from stagerun.errors import RecipeError
from stagerun.text import json_text, wording


_LOOKS: Final = 16  # items that are looked at again when they are finished


class ItemResults:
    """The results under one key.

    Args:
        claim: the key.
        kind: the type of a result, or None for what JSON restores exactly by itself.
        recorder: what storing needs.
        monotonic: the clock for durations, in seconds.

    """

    def __init__(self, claim: Claim, kind: Any, recorder: Recorder, monotonic: Callable[[], float]) -> None:
        self.claim = claim
        self._kind = kind
        self._recorder = recorder
        self._monotonic = monotonic
        self._known: dict[int, tuple[int | None, Any]] = {}
        self._new: list[tuple[int, int | None, Any]] = []
        self._part = len(claim.recalled)
        self._total: int | None = None
        self._stored_on = monotonic()
        self._looks = _LOOKS
        for _, stored in claim.recalled:
            assert isinstance(stored, events.ResultsStored)
            self._total = stored.total
            for item, mark, value in zip(stored.items, stored.marks, stored.values, strict=True):
                self._known[item] = mark, value

    def __len__(self) -> int:
        """How many results earlier runs have stored."""
        return len(self._known)

    def say(self, total: int | None) -> None:
        """Tell how many results are taken over, and from where; RecipeError if they can't belong to `total` items."""
        if self._known:
            known = None not in (total, self._total) and total != self._total
            if known and all(mark is None for mark, _ in self._known.values()):
                raise self._other_items(f"there were {self._total:,}, now {total:,}, and nothing tells them apart")
            runs = sorted({run for run, _ in self.claim.recalled})
            where = f"run {runs[0]}" if len(runs) == 1 else f"runs {', '.join(map(str, runs[:-1]))} and {runs[-1]}"
            of = f" of {self._total:,}" if self._total is not None else ""
            results = wording.plural(len(self._known) if self._total is None else self._total, "result")
            self._recorder.tell(f"map {self.claim.key}: {len(self._known):,}{of} {results} taken from {where}")

    def refused(self, error: RecipeError) -> None:
        self._recorder.refused(error)

    def mark(self, item: object) -> int | None:
        return fingerprint(item, self._recorder.masker.holds)

    def known(self, position: int, mark: int | None) -> bool:
        """Return True if the result of that item is stored; RecipeError if it belongs to another item."""
        if position not in self._known:
            return False
        before = self._known[position][0]
        if None not in (before, mark) and before != mark:
            raise self._other_items(f"item {position + 1:,} is another one now")
        return True

    def recalled(self, position: int) -> Any:
        """Return a stored result."""
        value = self._known[position][1]
        return value if self._kind is None else stored_values.recalled(value, self._kind, self._what(position))

    def add(self, position: int, mark: int | None, result: object) -> None:
        """Note a new result; RecipeError if it would come back different."""
        what = self._what(position)
        if self._kind is None:
            plain = stored_values.exact(result, what)
        else:
            plain = stored_values.to_builtins(result, self._kind, what)
        self._new.append((position, mark, plain))

    def look_at(self, item: object, mark: int | None, result: object) -> None:
        """Warn if the first items are changed, and nothing is returned for them."""
        if self._looks and result is None:
            self._looks -= 1
            if self.mark(item) != mark:
                self._looks = 0
                self._recorder.warn(
                    f"map {self.claim.key!r} changes its items: a resumed run skips finished items, and what "
                    "changed in them is lost; return the new value"
                )

    def store_due(self, total: int | None) -> None:
        """Store the new results if it is time. `total` is the number of items, or None if unknown."""
        if self._new and self._monotonic() - self._stored_on >= POSITION_SECONDS:
            self.store(total)

    def store(self, total: int | None) -> None:
        """Store the new results."""
        new, self._new = self._new, []
        self._stored_on = self._monotonic()
        if new:
            self._store(new, total)

    def finish(self, total: int) -> None:
        """Store what is left, and that there are no more items; RecipeError if there were more in an earlier run."""
        if any(position >= total for position in self._known):
            raise self._other_items(f"there are only {total:,} now")
        if self._new or self._total != total:
            new, self._new = self._new, []
            self._store(new, total)

    def _store(self, new: list[tuple[int, int | None, Any]], total: int | None) -> None:
        values = [value for _, _, value in new]
        if self._recorder.masker.holds(values):
            if clean := [each for each in new if not self._recorder.masker.holds(each[2])]:
                self._store(clean, total)
            raise RecipeError(
                f"a result of map {self.claim.key!r} contains a secret, which the journal must not store",
                "leave it out of the results",
            )
        if len(new) > 1 and len(json_text.dumps(values)) > stored_values.LIMIT:
            try:
                self._store(new[: len(new) // 2], total)
            finally:  # one that is too large alone must not take the others with it
                self._store(new[len(new) // 2 :], total)
            return
        if len(new) == 1:
            stored_values.check_size(values[0], self._what(new[0][0]))
        stage, inside, item = self.claim.place
        stored = events.ResultsStored(
            key=self.claim.key,
            part=self._part,
            total=total,
            items=tuple(position for position, _, _ in new),
            marks=tuple(mark for _, mark, _ in new),
            values=tuple(values),
            stage=stage,
            inside=inside,
            item=item,
            error=self._recorder.keys.error(self.claim.key),
        )
        self._recorder.emit(stored)
        self._part, self._total = self._part + 1, total

    def _what(self, position: int) -> str:
        return f"map {self.claim.key!r}, result of item {position + 1:,}"

    def _other_items(self, what: str) -> RecipeError:
        return RecipeError(
            f"map {self.claim.key!r} does not get the items that it had in run {self.claim.recalled[-1].run}: {what}",
            "give it the same items in the same order, or no key if its source leaves out what is done",
        )
