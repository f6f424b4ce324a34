"""Steering in the residual stream: measured where it is said, added where it is said, and nothing left behind."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.steered import PROMPT, SECONDS, clip, unit
from helpers.tiny_generators import tiny_melody
from moodlens.core import BadInput
from moodlens.steer import Sampling, Steering, layer_differences
from moodlens.steer.forcing import answer
from moodlens.steer.generator import Job
from moodlens.steer.layers import Layers, load_layers, save_layers
from moodlens.steer.residual import LayerSteering, blocks, layered

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
    handle = blocks(musicgen.model)[1].register_forward_hook(lambda m, a, out: seen.append(out.clone()))
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
    np.testing.assert_array_equal(clip(musicgen, layers.steering("happy", 0.0)), plain)
    assert not np.array_equal(clip(musicgen, layers.steering("happy", 2.0)), plain)
    np.testing.assert_array_equal(clip(musicgen), plain)
    assert not musicgen.model.decoder._forward_pre_hooks
    assert all(not block._forward_hooks for block in blocks(musicgen.model))


def test_only_the_conditional_half_moves_unless_both_are_asked_for(musicgen, layers):
    base = streams(musicgen, lambda: clip(musicgen))[0]
    for halves, null in (("conditional", 0.0), ("both", 1.0)):

        def run(halves=halves):
            clip(musicgen, layers.steering("sad", 3.0, layers=[1], halves=halves))

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
    vector = {1: layers.differences("happy")[1]}
    codes = torch.randint(0, 64, (4, 8), generator=torch.Generator().manual_seed(0))
    hidden, mask = musicgen.states(PROMPT)
    base = streams_after(musicgen, lambda: musicgen.teacher_forced(hidden, mask, codes))[0]
    for decay in (0.0, 0.5, 1.0):

        def run(decay=decay):
            with layered(musicgen.model, [LayerSteering(vector, 3.0, decay)]):
                musicgen.teacher_forced(hidden, mask, codes)

        moved = (streams_after(musicgen, run)[0] - base)[0]
        wanted = 3 * torch.from_numpy(vector[1]) * (decay ** torch.arange(len(moved)).float())[:, None]
        torch.testing.assert_close(moved, wanted, atol=1e-4, rtol=1e-4)


def mixed(musicgen, layers):
    """Steered in the decoder in several ways, in the text, and not at all."""
    return [
        Job(PROMPT, 1, layers.steering("happy", 2.0, decay=0.9)),
        Job("techno music, loud", 2),
        Job(PROMPT, 1),
        Job("techno music, loud", 2, layers.steering("sad", 4.0, layers=[1], halves="both")),
        Job(PROMPT, 3, Steering(unit(musicgen.d_in), 2.0)),
        Job(PROMPT, 1, layers.steering("happy", 0.0)),
    ]


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_rows_of_a_batch_are_steered_as_they_are_alone(musicgen, layers, guidance):
    sampling = Sampling(guidance=guidance)
    jobs = mixed(musicgen, layers)
    together = musicgen.batch(jobs, seconds=SECONDS, sampling=sampling)
    for job, made in zip(jobs, together, strict=True):
        alone = clip(musicgen, job.steering, prompt=job.text, seed=job.seed, sampling=sampling)
        np.testing.assert_array_equal(made, alone)
    assert len({made.tobytes() for made in together}) == 5  # an amount of 0 is the plain clip


def test_a_batch_moves_no_other_row_and_no_null_half(musicgen, layers):
    """The stream behind the last layer at the first step: exactly the vector in exactly its rows."""
    jobs = mixed(musicgen, layers)[:4]
    plain = [Job(job.text, job.seed) for job in jobs]
    sampling = Sampling()
    steered, base = (
        streams_after(musicgen, lambda jobs=jobs: musicgen.batch(jobs, seconds=SECONDS, sampling=sampling))[0]
        for jobs in (
            [replace(job, steering=_last_layer(job.steering)) for job in jobs],
            plain,
        )
    )
    moved = (steered - base)[:, 0]
    happy, sad = (torch.from_numpy(layers.differences(e)[1]) for e in ("happy", "sad"))
    torch.testing.assert_close(moved[0], 2 * happy, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moved[3], 4 * sad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moved[7], 4 * sad, atol=1e-4, rtol=1e-4)  # both halves: its null row
    for row in (1, 2, 4, 5, 6):
        assert (moved[row] == 0).all(), row


def _last_layer(steering):
    if steering is None:
        return None
    return replace(steering, vectors={1: steering.vectors[1]})


def test_a_prefix_is_left_alone():
    """MusicGen-melody: text and melody stand in front of the music, and steps are counted from the music on."""
    melody = tiny_melody()
    measured = layer_differences(melody, PROMPTS, seconds=SECONDS, batch=4)
    again = layer_differences(melody, PROMPTS, seconds=SECONDS, batch=1)
    np.testing.assert_array_equal(measured.means, again.means)  # it makes its clips one by one

    def streams_of(steering):
        return streams_after(melody, lambda: clip(melody, steering))

    base, moved = streams_of(None), streams_of(measured.steering("happy", 3.0, layers=[1], decay=0.5))
    wanted = 3 * torch.from_numpy(measured.differences("happy")[1])
    first = (moved[0] - base[0])[0]
    assert (first[:-1] == 0).all()  # the prefix
    torch.testing.assert_close(first[-1], wanted, atol=1e-4, rtol=1e-4)
    assert ((moved[0] - base[0])[1] == 0).all()  # the null half
    np.testing.assert_array_equal(clip(melody, measured.steering("sad", 0.0)), clip(melody))
    # Half as much at each step: seen where the tokens are held fixed.
    codes = torch.randint(0, 64, (4, 8), generator=torch.Generator().manual_seed(0)).numpy()
    near = measured.steering("happy", 3.0, layers=[1], decay=0.5)
    seen = [
        streams_after(melody, lambda job=job: answer(melody, job, codes, Sampling()))[-1][0]
        for job in (Job(PROMPT, 0), Job(PROMPT, 0, near))
    ]
    change = (seen[1] - seen[0])[-11:]
    torch.testing.assert_close(
        change, wanted * 0.5 ** torch.arange(11).float()[:, None], atol=1e-4, rtol=1e-4
    )


def test_a_planted_direction_makes_its_token_likelier(musicgen):
    """Behind the last layer, along the head's row of one token."""
    codes = torch.randint(0, 64, (4, 8), generator=torch.Generator().manual_seed(0))
    hidden, mask = musicgen.states(PROMPT)
    row = musicgen.model.decoder.lm_heads[0].weight[17].detach().numpy()
    base = musicgen.teacher_forced(hidden, mask, codes)[0, 0, :, 17].mean()
    vector = {1: row / np.linalg.norm(row)}
    with layered(musicgen.model, [LayerSteering(vector, 3.0)]):
        up = musicgen.teacher_forced(hidden, mask, codes)[0, 0, :, 17].mean()
    with layered(musicgen.model, [LayerSteering(vector, -3.0)]):
        down = musicgen.teacher_forced(hidden, mask, codes)[0, 0, :, 17].mean()
    assert down < base < up


def test_means_come_back_and_damage_is_told(layers, tmp_path):
    assert load_layers(tmp_path) is None
    save_layers(layers, tmp_path)
    again = load_layers(tmp_path)
    np.testing.assert_array_equal(again.means, layers.means)
    assert (again.recipe, again.key) == (layers.recipe, layers.key)
    (tmp_path / "layers.safetensors").write_bytes(b"damaged")
    with pytest.raises(BadInput, match="steer again"):
        load_layers(tmp_path)


def test_random_vectors_are_as_long_as_the_differences(layers):
    lengths = np.mean([np.linalg.norm(layers.differences(e), axis=1) for e in layers.emotions], axis=0)
    first, second = layers.random(0), layers.random(1)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), lengths, rtol=1e-5)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first, layers.random(0))


def test_what_cannot_be_steered_is_one_line(musicgen, layers):
    for how, message in (
        ({"emotion": "angry"}, "angry is not among happy, sad"),
        ({"layers": [2]}, "not all of 0 to 1"),
        ({"decay": 1.5}, "outside 0 to 1"),
    ):
        given = {"emotion": "happy", "coefficient": 1.0} | how
        with pytest.raises(BadInput, match=message):
            layers.steering(**given)
    with pytest.raises(BadInput, match="two emotions"):
        layer_differences(musicgen, {"happy": ["music"]}, seconds=SECONDS)
    assert isinstance(layers, Layers)
