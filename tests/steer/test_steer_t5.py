"""T5 conditioning with the real t5-base tokenizer (32,100 pieces) and random weights."""

import numpy as np
import pytest
import torch

from helpers.tiny_music import tiny_model
from moodlens.embed import get_encoder
from moodlens.stats.contrast import difference_in_means
from moodlens.steer import MusicGen, Steering
from moodlens.steer.conditioning import added

PROMPTS = ["instrumental music", "A joyful, upbeat pop song!", "ein Stück für Klavier – ganz ruhig"]


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """A saved checkpoint with the tokenizer of t5-base, loaded as a user would."""
    tokenizer = shared / "tokenizer" / "tokenizer.json"
    if not tokenizer.is_file():
        pytest.skip("the t5-base tokenizer is not there")
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model(words=32128).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return MusicGen.load(str(folder)), folder


def test_the_tokenizer_appends_the_end_token_and_pads_nothing(real):
    musicgen, _ = real
    ids, mask = musicgen.tokens("instrumental music")
    assert ids[0, -1] == 1
    assert ids[0].tolist().count(1) == 1
    assert mask.tolist() == [[1] * ids.shape[1]]
    long = " ".join(["melancholic piano"] * 400)
    assert musicgen.tokens(long)[0].shape[1] > 512  # nothing is cut: T5's positions are relative


@pytest.mark.parametrize("prompt", PROMPTS)
def test_states_and_pooled_move_alike(real, prompt):
    musicgen, _ = real
    vector = torch.randn(musicgen.d_in, generator=torch.Generator().manual_seed(0))
    hidden, mask = musicgen.states(prompt)
    moved = added(hidden, mask, vector, 1.4, False)
    assert hidden.shape[1] == musicgen.tokens(prompt)[0].shape[1]
    torch.testing.assert_close(moved - hidden, (1.4 * vector).expand_as(hidden), atol=1e-5, rtol=0)
    np.testing.assert_allclose(
        moved[0].mean(0).numpy(), musicgen.pooled([prompt])[0] + 1.4 * vector.numpy(), atol=1e-5
    )


def test_a_study_s_encoder_gives_the_same_embedding(real):
    """The embedding room and the steering room read one site: directions of one are directions of the other."""
    musicgen, folder = real
    encoder = get_encoder(f"musicgen:{folder}", dtype="float32")
    np.testing.assert_allclose(encoder.encode(PROMPTS), musicgen.pooled(PROMPTS), atol=2e-5)


def test_steering_real_prompts_changes_the_clip(real):
    musicgen, _ = real
    vector = np.zeros(musicgen.d_in, dtype=np.float32)
    vector[0] = 1
    plain = musicgen.generate(PROMPTS[0], seconds=0.3, seed=0)
    assert not np.array_equal(
        musicgen.generate(PROMPTS[0], seconds=0.3, seed=0, steering=Steering(vector, 3.0)), plain
    )
    np.testing.assert_array_equal(musicgen.generate(PROMPTS[0], seconds=0.3, seed=0), plain)


def test_the_unit_on_real_t5_embeddings(shared):
    """100 prompts of google-t5/t5-base: the difference-in-means norm is about a third of a prompt's own norm."""
    x, labels = (np.load(shared / "t5_emotion" / f"{name}.npy") for name in ("embeddings", "labels"))
    means = difference_in_means(x, labels, 4)
    norms = np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(norms, [1.30, 1.50, 1.32, 1.45], atol=0.006)
    assert norms.mean() / np.linalg.norm(x, axis=1).mean() == pytest.approx(1 / 3, abs=0.01)
    cosines = (means @ means.T / np.outer(norms, norms))[np.triu_indices(4, 1)]
    assert cosines.max() < -0.2  # steering towards one emotion pushes away from the others
    assert cosines.min() > -0.5
