"""From the best weights in standardised space to a finished SAE on raw embeddings."""

import numpy as np
import torch
from torch import Tensor

from moodlens.sae.model import SAE
from moodlens.sae.rows import Rows, Standard, chunks
from moodlens.settings.sae import SAESettings


@torch.no_grad()
def fold(
    parameters: dict[str, Tensor], standard: Standard, settings: SAESettings, threshold: float | None
) -> SAE:
    """Fold ``z = (x - mean) / scale`` into the weights.

    ReLU, top-k and JumpReLU commute with multiplication by ``scale``, so it goes into the biases and the threshold:
    decoder rows stay unit vectors and codes are lengths in the embedding's own units. ``W_enc`` is exact either way.
    """
    scale = standard.scale
    W_enc = parameters["W_enc"].T.contiguous()
    b_dec = parameters["b_dec"]
    # On disk, as in SAELens, b_dec is subtracted before encoding; in training it is not.
    b_enc = parameters["b_enc"].double() + b_dec.double() @ W_enc.double()
    activation = {"l1": "relu", "topk": "topk"}.get(settings.architecture, "jumprelu")
    return SAE(
        W_enc.clone(),
        parameters["W_dec"].clone(),
        (b_enc * scale).float(),
        (b_dec.double() * scale + torch.from_numpy(standard.mean).double()).float(),
        activation=activation,  # type: ignore[arg-type]
        threshold=None if threshold is None else torch.full((W_enc.shape[1],), threshold),
        k=settings.k if activation == "topk" else None,
        settings=settings,
    )


@torch.no_grad()
def calibrated_threshold(sae: SAE, data: Rows, k: float) -> float:
    """The threshold at which the mean number of active features over all rows of ``data`` is ``k``.

    Batch top-k learns with a threshold that moves from batch to batch; a saved SAE needs one number. It lies halfway
    between the ``n k``-th largest positive pre-activation and the next, and is 0 if there are no more than ``n k``.
    """
    count = round(data.rows * k)
    kept = np.empty(0, dtype=np.float32)
    floor = np.float32(0)
    for _, block in chunks(data):
        pre = sae.pre_activations(torch.from_numpy(np.ascontiguousarray(block))).numpy().ravel()
        kept = np.concatenate([kept, pre[pre > floor]])
        if len(kept) > count + 1:
            kept = np.partition(kept, len(kept) - count - 1)[len(kept) - count - 1 :]
            floor = np.float32(max(floor, np.nextafter(kept[0], np.float32(0))))
    if len(kept) <= count:
        return 0.0
    below, above = float(kept[0]), float(kept[1:].min())
    middle = np.float32((below + above) / 2)
    return float(middle if middle < above else below)
