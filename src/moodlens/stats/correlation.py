"""Correlations of activations: of columns that are mostly zero, so that a sparse product does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core.maps import blocks, room
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
    def of(
        cls,
        codes: "np.ndarray | sparse.csr_array",
        rows: np.ndarray | None = None,
        columns: np.ndarray | None = None,
        held: float = 2**30,
    ) -> "UnitColumns":
        """Of codes (n, d), finite; columns of a sparse array stay sparse.

        Of an array in memory or on disk, the ``rows`` (int, rising) and ``columns`` (int) are read, a block at a time;
        None: all of them. Dense columns of more than ``held`` bytes lie on disk.
        """
        from scipy import sparse

        def parts() -> "Iterator[sparse.csr_array]":
            if isinstance(codes, np.ndarray):
                yield from map(sparse_rows, blocks(codes, rows, columns))
            else:
                yield codes

        n, d = (int(size) for size in codes.shape or ())
        n, d = n if rows is None else len(rows), d if columns is None else len(columns)
        total, square, n_values = np.zeros(d), np.zeros(d), 0
        for part in parts():  # value after value, whatever the blocks
            value = part.data.astype(np.float64)
            np.add.at(total, part.indices, value)
            np.add.at(square, part.indices, value**2)
            n_values += len(value)
        means = total / max(n, 1)
        square -= n * means**2
        # A constant column is left with rounding: about 1e-16 of its sum of squares.
        varies = square > 1e-13 * (square + n * means**2)
        scale = np.where(varies, 1 / np.sqrt(np.where(varies, square, 1.0)), 0.0)
        if isinstance(codes, np.ndarray) and n_values > DENSE * n * d:
            dense, begin = room(n, d, held), 0
            for block in blocks(codes, rows, columns):
                dense[begin : begin + len(block)] = (block - means) * scale
                begin += len(block)
            return cls(dense, np.zeros(d), varies, n)
        scaled = [sparse.csr_array((0, d), dtype=np.float32)]
        for part in parts():
            value = (part.data * scale[part.indices]).astype(np.float32)
            scaled.append(sparse.csr_array((value, part.indices, part.indptr), shape=part.shape))
        return cls(sparse.csc_array(sparse.vstack(scaled)), means * scale, varies, n)

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
