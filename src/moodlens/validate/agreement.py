"""Do families come back when the SAE is trained again, where their features do not?

Unstable features of different seeds can span the same subspace (arXiv:2606.12138), and a family is a sum over some of
them. Each seed's families are found by the same rule on the same train + val rows. Compared are the direction that a
family adds when it steers (cosine) and what it reads in test texts (correlation of pre-activation scores). Neither
uses a label. The control: families of as many random live features of the other seed, with the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moodlens.core import BadInput
from moodlens.study.families import Families, Family

DRAWS = 100
"""Random families for each seed and emotion."""


@dataclass(frozen=True)
class SeedFamilies:
    """The families of one SAE, and what it takes to add and read them."""

    families: Families
    W_enc: np.ndarray
    """(d_in, d_sae)"""
    W_dec: np.ndarray
    """(d_sae, d_in)"""
    sizes: np.ndarray
    """(d_sae,) mean activation over the train + val rows in which a feature fires; 0 for features that never do."""


def family_agreement(
    own: SeedFamilies, others: Sequence[SeedFamilies], x: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """Compare the families of the study's SAE with those of other seeds.

    Args:
        own: of the study's SAE.
        others: of the other seeds.
        x: (n, d_in) raw embeddings that trained and chose nothing.
        seed: of the random families.

    Returns:
        ``n_seeds`` and, under ``emotions``, for each emotion ``direction`` (mean cosine over the seeds), ``direction_min``,
        ``direction_control`` (95th percentile of random families), ``reading`` (mean correlation), ``reading_min``,
        ``reading_control``; under ``mean`` their means over the emotions. Emotions that have no family in the study or
        in no other seed are left out; a seed without one counts 0.

    Raises:
        BadInput: there is no other seed, or the families are of other emotions.
    """
    if not others:
        raise BadInput("families are compared over seeds: no other seed is given")
    if any(other.families.emotions != own.families.emotions for other in others):
        raise BadInput("families of different emotions cannot be compared")
    centred = np.asarray(x, dtype=np.float64) - np.mean(x, axis=0, dtype=np.float64)
    rng = np.random.default_rng([seed, 0xFA])
    found = {}
    for c, family in enumerate(own.families.families):
        theirs = [other.families.families[c] for other in others]
        if not family.features or not any(one.features for one in theirs):
            continue
        direction, read = family.direction(own.W_dec), centred @ family.reader(own.W_enc)
        cosines, correlations = np.zeros(len(others)), np.zeros(len(others))
        drawn = []
        for i, (other, one) in enumerate(zip(others, theirs, strict=True)):
            if not one.features:
                continue
            cosines[i] = _cosine(direction, one.direction(other.W_dec))
            correlations[i] = _cosine(read, centred @ one.reader(other.W_enc))
            drawn.append(_random(other, one, direction, read, centred, rng))
        control = np.concatenate(drawn, axis=1)
        found[family.emotion] = {
            "direction": float(cosines.mean()),
            "direction_min": float(cosines.min()),
            "direction_control": float(np.quantile(control[0], 0.95)),
            "reading": float(correlations.mean()),
            "reading_min": float(correlations.min()),
            "reading_control": float(np.quantile(control[1], 0.95)),
        }
    names = list(next(iter(found.values()))) if found else []
    mean = {name: float(np.mean([cell[name] for cell in found.values()])) for name in names}
    return {"n_seeds": len(others), "emotions": found, "mean": mean}


def _random(
    other: SeedFamilies,
    family: Family,
    direction: np.ndarray,
    read: np.ndarray,
    centred: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Cosines and correlations of random families of ``family``'s size, (2, DRAWS)."""
    live = np.setdiff1d(np.flatnonzero(other.sizes > 0), family.features)
    m = min(len(family.features), len(live))
    if m == 0:
        return np.zeros((2, DRAWS))
    directions, readers = [], []
    for _ in range(DRAWS):
        picks = rng.choice(live, m, replace=False)
        drawn = Family(
            emotion=family.emotion,
            features=tuple(picks.tolist()),
            weights=family.weights[:m],
            scales=tuple(other.sizes[picks].tolist()),
        )
        directions.append(drawn.direction(other.W_dec))
        readers.append(drawn.reader(other.W_enc))
    return np.stack(
        [_cosine(direction, np.stack(directions)), _cosine(read, (centred @ np.stack(readers).T).T)]
    )


def _cosine(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Cosine of a vector with one or more rows; 0 where either is zero."""
    norm = np.linalg.norm(one) * np.linalg.norm(many, axis=-1)
    return np.divide(many @ one, norm, out=np.zeros(np.shape(norm)), where=norm > 0)
