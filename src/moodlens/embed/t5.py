"""The encoder half of a T5 checkpoint (Raffel et al. 2020), T5 1.1 and later included.

The tests hold it against ``T5EncoderModel`` of transformers to 1e-5.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import JsonValue

from moodlens.core import BadInput
from moodlens.embed.checkpoint import Checkpoint
from moodlens.embed.packed import Linear, Weights, attention, runs_of
from moodlens.embed.sources import Source

MAX_LENGTH = 512  # the T5 tokenizer's model_max_length; T5 was pretrained on no more

# What T5Config takes where config.json is silent (google-t5/t5-base names neither distance nor feed-forward).
_DEFAULTS = {
    "num_layers": 6,
    "num_heads": 8,
    "layer_norm_epsilon": 1e-6,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu_,
    "gelu": torch.ops.aten.gelu_,
    "gelu_new": lambda x: torch.ops.aten.gelu_(x, approximate="tanh"),
    "silu": torch.ops.aten.silu_,
}


@dataclass(frozen=True)
class T5Shape:
    """What the weights alone do not say about a T5 encoder (names as in its ``config.json``)."""

    num_layers: int
    num_heads: int
    layer_norm_epsilon: float
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    activation: str


def load(source: Source) -> Checkpoint:
    """The encoder half of a T5 checkpoint.

    Raises:
        BadInput: it cannot be loaded.
    """
    return t5_checkpoint(source, source.config(), "")


def t5_checkpoint(source: Source, config: Any, prefix: str) -> Checkpoint:
    """The T5 encoder that ``config`` describes and whose tensors' names begin with ``prefix``.

    Raises:
        BadInput: it is none, or cannot be loaded.
    """
    require_type(source, config, "t5")
    shape = _shape(source, config)
    tensors = {name.removeprefix(prefix): tensor for name, tensor in source.tensors().items()}
    return Checkpoint(
        lambda weights: T5(weights, shape), tensors, source.tokenizer(), source.commit(), MAX_LENGTH
    )


def require_type(source: Source, config: Any, *expected: str) -> None:
    """Check ``model_type``.

    Raises:
        BadInput: it is another.
    """
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type not in expected:
        raise BadInput(f"{source.label}: its text model is {model_type!r}; expected {expected[0]}")


def _shape(source: Source, config: Mapping[str, JsonValue]) -> T5Shape:
    values = {}
    for key, default in _DEFAULTS.items():
        value = config.get(key, default)
        if not isinstance(value, (int, float)) or type(value) is not type(default) or not 0 < value < 100_000:
            raise BadInput(
                f"{source.label}: config.json: {key} is {value!r}; expected a number like {default}"
            )
        values[key] = value
    if values["relative_attention_num_buckets"] // 4 not in range(
        1, values["relative_attention_max_distance"]
    ):
        raise BadInput(f"{source.label}: config.json: too few or too many relative_attention_num_buckets")
    # As in transformers' T5Config: "gated-gelu" is the tanh form, every other name is itself.
    feed_forward = str(config.get("feed_forward_proj", "relu")).removeprefix("gated-")
    activation = "gelu_new" if config.get("feed_forward_proj") == "gated-gelu" else feed_forward
    if activation not in _ACTIVATIONS:
        raise BadInput(f"{source.label}: activation {activation!r} is not supported")
    return T5Shape(**values, activation=activation)


class T5:
    """T5's encoder over packed texts: pre-norm layers, one relative position bias, no biases, unscaled attention."""

    def __init__(self, weights: Weights, shape: T5Shape):
        self._shape = shape
        # The table is tied; which of its two names a file keeps depends on who wrote it.
        tied = "encoder.embed_tokens.weight"
        self.words = weights(tied if tied in weights else "shared.weight", None, None)
        self.d_in = self.words.shape[1]
        blocks = (f"encoder.block.{number}.layer." for number in range(shape.num_layers))
        self._layers = [_Layer(weights, block, shape, self.d_in) for block in blocks]
        bias = weights(
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            shape.relative_attention_num_buckets,
            shape.num_heads,
        )
        self._bias = bias.t().contiguous()  # (heads, buckets)
        self._norm = weights("encoder.final_layer_norm.weight", self.d_in)

    def __call__(self, ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Last hidden states; see :class:`moodlens.embed.packed.Model`."""
        runs = runs_of(lengths)
        biases = [self._position_bias(tokens) for _, _, tokens in runs]
        # The residual stream is float32: in bfloat16 its 24 additions would each lose what is small beside T5's outliers.
        x = self.words[ids].float()
        for layer in self._layers:
            normed = self._normed(x, layer.attention_norm)
            x += layer.output(attention(layer.query_key_value(normed), runs, self._shape.num_heads, biases))
            x += layer.feed_forward(self._normed(x, layer.feed_forward_norm))
        return self._normed(x, self._norm)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        # T5 normalises by the root mean square alone, computed in float32 whatever the dtype.
        normed = F.rms_norm(x, (self.d_in,), None, self._shape.layer_norm_epsilon)
        return normed.to(weight.dtype).mul_(weight)

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


class _Layer:
    def __init__(self, weights: Weights, prefix: str, shape: T5Shape, d: int):
        attention = prefix + "0.SelfAttention."
        query = weights(f"{attention}q.weight", None, d)
        inner = len(query)
        weights.require(inner % shape.num_heads == 0, f"{attention}q.weight", f"{shape.num_heads} heads")
        self.query_key_value = Linear(
            torch.cat([query, *(weights(f"{attention}{name}.weight", inner, d) for name in "kv")])
        )
        self.output = Linear(weights(attention + "o.weight", d, inner))
        self.attention_norm = weights(prefix + "0.layer_norm.weight", d)
        feed = prefix + "1.DenseReluDense."
        gated = feed + "wi.weight" not in weights  # T5 1.1 and later: a gate and a linear half
        first = weights(feed + ("wi_0.weight" if gated else "wi.weight"), None, d)
        self._wide = Linear(first)
        self._linear = Linear(weights(feed + "wi_1.weight", len(first), d)) if gated else None
        self._narrow = Linear(weights(feed + "wo.weight", d, len(first)))
        self._activation = _ACTIVATIONS[shape.activation]
        self.feed_forward_norm = weights(prefix + "1.layer_norm.weight", d)

    def feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self._activation(self._wide(x))
        return self._narrow(hidden if self._linear is None else hidden.mul_(self._linear(x)))
