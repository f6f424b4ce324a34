"""Names as what they claim: words and classes of texts, each a rule for where a feature fires.

N-grams of stems are taken, so that "joy", "joyful" and "joyous" are one term. Which terms set a feature's texts apart
is weighted log-odds with an informative prior, groups as evidence (Monroe, Colaresi & Quinn 2008, "Fightin' Words",
equations 15, 16, 18 and 22): with counts y of a term in the firing texts (of n) and y' in the others (of n'), and a
prior of a_0 pseudo-counts spread as the term is spread over all texts,

    delta = log((y + a) / (n + a_0 - y - a)) - log((y' + a) / (n' + a_0 - y' - a)),
    z     = delta / sqrt(1 / (y + a) + 1 / (y' + a)).

Here every text of a group counts ``1 / (texts of the group)``: one scene written thirty times is one piece
of evidence. n counts texts (in groups), since a term is present in a text or not.
"""

import re
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
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    import polars as pl

EMOTION = "emotion"
_PUNCTUATION = re.compile(r"[,.;:!?/|()\n]+")
_stem = lru_cache(maxsize=100_000)(stem)


@dataclass(frozen=True)
class Vocabulary:
    """N-grams of stems found in a set of texts, with a way to say each of them."""

    terms: tuple[str, ...]
    """Stems joined by spaces, sorted."""
    wordings: tuple[str, ...]
    """The most frequent wording of each term."""


def read_words(
    texts: Sequence[str], *, longest: int = 3, min_texts: int = 3
) -> tuple[Vocabulary, sparse.csc_array]:
    """Collect the n-grams that enough texts hold, and where they are.

    N-grams stay within a clause and neither begin nor end with a word that says nothing by itself ("of", "the").

    Args:
        texts: the texts names may be made of; never those a name is tested on.
        longest: words in the longest n-gram.
        min_texts: texts that must hold a term.

    Returns:
        The terms, and (n, n_terms) float64, 1 where a text holds a term. Texts with none of them are rows of zeros.
    """
    ngrams = [dict(_ngrams(text, longest)) for text in texts]
    vocabulary = _collect(ngrams, min_texts)
    place = {term: column for column, term in enumerate(vocabulary.terms)}
    pointer, column = [0], []
    for of_text in ngrams:
        column.extend(sorted(place[term] for term in of_text if term in place))
        pointer.append(len(column))
    shape = (len(ngrams), len(vocabulary.terms))
    rows = sparse.csr_array((np.ones(len(column)), column, pointer), shape=shape)
    return vocabulary, sparse.csc_array(rows)


def _collect(ngrams: Sequence[Mapping[str, str]], min_texts: int) -> Vocabulary:
    """The terms that enough texts hold; ngrams: term -> wording, for every text."""
    count: Counter[str] = Counter()
    for of_text in ngrams:
        count.update(of_text.keys())
    terms = sorted(term for term, n in count.items() if n >= min_texts)
    used: dict[str, Counter[str]] = {term: Counter() for term in terms}
    for of_text in ngrams:
        for term, wording in of_text.items():
            if term in used:
                used[term][wording] += 1
    # Ties go to the shorter wording, then to the alphabet: the name must not depend on the order of texts.
    wordings = (
        min(used[term].items(), key=lambda item: (-item[1], len(item[0]), item[0]))[0] for term in terms
    )
    return Vocabulary(tuple(terms), tuple(wordings))


def stems_of(phrase: str) -> tuple[str, ...]:
    """Stems of all words of a phrase, in order."""
    return tuple(_stem(word.removesuffix("'s")) for word in words(phrase))


class StemIndex:
    """Where stems stand in a set of texts, to look phrases up in."""

    def __init__(self, texts: Sequence[str]):
        self._clauses: list[list[tuple[str, ...]]] = []
        self._holding: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            clauses = [stems_of(clause) for clause in _PUNCTUATION.split(text)]
            self._clauses.append(clauses)
            for item in {item for clause in clauses for item in clause}:
                self._holding.setdefault(item, []).append(row)

    def rows(self, phrase: str) -> np.ndarray:
        """Indices of the texts that hold the phrase's stems in a row, whatever the inflections, rising."""
        wanted = stems_of(phrase)
        n = len(wanted)
        rows = min((self._holding.get(item, []) for item in wanted), key=len, default=[])
        if n > 1:
            rows = [row for row in rows if any(_in_order(wanted, clause) for clause in self._clauses[row])]
        return np.array(rows, dtype=np.int64)


def _in_order(wanted: tuple[str, ...], clause: tuple[str, ...]) -> bool:
    n = len(wanted)
    return any(clause[i : i + n] == wanted for i in range(len(clause) - n + 1))


def _ngrams(text: str, longest: int) -> list[tuple[str, str]]:
    """(stems, wording) of every n-gram of a text."""
    out = []
    for clause in _PUNCTUATION.split(text):
        spelled = [word.removesuffix("'s") for word in words(clause)]
        stems = [_stem(word) for word in spelled]
        weak = [word in WEAK or len(word) < 3 or word.isdigit() or "'" in word for word in spelled]
        for begin in range(len(spelled)):
            if weak[begin]:
                continue
            for end in range(begin + 1, min(begin + longest, len(spelled)) + 1):
                if not weak[end - 1]:
                    out.append((" ".join(stems[begin:end]), " ".join(spelled[begin:end])))
    return out


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
    phrases, kinds = [], []
    for part in text.replace("·", ",").replace(";", ",").split(","):
        phrase = " ".join(part.split())
        same = [emotion for emotion in emotions if emotion.casefold() == phrase.casefold()]
        if same:
            kinds.append(Kind(((EMOTION, same[0]),)))
        elif stems_of(phrase):
            phrases.append(phrase)
    return Name(tuple(dict.fromkeys(phrases)), tuple(dict.fromkeys(kinds)))


@dataclass(frozen=True)
class Texts:
    """Texts whose emotion is known, with what else is known of each: what names are made from or tested on."""

    rows: Rows
    factors: Mapping[str, np.ndarray]
    """Column of the prompts -> ``(n,)`` str objects, None where it is not known."""

    @classmethod
    def of(
        cls, rows: Rows, prompts: "pl.DataFrame | None", splits: Sequence[str]
    ) -> "tuple[Texts, np.ndarray]":
        """The plain and neutral texts of some splits, and their row numbers.

        A text of unknown emotion cannot say whether a class such as "calm" holds for it, so it takes no part.

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
        columns = [] if prompts is None else [factor for factor in FACTORS if factor in prompts.columns]
        factors = {
            factor: prompts[factor].to_numpy().astype(object)[numbers]
            for factor in columns
            if prompts is not None
        }
        return cls(rows[numbers], factors), numbers

    def holds(self, kind: Kind) -> np.ndarray:
        """(n,) bool, the texts that belong to ``kind``."""
        out = np.ones(len(self.rows), dtype=bool)
        for column, value in kind.conditions:
            if column == EMOTION:
                out &= self.rows.label == self.rows.emotions.index(value)
            else:
                out &= self.factors[column] == value
        return out


def predictions(names: Sequence[Name], texts: Texts, index: StemIndex | None = None) -> np.ndarray:
    """Where each name says that its feature fires. Returns (n_names, n_texts) bool.

    ``index`` is of the texts, for who asks more than once.
    """
    index = index or StemIndex(texts.rows.texts.tolist())
    held = {word: index.rows(word) for word in sorted({word for name in names for word in name.words})}
    kinds = {kind: texts.holds(kind) for name in names for kind in name.kinds}
    out = np.zeros((len(names), len(texts.rows)), dtype=bool)
    for i, name in enumerate(names):
        for word in name.words:
            out[i, held[word]] = True
        for kind in name.kinds:
            out[i] |= kinds[kind]
    return out


def kinds_of(texts: Texts, *, min_texts: int, most_values: int = 12) -> list[Kind]:
    """The classes a name may claim: emotions, values of factors, and an emotion with a value of a short factor.

    Args:
        texts: names are made from.
        min_texts: texts that must belong to a class.
        most_values: longest list of values that is crossed with the emotions (styles are, instruments are not).
    """
    emotions = texts.rows.emotions
    out = [Kind(((EMOTION, emotion),)) for emotion in emotions]
    for factor, column in texts.factors.items():
        values = sorted({value for value in column if value is not None})
        out += [Kind(((factor, value),)) for value in values]
        if len(values) <= most_values:
            out += [Kind(((EMOTION, emotion), (factor, value))) for emotion in emotions for value in values]
    return [kind for kind in out if texts.holds(kind).sum() >= min_texts]


def group_weights(groups: np.ndarray) -> np.ndarray:
    """(n,) weight of every row, so that the rows of each group (n,) add up to one."""
    _, place, size = np.unique(groups, return_inverse=True, return_counts=True)
    return 1.0 / size[place]


def log_odds_z(
    terms: sparse.csc_array, fires: np.ndarray, weights: np.ndarray, *, prior: float
) -> np.ndarray:
    """z-scores of every term for every feature: above 0 where the term goes with firing.

    Args:
        terms: (n, t) 0 or 1, whether a text holds a term.
        fires: (n, d) bool, whether a feature fires.
        weights: (n,) weight of each text as evidence, see :func:`group_weights`.
        prior: a_0, pseudo-texts that speak for "this term has nothing to do with the feature".

    Returns:
        (t, d) float64.
    """
    total = float(weights.sum())
    weighted = fires * weights[:, None]
    inside = np.asarray(terms.T @ weighted)
    every = np.asarray(terms.T @ weights)[:, None]
    n_inside = weighted.sum(axis=0)
    a = prior * every / total
    outside, n_outside = every - inside, total - n_inside
    # Rounding may leave a hair below zero where a term is in every text.
    rest_in = np.maximum(n_inside + prior - inside - a, 1e-9)
    rest_out = np.maximum(n_outside + prior - outside - a, 1e-9)
    delta = np.log((inside + a) / rest_in) - np.log((np.maximum(outside, 0) + a) / rest_out)
    return delta / np.sqrt(1 / (inside + a) + 1 / (np.maximum(outside, 0) + a))
