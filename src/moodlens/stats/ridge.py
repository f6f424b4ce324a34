"""Ridge regression: a dense linear reading of numbers such as ratings."""

from dataclasses import dataclass

import numpy as np

RIDGES = np.logspace(-3, 3, 13)
"""Strengths that are tried, in units of the mean squared singular value; chosen by generalised cross-validation."""


@dataclass(frozen=True)
class Ridge:
    """Ridge regressions of several columns, each at the strength that generalised cross-validation chooses.

    Golub, Heath and Wahba (1979).
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    """(k, m)"""
    bias: np.ndarray
    """(m,)"""

    @classmethod
    def of(cls, z: np.ndarray, y: np.ndarray) -> "Ridge":
        """z (n, k), y (n, m)."""
        centre, scale = z.mean(axis=0), z.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        u, s, vt = np.linalg.svd((z - centre) / scale, full_matrices=False)
        bias = y.mean(axis=0)
        told = u.T @ (y - bias)
        total = ((y - bias) ** 2).sum(axis=0)
        best = np.full(y.shape[1], np.inf)
        weights = np.zeros((z.shape[1], y.shape[1]))
        for ridge in RIDGES * max(float((s**2).mean()), np.finfo(float).tiny):
            kept = s**2 / (s**2 + ridge)
            left = total - ((2 * kept - kept**2)[:, None] * told**2).sum(axis=0)
            error = left / max(len(z) - 1 - kept.sum(), 1e-9) ** 2
            better = error < best
            best[better] = error[better]
            weights[:, better] = (vt.T @ ((s / (s**2 + ridge))[:, None] * told))[:, better]
        return cls(centre, scale, weights, bias)

    def predict(self, z: np.ndarray) -> np.ndarray:
        """(n, k) -> (n, m)."""
        return (z - self.centre) / self.scale @ self.weights + self.bias
