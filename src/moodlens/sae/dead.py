"""Features that stopped firing: counted in epochs, brought back to work."""

import numpy as np
import torch
from torch import Tensor

from moodlens.sae.state import REVIVE, TrainingState, generator
from moodlens.settings.sae import SAESettings


def count_silence(state: TrainingState, fired: Tensor) -> None:
    """At the end of an epoch: ``silent`` becomes 0 where ``fired`` ``(d_sae,) bool``, else one epoch more."""
    state.silent = torch.where(fired, torch.zeros_like(state.silent), state.silent + 1)


def dead_features(state: TrainingState, settings: SAESettings) -> Tensor:
    """``(d_sae,) bool``: silent for at least ``dead_feature_threshold`` epochs."""
    return state.silent >= settings.dead_feature_threshold


@torch.no_grad()
def reinitialise(
    state: TrainingState, dead: Tensor, z: Tensor, settings: SAESettings, *, seed: int, epoch: int
) -> Tensor:
    """Aim dead features at what is badly reconstructed (Bricken et al. 2023, "neuron resampling").

    Rows of ``z`` ``(n, d_in)`` are drawn without repetition, with probability proportional to their squared error. A
    feature's decoder row becomes the row's unit residual and its encoder the same direction at 0.2 of the mean norm of
    the live encoders; its bias, moments, age and silence start again at 0. At most ``n`` features are reborn: more
    would be copies of each other, and copies have equal gradients for ever.

    Returns:
        The features reborn, ``(n_reborn,)``.
    """
    p = state.parameters
    z_hat = torch.relu(z @ p["W_enc"].T + p["b_enc"]) @ p["W_dec"] + p["b_dec"]
    residual = z - z_hat
    loss = residual.double().square().sum(-1)
    weight = loss.square().cpu().numpy()
    usable = int((weight > 0).sum())
    draw = generator(seed, REVIVE, epoch)
    index = dead.nonzero().squeeze(-1).cpu().numpy()
    n = min(len(index), usable)
    if n == 0:
        return torch.zeros(0, dtype=torch.int64)
    index = np.sort(draw.permutation(index)[:n])
    rows = draw.choice(len(weight), size=n, replace=False, p=weight / weight.sum())
    feature = torch.from_numpy(index)
    direction = residual[torch.from_numpy(rows)]
    direction = direction / direction.norm(dim=-1, keepdim=True)
    alive = ~dead
    norm = p["W_enc"][alive].norm(dim=-1).mean() if bool(alive.any()) else torch.tensor(1.0)
    p["W_dec"][feature] = direction
    p["W_enc"][feature] = 0.2 * norm * direction
    p["b_enc"][feature] = 0.0
    for moments in (state.mean, state.square):
        for name in ("W_enc", "W_dec", "b_enc"):
            moments[name][feature] = 0.0
    state.age[feature] = 0
    state.silent[feature] = 0
    return feature
