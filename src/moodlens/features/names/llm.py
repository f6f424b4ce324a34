"""Names from a language model behind any OpenAI-compatible endpoint, scored by the same detection.

The model sees train + val texts that fire a feature and texts that do not, and answers with a short name.
It never sees the texts that test the name.
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, Progress, silent
from moodlens.features.names.judge import JudgedNames, judge_names
from moodlens.features.names.make import make_names
from moodlens.features.names.words import Texts, read_name
from moodlens.settings.names import NamerSettings, NameSettings
from moodlens.study.rows import DEV, Rows

if TYPE_CHECKING:
    import polars as pl

INSTRUCTION = (
    "You name features of text embeddings of music descriptions. You get texts that activate a feature, strongest "
    'first, and texts that do not. Answer with a JSON object {{"name": "..."}} whose value is two to six short words or '
    "phrases, separated by commas, that texts activating the feature would contain, also in other wordings. If the "
    "feature stands for one of these emotions as a whole, make the emotion's own word one of the phrases: {emotions}."
)
_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)


def name_with_model(
    table: "pl.DataFrame",
    codes: np.ndarray,
    rows: Rows,
    prompts: "pl.DataFrame | None",
    settings: NameSettings,
    namer: NamerSettings,
    *,
    seed: int,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress | None = None,
) -> JudgedNames:
    """Let a language model name the emotion features; the other features keep their names from n-grams.

    Arguments and errors are those of :func:`moodlens.features.names.judge.name_features`, and:

    Args:
        namer: the endpoint.
        sleep: waits between attempts.

    Raises:
        BadInput: the key is not set, or the endpoint cannot be reached or answers something else.
    """
    progress = progress or silent
    named = make_names(table, codes, rows, prompts, settings, seed=seed)
    strong = set(table.filter(table["emotion_feature"])["feature"].to_list())
    shown, numbers = Texts.of(rows, prompts, DEV)
    texts = shown.rows.texts
    answered = []
    for done, item in enumerate(named):
        if item.feature in strong:
            examples = _examples(codes[numbers, item.feature], namer.n_examples, seed=seed)
            answer = ask(
                [texts[part].tolist() for part in examples],
                rows.emotions,
                namer,
                feature=item.feature,
                sleep=sleep,
            )
            learned = item.learned.model_copy(update={"model": namer.model, "answer": answer})
            item = replace(item, name=read_name(answer, rows.emotions), learned=learned)
        answered.append(item)
        progress("names", done + 1, len(named))
    return judge_names(answered, table, codes, rows, prompts, settings, seed=seed)


def _examples(activation: np.ndarray, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to show: half the strongest and half from all firings, strongest first; and silent rows."""
    rng = np.random.default_rng(seed)
    order = np.argsort(-activation, kind="stable")
    active = order[activation[order] > 0]
    rest = rng.permutation(active[(n + 1) // 2 :])[: n // 2]
    shown = np.r_[active[: (n + 1) // 2], rest]
    quiet = rng.permutation(np.flatnonzero(activation <= 0))[:n]
    return shown[np.argsort(-activation[shown], kind="stable")], quiet


def ask(
    examples: Sequence[Sequence[str]],
    emotions: Sequence[str],
    namer: NamerSettings,
    *,
    feature: int,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Ask for the name of one feature, given (texts that fire it, texts that do not).

    Raises:
        BadInput: no usable answer, in one line that names the address and the reason.
    """
    titles = ("Texts that activate the feature:", "Texts that do not:")
    question = "\n\n".join("\n".join([title, *texts]) for title, texts in zip(titles, examples, strict=True))
    body = {
        "model": namer.model,
        "messages": [
            {"role": "system", "content": INSTRUCTION.format(emotions=", ".join(emotions))},
            {"role": "user", "content": question},
        ],
        "temperature": 0,
        "max_tokens": namer.max_tokens,
    }
    answer = _post(namer.url.rstrip("/") + "/chat/completions", body, namer, sleep)
    where = f"{namer.url}: feature {feature}"
    try:
        content = answer["choices"][0]["message"]["content"]
        # Models like to wrap JSON in prose or in a fenced block.
        name = json.loads(content[content.index("{") : content.rindex("}") + 1])["name"]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f'{where}: the answer holds no {{"name": ...}}; try another model') from error
    if not isinstance(name, str) or not name.strip() or len(name) > 200:
        raise BadInput(f"{where}: the answer's name is not a short text; try another model")
    return " ".join(name.split())


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
