"""What all tests share: one thread, no network, and the way to the real data where it lies."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("moodlens", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("moodlens")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data (``MOODLENS_SHARED``, default ``../shared``); tests skip where it is absent."""
    folder = Path(os.environ.get("MOODLENS_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data not found in {folder}; set MOODLENS_SHARED")
    return folder / "data"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    torch.set_num_threads(1)
