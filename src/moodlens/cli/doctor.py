"""What this machine has: versions, processor, memory, caches, encoders."""

import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from moodlens.core.compiled import keeps_kernels
from moodlens.core.cpu import capability, has_fast_bfloat16
from moodlens.core.lines import describe

PACKAGES = (
    "moodlens",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "polars",
    "numba",
    "transformers",
    "safetensors",
    "matplotlib",
)
EXTRAS = {"explore": "fastapi", "audio": "librosa", "saelens": "sae_lens", "ray": "ray"}
GIB = 2**30


def examine() -> tuple[dict[str, object], list[str]]:
    """Look around without touching the network; returns the findings and lines for people."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    memory = _memory()
    value = {
        "versions": versions,
        "devices": {
            "cpu cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "torch threads": torch.get_num_threads(),
            "cpu vectors": capability(),
            "bfloat16 on cpu": "fast" if has_fast_bfloat16() else "float32 is faster",
            "cuda": cuda,
        },
        "memory (GiB)": {"total": memory.get("MemTotal"), "available": memory.get("MemAvailable")},
        "disk (GiB)": {
            "free here": shutil.disk_usage(".").free / GIB,
            "free for temporary files": _free_for_temporary(),
        },
        "caches": _caches(),
        "encoders": {"minilm": _minilm(), "t5": _hub("t5-base"), "musicgen": _hub("musicgen-small")},
        "extras": {name: find_spec(module) is not None for name, module in EXTRAS.items()},
    }
    return value, describe(value)


def _memory() -> dict[str, float]:
    """What Linux says of memory, in GiB; empty elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = (line.split()[:2] for line in lines)
    return {name.rstrip(":"): int(kib) * 1024 / GIB for name, kib in pairs}


def _free_for_temporary() -> float | None:
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free / GIB
    except OSError:  # no folder for temporary files can be written
        return None


def _caches() -> dict[str, str]:
    """Where what is made once is kept, and what happens where it cannot be."""
    from huggingface_hub.constants import HF_HUB_CACHE

    kernels = (
        "kept for the next run" if keeps_kernels() else "cannot be kept: compiled anew in each run, some 20 s"
    )
    hub = HF_HUB_CACHE if _may_write(Path(HF_HUB_CACHE)) else f"{HF_HUB_CACHE} cannot be written: set HF_HOME"
    return {"compiled kernels": kernels, "checkpoints": hub}


def _may_write(folder: Path) -> bool:
    """Whether ``folder`` can be written, or made where it is not yet."""
    first = next(place for place in (folder, *folder.parents) if place.exists())
    return first.is_dir() and os.access(first, os.W_OK | os.X_OK)


def _minilm() -> str:
    from moodlens.core.errors import BadInput
    from moodlens.embed.encoders import get_encoder

    try:
        encoder = get_encoder("minilm")
    except BadInput as error:
        return f"cannot be loaded: {error}"
    return f"ready, {encoder.d_in} dimensions, computes in {encoder.dtype} (weights checked by sha256)"


def _hub(name: str) -> str:
    """Whether the hub's cache on this machine holds a checkpoint; nothing is downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE

    kind, _, size = name.partition("-")
    checkpoint = f"{'google-t5' if kind == 't5' else 'facebook'}/{kind}-{size}"
    snapshots = Path(HF_HUB_CACHE, f"models--{checkpoint.replace('/', '--')}", "snapshots")
    held = snapshots.is_dir() and any(snapshots.iterdir())
    state = (
        "is in the local cache"
        if held
        else "is not in the local cache; it is fetched when named, or name a folder"
    )
    return f"{kind}:{checkpoint} {state}"
