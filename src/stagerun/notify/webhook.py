"""Telling a web service: one POST request, tried again while the service can't be reached or is in trouble."""

import ssl
import time
from collections.abc import Mapping
from http.client import HTTPException, InvalidURL
from typing import Any, Final
from urllib import request
from urllib.error import HTTPError, URLError

import tenacity

from stagerun import __version__
from stagerun.notify.teller import NotTold, words


_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP codes after which another try makes sense
_ATTEMPTS: Final = 4


class _NoRedirects(request.HTTPRedirectHandler):
    """Follows none: urllib would send a GET request without the document, and the headers to anybody."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> None:
    """Send the JSON `body` to `url` until `deadline`, by the monotonic clock; NotTold says why nobody has taken it."""
    if not url.startswith(("http://", "https://")):
        raise NotTold("its address does not begin with http:// or https://")
    agent = {"Content-Type": "application/json", "User-Agent": f"stagerun/{__version__}"}
    message = request.Request(url, body, {**agent, **headers}, method="POST")  # noqa: S310 - checked above
    opener = request.build_opener(_NoRedirects)

    def send() -> None:
        with opener.open(message, timeout=max(0.1, deadline - time.monotonic())) as answer:
            answer.read(1)

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS) | tenacity.stop_before_delay(deadline - time.monotonic()),
        wait=tenacity.wait_exponential(multiplier=0.5) + tenacity.wait_random(0, 0.5),
        retry=tenacity.retry_if_exception(_is_passing),
        reraise=True,
    )
    try:
        retrying(send)
    except HTTPError as error:
        error.close()
        raise NotTold(f"HTTP {error.code} {error.reason}".rstrip()) from None
    except URLError as error:
        raise NotTold(words(error.reason)) from None
    except (InvalidURL, ValueError):  # its message holds the address or the header, which may be a secret
        raise NotTold("its address or a header holds what HTTP does not allow") from None
    except (OSError, HTTPException) as error:
        raise NotTold(words(error)) from None


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, HTTPError):
        return error.code in _PASSING
    if isinstance(error, InvalidURL) or isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
        return False
    return isinstance(error, OSError | HTTPException)
