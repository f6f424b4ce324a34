"""Words of a text that carry a score, and where they stand as a browser counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moodlens.explore.explored import Explored, short
from moodlens.explore.feature_records import Span

LEAST = 0.02
"""Of a share, for its word to be told."""
KEPT = 2000
"""Texts that are kept as they were read."""


@dataclass(frozen=True)
class SpokenText:
    """A text word by word, beyond what the mean text brings; what is linear in an embedding is shared out exactly."""

    places: list[tuple[int, int]]
    """(w,) characters of each word."""
    vectors: np.ndarray
    """(w, d_in) what each adds to the embedding."""
    whole: np.ndarray
    """(d_in,) what all tokens add, marks and special ones included."""


def spoken(explored: Explored, texts: Sequence[str]) -> list[SpokenText]:
    """Texts word by word; those that were read lately are not read again."""
    known: dict[str, SpokenText] = explored.once("spoken texts", dict)
    with explored.reading:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if len(known) + len(new) > KEPT:
            known.clear()
            new = list(dict.fromkeys(texts))
        if new:
            shares = explored.speak(new)
            bounds = np.searchsorted(shares.text, np.arange(len(new) + 1)).tolist()
            for i, text in enumerate(new):
                words = slice(bounds[i], bounds[i + 1])
                places = [(begin, end) for begin, end in shares.place[words].tolist()]
                known[text] = SpokenText(places, shares.vector[words], shares.whole[i])
        return [known[text] for text in texts]


def utf16(text: str) -> np.ndarray:
    """(len + 1,) int: place of every character in UTF-16 units, and the length."""
    wide = np.fromiter((1 + (ord(sign) > 0xFFFF) for sign in text), dtype=int, count=len(text))
    return np.concatenate([[0], np.cumsum(wide)])


def attributed(
    explored: Explored, texts: Sequence[str], feature: int
) -> list[tuple[float, tuple[Span, ...]]]:
    """Of each text the rise of a feature's pre-activation, and the words that carry at least :data:`LEAST` of it."""
    column = explored.study.W_enc()[:, feature]
    out = []
    for text, read in zip(texts, spoken(explored, texts), strict=True):
        rise, at = float(read.whole @ column), utf16(text)
        added = read.vectors @ column
        share = added / rise if rise > 0 else np.zeros(len(added))
        spans = [
            (int(at[begin]), int(at[end]), round(float(value), 3))
            for (begin, end), value in zip(read.places, share.tolist(), strict=True)
            if abs(value) >= LEAST
        ]
        out.append((short(rise) or 0.0, tuple(spans)))
    return out
