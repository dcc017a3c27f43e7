"""Moments as people write them."""

from datetime import datetime
from typing import Final


LEGAL: Final = "give 2026-01-31, 2026-01-31T10:00, 90m, 2h or 7d"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


SPANS: Final = "give seconds, or a span such as 90s, 5m or 1h30m"


def span(text: str) -> float | None:
    """Return `90`, `90s`, `5m` or `1h30m` in seconds, or None if it is none of these."""
    try:
        return float(text)
    except ValueError:
        pass
    seconds, number = 0.0, ""
    for sign in text:
        if sign in _UNITS and number:
            seconds, number = seconds + float(number) * _UNITS[sign], ""
        elif sign in "0123456789." and number.count(".") + (sign == ".") < 2:
            number += sign
        else:
            return None
    return seconds if text and not number else None


def parsed(text: str, now: float) -> float | None:
    """Return an ISO 8601 date or time, or how long ago (`90m`, `2h`, `7d`), in seconds since 1970; None for neither."""
    if text[-1:] in _UNITS and text[:-1].isdecimal():
        return now - int(text[:-1]) * _UNITS[text[-1]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
