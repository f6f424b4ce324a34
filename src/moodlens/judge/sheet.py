"""What listeners get of a test, in whatever form: questions, and clips under names that say nothing, at the right level."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moodlens.core import atomic_write
from moodlens.core.sound import read_sound
from moodlens.settings.judge import ListenSettings
from moodlens.steer.clips import rms_dbfs
from moodlens.study.records.judge import Trial


@dataclass(frozen=True)
class Sound:
    """A clip in memory: ``(channels, samples)`` float32, and its samples a second."""

    audio: np.ndarray
    rate: int

    @classmethod
    def read(cls, path: Path) -> "Sound":
        """A sound file."""
        return cls(*read_sound(path))

    @property
    def scale(self) -> float:
        """What 16-bit samples are stored at: 1, or less where the clip goes beyond full scale."""
        return min(1.0, 0.999 / max(float(np.abs(self.audio).max()), 1e-9))

    def pcm(self, volume: float = 1.0) -> bytes:
        """A 16-bit WAV file, at a volume of at most 1."""
        from scipy.io import wavfile

        file = io.BytesIO()
        samples = np.round(self.audio.T * (self.scale * volume * 32767)).astype(np.int16)
        wavfile.write(file, self.rate, samples)
        return file.getvalue()


@dataclass(frozen=True)
class Side:
    """One clip of a trial.

    Attributes:
        clip: its name on the page.
        gain: volume that it is played at, at most 1.
    """

    clip: str
    gain: float


@dataclass(frozen=True)
class Question:
    """One trial as it is shown.

    Attributes:
        asks: which of the two is more of the emotion.
        pair: first and second.
    """

    trial: str
    emotion: str
    asks: str
    pair: tuple[Side, Side]


@dataclass(frozen=True)
class Sheet:
    """A whole test as listeners get it: nothing in it says what a clip is.

    Attributes:
        test: its hash, which answers name.
        quality: asked of every pair besides; None: not asked.
        sounds: name on the page -> clip.
    """

    test: str
    quality: str | None
    questions: tuple[Question, ...]
    sounds: Mapping[str, Sound]

    @classmethod
    def of(
        cls, test: str, trials: Sequence[Trial], folder: Path, settings: ListenSettings
    ) -> tuple["Sheet", tuple[Trial, ...]]:
        """The sheet of a test, and its trials with the names that clips have on it.

        Args:
            folder: holds the clips.
        """
        names = sorted({name for trial in trials for name in (trial.steered, trial.partner)})
        rng = np.random.default_rng([settings.seed, 7])
        codes = dict(zip(names, (f"c{i:03d}" for i in rng.permutation(len(names))), strict=True))
        sounds = {name: Sound.read(folder / name) for name in names}
        questions = []
        for trial in trials:
            pair = (trial.steered, trial.partner)
            gains = _gains([sounds[name] for name in pair], match=settings.match_loudness)
            first, second = (Side(codes[name], gain) for name, gain in zip(pair, gains, strict=True))
            asks = settings.question.replace("{emotion}", trial.emotion.upper())
            sides = (second, first) if trial.swap else (first, second)
            questions.append(Question(trial.trial, trial.emotion, asks, sides))
        coded = tuple(
            t.model_copy(update={"steered_clip": codes[t.steered], "partner_clip": codes[t.partner]})
            for t in trials
        )
        quality = settings.quality_question if settings.asks_quality else None
        named = {codes[name]: sound for name, sound in sounds.items()}
        return cls(test, quality, tuple(questions), named), coded

    def write_sides(self, folder: Path) -> dict[tuple[str, str], str]:
        """Write the clips of every trial, its volume in the samples, for players that have no volume of their own.

        Returns:
            Trial and clip -> file name.
        """
        written = {}
        for question in self.questions:
            for side in question.pair:
                name = f"{question.trial}-{side.clip}.wav"
                with atomic_write(folder / name) as tmp:
                    tmp.write_bytes(self.sounds[side.clip].pcm(side.gain))
                written[question.trial, side.clip] = name
        return written


def _gains(pair: list[Sound], *, match: bool) -> list[float]:
    """Playback volumes, at most 1, that keep a pair's true ratio of loudness, or make both as loud as the quieter."""
    wanted = [1.0, 1.0]
    if match:
        levels = [rms_dbfs(sound.audio) for sound in pair]
        quiet = min(levels)
        if np.isfinite(quiet):
            wanted = [float(10 ** ((quiet - level) / 20)) for level in levels]
    volume = [gain / sound.scale for gain, sound in zip(wanted, pair, strict=True)]
    return [round(v / max(*volume, 1.0), 6) for v in volume]
