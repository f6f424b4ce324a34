"""Words of texts as a sparse matrix: n-grams of stems, so that "joy", "joyful" and "joyous" are one term."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from moodlens.prompts.stems import WEAK, stem, words

_PUNCTUATION = re.compile(r"[,.;:!?/|()\n]+")
_stem = lru_cache(maxsize=100_000)(stem)


@dataclass(frozen=True)
class Vocabulary:
    """N-grams of stems found in a set of texts, with a way to say each of them."""

    terms: tuple[str, ...]
    """Stems joined by spaces, sorted."""
    said: tuple[str, ...]
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
    found = [dict(_ngrams(text, longest)) for text in texts]
    words = _collect(found, min_texts)
    place = {term: column for column, term in enumerate(words.terms)}
    pointer, column = [0], []
    for terms in found:
        column.extend(sorted(place[term] for term in terms if term in place))
        pointer.append(len(column))
    rows = sparse.csr_array((np.ones(len(column)), column, pointer), shape=(len(found), len(words.terms)))
    return words, sparse.csc_array(rows)


def _collect(found: Sequence[dict[str, str]], min_texts: int) -> Vocabulary:
    """The terms that enough texts hold; found: term -> wording, for every text."""
    count: Counter[str] = Counter()
    for one in found:
        count.update(one.keys())
    terms = sorted(term for term, n in count.items() if n >= min_texts)
    wording: dict[str, dict[str, int]] = {term: {} for term in terms}
    for one in found:
        for term, said in one.items():
            if term in wording:
                wording[term][said] = wording[term].get(said, 0) + 1
    # Ties go to the shorter wording, then to the alphabet: the name must not depend on the order of texts.
    said = (
        min(wording[term].items(), key=lambda item: (-item[1], len(item[0]), item[0]))[0] for term in terms
    )
    return Vocabulary(tuple(terms), tuple(said))


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
        found = [
            row
            for row in rows
            if n == 1
            or any(
                clause[i : i + n] == wanted
                for clause in self._clauses[row]
                for i in range(len(clause) - n + 1)
            )
        ]
        return np.array(found, dtype=np.int64)


def _ngrams(text: str, longest: int) -> list[tuple[str, str]]:
    """(stems, wording) of every n-gram of a text."""
    out = []
    for clause in _PUNCTUATION.split(text):
        said = [word.removesuffix("'s") for word in words(clause)]
        stems = [_stem(word) for word in said]
        weak = [word in WEAK or len(word) < 3 or word.isdigit() or "'" in word for word in said]
        for begin in range(len(said)):
            if weak[begin]:
                continue
            for end in range(begin + 1, min(begin + longest, len(said)) + 1):
                if not weak[end - 1]:
                    out.append((" ".join(stems[begin:end]), " ".join(said[begin:end])))
    return out
