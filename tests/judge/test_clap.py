"""CLAP on a tiny random ClapModel: the softmax, the windows, and the check that refuses a collapsed one."""

import numpy as np
import pytest
import torch

from helpers.tiny_clap import extractor, tiny_clap_model
from helpers.tiny_music import word_tokenizer
from moodlens.core import BadInput, write_json
from moodlens.judge import Clap, ClapScore, Clip, PreservationScore, score_folder
from moodlens.judge.clap import TEMPLATES, mean_cosine, softmax
from moodlens.steer.clips import write_wav

EMOTIONS = ("happy", "sad", "calm", "energetic")
RATE = 48000


@pytest.fixture(scope="module")
def clap():
    return Clap(tiny_clap_model(), word_tokenizer(), extractor(), "tiny")


def tone(hz, seconds=1.0, rate=RATE):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_a_collapsed_checkpoint_is_refused():
    with pytest.raises(BadInput, match=r"collapsed: unlike texts have a mean cosine of (0.9[89]|1.0)"):
        Clap(tiny_clap_model(collapsed=True), word_tokenizer(), extractor(), "tiny")


def test_a_checkpoint_deaf_to_sound_is_refused():
    model = tiny_clap_model()
    with torch.no_grad():
        model.audio_projection.linear2.weight.zero_()
        model.audio_projection.linear2.bias.fill_(1.0)
    with pytest.raises(BadInput, match="collapsed: unlike audios"):
        Clap(model, word_tokenizer(), extractor(), "tiny")


def test_the_check_measures_what_it_says(clap):
    found = clap.check()
    assert found["text"] < 0.9
    assert found["audio"] < 0.98
    with pytest.raises(BadInput, match="collapsed"):
        clap.check(threshold=min(found.values()) - 0.01)


def test_mean_cosine():
    assert mean_cosine(np.eye(4)) == pytest.approx(0)
    assert mean_cosine(np.tile([[3.0, 4.0]], (5, 1))) == pytest.approx(1)
    rows = np.random.default_rng(0).standard_normal((6, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert mean_cosine(rows) == pytest.approx((unit @ unit.T)[np.triu_indices(6, 1)].mean())


def test_the_softmax_is_transformers_own(clap, tmp_path):
    """Against ``logits_per_audio`` of a full forward pass, one text per emotion."""
    write_wav(tmp_path / "a.wav", tone(330), RATE)
    texts = [f"{emotion} music" for emotion in EMOTIONS]
    ids = torch.tensor([clap.tokenizer.encode(text).ids for text in texts])
    features = clap.extractor(tone(330), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        out = clap.model(input_ids=ids, attention_mask=torch.ones_like(ids), **features)
    expected = out.logits_per_audio[0].softmax(-1).numpy()
    score = ClapScore(clap, {e: [t] for e, t in zip(EMOTIONS, texts, strict=True)})
    found = score(Clip(tmp_path / "a.wav"))
    shares = [found[f"clap_{emotion}"] for emotion in EMOTIONS]
    np.testing.assert_allclose(shares, expected, rtol=1e-4)
    assert sum(shares) == pytest.approx(1)
    assert np.ptp(shares) > 0.01
    beyond = np.array([found[f"clap_logit_{emotion}"] for emotion in EMOTIONS])
    logits = out.logits_per_audio[0].double().numpy()
    others = [np.delete(logits, i).mean() for i in range(len(EMOTIONS))]
    np.testing.assert_allclose(beyond, logits - others, atol=1e-4)
    assert len(found) == 2 * len(EMOTIONS)
    assert clap.scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_any_number_of_emotions_and_a_folder_of_wavs(clap, tmp_path):
    for hz in (220, 440, 3000):
        write_wav(tmp_path / f"{hz}.wav", tone(hz, rate=32000), 32000)  # resampled to 48 kHz
    frame = score_folder(tmp_path, [ClapScore(clap, ("gloomy", "joyful"))])
    assert frame.height == 3
    np.testing.assert_allclose(frame["clap_gloomy"] + frame["clap_joyful"], 1)
    assert frame["clap_gloomy"].n_unique() == 3
    assert len(TEMPLATES) > 1
    with pytest.raises(BadInput, match="two emotions"):
        ClapScore(clap, ("happy",))
    with pytest.raises(BadInput, match="they are one text"):
        ClapScore(clap, {"a": ["happy music"], "b": ["happy music"]})


def test_long_clips_are_read_in_windows_and_repeatably(clap):
    sound = np.concatenate([tone(220, 2.0), tone(3000, 2.0), tone(800, 1.0)])  # the window is 2 s
    found = clap.audio(sound, RATE)
    np.testing.assert_array_equal(found, clap.audio(sound, RATE))
    thirds = np.array_split(sound, 3)
    mean = np.mean([clap.audio(part, RATE) for part in thirds], axis=0)
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_softmax_of_large_logits_is_finite():
    np.testing.assert_allclose(softmax(np.array([1000.0, 0.0])), [1, 0])


def test_a_checkpoint_is_loaded_from_a_folder(tmp_path, clap):
    clap.model.save_pretrained(tmp_path)
    clap.extractor.save_pretrained(tmp_path)
    word_tokenizer().save(str(tmp_path / "tokenizer.json"))
    loaded = Clap.load(str(tmp_path), device="cpu")
    np.testing.assert_allclose(loaded.audio(tone(330), RATE), clap.audio(tone(330), RATE), atol=1e-6)
    with pytest.raises(BadInput, match="no such folder"):
        Clap.load(str(tmp_path / "nothing"))


def test_preservation_against_prompt_and_unsteered_clip(clap, tmp_path):
    for key, hz, method, seed in (("a", 220, "none", 0), ("b", 3000, "random", 0), ("c", 220, "random", 1)):
        write_wav(tmp_path / f"{key}.wav", tone(hz), RATE)
        write_json(
            tmp_path / f"{key}.json", {"key": key, "prompt": "piano music", "method": method, "seed": seed}
        )
    write_wav(tmp_path / "d.wav", tone(500), RATE)
    rows = {row["file"][0]: row for row in score_folder(tmp_path, [PreservationScore(clap)]).to_dicts()}
    assert rows["a"]["kept"] == pytest.approx(1, abs=1e-5)
    assert rows["b"]["kept"] == pytest.approx(
        np.dot(rows["a"]["clap_embedding"], rows["b"]["clap_embedding"]), abs=1e-6
    )
    assert rows["b"]["kept"] < 0.999
    assert rows["c"]["kept"] is None  # no unsteered clip of its seed
    assert rows["d"]["adherence"] is None
    text = clap.texts(["piano music"])[0]
    assert rows["a"]["adherence"] == pytest.approx(float(text @ clap.audio(tone(220), RATE)), abs=1e-4)
