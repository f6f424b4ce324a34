"""One-sided permutation p-values of AUROC for all features at once, with labels moved over groups.

The statistic of feature f for emotion c is its AUROC against the other emotions,
``1/2 + S / (2 n_c (n - n_c))`` with S the sum of doubled centred ranks over the rows of c. Units differ in
size, so n_c differs from one permutation to the next. S is a whole number below n^2/4: float32 holds it
exactly up to 8,191 rows, float64 beyond, and division rounds equal fractions to equal floats. Ties with
the observed value are therefore found exactly, and count against the feature.
"""

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput, Progress, silent
from moodlens.core.maps import Pages, room
from moodlens.stats.units import Units, UnitSums, draw_labels

_EXACT_FLOAT32_ROWS = 8191
_KEPT = 2**28
"""Bytes of permuted labels beyond which they lie on disk."""
_CHUNK, _CHUNK_ENTRIES = 500, 2**24
"""Permutations that are drawn together, and labels of theirs, at most."""


@dataclass(frozen=True)
class Labelling:
    """One labelling of the units, and the (feature, emotion) pairs to judge under it."""

    labels: np.ndarray
    """(U,) int, the labelling that plays the observed one."""
    emotion: np.ndarray
    """(d,) int, the emotion each feature is tested for; -1 where it is not tested."""


@dataclass(frozen=True)
class PermutationP:
    """What the permutations say of one labelling; NaN where a feature was not tested."""

    p: np.ndarray
    """(d,) one-sided p = (b + 1) / (m + 1), b = permutations that do at least as well."""
    p_maxt: np.ndarray
    """(d,) family-wise p: permutations whose best tested pair does at least as well (Westfall & Young 1993,
    single step). Pairs are put on one scale by their standard deviation under permutation. Only the first
    labelling of a call gets it."""


class Permutations:
    """Judges several labellings against one set of permutations, some features at a time.

    The permutation distribution depends on the units and on how many of them carry each emotion, not on
    which, so the observed labels and shuffled copies of them share it. Features that come in several parts meet the
    same permutations, so that the result does not depend on the parts.

    Args:
        n_labellings: how many labellings come with every part.
        n_emotions: how many emotions there are.
        n_permutations: m; the smallest possible p is 1 / (m + 1).
        rng: from whose state the permutations are drawn.
        n_parts: in how many parts the features that are tested come; of more than one, the permutations are kept.

    Raises:
        BadInput: there is no permutation.
    """

    def __init__(
        self,
        n_labellings: int,
        n_emotions: int,
        *,
        n_permutations: int,
        rng: np.random.Generator,
        n_parts: int = 1,
    ) -> None:
        if n_permutations < 1:
            raise BadInput(f"n_permutations must be at least 1, not {n_permutations}")
        self._n_emotions, self._m, self._rng = n_emotions, n_permutations, rng
        self._at_least: list[list[np.ndarray]] = [[] for _ in range(n_labellings)]
        self._tested: list[list[np.ndarray]] = [[] for _ in range(n_labellings)]
        self._observed_z: list[np.ndarray] = []
        self._maxima = np.full(n_permutations, -np.inf)
        self._keep, self._kept = n_parts > 1, None

    def add(self, sums: UnitSums, labellings: list[Labelling], progress: Progress = silent) -> None:
        """Judge the features of ``sums``, which are those that ``labellings`` speak of.

        Args:
            sums: sums over the units of the rows that judge.
            labellings: of those units, each a permutation of the others.
            progress: called as ``progress("permutations", done, total)``.
        """
        d = sums.scores.shape[1]
        exact = np.float32 if sums.n <= _EXACT_FLOAT32_ROWS else np.float64
        rows = sums.units.rows.astype(exact)
        needed = np.zeros((self._n_emotions, d), dtype=bool)
        for labelling in labellings:
            tested = np.flatnonzero(labelling.emotion >= 0)
            needed[labelling.emotion[tested], tested] = True
        used = [np.flatnonzero(of_emotion) for of_emotion in needed]
        by_feature = [np.ascontiguousarray(sums.scores[:, f].T, dtype=exact) for f in used]
        location, scale = zip(
            *(_moments(sums, c, f, labellings[0].labels) for c, f in enumerate(used)), strict=True
        )

        # Where each labelling's pairs sit among the rows computed for their emotion, and what they observed.
        places: list[list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]] = []
        for i, labelling in enumerate(labellings):
            z = np.full(d, np.nan)
            parts = []
            for c in range(self._n_emotions):
                feature = np.flatnonzero(labelling.emotion == c)
                if not len(feature):
                    continue
                at = np.searchsorted(used[c], feature)
                one_hot = (labelling.labels == c).astype(exact)
                value = _lead(by_feature[c][at], one_hot[:, None], rows, sums.n)[:, 0]
                z[feature] = _standardise(value, location[c][at], scale[c][at])
                parts.append((c, at, feature, value))
            places.append(parts)
            self._tested[i].append(labelling.emotion >= 0)
            if i == 0:
                self._observed_z.append(z)

        at_least = np.zeros((len(labellings), d), dtype=np.int64)
        # Where nothing is tested nothing is drawn: of many units, drawing takes longer than all the rest.
        for begin, drawn in self._drawn(sums.units) if needed.any() else ():
            m = len(drawn)
            for c in range(self._n_emotions):
                if not len(used[c]):
                    continue
                lead = _lead(by_feature[c], (drawn == c).astype(exact).T, rows, sums.n)
                for i, (_, at, feature, value) in (
                    (i, p) for i, of in enumerate(places) for p in of if p[0] == c
                ):
                    null = lead[at]
                    at_least[i, feature] += np.count_nonzero(null >= value[:, None], axis=1)
                    if i == 0:
                        z = _standardise(null, location[c][at][:, None], scale[c][at][:, None])
                        best = self._maxima[begin : begin + m]
                        np.maximum(best, z.max(axis=0), out=best)
            progress("permutations", begin + m, self._m)
        for i, counts in enumerate(at_least):
            self._at_least[i].append(counts)

    def _drawn(self, units: Units) -> Iterator[tuple[int, np.ndarray]]:
        """Permuted labels, some permutations at a time, each with the number of its first."""
        together, shape = _together(len(units.labels)), (self._m, len(units.labels))
        steps = range(0, self._m, together)
        if self._kept is not None:
            pages = Pages()
            for begin in steps:
                yield begin, self._kept[begin : begin + together]
                pages.count(together, shape[1], [self._kept], apart=False)
            return
        rng, kept = copy.deepcopy(self._rng), None
        for begin in steps:
            drawn = draw_labels(units, min(together, self._m - begin), rng)
            if begin == 0 and self._keep:
                with suppress(BadInput):  # without room for them they are drawn again
                    kept = room(*shape, _KEPT, drawn.dtype.type)
            if kept is not None:
                kept[begin : begin + together] = drawn
            yield begin, drawn
        self._kept = kept

    def results(self) -> list[PermutationP]:
        """What is known of all features so far, in the order in which they came; one for each labelling."""
        out = []
        nothing = np.zeros(0)
        for i, (counts, parts) in enumerate(zip(self._at_least, self._tested, strict=True)):
            tested = np.concatenate([nothing.astype(bool), *parts])
            p = np.where(tested, (np.concatenate([nothing, *counts]) + 1) / (self._m + 1), np.nan)
            p_maxt = np.full(len(tested), np.nan)
            if i == 0 and tested.any():
                # How many permutations have a maximum at least as large, by position in the sorted maxima.
                observed = np.concatenate(self._observed_z)[tested]
                below = np.searchsorted(np.sort(self._maxima), observed, side="left")
                p_maxt[tested] = (self._m - below + 1) / (self._m + 1)
            out.append(PermutationP(p, p_maxt))
        return out


def _together(n_units: int) -> int:
    """Permutations that are drawn together: fewer of many units, so that they take no more memory."""
    return min(_CHUNK, max(1, _CHUNK_ENTRIES // max(1, n_units)))


def _lead(scores: np.ndarray, one_hot: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    """``2 (AUROC - 1/2)``: scores (f, U), one_hot (U, m), rows (U,) -> (f, m)."""
    n_c = rows @ one_hot
    return (scores @ one_hot) / (n_c * (n - n_c))


def _moments(
    sums: UnitSums, c: int, features: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation under permutation of the lead, taking n_c at its mean; both (f,) float64.

    Sampling without replacement within each stratum: exact for the sum of scores. They only put pairs on
    one scale, so they need not be exact for the quotient, but must not depend on which units carry c.
    """
    units: Units = sums.units
    scores = sums.scores[:, features]
    mean, variance, mean_rows = np.zeros(len(features)), np.zeros(len(features)), 0.0
    for stratum in np.unique(units.strata):
        member = units.strata == stratum
        size, k = int(member.sum()), int((labels[member] == c).sum())
        centre = scores[member].mean(axis=0)
        mean += k * centre
        mean_rows += k * units.rows[member].mean()
        if size > 1:
            variance += (k * (size - k) / (size * (size - 1))) * ((scores[member] - centre) ** 2).sum(axis=0)
    pairs = mean_rows * (sums.n - mean_rows)
    return mean / pairs if pairs else mean, np.sqrt(variance) / pairs if pairs else variance


def _standardise(value: np.ndarray, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    # A feature that cannot vary under permutation carries no evidence: it never leads.
    return np.divide(value - location, scale, out=np.full(value.shape, -np.inf), where=scale > 0)
