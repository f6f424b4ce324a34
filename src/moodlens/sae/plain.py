"""A training step written plainly: dense matrices, float32, autograd, textbook Adam.

This is the definition. The fast steps (:mod:`moodlens.sae.sparse`, :mod:`moodlens.sae.dense`) are tested against it. From
top to bottom: the schedule, activation functions, terms of the loss, gradients, Adam, the step.

Inputs are standardised: their mean squared norm about the train mean is 1, so the reconstruction loss is the share of
variance left unexplained. ``W_enc`` is kept transposed, ``(d_sae, d_in)``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moodlens.sae.state import PARAMETERS, TrainingState
from moodlens.settings.sae import SAESettings

ADAM_EPSILON = 1e-8


# -- what changes from step to step --------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepPlan:
    """What one training step needs to know."""

    learning_rate: float
    l1: float
    k: float  # mean active features a row


def plan(settings: SAESettings, step: int, total: int) -> StepPlan:
    """Step size: linear up over ``warmup``, level, linear to zero over ``decay``. Sparsity: l1 rises, k falls from 4 k.

    Args:
        settings: resolved.
        step: 0 for the first step.
        total: steps if training is not stopped early.
    """
    assert settings.d_sae is not None
    done = (step + 1) / total
    rate = settings.learning_rate
    if settings.warmup > 0:
        rate *= min(1.0, done / settings.warmup)
    if settings.decay > 0:
        rate *= min(1.0, (total - step) / total / settings.decay)
    ramp = min(1.0, done / settings.sparsity_warmup) if settings.sparsity_warmup > 0 else 1.0
    widest = min(4 * settings.k, max(settings.k, settings.d_sae // 2))
    return StepPlan(
        learning_rate=rate,
        l1=settings.l1_coefficient * ramp,
        k=settings.k + (1 - ramp) * (widest - settings.k),
    )


# -- from pre-activations (n, d_sae) to sparse codes ---------------------------------------------------------------


def top_k(pre: Tensor, k: int) -> Tensor:
    """Keep the ``k`` largest of each row, then ReLU (Gao et al. 2024, eq. 3): at most ``k`` non-zeros a row."""
    values, index = torch.topk(pre, k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, index, torch.relu(values))


def batch_top_k(pre: Tensor, count: int) -> Tensor:
    """Keep the ``count`` largest of the whole batch, then ReLU (Bussmann et al. 2024, eq. 5).

    With ``count = n * k`` the mean number of non-zeros a row is ``k``, unless fewer are positive.
    """
    values, index = torch.topk(pre.flatten(), count)
    return torch.zeros_like(pre).flatten().scatter(0, index, torch.relu(values)).view_as(pre)


def jump_relu(pre: Tensor, threshold: Tensor) -> Tensor:
    """ReLU that is zero up to ``threshold`` ``(d_sae,)`` (Rajamanoharan et al. 2024, eq. 2)."""
    return torch.relu(pre) * (pre > threshold)


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


# -- terms of the loss: tensors in, one number out, means over the rows of a batch ---------------------------------


def reconstruction_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean over rows of ``|x - x_hat|^2``; both ``(n, d_in)``."""
    return (x - x_hat).square().sum(-1).mean()


def l1_loss(codes: Tensor, W_dec: Tensor) -> Tensor:
    """Mean over rows of ``sum_f codes_f |W_dec_f|``.

    With unit decoder rows this is the L1 norm (Bricken et al. 2023); with free rows the weighting stops the encoder
    from shrinking the codes while the decoder grows (Conerly et al. 2024).
    """
    return (codes * W_dec.norm(dim=-1)).sum(-1).mean()


def matryoshka_loss(
    x: Tensor, codes: Tensor, W_dec: Tensor, b_dec: Tensor, prefixes: tuple[int, ...]
) -> Tensor:
    """Mean over ``prefixes`` of the reconstruction loss from the first ``m`` features alone (Bussmann et al. 2025)."""
    total = x.new_zeros(())
    for m in prefixes:
        total = total + reconstruction_loss(x, codes[:, :m] @ W_dec[:m] + b_dec)
    return total / len(prefixes)


def auxiliary_loss(residual: Tensor, pre: Tensor, dead: Tensor, W_dec: Tensor, aux_k: int) -> Tensor:
    """How badly the dead features model what the live ones miss (Gao et al. 2024, appendix A.2).

    ``|e - e_hat|^2 / |e|^2`` summed over the batch, where ``e`` is the detached ``residual`` ``(n, d_in)`` and
    ``e_hat`` decodes the ``aux_k`` largest pre-activations among ``dead`` ``(d_sae,) bool``. The decoder bias is
    already in the residual and is not added again. Zero if nothing is dead.
    """
    residual = residual.detach()
    index = dead.nonzero().squeeze(-1)
    if index.numel() == 0:
        return residual.new_zeros(())
    codes = top_k(pre[:, index], min(aux_k, index.numel()))
    error = (residual - codes @ W_dec[index]).square().sum()
    return error / residual.square().sum().clamp_min(torch.finfo(residual.dtype).tiny)


def loss_terms(
    parameters: dict[str, Tensor],
    z: Tensor,
    settings: SAESettings,
    now: StepPlan,
    dead: Tensor,
    target: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(loss, unexplained, codes)`` of a standardised batch ``z`` ``(n, d_in)``; ``dead`` is ``(d_sae,) bool``.

    ``target`` ``(n, d_in)`` is to be rebuilt; None: ``z`` itself.
    """
    target = z if target is None else target
    W_dec, b_dec = parameters["W_dec"], parameters["b_dec"]
    pre = pre_activations(parameters, z)
    codes = activate(settings, pre, now.k)
    z_hat = codes @ W_dec + b_dec
    unexplained = reconstruction_loss(target, z_hat)
    if settings.architecture == "l1":
        return unexplained + now.l1 * l1_loss(codes, W_dec), unexplained, codes
    loss = unexplained
    if settings.architecture == "matryoshka":
        assert settings.prefixes is not None
        loss = matryoshka_loss(target, codes, W_dec, b_dec, settings.prefixes)
    if settings.aux_coefficient > 0 and bool(dead.any()):
        assert settings.aux_k is not None
        loss = loss + settings.aux_coefficient * auxiliary_loss(
            target - z_hat, pre, dead, W_dec, settings.aux_k
        )
    return loss, unexplained, codes


@torch.no_grad()
def errors(parameters: dict[str, Tensor], z: Tensor, codes: Tensor) -> tuple[float, int, float]:
    """``(sum |z - z_hat|^2, active codes, sum of codes times decoder norms)``, sums in float64."""
    W_dec = parameters["W_dec"]
    error = (z - codes @ W_dec - parameters["b_dec"]).double().square().sum()
    weighted = (codes.double() @ W_dec.double().norm(dim=-1)).sum()
    return float(error), int((codes > 0).sum()), float(weighted)


# -- the step ------------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """What a step is given beside the rows, in their order; ``(n, d_in)`` each."""

    added: np.ndarray | None = None  # laid over the standardised rows
    target: np.ndarray | None = None  # what is to be rebuilt; None: the rows as they are read


NOTHING = Given()


@dataclass(frozen=True)
class StepResult:
    """What one step saw, before it changed the weights."""

    loss: float
    unexplained: float  # mean |z - z_hat|^2: the share of variance left over
    active: int  # non-zero codes in the batch
    fired: Tensor  # (d_sae,) bool


def gradients(
    parameters: dict[str, Tensor],
    z: Tensor,
    settings: SAESettings,
    now: StepPlan,
    dead: Tensor,
    target: Tensor | None = None,
) -> tuple[dict[str, Tensor], StepResult]:
    """Gradient of the loss for every parameter, by autograd; the decoder's is projected off its unit rows."""
    leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
    loss, unexplained, codes = loss_terms(leaves, z, settings, now, dead, target)
    grads = dict(
        zip(PARAMETERS, torch.autograd.grad(loss, [leaves[name] for name in PARAMETERS]), strict=True)
    )
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


def step(
    state: TrainingState,
    z: Tensor,
    settings: SAESettings,
    now: StepPlan,
    dead: Tensor,
    target: Tensor | None = None,
) -> StepResult:
    """One training step on a standardised batch ``z`` ``(n, d_in)``; changes ``state`` in place."""
    grads, result = gradients(state.parameters, z, settings, now, dead, target)
    adam(state, grads, settings, now.learning_rate)
    return result
