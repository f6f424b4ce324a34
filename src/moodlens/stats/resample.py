"""Intervals from resampling whole groups: of AUROCs, of means over rows, of means over prompts."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from moodlens.stats.ranks import run_starts
from moodlens.stats.units import dense_codes

_ROWS_AT_ONCE = 4_000_000  # entries of (resamples, rows) held in memory
_COUNTS_KEPT = 16  # numbers of judged groups whose resamples are held in memory


def drawn_rows(numbers: np.ndarray, most: int, seed: int | list[int]) -> np.ndarray:
    """``most`` of the ``numbers`` (int, rising), drawn at random, in their order; all of them where they are no more.

    At random, since every so-many-th row of a table that goes through its labels in turn would be of one label.
    """
    if len(numbers) <= most:
        return numbers
    return numbers[np.sort(np.random.default_rng(seed).choice(len(numbers), most, replace=False))]


def bootstrap_weights(groups: np.ndarray, n: int, seed: int) -> np.ndarray:
    """``(n, n_groups)`` float32: how often each group is drawn in each of ``n`` resamples with replacement.

    Groups are those of :func:`moodlens.stats.units.dense_codes`, in that order.
    """
    _, n_groups = dense_codes(groups)
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n).astype(np.float32)


def _small_weights(n_groups: int, n: int, seed: int) -> np.ndarray:
    """The numbers of :func:`bootstrap_weights`, in a byte each: many groups are drawn a few times at most."""
    rng, even = np.random.default_rng(seed), np.full(n_groups, 1 / max(n_groups, 1))
    step = max(1, _ROWS_AT_ONCE // max(n_groups, 1))
    parts = [rng.multinomial(n_groups, even, size=min(step, n - at)) for at in range(0, n, step)]
    return np.concatenate([part.astype(np.min_scalar_type(int(part.max(initial=0)))) for part in parts])


def mean_interval(
    values: np.ndarray, n_resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float] | None:
    """Percentile interval of the mean of independent ``values`` (n,), NaN left out; None with fewer than two."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), size=(n_resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Resampled:
    """One AUROC and its resamples; NaN where there are no positives or no negatives."""

    value: float
    drawn: np.ndarray
    """(b,)"""

    @classmethod
    def nothing(cls) -> "Resampled":
        """Where there is nothing to measure."""
        return cls(np.nan, np.zeros(0))

    @property
    def estimate(self) -> float | None:
        """The value; None where there is nothing."""
        return float(self.value) if np.isfinite(self.value) else None

    @property
    def ci(self) -> tuple[float, float] | None:
        """The middle 95 % of the resamples; None where there is nothing."""
        drawn = self.drawn[np.isfinite(self.drawn)]
        if self.estimate is None or not len(drawn):
            return None
        low, high = np.quantile(drawn, (0.025, 0.975))
        return float(low), float(high)


class GroupResamples:
    """Resamples of whole groups that many scores share, so that their means can be resampled too."""

    def __init__(self, groups: np.ndarray, n: int, seed: int):
        """groups: ``(rows,)``; n: resamples."""
        self.group, self.n_groups = dense_codes(groups)
        self.weights = _small_weights(self.n_groups, n, seed)

    def auroc(self, scores: np.ndarray, own: np.ndarray) -> Resampled:
        """AUROC of ``scores (rows,)`` for ``own (rows,)`` bool, ties counting one half.

        One group of either kind varies by nothing that can be seen: there the resamples are NaN.
        """
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(run_starts(scores[order]))
        positive = own[order].astype(np.float64)
        value = _areas(np.ones((1, len(own))), starts, positive)[0]
        if min(len(np.unique(self.group[own])), len(np.unique(self.group[~own]))) < 2:
            return Resampled(float(value), np.full(len(self.weights), np.nan))
        step = max(1, _ROWS_AT_ONCE // max(len(own), 1))
        drawn = [
            _areas(self.weights[at : at + step][:, self.group[order]].astype(np.float64), starts, positive)
            for at in range(0, len(self.weights), step)
        ]
        return Resampled(float(value), np.concatenate(drawn))


def _areas(weights: np.ndarray, starts: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Weighted AUROC for every row of ``weights (b, n)``; rows in order of score, of which ``starts`` begin a run of ties."""
    above = np.add.reduceat(weights * positive, starts, axis=1)
    below = np.add.reduceat(weights * (1 - positive), starts, axis=1)
    beaten = np.cumsum(below, axis=1) - below / 2  # negatives below, and half of those that tie
    pairs = above.sum(axis=1) * below.sum(axis=1)
    won = (above * beaten).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def mean_of(parts: list[Resampled]) -> Resampled:
    """Mean over those that have a value; NaN if none has."""
    parts = [part for part in parts if np.isfinite(part.value)]
    if not parts:
        return Resampled.nothing()
    return Resampled(
        float(np.mean([part.value for part in parts])), np.mean([part.drawn for part in parts], axis=0)
    )


@dataclass(frozen=True)
class GroupMeans:
    """Means over rows with intervals from resampling the groups that were judged."""

    group: np.ndarray
    """(n,) int, group of every row of the study, 0..g-1."""
    n: int
    """Resamples, b."""
    seed: int
    drawn: dict[int, np.ndarray] = field(default_factory=dict)
    """Groups judged, k -> ``(b, k)`` float32, how often each resample holds each of them."""

    @classmethod
    def of(cls, groups: np.ndarray, n: int, seed: int) -> "GroupMeans":
        """``n`` resamples of ``groups (rows,)``."""
        return cls(dense_codes(groups)[0], n, seed)

    @cached_property
    def n_groups(self) -> int:
        """g"""
        return int(self.group.max(initial=-1)) + 1

    def sums(self, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of ``values (m, r)`` over the groups of ``rows (r,)``: ``(m, g)``, and counts ``(g,)``."""
        from scipy import sparse

        member = sparse.csr_array(
            (np.ones(len(rows), dtype=values.dtype), (np.arange(len(rows)), self.group[rows])),
            shape=(len(rows), self.n_groups),
        )
        return values @ member, np.bincount(self.group[rows], minlength=self.n_groups).astype(np.float32)

    def interval(self, sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, 2.5 % and 97.5 % of the resampled means. sums (m, g), counts (g,) or (m, g) -> three (m,).

        Groups of which no row was judged are not drawn. Fewer than two judged groups vary by nothing that can be seen:
        their ends are NaN.
        """
        total = np.broadcast_to(counts, sums.shape).sum(axis=1, dtype=np.float64)
        mean = np.divide(
            sums.sum(axis=1, dtype=np.float64), total, out=np.full(len(sums), np.nan), where=total > 0
        )
        low, high = np.full((2, len(sums)), np.nan)
        judged = np.broadcast_to(counts > 0, sums.shape)
        # Rows that were judged in the same groups share their resamples.
        for places in _alike(judged):
            groups = np.flatnonzero(judged[places[0]])
            if len(groups) < 2:
                continue
            weights = self._weights(len(groups))
            above = sums[np.ix_(places, groups)].astype(np.float32) @ weights.T
            of_rows = counts[groups] if counts.ndim == 1 else counts[np.ix_(places, groups)]
            below = np.broadcast_to(of_rows.astype(np.float32) @ weights.T, above.shape)
            low[places], high[places] = np.quantile(above / below, (0.025, 0.975), axis=1)
        return mean, low, high

    def _weights(self, k: int) -> np.ndarray:
        if k not in self.drawn:
            if len(self.drawn) == _COUNTS_KEPT:
                self.drawn.pop(next(iter(self.drawn)))
            picks = np.random.default_rng([self.seed, k]).integers(0, k, size=(self.n, k))
            places = (picks + k * np.arange(self.n)[:, None]).reshape(-1)
            counts = np.bincount(places, minlength=self.n * k).reshape(self.n, k)
            self.drawn[k] = counts.astype(np.float32)
        return self.drawn[k]


def _alike(judged: np.ndarray) -> list[np.ndarray]:
    """Places of the rows of ``judged (m, g)`` bool that are equal, for each different row."""
    if len(judged) and judged.strides[0] == 0:  # one row, shown m times
        return [np.arange(len(judged))]
    same = np.unique(np.packbits(judged, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return [np.flatnonzero(same == i) for i in range(same.max(initial=-1) + 1)]
