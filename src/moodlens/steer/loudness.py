"""How loud a clip is, measured on the samples as the codec gave them, before anything scales them."""

import numpy as np


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
        LUFS; -inf where every block is below the gate or the clip is too short.
    """
    from scipy.signal import lfilter

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
    k, q = np.tan(np.pi * 1681.974450955533 / rate), 0.7071752369554196
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


def measure_loudness(audio: np.ndarray, rate: int) -> dict[str, float]:
    """``rms_dbfs``, ``lufs``, ``peak`` (1 is full scale) of a raw clip."""
    peak = float(np.abs(audio).max()) if np.size(audio) else 0.0
    return {"rms_dbfs": rms_dbfs(audio), "lufs": lufs(audio, rate), "peak": peak}
