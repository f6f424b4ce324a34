"""A MusicGen checkpoint's own T5 encoder; its decoder and codec are neither built nor read."""

from moodlens.embed.checkpoint import Checkpoint
from moodlens.embed.sources import Source
from moodlens.embed.t5 import require_type, t5_checkpoint

_PREFIX = "text_encoder."


def load(source: Source) -> Checkpoint:
    """The text encoder of a MusicGen.

    Raises:
        BadInput: it cannot be loaded.
    """
    config = source.config()
    require_type(source, config, "musicgen", "musicgen_melody")
    return t5_checkpoint(source, config.get("text_encoder"), _PREFIX)
