"""Masking of secrets: which are known, the forms in which they appear, and how events lose them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeVar, cast

from msgspec.structs import replace

from stagerun import events
from stagerun.text import json_text


MASK: Final = "***"
SHORTEST: Final = 4  # masking shorter ones would blank out half of every line

_SEARCHES: Final = 5  # plain searches that take as long as a look-up at one place of a text
_MANY: Final = 2000  # and as long as a look-up at each place of a long text
_TELLING: Final = 8  # characters that hardly any text has by chance

_Event = TypeVar("_Event", bound=events.Event)
_Counted = TypeVar("_Counted", bound=events.Counted)


class Masker:
    """Replaces the secrets that it has learned with `***`.

    A secret is found verbatim, line by line, in base64 (at any offset, in both alphabets), URL-encoded, and as JSON,
    Python and shells quote it, once or twice. A secret shorter than SHORTEST is ignored.

    Attributes:
        values: the secrets to find, in the order in which they were learned.

    """

    def __init__(self) -> None:
        self.values: list[str] = []
        self._longest = 0
        self._forms: list[str] = []
        self._signs: dict[str, list[str]] = {}
        self._beginnings = set[str]()
        self._in_urls: list[_InUrl] = []
        self._texts = set[str]()

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these, too."""
        for value in secrets:
            if len(value) >= SHORTEST and value not in self.values:
                self.values.append(value)
                for text in _parts(value):
                    if len(text) >= SHORTEST and text not in self._texts:
                        self._texts.add(text)
                        self._learn(text)

    def _learn(self, text: str) -> None:
        signs = _signs(text)
        forms = [form for forms in signs.values() for form in forms]
        self._longest = max(self._longest, *map(len, forms), 3 * len(_bytes(text)))
        self._forms += forms
        if not (text.isascii() and text.isalnum()):  # URLs don't encode those, so a search for the text finds them
            self._in_urls.append(_InUrl(text))
        for sign, forms in signs.items():
            self._beginnings.add(sign[:SHORTEST])
            self._signs[sign] = [*self._signs.get(sign, ()), *forms]

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
        return bool(self._forms) and json_text.dumps(self._value(value)) != json_text.dumps(value)

    def event(self, event: _Event) -> _Event:
        """Return the event with its secrets masked, except in names that runs are found by (targets, stages, keys)."""
        return cast("_Event", self._masked(event)) if self._forms else event

    def _masked(self, event: events.Event) -> events.Event:
        match event:
            case events.Log():
                return replace(event, text=self.mask(event.text), stream=event.stream and self.mask(event.stream))
            case events.StatusChanged():
                return replace(event, text=self.mask(event.text))
            case events.LineRedrawn():
                return replace(event, line=self.mask(event.line), stream=event.stream and self.mask(event.stream))
            case events.ProgressMoved():
                return replace(self._counted(event), around=tuple(map(self._counted, event.around)))
            case events.StageLeft(skipped=str(reason)):
                return replace(event, skipped=self.mask(reason))
            case events.ResultSet():
                return replace(event, result=self._value(event.result))
            case events.RunFinished(error=events.Failure() as error):
                return replace(event, error=self._failure(error))
            case events.RunCreated():
                return replace(
                    event,
                    owner=self.mask(event.owner),
                    params=self._parameters(event.params),
                    tags=tuple(map(self.mask, event.tags)),
                    once=event.once and self.mask(event.once),
                )
            case _:
                return event

    def _counted(self, loop: _Counted) -> _Counted:
        return replace(loop, label=loop.label and self.mask(loop.label), unit=self.mask(loop.unit))

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
        signs = self._signs
        many = len(signs) > _MANY or len(signs) > _SEARCHES * len(text)
        if many and self._beginnings.isdisjoint(
            [text[place : place + SHORTEST] for place in range(len(text) - SHORTEST + 1)]
        ):
            signs = {}
        # A loop over plain searches: one pattern of all forms takes two to sixty times as long.
        for sign in signs:
            if sign in text:
                for form in signs[sign]:
                    if form in text:
                        return True
        if not self._in_urls or ("%" not in text and "+" not in text):
            return False  # nothing in it is URL-encoded
        return any(each.is_in(text) for each in self._encoded_in(text))

    def _encoded_in(self, text: str) -> "list[_InUrl]":
        """Return the secrets of which some characters may be percent-encoded in `text`."""
        if not self._in_urls or not _encoded().search(text):
            return []
        byte_of = _byte_of()
        decoded = _without_plus(_encoded_byte().sub(lambda match: byte_of[match[0]], _bytes(text)))
        return [each for each in self._in_urls if each.core in decoded]

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and stop of each secret, in order; overlapping ones are merged."""
        found = [place for form in self._forms for place in _finds(form, text)]
        found += [place for each in self._encoded_in(text) for place in each.places(text)]
        begun: tuple[int, int] | None = None
        for start, stop in sorted(found):
            if begun is not None and start >= begun[1]:
                yield begun
                begun = None
            begun = (start, stop) if begun is None else (begun[0], max(begun[1], stop))
        if begun is not None:
            yield begun


@cache
def _encoded() -> re.Pattern[str]:
    return re.compile(r"%[0-9A-Fa-f]{2}|\+")


@cache
def _encoded_byte() -> re.Pattern[bytes]:
    return re.compile(rb"%[0-9A-Fa-f]{2}")


@cache
def _byte_of() -> Mapping[bytes, bytes]:
    """Return a table: a byte as a URL encodes it -> that byte."""
    digits = "0123456789abcdefABCDEF"
    return {f"%{high}{low}".encode(): bytes((int(high + low, 16),)) for high in digits for low in digits}


class _InUrl:
    """A text in URLs, where any of its characters may be percent-encoded.

    Attributes:
        core: bytes that every such URL has once it is decoded. A `%` of the text itself and hexadecimal digits are not
            among them: decoding may take those for parts of an encoded byte.

    """

    def __init__(self, text: str) -> None:
        self.core = _without_plus(max(re.split(rb"[%0-9A-Fa-f]+", _bytes(text)), key=len))
        self._text = text

    def is_in(self, text: str) -> bool:
        return next(self.places(text), None) is not None

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        for beginning in {self._text[0], "%", "+"}:
            for start, _ in _finds(beginning, text):
                stop = self._stop(text, start)
                if stop is not None:
                    yield start, stop

    def _stop(self, text: str, start: int) -> int | None:
        """Return where the secret ends that begins at `start`, or None if none begins there."""
        stops = {start}
        for character in self._text:
            code = _percent(character)
            following = set[int]()
            for stop in stops:  # several only behind a `%` that may stand for itself
                if text.startswith(character, stop) or (character == " " and text.startswith("+", stop)):
                    following.add(stop + 1)
                encoded = text[stop : stop + len(code)]
                if encoded.isascii() and encoded.upper() == code:
                    following.add(stop + len(code))
            if not following:
                return None
            stops = following
        return max(stops)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in _bytes(character))


def _without_plus(data: bytes) -> bytes:
    return data.replace(b"+", b" ")  # either may stand for a space


def _parts(value: str) -> Iterator[str]:
    yield value
    yield from (line.strip() for line in value.splitlines())


def _signs(text: str) -> dict[str, list[str]]:
    """Return the forms of `text` as a dictionary: a short text -> the forms that contain it."""
    import base64

    data = _bytes(text)
    quoted = {text}
    plain = max(re.split(r"""[^ -~]|["'\\]""", text), key=len)  # quoting leaves this as it is
    if plain != text:
        for once in {*_quoted(text), *_in_shell(text), *_as_bytes(data)}:
            quoted |= {once, *_quoted(once)}
    signs = {plain: sorted(quoted)} if len(plain) >= _TELLING else {each: [each] for each in quoted}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole, *parts = _in_base64(data, encode)
        signs |= {each: [each] for each in parts if len(each) >= SHORTEST}
        signs[parts[0]] = [parts[0], whole]
    return signs


def _quoted(text: str) -> Iterator[str]:
    import json

    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    for quote in (repr, ascii):
        yield from (quote(text)[1:-1], quote(f'"{text}')[2:-1])  # within double quotes, and within single ones


def _as_bytes(data: bytes) -> Iterator[str]:
    yield from (repr(data)[2:-1], repr(b'"' + data)[3:-1])


def _in_shell(text: str) -> Iterator[str]:
    """Yield `text` as `shlex.quote` and as `set -x` write it, within single quotes."""
    if "'" in text:
        yield from (text.replace("'", """'"'"'"""), text.replace("'", r"'\''"))


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
