"""Rows that are one observation: equal to rounding, at any scale."""

from typing import Any, Protocol

import numpy as np

TOLERANCE = 1e-5
"""Distance of two rows, relative to their norm, up to which they are one. float32 sums over an encoder's layers differ by
1e-7 to 1e-6 with the order of addition; two texts whose embeddings really differ are at least 1e-3 apart."""

_PROJECTIONS = 8
_CHUNK = 4096


class Rows(Protocol):
    """Rows by number: an array, a memory map, an ``EmbeddingStore``."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


def equal_rows(x: Rows, *, tolerance: float = TOLERANCE) -> np.ndarray:
    """Which rows are equal to rounding.

    Multiplying all of ``x`` by a number changes nothing. Rows are sorted along a random direction, where equal ones lie
    within ``tolerance``, and only such neighbours are compared: about n log n steps for rows that differ.

    Args:
        x: (n, d) finite numbers.
        tolerance: Euclidean distance relative to the norm.

    Returns:
        (n,) int64 codes, numbered by first appearance; rows of one code are equal to the first of them, or to one that is.
    """
    n, d = x.shape
    directions = np.random.default_rng(0).normal(size=(d, _PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    places, norms = np.empty((n, _PROJECTIONS)), np.empty(n)
    for begin in range(0, n, _CHUNK):
        rows = np.asarray(x[begin : begin + _CHUNK], dtype=np.float64)
        places[begin : begin + _CHUNK] = rows @ directions
        norms[begin : begin + _CHUNK] = np.linalg.norm(rows, axis=1)
    leader = np.arange(n)
    order = np.argsort(places[:, 0], kind="stable")
    shift = 1
    while shift < len(order):
        a, b = order[:-shift], order[shift:]
        # Twice the tolerance: the norm of the row ahead, which may be the larger one, is not known here.
        near = np.flatnonzero(places[b, 0] - places[a, 0] <= 2 * tolerance * norms[a])
        if not len(near):
            break
        a, b = a[near], b[near]
        near = (np.abs(places[a] - places[b]) <= 2 * tolerance * norms[a, None]).all(axis=1)
        a, b = a[near], b[near]
        equal = _equal_pairs(x, a, b, tolerance * np.maximum(norms[a], norms[b]))
        a, b = a[equal], b[equal]
        if shift == 1 and len(
            b
        ):  # one stands for all from here on, so that many copies cost no more than one
            leader[b] = a
            order = order[leader[order] == order]
            continue
        _join(leader, a, b)
        shift += 1
    while (leader[leader] != leader).any():
        leader = leader[leader]
    _, first, codes = np.unique(leader, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[codes]


def nearly_constant(x: Rows, rows: np.ndarray | None = None, *, tolerance: float = TOLERANCE) -> bool:
    """Whether the rows ``rows`` (int; None: all) of ``x`` (n, d) are one row to rounding: no statistic of them means anything."""
    n, d = x.shape if rows is None else (len(rows), x.shape[1])
    if n < 2:
        return False
    places = [slice(begin, begin + _CHUNK) for begin in range(0, n, _CHUNK)]
    chunks = places if rows is None else [rows[place] for place in places]
    mean = np.zeros(d)
    for chunk in chunks:
        mean += np.asarray(x[chunk], dtype=np.float64).sum(axis=0) / n
    parts = (x[chunk] - mean for chunk in chunks)
    spread = sum(float(np.square(part).sum()) for part in parts) / n
    return spread**0.5 <= tolerance * float(np.linalg.norm(mean))


def _equal_pairs(x: Rows, a: np.ndarray, b: np.ndarray, within: np.ndarray) -> np.ndarray:
    equal = np.empty(len(a), dtype=bool)
    for begin in range(0, len(a), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        apart = np.asarray(x[a[part]], dtype=np.float64) - x[b[part]]
        equal[part] = np.linalg.norm(apart, axis=1) <= within[part]
    return equal


def _join(leader: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Put the rows of each pair under one leader."""
    for pair in zip(a.tolist(), b.tolist(), strict=True):
        first, second = (_root(leader, row) for row in pair)
        leader[max(first, second)] = min(first, second)


def _root(leader: np.ndarray, row: int) -> int:
    while leader[row] != row:
        row = int(leader[row])
    return row


def parted_rows(codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Rows that equal a row of another group, which would count as two independent observations.

    Args:
        codes: (n,) of :func:`equal_rows`.
        groups: (n,) int.

    Returns:
        (m,) row numbers, those of one code together.
    """
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((groups, codes))
    last = np.flatnonzero(np.diff(codes[order], append=-1))
    first = np.concatenate([[0], last[:-1] + 1])
    parted = groups[order[first]] != groups[order[last]]
    return order[np.repeat(parted, last - first + 1)]
