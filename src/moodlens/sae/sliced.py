"""A training step that several processes take together: each on its slice of every batch, gradients added up.

The loss is that of :mod:`moodlens.sae.plain` on the whole batch: means are over all of its rows, batch top-k keeps the
largest of all of its codes, and the auxiliary loss is a share of all of its error. So the step is one process's own, but
for the order in which numbers are added. All processes hold the same state and change it alike.
"""

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from moodlens.sae.plain import (
    NOTHING,
    Given,
    StepPlan,
    StepResult,
    activate,
    adam,
    errors,
    l1_loss,
    matryoshka_loss,
    pre_activations,
    project,
    reconstruction_loss,
    top_k,
)
from moodlens.sae.rows import Rows
from moodlens.sae.state import PARAMETERS
from moodlens.sae.steps import Plain


class Sliced(Plain):
    """Steps of a process group, of which this is one process; for :class:`moodlens.sae.training.Trainer`."""

    def step(
        self, data: Rows, index: np.ndarray, now: StepPlan, dead: Tensor, given: Given = NOTHING
    ) -> StepResult:
        """One step on rows ``index``, of which every process reads its own."""
        own, n = _slice(len(index)), len(index)
        added = None if given.added is None else given.added[own]
        z = torch.from_numpy(self.standard.batch(data, np.sort(index)[own], added))
        target = z if given.target is None else torch.from_numpy(given.target[own])
        leaves = {name: p.detach().requires_grad_() for name, p in self.state.parameters.items()}
        loss, unexplained, codes = self._loss(leaves, z, target, n, now, dead)
        derivatives = torch.autograd.grad(loss, [leaves[name] for name in PARAMETERS])
        on = codes.detach() > 0
        seen = torch.stack([loss.detach(), unexplained.detach(), on.sum().float()])
        grads, seen, fired = _added(list(derivatives), seen, on.any(0).float())
        gradients = dict(zip(PARAMETERS, grads, strict=True))
        if self.settings.decoder_norm:
            gradients["W_dec"] = project(gradients["W_dec"], self.state.parameters["W_dec"])
        adam(self.state, gradients, self.settings, now.learning_rate)
        return StepResult(float(seen[0]), float(seen[1]), round(float(seen[2])), fired > 0)

    def errors(
        self, data: Rows, index: np.ndarray, k: float, target: np.ndarray | None = None
    ) -> tuple[float, int, float]:
        """``(sum |z - z_hat|^2, active codes, sum of codes times decoder norms)`` of all processes' rows."""
        own, p = _slice(len(index)), self.state.parameters
        z = torch.from_numpy(self.standard.batch(data, index[own]))
        codes = self._codes(pre_activations(p, z), k, len(index))
        own_sums = errors(p, z if target is None else torch.from_numpy(target[own]), codes)
        sums = torch.tensor(own_sums, dtype=torch.float64)
        dist.all_reduce(sums)
        return float(sums[0]), round(float(sums[1])), float(sums[2])

    def _codes(self, pre: Tensor, k: float, n: int) -> Tensor:
        """Codes of this process's rows of a batch of ``n``. Entries that tie with the last one kept are all kept."""
        if self.settings.architecture in ("l1", "topk"):
            return activate(self.settings, pre, k)
        count = min(n * pre.shape[1], max(1, round(k * n)))
        own = torch.full((count,), -torch.inf)
        largest = torch.topk(pre.detach().flatten(), min(count, pre.numel())).values
        own[: len(largest)] = largest
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, own)
        least = torch.topk(torch.cat(everyone), count).values[-1]
        return torch.relu(pre) * (pre >= least)

    def _loss(
        self, p: dict[str, Tensor], z: Tensor, target: Tensor, n: int, now: StepPlan, dead: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``(loss, unexplained, codes)`` of this process's rows; the first two add up to those of the batch."""
        settings, share = self.settings, len(z) / n
        pre = pre_activations(p, z)
        codes = self._codes(pre, now.k, n)
        z_hat = codes @ p["W_dec"] + p["b_dec"]
        unexplained = share * reconstruction_loss(target, z_hat)
        if settings.architecture == "l1":
            return unexplained + share * now.l1 * l1_loss(codes, p["W_dec"]), unexplained, codes
        loss = unexplained
        if settings.architecture == "matryoshka":
            assert settings.prefixes is not None
            loss = share * matryoshka_loss(target, codes, p["W_dec"], p["b_dec"], settings.prefixes)
        if settings.aux_coefficient > 0 and bool(dead.any()):
            loss = loss + settings.aux_coefficient * self._auxiliary(p, target - z_hat, pre, dead)
        return loss, unexplained, codes

    def _auxiliary(self, p: dict[str, Tensor], residual: Tensor, pre: Tensor, dead: Tensor) -> Tensor:
        """This process's part of :func:`moodlens.sae.plain.auxiliary_loss`, which is a share of all processes' error."""
        assert self.settings.aux_k is not None
        residual, index = residual.detach(), dead.nonzero().squeeze(-1)
        codes = top_k(pre[:, index], min(self.settings.aux_k, index.numel()))
        error = (residual - codes @ p["W_dec"][index]).square().sum()
        total = residual.square().sum()
        dist.all_reduce(total)
        return error / total.clamp_min(torch.finfo(total.dtype).tiny)


def _slice(n: int) -> slice:
    """The rows of a batch of ``n`` that this process reads."""
    rank, world = dist.get_rank(), dist.get_world_size()
    return slice(rank * n // world, (rank + 1) * n // world)


def _added(grads: list[Tensor], seen: Tensor, fired: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """The sums over all processes, sent as one."""
    parts = [*grads, seen, fired]
    flat = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(flat)
    sums = [
        flat_part.view_as(part)
        for flat_part, part in zip(flat.split([p.numel() for p in parts]), parts, strict=True)
    ]
    return sums[:-2], sums[-2], sums[-1]
