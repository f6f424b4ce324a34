"""``clap:NAME``: the text tower of a CLAP (Wu et al. 2023), whose rows lie in the space that its sounds share.

The row is the state of the first token through CLAP's pooler and projection, over its norm, as
``ClapModel.get_text_features`` gives it; the audio tower is not built.
"""

from typing import Any

import torch

from moodlens.embed.checkpoint import Checkpoint, Pooling, stated_pooling
from moodlens.embed.packed import Weights
from moodlens.embed.padded import MAX_LENGTH, Padded, load_model, load_tokenizer, pinned, quiet
from moodlens.embed.sources import Source, reading


def load(source: Source, pooling: Pooling | None = None) -> Checkpoint:
    """The text tower.

    Raises:
        BadInput: it is no CLAP, or cannot be loaded.
    """
    import transformers

    stated_pooling(source.label, "cls", pooling)
    place, revision = pinned(source)
    with quiet(), reading(source, f"{source.name}: config.json"):
        config = transformers.ClapConfig.from_pretrained(place, revision=revision or "main")
    text: Any = config.text_config
    text.projection_dim = config.projection_dim
    tokenizer, stated_length = load_tokenizer(source)
    # RoBERTa's positions begin behind the padding's.
    longest = min(stated_length or MAX_LENGTH, text.max_position_embeddings - text.pad_token_id - 1)
    kind = transformers.ClapTextModelWithProjection
    tower = load_model(source, kind, text, torch.float32)

    def head(states: torch.Tensor) -> torch.Tensor:
        pooled = torch.tanh(tower.text_model.pooler.dense(states))
        return tower.text_projection(pooled)

    def build(weights: Weights) -> Padded:
        model = load_model(source, kind, text, weights.dtype).to(weights.device).text_model
        words = model.get_input_embeddings().weight
        return Padded(model, words, text.hidden_size, text.pad_token_id)

    return Checkpoint(
        build,
        {},
        tokenizer,
        source.commit(),
        min(MAX_LENGTH, longest),
        longest=longest,
        pooling="cls",
        unit=True,
        head=head,
    )
