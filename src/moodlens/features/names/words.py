"""Words of texts by stem, and which of them say something of an emotion.

A word counts by its stem, so that "joy", "joyful" and "joyous" are one. Evidence is counted in groups: one scene written
thirty times is one piece of evidence, so each of its texts weighs a thirtieth.
"""

import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from moodlens.core import BadInput
from moodlens.prompts import FACTORS
from moodlens.prompts.stems import WEAK, stem, words
from moodlens.stats.units import dense_codes
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    import polars as pl

_COMPOUND = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
_USUAL = 0.8
"""Share of the texts with a word that hold it in one compound ("laid-back"), from which on the name says the compound."""
_stem = lru_cache(maxsize=100_000)(stem)


@dataclass(frozen=True)
class Vocabulary:
    """Words found in a set of texts, with a way to say each of them."""

    terms: tuple[str, ...]
    """Stems, sorted."""
    wordings: tuple[str, ...]
    """The most frequent wording of each."""
    place: Mapping[str, int]
    """Stem -> its number."""


def read_words(texts: Sequence[str], *, min_texts: int = 3) -> tuple[Vocabulary, sparse.csc_array]:
    """Collect the words that enough texts hold, and where they are; not those that say nothing ("of", "the").

    Args:
        texts: the texts names may be made of; never those a name is tested on.
        min_texts: texts that must hold a word.

    Returns:
        The words, and (n, n_words) float64, 1 where a text holds a word. Texts with none of them are rows of zeros.
    """
    number: dict[str, int] = {}
    used: list[Counter[str]] = []
    column, pointer = array("q"), array("q", [0])
    for text in texts:
        for term, wording in _spoken(text).items():
            if term not in number:
                number[term] = len(used)
                used.append(Counter())
            used[number[term]][wording] += 1
            column.append(number[term])
        pointer.append(len(column))
    terms = tuple(sorted(term for term, i in number.items() if used[i].total() >= min_texts))
    place = {term: i for i, term in enumerate(terms)}
    wordings = tuple(_wording(used[number[term]]) for term in terms)
    kept = np.array([place.get(term, -1) for term in number] or [0])[column]
    row = np.repeat(np.arange(len(texts)), np.diff(pointer))[kept >= 0]
    kept = kept[kept >= 0]
    held = sparse.coo_array((np.ones(len(kept)), (row, kept)), shape=(len(texts), len(terms)))
    return Vocabulary(terms, wordings, place), sparse.csc_array(held)


def _spoken(text: str) -> dict[str, str]:
    """Stem -> wording of the words of a text; the compound that a word is part of, where it is."""
    lower = text.lower().replace("’", "'")
    compounds = {part: whole for whole in _COMPOUND.findall(lower) for part in whole.split("-")}
    out: dict[str, str] = {}
    for word in words(lower):
        word = word.removesuffix("'s")
        if word in WEAK or len(word) < 3 or word.isdigit() or "'" in word:
            continue
        out.setdefault(_stem(word), compounds.get(word, word))
    return out


def _wording(counts: Counter[str]) -> str:
    """How a word is said: alone, unless most texts that hold it hold one compound of it.

    Ties go to the shorter wording, then to the alphabet: the name must not depend on the order of texts.
    """
    total = sum(counts.values())
    usual = {text: n for text, n in counts.items() if "-" not in text or n >= _USUAL * total} or counts
    return min(usual.items(), key=lambda item: (-item[1], len(item[0]), item[0]))[0]


def stems_of(phrase: str) -> tuple[str, ...]:
    """Stems of all words of a phrase, in order."""
    return tuple(_stem(word.removesuffix("'s")) for word in words(phrase))


@dataclass(frozen=True)
class Name:
    """What a feature is called: the words that fire it, headed by the concept it holds, if it holds one."""

    words: tuple[str, ...] = ()
    concept: str = ""

    def __str__(self) -> str:
        spoken = ", ".join(self.words)
        return ": ".join(part for part in (self.concept, spoken) if part)


def read_name(text: str, concepts: Sequence[str]) -> Name:
    """Read a name that a person or a model wrote: phrases between commas, headed by a known concept or not.

    "grief: grave, hospital" holds the concept grief, where there is one, and two words.
    """
    head, colon, rest = text.partition(":")
    known = {concept.casefold(): concept for concept in concepts}
    concept = known.get(" ".join(head.split()).casefold(), "") if colon else ""
    spoken = rest if concept else text.replace(":", ",")
    phrases = (" ".join(part.split()) for part in re.split(r"[,;·]", spoken))
    return Name(tuple(dict.fromkeys(phrase for phrase in phrases if stems_of(phrase))), concept)


@dataclass(frozen=True)
class Texts:
    """Plain and neutral texts of some splits."""

    rows: Rows
    factors: frozenset[str]
    """Stems of the values of factors: instruments, genres and whatever else varies in every emotion by design."""

    @classmethod
    def of(
        cls, rows: Rows, prompts: "pl.DataFrame | None", splits: Sequence[str]
    ) -> "tuple[Texts, np.ndarray]":
        """The plain and neutral texts of some splits, and their row numbers.

        A text of unknown emotion cannot say whether a word goes with an emotion, so it takes no part.

        Args:
            rows: of the study.
            prompts: its prompt table, with columns of factors or without; None: none is known.
            splits: of the texts.

        Raises:
            BadInput: there are none.
        """
        numbers = rows.where(*splits)
        if not len(numbers):
            raise BadInput(
                f"names: no prompts in split {' or '.join(splits)}; add prompts or change the split"
            )
        factors: set[str] = set()
        for factor in FACTORS if prompts is not None else ():
            if prompts is not None and factor in prompts.columns:
                for value in prompts[factor].drop_nulls().unique():
                    factors.update(stems_of(str(value)))
        return cls(rows[numbers], frozenset(factors)), numbers

    @property
    def weights(self) -> np.ndarray:
        """(n,) evidence of each text: those of one group and label add up to one.

        Where a group holds several emotions, as an annotator's texts do, each text is a piece of evidence of its own.
        """
        cell, mixed = self.cells
        return np.where(mixed, 1.0, 1.0 / np.bincount(cell)[cell])

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) int, number of each text's group and label; (n,) bool, whether its group holds several emotions."""
        group, label = dense_codes(self.rows.group)[0], self.rows.label
        pairs = np.stack([group, label])
        emotional = np.unique(pairs[:, label >= 0], axis=1)[0]
        several = np.bincount(emotional, minlength=group.max() + 1) > 1
        return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1), several[group]


def lift(held: sparse.csc_array, texts: Texts, weights: np.ndarray) -> np.ndarray:
    """How many times as often texts of an emotion hold a word as all other texts do.

    Args:
        held: (n, t) 1 where a text holds a word.
        texts: the n texts.
        weights: (n,) evidence of each.

    Returns:
        (t, C) float64. Words of templates and instruments stand near 1 everywhere. A word that no other text holds
        counts as held by a tenth of a piece of evidence, so that it is not infinite.
    """
    every = np.asarray(held.T @ weights)
    out = np.empty((len(every), texts.rows.n_emotions))
    for c in range(texts.rows.n_emotions):
        own = np.where(texts.rows.label == c, weights, 0.0)
        n_own, inside = own.sum(), np.asarray(held.T @ own)
        n_other = weights.sum() - n_own
        share = inside / max(n_own, 1e-12)
        other = (np.maximum(every - inside, 0) + 0.1 * np.minimum(inside, 1)) / max(n_other, 1e-12)
        out[:, c] = np.divide(share, other, out=np.zeros(len(share)), where=other > 0)
    return out


def log_odds_z(
    terms: sparse.csc_array, fires: np.ndarray, weights: np.ndarray, *, prior: float
) -> np.ndarray:
    """z-scores of every term for every feature: above 0 where the term goes with firing.

    Weighted log-odds with an informative prior (Monroe, Colaresi & Quinn 2008, "Fightin' Words", equations 15, 16, 18
    and 22): with counts y of a term in the firing texts (of n) and y' in the others (of n'), and a prior of a_0
    pseudo-counts spread as the term is spread over all texts,

        delta = log((y + a) / (n + a_0 - y - a)) - log((y' + a) / (n' + a_0 - y' - a)),
        z     = delta / sqrt(1 / (y + a) + 1 / (y' + a)).

    Args:
        terms: (n, t) 0 or 1, whether a text holds a term.
        fires: (n, d) bool, whether a feature fires.
        weights: (n,) weight of each text as evidence.
        prior: a_0, pseudo-texts that speak for "this term has nothing to do with the feature".

    Returns:
        (t, d) float64; -inf for a term that no text holds.
    """
    total = float(weights.sum())
    weighted = fires * weights[:, None]
    inside = np.asarray(terms.T @ weighted)
    every = np.asarray(terms.T @ weights)[:, None]
    n_inside = weighted.sum(axis=0)
    a = np.maximum(prior * every / total, 1e-9)
    outside, n_outside = every - inside, total - n_inside
    # Rounding may leave a hair below zero where a term is in every text.
    rest_in = np.maximum(n_inside + prior - inside - a, 1e-9)
    rest_out = np.maximum(n_outside + prior - outside - a, 1e-9)
    delta = np.log((inside + a) / rest_in) - np.log((np.maximum(outside, 0) + a) / rest_out)
    z = delta / np.sqrt(1 / (inside + a) + 1 / (np.maximum(outside, 0) + a))
    return np.where(every > 0, z, -np.inf)
