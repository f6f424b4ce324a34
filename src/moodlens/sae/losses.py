"""The terms of the training loss: tensors in, one number out.

All are means over the rows of a batch. Inputs have mean squared norm 1 about the train mean, so the reconstruction
loss is the share of variance left unexplained.
"""

import torch
from torch import Tensor


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
    values, chosen = torch.topk(pre[:, index], min(aux_k, index.numel()), dim=-1)
    codes = torch.zeros_like(pre[:, index]).scatter(-1, chosen, torch.relu(values))
    error = (residual - codes @ W_dec[index]).square().sum()
    return error / residual.square().sum().clamp_min(torch.finfo(residual.dtype).tiny)
