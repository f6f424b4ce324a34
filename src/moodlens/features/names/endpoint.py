"""One question to a language model behind any OpenAI-compatible endpoint, answered with a JSON object; many side by side."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pydantic import JsonValue

from moodlens.core import BadInput, Progress, silent
from moodlens.settings.names import NamerSettings

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def ask_json(
    namer: NamerSettings,
    instruction: str,
    question: str,
    *,
    where: str,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, JsonValue]:
    """The JSON object that the model answers with.

    Args:
        namer: the endpoint.
        instruction: the system message.
        question: the user's message.
        where: what is asked about, for errors.
        sleep: waits between attempts.

    Raises:
        BadInput: no usable answer, in one line that names the address and the reason.
    """
    body = {
        "model": namer.model,
        "messages": [{"role": "system", "content": instruction}, {"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": namer.max_tokens,
    }
    answer = _post(namer.url.rstrip("/") + "/chat/completions", body, namer, sleep)
    try:
        content = answer["choices"][0]["message"]["content"]
        # Models like to wrap JSON in prose or in a fenced block.
        value = json.loads(content[content.index("{") : content.rindex("}") + 1])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{namer.url}: {where}: the answer holds no JSON object; try another model") from error
    if not isinstance(value, dict):
        raise BadInput(f"{namer.url}: {where}: the answer holds no JSON object; try another model")
    return value


def ask_each(
    items: Sequence[Item], ask: Callable[[Item], Answer], namer: NamerSettings, *, progress: Progress = silent
) -> list[Answer]:
    """The answers to all questions, in order, ``namer.parallel`` at a time; the first failure ends them all."""
    answers: list[Answer] = []
    pool = ThreadPoolExecutor(namer.parallel)
    try:
        for answer in pool.map(ask, items):
            answers.append(answer)
            progress("language model", len(answers), len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return answers


def _post(url: str, body: Mapping[str, object], namer: NamerSettings, sleep: Callable[[float], None]) -> Any:
    headers = {"Content-Type": "application/json"}
    if namer.key_env is not None:
        key = os.environ.get(namer.key_env)
        if not key:
            raise BadInput(
                f"{url}: the environment variable {namer.key_env} holds no key; set it or leave key_env out"
            )
        headers["Authorization"] = f"Bearer {key}"
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"{url}: the endpoint's address must begin with http:// or https://")
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    for attempt in range(namer.retries + 1):
        try:
            with urllib.request.urlopen(request, timeout=namer.timeout) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            reason, final = f"answered {error.code} {error.reason}", error.code not in _RETRIED
            error.close()
        except json.JSONDecodeError:
            reason, final = "answered something that is not JSON", True
        except (urllib.error.URLError, OSError) as error:
            reason, final = f"no answer: {getattr(error, 'reason', error)}", False
        if final or attempt == namer.retries:
            tries = f" after {attempt + 1} attempts" if attempt else ""
            raise BadInput(f"{url}: {' '.join(reason.split())}{tries}; check url, model and key_env")
        sleep(namer.pause * 2**attempt)
    raise AssertionError("unreachable")
