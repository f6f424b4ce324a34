"""What this machine has: versions, devices, encoders."""

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from moodlens.core.cpu import capability, has_fast_bfloat16
from moodlens.core.lines import describe

PACKAGES = (
    "moodlens",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "polars",
    "transformers",
    "safetensors",
    "matplotlib",
)
EXTRAS = {"audio": "librosa", "saelens": "sae_lens", "ray": "ray"}


def examine() -> tuple[dict[str, Any], list[str]]:
    """Look around without touching the network; returns the findings and lines for people."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    devices: dict[str, Any] = {
        "cpu cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    }
    devices["torch threads"] = torch.get_num_threads()
    devices["cpu vectors"] = capability()
    devices["bfloat16 on cpu"] = "fast" if has_fast_bfloat16() else "float32 is faster"
    devices["cuda"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    value = {
        "versions": versions,
        "devices": devices,
        "encoders": {"minilm": _minilm(), "t5": _hub("t5-base"), "musicgen": _hub("musicgen-small")},
        "extras": {name: find_spec(module) is not None for name, module in EXTRAS.items()},
    }
    return value, describe(value)


def _minilm() -> str:
    from moodlens.core import BadInput
    from moodlens.embed import get_encoder

    try:
        encoder = get_encoder("minilm")
    except BadInput as error:
        return f"cannot be loaded: {error}"
    return f"ready, {encoder.d_in} dimensions, {encoder.dtype} (weights checked by sha256)"


def _hub(name: str) -> str:
    """Whether the hub's cache on this machine holds a checkpoint; nothing is downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE

    owner = "google-t5" if name.startswith("t5") else "facebook"
    folder = os.path.join(HF_HUB_CACHE, f"models--{owner}--{name}", "snapshots")
    prefix = "t5" if name.startswith("t5") else "musicgen"
    if os.path.isdir(folder) and os.listdir(folder):
        return f"{prefix}:{owner}/{name} is in the local cache"
    return f"{prefix}:{owner}/{name} is not in the local cache; it is fetched when named, or name a folder"
