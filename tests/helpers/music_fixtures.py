"""Fixtures of the steer and judge rooms: a tiny MusicGen of random weights and the arrays of a tiny study, made once."""

import polars as pl
import pytest

from helpers.steer_study import EMOTIONS, tiny_inputs
from helpers.steered import PROMPT, plain_generate, unit
from helpers.tiny_music import save_tiny_musicgen, tiny_musicgen
from moodlens.core import write_table
from moodlens.embed import EmbeddingStore
from moodlens.sae import save_sae
from moodlens.steer import build_directions


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
    return save_tiny_musicgen(tmp_path_factory.mktemp("musicgen") / "tiny")


@pytest.fixture(scope="session")
def inputs(musicgen):
    return tiny_inputs(musicgen)


@pytest.fixture(scope="session")
def directions(inputs):
    return build_directions(inputs)


@pytest.fixture(scope="session")
def study_folder(inputs, musicgen, tmp_path_factory):
    """The tiny study, as the other rooms write it."""
    folder = tmp_path_factory.mktemp("study")
    n = len(inputs.texts)
    labels = [EMOTIONS[c] if c >= 0 else None for c in inputs.labels]
    frame = {
        "id": [str(i) for i in range(n)], "text": inputs.texts, "emotion": labels, "kind": list(inputs.kinds),
        "split": list(inputs.splits), "group": [f"g{g:03d}" for g in inputs.groups],
    }  # fmt: skip
    write_table(folder / "prompts.parquet", pl.DataFrame(frame))
    store = EmbeddingStore.create(folder / "embeddings", {"encoder": "musicgen:tiny"}, "float32")
    store.append(inputs.x)
    save_sae(inputs.sae, folder / "sae" / "main", {"encoder_id": "musicgen:tiny"})
    inputs.families.write(folder)
    flags = {"feature": range(64), "emotion_feature": [f in (0, 1, 50) for f in range(64)]}
    write_table(folder / "features.parquet", pl.DataFrame(flags))
    (folder / "study.yaml").write_text(
        "emotions: [happy, sad, calm, energetic]\nsteer: {seconds: 0.2, seeds: [3]}\n"
    )
    return folder
