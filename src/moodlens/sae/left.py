"""What fixed features leave of the rows, for other features to rebuild."""

import os
import tempfile
from dataclasses import dataclass, field

import numpy as np
import torch

from moodlens.core.maps import Pages
from moodlens.sae.model import SAE
from moodlens.sae.rows import Rows, Standard, chunks

HELD = 2**30
"""Bytes of what is left that stay in memory."""


@dataclass(frozen=True)
class Left:
    """Standardised rows less what the features of an SAE add to them; its decoder bias is not taken off."""

    train: np.ndarray  # (n, d_in) float32
    val: np.ndarray  # (n_val, d_in) float32
    pages: Pages = field(default_factory=Pages, compare=False)

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Of training rows, ``(len(index), d_in)``, in rising order."""
        self.pages.count(len(index), self.train.strides[0], [self.train], apart=True)
        return np.asarray(self.train[np.sort(index)])

    @classmethod
    def of(cls, core: SAE, standard: Standard, train: Rows, val: Rows) -> "Left":
        """What ``core``, which reads raw rows, leaves of both sets."""
        return cls(_left(core, standard, train), _left(core, standard, val))


@torch.no_grad()
def _left(core: SAE, standard: Standard, rows: Rows) -> np.ndarray:
    out, pages = _room(rows.rows, core.d_in), Pages()
    for start, block in chunks(rows):
        added = (core.encode(torch.from_numpy(block)) @ core.W_dec).numpy()
        out[start : start + len(block)] = standard.apply(block) - added * standard.inverse
        pages.count(len(block), out.strides[0], [out], apart=False)
    return out


def _room(n: int, d_in: int) -> np.ndarray:
    """``(n, d_in)`` float32, in memory, or on disk in a file without a name where it is larger than :data:`HELD`."""
    n_bytes = n * d_in * 4
    if n_bytes <= HELD:
        return np.empty((n, d_in), dtype=np.float32)
    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and the end of the process later
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        return np.memmap(
            file, dtype=np.float32, mode="r+" if hasattr(os, "posix_fallocate") else "w+", shape=(n, d_in)
        )
