"""The forms in which a secret may come to light, worked out without the code that looks for them."""

import base64
import json
import shlex
from collections.abc import Iterator
from urllib.parse import quote, quote_plus


SHORTEST = 4


def forms(secret: str) -> set[str]:
    """Return every form of `secret` and of its lines that must not be seen."""
    texts = {secret, *(line.strip() for line in secret.splitlines())}
    return {form for text in texts if len(text) >= SHORTEST for form in _forms_of(text)}


def found(secret: str, text: str | bytes) -> list[str]:
    """Return the forms of `secret` that are in `text`."""
    data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
    return sorted(form for form in forms(secret) if form.encode() in data)


def shards(secret: str, text: str | bytes, length: int = 6) -> list[str]:
    """Return the pieces of `secret`, of so many characters, that are in `text`: what a cut in a bad place leaves."""
    told = text if isinstance(text, str) else text.decode("utf-8", "replace")
    pieces = [secret[start : start + length] for start in range(len(secret) - length + 1)]
    return [piece for piece in pieces if piece in told]


def core(text: str, before: int, *, urlsafe: bool = False) -> str:
    """Return the characters of `text` in base64 that are the same whatever stands before (so many bytes) and after."""
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    data = text.encode()
    low, high = (encode(byte * before + data + byte * 3).decode() for byte in (b"\x00", b"\xff"))
    same = [one == other for one, other in zip(low, high, strict=True)]
    # A character with bits of a neighbour differs, so what is the same lies in one piece.
    start = same.index(True)
    return low[start : same.index(False, start)]


def _forms_of(text: str) -> Iterator[str]:
    data = text.encode()
    yield from (text, repr(text)[1:-1], repr(data)[2:-1])
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    yield from (quote(text), quote(text, safe=""), quote_plus(text))
    yield from (shlex.quote(f"{text} ")[1:-2], text.replace("'", r"'\''"))
    yield from (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode())
    yield from (core(text, before, urlsafe=urlsafe) for before in range(3) for urlsafe in (False, True))
