"""JSON as we write it: one line that UTF-8 can encode, without numbers that are none."""

import math
from typing import Any, Final

import msgspec


def encodable(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 can't encode, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


_encode: Final = msgspec.json.Encoder().encode


def dumps(value: object) -> str:
    """Return `value`, a record or JSON values, as one line of JSON that UTF-8 can encode. Numbers must be finite."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        # A lone surrogate can't be encoded, but its backslash form is JSON's own escape for it.
        import json

        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace").decode()


def loads(text: str, kind: Any) -> Any:
    """Return the value of type `kind` that `dumps` wrote; ValueError says what is wrong with `text`.

    Fields that `kind` does not have are ignored.
    """
    try:
        return _decode(text, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _decode(text: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # msgspec refuses lone surrogates
        import json

        return msgspec.convert(json.loads(text, parse_constant=_finite, parse_float=_finite), kind)


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number} is not a number")
    return value
