"""``hf:NAME``: a checkpoint of transformers with a stated pooling; ``t5gemma:NAME``: the encoder of a T5Gemma."""

from moodlens.core import BadInput
from moodlens.embed.checkpoint import Checkpoint, Pooling, stated_pooling
from moodlens.embed.padded import load_general
from moodlens.embed.sources import Source

T5GEMMA_LENGTH = 256
"""Tokens that Stable Audio 3 reads of a prompt."""


def load(source: Source, pooling: Pooling | None = None) -> Checkpoint:
    """Any text model of transformers.

    Raises:
        BadInput: no pooling is stated, or it cannot be loaded.
    """
    if pooling is None:
        raise BadInput(
            f"{source.label}: say how its token states become one row: encoder.pooling mean, cls or last; its model card "
            "says which it was trained with (st:NAME reads it from a sentence-transformers checkpoint)"
        )
    return load_general(source, pooling=pooling)


def load_t5gemma(source: Source, pooling: Pooling | None = None) -> Checkpoint:
    """The encoder of a T5Gemma, such as Stable Audio 3's; its decoder is not built.

    Raises:
        BadInput: it is none, or cannot be loaded.
    """
    import transformers

    stated_pooling(source.label, "mean", pooling)
    return load_general(
        source,
        pooling="mean",
        kind=transformers.T5GemmaEncoderModel,
        model_types=("t5gemma",),
        max_length=T5GEMMA_LENGTH,
        changes={"is_encoder_decoder": False},
    )
