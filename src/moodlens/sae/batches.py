"""Rows of a batch and the memory that steps work in."""

import numpy as np

from moodlens.sae import select_kernels
from moodlens.sae.rows import ArrayRows, Rows, Standard
from moodlens.sae.threads import Crew


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


class Batch:
    """Standardised rows: ``values`` ``(n, d_in)`` float32 and ``half``, the same in bfloat16 (as uint16)."""

    def __init__(self) -> None:
        self._buffers = Buffers()
        self.n = 0
        self.values = self.half = np.empty((0, 0))

    def read(
        self, data: Rows, index: np.ndarray, standard: Standard, crew: Crew, added: np.ndarray | None = None
    ) -> None:
        """Fill with rows ``index`` of ``data``, read in rising order: that is kinder to stores; then add ``added``."""
        index = np.sort(index)
        self.n = len(index)
        if isinstance(data, ArrayRows) and data.array.dtype == np.float32:
            source = data.array
        else:
            source = np.ascontiguousarray(data.batch(index), dtype=np.float32)
            index = np.arange(self.n)
        self.values = self._buffers.get("values", self.n, source.shape[1])
        self.half = self._buffers.get("half", self.n, source.shape[1], dtype=np.uint16)
        added = np.empty((0, 0), dtype=np.float32) if added is None else added
        inverse = np.float32(1 / standard.scale)
        crew.run(
            select_kernels.standardise, self.n, source, index, standard.mean, inverse, added, self.values, self.half
        )  # fmt: skip
