"""One question to a language model behind any OpenAI-compatible endpoint, answered with a JSON object; many side by side."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import JsonValue

from moodlens.core import BadInput, Progress, silent
from moodlens.core.post import post_json
from moodlens.settings.names import NamerSettings

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
    answer = post_json(namer.url.rstrip("/") + "/chat/completions", body, namer, sleep)
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
