"""Denoising errors of diffusion models: deterministic, nothing at 0, and a planted direction is found."""

import numpy as np
import pytest
import torch

from helpers.steered import PROMPT, unit
from helpers.tiny_generators import MAKERS, WIDTH
from moodlens.core import BadInput
from moodlens.judge.denoising import Denoising, Sound
from moodlens.judge.ranking import rank_features
from moodlens.steer import Sampling, Steering
from moodlens.steer.conditioning import added

pytest.importorskip("diffusers")
pytest.importorskip("torchsde")


@pytest.fixture(scope="module", params=["stable-audio", "stable-audio-3"])
def model(request):
    return MAKERS[request.param]()


@pytest.fixture(scope="module")
def sounds(model):
    """Two clips that the model itself made, one of them steered."""
    made = [
        model.generate(
            PROMPT,
            seconds=2.0,
            seed=seed,
            steering=Steering(unit(WIDTH, 5), amount),
            sampling=Sampling(guidance=model.guidance, steps=4),
        )
        for seed, amount in ((0, 0.0), (1, 2.0))
    ]
    return [Sound(made[0], PROMPT, "sad"), Sound(made[1], PROMPT, "happy")]


@pytest.fixture(scope="module")
def asked(model, sounds):
    return Denoising(model, sounds, seconds=2.0)


def test_the_velocity_is_the_pipeline_s_own(model):
    """What the pipeline's first step asks its transformer, without guidance, is asked here."""
    seen = []

    def look(module, args, kwargs, out):
        seen.append((args, kwargs, out[0]))

    handle = model.pipe.transformer.register_forward_hook(look, with_kwargs=True)
    model.generate(PROMPT, seconds=2.0, seed=0, sampling=Sampling(guidance=1.0, steps=4))
    handle.remove()
    args, _, out = seen[1]
    hidden, mask = model.states(PROMPT)
    with torch.no_grad():
        again = model.velocity(args[0], float(args[1].flatten()[0]), hidden, mask, 2.0)
    torch.testing.assert_close(again, out, atol=1e-5, rtol=1e-4)


def test_noise_and_velocity_lead_back(model):
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 1, 8, 4, generator=generator)
    plain, _ = model.noised(latents, noise, 0.0)
    torch.testing.assert_close(plain, latents)
    alone, _ = model.noised(latents, noise, 1.0)
    torch.testing.assert_close(alone, noise, atol=1e-6, rtol=1e-5)
    at, there = model.noised(latents, noise, 0.3)[1], model.noised(latents, noise, 0.3)[0]
    step = 1e-3
    onward = model.noised(latents, noise, 0.3 + step)[0]
    slope = (onward - there) / step  # the velocity is the slope of the path, but for its unit of time
    ratio = (slope * at).sum() / at.square().sum()
    torch.testing.assert_close(slope, ratio * at, atol=2e-2, rtol=2e-2)


def test_nothing_at_0_and_more_with_more(asked):
    vector = unit(WIDTH)
    effects = asked.effects(np.stack([vector] * 4), np.array([0.0, 0.25, 1.0, 4.0]))
    assert effects.shift[0] == 0
    assert (effects.error[0] == 0).all()
    assert (np.diff(effects.shift) > 0).all()
    assert effects.error.shape == (4, 2)
    np.testing.assert_allclose(effects.gain.sum(axis=1), 0, atol=1e-12)
    again = asked.effects(np.stack([vector] * 4), np.array([0.0, 0.25, 1.0, 4.0]))
    np.testing.assert_array_equal(effects.error, again.error)


def test_the_direction_that_helps_most_is_found(model, sounds):
    """Planted: the downhill gradient of one clip's own error. It must come out first of 20 random ones."""
    asked = Denoising(model, sounds[1:], seconds=2.0)
    step = torch.zeros(WIDTH, requires_grad=True)
    loss = torch.zeros(())
    for time, noised, target, hidden, mask in asked._asked:
        states = added(hidden, mask, step, 1.0, False)
        loss = loss + (model.velocity(noised, time, states, mask, 2.0) - target).square().mean()
    loss.backward()
    assert step.grad is not None
    planted = (-step.grad / step.grad.norm()).numpy()
    error = asked.effects(np.stack([planted, *(unit(WIDTH, i) for i in range(20))]), 0.05).error[:, 0]
    assert error[0] < 0
    assert error.argmin() == 0


def test_first_order_agrees_with_small_steps(model, asked):
    vectors = np.stack([unit(WIDTH, i) for i in range(12)])
    rough, small = asked.first_order(vectors, n_probes=400), asked.effects(vectors, 0.02)
    np.testing.assert_allclose(rough.error * 0.02, small.error, atol=0.15 * np.abs(small.error).max())
    assert np.corrcoef(rough.shift, small.shift)[0, 1] > 0.8
    np.testing.assert_allclose(rough.shift * 0.02**2, small.shift, rtol=0.6)


def test_a_planted_row_is_ranked_first_by_its_gain(model, sounds, asked):
    """Downhill for happy's clip and uphill for sad's: the row gains happy, and is found also after a first choice."""
    rows = np.stack([unit(WIDTH, i) for i in range(20)])
    slope = asked.first_order(np.eye(WIDTH)).gain[:, asked.emotions.index("happy")]
    planted = np.concatenate([rows, (slope / np.linalg.norm(slope))[None]])
    for exact in (None, 5):
        table = rank_features(asked, planted, 0.05, by="gain_happy", exact=exact)
        assert table["feature"][0] == 20
        assert table.columns == ["rank", "feature", "shift", "gain_sad", "gain_happy"]
    assert table.height == 5
    by_shift = rank_features(asked, planted, 0.05)
    assert by_shift["shift"].is_sorted(descending=True)
    alone = rank_features(Denoising(model, sounds[:1], seconds=2.0), rows, 1.0)
    assert alone.columns == ["rank", "feature", "shift"]
    with pytest.raises(BadInput, match="by='kl' is none of shift, gain_sad, gain_happy"):
        rank_features(asked, rows, 1.0, by="kl")


def test_what_cannot_be_asked_is_one_line(model, sounds, asked):
    with pytest.raises(BadInput, match="at least one clip"):
        Denoising(model, [], seconds=2.0)
    with pytest.raises(BadInput, match="between 0 and 1"):
        Denoising(model, sounds, seconds=2.0, times=(0.5, 1.0))
    with pytest.raises(BadInput, match="25 wide"):
        asked.effects(unit(WIDTH + 1), 1.0)
    with pytest.raises(BadInput, match="resample it first"):
        model.latents(np.zeros(100, np.float32), 8000, 1.0)
