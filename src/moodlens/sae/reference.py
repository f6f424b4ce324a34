"""The training step written plainly: autograd, dense matrices, float32, textbook Adam.

This is the definition. Faster steps are tested against it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from moodlens.sae.activations import batch_top_k, top_k
from moodlens.sae.losses import auxiliary_loss, l1_loss, matryoshka_loss, reconstruction_loss
from moodlens.sae.schedule import StepPlan
from moodlens.sae.state import PARAMETERS, TrainingState
from moodlens.settings.sae import SAESettings

ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class StepResult:
    """What one step saw, before it changed the weights."""

    loss: float
    unexplained: float  # mean |z - z_hat|^2: the share of variance left over
    active: int  # non-zero codes in the batch
    fired: Tensor  # (d_sae,) bool


def pre_activations(parameters: dict[str, Tensor], z: Tensor) -> Tensor:
    """``(n, d_sae)``. ``b_dec`` is not subtracted from ``z``, which is centred already; ``b_enc`` absorbs it."""
    return z @ parameters["W_enc"].T + parameters["b_enc"]


def activate(settings: SAESettings, pre: Tensor, k: float) -> Tensor:
    """Codes as in training: batch top-k over the rows given, so its mean L0 is ``k`` on them."""
    if settings.architecture == "l1":
        return torch.relu(pre)
    if settings.architecture == "topk":
        return top_k(pre, round(k))
    return batch_top_k(pre, min(pre.numel(), max(1, round(k * len(pre)))))


def loss_terms(
    parameters: dict[str, Tensor], z: Tensor, settings: SAESettings, now: StepPlan, dead: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(loss, unexplained, codes)`` of a standardised batch ``z`` ``(n, d_in)``; ``dead`` is ``(d_sae,) bool``."""
    W_dec, b_dec = parameters["W_dec"], parameters["b_dec"]
    pre = pre_activations(parameters, z)
    codes = activate(settings, pre, now.k)
    z_hat = codes @ W_dec + b_dec
    unexplained = reconstruction_loss(z, z_hat)
    if settings.architecture == "l1":
        return unexplained + now.l1 * l1_loss(codes, W_dec), unexplained, codes
    loss = unexplained
    if settings.architecture == "matryoshka":
        assert settings.prefixes is not None
        loss = matryoshka_loss(z, codes, W_dec, b_dec, settings.prefixes)
    if settings.aux_coefficient > 0 and bool(dead.any()):
        assert settings.aux_k is not None
        loss = loss + settings.aux_coefficient * auxiliary_loss(z - z_hat, pre, dead, W_dec, settings.aux_k)
    return loss, unexplained, codes


def gradients(
    parameters: dict[str, Tensor], z: Tensor, settings: SAESettings, now: StepPlan, dead: Tensor
) -> tuple[dict[str, Tensor], StepResult]:
    """Gradient of the loss for every parameter, by autograd; the decoder's is projected off its unit rows."""
    leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    loss, unexplained, codes = loss_terms(leaves, z, settings, now, dead)
    found = torch.autograd.grad(loss, [leaves[name] for name in PARAMETERS])
    grads = dict(zip(PARAMETERS, found, strict=True))
    if settings.decoder_norm:
        grads["W_dec"] = project(grads["W_dec"], parameters["W_dec"])
    on = codes.detach() > 0
    return grads, StepResult(loss.item(), unexplained.item(), int(on.sum()), on.any(0))


def project(grad: Tensor, unit_rows: Tensor) -> Tensor:
    """Remove from each row of ``grad`` its part along the unit row (Bricken et al. 2023): only turning is left."""
    return grad - (grad * unit_rows).sum(-1, keepdim=True) * unit_rows


@torch.no_grad()
def adam(state: TrainingState, grads: dict[str, Tensor], settings: SAESettings, learning_rate: float) -> None:
    """One Adam step in place (Kingma & Ba 2015, algorithm 1).

    Bias correction counts a feature's own age, so that a feature born again does not leap.
    """
    state.step += 1
    state.age += 1
    for name, grad in grads.items():
        p, m, v = state.parameters[name], state.mean[name], state.square[name]
        m.mul_(settings.beta1).add_(grad, alpha=1 - settings.beta1)
        v.mul_(settings.beta2).addcmul_(grad, grad, value=1 - settings.beta2)
        steps = state.age.double() if name != "b_dec" else torch.tensor(float(state.step)).double()
        first = (1 - settings.beta1**steps).float()
        second = (1 - settings.beta2**steps).float()
        if p.ndim == 2:
            first, second = first[:, None], second[:, None]
        p.sub_(learning_rate * (m / first) / ((v / second).sqrt() + ADAM_EPSILON))
    if settings.decoder_norm:
        W_dec = state.parameters["W_dec"]
        W_dec.div_(W_dec.norm(dim=-1, keepdim=True))


def step(state: TrainingState, z: Tensor, settings: SAESettings, now: StepPlan, dead: Tensor) -> StepResult:
    """One training step on a standardised batch ``z`` ``(n, d_in)``; changes ``state`` in place."""
    grads, result = gradients(state.parameters, z, settings, now, dead)
    adam(state, grads, settings, now.learning_rate)
    return result
