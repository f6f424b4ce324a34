"""moodlens: emotion features in the text embeddings that drive text-to-music models, proved and put to use.

Names are looked up on first use: ``import moodlens`` loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodlens import steer as steer
    from moodlens.embed import EmbeddingStore as EmbeddingStore
    from moodlens.embed import Encoder as Encoder
    from moodlens.embed import get_encoder as get_encoder
    from moodlens.features import select_features as select_features
    from moodlens.sae import SAE as SAE
    from moodlens.sae import SAESettings as SAESettings
    from moodlens.sae import load_sae as load_sae
    from moodlens.sae import train as train
    from moodlens.sae import train_many as train_many
    from moodlens.study import Study as Study
    from moodlens.study import run as run

__version__ = "0.1.0"

_HOME = {
    "EmbeddingStore": ("moodlens.embed", "EmbeddingStore"),
    "Encoder": ("moodlens.embed", "Encoder"),
    "get_encoder": ("moodlens.embed", "get_encoder"),
    "select_features": ("moodlens.features", "select_features"),
    "SAE": ("moodlens.sae", "SAE"),
    "SAESettings": ("moodlens.sae", "SAESettings"),
    "load_sae": ("moodlens.sae", "load_sae"),
    "train": ("moodlens.sae", "train"),
    "train_many": ("moodlens.sae", "train_many"),
    "Study": ("moodlens.study", "Study"),
    "run": ("moodlens.study", "run"),
}


def __getattr__(name: str) -> Any:
    if name == "steer":  # a room that can be called
        return import_module("moodlens.steer")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*_HOME, "steer", "__version__"])
