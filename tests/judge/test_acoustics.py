"""Acoustics against sounds whose tempo, key and loudness are known, and against real clips."""

import builtins

import numpy as np
import pytest

pytest.importorskip("librosa", reason="needs the extra moodlens[audio]")

from moodlens.core import BadInput, write_json
from moodlens.judge import HYPOTHESES, AcousticScore, judge_shift, score_folder
from moodlens.judge.acoustics import KRUMHANSL, MEASURES, NAMES, TEMPERLEY, acoustics, find_key
from moodlens.steer.clips import write_wav

RATE = 16000
SECONDS = 6.0
TIME = np.arange(round(SECONDS * RATE)) / RATE


def clicks(bpm: float) -> np.ndarray:
    """Decaying 1 kHz bursts, evenly spaced."""
    since = TIME % (60 / bpm)
    return (np.exp(-since / 0.01) * np.sin(2 * np.pi * 1000 * since)).astype(np.float32)


def chord(*notes: int) -> np.ndarray:
    """Notes (MIDI numbers) with four harmonics each."""
    parts = [
        np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * h * TIME) / h
        for note in notes
        for h in range(1, 5)
    ]
    return (0.1 * np.sum(parts, axis=0)).astype(np.float32)


def measure(audio, rate=RATE, gate=0.4):
    return acoustics(audio, rate, gate)


@pytest.mark.parametrize("bpm", [60, 83, 97, 120, 127, 160])
def test_click_tracks_have_their_tempo(bpm):
    noisy = clicks(bpm) + 0.01 * np.random.default_rng(bpm).standard_normal(len(TIME))
    for audio in (clicks(bpm), noisy):
        found = measure(audio)
        assert found["tempo"] == pytest.approx(bpm, rel=0.005)
        assert found["tempo_confidence"] > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_the_gate_closes_where_there_is_no_beat(seed):
    rng = np.random.default_rng(seed)
    irregular = np.zeros_like(TIME)
    for start in rng.integers(0, len(TIME) - 400, size=16):
        irregular[start : start + 400] += clicks(60)[:400]
    for audio in (irregular, 0.1 * rng.standard_normal(len(TIME)), chord(60, 64, 67)):
        found = measure(audio)
        assert found["tempo"] is None
        assert found["tempo_confidence"] < 0.4
    assert measure(irregular, gate=0.0)["tempo"] is not None


@pytest.mark.parametrize(
    ("notes", "key"),
    [
        ((60, 64, 67, 72), "C major"),
        ((57, 60, 64, 69), "A minor"),
        ((62, 66, 69, 74), "D major"),
        ((65, 68, 72, 77), "F minor"),
    ],
)
def test_chords_have_their_key_and_mode(notes, key):
    found = measure(chord(*notes))
    assert found["musical_key"] == key
    assert (found["mode"] > 0.05) if key.endswith("major") else (found["mode"] < -0.05)


@pytest.mark.parametrize("profiles", [KRUMHANSL, TEMPERLEY])
def test_a_key_profile_is_its_own_key_in_every_transposition(profiles):
    for tonic in range(12):
        for i, mode in enumerate(("major", "minor")):
            key = find_key(np.roll(profiles[i], tonic), profiles)
            assert key.name == f"{NAMES[tonic]} {mode}"
            assert key.correlation == pytest.approx(1)
    assert find_key(np.ones(12)).name is None


def test_loudness_and_centroid_of_a_sine():
    found = measure(np.sin(2 * np.pi * 1000 * TIME).astype(np.float32))
    assert found["loudness"] == pytest.approx(-3.01, abs=0.01)
    assert found["centroid"] == pytest.approx(1000, rel=0.02)
    quiet = measure((0.1 * np.sin(2 * np.pi * 1000 * TIME)).astype(np.float32))
    assert quiet["loudness"] == pytest.approx(-23.01, abs=0.01)
    assert quiet["centroid"] == pytest.approx(found["centroid"], rel=1e-3)  # level changes nothing else


def test_onsets_are_counted():
    assert measure(clicks(120))["onset_density"] == pytest.approx(2, abs=0.35)
    assert measure(chord(60, 64, 67))["onset_density"] < 0.4
    assert measure(clicks(180))["onset_strength"] > measure(clicks(60))["onset_strength"]


def test_silence_has_no_key_no_tempo_and_is_no_error():
    found = measure(np.zeros(RATE, dtype=np.float32))
    assert found["musical_key"] is None
    assert found["tempo"] is None
    assert found["loudness"] is None
    with pytest.raises(BadInput, match="too short"):
        measure(np.ones(10, dtype=np.float32))


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_any_rate_and_short_clips(rate):
    time = np.arange(3 * rate) / rate
    triad = np.sin(2 * np.pi * np.outer((261.63, 329.63, 392.0), time)).sum(axis=0).astype(np.float32)
    assert measure(triad, rate)["musical_key"] == "C major"
    short = measure(triad[: round(0.6 * rate)], rate)
    assert short["musical_key"] is None
    assert short["centroid"] == pytest.approx(330, abs=60)


def test_real_clips_keep_their_order(shared):
    """Centroid energetic > happy > sad > calm; happy, sad and energetic are in major, calm in minor."""
    frame = score_folder(shared / "musicgen_samples", [AcousticScore()])
    by = {row["file"].removesuffix(".wav"): row for row in frame.to_dicts()}
    centroids = [by[name]["centroid"] for name in ("energetic", "happy", "sad", "calm")]
    assert centroids == sorted(centroids, reverse=True)
    assert centroids == pytest.approx([1869, 1580, 532, 351], abs=1)
    assert [by[name]["mode"] > 0 for name in ("happy", "sad", "calm", "energetic")] == [
        True,
        True,
        False,
        True,
    ]
    assert by["calm"]["tempo"] is None  # an ambient pad; an ungated tracker says 121
    assert by["sad"]["tempo"] == pytest.approx(89.7, abs=1)
    assert by["energetic"]["tempo"] == pytest.approx(131.5, abs=1)  # as essentia says
    assert not any(row["loudness_raw"] for row in by.values())


def test_loudness_is_the_generators_own_where_it_is_known(tmp_path):
    write_wav(tmp_path / "a.wav", clicks(120), RATE)
    write_json(tmp_path / "a.json", {"key": "a", "loudness": {"rms_dbfs": -31.5}})
    row = score_folder(tmp_path, [AcousticScore()]).row(0, named=True)
    assert (row["loudness"], row["loudness_raw"]) == (-31.5, True)
    assert set(MEASURES) < set(row)


def test_without_librosa_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "librosa":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"moodlens\[audio\]"):
        measure(clicks(120))


def test_hypotheses_are_judged_with_their_sign():
    assert HYPOTHESES["happy"] == {"mode": 1, "tempo": 1, "centroid": 1}
    assert set(HYPOTHESES["energetic"].values()) == {1}
    for signs in HYPOTHESES.values():
        assert set(signs) <= set(MEASURES)
    up, down = np.array([1.0, 2, 3, 4, 5, 6]), -np.array([1.0, 2, 3, 4, 5, 6])
    shifts = {"mode": up, "tempo": np.full(6, np.nan), "centroid": down}
    mode, tempo, centroid = judge_shift("happy", shifts)
    assert (mode.agrees, mode.p, mode.n) == (True, 1 / 64, 6)
    assert (tempo.agrees, tempo.n) == (None, 0)
    assert (centroid.agrees, centroid.p) == (False, 1.0)
    assert judge_shift("sad", shifts)[2].agrees
    with pytest.raises(BadInput, match="no acoustic hypotheses"):
        judge_shift("wistful", shifts)
    with pytest.raises(BadInput, match="no loudness"):
        judge_shift("calm", shifts)
