"""What may be exchanged or resampled: whole groups, because rows of one group are not independent.

A group is everything built from one emotion lexeme or scene, or written by one annotator. Treating its rows as
independent makes intervals too narrow and p-values too small.
"""

from dataclasses import dataclass, replace

import numpy as np

from moodlens.core import BadInput
from moodlens.stats.ranks import auroc_of_sums, rank_scores, selectivity, smoothed_rates


def dense_codes(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Any integer or text codes ``(n,)`` as 0..n_groups-1, and how many groups there are."""
    unique, codes = np.unique(np.asarray(values), return_inverse=True)
    return codes.reshape(-1).astype(np.int64), len(unique)


def check_rows(n: int, **columns: np.ndarray) -> None:
    """Raise BadInput unless every column is one-dimensional with ``n`` rows."""
    for name, column in columns.items():
        if np.shape(column) != (n,):
            raise BadInput(f"{name}: expected {n} values, one per row, got shape {np.shape(column)}")


@dataclass(frozen=True)
class Units:
    """Exchangeable units of labelled rows.

    Rows of one group (one emotion word, one scene) are not independent, so a group with a single
    emotion is one unit, and its label moves as a whole to another such group. A group that holds several
    emotions (an annotator who wrote many captions) is a stratum of its own: its texts are units, and
    labels move within it only, so that nothing about the group itself can look like an emotion. Copies of one
    text under one label are one unit: twenty of them say what one says.
    """

    of_row: np.ndarray
    """(n,) int, the unit of every row."""
    labels: np.ndarray
    """(U,) int, the emotion of every unit."""
    strata: np.ndarray
    """(U,) int; labels are exchanged between units of one stratum. Stratum 0 holds the whole groups."""
    rows: np.ndarray
    """(U,) int, number of rows in every unit."""


def exchangeable_units(
    labels: np.ndarray, groups: np.ndarray | None, copies: np.ndarray | None = None
) -> Units:
    """Units of ``labels`` (n,) int >= 0 under ``groups`` (n,) int; None makes every row its own group.

    copies: (n,) int, equal where rows are copies of one text; None: no row is a copy.
    """
    labels = np.asarray(labels)
    n = len(labels)
    if groups is None:
        return Units(np.arange(n), labels, np.zeros(n, dtype=int), np.ones(n, dtype=int))
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(group.max()) + 1 if n else 0
    low, high = np.full(n_groups, labels.max(initial=0) + 1), np.full(n_groups, labels.min(initial=0) - 1)
    np.minimum.at(low, group, labels)
    np.maximum.at(high, group, labels)
    mixed = (low != high)[group]
    # The texts of a mixed group get keys of their own, past those of the whole groups, each by its first row.
    text = np.arange(n)
    if copies is not None:
        rows = np.flatnonzero(mixed)
        of_text = np.column_stack([group[rows], np.asarray(labels)[rows], np.asarray(copies)[rows]])
        _, first, same = np.unique(of_text, axis=0, return_index=True, return_inverse=True)
        text[rows] = rows[first[same.reshape(-1)]]
    key = np.where(mixed, n_groups + text, group)
    _, first, of_row = np.unique(key, return_index=True, return_inverse=True)
    strata = np.where(mixed, 1 + group, 0)[first]
    return Units(of_row, labels[first], strata, np.bincount(of_row, minlength=len(first)))


def groups_fired(fired: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """(d,) groups in which each feature fired, of ``fired (U, d)`` and ``strata (U,)`` of units.

    The texts of a mixed group are units but one group.
    """
    whole = fired[strata == 0].sum(axis=0)
    for stratum in np.unique(strata[strata > 0]):
        whole = whole + fired[strata == stratum].any(axis=0)
    return whole


def draw_labels(units: Units, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``n`` labellings of the units. Returns (n, U), each row a permutation within every stratum."""
    dtype = np.int8 if units.labels.max(initial=0) < 128 else np.int64
    out = np.tile(units.labels.astype(dtype), (n, 1))
    for stratum in np.unique(units.strata):
        members = np.flatnonzero(units.strata == stratum)
        out[:, members] = rng.permuted(out[:, members], axis=1)
    return out


def permuted_units(units: Units, rng: np.random.Generator) -> np.ndarray:
    """(U,) int, the unit whose label each unit gets in one draw of :func:`draw_labels`."""
    return draw_labels(replace(units, labels=np.arange(len(units.labels))), 1, rng)[0].astype(np.int64)


def permuted_labels(
    labels: np.ndarray, groups: np.ndarray | None, n: int, seed: int, copies: np.ndarray | None = None
) -> np.ndarray:
    """Draw ``n`` labellings of rows ``(n, rows)`` int64, exchanged over :func:`exchangeable_units`."""
    units = exchangeable_units(labels, groups, copies)
    return draw_labels(units, n, np.random.default_rng(seed))[:, units.of_row].astype(np.int64)


@dataclass(frozen=True)
class UnitSums:
    """Everything the statistics need of a set of labelled rows, summed per unit, whatever the labels are."""

    units: Units
    scores: np.ndarray
    """(U, d) float64 whole numbers, sums of doubled centred ranks."""
    fires: np.ndarray
    """(U, d) float64 whole numbers, rows in which the feature fires."""
    n: int
    """rows."""

    @classmethod
    def of(
        cls,
        codes: np.ndarray,
        labels: np.ndarray,
        groups: np.ndarray | None,
        copies: np.ndarray | None = None,
    ) -> "UnitSums":
        """Sum ``codes`` (n, d) over the units of ``labels`` (n,) >= 0 and ``groups`` (n,) or None."""
        return cls.over(codes, exchangeable_units(labels, groups, copies))

    @classmethod
    def over(cls, codes: np.ndarray, units: Units) -> "UnitSums":
        """Sum ``codes`` (n, d) over the ``units`` of their rows."""
        n_units = len(units.labels)
        scores = rank_scores(codes).sum_over(units.of_row, n_units)
        fires = np.zeros((n_units, codes.shape[1]))
        row, column = np.nonzero(codes > 0)
        flat = np.bincount(units.of_row[row] * codes.shape[1] + column, minlength=fires.size)
        return cls(units, scores, flat.reshape(fires.shape).astype(np.float64), len(codes))

    def first(self, d: int) -> "UnitSums":
        """The sums of the first ``d`` features alone."""
        return replace(self, scores=self.scores[:, :d], fires=self.fires[:, :d])

    def rows_per_emotion(self, labels: np.ndarray, n_emotions: int) -> np.ndarray:
        """(C,) rows of each emotion under a labelling (U,) of the units."""
        return np.bincount(labels, weights=self.units.rows, minlength=n_emotions)

    def auroc(self, labels: np.ndarray, n_emotions: int) -> np.ndarray:
        """(C, d) AUROC of every emotion against the others under a labelling (U,) of the units."""
        return auroc_of_sums(
            _one_hot(labels, n_emotions) @ self.scores, self.rows_per_emotion(labels, n_emotions), self.n
        )

    def rates(self, labels: np.ndarray, n_emotions: int) -> np.ndarray:
        """(C, d) smoothed firing rates under a labelling (U,) of the units."""
        return smoothed_rates(
            _one_hot(labels, n_emotions) @ self.fires, self.rows_per_emotion(labels, n_emotions)
        )

    def selectivity(self, labels: np.ndarray, n_emotions: int) -> np.ndarray:
        """(C, d) selectivity under a labelling (U,) of the units."""
        return selectivity(self.rates(labels, n_emotions))


def _one_hot(labels: np.ndarray, n_emotions: int) -> np.ndarray:
    return (labels == np.arange(n_emotions)[:, None]).astype(np.float64)
