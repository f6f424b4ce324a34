"""Which codes of a batch are active: the one dense product of a step, screened cheaply and settled exactly."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from moodlens.core.cpu import has_fast_bfloat16, linear
from moodlens.core.threads import ThreadTeam
from moodlens.sae import kernels_select as kernels
from moodlens.sae.kernels_select import Lists, Pairs
from moodlens.sae.rows import ArrayRows, Rows, Standard
from moodlens.settings.sae import SAESettings

WIDTH = 2048  # features at a time: their pre-activations stay in the cache until they are looked through
SLACK = 2.0**-6  # how far below the bound candidates are taken, relative to it; bfloat16 rounds by 2^-9
LAG_SLACK = 2.0**-5  # the same where screening sees weights of some steps ago
DRIFT = 0.02  # how much the batch's threshold may fall from one step to the next before the bound is looked for anew
SPARE = 8  # blocks of features per active code at least, so that a block rarely holds two


class CatchUp(Protocol):
    """Brings the features ``lo..hi`` that are marked ``stamp`` up to date, before their weights are used."""

    def __call__(self, lo: int, hi: int, stamp: int) -> None: ...


class Buffers:
    """Arrays that are asked for by name again and again and grow when they must: no allocation in the loop."""

    def __init__(self) -> None:
        self._held: dict[str, np.ndarray] = {}

    def get(self, name: str, *shape: int, dtype: type = np.float32) -> np.ndarray:
        """An array of ``shape`` with undefined content; it is that of the last call with the same ``name``."""
        size = int(np.prod(shape))
        held = self._held.get(name)
        if held is None or len(held) < size or held.dtype != dtype:
            held = self._held[name] = np.empty(size + size // 8, dtype=dtype)
        return held[:size].reshape(shape)


class Batch(NamedTuple):
    """Standardised rows."""

    values: np.ndarray  # (n, d_in) float32
    half: np.ndarray  # the same in bfloat16, as uint16; no rows if nobody multiplies those


class Screen:
    """Finds the active codes of a batch with the weights it was given.

    Features are cut into chunks, the same for any number of threads; a thread multiplies a chunk, lists its candidates and
    settles them before it takes the next.

    Attributes:
        half: the encoder in bfloat16 as uint16, ``(d_sae, d_in)``; no rows where float32 is used. Whoever changes the
            encoder changes it too.
        mark: ``(d_sae,)``, the number of the last call in which a feature was a candidate.
        stamp: number of the last call.
    """

    def __init__(
        self, settings: SAESettings, team: ThreadTeam, buffers: Buffers, bfloat16: bool | None = None
    ) -> None:
        self.settings, self.team, self.buffers = settings, team, buffers
        fast = has_fast_bfloat16() if bfloat16 is None else bfloat16
        self.bfloat16 = (
            fast and settings.architecture != "l1"
        )  # every positive code of l1 counts, so none may be off

    def load(self, W_enc: Tensor, b_enc: Tensor) -> None:
        """Use these weights ``(d_sae, d_in)``, ``(d_sae,)`` from now on."""
        self.W_enc, self.exact, self.bias = W_enc, W_enc.numpy(), b_enc.numpy()
        self.d_sae = len(W_enc)
        self._half = W_enc.bfloat16() if self.bfloat16 else torch.empty((0, 0), dtype=torch.bfloat16)
        self.half = self._half.view(torch.uint16).numpy()
        self.mark = np.zeros(self.d_sae, dtype=np.int64)
        self.stamp = 0
        n_chunks = -(-self.d_sae // WIDTH)
        self.width = -(-self.d_sae // n_chunks)
        self.chunks = [(lo, min(lo + self.width, self.d_sae)) for lo in range(0, self.d_sae, self.width)]
        self._threshold = (
            0.0  # of the batch before; unknown at first, so that a resumed training does the same
        )

    def read(
        self, data: Rows, index: np.ndarray, standard: Standard, added: np.ndarray | None = None
    ) -> Batch:
        """Rows ``index`` of ``data``, standardised, in rising order: that is kinder to stores; plus ``added``."""
        index, n = np.sort(index), len(index)
        if isinstance(data, ArrayRows) and data.array.dtype == np.float32:
            source = data.array
        else:
            source = np.ascontiguousarray(data.batch(index), dtype=np.float32)
            index = np.arange(n)
        d_in = source.shape[1]
        values = self.buffers.get("values", n, d_in)
        half = self.buffers.get("half", n if self.bfloat16 else 0, d_in, dtype=np.uint16)
        added = np.empty((0, 0), dtype=np.float32) if added is None else added
        self.team.parallel_for(
            kernels.standardise, n, source, index, standard.mean, standard.inverse, added, values, half
        )
        return Batch(values, half)

    def largest(self, z: Batch, k: float, catch_up: CatchUp | None) -> Pairs:
        """The ``k`` largest codes of each row (topk) or the ``k n`` largest of the batch, in exact float32.

        Args:
            z: the batch.
            k: may be a fraction for the whole batch.
            catch_up: called for candidates before their weights are used; None if no weights lag behind. Where they do,
                screening has seen old weights and is not repeated if it was too strict.
        """
        n, m = len(z.values), self.d_sae
        rowwise = self.settings.architecture == "topk"
        count = min(m, round(k)) if rowwise else min(n * m, max(1, round(k * n)))
        groups, size = (n, 1) if rowwise else (1, n)
        threshold = np.zeros(groups, dtype=np.float32)
        cut, slack = self.buffers.get("cut", n), SLACK if catch_up is None else LAG_SLACK
        known = 0.0 if rowwise or catch_up is not None else self._threshold
        pre: list[np.ndarray | None] = [None] * len(self.chunks)
        while True:
            # The threshold of the batch before is close; where it is not, this one's own maxima give a bound.
            cut[:] = known * (1 - slack - DRIFT) if known > 0 else self._bound(z, pre, count) * (1 - slack)
            lists, error = self._candidates(z, pre, cut, catch_up)
            listed = int(lists.counts.sum())
            self.team.parallel_for(kernels.keep_largest, groups, size, lists, count, threshold)
            # What was passed over lies below the cut: to belong, it must be wrong by more than any that was seen.
            safe = bool(((threshold - cut >= error) | (cut <= 0)).all())
            if known > 0 and (listed < count or not safe or threshold[0] * (1 - slack) < cut[0]):
                known = 0.0
            elif safe or catch_up is not None or slack >= 0.5:
                self._threshold = float(threshold[0])
                return self._pairs(lists)
            else:
                slack *= 4

    def positive(self, z: Batch) -> Pairs:
        """All active codes of an ``l1`` batch, as screened."""
        cut = np.zeros(len(z.values), dtype=np.float32)
        return self._pairs(self._candidates(z, [None] * len(self.chunks), cut, None)[0])

    def _product(self, z: Batch, pre: list[np.ndarray | None], chunk: int) -> np.ndarray:
        """``z @ W_enc[chunk].T``, float32, or bfloat16 as uint16; kept in ``pre``."""
        held = pre[chunk]
        if held is None:
            lo, hi = self.chunks[chunk]
            if self.bfloat16:
                held = self.buffers.get(f"pre {chunk}", len(z.values), hi - lo, dtype=np.uint16)
                rows, into = (torch.from_numpy(a).view(torch.bfloat16) for a in (z.half, held))
                torch.mm(rows, self._half[lo:hi].T, out=into)
            else:
                held = linear(torch.from_numpy(z.values), self.W_enc[lo:hi]).numpy()
            pre[chunk] = held
        return held

    def _bound(self, z: Batch, pre: list[np.ndarray | None], count: int) -> np.ndarray | float:
        """What ``count`` codes, of each row or of the batch, surely reach: that many maxima of blocks of features do."""
        n, rowwise = len(z.values), self.settings.architecture == "topk"
        per_row = count if rowwise else count / n
        block = max((b for b in (16, 8, 4, 2, 1) if b * per_row <= self.d_sae / SPARE), default=1)
        maxima = self.buffers.get("maxima", len(self.chunks), n, -(-self.width // block))

        def of_chunk(chunk: int) -> None:
            part = slice(*self.chunks[chunk])
            kernels.block_maxima(0, n, self._product(z, pre, chunk), self.bias[part], maxima[chunk])

        self.team.each(of_chunk, len(self.chunks))
        if not rowwise:
            # Down to the next 4,096th of the largest: so many equal codes are not passed over.
            unit = float(maxima.max()) / 4096 or 1.0
            return float(kernels.kth_largest(maxima.ravel(), count)) // unit * unit
        bound = np.empty(n, dtype=np.float32)
        self.team.parallel_for(kernels.row_bounds, n, maxima, count, bound)
        return bound

    def _candidates(
        self, z: Batch, pre: list[np.ndarray | None], cut: np.ndarray, catch_up: CatchUp | None
    ) -> tuple[Lists, float]:
        """The codes above ``cut`` ``(n,)``, settled, and by how much screening was wrong just above the cut at most."""
        n, shape = len(z.values), (len(self.chunks), len(z.values))
        get, stamp = self.buffers.get, self.stamp + 1
        self.stamp = stamp
        lists = Lists(
            get("counts", *shape, dtype=np.int64),
            get("feature", *shape, self.width, dtype=np.int32),
            get("value", *shape, self.width),
        )
        error = get("error", *shape)

        def of_chunk(chunk: int) -> None:
            lo, hi = self.chunks[chunk]
            parts = tuple(array[chunk] for array in lists)
            screened = self._product(z, pre, chunk)
            kernels.list_candidates(
                0, n, screened, self.bias[lo:hi], lo, cut, *parts, self.mark, stamp
            )  # fmt: skip
            if catch_up is not None:
                catch_up(lo, hi, stamp)
            if self.bfloat16 or catch_up is not None:
                weights = self.exact[lo:hi], self.bias[lo:hi]
                kernels.recompute(0, n, z.values, *weights, lo, cut, *parts, error[chunk])

        self.team.each(of_chunk, len(self.chunks))
        return lists, float(error.max()) if self.bfloat16 or catch_up is not None else 0.0

    def _pairs(self, lists: Lists) -> Pairs:
        starts = np.concatenate([[0], np.cumsum(lists.counts.sum(0))])
        total = int(starts[-1])
        pairs = Pairs(
            starts,
            self.buffers.get("pair feature", total, dtype=np.int32),
            self.buffers.get("pair value", total),
        )
        self.team.parallel_for(kernels.join, len(starts) - 1, lists, pairs)
        return pairs
