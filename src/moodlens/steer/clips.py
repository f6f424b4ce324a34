"""Clips on disk: one WAV and one JSON each, named by a hash of all that decides their bytes, and how loud they are."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from moodlens.core import BadInput, atomic_write, digest, file_sha256, read_json, write_json
from moodlens.study.records.steer import ClipFacts, How, Loudness

FORMAT = 2


@dataclass(frozen=True)
class ClipSpec:
    """What one clip is.

    Attributes:
        prompt: the neutral text it starts from.
        text: what the model reads; differs from ``prompt`` under prompt editing.
        method: ``none``, ``prompt_editing`` or a direction's method.
        direction: name of the direction, None without one.
        emotion: steered towards; None for plain clips and controls.
        coefficient: in the directions' unit; 0 for plain clips, None under prompt editing, which has no strength.
        seed: of the draws.
    """

    prompt: str
    text: str
    method: str
    direction: str | None
    emotion: str | None
    coefficient: float | None
    seed: int


def clip_key(spec: ClipSpec, vector: np.ndarray | None, amount: float, how: How) -> str:
    """Hash of everything that decides the clip: the specification, the vector added, and how it is generated.

    The checkpoint counts by its revision, so that a key does not depend on how a path to it is written. What a model does
    not have does not count, so that clips keep their names when other models come.
    """
    shared = how.model_dump(mode="json", exclude={"model"})
    shared = {
        name: value
        for name, value in shared.items()
        if value is not None or name not in ("steps", "melody", "continued", "negative", "layers")
    }
    return digest(FORMAT, asdict(spec), np.zeros(0) if vector is None else vector, amount, shared)[:20]


def write_wav(path: Path | str, audio: np.ndarray, rate: int) -> None:
    """Write float32 samples as they are, ``(samples,)`` or ``(channels, samples)``; nothing is scaled or clipped."""
    from scipy.io import wavfile

    with atomic_write(path) as tmp:
        wavfile.write(tmp, rate, np.ascontiguousarray(np.asarray(audio, dtype=np.float32).T))


def write_clip(
    folder: Path, key: str, audio: np.ndarray, rate: int, spec: ClipSpec, **facts: Any
) -> ClipFacts:
    """Write ``KEY.wav``, then ``KEY.json``: a clip without its JSON is not there yet.

    Args:
        facts: ``amount``, ``how``, ``encoder`` and ``batch`` of :class:`ClipFacts`.
    """
    write_wav(folder / f"{key}.wav", audio, rate)
    clip = ClipFacts(
        key=key,
        file=f"{key}.wav",
        **asdict(spec),
        **facts,
        loudness=measure_loudness(audio, rate),
        sampling_rate=rate,
        samples=int(audio.shape[-1]),
        sha256=file_sha256(folder / f"{key}.wav"),
    )
    write_json(folder / f"{key}.json", clip.model_dump())
    return clip


def read_clip(folder: Path, key: str) -> ClipFacts | None:
    """The facts of a clip of a run; None unless it is there, whole and as it was written."""
    facts, audio = folder / f"{key}.json", folder / f"{key}.wav"
    try:
        clip = ClipFacts.model_validate(read_json(facts))
    except (BadInput, ValidationError):
        return None
    if clip.key != key or not audio.is_file() or file_sha256(audio) != clip.sha256:
        return None
    return clip


_SHELF = 1681.974450955533
"""Hz, from where on K-weighting raises."""


def rms_dbfs(audio: np.ndarray) -> float:
    """Root mean square in dB below full scale; a full-scale sine is -3.01. Any shape; silence is -inf."""
    power = float(np.mean(np.square(np.asarray(audio, dtype=np.float64))))
    return 10 * np.log10(power) if power > 0 else -np.inf


def lufs(audio: np.ndarray, rate: int) -> float:
    """Integrated loudness by ITU-R BS.1770-4: K-weighting, 400 ms blocks, gates at -70 LUFS and -10 LU.

    Args:
        audio: ``(samples,)`` or ``(channels, samples)``, at least 0.4 s.
        rate: Hz.

    Returns:
        LUFS; -inf where every block is below the gate or the clip is too short; nan where half the rate lies
        below the weighting's shelf (1,682 Hz), so that there is none.
    """
    from scipy.signal import lfilter

    if rate < 2 * _SHELF:
        return np.nan
    x = np.atleast_2d(np.asarray(audio, dtype=np.float64))
    for b, a in k_weighting(rate):
        x = np.asarray(lfilter(b, a, x, axis=-1))
    block, hop = round(0.4 * rate), round(0.1 * rate)
    if x.shape[-1] < block:
        return -np.inf
    # Running sums, so that overlapping blocks cost nothing.
    total = np.concatenate([np.zeros((len(x), 1)), np.cumsum(np.square(x), axis=-1)], axis=-1)
    start = np.arange(0, x.shape[-1] - block + 1, hop)
    power = ((total[:, start + block] - total[:, start]) / block).sum(axis=0)
    with np.errstate(divide="ignore"):
        level = -0.691 + 10 * np.log10(power)
    kept = level > -70
    if not kept.any():
        return -np.inf
    relative = -0.691 + 10 * np.log10(power[kept].mean()) - 10
    return float(-0.691 + 10 * np.log10(power[kept & (level > relative)].mean()))


def k_weighting(rate: int) -> list[tuple[list[float], list[float]]]:
    """The two K-weighting biquads at any rate (BS.1770-4 gives them at 48 kHz; prototypes by De Man 2014)."""
    k, q = np.tan(np.pi * _SHELF / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = (
        [(high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0],
        [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0],
    )
    k, q = np.tan(np.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return [shelf, ([1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])]


def measure_loudness(audio: np.ndarray, rate: int) -> Loudness:
    """Loudness of a raw clip, ``(samples,)`` or ``(channels, samples)``."""
    peak = float(np.abs(audio).max()) if np.size(audio) else 0.0
    return Loudness(rms_dbfs=_finite(rms_dbfs(audio)), lufs=_finite(lufs(audio, rate)), peak=peak)


def _finite(level: float) -> float | None:
    return float(level) if np.isfinite(level) else None
