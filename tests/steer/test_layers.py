"""Steering in the residual stream: measured where it is said, added where it is said, and nothing left behind."""

import numpy as np
import pytest
import torch

from helpers.steered import PROMPT, SECONDS, clip
from helpers.tiny_music import tiny_musicgen
from moodlens.core import BadInput
from moodlens.steer import Sampling, layer_differences
from moodlens.steer.generator import Job
from moodlens.steer.layers import Layers, _blocks, layered

PROMPTS = {
    "happy": ("a happy song", "joyful pop music", "a bright tune"),
    "sad": ("a sad song", "gloomy slow music", "a dark ballad"),
}


@pytest.fixture(scope="module")
def layers(musicgen):
    return layer_differences(musicgen, PROMPTS, seconds=SECONDS, batch=4)


def streams(musicgen, run):
    """What the second layer's blocks give, call by call."""
    seen = []
    handle = _blocks(musicgen.model)[1].register_forward_hook(lambda m, a, out: seen.append(out.clone()))
    try:
        run()
    finally:
        handle.remove()
    return seen


def test_means_are_those_of_the_clips_one_by_one(musicgen, layers):
    """Batches, padding and the null half do not matter."""
    assert layers.means.shape == (2, 2, 32)
    one_by_one = layer_differences(musicgen, PROMPTS, seconds=SECONDS, batch=1)
    np.testing.assert_allclose(layers.means, one_by_one.means, atol=1e-5)
    rows = []
    for prompt in PROMPTS["sad"]:
        seen = streams(musicgen, lambda prompt=prompt: clip(musicgen, prompt=prompt, seed=0))
        rows.append(torch.cat([out[:1] for out in seen[-(15 + 3) :]], dim=1).mean(dim=1)[0].numpy())
    np.testing.assert_allclose(layers.means[1, 1], np.mean(rows, axis=0), atol=1e-4)
    np.testing.assert_allclose(layers.differences("happy"), layers.means[0] - layers.means[1], atol=1e-6)


def test_coefficient_0_is_plain_generate_and_nothing_stays(musicgen, layers, plain):
    with layers.steer(musicgen, "happy", 0.0):
        np.testing.assert_array_equal(clip(musicgen), plain)
    with layers.steer(musicgen, "happy", 2.0):
        assert not np.array_equal(clip(musicgen), plain)
    np.testing.assert_array_equal(clip(musicgen), plain)
    assert not musicgen.model.decoder._forward_pre_hooks
    assert all(not block._forward_hooks for block in _blocks(musicgen.model))


def test_only_the_conditional_half_moves_unless_both_are_asked_for(musicgen, layers):
    base = streams(musicgen, lambda: clip(musicgen))[0]
    for halves, null in (("conditional", 0.0), ("both", 1.0)):

        def run(halves=halves):
            with layers.steer(musicgen, "sad", 3.0, layers=[1], halves=halves):
                clip(musicgen)

        moved = streams_after(musicgen, run)[0] - base
        wanted = torch.from_numpy(3.0 * layers.differences("sad")[1])
        torch.testing.assert_close(moved[0, 0], wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(moved[1, 0], null * wanted, atol=1e-4, rtol=1e-4)


def streams_after(musicgen, run):
    """As the layer norm behind the last layer is given them: after the hooks of this module."""
    seen = []
    norm = musicgen.model.decoder.model.decoder.layer_norm
    handle = norm.register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()))
    try:
        run()
    finally:
        handle.remove()
    return seen


def test_a_decay_of_0_is_the_first_step_alone(musicgen, layers):
    vector = {1: 3.0 * layers.differences("happy")[1]}
    codes = torch.randint(0, 64, (4, 8), generator=torch.Generator().manual_seed(0))
    hidden, mask = musicgen.states(PROMPT)
    base = streams_after(musicgen, lambda: musicgen.teacher_forced(hidden, mask, codes))[0]
    for decay in (0.0, 0.5, 1.0):

        def run(decay=decay):
            with layered(musicgen.model, vector, decay=decay):
                musicgen.teacher_forced(hidden, mask, codes)

        moved = (streams_after(musicgen, run)[0] - base)[0]
        wanted = torch.from_numpy(vector[1]) * (decay ** torch.arange(len(moved)).float())[:, None]
        torch.testing.assert_close(moved, wanted, atol=1e-4, rtol=1e-4)


def test_rows_of_a_batch_are_steered_as_they_are_alone(musicgen, layers):
    jobs = [Job(PROMPT, 1), Job("techno music, loud", 2)]
    with layers.steer(musicgen, "happy", 2.0, decay=0.9):
        together = musicgen.batch(jobs, seconds=SECONDS, sampling=Sampling())
        for job, made in zip(jobs, together, strict=True):
            np.testing.assert_array_equal(made, clip(musicgen, prompt=job.text, seed=job.seed))


def test_a_planted_direction_makes_its_token_likelier(musicgen):
    """Behind the last layer, along the head's row of one token."""
    codes = torch.randint(0, 64, (4, 8), generator=torch.Generator().manual_seed(0))
    hidden, mask = musicgen.states(PROMPT)
    row = musicgen.model.decoder.lm_heads[0].weight[17].detach().numpy()
    base = musicgen.teacher_forced(hidden, mask, codes)[0, 0, :, 17].mean()
    with layered(musicgen.model, {1: 3 * row / np.linalg.norm(row)}):
        up = musicgen.teacher_forced(hidden, mask, codes)[0, 0, :, 17].mean()
    with layered(musicgen.model, {1: -3 * row / np.linalg.norm(row)}):
        down = musicgen.teacher_forced(hidden, mask, codes)[0, 0, :, 17].mean()
    assert down < base < up


def test_what_cannot_be_steered_is_one_line(musicgen, layers):
    other = tiny_musicgen(seed=1)
    other.revision = "another"
    for how, message in (
        ({"emotion": "angry"}, "angry is not among happy, sad"),
        ({"layers": [2]}, "not all of 0 to 1"),
        ({"decay": 1.5}, "outside 0 to 1"),
        ({"musicgen": other}, "another model"),
    ):
        given = {"musicgen": musicgen, "emotion": "happy", "coefficient": 1.0} | how
        with pytest.raises(BadInput, match=message), layers.steer(**given):
            pass
    with pytest.raises(BadInput, match="two emotions"):
        layer_differences(musicgen, {"happy": ["music"]}, seconds=SECONDS)
    assert isinstance(layers, Layers)
