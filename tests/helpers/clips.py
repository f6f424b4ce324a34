"""Clips on disk, made by hand."""

from pathlib import Path

import numpy as np
from scipy.io import wavfile

from moodlens.core import write_json
from moodlens.steer.clips import write_wav


def put_clip(folder: Path, name: str, audio: np.ndarray, rate: int, **facts) -> Path:
    """A WAV file and, if there are facts, the JSON that says what it is."""
    write_wav(folder / f"{name}.wav", audio, rate)
    if facts:
        write_json(folder / f"{name}.json", facts)
    return folder / f"{name}.wav"


def wav_samples(path: Path) -> np.ndarray:
    """``(channels, samples)`` of a WAV file as they stand in it."""
    return np.atleast_2d(wavfile.read(path)[1].T)
