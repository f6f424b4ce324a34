"""Directions that need no dictionary: differences of means, principal components."""

import numpy as np

from moodlens.core import BadInput
from moodlens.core.labels import NEUTRAL
from moodlens.stats.moments import mean_row, scatter, wide_blocks


def difference_in_means(x: np.ndarray, labels: np.ndarray, n_emotions: int) -> np.ndarray:
    """Mean of each emotion's rows minus the mean of all other rows, ``(n_emotions, d_in)`` float64.

    Args:
        x: ``(n, d_in)``.
        labels: ``(n,)`` int; neutral rows are among the others, rows of unknown emotion are not.
        n_emotions: how many emotions there are.

    Raises:
        BadInput: an emotion has no rows, or nothing else has.
    """
    known = np.flatnonzero(np.asarray(labels) >= NEUTRAL)
    own = np.asarray(labels)[known] == np.arange(n_emotions)[:, None]
    n_own = own.sum(axis=1)
    for c, n in enumerate(n_own.tolist()):
        if n in (0, len(known)):
            raise BadInput(f"difference in means: rows with and without emotion {c} are needed")
    of_own, of_others = np.zeros((2, n_emotions, x.shape[1]))
    for part, block in wide_blocks(x, known):
        for c, signs in enumerate(own[:, part]):
            of_own[c] += block[signs].sum(axis=0)
            of_others[c] += block[~signs].sum(axis=0)
    return of_own / n_own[:, None] - of_others / (len(known) - n_own)[:, None]


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows ``(m, d)`` at norm 1, in the precision they have; a row of zeros stays."""
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)


def principal_components(x: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All principal components of the rows ``rows`` (None: all) of ``x (n, d)``, the leading first.

    Returns:
        axes ``(d, d)`` float64, rows of norm 1 whose largest entry is positive (the sign of an eigenvector is
        arbitrary), and the share of the variance along each ``(d,)``; zeros where rows do not differ.
    """
    values, vectors = np.linalg.eigh(scatter(x, mean_row(x, rows), rows))
    values, axes = np.clip(values[::-1], 0, None), vectors[:, ::-1].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    total = values.sum()
    return axes * np.sign(largest), values / total if total > 0 else np.zeros_like(values)
