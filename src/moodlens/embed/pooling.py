"""From token states to one vector a text: the mean over the tokens that are really there."""

import torch


def packed_mean(states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean of each text's rows in a packed array, in float32. There is no padding to mask.

    Args:
        states: the token states of all texts one after another, (sum of lengths, d_in).
        lengths: tokens of each text, (n,) int64, each at least 1.

    Returns:
        (n, d_in) float32.
    """
    return torch.segment_reduce(states.float(), "mean", lengths=lengths, axis=0)
