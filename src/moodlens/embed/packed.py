"""BERT and T5 encoders over texts laid end to end, without padding.

transformers pads a batch to its longest text and multiplies the padding too. Here the tokens of all texts are one
(tokens, d) matrix, so every matrix product does useful work only; attention, which must not cross texts, runs once for
each run of equally long texts. The arithmetic is that of ``BertModel`` (Devlin et al. 2019) and ``T5EncoderModel``
(Raffel et al. 2020) in transformers, against which the tests hold it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F

KEY_UNIT = 16
"""Keys; a row of attention weights is padded to a multiple of the widest vector of float32 (AVX-512)."""

Weights = Mapping[str, torch.Tensor]
Run = tuple[int, int, int]
"""First token, number of texts and tokens in each, of neighbouring texts of equal length."""


@dataclass(frozen=True)
class BertShape:
    """What the weights alone do not say about a BERT (names as in its ``config.json``)."""

    num_hidden_layers: int
    num_attention_heads: int
    layer_norm_eps: float


@dataclass(frozen=True)
class T5Shape:
    """What the weights alone do not say about a T5 encoder (names as in its ``config.json``)."""

    num_layers: int
    num_heads: int
    layer_norm_epsilon: float
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    activation: str


class PackedBert:
    """BERT's encoder: post-norm layers, learned positions, GELU."""

    def __init__(self, weights: Weights, shape: BertShape):
        embeddings = "embeddings."
        self._words = weights[embeddings + "word_embeddings.weight"]
        types = weights[embeddings + "token_type_embeddings.weight"]
        self._positions = (
            weights[embeddings + "position_embeddings.weight"] + types[0]
        )  # one sentence: always type 0
        self._eps, self._heads = shape.layer_norm_eps, shape.num_attention_heads
        self._norm = _pair(weights, embeddings + "LayerNorm")
        self._layers = [
            _BertLayer(weights, f"encoder.layer.{number}.") for number in range(shape.num_hidden_layers)
        ]
        self.d_in = self._words.shape[1]

    def __call__(self, ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Last hidden states.

        Args:
            ids: token ids of all texts end to end, (sum of lengths,) int64.
            lengths: tokens of each text; texts of equal length must be neighbours to share an attention call.

        Returns:
            (sum of lengths, d_in), in the weights' dtype.
        """
        runs = list(_runs(lengths))
        x = self._words[ids]
        for first, texts, tokens in runs:
            x[first : first + texts * tokens].view(texts, tokens, -1).add_(self._positions[:tokens])
        x = self._normed(x, self._norm)
        for layer in self._layers:
            context = _attention(layer.query_key_value(x), runs, self._heads)
            x = self._normed(layer.attention_output(context).add_(x), layer.attention_norm)
            hidden = F.gelu(layer.intermediate(x))
            x = self._normed(layer.output(hidden).add_(x), layer.output_norm)
        return x

    def _normed(self, x: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.layer_norm(x, (x.shape[1],), *norm, self._eps)


class _BertLayer:
    def __init__(self, weights: Weights, prefix: str):
        attention = prefix + "attention."
        parts = [_pair(weights, f"{attention}self.{name}") for name in ("query", "key", "value")]
        self.query_key_value = Linear(torch.cat([w for w, _ in parts]), torch.cat([b for _, b in parts]))
        self.attention_output = Linear(*_pair(weights, attention + "output.dense"))
        self.attention_norm = _pair(weights, attention + "output.LayerNorm")
        self.intermediate = Linear(*_pair(weights, prefix + "intermediate.dense"))
        self.output = Linear(*_pair(weights, prefix + "output.dense"))
        self.output_norm = _pair(weights, prefix + "output.LayerNorm")


class PackedT5:
    """T5's encoder: pre-norm layers, relative position bias shared by all layers, no biases, unscaled attention."""

    def __init__(self, weights: Weights, shape: T5Shape):
        self._shape = shape
        # The table is tied; which of its two names a file keeps depends on who wrote it.
        tied = "encoder.embed_tokens.weight"
        self._words = weights[tied if tied in weights else "shared.weight"]
        self._layers = [
            _T5Layer(weights, f"encoder.block.{number}.layer.", shape) for number in range(shape.num_layers)
        ]
        bias = weights["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        self._bias = bias.t().contiguous()  # (heads, buckets)
        self._norm = weights["encoder.final_layer_norm.weight"]
        self.d_in = self._words.shape[1]

    def __call__(self, ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Last hidden states; arguments and result as for :class:`PackedBert`."""
        runs = list(_runs(lengths))
        biases = [self._position_bias(tokens) for _, _, tokens in runs]
        # The residual stream is float32: in bfloat16 its 24 additions would each lose what is small beside T5's outliers.
        x = self._words[ids].float()
        for layer in self._layers:
            normed = self._normed(x, layer.attention_norm)
            x += layer.output(_attention(layer.query_key_value(normed), runs, self._shape.num_heads, biases))
            x += layer.feed_forward(self._normed(x, layer.feed_forward_norm))
        return self._normed(x, self._norm)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        # T5 normalises by the root mean square alone, computed in float32 whatever the dtype.
        return (
            F.rms_norm(x, (x.shape[1],), None, self._shape.layer_norm_epsilon).to(weight.dtype).mul_(weight)
        )

    def _position_bias(self, tokens: int) -> torch.Tensor:
        """Added to the attention logits: (heads, tokens, tokens)."""
        place = torch.arange(tokens, device=self._bias.device)
        return self._bias[:, self._buckets(place[None, :] - place[:, None])]

    def _buckets(self, offset: torch.Tensor) -> torch.Tensor:
        """Bucket of key position minus query position: half for each sign, exact near zero, logarithmic further out."""
        half = self._shape.relative_attention_num_buckets // 2
        exact = half // 2
        distance = offset.abs()
        scale = (half - exact) / math.log(self._shape.relative_attention_max_distance / exact)
        far = exact + (torch.log(distance.clamp(min=1).float() / exact) * scale).long()
        bucket = torch.where(distance < exact, distance, far.clamp(max=half - 1))
        return bucket + half * (offset > 0)


class _T5Layer:
    def __init__(self, weights: Weights, prefix: str, shape: T5Shape):
        attention = prefix + "0.SelfAttention."
        self.query_key_value = Linear(
            torch.cat([weights[f"{attention}{name}.weight"] for name in "qkv"]), None
        )
        self.output = Linear(weights[attention + "o.weight"], None)
        self.attention_norm = weights[prefix + "0.layer_norm.weight"]
        feed = prefix + "1.DenseReluDense."
        self._gate = None
        if feed + "wi.weight" in weights:
            self._wide = Linear(weights[feed + "wi.weight"], None)
        else:  # T5 1.1 and later: a gate and a linear half
            self._gate = Linear(weights[feed + "wi_0.weight"], None)
            self._wide = Linear(weights[feed + "wi_1.weight"], None)
        self._narrow = Linear(weights[feed + "wo.weight"], None)
        self._activation = ACTIVATIONS[shape.activation]
        self.feed_forward_norm = weights[prefix + "1.layer_norm.weight"]

    def feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._gate is None:
            return self._narrow(self._activation(self._wide(x)))
        return self._narrow(self._activation(self._gate(x)).mul_(self._wide(x)))


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu_,
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


class Linear:
    """``x @ weight.T + bias`` with the weight laid out once for the processor.

    On a CPU, oneDNN's packed layout gives a quarter more float32 throughput than the plain product, and spares bfloat16
    the reordering at every call. Where this build of torch has no oneDNN, and on a GPU, it is the plain product.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        self._bias = bias
        self._packed = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        self._weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None) if self._packed else weight
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return F.linear(x, self._weight, self._bias)


def _pair(weights: Weights, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return weights[name + ".weight"], weights[name + ".bias"]


def _runs(lengths: list[int]) -> Iterator[Run]:
    first = 0
    for tokens, group in groupby(lengths):
        texts = sum(1 for _ in group)
        yield first, texts, tokens
        first += texts * tokens


def _attention(
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
