"""One score of many: what a text says, of what its tokens or sentences say.

A caption of 49 words mentions its mood once. The mean of its tokens drowns that one; the largest hears every stray word.
The log-mean-exp of standardised scores lies between: what is far above the rest counts most, and what many say counts
more than what one says.
"""

from typing import Literal

import numpy as np

from moodlens.core import BadInput

How = Literal["log-mean-exp", "max", "mean"]


class Pool:
    """Pooled scores of texts that arrive block by block; of a block nothing is kept.

    Args:
        how: ``log-mean-exp``, ``max`` or ``mean``.
        n: texts.
        width: scores of each.
    """

    def __init__(self, how: How, n: int, width: int):
        self._how = how
        self._count = np.zeros(n, dtype=np.int64)
        self._top = np.full((n, width), -np.inf)
        self._sum = np.zeros((n, width))
        self._part = np.zeros((n, width))

    def add(self, values: np.ndarray, owner: np.ndarray, part: np.ndarray | None = None) -> None:
        """Take in ``values (t, width)`` of the texts ``owner (t,)``, which never decreases. NaN stays NaN.

        ``part (t,)``: those of which :meth:`part` tells the share.
        """
        if not len(owner):
            return
        starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        texts, lengths = owner[starts], np.diff(np.r_[starts, len(owner)])
        values = np.asarray(values, dtype=np.float64)
        inside = np.zeros((len(values), 1)) if part is None else part[:, None].astype(np.float64)
        self._count[texts] += lengths
        if self._how == "mean":
            self._sum[texts] += np.add.reduceat(values, starts)
            self._part[texts] += np.add.reduceat(inside, starts)
            return
        before = self._top[texts]
        top = np.maximum(before, np.maximum.reduceat(values, starts))
        if self._how == "log-mean-exp":
            more, kept = np.exp(values - np.repeat(top, lengths, axis=0)), np.exp(before - top)
            self._sum[texts] = self._sum[texts] * kept + np.add.reduceat(more, starts)
            self._part[texts] = self._part[texts] * kept + np.add.reduceat(more * inside, starts)
        else:
            largest = np.where(values == np.repeat(top, lengths, axis=0), inside, 0)
            again = np.where(top > before, 0, self._part[texts])
            self._part[texts] = np.maximum(again, np.maximum.reduceat(largest, starts))
        self._top[texts] = top

    def result(self) -> np.ndarray:
        """``(n, width)`` float64.

        Raises:
            BadInput: a text has nothing to read.
        """
        empty = np.flatnonzero(self._count == 0)
        if len(empty):
            raise BadInput(f"text {empty[0]} has nothing to read; drop empty texts")
        count = self._count[:, None]
        if self._how == "max":
            return self._top
        return self._sum / count if self._how == "mean" else self._top + np.log(self._sum / count)

    def part(self) -> np.ndarray:
        """How much of each pooled score the ``part`` has to say (:func:`pool_shares`, summed), ``(n, width)`` in 0..1."""
        if self._how == "max":
            return self._part
        return self._part / (self._count[:, None] if self._how == "mean" else self._sum)


def pooled(values: np.ndarray, owner: np.ndarray, n: int, how: How) -> np.ndarray:
    """:class:`Pool` of everything at once: ``values (t, width)``, ``owner (t,)`` in 0..n-1 -> ``(n, width)``."""
    pool = Pool(how, n, values.shape[1])
    order = np.argsort(owner, kind="stable")
    pool.add(values[order], owner[order])
    return pool.result()


def pool_shares(values: np.ndarray, how: How) -> np.ndarray:
    """How much each of one text's scores has to say in the pooled one: ``(t, width)``, columns that add up to 1.

    The derivative of the pooled score: the softmax, one over their number, or all for the first of the largest.
    """
    if how == "mean":
        return np.full(values.shape, 1 / len(values))
    if how == "max":
        return (np.arange(len(values))[:, None] == values.argmax(axis=0)).astype(np.float64)
    shares = np.exp(values - values.max(axis=0))
    return shares / shares.sum(axis=0)
