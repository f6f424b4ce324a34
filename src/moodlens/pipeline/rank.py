"""Which features move MusicGen: the offline causal score over a study's decoder rows."""

from pathlib import Path

import numpy as np
import polars as pl

from moodlens.core import BadInput, Progress, silent
from moodlens.study.study import Study

PROMPTS = ("instrumental music", "a simple melody")


def rank_study_features(
    study: Study,
    clips: Path,
    model: str,
    *,
    top: int,
    every: bool,
    seconds: float,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Rank features by the KL divergence they cause in MusicGen's predictions of ``clips``, with their emotion and name.

    Args:
        clips: folder of WAV files; any music will do, best what the model itself would make.
        model: MusicGen checkpoint, whose text encoder must be the study's.
        top: features measured exactly.
        every: all live features; otherwise the emotion features.
        seconds: read from each clip.

    Raises:
        BadInput: no clips, no features, or a checkpoint that does not fit.
    """
    from moodlens.judge.audio import sound_files
    from moodlens.judge.offline import Offline, rank_features, read_references
    from moodlens.steer.build import study_directions
    from moodlens.steer.musicgen import MusicGen

    table = study.features
    kept = table.filter(pl.col("density") > 0) if every else table.filter(pl.col("emotion_feature"))
    if kept.height == 0:
        raise BadInput(f"{study.path}: it has no emotion feature to rank; use --all")
    files = sound_files(clips)
    directions = study_directions(study)
    loaded = MusicGen.load(model, d_in=directions.d_in)
    references = read_references(loaded, {"": files}, PROMPTS, seconds=seconds)
    features = kept["feature"].to_numpy()
    ranked = rank_features(
        Offline(loaded, references),
        np.asarray(study.W_dec())[features],
        directions.unit,
        features=features.tolist(),
        exact=top,
        progress=progress,
    )
    columns = [name for name in ("feature", "emotion", "name", "auroc", "stability") if name in table.columns]
    return ranked.join(table.select(columns), on="feature", how="left", maintain_order="left")
