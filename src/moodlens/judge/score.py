"""What a score is, and scoring every clip of a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from moodlens.core import BadInput, Progress, silent, write_table
from moodlens.steer.clips import read_clips, read_wav

if TYPE_CHECKING:
    import polars as pl

SCORES = "scores.parquet"


@dataclass(frozen=True)
class Clip:
    """One WAV file and what its JSON says.

    Attributes:
        path: of the WAV file.
        facts: the row of :func:`moodlens.steer.clips.read_clips`; null where unknown.
        reference: the unsteered clip of the same prompt and seed; None where there is none. An unsteered clip is its
            own reference.
    """

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    reference: "Clip | None" = None

    @cached_property
    def _read(self) -> tuple[np.ndarray, int]:
        return read_wav(self.path)

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self._read[1]

    @property
    def mono(self) -> np.ndarray:
        """``(samples,)`` float32, channels averaged."""
        return self._read[0].mean(axis=0)

    @property
    def prompt(self) -> str | None:
        """The neutral text the clip started from, where its JSON says so."""
        return self.facts.get("prompt")


class Score(Protocol):
    """A small callable: one clip in, named values out; every clip gets the same names."""

    def __call__(self, clip: Clip) -> dict[str, Any]:
        """Values of one clip; None where they are undefined."""
        ...


def resample(audio: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """``(samples,)`` at another rate, float32, by a polyphase filter."""
    from scipy.signal import resample_poly

    if rate == wanted:
        return np.asarray(audio, dtype=np.float32)
    common = int(np.gcd(rate, wanted))
    return np.asarray(resample_poly(audio, wanted // common, rate // common), dtype=np.float32)


def read_audio(path: Path | str, rate: int) -> np.ndarray:
    """A WAV file as mono ``(samples,)`` float32 at ``rate`` Hz."""
    clip = Clip(Path(path))
    return resample(clip.mono, clip.rate, rate)


def folder_clips(folder: Path | str, keys: Sequence[str] | None = None) -> list[Clip]:
    """The clips of a folder, sorted by file, each with its reference.

    Raises:
        BadInput: there is no WAV file, or a key is missing.
    """
    folder = Path(folder)
    rows = read_clips(folder, keys).to_dicts()
    plain = {
        (row["prompt"], row["seed"]): Clip(folder / row["file"], row)
        for row in rows
        if row["method"] == "none"
    }
    return [Clip(folder / row["file"], row, plain.get((row["prompt"], row["seed"]))) for row in rows]


def score_folder(
    folder: Path | str,
    scores: Sequence[Score],
    *,
    keys: Sequence[str] | None = None,
    progress: Progress = silent,
) -> "pl.DataFrame":
    """Measure every WAV file of a folder, whoever made it.

    Args:
        folder: holds WAV files; JSON files beside them as ``moodlens steer`` writes are used, not needed.
        scores: any of this package's, or your own.
        keys: score these clips alone.

    Returns:
        One row per file, sorted: the columns of ``read_clips``, then those of the scores.

    Raises:
        BadInput: no WAV file, no scores, or two scores give the same column.
    """
    import polars as pl

    if not scores:
        raise BadInput("score_folder: give at least one score")
    clips = folder_clips(folder, keys)
    rows: list[dict[str, Any]] = []
    for done, clip in enumerate(clips):
        progress("clips scored", done, len(clips))
        row = dict(clip.facts)
        fresh = Clip(clip.path, clip.facts, clip.reference)  # whose samples go when its row is done
        for score in scores:
            values = score(fresh)
            taken = set(values) & set(row)
            if taken:
                raise BadInput(f"score_folder: two scores, or a score and a fact, are called {min(taken)}")
            row |= values
        rows.append(row)
    progress("clips scored", len(clips), len(clips))
    return pl.DataFrame(rows, infer_schema_length=None)


def score_run(out: Path | str, scores: Sequence[Score], *, progress: Progress = silent) -> "pl.DataFrame":
    """Score the clips of a steering run and write ``out/scores.parquet``.

    Raises:
        BadInput: ``out`` is not a steering run, or a clip is missing.
    """
    from moodlens.steer.run import run_clips

    folder, keys = run_clips(out)
    frame = score_folder(folder, scores, keys=keys, progress=progress)
    write_table(Path(out) / SCORES, frame)
    return frame
