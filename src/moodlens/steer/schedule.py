"""A coefficient that changes while the music plays.

The text encoder runs once per clip and the decoder caches the keys and values it makes of it, so a schedule cannot be
had by hooking the encoder, nor the projection behind it (a hook there is still called at every step, and after the
first one its output is thrown away). ``MusicGen.generate`` hands the decoder other states and empties that cache
whenever the factor changes.
"""

from collections.abc import Sequence

import numpy as np

from moodlens.core import BadInput

STEP = 0.1
"""Seconds between two looks at the schedule: each change costs one projection of the prompt per decoder layer."""


def check_schedule(points: Sequence[tuple[float, float]]) -> None:
    """Raise BadInput unless ``points`` are (seconds, factor) pairs in order of time, from 0 or later."""
    if not points:
        raise BadInput("schedule: give at least one [seconds, factor] pair")
    times = [t for t, _ in points]
    if times != sorted(times) or times[0] < 0 or not np.isfinite(np.array(points, dtype=float)).all():
        raise BadInput(f"schedule: times must be finite, not negative and in order, got {times}")


def factors(points: Sequence[tuple[float, float]], n_frames: int, frame_rate: float) -> np.ndarray:
    """Factor of the coefficient at every frame, ``(n_frames,)``: linear between points, constant outside them.

    Two points at the same time make a jump; the later one holds from that time on. Sampled every ``STEP`` seconds.
    """
    check_schedule(points)
    hold = max(1, round(STEP * frame_rate))
    times = (np.arange(n_frames) // hold) * hold / frame_rate
    at = np.array([t for t, _ in points], dtype=float)
    value = np.array([v for _, v in points], dtype=float)
    right = np.searchsorted(at, times + 1e-9, side="right")
    low, high = np.clip(right - 1, 0, len(at) - 1), np.clip(right, 0, len(at) - 1)
    width = at[high] - at[low]
    share = np.divide(times - at[low], width, out=np.zeros_like(times), where=width > 0)
    return value[low] + np.clip(share, 0, 1) * (value[high] - value[low])
