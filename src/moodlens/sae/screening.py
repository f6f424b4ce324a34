"""Which codes of a batch are active: the one dense product of a step, screened cheaply and settled exactly."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moodlens.core.cpu import has_fast_bfloat16
from moodlens.sae import select_kernels as kernels
from moodlens.sae.batches import Batch, Buffers
from moodlens.sae.threads import Crew
from moodlens.settings.sae import SAESettings

SLACK = 2.0**-6  # how far below the bound candidates are taken, relative to it; bfloat16 rounds by 2^-9
LAG_SLACK = 2.0**-5  # the same where screening sees weights of some steps ago
BINS = 4096
SPARE = 8  # blocks of features per active code at least, so that a block rarely holds two


class Pairs(NamedTuple):
    """Pairs of row and feature. Those of row i lie at ``starts[i] .. starts[i] + counts[i]``; value -1: not active."""

    starts: np.ndarray  # (n,) int64
    counts: np.ndarray  # (n,) int64
    feature: np.ndarray  # int32
    value: np.ndarray  # float32


class Screen:
    """Finds the active codes of a batch with the weights it was given.

    Attributes:
        half: the encoder in bfloat16 as uint16, ``(d_sae, d_in)``; no rows where float32 is used. Whoever changes the
            encoder changes it too.
        mark: ``(d_sae,)``, the number of the last call in which a feature was a candidate.
        stamp: number of the last call.
    """

    def __init__(
        self, settings: SAESettings, crew: Crew, buffers: Buffers, bfloat16: bool | None = None
    ) -> None:
        self.settings, self.crew, self.buffers = settings, crew, buffers
        # Every positive code counts for l1, so none may be inexact.
        self.bfloat16 = settings.architecture != "l1" and (
            has_fast_bfloat16() if bfloat16 is None else bfloat16
        )

    def load(self, W_enc: Tensor, b_enc: Tensor) -> None:
        """Use these weights ``(d_sae, d_in)``, ``(d_sae,)`` from now on."""
        self.W_enc, self.bias = W_enc, b_enc.numpy()
        self.d_sae = len(W_enc)
        self._half = W_enc.bfloat16() if self.bfloat16 else torch.empty((0, 0), dtype=torch.bfloat16)
        self.half = self._half.view(torch.uint16).numpy()
        self.mark = np.zeros(self.d_sae, dtype=np.int64)
        self.stamp = 0

    def product(self, z: Batch) -> np.ndarray:
        """``z @ W_enc.T``, ``(n, d_sae)``: float32, or bfloat16 as uint16. Each thread takes some of the features."""
        out = self.buffers.get("pre", z.n, self.d_sae, dtype=np.uint16 if self.bfloat16 else np.float32)
        rows, weights, into = torch.from_numpy(z.values), self.W_enc, torch.from_numpy(out)
        if self.bfloat16:
            rows, weights = torch.from_numpy(z.half).view(torch.bfloat16), self._half
            into = into.view(torch.bfloat16)

        def part(lo: int, hi: int) -> None:
            torch.mm(rows, weights[lo:hi].T, out=into[:, lo:hi])

        with self.crew.alone():
            self.crew.run(part, self.d_sae)
        return out

    def largest(self, z: Batch, k: float, catch_up: Callable[[], None] | None) -> Pairs:
        """The ``k`` largest codes of each row (topk) or the ``k n`` largest of the batch, in exact float32.

        Args:
            catch_up: called when the candidates are marked and before their weights are used again; None if no weights
                lag behind. Where they do, screening has seen old weights and is not repeated if it was too strict.
        """
        n, m = z.n, self.d_sae
        rowwise = self.settings.architecture == "topk"
        count = min(m, round(k)) if rowwise else min(n * m, max(1, round(k * n)))
        per_row = count if rowwise else count / n
        block = max((b for b in (16, 8, 4, 2, 1) if b * per_row <= m / SPARE), default=1)
        get = self.buffers.get
        maxima = get("maxima", n, -(-m // block))
        top, cut, error = get("top", n), get("cut", n), get("error", n)
        room, counts = get("room", n, dtype=np.int64), get("counts", n, dtype=np.int64)
        groups, size = (n, 1) if rowwise else (1, n)
        threshold = np.zeros(groups, dtype=np.float32)
        pre = self.product(z)
        self.crew.run(kernels.block_maxima, n, pre, self.bias, maxima, top)
        slack = SLACK if catch_up is None else LAG_SLACK
        while True:
            if rowwise:
                self.crew.run(kernels.row_cuts, n, maxima, count, np.float32(slack), cut)
            else:
                cut[:] = self._batch_bound(maxima, float(top.max()), count) * (1 - slack)
            self.crew.run(kernels.count_room, n, maxima, cut, block, room)
            found = self._list(pre, maxima, cut, room, counts)
            if catch_up is not None:
                catch_up()
            W_enc = self.W_enc.numpy()
            self.crew.run(kernels.recompute, n, z.values, W_enc, self.bias, cut, *found, error)
            self.crew.run(
                kernels.keep_largest, groups, size, found.starts, counts, count, found.value, threshold
            )
            # What was passed over lies below the cut: to belong, it must be wrong by more than any that was seen.
            safe = (threshold - cut >= error.max()) | (cut <= 0)
            if catch_up is not None or slack >= 0.5 or bool(safe.all()):
                return found
            slack *= 4

    def count_positive(self, z: Batch) -> int:
        """How many codes of an ``l1`` batch are active; :meth:`positive` then lists them."""
        get, n = self.buffers.get, z.n
        pre, maxima, zero = self.product(z), get("maxima", n, self.d_sae), np.zeros(n, dtype=np.float32)
        room = get("room", n, dtype=np.int64)
        self.crew.run(kernels.block_maxima, n, pre, self.bias, maxima, get("top", n))
        self.crew.run(kernels.count_room, n, maxima, zero, 1, room)
        self._seen = pre, maxima, zero, room
        return int(room.sum())

    def positive(self) -> Pairs:
        """All active codes of the batch last given to :meth:`count_positive`."""
        pre, maxima, zero, room = self._seen
        return self._list(pre, maxima, zero, room, self.buffers.get("counts", len(room), dtype=np.int64))

    def _list(
        self, pre: np.ndarray, maxima: np.ndarray, cut: np.ndarray, room: np.ndarray, counts: np.ndarray
    ) -> Pairs:
        ends = np.cumsum(room)
        feature = self.buffers.get("feature", int(ends[-1]), dtype=np.int32)
        value = self.buffers.get("value", int(ends[-1]))
        found = Pairs(ends - room, counts, feature, value)
        self.stamp += 1
        self.crew.run(
            kernels.list_candidates, len(room), pre, self.bias, maxima, cut, *found, self.mark, self.stamp
        )  # fmt: skip
        return found

    def _batch_bound(self, maxima: np.ndarray, top: float, count: int) -> float:
        """A bound that ``count`` block maxima reach, at most one bin lower than it could be."""
        if top <= 0:
            return 0.0
        scale = np.float32(BINS / top)
        counts = np.zeros(BINS, dtype=np.int64)
        kernels.histogram(0, len(maxima), maxima, scale, counts)
        reached = np.cumsum(counts[::-1])[::-1] >= count
        return float(np.flatnonzero(reached)[-1] / scale) if reached[0] else 0.0
