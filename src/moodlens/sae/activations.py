"""From pre-activations to sparse codes. All functions take and return ``(n, d_sae)`` tensors."""

import torch
from torch import Tensor


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
