"""What fixed features leave of the rows, for other features to rebuild."""

from dataclasses import dataclass, field

import numpy as np
import torch

from moodlens.core.maps import Pages, room
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
    out, pages = room(rows.rows, core.d_in, HELD), Pages()
    for start, block in chunks(rows):
        added = (core.encode(torch.from_numpy(block)) @ core.W_dec).numpy()
        out[start : start + len(block)] = standard.apply(block) - added * standard.inverse
        pages.count(len(block), out.strides[0], [out], apart=False)
    return out
