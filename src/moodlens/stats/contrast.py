"""Directions that need no dictionary: differences of means, principal components."""

import numpy as np

from moodlens.core import BadInput
from moodlens.core.labels import NEUTRAL


def difference_in_means(x: np.ndarray, labels: np.ndarray, n_emotions: int) -> np.ndarray:
    """Mean of each emotion's rows minus the mean of all other rows, ``(n_emotions, d_in)`` float64.

    Args:
        x: ``(n, d_in)``.
        labels: ``(n,)`` int; neutral rows are among the others, rows of unknown emotion are not.
        n_emotions: how many emotions there are.

    Raises:
        BadInput: an emotion has no rows, or nothing else has.
    """
    labels = np.asarray(labels)
    known = labels >= NEUTRAL
    x, labels = np.asarray(x)[known].astype(np.float64), labels[known]
    out = np.empty((n_emotions, x.shape[1]))
    for c in range(n_emotions):
        own = labels == c
        if not own.any() or own.all():
            raise BadInput(f"difference in means: rows with and without emotion {c} are needed")
        out[c] = x[own].mean(axis=0) - x[~own].mean(axis=0)
    return out


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows ``(m, d)`` at norm 1, in the precision they have; a row of zeros stays."""
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)


def principal_components(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All principal components of ``x (n, d)``, the leading first.

    Returns:
        axes ``(d, d)`` float64, rows of norm 1 whose largest entry is positive (the sign of an eigenvector is
        arbitrary), and the share of the variance along each ``(d,)``; zeros where rows do not differ.
    """
    centred = np.asarray(x, dtype=np.float64) - np.mean(x, axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    values, axes = np.clip(values[::-1], 0, None), vectors[:, ::-1].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    total = values.sum()
    return axes * np.sign(largest), values / total if total > 0 else np.zeros_like(values)
