"""Training rows from an array or from a store, a batch at a time, centred and scaled."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from moodlens.core import BadInput
from moodlens.stats.equal import TOLERANCE

CHUNK = 2048  # rows a pass over the data holds at once


@runtime_checkable
class Rows(Protocol):
    """Anything that serves embeddings by row number, such as ``moodlens.embed.EmbeddingStore``."""

    @property
    def rows(self) -> int: ...

    def batch(self, row_indices: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class ArrayRows:
    """Rows of an array in memory or in a memory map."""

    array: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.array)

    def batch(self, row_indices: np.ndarray) -> np.ndarray:
        return self.array[row_indices]


def as_rows(x: "np.ndarray | Rows | None", name: str) -> Rows:
    """Check the outer shape of ``x`` ``(n, d_in)`` and wrap it.

    Raises:
        BadInput: it is missing, empty or not a matrix of numbers.
    """
    if x is None:
        raise BadInput(f"{name} is missing: early stopping needs held-out rows, pass an (n, d_in) array")
    if isinstance(x, Rows):
        if x.rows == 0:
            raise BadInput(f"{name} has no rows")
        return x
    x = np.asanyarray(x)
    if x.ndim != 2 or not np.issubdtype(x.dtype, np.floating):
        raise BadInput(f"{name} must be a float array of shape (n, d_in), got {x.dtype} of shape {x.shape}")
    if x.size == 0:
        raise BadInput(f"{name} has no rows or no columns: shape {x.shape}")
    return ArrayRows(x)


def chunks(rows: Rows, size: int = CHUNK) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(first row, float32 block)`` over all rows in order."""
    for start in range(0, rows.rows, size):
        index = np.arange(start, min(start + size, rows.rows))
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity
            block = np.asarray(rows.batch(index), dtype=np.float32)
        yield start, block


@dataclass(frozen=True)
class Standard:
    """``z = (x - mean) / scale``: zero mean and mean squared norm 1 on the rows it was measured on."""

    mean: np.ndarray  # (d_in,) float32
    scale: float  # root of the mean squared distance to the mean, in the embedding's units

    @property
    def inverse(self) -> np.float32:
        """``1 / scale``."""
        return np.float32(1 / self.scale)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """``(n, d_in)`` raw to standardised, float32."""
        return (np.asarray(x, dtype=np.float32) - self.mean) * self.inverse

    def batch(self, data: Rows, index: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        """Rows ``index`` standardised, plus ``added``; in rising order, which is kinder to stores."""
        z = self.apply(data.batch(np.sort(index)))
        return z if added is None else z + added


def check_rows(rows: Rows, name: str, d_in: int | None = None) -> int:
    """Pass over all rows once and return ``d_in``.

    Raises:
        BadInput: a row is not finite, or the width is not ``d_in``.
    """
    for start, block in chunks(rows):
        if d_in is not None and block.shape[1] != d_in:
            raise BadInput(f"{name} has {block.shape[1]} columns where {d_in} are expected")
        d_in = block.shape[1]
        # The sum of a row is finite only if each entry is; summing is one fast pass.
        bad = np.flatnonzero(~np.isfinite(block.sum(1, dtype=np.float64)))
        if len(bad):
            raise BadInput(
                f"{name} row {start + bad[0]} holds NaN or infinity: drop it or embed its text again"
            )
    assert d_in is not None
    return d_in


def measure(rows: Rows) -> Standard:
    """Mean and scale of the training rows, accumulated in float64.

    Raises:
        BadInput: all rows are the same to rounding, so there is nothing to explain, or too large or small for float32.
    """
    total: np.ndarray | float = 0.0
    for _, block in chunks(rows):
        total = total + block.sum(0, dtype=np.float64)
    mean = np.asarray(total / rows.rows)
    square = 0.0
    for _, block in chunks(rows):
        square += float(np.square(block - mean).sum())
    scale = float(np.sqrt(square / rows.rows))
    if not scale > TOLERANCE * float(np.linalg.norm(mean)):
        raise BadInput("x_train: all rows are the same to rounding, so there is no variance to explain")
    if not 1e-30 < scale < 1e30:
        raise BadInput(
            f"x_train: rows lie {scale:.3g} from their mean: multiply them into the range of float32"
        )
    return Standard(mean.astype(np.float32), scale)
