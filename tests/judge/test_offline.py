"""The offline score: what it measures, and that it finds a direction that was planted."""

import numpy as np
import pytest
import torch

from helpers.tiny_music import tiny_musicgen
from moodlens.core import BadInput
from moodlens.judge import Offline, OfflineScore, Reference, rank_features, read_references, score_folder
from moodlens.steer.clips import write_wav

CODEBOOK, TOKEN = 2, 17
PROMPTS = ("a simple piano melody", "instrumental music")


def unit_rows(n, d, seed):
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def some_codes(model, seed, frames=10):
    rng = np.random.default_rng(seed)
    return rng.integers(0, model.model.config.decoder.vocab_size, size=(model.n_codebooks, frames))


@pytest.fixture(scope="module")
def offline(musicgen):
    emotions = ("happy", "sad", None)
    return Offline(
        musicgen, [Reference(some_codes(musicgen, i), PROMPTS[i % 2], e) for i, e in enumerate(emotions)]
    )


def plant(seed=3):
    """A MusicGen in which one direction of the text states, and no other, is wired to one token of one codebook.

    The direction v is projected onto one hidden vector u; the last layer's cross-attention, whose values and output
    are made to carry u through unchanged, adds it to the stream; the head of ``CODEBOOK`` reads it as ``TOKEN``, and
    the other heads are blind to it.
    """
    musicgen = tiny_musicgen(seed=seed)
    model = musicgen.model
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(musicgen.d_in, generator=generator)
    spoken = torch.cat([musicgen.states(prompt)[0][0] for prompt in PROMPTS])
    v -= torch.linalg.pinv(spoken) @ (spoken @ v)  # the prompts themselves say nothing along it
    v /= v.norm()
    hidden = model.config.decoder.hidden_size
    u = torch.randn(hidden, generator=generator)
    u = (u - u.mean()) / (u - u.mean()).norm()
    carry = torch.outer(u, u)
    with torch.no_grad():
        weight = model.enc_to_dec_proj.weight
        weight -= torch.outer(u, u @ weight)  # nothing else is projected onto u
        weight -= torch.outer(weight @ v, v)  # and v onto nothing else
        weight *= 0.5  # the rest speaks more softly
        weight += torch.outer(u, v)
        bias = model.enc_to_dec_proj.bias
        bias -= (bias @ u) * u
        inner = model.decoder.model.decoder
        for table in (*(embed.weight for embed in inner.embed_tokens), inner.embed_positions.weights):
            table -= table @ carry  # nobody else writes u into the stream
        for layer in inner.layers:
            attention = layer.encoder_attn
            for write in (layer.self_attn.out_proj, attention.out_proj, layer.fc2):
                write.weight -= carry @ write.weight
            for read in (attention.q_proj, attention.k_proj, attention.v_proj):
                read.weight -= read.weight @ carry
            if layer is inner.layers[-1]:
                attention.v_proj.weight += carry - carry @ attention.v_proj.weight
                attention.out_proj.weight.copy_(3 * carry)
                layer.fc2.weight.zero_()  # nothing mixes it on the way out
        for k, head in enumerate(model.decoder.lm_heads):
            head.weight -= head.weight @ carry
            if k == CODEBOOK:
                head.weight[TOKEN] += 15 * u
    return musicgen, v.numpy()


@pytest.fixture(scope="module")
def planted():
    return plant()


def test_the_planted_direction_moves_its_token_and_hardly_another(planted):
    """The premise of the next test, from the logits themselves."""
    musicgen, v = planted
    hidden, mask = musicgen.states(PROMPTS[0])
    codes = torch.as_tensor(some_codes(musicgen, 0))
    moved = musicgen.teacher_forced(hidden + torch.as_tensor(v), mask, codes)
    shift = (moved - musicgen.teacher_forced(hidden, mask, codes)).mean(dim=(0, 2))  # (codebooks, vocab)
    assert shift.argmax() == CODEBOOK * shift.shape[1] + TOKEN
    others = shift.clone()
    others[CODEBOOK] = 0
    assert shift[CODEBOOK, TOKEN] > 5 * others.abs().max()


def test_it_is_ranked_first_among_200_features_and_random_ones_are_not(planted):
    musicgen, v = planted
    offline = Offline(musicgen, [Reference(some_codes(musicgen, i), PROMPTS[i]) for i in range(2)], batch=50)
    for seed, place in ((0, 137), (1, 0), (2, 199)):
        vectors = unit_rows(200, musicgen.d_in, seed)
        without = rank_features(offline, vectors, 1.0, by=f"kl_{CODEBOOK}")
        assert without.height == 200
        assert without["feature"][0] != place
        vectors[place] = v
        found = rank_features(offline, vectors, 1.0, by=f"kl_{CODEBOOK}")
        assert found["feature"][0] == place
        overall = rank_features(offline, vectors, 1.0)
        assert overall["feature"][0] == place
        assert overall["kl"][0] > 1.2 * overall["kl"][1]
        quick = rank_features(offline, vectors, 1.0, exact=40)
        assert quick.height == 40
        assert quick["feature"][0] == place


def test_the_direction_is_not_first_in_a_model_without_the_plant(planted):
    _, v = planted
    musicgen = tiny_musicgen(seed=3)
    offline = Offline(musicgen, [Reference(some_codes(musicgen, 0), PROMPTS[0])], batch=50)
    vectors = unit_rows(200, musicgen.d_in, 0)
    vectors[137] = v
    found = rank_features(offline, vectors, 1.0, by=f"kl_{CODEBOOK}")
    assert found.filter(found["feature"] == 137)["rank"][0] > 10


def test_no_steering_has_no_effect_and_kl_grows_with_the_amount(offline, musicgen):
    v = unit_rows(1, musicgen.d_in, 4)[0]
    amounts = np.array([-4.0, -2, -1, -0.5, 0, 0.5, 1, 2, 4])
    kl = offline.effects(np.tile(v, (len(amounts), 1)), amounts).kl
    assert kl[4] == pytest.approx(0, abs=1e-6)
    assert (np.diff(kl[4:]) > 0).all()
    assert (np.diff(kl[:5]) < 0).all()
    assert kl[-1] > 0.05


def test_kl_is_that_of_a_plain_forward_pass(offline, musicgen):
    v = unit_rows(1, musicgen.d_in, 5)[0].astype(np.float32)
    total = 0.0
    for reference in offline.references:
        hidden, mask = musicgen.states(reference.prompt)
        codes = torch.as_tensor(reference.codes)
        a = musicgen.teacher_forced(hidden, mask, codes)
        b = musicgen.teacher_forced(hidden + 2 * torch.as_tensor(v), mask, codes)
        total += torch.nn.functional.kl_div(a, b, log_target=True, reduction="none").sum(-1).mean().item()
    effects = offline.effects(v[None], 2.0)
    assert effects.kl[0] == pytest.approx(total / len(offline.references), rel=1e-4)
    assert effects.kl[0] == pytest.approx(effects.kl_codebook[0].mean())


def test_batches_do_not_change_the_result(offline, musicgen):
    vectors = unit_rows(7, musicgen.d_in, 6)
    small = Offline(musicgen, offline.references, batch=3)
    np.testing.assert_allclose(small.effects(vectors, 1.0).kl, offline.effects(vectors, 1.0).kl, rtol=1e-4)


def test_first_order_agrees_with_small_steps(offline, musicgen):
    vectors = unit_rows(30, musicgen.d_in, 7)
    rough, small = offline.first_order(vectors, n_probes=300), offline.effects(vectors, 0.01)
    np.testing.assert_allclose(rough.log_likelihood * 0.01, small.log_likelihood, atol=2e-4)
    half = offline.effects(vectors, 0.2)
    assert np.corrcoef(rough.kl, half.kl)[0, 1] > 0.9
    assert np.median(half.kl / (rough.kl * 0.04)) == pytest.approx(1, abs=0.3)


def test_gain_favours_the_emotion_whose_clips_become_likelier(offline, musicgen):
    """The gradient of one emotion's likelihood minus the other's is a direction with a positive gain."""
    slopes = offline.first_order(np.eye(musicgen.d_in)).gain  # (d_in, 2)
    toward_sad = slopes[:, offline.emotions.index("sad")]
    found = rank_features(offline, np.stack([-toward_sad, toward_sad]), 0.3, by="gain_sad")
    assert found["feature"].to_list() == [1, 0]
    assert found["gain_sad"][0] > 0 > found["gain_sad"][1]
    np.testing.assert_allclose(found["gain_sad"], -found["gain_happy"])


def test_guidance_amplifies(offline, musicgen):
    guided = Offline(musicgen, offline.references, guidance=3.0)
    v = unit_rows(1, musicgen.d_in, 8)
    assert guided.effects(v, 0.5).kl[0] > 2 * offline.effects(v, 0.5).kl[0]


def test_references_are_read_from_wav_files_and_clips_are_scored(tmp_path, musicgen):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", 0.3 * rng.standard_normal(16000), 16000)  # twice the model's rate
    references = read_references(
        musicgen, {"happy": [tmp_path / "a.wav"], "": [tmp_path / "b.wav"]}, PROMPTS, seconds=0.3
    )
    assert [r.emotion for r in references] == ["happy", "happy", None, None]
    assert references[0].codes.shape == (musicgen.n_codebooks, round(0.3 * musicgen.frame_rate))
    vectors: dict[str, np.ndarray] = dict(
        zip(("happy", "sad", "calm"), unit_rows(3, musicgen.d_in, 9), strict=True)
    )
    score = OfflineScore(musicgen, vectors, 1.0, prompt=PROMPTS[0], seconds=0.3)
    frame = score_folder(tmp_path, [score])
    values = frame.select(f"offline_{emotion}" for emotion in vectors).to_numpy()
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values.sum(axis=1), 0, atol=1e-6)
    assert np.abs(values).max() > 1e-4
    with pytest.raises(BadInput, match="names no prompt"):
        score_folder(tmp_path, [OfflineScore(musicgen, vectors, 1.0, prompt=None, seconds=0.3)])


def test_bad_input(offline, musicgen):
    with pytest.raises(BadInput, match="wide"):
        offline.effects(np.ones((1, musicgen.d_in + 1)), 1.0)
    with pytest.raises(BadInput, match="row 1 is zero"):
        rank_features(offline, np.stack([np.ones(musicgen.d_in), np.zeros(musicgen.d_in)]), 1.0)
    with pytest.raises(BadInput, match="none of kl"):
        rank_features(offline, np.ones((1, musicgen.d_in)), 1.0, by="clap")
    with pytest.raises(BadInput, match="at least one reference"):
        Offline(musicgen, [])
