"""Where steering enters MusicGen, and every way to get it silently wrong."""

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_musicgen
from transformers.modeling_outputs import BaseModelOutput

from moodlens.engine import BadInput
from moodlens.steer import Sampling, Steering
from moodlens.steer.conditioning import added, explicit, halves, hooked, private_seed, project, scheduled

PROMPT = "a simple piano melody"
SECONDS = 0.3


def unit(d: int, seed: int = 0) -> np.ndarray:
    v = np.random.default_rng(seed).standard_normal(d)
    return (v / np.linalg.norm(v)).astype(np.float32)


@pytest.fixture(scope="module")
def vector(musicgen):
    return unit(musicgen.d_in)


@pytest.fixture(scope="module")
def plain(musicgen):
    """What transformers' own ``generate`` gives, called as its documentation does."""
    return plain_generate(musicgen, PROMPT)


def plain_generate(musicgen, prompt, **more):
    ids, mask = musicgen.tokens(prompt)
    kwargs = {"input_ids": ids, "attention_mask": mask, "guidance_scale": 3.0} | more
    torch.manual_seed(1)
    audio = musicgen.model.generate(
        **kwargs, max_new_tokens=round(SECONDS * 50) + 3, do_sample=True, top_k=250, temperature=1.0
    )
    return audio[0].numpy()


def clip(musicgen, steering=None, prompt=PROMPT, seed=1, **kwargs):
    return musicgen.generate(prompt, seconds=SECONDS, seed=seed, steering=steering, **kwargs)


def seen_by_decoder(musicgen, run):
    """States, mask and position of every call of the decoder."""
    seen = []

    def look(module, args, kwargs):
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        position = 0 if cache is None else cache.get_seq_length()
        seen.append(
            (kwargs["encoder_hidden_states"].clone(), kwargs["encoder_attention_mask"].clone(), position)
        )

    # One module further in than the hook of a schedule.
    handle = musicgen.model.decoder.model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    return seen


def token_kl(musicgen, vector, amount):
    """KL(steered || unsteered) per token, teacher-forced on fixed random codes."""
    hidden, mask = musicgen.states(PROMPT)
    codes = torch.randint(0, 64, (4, 20), generator=torch.Generator().manual_seed(1))
    base = musicgen.teacher_forced(hidden, mask, codes)
    moved = musicgen.teacher_forced(added(hidden, mask, torch.from_numpy(vector), amount, False), mask, codes)
    return float((moved.exp() * (moved - base)).sum(-1).mean())


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


# -- traps -----------------------------------------------------------------------------------------------------------------


def test_trap_own_states_without_a_null_half(musicgen, plain):
    """An error for two prompts; for one prompt worse: it is broadcast to both halves, and guidance does nothing."""
    ids, mask = musicgen.tokens(PROMPT)
    hidden, _ = musicgen.states(PROMPT)
    two = {"input_ids": ids.repeat(2, 1), "attention_mask": mask.repeat(2, 1)}
    with pytest.raises(RuntimeError, match="must match the size"):
        plain_generate(
            musicgen, PROMPT, **two, encoder_outputs=BaseModelOutput(last_hidden_state=hidden.repeat(2, 1, 1))
        )
    bare = {"encoder_outputs": BaseModelOutput(last_hidden_state=hidden)}
    wrong = plain_generate(musicgen, PROMPT, **bare)
    assert not np.array_equal(wrong, plain)
    np.testing.assert_array_equal(wrong, plain_generate(musicgen, PROMPT, **bare, guidance_scale=9.0))
    # Without input_ids the doubled rows are taken for two clips.
    doubled = {
        "encoder_outputs": BaseModelOutput(last_hidden_state=torch.cat([hidden, torch.zeros_like(hidden)])),
        "attention_mask": torch.cat([mask, torch.zeros_like(mask)]),
    }
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        plain_generate(musicgen, PROMPT, input_ids=None, **doubled)
    # Without guidance there is no null half to bring.
    alone = plain_generate(
        musicgen, PROMPT, encoder_outputs=BaseModelOutput(last_hidden_state=hidden), guidance_scale=1.0
    )
    np.testing.assert_array_equal(alone, clip(musicgen, sampling=Sampling(guidance=1.0)))


def test_trap_null_zeros_need_mask_zero(musicgen, plain, vector):
    """With mask 1 the zero states become the projection's bias and are attended to: other guidance, no error."""
    hidden, mask = musicgen.states(PROMPT)
    wrong = {
        "encoder_outputs": BaseModelOutput(last_hidden_state=torch.cat([hidden, torch.zeros_like(hidden)])),
        "attention_mask": torch.cat([mask, mask]),
    }
    assert not np.array_equal(plain_generate(musicgen, PROMPT, **wrong), plain)
    states, states_mask = halves(
        hidden, mask, torch.from_numpy(vector), Steering(vector, 1.0), amount=1.0, guided=True
    )
    assert states[1].abs().max() == 0
    assert states_mask[1].sum() == 0


def test_trap_zero_codebooks_make_every_claim_about_audio_empty(musicgen, vector):
    """Why the fixture fills them: a fresh random codec says the same for all tokens."""
    dull = tiny_musicgen()
    for layer in dull.model.audio_encoder.quantizer.layers:
        layer.codebook.embed.zero_()
    np.testing.assert_array_equal(clip(dull, Steering(vector, 4.0)), clip(dull))
    for layer in musicgen.model.audio_encoder.quantizer.layers:
        assert layer.codebook.embed.abs().max() > 0


def test_trap_small_initial_weights_hide_steering(musicgen, vector):
    from transformers import MusicgenConfig, MusicgenForConditionalGeneration

    config = tiny_model().config
    weak = MusicgenConfig(
        text_encoder=config.text_encoder,
        audio_encoder=config.audio_encoder,
        decoder=type(config.decoder)(**{**config.decoder.to_dict(), "initializer_factor": 0.02}),
        initializer_factor=0.02,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        other = type(musicgen)(MusicgenForConditionalGeneration(weak), musicgen.tokenizer, "weak", "random")
    assert token_kl(musicgen, vector, 1.0) > 100 * token_kl(other, vector, 1.0)


def test_trap_several_clips_at_once_are_joined_in_time(musicgen):
    """num_return_sequences is not how to get several seeds: this library makes one clip a call."""
    ids, mask = musicgen.tokens(PROMPT)
    audio = musicgen.model.generate(
        input_ids=ids.repeat(2, 1), attention_mask=mask.repeat(2, 1), max_new_tokens=18, do_sample=True,
        guidance_scale=3.0, num_return_sequences=2,
    )  # fmt: skip
    assert audio.shape[0] == 2
    assert audio.shape[-1] == 2 * clip(musicgen).shape[-1]


def test_trap_a_row_of_a_batch_is_not_the_clip_alone(musicgen, plain):
    ids, mask = musicgen.tokens(PROMPT)
    with private_seed(1, musicgen.model.device):
        audio = musicgen.model.generate(
            input_ids=ids.repeat(2, 1), attention_mask=mask.repeat(2, 1), max_new_tokens=18, do_sample=True,
            guidance_scale=3.0, top_k=250, temperature=1.0,
        )  # fmt: skip
    assert audio.shape[-1] == plain.shape[-1]
    assert not np.array_equal(audio[1].numpy(), audio[0].numpy())  # the same prompt, other draws
    np.testing.assert_array_equal(clip(musicgen), plain)  # alone, whatever ran before


def test_trap_one_seed_is_common_numbers_only(musicgen, vector):
    """Clips of one seed diverge with their first differing token: several seeds are needed, and give several clips."""
    clips = [clip(musicgen, seed=seed) for seed in (1, 2, 3)]
    assert not np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[1], clips[2])
    near, far = (clip(musicgen, Steering(vector, a)) - clips[0] for a in (2.0, 8.0))
    # Distance to the unsteered clip saturates, unlike the KL: it is no measure of strength.
    assert np.linalg.norm(far) < 3 * np.linalg.norm(near)
    assert token_kl(musicgen, vector, 8.0) > 3 * token_kl(musicgen, vector, 2.0)


def test_trap_pad_is_one_past_the_vocabulary(musicgen):
    config, chosen = musicgen.model.config.decoder, musicgen.model.generation_config
    assert config.pad_token_id == config.vocab_size
    assert chosen.decoder_start_token_id == chosen.pad_token_id == config.vocab_size


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_trap_half_precision_keeps_its_dtype(vector, dtype):
    half = tiny_musicgen()
    half.model.to(dtype)
    hidden, mask = half.states(PROMPT)
    moved = added(hidden, mask, torch.from_numpy(vector), 1.0, False)
    assert moved.dtype == dtype
    assert half.model.enc_to_dec_proj(moved).dtype == dtype
    with pytest.raises(RuntimeError, match="dtype"):
        half.model.enc_to_dec_proj(hidden + torch.from_numpy(vector))
    for steering in (
        Steering(vector, 2.0),
        Steering(vector, 2.0, renorm=True),
        Steering(vector, 2.0, null="opposite"),
    ):
        audio = clip(half, steering)
        assert audio.dtype == np.float32
        assert np.isfinite(audio).all()
        assert not np.array_equal(audio, clip(half))


def test_trap_padding_changes_the_last_bits_so_prompts_are_encoded_alone(musicgen):
    ids, mask = musicgen.tokens(PROMPT)
    alone = musicgen.states(PROMPT)[0]
    padded = musicgen.model.text_encoder(
        input_ids=torch.nn.functional.pad(ids, (0, 4)), attention_mask=torch.nn.functional.pad(mask, (0, 4))
    ).last_hidden_state[:, : ids.shape[1]]
    torch.testing.assert_close(padded, alone, atol=1e-4, rtol=1e-4)
    assert ids.shape[1] == len(PROMPT.split()) + 1  # the words and </s>, no padding
    assert mask.min() == 1


# -- what generate promises --------------------------------------------------------------------------------------------


def test_clip_length_and_raw_loudness(musicgen):
    for seconds in (0.2, 0.5):
        audio = musicgen.generate(PROMPT, seconds=seconds, seed=0)
        assert audio.shape == (1, round(seconds * musicgen.sampling_rate))
    loud = tiny_musicgen()
    for layer in loud.model.audio_encoder.quantizer.layers:
        layer.codebook.embed.mul_(4)
    assert np.abs(clip(loud)).max() > 1.5 * np.abs(clip(musicgen)).max()  # nothing was normalised


def test_stereo_checkpoints_are_steered_too(vector):
    stereo = tiny_musicgen(channels=2)
    assert (stereo.channels, stereo.n_codebooks) == (2, 8)
    plain, steered = clip(stereo), clip(stereo, Steering(vector, 3.0))
    assert plain.shape == steered.shape == (2, round(SECONDS * stereo.sampling_rate))
    assert not np.array_equal(plain[0], plain[1])
    assert not np.array_equal(plain, steered)


def test_global_random_states_are_left_alone(musicgen):
    import random

    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate()
    clip(musicgen)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_top_k_zero_keeps_all_and_temperature_counts(musicgen):
    whole = clip(musicgen, sampling=Sampling(top_k=0))
    np.testing.assert_array_equal(whole, clip(musicgen, sampling=Sampling(top_k=64)))
    assert not np.array_equal(whole, clip(musicgen, sampling=Sampling(top_k=2)))
    assert not np.array_equal(whole, clip(musicgen, sampling=Sampling(top_k=0, temperature=0.2)))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"prompt": "  "}, "blank"),
        ({"prompt": "music", "seconds": 0.01}, "outside"),
        ({"prompt": "music", "seconds": 100}, "outside"),
        ({"prompt": "music", "steering": Steering(np.ones(7, np.float32), 1.0)}, "24 wide"),
    ],
)
def test_bad_requests_are_one_line(musicgen, kwargs, message):
    with pytest.raises(BadInput, match=message) as caught:
        musicgen.generate(**{"seconds": SECONDS, "seed": 0, **kwargs})
    assert "\n" not in str(caught.value)


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
