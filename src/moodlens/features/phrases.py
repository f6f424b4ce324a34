"""A name as what it claims: words, and classes such as "calm" or "calm scene"; any of them predicts firing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.features.ngrams import StemIndex, stems_of
from moodlens.prompts import FACTORS

if TYPE_CHECKING:
    import polars as pl

EMOTION = "emotion"


@dataclass(frozen=True)
class Kind:
    """A class of texts: every condition holds, such as emotion = calm and style = scene."""

    conditions: tuple[tuple[str, str], ...]
    """(column of the prompts, value)."""

    def __str__(self) -> str:
        return " ".join(value for _, value in self.conditions)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions it asks for, at most one."""
        return tuple(value for column, value in self.conditions if column == EMOTION)


@dataclass(frozen=True)
class Name:
    """What a feature is called. The rule that goes with it: a text is predicted to fire the feature if it
    holds one of ``words`` (by stem) or belongs to one of ``kinds`` (by its label and factors)."""

    words: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()

    def __str__(self) -> str:
        parts = [", ".join(self.words), ", ".join(str(kind) for kind in self.kinds)]
        return " · ".join(part for part in parts if part)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions that the name claims."""
        return tuple(emotion for kind in self.kinds for emotion in kind.emotions)

    def without_emotion(self) -> "Name":
        """The name without bare emotions; "calm" is struck, "calm scene" stays."""
        bare = [kind for kind in self.kinds if [column for column, _ in kind.conditions] == [EMOTION]]
        return Name(self.words, tuple(kind for kind in self.kinds if kind not in bare))


def read_name(text: str, emotions: Sequence[str]) -> Name:
    """Read a name that a person or a model wrote: phrases between commas or dots; an emotion's own word is a class.

    "festive, street party · happy" holds the words "festive" and "street party" and the class happy.
    """
    words, kinds = [], []
    for part in text.replace("·", ",").replace(";", ",").split(","):
        phrase = " ".join(part.split())
        same = [emotion for emotion in emotions if emotion.casefold() == phrase.casefold()]
        if same:
            kinds.append(Kind(((EMOTION, same[0]),)))
        elif stems_of(phrase):
            words.append(phrase)
    return Name(tuple(dict.fromkeys(words)), tuple(dict.fromkeys(kinds)))


def holds(kind: Kind, prompts: "pl.DataFrame") -> np.ndarray:
    """(n,) bool, the prompts that belong to ``kind``."""
    found = np.ones(len(prompts), dtype=bool)
    for column, value in kind.conditions:
        found &= prompts[column].eq_missing(value).to_numpy()
    return found


def predictions(names: Sequence[Name], prompts: "pl.DataFrame", index: StemIndex | None = None) -> np.ndarray:
    """Where each name says that its feature fires. Returns (n_names, n_prompts) bool.

    ``index`` is of the prompts' texts, for who asks more than once.
    """
    index = index or StemIndex(prompts["text"].to_list())
    words = {word: index.rows(word) for word in sorted({word for name in names for word in name.words})}
    kinds = {kind: holds(kind, prompts) for name in names for kind in name.kinds}
    out = np.zeros((len(names), len(prompts)), dtype=bool)
    for i, name in enumerate(names):
        for word in name.words:
            out[i, words[word]] = True
        for kind in name.kinds:
            out[i] |= kinds[kind]
    return out


def kinds_of(
    prompts: "pl.DataFrame", emotions: Sequence[str], *, min_texts: int, most_values: int = 12
) -> list[Kind]:
    """The classes a name may claim: emotions, values of factors, and an emotion with a value of a short factor.

    Args:
        prompts: the texts names are made from.
        min_texts: texts that must belong to a class.
        most_values: longest list of values that is crossed with the emotions (styles are, instruments are not).
    """
    out = [Kind(((EMOTION, emotion),)) for emotion in emotions]
    for factor in FACTORS:
        if factor not in prompts.columns:
            continue
        values = sorted(prompts[factor].drop_nulls().unique().to_list())
        out += [Kind(((factor, value),)) for value in values]
        if len(values) <= most_values:
            out += [Kind(((EMOTION, emotion), (factor, value))) for emotion in emotions for value in values]
    return [kind for kind in out if holds(kind, prompts).sum() >= min_texts]
