"""Acoustics of a clip by librosa: tempo behind a confidence gate, key and mode, loudness, brightness, onsets."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from moodlens.core import BadInput
from moodlens.core.sound import resample
from moodlens.judge.clips import Clip, Values
from moodlens.steer.clips import rms_dbfs

MEASURES = {
    "tempo": "BPM",
    "mode": "major - minor correlation",
    "loudness": "dBFS",
    "centroid": "Hz",
    "onset_strength": "dB per frame",
    "onset_density": "per second",
}
"""Numeric measures and their units."""

RATE = 16000
"""What every clip is measured at, Hz: a measure must not depend on the rate of a file, so what only some rates hold
(above 8 kHz) counts for none."""

_SILENT = -120.0  # dBFS
_ALL_ABOVE = -40.0  # dB: of what is left below 8 kHz, where it is the filter's leakage and no sound
SHORTEST = 0.5  # s
_SLOWEST, _FASTEST = 40.0, 240.0  # BPM
_KEY_SECONDS = 2  # shorter clips do not hold the waves of the lowest octave
_ONSET_RISE = 1.0  # dB, mean over bands: below, a flickering pad counts ten onsets a second


@dataclass(frozen=True)
class AcousticScore:
    """Acoustic measures of one clip.

    Columns: ``tempo`` (BPM; null below the gate), ``tempo_confidence`` (0 to 1), ``musical_key`` (such as ``"D minor"``),
    ``key_correlation``, ``mode`` (best major minus best minor correlation; above 0 is major), ``loudness`` (dBFS),
    ``loudness_raw`` (whether it is the generator's own, taken before anything was scaled), ``centroid`` (Hz, below 8 kHz),
    ``onset_strength`` (mean rise of the mel spectrum, dB per 10 ms frame), ``onset_density`` (per second). All but
    loudness do not depend on level, and none on the sampling rate, from 16 kHz on. Null where undefined: silence has a loudness of null and no key; below two seconds
    there is no key either.

    Attributes:
        gate: least ``tempo_confidence`` at which a tempo is reported. Noise, pads and irregular clicks stay below
            0.35 (40 random ones of each, 95th percentile 0.27); even clicks are above 0.9, real music with a beat
            above 0.6.
    """

    gate: float = 0.4

    @property
    def cache_key(self) -> str:
        """All that decides the values besides the clip."""
        return f"{self.gate!r}"

    def __call__(self, clip: Clip) -> Values:
        """Measure one clip.

        Raises:
            BadInput: librosa is not installed, or the clip is shorter than half a second.
        """
        audio, rate = clip.mono, clip.rate
        try:
            measured = acoustics(audio, rate, self.gate)
        except BadInput as error:
            raise BadInput(f"{clip.path}: {error}") from error
        raw = clip.facts.loudness.rms_dbfs
        loudness = measured["loudness"] if raw is None else raw
        return {**measured, "loudness": loudness, "loudness_raw": raw is not None}


def acoustics(audio: np.ndarray, rate: int, gate: float) -> Values:
    """Measures of ``audio`` (samples,); see :class:`AcousticScore`. Loudness is that of the samples given.

    Raises:
        BadInput: librosa is not installed, or the clip is shorter than half a second.
    """
    librosa = import_librosa()
    if len(audio) < round(SHORTEST * rate):
        raise BadInput(f"acoustics: a clip of {len(audio) / rate:.2f} s is too short to measure")
    audio = audio - audio.mean(dtype=np.float64)  # a constant cannot be heard
    loudness = float(rms_dbfs(audio))
    heard = resample(audio / max(np.abs(audio).max(), 1e-30), rate, RATE)
    if loudness < _SILENT or rms_dbfs(heard * np.abs(audio).max()) < loudness + _ALL_ABOVE:
        nothing = dict.fromkeys(
            ("tempo", "musical_key", "key_correlation", "mode", "centroid", "onset_strength")
        )
        level = None if loudness < _SILENT else loudness
        return nothing | {"loudness": level, "tempo_confidence": 0.0, "onset_density": 0.0}
    # 10 ms frames: at librosa's usual 512 samples, neighbouring tempi are 3 BPM apart.
    hop = RATE // 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of frames longer than a short clip, once for each clip
        centroid = librosa.feature.spectral_centroid(y=heard, sr=RATE)[0]
        envelope = librosa.onset.onset_strength(y=heard, sr=RATE, hop_length=hop)
        # An absolute threshold, since onset_detect otherwise scales every clip to its own loudest onset.
        onsets = librosa.onset.onset_detect(
            onset_envelope=envelope, sr=RATE, hop_length=hop, normalize=False, delta=_ONSET_RISE
        )
        key = Key(None, None, None)
        if len(heard) >= _KEY_SECONDS * RATE:
            key = find_key(librosa.feature.chroma_cqt(y=heard, sr=RATE).mean(axis=1))
    tempo, confidence = find_tempo(envelope, RATE / hop)
    return {
        "tempo": tempo if confidence >= gate else None,
        "tempo_confidence": confidence,
        "musical_key": key.name,
        "key_correlation": key.correlation,
        "mode": key.majorness,
        "loudness": loudness,
        "centroid": float(centroid.mean()),
        "onset_strength": float(envelope.mean()),
        "onset_density": len(onsets) * RATE / len(heard),
    }


# -- tempo ---------------------------------------------------------------------------------------------------------------


def find_tempo(envelope: np.ndarray, frame_rate: float) -> tuple[float | None, float]:
    """Tempo (BPM) and confidence (0 to 1) of an onset envelope ``(frames,)``.

    The beat is the best peak of the autocorrelation under librosa's prior (log-normal about 120 BPM, one octave
    wide); its lag is then read at the farthest multiple that still peaks. Confidence is the autocorrelation there
    or at twice the lag: how well the rhythm predicts itself one or two beats on. Octave errors remain possible.
    """
    # Smoothed over 50 ms: a beat between two frames would split its peak, and players are not that exact.
    x = np.convolve(np.asarray(envelope, dtype=np.float64), (1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9), mode="same")
    x = x - x.mean()
    n = len(x)
    power = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    auto = np.fft.irfft(power)[:n]
    if np.quantile(envelope, 0.99) < 0.5 * _ONSET_RISE:  # a held sound: what repeats is rounding
        return None, 0.0
    # Unbiased: else long lags, which overlap less, would look weaker.
    auto = auto / auto[0] * n / np.arange(n, 0, -1)
    longest = int(0.75 * n)
    lags = np.arange(
        max(1, int(frame_rate * 60 / _FASTEST)), min(longest, int(frame_rate * 60 / _SLOWEST)) + 1
    )
    if len(lags) < 3:
        return None, 0.0
    prior = np.exp(-0.5 * np.log2(frame_rate * 60 / lags / 120) ** 2)
    beat = float(lags[np.argmax(np.clip(auto[lags], 0, None) * prior)])
    if beat / 2 >= lags[0] and _peak(auto, beat / 2)[1] >= 0.9 * _peak(auto, beat)[1]:
        beat /= 2  # nothing tells the beats between from the others: the pulse is the faster one
    confidence = max(_peak(auto, beat)[1], _peak(auto, 2 * beat)[1] if 2 * beat < longest else 0.0)
    for multiple in (1, 2, 4, 8):
        if multiple * beat >= longest:
            break
        at, height = _peak(auto, multiple * beat)
        if height >= 0.5 * confidence:
            beat = at / multiple
    return 60 * frame_rate / beat, float(np.clip(confidence, 0, 1))


def _peak(auto: np.ndarray, lag: float) -> tuple[float, float]:
    """Place (frames, interpolated) and height of the highest point within two frames of ``lag``."""
    low = max(1, round(lag) - 2)
    i = low + int(np.argmax(auto[low : round(lag) + 3]))
    if i + 1 >= len(auto):
        return float(i), float(auto[i])
    left, mid, right = auto[i - 1], auto[i], auto[i + 1]
    bend = left - 2 * mid + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return i + float(np.clip(shift, -0.5, 0.5)), float(mid)


# -- key -----------------------------------------------------------------------------------------------------------------

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

# Krumhansl & Kessler (1982), probe-tone ratings; Temperley (1999) revised them. On real clips Krumhansl's tell the
# modes as other tools do, so they are what is used; Temperley's are there to check with.
KRUMHANSL = (
    (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
)
TEMPERLEY = (
    (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0),
    (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0),
)


@dataclass(frozen=True)
class Key:
    """A key found in a chroma profile.

    Attributes:
        name: such as ``"F# minor"``; None where the profile is flat.
        correlation: of the profile with that key's.
        majorness: best major minus best minor correlation; above 0 is major, and near 0 is neither.
    """

    name: str | None
    correlation: float | None
    majorness: float | None


def find_key(chroma: np.ndarray, profiles: tuple[tuple[float, ...], tuple[float, ...]] = KRUMHANSL) -> Key:
    """The key whose profile correlates best with ``chroma`` (12,), C first (Krumhansl & Schmuckler 1990)."""
    chroma = np.asarray(chroma, dtype=np.float64)
    if not np.isfinite(chroma).all() or np.ptp(chroma) < 1e-9 * max(1.0, float(np.abs(chroma).max())):
        return Key(None, None, None)
    table = np.array([[np.roll(profile, tonic) for tonic in range(12)] for profile in profiles])
    table = table - table.mean(axis=-1, keepdims=True)
    x = chroma - chroma.mean()
    fit = (table @ x) / (np.linalg.norm(table, axis=-1) * np.linalg.norm(x))
    mode, tonic = np.unravel_index(int(fit.argmax()), fit.shape)
    name = f"{NAMES[int(tonic)]} {'major' if mode == 0 else 'minor'}"
    return Key(name, float(fit.max()), float(fit[0].max() - fit[1].max()))


def import_librosa() -> Any:
    """librosa, or one line that says how to get it."""
    try:
        import librosa
    except ImportError as error:
        raise BadInput(
            "acoustics: librosa is not installed; get it with: pip install 'moodlens[audio]'"
        ) from error
    return librosa
