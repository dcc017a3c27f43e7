"""Masking of secrets: which are known, the forms in which they appear, and how events lose them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from msgspec.structs import replace

from stagerun import events


MASK: Final = "***"
SHORTEST: Final = 4  # masking shorter ones would blank out half of every line

_Event = TypeVar("_Event", bound=events.Event)


class Masker:
    """Replaces the secrets that it has learned with `***`.

    A secret is found verbatim, line by line, in base64 (at any offset, in both alphabets), URL-encoded, and as JSON and
    Python quote it, once or twice. A secret shorter than SHORTEST is ignored.

    Attributes:
        values: the secrets to find, in the order in which they were learned.

    """

    def __init__(self) -> None:
        self.values: list[str] = []
        self._longest = 0
        self._forms: list[str] = []
        self._shortest_forms: list[str] = []
        self._in_urls: list[re.Pattern[str]] = []
        self._in_any_url: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        new = [each for each in dict.fromkeys(secrets) if len(each) >= SHORTEST and each not in self.values]
        if not new:
            return
        self.values += new
        texts = dict.fromkeys(text for value in self.values for text in _parts(value) if len(text) >= SHORTEST)
        forms = {form for text in texts for form in _forms(text) if len(form) >= SHORTEST}
        self._forms = sorted(forms)
        self._shortest_forms = list(_without_longer(self._forms))
        # URLs don't encode letters and digits, so a search for the text finds them.
        in_urls = [_in_url(text) for text in texts if not (text.isascii() and text.isalnum())]
        self._in_urls = [re.compile(f"(?=({pattern}))") for pattern in in_urls]
        self._in_any_url = re.compile("|".join(in_urls)) if in_urls else None
        self._longest = max(*map(len, forms), *(3 * len(_bytes(text)) for text in texts))

    def mask(self, text: str) -> str:
        """Return `text` with the secrets masked; of two that overlap, both are masked."""
        # The stars and the text around them may form another secret. Each round makes the text shorter.
        while self._is_in(text):
            masked, end = list[str](), 0
            for start, stop in self._places(text):
                masked += [text[end:start], MASK]
                end = stop
            text = "".join([*masked, text[end:]])
        return text

    def complete(self, text: str) -> int:
        """Return how much of an unfinished text is safe to show: the rest may be the beginning of a secret."""
        cut = max(0, len(text) - self._longest)
        if not self._is_in(text):
            return cut
        return next((start for start, stop in self._places(text) if start < cut < stop), cut)

    def holds(self, value: object) -> bool:
        """Return True if the JSON value contains a secret."""
        return bool(self._forms) and events.dumps(self._value(value)) != events.dumps(value)

    def event(self, event: _Event) -> _Event:
        """Return the event with its secrets masked, except in names that runs are found by (targets, stages, keys)."""
        return cast("_Event", self._masked(event)) if self._forms else event

    def _masked(self, event: events.Event) -> events.Event:
        match event:
            case events.Log():
                return replace(event, text=self.mask(event.text), stream=event.stream and self.mask(event.stream))
            case events.StatusChanged():
                return replace(event, text=self.mask(event.text))
            case events.ProgressMoved():
                return replace(event, label=event.label and self.mask(event.label), unit=self.mask(event.unit))
            case events.ResultSet():
                return replace(event, result=self._value(event.result))
            case events.RunFinished(error=events.Failure() as error):
                return replace(event, error=self._failure(error))
            case events.RunCreated():
                return replace(event, owner=self.mask(event.owner), params=self._parameters(event.params))
            case _:
                return event

    def _failure(self, error: events.Failure) -> events.Failure:
        return replace(
            error,
            type=self.mask(error.type),
            message=self.mask(error.message),
            traceback=error.traceback and self.mask(error.traceback),
            file=error.file and self.mask(error.file),
            program=error.program and self._program(error.program),
        )

    def _program(self, program: events.Program) -> events.Program:
        tail = self.mask("\n".join(program.tail)).split("\n") if program.tail else ()
        notes = tuple(map(self.mask, program.notes))
        return replace(program, command=self.mask(program.command), tail=tuple(tail), notes=notes)

    def _parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Mask a parameter as a whole: a partly masked value could be mistaken for the original."""
        return {name: MASK if self.holds(value) else value for name, value in params.items()}

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self.mask(value)
            case bool():
                return value
            case Mapping():
                return {self.mask(key): self._value(each) for key, each in value.items()}
            case int() | float():
                return value if self.mask(str(value)) == str(value) else MASK
            case list():
                return [self._value(each) for each in value]
            case _:
                return value

    def _is_in(self, text: str) -> bool:
        """Return True if `text` contains a secret. Hardly any text does, so this check is the cost of masking."""
        # A loop over plain searches: one pattern of all forms takes two to sixty times as long.
        for form in self._shortest_forms:
            if form in text:
                return True
        if self._in_any_url is None or ("%" not in text and "+" not in text):
            return False  # nothing in it is URL-encoded
        return self._in_any_url.search(text) is not None

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and stop of each secret, in order; overlapping ones are merged."""
        found = [place for form in self._forms for place in _finds(form, text)]
        found += [match.span(1) for pattern in self._in_urls for match in pattern.finditer(text)]
        begun: tuple[int, int] | None = None
        for start, stop in sorted(found):
            if begun is not None and start >= begun[1]:
                yield begun
                begun = None
            begun = (start, stop) if begun is None else (begun[0], max(begun[1], stop))
        if begun is not None:
            yield begun


def _without_longer(forms: Iterable[str]) -> Iterator[str]:
    """Yield the forms that contain no other form: a text without these contains no form at all."""
    shortest = list[str]()
    for form in sorted(forms, key=len):
        if not any(shorter in form for shorter in shortest):
            shortest.append(form)
            yield form


def _parts(value: str) -> Iterator[str]:
    yield value
    yield from (line.strip() for line in value.splitlines())


def _forms(text: str) -> Iterator[str]:
    """Yield `text` verbatim, as a bytes literal, in base64, and quoted once and twice."""
    import base64

    yield text
    data = _bytes(text)
    yield repr(data)[2:-1]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield from _in_base64(data, encode)
    for once in _quoted(text):
        yield once
        yield from _quoted(once)


def _quoted(text: str) -> Iterator[str]:
    import json

    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    yield from (repr(text)[1:-1], repr(f'"{text}')[2:-1])  # within double quotes, and within single ones


def _in_url(text: str) -> str:
    """Return a pattern for `text` in a URL, where any character may be percent-encoded."""
    return "".join(map(_in_url_one, text))


def _in_url_one(character: str) -> str:
    encoded = "".join(f"%(?i:{byte:02x})" for byte in _bytes(character))
    plus = r"|\+" if character == " " else ""
    return f"(?:{encoded}|{re.escape(character)}{plus})"


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # an environment variable need not be UTF-8
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _in_base64(data: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """Yield `data` in base64, and for each offset in longer data the part that does not depend on its neighbours."""
    yield encode(data).decode()
    for before in range(3):
        encoded = encode(bytes(before) + data).decode()
        # A base64 character holds six bits; characters that share bits with a neighbour are left out.
        yield encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


def _finds(form: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)
