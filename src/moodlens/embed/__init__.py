"""From texts to arrays: encoders, segments, the store, and embeddings made elsewhere."""

from typing import TYPE_CHECKING, Any

from moodlens.embed.precomputed import Precomputed as Precomputed
from moodlens.embed.precomputed import read_precomputed as read_precomputed
from moodlens.embed.precomputed import write_precomputed as write_precomputed
from moodlens.embed.segments import segments as segments
from moodlens.embed.store import EmbeddingStore as EmbeddingStore

if TYPE_CHECKING:
    from moodlens.embed.corpus import embed_to_store as embed_to_store
    from moodlens.embed.encoders import Encoder as Encoder
    from moodlens.embed.encoders import encode_segments as encode_segments
    from moodlens.embed.encoders import get_encoder as get_encoder

_LAZY = {
    "embed_to_store": "corpus",
    "Encoder": "encoders",
    "encode_segments": "encoders",
    "get_encoder": "encoders",
}


def __getattr__(name: str) -> Any:
    # torch takes over a second to import; readers of arrays need none of it.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"moodlens.embed.{_LAZY[name]}"), name)
