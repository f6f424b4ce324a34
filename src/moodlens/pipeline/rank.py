"""Which features move MusicGen: the offline causal score over a study's decoder rows, beside random directions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from moodlens.core import BadInput, Progress, silent
from moodlens.settings.steer import DirectionSettings
from moodlens.stats.pvalues import upper_p
from moodlens.study.study import Study

PROMPTS = ("instrumental music", "a simple melody")
N_RANDOM = 20
"""Random directions that features stand beside."""


def rank_study_features(
    study: Study,
    clips: Mapping[str, Path],
    model: str,
    *,
    top: int,
    every: bool,
    seconds: float,
    device: str = "auto",
    progress: Progress = silent,
) -> pl.DataFrame:
    """Rank features by the KL divergence they cause in MusicGen's predictions of ``clips``, with their emotion and name.

    Args:
        clips: emotion -> folder of sound files; ``""`` for music of no emotion. Any music will do, best what the model
            itself would make; of two emotions or more each feature also gets a gain.
        model: MusicGen checkpoint, whose text encoder must be the study's.
        top: features measured exactly.
        every: all live features; otherwise the emotion features.
        seconds: read from each clip.
        device: of the model.

    Returns:
        The columns of :func:`moodlens.judge.offline.rank_features`, and ``random_p`` (share of random directions of the
        same length that do at least as much, plus one), ``random_p95`` (their 95th percentile) and what is known of
        the feature.

    Raises:
        BadInput: no clips, an unknown emotion, no features, or a checkpoint that does not fit.
    """
    from moodlens.core.sound import sound_files
    from moodlens.judge.offline import Offline, rank_features, read_references
    from moodlens.steer.build import study_directions
    from moodlens.steer.musicgen import MusicGen

    table = study.require("features").features
    kept = table.filter(pl.col("density") > 0) if every else table.filter(pl.col("emotion_feature"))
    if kept.height == 0:
        raise BadInput(f"{study.path}: it has no emotion feature to rank; use --all")
    unknown = set(clips) - {"", *study.emotions}
    if unknown:
        raise BadInput(f"clips: {', '.join(sorted(unknown))} not among {', '.join(study.emotions)}")
    files = {emotion: sound_files(folder) for emotion, folder in clips.items()}
    directions = study_directions(study, DirectionSettings(n_random=N_RANDOM, untrained=False))
    loaded = MusicGen.load(model, d_in=directions.d_in, device=device)
    offline = Offline(loaded, read_references(loaded, files, PROMPTS, seconds=seconds))
    features = kept["feature"].to_numpy()
    ranked = rank_features(
        offline,
        np.asarray(study.W_dec())[features],
        directions.unit,
        features=features.tolist(),
        exact=top,
        progress=progress,
    )
    drawn = np.stack([direction.vector for direction in directions.select(method="random")])
    chance = offline.effects(drawn, directions.unit).kl
    ranked = ranked.with_columns(
        pl.Series("random_p", upper_p(ranked["kl"].to_numpy(), chance[:, None])),
        pl.lit(float(np.quantile(chance, 0.95))).alias("random_p95"),
    )
    columns = [name for name in ("feature", "emotion", "name", "auroc", "stability") if name in table.columns]
    return ranked.join(table.select(columns), on="feature", how="left", maintain_order="left")
