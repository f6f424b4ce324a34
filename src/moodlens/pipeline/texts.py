"""Texts of any length under a study's methods, a block of sentences at a time, and the words their scores stand on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core.progress import Progress, silent
from moodlens.embed.pooling import Pool, pool_shares
from moodlens.embed.tokens import Tokens, each_tokens, word_sums, words_of
from moodlens.validate.methods import Method, Reading

if TYPE_CHECKING:
    from moodlens.embed.base import Encoder
    from moodlens.sae.model import SAE

TOLD = 5
"""Words that are told of a text, for each emotion."""

Words = list[list[tuple[str, float]]]
"""For every emotion the words with the largest shares of its family's score, largest first."""


@dataclass(frozen=True)
class ReadTexts:
    """What was read of n texts."""

    scores: dict[str, np.ndarray]
    """(n, C) of every method."""
    activations: np.ndarray
    """(n, m) of the chosen features, the largest over a text's sentences."""
    words: list[Words]
    """Of every text; empty where the families do not read tokens."""


def read_texts(
    encoder: "Encoder",
    texts: Sequence[str],
    methods: dict[str, Method],
    sae: "SAE",
    features: np.ndarray,
    *,
    progress: Progress = silent,
) -> ReadTexts:
    """Read every text by every method.

    Sentences are encoded one by one, so that a token's state knows its sentence and no more. The memory that this takes
    does not grow with the texts, but for a score of every token.

    Args:
        encoder: of the study.
        texts: any number, of any length.
        methods: by name; ``family`` is among them.
        sae: whose activations are asked for.
        features: ``(m,)`` int, of which.
        progress: counts texts.

    Raises:
        BadInput: a text is not a string or is blank.
    """
    from moodlens.embed.reading import check_texts
    from moodlens.embed.segments import segments
    from moodlens.sae.model import encode_rows

    check_texts(texts)  # names the row of the text, which a sentence could not
    parts = [segments(text) for text in texts]
    owner = np.repeat(np.arange(len(texts)), [len(part) for part in parts])
    sentences = [sentence for part in parts for sentence in part]
    reading, active = Reading(methods, len(texts)), Pool("max", len(texts), len(features))
    family, words = methods["family"], _Words(len(texts))

    def of_texts(what: str, done: int, total: int) -> None:
        progress(what, int(owner[done]) if done < total else len(texts), len(texts))

    for block in each_tokens(encoder, sentences, progress=of_texts):
        rows = np.add.reduceat(block.values, block.offsets[:-1], axis=0, dtype=np.float64)
        rows /= np.diff(block.offsets)[:, None]
        whose = owner[block.begin : block.begin + len(block)]
        denied = reading.denied(rows)
        reading.add("sentences", rows, whose, denied)
        reading.add("tokens", block.values, whose[block.owner], denied[block.owner])
        active.add(encode_rows(sae, rows, features=features), whose)
        if family.how.units == "tokens":
            words.add(
                family.read(block.values), block, whose, sentences[block.begin : block.begin + len(block)]
            )
    if reading.wants("whole"):
        x = encoder.encode(texts)
        reading.add("whole", x, np.arange(len(texts)), reading.denied(x))
    token_words = words.result(family) if family.how.units == "tokens" else [[] for _ in texts]
    return ReadTexts(reading.scores(), active.result(), token_words)


def told(own: Words, scores: np.ndarray, emotions: tuple[str, ...]) -> str:
    """What the largest family score of a text stands on: ``sad: lonely 0.82, grey 0.31``."""
    if not own or not np.isfinite(scores).any():
        return ""
    c = int(np.nanargmax(scores))
    return f"{emotions[c]}: " + ", ".join(f"{word} {share:.2f}" for word, share in own[c]) if own[c] else ""


class _Words:
    """Family scores of every token, until the whole text is known and they can be shared out."""

    def __init__(self, n: int):
        self._seen: list[list[tuple[np.ndarray, list[str]]]] = [[] for _ in range(n)]

    def add(self, values: np.ndarray, block: Tokens, whose: np.ndarray, sentences: Sequence[str]) -> None:
        """Take in the standardised scores ``values (t, C)`` of the sentences of a block."""
        for i, (text, sentence) in enumerate(zip(whose, sentences, strict=True)):
            place = block.of(i)
            words, owner = words_of(sentence, block.spans[place])
            spoken = [sentence[begin:end].lower() for begin, end in words]
            self._seen[text].append((values[place], [spoken[word] if word >= 0 else "" for word in owner]))

    def result(self, method: Method) -> list[Words]:
        """The words of every text; each has the sum over its tokens, wherever it stands in the text.

        A token's share is what it has to say in the pooled score (:func:`pool_shares`) times its own score; where
        scores stand against the other emotions, so do shares.
        """
        out = []
        for seen in self._seen:
            values = np.concatenate([part for part, _ in seen])
            spoken = np.array([word for _, words in seen for word in words])
            shares = method.against(pool_shares(values, method.how.pool) * values)
            names, place = np.unique(spoken, return_inverse=True)
            sums = word_sums(shares, place, len(names))
            real = np.flatnonzero(names != "")
            best = real[np.argsort(-sums[real], axis=0, kind="stable")[:TOLD]]
            out.append(
                [
                    [(str(names[w]), float(sums[w, c])) for w in best[:, c] if sums[w, c] > 0]
                    for c in range(values.shape[1])
                ]
            )
        return out
