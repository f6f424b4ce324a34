"""From token states to one vector a text: the mean over the tokens that are really there."""

import torch


def masked_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over unmasked tokens, in float32.

    Args:
        states: token states, (batch, tokens, d_in), any float dtype.
        mask: (batch, tokens), nonzero where a token is real.

    Returns:
        (batch, d_in) float32. A row without any real token is NaN, never a made-up zero.
    """
    weight = mask.to(torch.float32).unsqueeze(-1)  # (batch, tokens, 1)
    # where(), not a product alone: padding states may be inf or NaN, and 0 * inf is NaN.
    kept = torch.where(weight > 0, states.float(), 0.0)
    return (kept * weight).sum(1) / weight.sum(1)


def packed_mean(states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean of each text's rows in a packed array, in float32.

    Args:
        states: the token states of all texts one after another, (sum of lengths, d_in).
        lengths: tokens of each text, (n,) int64, each at least 1.

    Returns:
        (n, d_in) float32.
    """
    return torch.segment_reduce(states.float(), "mean", lengths=lengths, axis=0)
