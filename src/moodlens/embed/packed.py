"""What encoders over texts laid end to end share: products, attention inside each text, its mean.

transformers pads a batch to its longest text and multiplies the padding too. Here the tokens of all texts are one
(tokens, d) matrix, so every matrix product does useful work only; attention, which must not cross texts, runs once for
each run of equally long texts.
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Protocol

import torch
import torch.nn.functional as F

from moodlens.core import BadInput
from moodlens.core.cpu import packs_bfloat16

KEY_UNIT = 16
"""Keys; a row of attention weights is padded to a multiple of the widest vector of float32 (AVX-512)."""

Run = tuple[int, int, int]
"""First token, number of texts and tokens in each, of neighbouring texts of equal length."""


class Model(Protocol):
    """An encoder over packed texts.

    Attributes:
        words: the table of token embeddings, (tokens known, d).
        d_in: width of its states.
    """

    words: torch.Tensor
    d_in: int

    def __call__(self, ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Last hidden states, (sum of lengths, d_in), in the weights' dtype or float32.

        Args:
            ids: token ids of all texts end to end, (sum of lengths,) int64.
            lengths: tokens of each text; texts of equal length must be neighbours to share an attention call.
        """
        ...


class Weights:
    """A checkpoint's tensors by name, as the model wants them: ``weights(name, 384, None)`` is 384 by any number.

    Attributes:
        dtype: that the model computes in.
        device: where.
    """

    def __init__(self, label: str, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, device: str):
        self._label, self._tensors = label, tensors
        self.dtype, self.device = dtype, device

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __call__(self, name: str, *shape: int | None) -> torch.Tensor:
        """The tensor in the model's dtype on its device.

        Raises:
            BadInput: there is none, or it has another shape.
        """
        if name not in self._tensors:
            raise BadInput(f"{self._label}: the checkpoint lacks the weight {name}")
        tensor = self._tensors[name]
        fits = tensor.ndim == len(shape) and all(
            want in (None, has) and has > 0 for want, has in zip(shape, tensor.shape, strict=True)
        )
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        self.require(fits, name, f"shape {wanted}")
        return tensor.to(dtype=self.dtype, device=self.device)

    def pair(self, name: str, *shape: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """``NAME.weight`` of this shape and ``NAME.bias``, as long as its first side."""
        weight = self(name + ".weight", *shape)
        return weight, self(name + ".bias", len(weight))

    def require(self, fits: bool, name: str, what: str) -> None:
        """Check something about a weight that the others or the configuration say.

        Raises:
            BadInput: it does not hold.
        """
        if not fits:
            has = " x ".join(map(str, self._tensors[name].shape))
            raise BadInput(f"{self._label}: the weight {name} is {has}; expected {what}")


class Linear:
    """``x @ weight.T + bias`` with the weight laid out once for the processor.

    On a CPU, oneDNN's packed layout gives a quarter more float32 throughput than the plain product, and spares bfloat16
    the reordering at every call. Where oneDNN cannot pack, and on a GPU, it is the plain product.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        self._bias = bias
        self._packed = (
            weight.device.type == "cpu"
            and torch.backends.mkldnn.is_available()
            and (weight.dtype == torch.float32 or packs_bfloat16())
        )
        self._weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None) if self._packed else weight
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return F.linear(x, self._weight, self._bias)


def runs_of(lengths: list[int]) -> list[Run]:
    """Neighbouring texts of equal length."""
    runs, first = [], 0
    for tokens, group in groupby(lengths):
        texts = sum(1 for _ in group)
        runs.append((first, texts, tokens))
        first += texts * tokens
    return runs


def packed_sum(states: torch.Tensor, weights: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Weighted sum of each text's rows in a packed array, in float32. There is no padding to mask.

    Args:
        states: the token states of all texts one after another, (sum of lengths, d_in).
        weights: of each token, (sum of lengths,) float32; where those of a text add up to 1 it is the mean.
        lengths: tokens of each text, (n,) int64, each at least 1.

    Returns:
        (n, d_in) float32.
    """
    return torch.segment_reduce(states.float() * weights[:, None], "sum", lengths=lengths, axis=0)


def attention(
    query_key_value: torch.Tensor, runs: list[Run], heads: int, biases: list[torch.Tensor] | None = None
) -> torch.Tensor:
    """Self-attention inside each text: (tokens, 3 * heads * d_head) to (tokens, heads * d_head).

    With ``biases`` (T5), one (heads, tokens, tokens) for each run, the logits are not scaled by 1/sqrt(d_head).
    """
    width = query_key_value.shape[1] // 3
    context = query_key_value.new_empty((len(query_key_value), width))
    by_hand = query_key_value.dtype == torch.bfloat16 and query_key_value.device.type == "cpu"
    attend = _attention_by_products if by_hand else _attention_fused
    for number, (first, texts, tokens) in enumerate(runs):
        rows = slice(first, first + texts * tokens)
        split = query_key_value[rows].view(texts, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mixed = attend(split, biases[number] if biases is not None else None)
        context[rows].view(texts, tokens, heads, -1).copy_(mixed.transpose(1, 2))
    return context


def _attention_fused(split: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """torch's fused kernel: (3, texts, heads, tokens, d_head) to (texts, heads, tokens, d_head)."""
    return F.scaled_dot_product_attention(*split, attn_mask=bias, scale=None if bias is None else 1.0)


def _attention_by_products(split: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The same in two products and a softmax: two to three times faster than the fused kernel in bfloat16 on a CPU.

    Texts here are short, and torch's softmax is slow on rows that do not fill its vectors: keys are padded to a multiple
    of ``KEY_UNIT`` and masked. The softmax itself is float32.
    """
    _, texts, heads, tokens, d_head = split.shape
    padded = -(-tokens // KEY_UNIT) * KEY_UNIT
    query = split[0].reshape(texts * heads, tokens, d_head)
    if padded == tokens:
        key, value = split[1:].reshape(2, texts * heads, tokens, d_head)
    else:
        roomy = split.new_zeros((2, texts, heads, padded, d_head))
        roomy[:, :, :, :tokens] = split[1:]
        key, value = roomy.view(2, texts * heads, padded, d_head)
    if bias is None:
        added = split.new_zeros((1, 1, padded))
        added[..., tokens:] = -torch.inf
    else:
        added = F.pad(bias, (0, padded - tokens), value=-torch.inf).repeat(texts, 1, 1)
    logits = torch.baddbmm(added, query, key.transpose(1, 2), alpha=d_head**-0.5 if bias is None else 1.0)
    weights = logits.softmax(-1, dtype=torch.float32).to(split.dtype)
    return torch.bmm(weights, value).view(texts, heads, tokens, d_head)
