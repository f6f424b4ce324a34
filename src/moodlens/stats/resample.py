"""Shuffles and resamples that move whole groups, because rows of one group are not independent.

A group is everything built from one emotion lexeme or scene, or written by one annotator. Treating its
rows as independent makes intervals too narrow and p-values too small.
"""

import numpy as np

from moodlens.core import BadInput
from moodlens.stats.units import exchangeable_units
from moodlens.stats.units import permuted_labels as draw_labels


def dense_codes(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Any integer or text codes ``(n,)`` as 0..n_groups-1, and how many groups there are."""
    unique, codes = np.unique(np.asarray(values), return_inverse=True)
    return codes.reshape(-1).astype(np.int64), len(unique)


def check_rows(n: int, **columns: np.ndarray) -> None:
    """Raise BadInput unless every column is one-dimensional with ``n`` rows."""
    for name, column in columns.items():
        if np.shape(column) != (n,):
            raise BadInput(f"{name}: expected {n} values, one per row, got shape {np.shape(column)}")


def permuted_labels(labels: np.ndarray, groups: np.ndarray, n: int, seed: int) -> np.ndarray:
    """``n`` label vectors ``(n, rows)`` of the rows, exchanged as the feature tests exchange them.

    Whole groups swap labels where a group has one; within a group that has several, rows do
    (:func:`moodlens.stats.units.exchangeable_units`).
    """
    units = exchangeable_units(np.asarray(labels), np.asarray(groups))
    return draw_labels(units, n, np.random.default_rng(seed))[:, units.of_row].astype(np.int64)


def bootstrap_weights(groups: np.ndarray, n: int, seed: int) -> np.ndarray:
    """``(n, n_groups)`` float32: how often each group is drawn in each of ``n`` resamples with replacement.

    Groups are those of :func:`dense_codes`, in that order.
    """
    _, n_groups = dense_codes(groups)
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n).astype(np.float32)


def upper_p(observed: np.ndarray | float, null: np.ndarray) -> np.ndarray:
    """One-sided p ``(1 + #{null >= observed}) / (1 + n)``; ``null`` has its draws on the first axis.

    The added one keeps p valid with few draws (Phipson & Smyth 2010).
    """
    null = np.asarray(null)
    # A draw equal to the observed value up to rounding counts as reaching it.
    slack = 1e-9 * np.maximum(1e-12, np.abs(observed))
    return (1 + (null >= np.asarray(observed) - slack).sum(axis=0)) / (1 + null.shape[0])
