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

    def matrix(self, texts: Sequence[str], longest: int = 3) -> sparse.csc_array:
        """(n, n_terms) float64, 1 where a text holds a term. Texts with none of the terms are rows of zeros."""
        place = {term: column for column, term in enumerate(self.terms)}
        pointer, column = [0], []
        for text in texts:
            found = {place[term] for term, _ in _ngrams(text, longest) if term in place}
            column.extend(sorted(found))
            pointer.append(len(column))
        shape = (len(texts), len(self.terms))
        rows = sparse.csr_array((np.ones(len(column)), column, pointer), shape=shape)
        return sparse.csc_array(rows)


def vocabulary(texts: Sequence[str], *, longest: int = 3, min_texts: int = 3) -> Vocabulary:
    """Collect the n-grams that enough texts hold.

    N-grams stay within a clause and neither begin nor end with a word that says nothing by itself ("of", "the").

    Args:
        texts: the texts names may be made of; never those a name is tested on.
        longest: words in the longest n-gram.
        min_texts: texts that must hold a term.
    """
    count: Counter[str] = Counter()
    wording: dict[str, Counter[str]] = {}
    for text in texts:
        found = dict(_ngrams(text, longest))
        count.update(found.keys())
        for term, said in found.items():
            wording.setdefault(term, Counter())[said] += 1
    terms = sorted(term for term, n in count.items() if n >= min_texts)
    # Ties go to the shorter wording, then to the alphabet: the name must not depend on the order of texts.
    said = (
        min(wording[term].items(), key=lambda item: (-item[1], len(item[0]), item[0]))[0] for term in terms
    )
    return Vocabulary(tuple(terms), tuple(said))


def stems_of(phrase: str) -> tuple[str, ...]:
    """Stems of all words of a phrase, in order."""
    return tuple(_stem(word.removesuffix("'s")) for word in words(phrase))


def texts_with(phrases: Sequence[str], texts: Sequence[str]) -> dict[str, np.ndarray]:
    """For each phrase, the indices of the texts that hold its stems in a row, whatever the inflections."""
    index: dict[str, list[int]] = {}
    stemmed = []
    for row, text in enumerate(texts):
        clauses = [stems_of(clause) for clause in _PUNCTUATION.split(text)]
        stemmed.append(clauses)
        for item in {item for clause in clauses for item in clause}:
            index.setdefault(item, []).append(row)
    out = {}
    for phrase in phrases:
        wanted = stems_of(phrase)
        n = len(wanted)
        rows = min((index.get(item, []) for item in wanted), key=len, default=[])
        found = [
            row
            for row in rows
            if n == 1
            or any(clause[i : i + n] == wanted for clause in stemmed[row] for i in range(len(clause) - n + 1))
        ]
        out[phrase] = np.array(found, dtype=np.int64)
    return out


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
