"""Correlations of activations: of columns that are mostly zero, so that a sparse product does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.stats.ranks import sparse_rows

if TYPE_CHECKING:
    from scipy import sparse

DENSE = 0.04
"""Share of activations above zero from which on a dense product is the faster one."""


@dataclass(frozen=True)
class UnitColumns:
    """Columns at norm 1 about their mean, so that products are correlations; a constant column is 0.

    They are scaled but not centred, which would fill the zeros: ``sum(a b) - n mean(a) mean(b)``.
    """

    columns: "sparse.csc_array | np.ndarray"
    """(n, d) float32, sparse, or dense where many are not zero."""
    means: np.ndarray
    """(d,) float64, of the scaled columns; 0 in a dense one, which is centred."""
    varies: np.ndarray
    """(d,) bool, columns that are not constant."""
    n: int
    """rows."""

    @classmethod
    def of(cls, codes: "np.ndarray | sparse.csr_array") -> "UnitColumns":
        """codes (n, d), finite; columns of a sparse array stay sparse."""
        n, d = (int(size) for size in codes.shape or ())
        rows = sparse_rows(codes) if isinstance(codes, np.ndarray) else codes.copy()
        value = rows.data.astype(np.float64)
        means = np.bincount(rows.indices, value, d) / max(n, 1)
        square = np.bincount(rows.indices, value**2, d) - n * means**2
        # A constant column is left with rounding: about 1e-16 of its sum of squares.
        varies = square > 1e-13 * (square + n * means**2)
        scale = np.where(varies, 1 / np.sqrt(np.where(varies, square, 1.0)), 0.0)
        if isinstance(codes, np.ndarray) and len(value) > DENSE * codes.size:
            return cls(((codes - means) * scale).astype(np.float32), np.zeros(d), varies, n)
        rows.data = (value * scale[rows.indices]).astype(np.float32)
        return cls(rows.tocsc(), means * scale, varies, n)

    def take(self, which: np.ndarray) -> "UnitColumns":
        """The columns ``which`` (m,) int."""
        return UnitColumns(self.columns[:, which], self.means[which], self.varies[which], self.n)

    def correlations(self, other: "UnitColumns") -> np.ndarray:
        """(d, d_other) float32 of all pairs of columns; both of the same rows."""
        first, second = self.columns, other.columns
        if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
            out = first.T @ second
        else:
            out = (first.T @ second.tocsr()).toarray()
        out -= np.outer((self.n * self.means).astype(np.float32), other.means.astype(np.float32))
        return out
