"""From texts to arrays: encoders, segments, the store, and embeddings made elsewhere."""

from typing import TYPE_CHECKING, Any

from moodlens.embed.precomputed import Precomputed as Precomputed
from moodlens.embed.precomputed import read_precomputed as read_precomputed
from moodlens.embed.precomputed import write_precomputed as write_precomputed
from moodlens.embed.segments import segments as segments

if TYPE_CHECKING:
    from moodlens.embed.encoders import Encoder as Encoder
    from moodlens.embed.encoders import encode_segments as encode_segments
    from moodlens.embed.encoders import get_encoder as get_encoder

_LAZY = dict.fromkeys(("Encoder", "encode_segments", "get_encoder"), "moodlens.embed.encoders")


def __getattr__(name: str) -> Any:
    # torch takes over a second to import; readers of arrays need none of it.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
