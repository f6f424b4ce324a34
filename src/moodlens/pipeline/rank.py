"""Which features move a generator: the offline causal score over a study's decoder rows, beside random directions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from moodlens.core import BadInput, Progress, silent
from moodlens.settings.steer import DirectionSettings
from moodlens.stats.pvalues import upper_p
from moodlens.study.study import Study

if TYPE_CHECKING:
    from moodlens.judge.ranking import Asked
    from moodlens.steer.generator import Generator

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
    """Rank features by how far they move a generator's predictions of ``clips``, with their emotion and name.

    Args:
        clips: emotion -> folder of sound files; ``""`` for music of no emotion. Any music will do, best what the model
            itself would make; of two emotions or more each feature also gets a gain.
        model: a MusicGen (KL of its tokens) or a Stable Audio (change of its velocity), whose text encoder must be the study's.
        top: features measured exactly.
        every: all live features; otherwise the emotion features.
        seconds: read from each clip.
        device: of the model.

    Returns:
        The columns of :func:`moodlens.judge.ranking.rank_features`; ``random_p`` (share of random directions of the same
        length that do at least as much, plus one) and ``random_p95`` (their 95th percentile) of the first of them, and
        ``gain_<emotion>_random_p`` and ``..._random_p95`` of each gain; and what is known of the feature.

    Raises:
        BadInput: no clips, an unknown emotion, no features, or a checkpoint that does not fit.
    """
    from moodlens.core.sound import sound_files
    from moodlens.judge.ranking import rank_features
    from moodlens.steer.build import study_directions
    from moodlens.steer.directions import check_anchors
    from moodlens.steer.generators import load_generator

    table = study.require("features").features
    kept = table.filter(pl.col("density") > 0) if every else table.filter(pl.col("emotion_feature"))
    if kept.height == 0:
        raise BadInput(f"{study.path}: it has no emotion feature to rank; use --all")
    unknown = set(clips) - {"", *study.emotions}
    if unknown:
        raise BadInput(f"clips: {', '.join(sorted(unknown))} not among {', '.join(study.emotions)}")
    files = {emotion: sound_files(folder) for emotion, folder in clips.items()}
    directions = study_directions(study, DirectionSettings(n_random=N_RANDOM, untrained=False))
    loaded = load_generator(model, d_in=directions.d_in, device=device)
    check_anchors(
        directions, loaded.pooled(directions.provenance.anchor_texts), f"{loaded.title} {loaded.name}"
    )
    asked = _asked(loaded, files, seconds)
    features = kept["feature"].to_numpy()
    ranked = rank_features(
        asked,
        np.asarray(study.W_dec())[features],
        directions.unit,
        features=features.tolist(),
        exact=top,
        progress=progress,
    )
    drawn = np.stack([direction.vector for direction in directions.select(method="random")])
    ranked = ranked.with_columns(
        column
        for i, (name, chance) in enumerate(asked.effects(drawn, directions.unit).columns().items())
        if i == 0 or name.startswith("gain_")
        for column in _beside(ranked[name], chance, f"{name}_" if i else "")
    )
    columns = [name for name in ("feature", "emotion", "name", "auroc", "stability") if name in table.columns]
    return ranked.join(table.select(columns), on="feature", how="left", maintain_order="left")


def _asked(model: "Generator", files: Mapping[str, Sequence[Path]], seconds: float) -> "Asked":
    """The model and the clips it is asked about.

    Raises:
        BadInput: a model without such a score, or clips that will not do.
    """
    from moodlens.judge.offline import Offline, read_references
    from moodlens.steer.musicgen import MusicGen

    if isinstance(model, MusicGen):
        return Offline(model, read_references(model, files, PROMPTS, seconds=seconds))
    from moodlens.judge.denoising import Denoising, read_sounds
    from moodlens.steer.diffusion import Diffusion

    if isinstance(model, Diffusion):
        sounds = read_sounds(model, files, PROMPTS, seconds=seconds)
        return Denoising(model, sounds, seconds=seconds)
    raise BadInput(
        f"{model.title} {model.name}: features are ranked with a MusicGen without melody or a Stable Audio"
    )


def _beside(values: pl.Series, chance: np.ndarray, prefix: str) -> list[pl.Expr]:
    """What random directions give, as columns."""
    p = upper_p(values.to_numpy(), chance[:, None])
    return [
        pl.lit(pl.Series(p)).alias(f"{prefix}random_p"),
        pl.lit(float(np.quantile(chance, 0.95))).alias(f"{prefix}random_p95"),
    ]
