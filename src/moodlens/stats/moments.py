"""Sums over rows that are too many to be copied: means, second moments and products, read a block of rows at a time."""

from collections.abc import Iterator

import numpy as np

from moodlens.core.maps import blocks


def wide_blocks(x: np.ndarray, rows: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
    """The rows ``rows`` (int, rising; None: all) of ``x (n, d)`` as float64, with their places among them."""
    begin = 0
    for block in blocks(x, rows):
        yield slice(begin, begin + len(block)), block.astype(np.float64)
        begin += len(block)


def mean_row(x: np.ndarray, rows: np.ndarray | None = None, weights: np.ndarray | None = None) -> np.ndarray:
    """``(d,)`` float64 mean of the rows of ``x (n, d)``, one at least, by ``weights`` (one a row; None: all alike)."""
    total, n = np.zeros(x.shape[1]), len(x) if rows is None else len(rows)
    for part, block in wide_blocks(x, rows):
        total += (block if weights is None else block * weights[part, None]).sum(axis=0)
    return total / (n if weights is None else weights.sum())


def scatter(
    x: np.ndarray,
    centre: np.ndarray,
    rows: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """``(d, d)`` float64: products of the rows of ``x (n, d)`` about ``centre (d,)``, added up by ``weights``."""
    out = np.zeros((x.shape[1], x.shape[1]))
    for part, block in wide_blocks(x, rows):
        block -= centre
        out += (block if weights is None else block * weights[part, None]).T @ block
    return out


def products(
    x: np.ndarray, vectors: np.ndarray, centre: np.ndarray | float = 0.0, rows: np.ndarray | None = None
) -> np.ndarray:
    """``(n, m)`` float64: rows of ``x (n, d)`` about ``centre`` along ``vectors (m, d)``; along one, ``(n,)``."""
    out = np.empty((len(x) if rows is None else len(rows), *vectors.shape[:-1]))
    for part, block in wide_blocks(x, rows):
        out[part] = (block - centre) @ vectors.T
    return out
