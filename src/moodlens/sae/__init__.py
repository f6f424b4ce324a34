"""Sparse autoencoders for small sets of embeddings: settings, training, files, metrics, sweeps.

Names are looked up on first use: settings can be read without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodlens.sae.checkpoint import load_sae as load_sae
    from moodlens.sae.checkpoint import save_sae as save_sae
    from moodlens.sae.config import SAESettings as SAESettings
    from moodlens.sae.ensemble import train_many as train_many
    from moodlens.sae.history import jsonl_writer as jsonl_writer
    from moodlens.sae.history import read_history as read_history
    from moodlens.sae.history import write_history as write_history
    from moodlens.sae.metrics import baseline_metrics as baseline_metrics
    from moodlens.sae.metrics import explained_variance as explained_variance
    from moodlens.sae.metrics import reconstruction_metrics as reconstruction_metrics
    from moodlens.sae.model import SAE as SAE
    from moodlens.sae.model import decode_rows as decode_rows
    from moodlens.sae.model import encode_rows as encode_rows
    from moodlens.sae.model import pre_activation_rows as pre_activation_rows
    from moodlens.sae.sweep import advice as advice
    from moodlens.sae.sweep import choose as choose
    from moodlens.sae.sweep import grid as grid
    from moodlens.sae.sweep import pareto as pareto
    from moodlens.sae.training import Trained as Trained
    from moodlens.sae.training import train as train

# The loop lives in training.py: a module named train would hide the function.
_HOME = {
    "SAE": "model",
    "SAESettings": "config",
    "Trained": "training",
    "advice": "sweep",
    "baseline_metrics": "metrics",
    "choose": "sweep",
    "decode_rows": "model",
    "encode_rows": "model",
    "pre_activation_rows": "model",
    "explained_variance": "metrics",
    "grid": "sweep",
    "jsonl_writer": "history",
    "load_sae": "checkpoint",
    "pareto": "sweep",
    "read_history": "history",
    "reconstruction_metrics": "metrics",
    "save_sae": "checkpoint",
    "train": "training",
    "train_many": "ensemble",
    "write_history": "history",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
