"""The tagger that comes with the package, and the emotions it hears."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from helpers.clips import put_clip
from moodlens.core import BadInput
from moodlens.judge.clips import Clip
from moodlens.judge.musicnn import FRAMES, TAGS, WEIGHTS, MusicnnScore, Tagger, mel_spectrogram, tags_of
from moodlens.judge.results import scorers
from moodlens.judge.score import score_folder
from moodlens.judge.scorers import named_scorers
from moodlens.judge.tensor_bundle import convert, read_bundle

pytest.importorskip("librosa")
EMOTIONS = ("happy", "sad", "calm", "energetic")
SAMPLES = Path(os.environ.get("MOODLENS_SHARED", "../shared")) / "data" / "musicgen_samples"


@pytest.fixture(scope="module")
def tagger():
    return Tagger()


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate)).astype(np.float32)


def test_logits_of_a_known_spectrogram(tagger):
    """As an independent forward pass gave them, whose logits equal TensorFlow 2.15's to 3e-5."""
    import torch

    ramp = np.outer(np.linspace(0, 1, FRAMES), np.linspace(3, 0, 96)).astype(np.float32)
    logits = tagger.logits(torch.from_numpy(ramp)[None])[0].numpy()
    assert logits.shape == (50,)
    np.testing.assert_allclose(logits[:6], [-2.2192, -3.4076, -2.8025, -2.6236, -1.0045, -3.2780], atol=1e-4)
    both = tagger.logits(torch.from_numpy(np.stack([0 * ramp, ramp])))
    np.testing.assert_allclose(both[1].numpy(), logits, atol=1e-5)


def test_short_clips_are_repeated_and_rates_do_not_matter(tagger):
    one = noise(1.0)
    assert mel_spectrogram(one, 16_000).shape == (63, 96)
    assert np.isfinite(tagger(one, 16_000)).all()
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(4 * 48_000) / 48_000).astype(np.float32)
    low = 0.3 * np.sin(2 * np.pi * 440 * np.arange(4 * 16_000) / 16_000).astype(np.float32)
    np.testing.assert_allclose(tagger(tone, 48_000), tagger(low, 16_000), atol=0.1)


def test_columns_are_differences_of_logits(tmp_path, tagger):
    path = put_clip(tmp_path, "a", noise(4.0), 16_000)
    values = MusicnnScore(EMOTIONS)(Clip(path))
    assert list(values) == [f"musicnn_{e}" for e in EMOTIONS]
    assert sum(values.values()) == pytest.approx(0, abs=1e-4)
    logits = dict(zip(TAGS, tagger(noise(4.0), 16_000).tolist(), strict=True))
    calm = (logits["ambient"] + logits["chillout"]) / 2
    others = logits["happy"] + logits["sad"] + (logits["party"] + logits["dance"]) / 2
    assert values["musicnn_calm"] == pytest.approx(calm - others / 3, abs=1e-4)


def test_labels_that_no_tag_stands_for_are_refused():
    assert tags_of(("sexy", "Catchy")) == {"sexy": ("sexy",), "Catchy": ("catchy",)}
    with pytest.raises(BadInput, match="no tag stands for tender; it knows happy, sad, calm"):
        tags_of(("happy", "tender"))
    with pytest.raises(BadInput, match="two emotions"):
        tags_of(("happy",))


def test_it_is_asked_for_by_name(tmp_path):
    put_clip(tmp_path, "a", noise(4.0), 16_000)
    frame = score_folder(tmp_path, scorers(EMOTIONS, clap=None, acoustics=False, more=("musicnn",)))
    assert frame["musicnn_sad"].is_not_nan().all()
    with pytest.raises(BadInput, match="scorer nobody: there is none; known: musicnn"):
        named_scorers(["nobody"], EMOTIONS)


def test_another_package_s_scorer_is_found(tmp_path, monkeypatch):
    folder = tmp_path / "loud-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[moodlens.scorers]\nloud = loud_scorer:make\nbroken = loud_scorer:nothing\n"
    )
    (tmp_path / "loud_scorer.py").write_text(
        "def make(emotions, device):\n    return lambda clip: {f'loud_{e}': float(len(e)) for e in emotions}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (score,) = named_scorers(["loud"], ("happy", "sad"))
    assert score(Clip(tmp_path / "any.wav")) == {"loud_happy": 5.0, "loud_sad": 3.0}
    with pytest.raises(BadInput, match="scorer broken: cannot be used"):
        named_scorers(["broken"], EMOTIONS)


def test_changed_weights_are_not_used(tmp_path, monkeypatch):
    broken = tmp_path / "weights.safetensors"
    broken.write_bytes(WEIGHTS.read_bytes()[:-1] + b"x")
    monkeypatch.setattr("moodlens.judge.musicnn.WEIGHTS", broken)
    with pytest.raises(BadInput, match="not as it was shipped"):
        Tagger()


def test_a_checkpoint_of_tensorflow_is_read(tmp_path):
    """Written here by hand, as TensorFlow lays it out: keys share their beginnings, the last block is the index."""
    tensors = {"layer/bias": np.arange(3, dtype="<f4"), "layer/kernel": np.ones((2, 3), dtype="<f4") * 7}
    data, entries = b"", []
    for name, value in tensors.items():
        shape = b"".join(b"\x12\x02\x08" + bytes([n]) for n in value.shape)
        entry = b"\x08\x01" + b"\x12" + bytes([len(shape)]) + shape
        entry += (b"\x20" + bytes([len(data)]) if data else b"") + b"\x28" + bytes([value.nbytes])
        entries.append((name.encode(), entry))
        data += value.tobytes()

    def block(pairs):
        out, before = b"", b""
        for key, value in pairs:
            shared = sum(key.startswith(before[: n + 1]) for n in range(len(before)))
            out += bytes([shared, len(key) - shared, len(value)]) + key[shared:] + value
            before = key
        return out + struct.pack("<II", 0, 1)

    first = block([(b"", b"\x08\x01"), *entries])
    second = block([(b"z", bytes([0, len(first)]))])
    start = len(first) + 5  # a byte for compression and four for the checksum
    handles = bytes([0, 0]) + bytes([start, len(second)]) if start < 128 else b""
    assert handles
    footer = handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (tmp_path / "x.index").write_bytes(first + bytes(5) + second + bytes(5) + footer)
    (tmp_path / "x.data-00000-of-00001").write_bytes(data)
    read = read_bundle(tmp_path / "x")
    assert list(read) == list(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(read[name], value)
    (tmp_path / "x.index").write_bytes(b"nothing of the kind")
    with pytest.raises(BadInput, match="not the index of a TensorFlow checkpoint"):
        read_bundle(tmp_path / "x")
    with pytest.raises(BadInput, match=r"is not musicnn-0\.1\.0"):
        convert(tmp_path / "x.index", tmp_path / "out")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the four clips of MusicGen")
def test_each_emotion_is_heard_most_on_its_own_clip():
    score = MusicnnScore(EMOTIONS)
    clips = {e: next(f for f in sorted(SAMPLES.glob("*.wav")) if e in f.name) for e in EMOTIONS}
    heard = {e: score(Clip(path)) for e, path in clips.items()}
    for emotion in EMOTIONS:
        values = {e: heard[e][f"musicnn_{emotion}"] for e in EMOTIONS}
        assert max(values, key=lambda e, values=values: values[e]) == emotion
    # As an independent forward pass gave them.
    assert heard["happy"]["musicnn_happy"] == pytest.approx(-0.005, abs=0.02)
    assert heard["calm"]["musicnn_calm"] == pytest.approx(5.185, abs=0.02)
