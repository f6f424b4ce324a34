"""What a score is, and scoring every clip of a folder."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from moodlens.core import (
    BadInput,
    Progress,
    digest,
    plain,
    read_json,
    silent,
    write_json,
    write_table,
)
from moodlens.judge.clips import Clip, Values, clip_table, folder_clips, run_clips

if TYPE_CHECKING:
    import polars as pl

SCORES = "scores.parquet"
FORMAT = 1
"""Of the kept values: another number where what a score measures has changed."""
CACHE = "scores"
"""Folder of a run's values, clip by clip: what is there is not measured again."""


class Score(Protocol):
    """A small callable: one clip in, named values out; every clip gets the same names."""

    def __call__(self, clip: Clip) -> Values:
        """Values of one clip; None where they are undefined."""
        ...


def score_folder(
    folder: Path | str,
    scores: Sequence[Score],
    *,
    keys: Sequence[str] | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> "pl.DataFrame":
    """Measure every sound file of a folder, whoever made it.

    Args:
        folder: holds sound files; JSON files beside them as ``moodlens steer`` writes are used, not needed.
        scores: any of this package's, or your own.
        keys: score these clips of a run alone.
        cache: folder in which the values of each clip are kept, score by score, for those of ``scores`` that say by
            ``cache_key`` what decides them: what was measured once is not measured again, after a stop or with more
            scores.

    Returns:
        One row per file, sorted: the columns of ``read_clips``, then those of the scores.

    Raises:
        BadInput: no sound file, one that is broken, no scores, or two scores give the same column.
    """
    import polars as pl

    if not scores:
        raise BadInput("score_folder: give at least one score")
    clips = folder_clips(folder, keys)
    facts = clip_table(clips)
    rows: list[Values] = []
    for done, clip in enumerate(clips):
        progress("clips scored", done, len(clips))
        row: Values = {}
        fresh = Clip(clip.path, clip.facts, clip.reference)  # whose samples go when its row is done
        for score in scores:
            values = _measured(score, fresh, cache)
            taken = set(values) & {*row, *facts.columns}
            if taken:
                raise BadInput(f"score_folder: two scores, or a score and a fact, are called {min(taken)}")
            row = {**row, **values}
        rows.append(row)
    progress("clips scored", len(clips), len(clips))
    return pl.concat([facts, pl.DataFrame(rows, infer_schema_length=None)], how="horizontal")


def _measured(score: Score, clip: Clip, cache: Path | None) -> Values:
    """What a score says of a clip, from the cache where it is there."""
    key = getattr(score, "cache_key", None)
    sound = clip.facts.sha256
    if cache is None or key is None or sound is None:
        return score(clip)
    of = None if clip.reference is None else clip.reference.facts.sha256
    path = cache / f"{digest(FORMAT, type(score).__name__, key, sound, of, clip.facts.prompt)[:24]}.json"
    with suppress(BadInput):
        known = read_json(path)
        if isinstance(known, dict):
            return known
    values = score(clip)
    write_json(path, plain(dict(values)))
    return values


def score_run(out: Path | str, scores: Sequence[Score], *, progress: Progress = silent) -> "pl.DataFrame":
    """Score the clips of a steering run and write ``out/scores.parquet``.

    Raises:
        BadInput: ``out`` is not a steering run, or a clip is missing.
    """
    folder, keys = run_clips(out)
    frame = score_folder(folder, scores, keys=keys, cache=Path(out) / CACHE, progress=progress)
    write_table(Path(out) / SCORES, frame)
    return frame
