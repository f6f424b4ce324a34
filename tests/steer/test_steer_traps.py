"""Every way to get steering silently wrong, and what ``generate`` promises."""

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from helpers.steered import PROMPT, SECONDS, clip, plain_generate, token_kl
from helpers.tiny_music import tiny_model, tiny_musicgen
from moodlens.core import BadInput
from moodlens.steer import MusicGen, Sampling, Steering
from moodlens.steer.conditioning import added, halves, private_seed

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
        ({"prompt": "音楽 Musik"}, "knows none of it"),
        ({"prompt": "music", "seconds": 0.01}, "outside"),
        ({"prompt": "music", "seconds": 1000}, "outside"),
        ({"prompt": "music", "steering": Steering(np.ones(7, np.float32), 1.0)}, "24 wide"),
    ],
)
def test_bad_requests_are_one_line(musicgen, kwargs, message):
    with pytest.raises(BadInput, match=message) as caught:
        musicgen.generate(**{"seconds": SECONDS, "seed": 0, **kwargs})
    assert "\n" not in str(caught.value)


def test_a_step_that_is_too_long_is_one_line(vector):
    musicgen = tiny_musicgen()
    for amount in (1e38, float("nan")):
        with pytest.raises(BadInput, match="no longer numbers; steer with a smaller coefficient") as caught:
            clip(musicgen, Steering(vector, amount))
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(clip(musicgen), clip(tiny_musicgen()))  # and leaves nothing behind


@pytest.mark.parametrize("device", ["cuda:99", "meta", "tpu", "", "cpu:x"])
def test_a_device_that_is_not_there_is_one_line(checkpoint, device):
    with pytest.raises(BadInput, match="cannot be used here") as caught:
        MusicGen.load(str(checkpoint), device=device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_leaves_the_codec_alone(checkpoint, musicgen, dtype):
    half = MusicGen.load(str(checkpoint), dtype=dtype, device="cpu")
    assert half.info().dtype == dtype
    assert {p.dtype for p in half.model.audio_encoder.parameters()} == {torch.float32}
    codes = torch.arange(4 * 20).reshape(1, 1, 4, 20) % 64
    with torch.no_grad():
        decoded = [m.model.audio_encoder.decode(codes, [None]).audio_values for m in (musicgen, half)]
    assert torch.equal(*decoded)
    audio = clip(half)
    assert audio.dtype == np.float32
    assert half.codes(audio, half.sampling_rate).shape[0] == half.n_codebooks
