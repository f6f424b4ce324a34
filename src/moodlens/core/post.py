"""JSON posted to an endpoint that the user named, and its answer; asked again where it is busy."""

import email.utils
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from moodlens.core.errors import BadInput

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
_LONGEST_PAUSE = 60.0
"""Seconds; an endpoint that asks for more is not waited for."""


class Endpoint(Protocol):
    """How an endpoint is asked."""

    @property
    def key_env(self) -> str | None:
        """Environment variable that holds the key; None sends no key."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds to wait for one answer."""
        ...

    @property
    def retries(self) -> int:
        """Further attempts when it is busy or does not answer."""
        ...

    @property
    def pause(self) -> float:
        """Seconds before the first further attempt; doubled each time."""
        ...


def post_json(
    url: str, body: Mapping[str, object], endpoint: Endpoint, sleep: Callable[[float], None] = time.sleep
) -> Any:
    """The JSON with which the endpoint answers.

    Raises:
        BadInput: no usable answer, in one line that names the address and the reason.
    """
    headers = {"Content-Type": "application/json"}
    if endpoint.key_env is not None:
        key = os.environ.get(endpoint.key_env, "").strip()  # a key read from a file ends with its line
        if not key or not key.isascii() or not key.isprintable():
            what = "holds no key" if not key else "holds characters that no key can have"
            raise BadInput(
                f"{url}: the environment variable {endpoint.key_env} {what}; set it or leave key_env out"
            )
        headers["Authorization"] = f"Bearer {key}"
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"{url}: the endpoint's address must begin with http:// or https://")
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    for attempt in range(endpoint.retries + 1):
        wait = endpoint.pause * 2**attempt
        try:
            with urllib.request.urlopen(request, timeout=endpoint.timeout) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            reason, final = f"answered {error.code} {error.reason}", error.code not in _RETRIED
            wait = max(wait, min(_seconds(error.headers.get("Retry-After")), _LONGEST_PAUSE))
            error.close()
        except (ValueError, RecursionError):  # no JSON, no text, or a thousand brackets
            reason, final = "answered something that is not JSON", True
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            reason, final = f"no answer: {getattr(error, 'reason', error)}", False
        if final or attempt == endpoint.retries:
            tries = f" after {attempt + 1} attempts" if attempt else ""
            raise BadInput(f"{url}: {' '.join(reason.split())}{tries}; check url, model and key_env")
        sleep(wait)
    raise AssertionError("unreachable")


def _seconds(text: str | None) -> float:
    """What ``Retry-After`` asks for: a number of seconds, or the date from which on there may be an answer."""
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(str(text)).timestamp() - time.time())
    except ValueError:
        return 0.0
