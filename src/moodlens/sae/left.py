"""What fixed features leave of the rows, for other features to rebuild."""

from dataclasses import dataclass

import numpy as np
import torch

from moodlens.sae.model import SAE
from moodlens.sae.rows import Rows, Standard, chunks


@dataclass(frozen=True)
class Left:
    """Standardised rows less what the features of an SAE add to them; its decoder bias is not taken off."""

    train: np.ndarray  # (n, d_in) float32
    val: np.ndarray  # (n_val, d_in) float32

    @classmethod
    def of(cls, core: SAE, standard: Standard, train: Rows, val: Rows) -> "Left":
        """What ``core``, which reads raw rows, leaves of both sets."""
        return cls(_left(core, standard, train), _left(core, standard, val))


@torch.no_grad()
def _left(core: SAE, standard: Standard, rows: Rows) -> np.ndarray:
    blocks = []
    for _, block in chunks(rows):
        added = (core.encode(torch.from_numpy(block)) @ core.W_dec).numpy()
        blocks.append(standard.apply(block) - added * standard.inverse)
    return np.concatenate(blocks)
