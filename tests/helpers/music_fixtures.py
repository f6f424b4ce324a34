"""Fixtures of the steer and judge rooms: a tiny MusicGen of random weights and the arrays of a tiny study, made once."""

import pytest

from helpers.steer_study import tiny_study, write_study
from helpers.steered import PROMPT, plain_generate, unit
from helpers.tiny_music import save_tiny_musicgen, tiny_musicgen


@pytest.fixture(scope="session")
def musicgen():
    """Shared: leave no hook on it."""
    return tiny_musicgen()


@pytest.fixture(scope="module")
def vector(musicgen):
    return unit(musicgen.d_in)


@pytest.fixture(scope="module")
def plain(musicgen):
    """What transformers' own ``generate`` gives, called as its documentation does."""
    return plain_generate(musicgen, PROMPT)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of the same model."""
    return save_tiny_musicgen(tmp_path_factory.mktemp("musicgen") / "checkpoint")


@pytest.fixture(scope="session")
def tiny(musicgen):
    """The tiny study in memory."""
    return tiny_study(musicgen)


@pytest.fixture(scope="session")
def directions(tiny):
    return tiny.directions()


@pytest.fixture(scope="session")
def study_folder(tiny, tmp_path_factory):
    """The tiny study, as the pipeline leaves it."""
    return write_study(tiny, tmp_path_factory.mktemp("study"), {"seconds": 0.2, "seeds": [3]})
