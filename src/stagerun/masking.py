"""Secrets taken out of text: what is known of them, the forms they come in, and every event without them."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from msgspec.structs import replace

from stagerun import events


MASK: Final = "***"
SHORTEST: Final = 4  # masking less would take out half of every line

_Event = TypeVar("_Event", bound=events.Event)


class Masker:
    """Puts `***` in place of the secrets it has learned.

    A secret is found as it is, line by line, as base64 (at any offset, in both alphabets), in a URL, and as JSON and
    Python quote it. One that is shorter than SHORTEST is not looked for.

    Attributes:
        values: the secrets that are looked for, in the order in which they were learned.
        longest: the length of the longest form.

    """

    def __init__(self) -> None:
        self.values: list[str] = []
        self.longest = 0
        self._forms: list[str] = []
        self._any: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        self.values += [each for each in dict.fromkeys(secrets) if len(each) >= SHORTEST and each not in self.values]
        forms = {form for value in self.values for form in _forms(value) if len(form) >= SHORTEST}
        if forms:
            self._forms = sorted(forms)
            self._any = re.compile("|".join(map(re.escape, self._forms)))
            self.longest = max(map(len, forms))

    def mask(self, text: str) -> str:
        """Return `text` without the secrets; where two overlap, both go."""
        if self._any is None or self._any.search(text) is None:
            return text
        masked, end = list[str](), 0
        for start, stop in _merged(sorted(place for form in self._forms for place in _places(form, text))):
            masked += [text[end:start], MASK]
            end = stop
        return "".join([*masked, text[end:]])

    def holds(self, value: object) -> bool:
        """Return True if the JSON value has a secret in it."""
        return self._any is not None and self._any.search(events.dumps(value)) is not None

    def event(self, event: _Event) -> _Event:
        """Return the event without secrets. Names that runs are found by (targets, declared stages, keys) stay."""
        return event if self._any is None else cast("_Event", self._masked(event))

    def _masked(self, event: events.Event) -> events.Event:
        match event:
            case events.Log():
                return replace(event, text=self.mask(event.text))
            case events.StatusChanged():
                return replace(event, text=self.mask(event.text))
            case events.ProgressMoved():
                return replace(event, label=event.label and self.mask(event.label), unit=self.mask(event.unit))
            case events.ResultSet():
                return replace(event, result=self._value(event.result))
            case events.StageEntered(index=None) | events.StageLeft(index=None):
                return replace(event, stage=self.mask(event.stage))
            case events.RunFinished(error=events.Failure() as error):
                return replace(event, error=self._failure(error))
            case events.RunCreated():
                return replace(event, owner=self.mask(event.owner), params=self._value(event.params))
            case _:
                return event

    def _failure(self, error: events.Failure) -> events.Failure:
        return replace(
            error,
            message=self.mask(error.message),
            stage=error.stage and self.mask(error.stage),
            traceback=error.traceback and self.mask(error.traceback),
        )

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self.mask(value)
            case Mapping():
                return {self.mask(key): self._value(each) for key, each in value.items()}
            case int() | float():
                return value if self.mask(str(value)) == str(value) else MASK
            case list():
                return [self._value(each) for each in value]
            case _:
                return value


def _forms(value: str) -> Iterator[str]:
    import base64
    from urllib.parse import quote, quote_plus

    for text in (value, *(line.strip() for line in value.splitlines())):
        if len(text) < SHORTEST:
            continue
        yield from (text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        data = text.encode("utf-8", "surrogateescape" if _came_from_bytes(text) else "backslashreplace")
        yield from (repr(data)[2:-1], quote(data), quote(data, safe=""), quote_plus(data))
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield from _in_base64(data, encode)


def _in_base64(data: bytes, encode: Any) -> Iterator[str]:
    """Yield `data` in base64 as a whole, and what is the same of it wherever it stands in something longer."""
    yield encode(data).decode()
    for before in range(3):
        encoded = encode(bytes(before) + data).decode()
        # A character holds six bits; those that share bits with a neighbour differ.
        yield encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


def _came_from_bytes(text: str) -> bool:
    """Return True for what the system could not decode: an environment variable that is not UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _places(form: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _merged(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the places in order, those that overlap as one."""
    begun: tuple[int, int] | None = None
    for start, stop in places:
        if begun is None or start >= begun[1]:
            if begun is not None:
                yield begun
            begun = start, stop
        else:
            begun = begun[0], max(begun[1], stop)
    if begun is not None:
        yield begun
