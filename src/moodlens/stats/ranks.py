"""How often and how strongly a feature fires for each emotion: rates, selectivity, AUROC.

Ranks are taken once per feature; every AUROC is then a sum of ranks, so it is a matrix product.
Codes are mostly zero, and all zeros of a column share one rank, so only the non-zeros are sorted.
Values that differ by rounding alone share a rank: which of two equal texts comes out larger by a bit is no signal.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from moodlens.core.labels import NEUTRAL
from moodlens.core.maps import blocks

ROUNDING = 1e-6
"""Share of the largest value of a column within which values are equal: the rounding of float32 products."""


@dataclass(frozen=True)
class RankScores:
    """Doubled, centred mid-ranks of every column: ``2 * rank - (n + 1)``, which are whole numbers.

    The score of row i in column f is ``zero[f] + excess[i, f]``; ``excess`` is non-zero only where the
    column is. Whole numbers make every sum of scores exact, so ties between permutations are real ties.
    """

    excess: sparse.csc_array
    """(n, d) float64, score of a non-zero entry minus the score of a zero of its column."""
    zero: np.ndarray
    """(d,) float64, score of a zero entry."""

    def sum_over(self, unit: np.ndarray, n_units: int) -> np.ndarray:
        """Sums of scores over units of rows. ``unit``: (n,) int in 0..n_units-1. Returns (n_units, d) float64."""
        n = len(unit)
        member = sparse.csr_array((np.ones(n), (unit, np.arange(n))), shape=(n_units, n))
        rows = np.bincount(unit, minlength=n_units).astype(np.float64)
        return sparse.csr_array(member @ self.excess).toarray() + rows[:, None] * self.zero


def sparse_rows(codes: np.ndarray) -> sparse.csr_array:
    """The entries of ``codes (n, d)`` that are not zero, row by row. Several times as fast as scipy's own reading."""
    n, d = codes.shape
    flat = np.ascontiguousarray(codes).reshape(-1)
    place = np.flatnonzero(
        flat != 0
    )  # numpy lists the true of booleans far faster than the non-zero of floats
    row = place // max(d, 1)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
    small = np.int32 if max(len(place), d) < np.iinfo(np.int32).max else np.int64
    index = (place - row * d).astype(small)
    return sparse.csr_array((flat[place], index, starts.astype(small)), shape=(n, d))


def rank_scores(codes: np.ndarray) -> RankScores:
    """Rank every column of ``codes`` once, ties averaged.

    Args:
        codes: (n, d) real, finite.
    """
    n, d = codes.shape
    columns = sparse_rows(codes).tocsc()
    column = np.repeat(np.arange(d), np.diff(columns.indptr))
    order = np.lexsort((columns.data, column))
    row, value = columns.indices[order], columns.data[order]  # `column` is sorted already
    start = columns.indptr[column]
    n_zero = n - np.diff(columns.indptr)
    n_negative = np.bincount(column[value < 0], minlength=d)

    # Entries that tie form runs in the sorted order; each gets the mean of the first and last position.
    position = np.arange(len(value)) - start + 1 + np.where(value > 0, n_zero[column], 0)
    if len(value):
        new_run = run_starts(value, column)
        first = np.flatnonzero(new_run)
        last = np.r_[first[1:], len(value)] - 1
        run = np.cumsum(new_run) - 1
        doubled_rank = (position[first] + position[last])[run].astype(np.float64)
    else:
        doubled_rank = np.zeros(0)

    zero = (2 * n_negative + n_zero + 1 - (n + 1)).astype(np.float64)
    excess = doubled_rank - (n + 1) - zero[column]
    return RankScores(sparse.csc_array((excess, row, columns.indptr), shape=(n, d)), zero)


def run_starts(value: np.ndarray, column: np.ndarray | None = None) -> np.ndarray:
    """Where runs of equal values begin, ``(e,)`` bool.

    Values are equal if they are the same, or if they lie together within :data:`ROUNDING` of the largest of their
    column and apart from all others by more. So values that lie densely do not run together into one.

    Args:
        value: ``(e,)``, rising within each column.
        column: ``(e,)`` int, rising; None: all are of one.
    """
    if not len(value):
        return np.zeros(0, dtype=bool)
    column = np.zeros(len(value), dtype=np.int64) if column is None else column
    apart = np.diff(column) != 0
    begins = np.flatnonzero(np.r_[True, apart])
    slack = ROUNDING * np.repeat(
        np.maximum.reduceat(np.abs(value), begins), np.diff(np.r_[begins, len(value)])
    )
    steps = np.diff(value)
    # Zeros are not among the entries, and stand between the negative and the positive ones.
    chain = np.r_[True, apart | (steps > slack[1:]) | ((value[:-1] > 0) != (value[1:] > 0))]
    first = np.flatnonzero(chain)
    last = np.r_[first[1:], len(value)] - 1
    wide = np.repeat(value[last] - value[first] > slack[first], last - first + 1)
    return chain | (wide & np.r_[True, steps != 0])


def auroc(
    codes: np.ndarray, labels: np.ndarray, n_emotions: int, *, neutral_as_negative: bool = False
) -> np.ndarray:
    """AUROC of every feature for every emotion against the other emotions.

    Equal to the Mann-Whitney U statistic divided by the number of pairs, ties counting one half.

    Args:
        codes: (n, d) activations.
        labels: (n,) int, index of the emotion, or neutral or unknown (:mod:`moodlens.core.labels`).
        n_emotions: how many emotions there are.
        neutral_as_negative: count neutral rows among the others; otherwise they are left out, as unknown ones are.

    Returns:
        (n_emotions, d) float64 in 0..1; NaN for an emotion that has no rows or is the only one.
    """
    labels = np.asarray(labels)
    known = labels >= (NEUTRAL if neutral_as_negative else 0)
    if not known.all():
        codes, labels = codes[known], labels[known]
    n = len(labels)
    # Neutral rows share a bin of their own at the end.
    sums = rank_scores(codes).sum_over(np.where(labels < 0, n_emotions, labels), n_emotions + 1)[:n_emotions]
    n_c = np.bincount(labels[labels >= 0], minlength=n_emotions).astype(np.float64)
    return auroc_of_sums(sums, n_c, n)


def auroc_of_sums(sums: np.ndarray, n_c: np.ndarray, n: int) -> np.ndarray:
    """AUROC from sums of doubled centred ranks: ``1/2 + sum / (2 n_c (n - n_c))``.

    Args:
        sums: (C, d) sum over the rows of each emotion.
        n_c: (C,) rows of each emotion.
        n: all rows that were ranked.
    """
    pairs = (n_c * (n - n_c))[:, None]
    return np.divide(sums, 2 * pairs, out=np.full(sums.shape, np.nan), where=pairs > 0) + 0.5


def firing_rates(codes: np.ndarray, labels: np.ndarray, n_emotions: int) -> np.ndarray:
    """Smoothed share of each emotion's rows in which a feature fires: ``(fires + 1/2) / (n + 1)``.

    The half keeps a feature that never fired for the others from having infinite selectivity.

    Args:
        codes: (n, d) activations; a feature fires where its activation is above zero.
        labels: (n,) int; below 0 is left out.

    Returns:
        (n_emotions, d) float64 in 0..1.
    """
    labels = np.asarray(labels)
    known = labels >= 0
    one_hot = (labels[known] == np.arange(n_emotions)[:, None]).astype(np.float32)
    fired = sparse_rows(codes if known.all() else codes[known])
    fired.data = (fired.data > 0).astype(np.float32)
    fires = one_hot @ fired
    return smoothed_rates(fires, one_hot.sum(axis=1))


def smoothed_rates(fires: np.ndarray, n_c: np.ndarray) -> np.ndarray:
    """``(fires + 1/2) / (n_c + 1)`` for fires (C, d) and n_c (C,)."""
    return (np.asarray(fires, dtype=np.float64) + 0.5) / (np.asarray(n_c, dtype=np.float64)[:, None] + 1)


def selectivity(rates: np.ndarray) -> np.ndarray:
    """Rate of each emotion divided by the mean rate of the other emotions. (C, d) -> (C, d), C >= 2."""
    n_emotions = rates.shape[0]
    others = (rates.sum(axis=0, keepdims=True) - rates) / (n_emotions - 1)
    return rates / others


def firing(codes: np.ndarray, rows: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Where ``features`` fire, ``(n, f)`` bool, on the ``rows`` (int, rising) of ``codes``, read a block at a time."""
    out, begin = np.empty((len(rows), len(features)), dtype=bool), 0
    for block in blocks(codes, rows, features):
        np.greater(block, 0, out=out[begin : begin + len(block)])
        begin += len(block)
    return out


def firings(codes: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """In how many of the ``rows`` (int, rising; None: all) of ``codes`` each feature fires, ``(d_sae,)`` int64."""
    total = np.zeros(codes.shape[1], dtype=np.int64)
    for block in blocks(codes, rows):
        total += (block > 0).sum(axis=0)
    return total


def activity(codes: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Density (share of rows in which it fires) and size (mean activation where it fires), ``(d_sae,)`` each.

    Of the ``rows`` (int, rising) of ``codes``; None: of all. They are read a block at a time.
    """
    d, n = codes.shape[1], len(codes) if rows is None else len(rows)
    fires, total = np.zeros(d, dtype=np.int64), np.zeros(d)
    for block in blocks(codes, rows):
        active = sparse_rows(block)
        fires += np.bincount(active.indices, minlength=d)
        np.add.at(total, active.indices, active.data.astype(np.float64))  # row after row, whatever the blocks
    return fires / max(n, 1), np.divide(total, fires, out=np.zeros(d), where=fires > 0)
