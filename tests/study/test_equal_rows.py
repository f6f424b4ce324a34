"""Observations that are one: rows equal to rounding never count as several, whatever their texts and scale."""

import json

import numpy as np
import pytest

from moodlens.core.errors import BadInput
from moodlens.pipeline.run import run
from moodlens.settings.base import validate
from moodlens.settings.study import Settings
from moodlens.stats.equal import parted_rows

SMALL = {
    "sae": {"d_sae": 128, "k": 5, "epochs": 5},
    "seeds": 1,
    "features": {"n_permutations": 100, "n_shuffles": 5},
}


def precomputed(folder, x):
    folder.mkdir()
    np.save(folder / "embeddings.npy", x.astype(np.float32))
    np.save(folder / "labels.npy", np.random.default_rng(1).permutation(np.arange(len(x)) % 2))
    (folder / "metadata.json").write_text(json.dumps({"emotions": ["up", "down"]}))
    values = {"emotions": ["up", "down"], "prompts": {"generate": 0, "precomputed": str(folder)}, **SMALL}
    return validate(Settings, values, "study")


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_copies_of_noise_are_one_group_and_show_nothing(tmp_path, scale):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 24))
    copies = np.repeat(noise, 10, axis=0) * (1 + 1e-7 * rng.normal(size=(600, 1)))
    study = run(precomputed(tmp_path / "in", copies * scale), tmp_path / "out", until="features")
    assert len(np.unique(study.rows.group)) == 60
    for group in np.unique(study.rows.group):
        assert len(set(study.rows.split[study.rows.group == group])) == 1
    assert study.features["emotion_feature"].sum() <= 1


def test_rows_that_are_all_the_same_are_refused(tmp_path):
    x = np.random.default_rng(0).normal(size=(1, 24)) * (
        1 + 1e-7 * np.random.default_rng(1).normal(size=(80, 24))
    )
    with pytest.raises(BadInput, match=r"equal|80 rows|groups"):
        run(precomputed(tmp_path / "in", x), tmp_path / "out", until="embed")
    assert not (tmp_path / "out" / "embeddings").exists()


def test_texts_that_the_encoder_cannot_tell_apart_are_named(tmp_path):
    path = tmp_path / "own.csv"
    # The bundled encoder knows no character of the last word: it reads all of these alike.
    lines = [
        f"{('a tune', 'the song', 'rain')[i % 3]} {chr(0x13000 + i)},{('up', 'down')[i % 2]}"
        for i in range(80)
    ]
    path.write_text("text,mood\n" + "\n".join(lines) + "\n", encoding="utf-8")
    values = {
        "emotions": ["up", "down"],
        "prompts": {
            "generate": 0,
            "tables": [{"path": str(path), "text_column": "text", "emotion_column": "mood"}],
        },
        **SMALL,
    }
    with pytest.raises(BadInput, match="80 labelled texts have the same embedding"):
        run(validate(Settings, values, "study"), tmp_path / "out", until="embed")


def test_parted_rows():
    codes, groups = np.array([0, 1, 0, 2, 1, 2]), np.array([5, 6, 5, 7, 8, 7])
    assert sorted(parted_rows(codes, groups)) == [1, 4]
    assert len(parted_rows(codes, codes)) == 0
    assert len(parted_rows(codes[:0], groups[:0])) == 0
