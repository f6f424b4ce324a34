"""Dictionaries that learned nothing, of the size and sparsity of trained ones: the control of all that is claimed.

Rows are random directions, or differences of two random training rows, which lie where the data lie (arXiv:2602.14111
asks for such controls). The encoder is the decoder's transpose about the training mean, and one threshold for all
features leaves as many active as a trained dictionary has.
"""

from typing import Literal

import numpy as np
import torch

from moodlens.core import BadInput
from moodlens.core.maps import blocks
from moodlens.sae.model import SAE, calibrated_threshold
from moodlens.sae.rows import ArrayRows
from moodlens.stats.contrast import unit_rows

Untrained = Literal["rows", "random"]
KINDS: tuple[Untrained, ...] = ("rows", "random")

ENOUGH = 3000
"""Training rows on which a threshold is set."""


def untrained(kind: Untrained, x: np.ndarray, *, d_sae: int, active: float, seed: int) -> SAE:
    """A dictionary that learned nothing, with the mean of ``active`` features a row.

    Args:
        kind: ``rows``: directions are differences of two rows of ``x``; ``random``: of a normal distribution.
        x: ``(n, d_in)`` raw embeddings of the training rows.
        d_sae: its features.
        active: mean active features a row, as many as the dictionary has that it stands beside.
        seed: of the directions.

    Raises:
        BadInput: all rows are the same.
    """
    rng = np.random.default_rng([seed, 0x0D1C])
    x = np.asarray(x, dtype=np.float32)
    directions = (
        rng.standard_normal((d_sae, x.shape[1]), dtype=np.float32)
        if kind == "random"
        else row_differences(x, d_sae, rng)
    )
    W_dec = torch.from_numpy(np.ascontiguousarray(unit_rows(directions), dtype=np.float32))
    mean = torch.from_numpy(x.mean(axis=0, dtype=np.float64).astype(np.float32))
    sae = SAE(
        W_dec.T.contiguous(),
        W_dec,
        torch.zeros(d_sae),
        mean,
        activation="jumprelu",
        threshold=torch.zeros(d_sae),
    )
    assert sae.threshold is not None
    few = x[:: max(1, len(x) // ENOUGH)]
    with torch.no_grad():
        sae.threshold.fill_(calibrated_threshold(sae, ArrayRows(few), active))
    return sae


def row_differences(x: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``(n, d_in)`` float32: differences of random pairs of different rows of ``x``.

    Raises:
        BadInput: no two rows differ.
    """
    if not any((block != x[:1]).any() for block in blocks(x)):
        raise BadInput("embeddings: all training rows are the same, so they have no differences")
    drawn = np.empty((n, x.shape[1]), dtype=np.float32)
    todo = np.arange(n)
    while len(todo):
        first, second = rng.integers(len(x), size=(2, len(todo)))
        drawn[todo] = x[first].astype(np.float32) - x[second]
        todo = todo[~drawn[todo].any(axis=1)]
    return drawn
