"""The training step with dense products and gradients derived by hand, on any device.

It is used on CUDA, where dense products outrun gathers, and for ``l1`` while half of the codes are active. On CUDA the
products are bfloat16 with float32 sums; weights and moments stay float32.
"""

import numpy as np
import torch
from torch import Tensor

from moodlens.core.threads import ThreadTeam
from moodlens.sae.plain import (
    NOTHING,
    Given,
    StepPlan,
    StepResult,
    activate,
    adam,
    errors,
    pre_activations,
    project,
    top_k,
)
from moodlens.sae.rows import Rows, Standard
from moodlens.sae.state import TrainingState
from moodlens.settings.sae import SAESettings

PIECE = 256  # rows or columns of a product on the CPU that one thread makes at a time


def product(team: ThreadTeam, a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` on the CPU, in the same pieces for any number of threads."""
    out = a.new_empty(len(a), b.shape[1])
    by_rows = len(a) >= b.shape[1]

    def piece(i: int) -> None:
        part = slice(i * PIECE, (i + 1) * PIECE)
        if by_rows:
            torch.mm(a[part], b, out=out[part])
        else:
            torch.mm(a, b[:, part], out=out[:, part])

    team.each(piece, -(-max(out.shape) // PIECE))
    return out


def segments(settings: SAESettings, d_sae: int) -> list[slice]:
    """The features that each nested prefix adds; all features at once unless the architecture is matryoshka."""
    ends = settings.prefixes if settings.architecture == "matryoshka" else (d_sae,)
    assert ends is not None
    return [slice(start, end) for start, end in zip((0, *ends[:-1]), ends, strict=True)]


def select(settings: SAESettings, pre: Tensor, k: float) -> Tensor:
    """Codes as in training. On CUDA the batch's threshold is found by bisection instead of a sort of all entries.

    Non-negative floats are ordered as their bits are, so 31 halvings find the ``n k``-th largest exactly; nothing waits
    for the host. Entries that tie with it are all kept.
    """
    if not pre.is_cuda or settings.architecture in ("l1", "topk"):
        return activate(settings, pre, k)
    count = min(pre.numel(), max(1, round(k * len(pre))))
    positive = torch.relu(pre)
    bits = positive.view(torch.int32)
    low = torch.zeros((), dtype=torch.int64, device=pre.device)
    for exponent in range(30, -1, -1):
        middle = low + (1 << exponent)
        low = torch.where((bits >= middle).sum() >= count, middle, low)
    return positive * (bits >= low)


def gradients(
    parameters: dict[str, Tensor],
    z: Tensor,
    settings: SAESettings,
    now: StepPlan,
    dead: Tensor,
    target: Tensor | None = None,
    *,
    team: ThreadTeam | None = None,
) -> tuple[dict[str, Tensor], StepResult]:
    """As :func:`moodlens.sae.plain.gradients`, without autograd: five products of the size of the encoder's.

    Args:
        team: who multiplies on the CPU. On CUDA the factors of large products are rounded to bfloat16.
    """

    def times(a: Tensor, b: Tensor) -> Tensor:
        if a.is_cuda:
            return (a.bfloat16() @ b.bfloat16()).float()
        return a @ b if team is None else product(team, a, b)

    n = len(z)
    W_dec = parameters["W_dec"]
    pre = times(z, parameters["W_enc"].T) + parameters["b_enc"]
    codes = select(settings, pre, now.k)
    parts = segments(settings, W_dec.shape[0])

    residuals = [(z if target is None else target) - parameters["b_dec"]]
    for part in parts:
        residuals.append(residuals[-1] - times(codes[:, part], W_dec[part]))
    left = residuals[-1]
    squares = torch.stack([r.square().sum() for r in residuals[1:]])
    # A feature of one segment is answerable for the residuals of all prefixes it belongs to.
    answer = [left]
    for r in residuals[-2:0:-1]:
        answer.append(answer[-1] + r)
    answer.reverse()

    scale = -2 / n / len(parts)
    on = codes > 0
    d_pre, d_dec = torch.empty_like(pre), torch.empty_like(W_dec)
    for part, e in zip(parts, answer, strict=True):
        d_pre[:, part] = times(e, W_dec[part].T)
        d_dec[part] = times(codes[:, part].T, e)
    d_pre.mul_(scale)
    d_dec.mul_(scale)
    loss = squares.mean() / n
    if settings.architecture == "l1":
        norm = W_dec.norm(dim=-1)
        total = codes.sum(0)
        loss = loss + now.l1 * (total @ norm) / n
        d_pre.add_(norm, alpha=now.l1 / n)
        d_dec.add_((total / norm)[:, None] * W_dec, alpha=now.l1 / n)
    d_pre.mul_(on)

    index = dead.nonzero().squeeze(-1)
    if settings.architecture != "l1" and settings.aux_coefficient > 0 and len(index):
        assert settings.aux_k is not None
        rows = W_dec[index]
        aux = top_k(pre[:, index], min(settings.aux_k, len(index)))
        error = left - times(aux, rows)
        variance = squares[-1].clamp_min(torch.finfo(torch.float32).tiny)
        loss = loss + settings.aux_coefficient * error.square().sum() / variance
        weight = -2 * settings.aux_coefficient / variance
        d_pre.index_add_(1, index, weight * times(error, rows.T) * (aux > 0))
        d_dec.index_add_(0, index, weight * times(aux.T, error))

    grads = {
        "W_enc": times(d_pre.T, z),
        "W_dec": project(d_dec, W_dec) if settings.decoder_norm else d_dec,
        "b_enc": d_pre.sum(0),
        "b_dec": scale * answer[0].sum(0),
    }
    return grads, StepResult(float(loss), float(squares[-1] / n), int(on.sum()), on.any(0).cpu())


class DenseStep:
    """Steps on a copy of the state that lives on ``device``."""

    def __init__(
        self,
        state: TrainingState,
        settings: SAESettings,
        standard: Standard,
        device: str,
        threads: int = 1,
    ) -> None:
        self.settings, self.standard, self.device = settings, standard, device
        self.team = None if device.startswith("cuda") else ThreadTeam(threads)
        self.load(state)

    def load(self, state: TrainingState) -> None:
        """Take over ``state``."""
        self.host = state
        self.state = TrainingState(
            parameters={name: t.to(self.device) for name, t in state.parameters.items()},
            mean={name: t.to(self.device) for name, t in state.mean.items()},
            square={name: t.to(self.device) for name, t in state.square.items()},
            age=state.age.to(self.device),
            silent=state.silent,
            step=state.step,
        )

    def sync(self) -> None:
        """Write everything back into the state that was loaded."""
        for group in ("parameters", "mean", "square"):
            for name, tensor in getattr(self.state, group).items():
                getattr(self.host, group)[name].copy_(tensor)
        self.host.age = self.state.age.cpu()
        self.host.step = self.state.step

    def rows(self, data: Rows, index: np.ndarray, added: np.ndarray | None = None) -> Tensor:
        """Standardised rows ``(n, d_in)`` on the device."""
        return torch.from_numpy(self.standard.batch(data, index, added)).to(self.device, non_blocking=True)

    def step(
        self, data: Rows, index: np.ndarray, now: StepPlan, dead: Tensor, given: Given = NOTHING
    ) -> StepResult:
        """One training step on rows ``index``; ``dead`` is ``(d_sae,) bool``."""
        z, target = self.rows(data, index, given.added), self._there(given.target)
        grads, result = gradients(
            self.state.parameters, z, self.settings, now, dead.to(self.device), target, team=self.team
        )
        adam(self.state, grads, self.settings, now.learning_rate)
        return result

    def errors(
        self, data: Rows, index: np.ndarray, k: float, target: np.ndarray | None = None
    ) -> tuple[float, int, float]:
        """``(sum |z - z_hat|^2, active codes, sum of codes times decoder norms)`` without training."""
        z, p, wanted = self.rows(data, index), self.state.parameters, self._there(target)
        return errors(p, z if wanted is None else wanted, select(self.settings, pre_activations(p, z), k))

    def _there(self, rows: np.ndarray | None) -> Tensor | None:
        return None if rows is None else torch.from_numpy(rows).to(self.device)
