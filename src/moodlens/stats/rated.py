"""Rank correlation of every feature with a rating, and its permutation p-values with ratings moved over groups.

Spearman's correlation is the product-moment correlation of mid-ranks. The features are ranked once and their ranks are
summed over exchangeable units; a rating is one value for each unit, so the correlation under any dealing of the ratings is
one matrix product. Ranks are whole numbers and the sums exact, so that a draw that equals the observed value is found.
"""

from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput, Progress, silent
from moodlens.stats.pvalues import TIES
from moodlens.stats.ranks import rank_scores
from moodlens.stats.units import Units, draw_labels, exchangeable_units

_CHUNK = 500


@dataclass(frozen=True)
class RatedSums:
    """What the correlations need of rated rows, summed per unit, whatever the ratings are."""

    units: Units
    """Of the ratings: labels are numbers of rating values. A group with one value is a unit and moves as a whole; one with
    several is a stratum, within which the ratings of its texts are exchanged."""
    value: np.ndarray
    """(V,) float64 whole numbers: doubled centred mid-rank of every rating value among the rows."""
    scores: np.ndarray
    """(U, d) float64 whole numbers: sums of doubled centred ranks of the codes."""
    fires: np.ndarray
    """(U, d) bool: fires in a row of the unit."""
    spread: np.ndarray
    """(d,) float64: sums of squares of the codes' ranks; 0 for a constant feature."""
    n: int
    """rows."""

    @classmethod
    def of(
        cls,
        codes: np.ndarray,
        ratings: np.ndarray,
        groups: np.ndarray | None,
        copies: np.ndarray | None = None,
    ) -> "RatedSums":
        """Sums of ``codes`` (n, d) over the units of ``ratings`` (n,), ``groups`` (n,) or None, ``copies`` (n,) or None."""
        values, number, count = np.unique(np.asarray(ratings), return_inverse=True, return_counts=True)
        below = np.cumsum(count) - count
        value = (2 * below + count + 1 - (len(ratings) + 1)).astype(np.float64)
        units = exchangeable_units(number.reshape(-1), groups, copies)
        n_units = len(units.labels)
        ranks = rank_scores(codes)
        zeros = len(codes) - np.diff(ranks.excess.indptr)
        entries = ranks.excess.copy()
        column = np.repeat(np.arange(codes.shape[1]), np.diff(entries.indptr))
        square = np.bincount(column, (entries.data + ranks.zero[column]) ** 2, codes.shape[1])
        fires = np.zeros((n_units, codes.shape[1]), dtype=bool)
        row, feature = np.nonzero(codes > 0)
        fires[units.of_row[row], feature] = True
        return cls(
            units,
            value[: len(values)],
            ranks.sum_over(units.of_row, n_units),
            fires,
            square + zeros * ranks.zero**2,
            len(codes),
        )

    def first(self, d: int) -> "RatedSums":
        """The sums of the first ``d`` features alone."""
        return RatedSums(
            self.units, self.value, self.scores[:, :d], self.fires[:, :d], self.spread[:d], self.n
        )

    def correlations(self, labels: np.ndarray) -> np.ndarray:
        """(m, d) correlations of ranks under labellings (m, U) of the units; 0 for a feature that does not vary."""
        rated = self.value[labels]
        rows = self.units.rows.astype(np.float64)
        spread = rated**2 @ rows - (rated @ rows) ** 2 / self.n
        below = np.sqrt(np.outer(np.maximum(spread, 0), self.spread))
        return np.divide(rated @ self.scores, below, out=np.zeros(below.shape), where=below > 0)


@dataclass(frozen=True)
class RatedLabelling:
    """One labelling of the units, and which end of the scale each feature is tested for."""

    labels: np.ndarray
    """(U,) int, numbers of rating values."""
    sign: np.ndarray
    """(d,) int: 1 for the high end, -1 for the low end, 0 where it is not tested."""


@dataclass(frozen=True)
class RatedP:
    """What the permutations say of one labelling; NaN where a feature was not tested."""

    p: np.ndarray
    """(d,) one-sided p = (b + 1) / (m + 1)."""
    p_maxt: np.ndarray
    """(d,) family-wise p (Westfall & Young 1993, single step); only of the first labelling."""


def rating_p(
    sums: RatedSums,
    labellings: list[RatedLabelling],
    *,
    n_permutations: int,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> list[RatedP]:
    """Judge several labellings, each a permutation of the others, against one set of permutations.

    Args:
        sums: over the units of the rows that judge.
        labellings: of those units.
        n_permutations: m; the smallest possible p is 1 / (m + 1).
    """
    progress = progress or silent
    if n_permutations < 1:
        raise BadInput(f"n_permutations must be at least 1, not {n_permutations}")
    d = sums.scores.shape[1]
    used = np.flatnonzero(np.any([labelling.sign != 0 for labelling in labellings], axis=0))
    few = RatedSums(
        sums.units, sums.value, sums.scores[:, used], sums.fires[:, used], sums.spread[used], sums.n
    )
    location, scale = _moments(few)
    signs = [labelling.sign[used] for labelling in labellings]
    observed = [few.correlations(labelling.labels[None])[0] for labelling in labellings]
    slack = [TIES * np.abs(own) for own in observed]
    reached = np.zeros((len(labellings), len(used)), dtype=np.int64)
    maxima = np.full(n_permutations, -np.inf)
    for begin in range(0, n_permutations, _CHUNK):
        m = min(_CHUNK, n_permutations - begin)
        null = few.correlations(draw_labels(sums.units, m, rng))
        for i, (own, sign) in enumerate(zip(observed, signs, strict=True)):
            at_least = np.where(sign > 0, null >= own - slack[i], null <= own + slack[i])
            reached[i] += at_least.sum(axis=0)
        tested = signs[0] != 0
        if tested.any():
            z = _standardise(null[:, tested], location[tested], scale[tested], signs[0][tested])
            maxima[begin : begin + m] = z.max(axis=1)
        progress("permutations", begin + m, n_permutations)
    out = []
    for i, sign in enumerate(signs):
        p, p_maxt = np.full(d, np.nan), np.full(d, np.nan)
        p[used[sign != 0]] = ((reached[i] + 1) / (n_permutations + 1))[sign != 0]
        if i == 0 and (sign != 0).any():
            tested = sign != 0
            z = _standardise(observed[0][tested], location[tested], scale[tested], sign[tested])
            ordered = np.sort(maxima)
            below = np.searchsorted(ordered, z - TIES * np.where(np.isfinite(z), np.abs(z), 0.0), side="left")
            p_maxt[used[tested]] = (n_permutations - below + 1) / (n_permutations + 1)
        out.append(RatedP(p, p_maxt))
    return out


def _moments(sums: RatedSums) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each correlation under permutation, the spread of the ratings taken as it is.

    Sampling without replacement within each stratum. They only put features on one scale.
    """
    units, rated = sums.units, sums.value[sums.units.labels]
    d = sums.scores.shape[1]
    mean, variance = np.zeros(d), np.zeros(d)
    for stratum in np.unique(units.strata):
        member = units.strata == stratum
        size, scores, values = int(member.sum()), sums.scores[member], rated[member]
        mean += size * scores.mean(axis=0) * values.mean()
        if size > 1:
            apart = ((scores - scores.mean(axis=0)) ** 2).sum(axis=0)
            variance += apart * ((values - values.mean()) ** 2).sum() / (size - 1)
    rows = units.rows.astype(np.float64)
    spread = max(float(rated**2 @ rows - (rated @ rows) ** 2 / sums.n), 0.0)
    below = np.sqrt(spread * sums.spread)
    scaled = np.divide(1.0, below, out=np.zeros(d), where=below > 0)
    return mean * scaled, np.sqrt(variance) * scaled


def _standardise(value: np.ndarray, location: np.ndarray, scale: np.ndarray, sign: np.ndarray) -> np.ndarray:
    # A feature that cannot vary under permutation carries no evidence: it never leads.
    return np.divide(sign * (value - location), scale, out=np.full(value.shape, -np.inf), where=scale > 0)
