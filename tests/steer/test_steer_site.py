"""Where steering enters MusicGen: nothing at coefficient 0, the right tokens and halves, strength, schedules."""

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from helpers.steered import PROMPT, clip, plain_generate, seen_by_decoder, token_kl
from moodlens.steer import Sampling, Steering
from moodlens.steer.conditioning import added, explicit, hooked, project, scheduled

# -- coefficient 0 ---------------------------------------------------------------------------------------------------


def test_unsteered_is_plain_generate(musicgen, plain):
    np.testing.assert_array_equal(clip(musicgen), plain)


def test_amount_zero_is_plain_generate_however_it_is_given(musicgen, vector, plain):
    for steering in (
        Steering(vector, 0.0),
        Steering(vector, 0.0, renorm=True),
        Steering(vector, 0.0, null="opposite"),
        Steering(vector, 0.0, schedule=((0.0, 1.0), (0.2, 0.0))),
    ):
        np.testing.assert_array_equal(clip(musicgen, steering), plain)


def test_the_forms_themselves_change_nothing_at_zero(musicgen, vector, plain):
    """Not the short cut for an amount of 0: the hook, the explicit states and the schedule, really run."""
    v, steering = torch.from_numpy(vector), Steering(vector, 1.0)
    with hooked(musicgen.model, v, Steering(vector, 0.0)):
        np.testing.assert_array_equal(plain_generate(musicgen, PROMPT), plain)
    ids, mask = musicgen.tokens(PROMPT)
    brought = explicit(musicgen.model, ids, mask, v, steering, amount=0.0, guided=True)
    np.testing.assert_array_equal(plain_generate(musicgen, PROMPT, **brought), plain)
    hidden = brought["encoder_outputs"].last_hidden_state[:1]
    with scheduled(musicgen.model, hidden, mask, v, steering, np.zeros(15), True):
        np.testing.assert_array_equal(plain_generate(musicgen, PROMPT, **brought), plain)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("renorm", [False, True])
def test_hook_and_explicit_form_give_the_same_bytes(musicgen, vector, plain, guidance, renorm):
    steering, sampling = Steering(vector, 2.0, renorm=renorm), Sampling(guidance=guidance)
    first = clip(musicgen, steering, sampling=sampling)
    np.testing.assert_array_equal(first, clip(musicgen, steering, sampling=sampling, form="explicit"))
    assert not np.array_equal(first, plain)


def test_the_hook_is_gone_afterwards_even_after_an_error(musicgen, vector, plain):
    with (
        pytest.raises(RuntimeError, match="stop"),
        hooked(musicgen.model, torch.from_numpy(vector), Steering(vector, 3.0)),
    ):
        raise RuntimeError("stop")
    assert not musicgen.model.text_encoder._forward_hooks
    assert not musicgen.model.decoder._forward_pre_hooks
    np.testing.assert_array_equal(clip(musicgen), plain)


# -- the site ----------------------------------------------------------------------------------------------------------


def test_the_mean_over_tokens_moves_by_exactly_the_vector(musicgen, vector):
    hidden, mask = musicgen.states(PROMPT)
    moved = added(hidden, mask, torch.from_numpy(vector), 1.5, False)
    np.testing.assert_allclose((moved.mean(dim=1) - hidden.mean(dim=1))[0].numpy(), 1.5 * vector, atol=1e-6)


def test_every_real_token_moves_with_the_end_token_and_no_padding(musicgen, vector):
    ids = torch.tensor([[5, 6, 7, 8, 1], [9, 10, 1, 0, 0]])  # 1 is </s>, 0 is <pad>
    mask = (ids != 0).long()
    out = {}
    with hooked(musicgen.model, torch.from_numpy(vector), Steering(vector, 1.0)):
        out["steered"] = musicgen.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    plain = musicgen.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    step = (out["steered"] - plain).detach()
    for row, length in ((0, 5), (1, 3)):
        torch.testing.assert_close(
            step[row, :length], torch.from_numpy(vector).expand(length, -1), atol=1e-6, rtol=0
        )
    assert step[1, 3:].abs().max() == 0


def test_adding_before_the_projection_is_adding_its_image_after(musicgen, vector):
    """So the hook may sit on the text encoder, which runs once a clip, not on the projection, which runs every step."""
    hidden, mask = musicgen.states(PROMPT)
    v = torch.from_numpy(vector)
    weight = musicgen.model.enc_to_dec_proj.weight
    before = project(musicgen.model, added(hidden, mask, v, 2.0, False), mask)
    torch.testing.assert_close(
        before, project(musicgen.model, hidden, mask) + 2.0 * weight @ v, atol=1e-5, rtol=1e-5
    )


def test_the_text_encoder_runs_once_and_the_projection_every_step(musicgen, vector):
    calls = {"text": 0, "projection": 0}
    hooks = [
        musicgen.model.text_encoder.register_forward_hook(lambda *a: calls.update(text=calls["text"] + 1)),
        musicgen.model.enc_to_dec_proj.register_forward_hook(
            lambda *a: calls.update(projection=calls["projection"] + 1)
        ),
    ]
    clip(musicgen, Steering(vector, 1.0))
    for hook in hooks:
        hook.remove()
    assert calls["text"] == 1
    assert calls["projection"] > 10


def test_only_the_conditional_half_is_steered(musicgen, vector):
    base = seen_by_decoder(musicgen, lambda: clip(musicgen))
    moved = seen_by_decoder(musicgen, lambda: clip(musicgen, Steering(vector, 4.0)))
    for (states, mask, _), (plain, plain_mask, _) in zip(moved, base, strict=True):
        assert states.shape[0] == 2
        assert states[1].abs().max() == 0  # although the projection's bias is not zero
        assert musicgen.model.enc_to_dec_proj.bias.abs().max() > 0
        assert mask[1].sum() == 0
        torch.testing.assert_close(mask, plain_mask)
        assert not torch.equal(states[0], plain[0])


def test_adding_to_the_null_half_or_to_padding_changes_no_bit(musicgen, vector, plain):
    ids, mask = musicgen.tokens(PROMPT)
    hidden = musicgen.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    junk = torch.from_numpy(vector) * 50
    given = {
        "encoder_outputs": BaseModelOutput(
            last_hidden_state=torch.cat([hidden, torch.zeros_like(hidden) + junk])
        ),
        "attention_mask": torch.cat([mask, torch.zeros_like(mask)]),
    }
    np.testing.assert_array_equal(plain_generate(musicgen, PROMPT, **given), plain)
    codes = torch.randint(0, 64, (4, 8), generator=torch.Generator().manual_seed(2))
    padded = torch.cat([hidden, torch.zeros(1, 2, hidden.shape[2])], dim=1)
    loud = torch.cat([hidden, junk.expand(1, 2, -1)], dim=1)
    long_mask = torch.cat([mask, torch.zeros(1, 2, dtype=mask.dtype)], dim=1)
    a, b = (musicgen.teacher_forced(states, long_mask, codes) for states in (padded, loud))
    assert torch.equal(a, b)


def test_guidance_multiplies_what_steering_does(musicgen, vector):
    """Steered logits are null + scale * (steered - null): the null half stays, so the change is scaled."""
    hidden, mask = musicgen.states(PROMPT)
    codes = torch.randint(0, 64, (4, 8), generator=torch.Generator().manual_seed(3))
    moved = added(hidden, mask, torch.from_numpy(vector), 1.0, False)
    null = musicgen.null_logits(codes)
    guided = [
        musicgen.teacher_forced(h, mask, codes, null_logits=null, guidance=3.0) for h in (hidden, moved)
    ]
    single = [musicgen.teacher_forced(h, mask, codes) for h in (hidden, moved)]
    # log-softmax removes a constant per place, so compare differences between tokens.
    change = [(b - a)[..., 1:] - (b - a)[..., :1] for a, b in (single, guided)]
    torch.testing.assert_close(change[1], 3.0 * change[0], atol=1e-3, rtol=1e-3)


def test_opposite_null_half_is_the_prompt_steered_the_other_way(musicgen, vector, plain):
    steering = Steering(vector, 1.5, null="opposite")
    seen = []
    audio = []
    seen += seen_by_decoder(musicgen, lambda: audio.append(clip(musicgen, steering)))
    hidden, mask = musicgen.states(PROMPT)
    v = torch.from_numpy(vector)
    for half, amount in ((0, 1.5), (1, -1.5)):
        wanted = project(musicgen.model, added(hidden, mask, v, amount, False), mask)[0]
        torch.testing.assert_close(seen[0][0][half], wanted, atol=1e-5, rtol=1e-5)
    assert seen[0][1].min() == 1
    zeros = clip(musicgen, Steering(vector, 1.5))
    assert not np.array_equal(audio[0], plain)
    assert not np.array_equal(audio[0], zeros)


def test_renorm_keeps_every_token_s_norm_and_leaves_padding_alone(musicgen, vector):
    hidden, mask = musicgen.states(PROMPT)
    mask = mask.clone()
    mask[0, -1] = 0
    moved = added(hidden, mask, torch.from_numpy(vector), 3.0, True)
    torch.testing.assert_close(moved.norm(dim=-1), hidden.norm(dim=-1), atol=1e-4, rtol=1e-5)
    assert torch.equal(moved[0, -1], hidden[0, -1])
    assert not torch.allclose(moved[0, 0], hidden[0, 0])


# -- strength ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [-1, 1])
def test_kl_grows_with_the_coefficient(musicgen, directions, sign):
    for name in ("difference_in_means/happy", "sae_family/sad", "random/00"):
        kl = [
            token_kl(musicgen, directions[name].vector, sign * c * directions.unit) for c in (0, 0.25, 1, 4)
        ]
        assert kl[0] == 0
        assert kl[0] < kl[1] < kl[2] < kl[3]


def test_every_coefficient_changes_the_audio(musicgen, directions, plain):
    vector = directions["difference_in_means/happy"].vector
    for c in (-4, -1, 1, 4):
        assert not np.array_equal(clip(musicgen, Steering(vector, c * directions.unit)), plain)


# -- schedules -----------------------------------------------------------------------------------------------------------


def test_a_constant_schedule_is_no_schedule(musicgen, vector):
    base = clip(musicgen, Steering(vector, 2.0))
    np.testing.assert_array_equal(clip(musicgen, Steering(vector, 2.0, schedule=((0.0, 1.0),))), base)
    half = clip(musicgen, Steering(vector, 1.0))
    np.testing.assert_array_equal(clip(musicgen, Steering(vector, 2.0, schedule=((0.0, 0.5),))), half)


def test_a_late_schedule_starts_like_the_plain_clip(musicgen, vector):
    """Steered from 0.5 s on: the codes, and so the audio, are the plain clip's until then."""
    plain = musicgen.generate(PROMPT, seconds=1.0, seed=1)
    late = Steering(vector, 4.0, schedule=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0)))
    audio = musicgen.generate(PROMPT, seconds=1.0, seed=1, steering=late)
    assert not np.array_equal(audio, plain)
    assert not np.array_equal(
        audio, musicgen.generate(PROMPT, seconds=1.0, seed=1, steering=Steering(vector, 4.0))
    )
    seen = seen_by_decoder(musicgen, lambda: musicgen.generate(PROMPT, seconds=1.0, seed=1, steering=late))
    assert {position for *_, position in seen} == set(range(50 + 3))
    for states, _, position in seen:
        assert torch.equal(states, seen[0][0]) == (position < 25)  # 0.5 s of 50 frames a second


def test_the_cross_attention_cache_follows_the_schedule(musicgen, vector):
    """A hook on the states alone would be ignored after the first step: keys and values are cached."""
    hidden, mask = musicgen.states(PROMPT)
    v = torch.from_numpy(vector)
    steering = Steering(vector, 4.0, null="zeros")
    factor = np.r_[np.zeros(6), np.ones(9)]
    ids, _ = musicgen.tokens(PROMPT)
    brought = explicit(musicgen.model, ids, mask, v, steering, amount=0.0, guided=True)
    keys = []
    layer = musicgen.model.decoder.model.decoder.layers[0].encoder_attn.k_proj
    handle = layer.register_forward_hook(lambda m, a, out: keys.append(out.detach().clone()))
    with scheduled(musicgen.model, hidden, mask, v, steering, factor, True):
        plain_generate(musicgen, PROMPT, **brought)
    handle.remove()
    # transformers runs the first step twice (once more than it needs), then nothing until the change.
    assert len(keys) in (2, 3)
    assert torch.equal(keys[0], keys[-2])
    assert not torch.equal(keys[-1], keys[-2])
