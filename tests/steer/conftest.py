"""A tiny MusicGen of random weights and the arrays of a tiny study, made once."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tiny.py and study.py, which child processes import too

from tiny import save_tiny_musicgen, tiny_musicgen

from moodlens.steer import build_directions
from study import tiny_inputs


@pytest.fixture(scope="session")
def musicgen():
    """Shared: leave no hook on it."""
    return tiny_musicgen()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of the same model."""
    return save_tiny_musicgen(tmp_path_factory.mktemp("musicgen") / "tiny")


@pytest.fixture(scope="session")
def inputs(musicgen):
    return tiny_inputs(musicgen)


@pytest.fixture(scope="session")
def directions(inputs):
    return build_directions(inputs)
