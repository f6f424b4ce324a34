"""How a name is read: without a label, from what texts that hold its words look like to the encoder.

Words of unseen texts are other words: a name's own words hardly ever stand in them, so looking for these finds nothing
(AUROC 0.51 for the concept of a text from three words of it; see docs/statistics.md). A reader would know that
"obituary" goes with "grave". The stand-in for a reader is the encoder's space: each part of a name (a word, the concept)
is the mean of the train + val texts that hold it, seen in the directions in which texts of one group do not vary (the
discriminant of Fisher 1936, with a ridge), and an unseen text is read by where its embedding lies. Texts of a group are
about the same, in other templates and with other instruments: what varies among them is not what a word means.
No firing of the feature enters: two features with the same name are read alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from moodlens.features.names.words import Name, Texts, Vocabulary, stems_of
from moodlens.stats.moments import mean_row, products, scatter, wide_blocks

RIDGE = 0.3
"""Times the mean variance; agreement with people's concepts is flat from 0.1 to 1."""


@dataclass(frozen=True)
class NameReader:
    """Reads names, as it learned from n texts (train + val) with embeddings of width d_in."""

    vocabulary: Vocabulary
    concepts: tuple[tuple[int, str], ...]
    """(emotion, concept) of every concept; two emotions may know the same one."""
    mean: np.ndarray
    """(d_in,) of the texts, by evidence."""
    covariance: np.ndarray
    """(d_in, d_in) of the texts, by evidence."""
    directions: np.ndarray
    """(n_parts, d_in) float64: words, then concepts; a part's score has mean 0 and deviation 1 over the n texts."""

    @classmethod
    def fit(
        cls,
        vocabulary: Vocabulary,
        held: sparse.csc_array,
        texts: Texts,
        x: np.ndarray,
        numbers: np.ndarray,
        weights: np.ndarray,
    ) -> "NameReader":
        """Learn what texts that hold a word, or belong to a concept, look like.

        Args:
            vocabulary: of the texts.
            held: (n, t) 1 where a text holds a word.
            texts: train + val.
            x: (n_rows, d_in) embeddings of the study.
            numbers: (n,) the texts' rows of it, rising.
            weights: (n,) evidence of each.
        """
        fitted = {
            (int(label), str(concept))
            for label, concept in zip(texts.rows.label, texts.rows.concept, strict=True)
            if label >= 0 and concept
        }
        concepts = tuple(sorted(fitted))
        member = concept_members(concepts, texts)
        parts = sparse.csr_array(sparse.hstack([held, member]).multiply(weights[:, None]).T)
        mean = mean_row(x, numbers, weights)
        covariance = scatter(x, mean, numbers, weights) / weights.sum()
        nuisance = _within_groups(x, numbers, mean, texts, weights)
        nuisance = covariance if nuisance is None else nuisance
        # Texts of a group may be all equal; embeddings that do not vary at all say nothing, whatever the ridge.
        spread = max(float(np.trace(nuisance)), 1e-6 * float(np.trace(covariance))) / len(nuisance)
        ridge = RIDGE * spread or 1.0
        size = np.maximum(np.asarray(parts.sum(axis=1)), 1e-12)[:, None]
        prototypes = np.zeros((len(parts.indptr) - 1, x.shape[1]))
        by_text = parts.tocsc()
        for part, block in wide_blocks(x, numbers):
            prototypes += by_text[:, part] @ (block - mean)
        prototypes /= size
        directions = np.linalg.solve(nuisance + ridge * np.eye(len(nuisance)), prototypes.T).T
        return cls(vocabulary, concepts, mean, covariance, _unit_deviation(directions, covariance))

    def read(
        self,
        names: Sequence[Name],
        emotions: Sequence[int],
        x: np.ndarray,
        numbers: np.ndarray | None = None,
    ) -> np.ndarray:
        """How much each text reads like each name.

        The words' scores are averaged and brought to deviation 1; the concept counts as much as all words together.

        Args:
            names: m names.
            emotions: (m,) of each name's feature, which says whose concept is meant.
            x: (n, d_in) embeddings.
            numbers: the rows of ``x`` (int, rising) that are read; None: all.

        Returns:
            (n, m) float64; 0 for a name of which nothing is known.
        """
        count = len(self.vocabulary.terms)
        places = [self.places(name) for name in names]
        words = sparse.csr_array(
            (
                np.concatenate([np.full(len(p), 1 / max(len(p), 1)) for p in places] or [np.empty(0)]),
                (
                    np.repeat(np.arange(len(names)), [len(p) for p in places]),
                    np.concatenate([*places, []]).astype(int),
                ),
            ),
            shape=(len(names), count),
        )
        total = _unit_deviation(np.asarray(words @ self.directions[:count]), self.covariance)
        number = {concept: i for i, concept in enumerate(self.concepts)}
        for i, (name, emotion) in enumerate(zip(names, emotions, strict=True)):
            if (int(emotion), name.concept) in number:
                total[i] += self.directions[count + number[int(emotion), name.concept]]
        return products(x, total, self.mean, numbers)

    def places(self, name: Name) -> np.ndarray:
        """Numbers of the known words of a name; of a phrase, all of its known words."""
        place = self.vocabulary.place
        return np.array(
            list(dict.fromkeys(place[s] for word in name.words for s in stems_of(word) if s in place)),
            dtype=int,
        )


def _within_groups(
    x: np.ndarray, numbers: np.ndarray, mean: np.ndarray, texts: Texts, weights: np.ndarray
) -> np.ndarray | None:
    """(d_in, d_in) covariance of texts about the mean of their group and label; None where most texts stand alone.

    The texts of an annotator are not about the same, so that groups with several emotions take no part.
    """
    cell, mixed = texts.cells
    size = np.bincount(cell)
    kept = (size[cell] > 1) & ~mixed
    if kept.mean() < 0.5:
        return None
    cell, numbers, weights = cell[kept], numbers[kept], weights[kept]
    member = sparse.csc_array(
        (np.ones(len(cell)), (cell, np.arange(len(cell)))), shape=(len(size), len(cell))
    )
    means = np.zeros((len(size), x.shape[1]))
    for part, block in wide_blocks(x, numbers):
        means += member[:, part] @ (block - mean)
    means /= np.maximum(size, 1)[:, None]
    out = np.zeros((x.shape[1], x.shape[1]))
    for part, block in wide_blocks(x, numbers):
        about = block - mean - means[cell[part]]
        out += (about * weights[part, None]).T @ about
    return out / weights.sum()


def _unit_deviation(directions: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Scaled so that scores deviate by 1; 0 where they do not vary."""
    deviation = np.sqrt(
        np.maximum(np.einsum("ij,jk,ik->i", directions, covariance, directions, optimize=True), 0)
    )
    return np.divide(
        directions, deviation[:, None], out=np.zeros_like(directions), where=deviation[:, None] > 1e-12
    )


def concept_members(concepts: Sequence[tuple[int, str]], texts: Texts) -> sparse.csc_array:
    """(n, n_concepts) float64, 1 where a text belongs to a concept of its emotion."""
    member = [
        np.flatnonzero((texts.rows.label == label) & (texts.rows.concept == concept))
        for label, concept in concepts
    ]
    starts = np.cumsum([0, *map(len, member)])
    numbers = np.concatenate([*member, np.zeros(0, dtype=np.int64)])
    return sparse.csc_array((np.ones(len(numbers)), numbers, starts), shape=(len(texts.rows), len(concepts)))
